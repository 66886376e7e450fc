//go:build linux && amd64

package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/gopipework/gopipework/e2e/host"
	"golang.org/x/sys/unix"
)

// TestCNIKilled: an engine kills a plugin that takes too long. Wherever ADD or DEL is killed
// or refused something, DEL leaves nothing; and an ADD that fails leaves nothing by itself.
// GOPIPEWORK_BLOWS is how often it is, on each kind of host interface; 0 is at every call.
func TestCNIKilled(t *testing.T) {
	blows := setting(t, "GOPIPEWORK_BLOWS", 1)
	for _, test := range []struct{ name, keys, need string }{
		{"bridge", `"hostif": "brnew", "ipam": {"type": "host-local", "subnet": "10.7.0.0/24", "routes": [{"dst": "0.0.0.0/0"}]}`, "cni"},
		{"macvlan", `"hostif": "nic0", "address": "10.3.0.2/24"`, "cni"},
		{"card", `"hostif": "phys:nic0", "address": "10.3.0.2/24"`, "cni"},
		{"dhcp", `"hostif": "nic0", "address": "dhcp"`, "cni"},
		{"ovs", `"hostif": "ovsnew", "address": "10.7.0.2/24"`, "ovs"},
		{"extra", `"mode": "extra", "policy": "POLICY", "runtimeConfig": {"io.kubernetes.cri.pod-annotations": {"org.gopipework.net1": "brtest 192.168.1.2/24", "org.gopipework.net2": "brback 192.168.2.2/24"}}`, "cni"},
	} {
		t.Run(test.name, func(t *testing.T) {
			need(t, test.need)
			c := newCNIMachine(t)
			web, router := c.guest(), c.guest()
			c.check(c.Batch("link add nic0 type veth peer name wire0", "link set nic0 addrgenmode none up", "link set wire0 addrgenmode none up"))
			switch test.name {
			case "dhcp":
				c.quiet("wire0", router.Word, "10.9.0.1/24")
				d, err := router.StartDnsmasq("eth1", "10.9.0.10,10.9.0.250,255.255.255.0,2m", "--no-ping")
				c.check(err)
				t.Cleanup(func() { _ = d.Stop() })
			case "ovs":
				_, err := c.StartOVS()
				c.check(err)
			}
			n := c.cniNetwork(strings.Replace(test.keys, "POLICY", c.extraPolicy(), 1))
			n.env = []string{"CNI_PATH=" + c.parts, "CNI_ARGS=IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web-1"}
			step := func(verb string, b host.Blow) host.Stepped {
				s, err := host.Step(n.command(verb, web), b)
				c.check(err)
				return s
			}
			n.ok("ADD", web) // what is made by the way, once, is there now
			n.ok("DEL", web)
			check := c.unchanged(web)
			nothing := func(when string) {
				t.Helper()
				check(when)
				if strings.Contains(test.keys, "host-local") && n.allocated() != nil {
					t.Errorf("%s there is still the address %q", when, n.allocated())
				}
			}
			killed := 0
			for _, verb := range []string{"ADD", "DEL"} {
				if verb == "DEL" {
					n.ok("ADD", web)
				}
				calls := step(verb, host.Blow{}).Calls
				n.ok("DEL", web)
				nothing("after " + verb)
				for i, at := range places(len(calls), blows) {
					for _, b := range []host.Blow{{At: at, After: i%2 == 0, Signal: unix.SIGKILL}, {At: at, Errno: unix.EIO}} {
						if verb == "DEL" {
							n.ok("ADD", web)
						}
						s := step(verb, b)
						when := fmt.Sprintf("after %s, %v %v at call %d of %d (%s), exit %d: %s", verb, b.Signal, b.Errno, b.At, len(calls), calls[at-1], s.Code, s.Stderr)
						switch {
						case s.Code == 137 && b.Signal != 0:
							killed++
						case s.Code == 137, s.Code > 6:
							t.Error(when)
						case verb == "ADD" && s.Code != 0 && s.Code != 5:
							nothing(when)
						}
						n.ok("DEL", web)
						nothing(when)
						if t.Failed() {
							return
						}
					}
				}
			}
			if killed < blows {
				t.Errorf("only %d were killed", killed)
			}
		})
	}
}

// places returns so many numbers up to the last, evenly; all for 0.
func places(last, many int) (at []int) {
	if many == 0 {
		many = last
	}
	for i := range many {
		at = append(at, 1+(2*i+1)*last/(2*many))
	}
	return slices.Compact(at)
}
