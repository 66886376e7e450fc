//go:build linux

package e2e

import (
	"bytes"
	"fmt"
	"os"
	"testing"

	"github.com/gopipework/gopipework/e2e/host"
)

// A pods is a machine with containerd, which runs pods as kubelet asks for them.
type pods struct {
	*cniMachine
	containerd *host.Containerd
	policy     string // the file
}

func newPods(t *testing.T) *pods {
	t.Helper()
	need(t, "containerd")
	c := newCNIMachine(t)
	p := &pods{cniMachine: c, policy: c.Dir + "/policy.yaml"}
	list, err := os.ReadFile(exampleFile(t, "cni-pods.conflist"))
	c.check(err)
	list = bytes.ReplaceAll(list, []byte("/etc/gopipework/policy.yaml"), []byte(p.policy))
	c.check(os.WriteFile(c.confs+"/10-pods.conflist", list, 0o644))
	p.containerd, err = c.StartPods(c.engine())
	c.check(err)
	t.Cleanup(func() { c.check(p.containerd.Close()) })
	return p
}

// run runs a pod of the namespace shop, with the line as its annotation for net1.
func (p *pods) run(name, line string) (*host.Guest, string, error) {
	pod := host.Pod{Name: name, Namespace: "shop"}
	if line != "" {
		pod.Annotations = map[string]string{"org.gopipework.net1": line}
	}
	id, err := p.containerd.RunPod(pod)
	if err != nil {
		return nil, "", err
	}
	pid, err := p.containerd.PodPID(id)
	p.check(err)
	return p.GuestOf(pid), id, nil
}

// TestPods: pods of containerd get the interfaces that their annotations ask for, beside the
// one that they have anyway, as far as the policy allows. One that asks for nothing waits for
// nothing.
func TestPods(t *testing.T) {
	p := newPods(t)
	p.check(os.WriteFile(p.policy, []byte("no policy"), 0o644))
	plain, plainID, err := p.run("plain", "")
	p.check(err)
	check := p.unchanged(plain)
	_, _, err = p.run("web", "brtest 192.168.1.2/24")
	p.says("a policy that makes no sense", fmt.Sprint(err), p.policy)
	p.check(os.WriteFile(p.policy, []byte("allow:\n  - {guests: 'pod:shop/web-*', to: brtest, addresses: 192.168.1.0/24}\n"), 0o644))
	for name, line := range map[string]string{"db": "brtest 192.168.1.2/24", "web-1": "brtest 10.0.0.2/24", "web-2": "brtest"} {
		_, _, err := p.run(name, line)
		p.says("the refusal", fmt.Sprint(err), `net1 to pod:"shop/`+name+`": refused: `)
	}
	check("after refusals")

	web, webID, err := p.run("web-1", "brtest 192.168.1.2/24")
	p.check(err)
	db, dbID, err := p.run("web-2", "brtest 192.168.1.3/24")
	p.check(err)
	p.reaches(web, "192.168.1.3")
	p.reaches(db, "192.168.1.2")
	p.reaches(web, "10.88.0.1") // by the interface that it has anyway
	for _, a := range p.list() {
		if a.Origin != "cni:pods" || a.Interface.Name != "net1" || a.State != "complete" || a.Host.Name != "brtest" {
			t.Errorf("the list has %+v", a)
		}
	}
	p.check(p.containerd.RemovePod(webID))
	if l := p.list(); len(l) != 1 || l[0].Guest.Netns != db.Inode() {
		t.Errorf("after the first pod there is %+v", l)
	}
	p.check(p.containerd.RemovePod(dbID))
	check("after the pods")
	p.check(p.containerd.RemovePod(plainID))
}
