//go:build linux

package e2e

import (
	"strings"
	"testing"
	"time"

	"github.com/gopipework/gopipework/e2e/host"
)

// TestSwarm: two nodes run the example as it is. Its global service attaches the container
// that the other service has on each node, by DHCP over a bridge with a card of the node.
func TestSwarm(t *testing.T) {
	node := func(h *host.Host) (*host.Engine, error) { return startUsual(h, "--live-restore=false") }
	one := startedEngine(t, node)
	h := host.New(t)
	h.Path = bin
	daemon, err := node(h)
	one.check(err)
	two := &engine{&machine{h, t}, daemon}
	for _, card := range []string{"eth0", "eth1"} {
		one.check(one.Batch("link add " + card + " type veth peer name " + card + " netns " + two.Namespace()))
	}
	one.check(one.Batch("address add 192.0.2.1/24 dev eth0", "link set eth0 up", "link set eth1 up"))
	two.check(two.Batch("address add 192.0.2.2/24 dev eth0", "link set eth0 up", "link set eth1 up"))
	one.docker("swarm", "init", "--advertise-addr", "192.0.2.1")
	two.docker("swarm", "join", "--advertise-addr", "192.0.2.2", "--token", one.docker("swarm", "join-token", "-q", "worker"), "192.0.2.1:2377")
	for _, e := range []*engine{one, two} {
		e.ownImage()
		e.docker("tag", host.Image, "busybox")
	}
	image := one.docker("images", "--format", "{{.Repository}}:{{.Tag}}", "gopipework")
	one.Setenv("GOPIPEWORK_IMAGE", image)
	began := time.Now()
	one.docker("stack", "deploy", "--resolve-image=never", "-c", exampleFile(t, "swarm.yaml"), "lab")
	one.dnsmasq(one.router("brlan"))

	leased := func(e *engine) (id, address string) {
		t.Helper()
		attached := host.Poll(host.Patience, func() bool {
			if id = e.docker("ps", "-q", "--filter", "name=lab_web"); id == "" || e.gopipework("list", id).Code != 0 {
				return false
			}
			for _, a := range e.list(id) {
				if a.State == "complete" && a.Origin == "label" && len(a.Interface.Addresses) == 1 {
					address, _, _ = strings.Cut(a.Interface.Addresses[0], "/")
				}
			}
			return address != ""
		})
		if !attached {
			t.Fatalf("nothing is attached: %v\n%s\n%s", e.ok("list"), e.docker("ps", "-a"), one.docker("service", "ps", "--no-trunc", "lab_web", "lab_gopipework"))
		}
		return id, address
	}
	here, first := leased(one)
	there, second := leased(two)
	t.Logf("both are attached %v after the stack was deployed", time.Since(began))
	if first == second {
		t.Errorf("both have %s", first)
	}
	one.reaches(one.guestOf(here), second)
	two.reaches(two.guestOf(there), first)
}
