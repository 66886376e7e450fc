//go:build linux

package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/gopipework/gopipework/e2e/host"
)

// asking returns a call for a pod with these annotations, behind a plugin that has made eth0.
func (n cniNetwork) asking(annotations map[string]string) cniNetwork {
	text, err := json.Marshal(annotations)
	n.check(err)
	return n.behind(`{"interfaces": [{"name": "eth0", "sandbox": "/run/netns/web"}], "ips": [{"address": "10.88.0.2/24", "interface": 0}]}`).
		with(`"runtimeConfig": {"io.kubernetes.cri.pod-annotations": ` + string(text) + `}`).
		in("CNI_ARGS=IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web-1")
}

// behind returns a call with the result of the plugin before.
func (n cniNetwork) behind(result string) cniNetwork {
	return n.with(`"prevResult": ` + strings.Replace(result, "{", fmt.Sprintf(`{"cniVersion": %q, `, n.version), 1))
}

// extraNetwork returns a network that gives guests what they ask for, as far as the policy
// allows.
func (m *machine) extraNetwork() cniNetwork {
	m.t.Helper()
	return m.cniNetwork(fmt.Sprintf(`"mode": "extra", "policy": %q`, m.extraPolicy()))
}

// extraPolicy writes a policy that allows any of two bridges, and returns its file.
func (m *machine) extraPolicy() string {
	m.t.Helper()
	policy := m.Dir + "/policy.yaml"
	m.check(os.WriteFile(policy, []byte("allow:\n  - {guests: ['pod:shop/*', 'nomad:shop/*'], to: [brtest, brback, nowhere], addresses: 192.168.0.0/16}\n"), 0o644))
	return policy
}

// TestCNIExtra: a plugin in a chain adds what a pod asks for, all or nothing, and each verb
// knows of it.
func TestCNIExtra(t *testing.T) {
	m := newMachine(t)
	web, db := m.named("web"), m.guest()
	check := m.unchanged(web, db)
	n := m.extraNetwork()
	asks := map[string]string{"org.gopipework.net1": "brtest 192.168.1.2/24", "org.gopipework.net2": "brback 192.168.2.2/24 --mtu 1400", "other": "x"}
	m.says("what no entry allows", n.asking(asks).fails(101, "ADD", web), `net2 to pod:"shop/web-1": refused: `, "--mtu",
		"the guest's annotation asks for it; gopipework policy check pod:shop/web-1 ", `"brback 192.168.2.2/24 --mtu 1400" --policy `, " says what is allowed")
	asks["org.gopipework.net2"] = "brback 192.168.2.2"
	m.says("what makes no sense", n.asking(asks).fails(101, "ADD", web), "it has no prefix length 192.168.2.2/24")
	asks["org.gopipework.net2"] = "nowhere 192.168.2.2/24"
	m.says("what is not there", n.asking(asks).fails(103, "ADD", web), "nowhere")
	m.says("a pod of another namespace", n.asking(asks).in("CNI_ARGS=K8S_POD_NAMESPACE=other;K8S_POD_NAME=web-1").fails(101, "ADD", web), `policy.yaml has no entry for pod:"other/web-1" `)
	check("after an ADD of which one half fails")
	delete(asks, "org.gopipework.net2")
	asks["org.gopipework.lo"] = "brtest 192.168.2.2/24"
	m.says("a name that no interface can get", n.asking(asks).fails(101, "ADD", web), "loopback")
	delete(asks, "org.gopipework.lo")
	asks["org.gopipework.net2"] = "brback 192.168.2.2/24"
	m.says("the name of a label", n.asking(map[string]string{"gopipework.net1": asks["org.gopipework.net1"]}).fails(101, "ADD", web), `"gopipework.net1" is the name of a label`, `call the annotation "org.gopipework.net1"`)
	m.says("nobody's annotation", n.asking(asks).in("CNI_ARGS=").fails(101, "ADD", web), "does not say who")
	check("after refusals")

	for _, version := range []string{"0.3.1", "1.1.0"} {
		n.version = version
		n := n.asking(asks)
		r := n.ok("ADD", web)
		var got []string
		for _, ip := range r.IPs {
			got = append(got, r.Interfaces[ip.Interface].Name+" "+ip.Address)
		}
		if s := strings.Join(got, ", "); s != "eth0 10.88.0.2/24, net1 192.168.1.2/24, net2 192.168.2.2/24" || r.CNIVersion != version {
			t.Errorf("in %s the result is %+v", version, r)
		}
		n.in("CNI_ARGS=").ok("DEL", web)
		check("after a DEL in " + version)
	}
	n = n.asking(asks)
	if r := n.with(`"ips": false`).ok("ADD", web); len(r.Interfaces) != 5 || len(r.IPs) != 1 {
		t.Errorf("the result without addresses is %+v", r)
	}
	n.ok("CHECK", web)
	m.says("a second ADD", n.fails(101, "ADD", web), "net1 already")
	if l := m.list("netns:web"); len(l) != 2 {
		t.Errorf("the second ADD leaves %+v", l)
	}
	// Some callers hand on no annotations then, and what ADD has answered.
	answered := m.extraNetwork().behind(`{"interfaces": [{"name": "eth0", "sandbox": "/run/netns/web"}, {"name": "lo", "sandbox": "/run/netns/web"}, {"name": "net2", "sandbox": "/run/netns/web"}]}`)
	answered.ok("CHECK", web)
	m.check(web.Run("ip", "link", "set", "net2", "down").Err())
	m.says("CHECK", n.fails(101, "CHECK", web), "net2")
	m.check(web.Run("ip", "link", "del", "net2").Err())
	m.says("CHECK without annotations", answered.fails(101, "CHECK", web), "check net2 of ", "it is not there")
	m.podsAtOnce(m.extraNetwork().asking(map[string]string{"org.gopipework.net1": "brtest 192.168.3.3/24"}))
	// Some callers call the container something else for DEL, or name no namespace.
	n.in("CNI_CONTAINERID=c2").ok("DEL", web)
	check("after a DEL for another container of the namespace")
	n.ok("ADD", web)
	n.in("CNI_NETNS=").ok("DEL", web)
	n.in("CNI_NETNS=").ok("DEL", web)
	check("after a DEL without a namespace")
	n.ok("ADD", web)
	n.with(`"cni.dev/valid-attachments": [{"containerID": "c1", "ifname": "eth0"}]`).ok("GC", web)
	n.ok("CHECK", web)
	n.with(`"cni.dev/valid-attachments": []`).ok("GC", web)
	check("after GC")

	// A pod that asks for nothing waits for nothing, not even for a policy that makes sense.
	n = m.cniNetwork(`"mode": "extra", "policy": "/nowhere"`).asking(map[string]string{"other": "x"})
	if r := n.ok("ADD", web); len(r.Interfaces) != 1 || len(r.IPs) != 1 {
		t.Errorf("the result is %+v", r)
	}
	for _, verb := range []string{"CHECK", "STATUS", "DEL"} {
		n.ok(verb, web)
	}
	check("after a pod that asks for nothing")
}

// podsAtOnce starts pods that ask for the same address at the same moment: only one gets it. All of
// them end.
func (m *machine) podsAtOnce(n cniNetwork) {
	m.t.Helper()
	pods := []*host.Guest{m.guest(), m.guest(), m.guest()}
	answers := make([]host.Result, len(pods))
	var calls sync.WaitGroup
	for i, g := range pods {
		calls.Go(func() { answers[i] = n.in(n.env[0], fmt.Sprint("CNI_CONTAINERID=pod", i)).call("ADD", g) })
	}
	calls.Wait()
	refused := 0
	for _, r := range answers {
		if r.Code == 1 && strings.Contains(r.Stderr, " already") {
			refused++
		}
	}
	if refused != len(pods)-1 {
		m.t.Errorf("pods that ask for one address at once get %v", answers)
	}
	for _, g := range pods {
		m.check(g.Kill())
	}
}

// TestCNINomad: the calls that Nomad makes. What a job asks for is in CNI_ARGS, which a DEL
// has not; an ADD that fails is tried three times without a DEL between; and CHECK has to
// succeed, also that of the plugin before.
func TestCNINomad(t *testing.T) {
	c := newCNIMachine(t)
	web := c.named("web")
	check := c.unchanged(web)
	n := c.extraNetwork()
	c.network("lab", `{"type": "bridge", "bridge": "cni0", "ipam": {"type": "host-local", "subnet": "10.88.0.0/24"}}`, `{"type": "gopipework", `+n.keys+`}`)
	asking := func(line string) string {
		return "IgnoreUnknown=true;org.gopipework.net1=" + line + ";org.gopipework.net0=brtest 192.168.1.2/24;" +
			"NOMAD_REGION=global;NOMAD_NAMESPACE=shop;NOMAD_JOB_ID=web/periodic-1732700000;NOMAD_GROUP_NAME=web"
	}
	for range 3 {
		n.in("CNI_ARGS="+asking("nowhere 192.168.2.2/24")).fails(103, "ADD", web)
		check("after an ADD that failed")
	}
	c.says("a job that passes for another", n.in("CNI_ARGS="+asking("brback 192.168.2.2/24;NOMAD_NAMESPACE=other")).fails(101, "ADD", web), "does not say who")
	c.says("what no entry allows", n.in("CNI_ARGS="+asking("brback 10.0.0.2/24")).fails(101, "ADD", web),
		`an argument of the job's network asks for it; gopipework policy check nomad:shop/web "brback 10.0.0.2/24"`)
	c.Setenv("CNI_ARGS", asking("brback 192.168.2.2/24"))
	r := c.cnitool("add", "lab", web)
	var result cniResult
	c.check(json.Unmarshal([]byte(r.Stdout), &result))
	if l := c.links(web); l["net0"].Name == "" || l["net1"].Name == "" || len(result.Interfaces) != 7 || len(result.IPs) != 1 {
		t.Errorf("the job gets %v, and Nomad is told %v", l, r)
	}
	c.check(c.cnitool("check", "lab", web).Err())
	c.Setenv("CNI_ARGS", "")
	n.in().ok("DEL", web)
	c.check(c.cnitool("del", "lab", web).Err())
	c.do("ip link del cni0")
	check("after DEL")

	main := c.cniNetwork(`"hostif": "nowhere", "address": "10.1.0.2/24"`)
	for range 3 {
		main.fails(103, "ADD", web)
		check("after an ADD that failed")
	}
	main = main.with(`"hostif": "brtest"`)
	main.ok("ADD", web)
	c.do("ip netns del web")
	main.ok("DEL", web)
	main.ok("DEL", web)
}
