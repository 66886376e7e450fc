package attach

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"

	testhost "github.com/gopipework/gopipework/e2e/host"
	"github.com/gopipework/gopipework/internal/fault"
)

// TestNamesake: the guest's name for its interface is one that the host has too,
// as its own or as an alternative one. Kernels before 6.15 look for it there.
func TestNamesake(t *testing.T) {
	needRoot(t)
	for _, c := range []struct{ name, kind, line, needs, inner string }{
		{"macvlan", "macvlan", "nic0 web 10.0.0.2/24", "macvlan", "eth1"},
		{"macvlan, alternative name", "macvlan", "nic0 -i lan0 web 10.0.0.2/24", "macvlan", "lan0"},
		{"macvlan, the parent's name", "macvlan", "nic0 -i nic0 web 10.0.0.2/24", "macvlan", "nic0"},
		{"macvlan passthru", "macvlan", "macvlan:nic0 --mode passthru web 10.0.0.2/24", "macvlan", "eth1"},
		{"macvlan, access", "macvlan", "nic0 web 10.0.0.2/24 --host-access", "macvlan", "eth1"},
		{"macvlan on a VLAN", "macvlan on a VLAN", "nic0 web 10.0.0.2/24 @10", "8021q", "eth1"},
		{"ipvlan", "ipvlan l2", "ipvlan:nic0 web 10.0.0.2/24", "ipvlan", "eth1"},
		{"vlan", "vlan", "vlan:nic0 web 10.0.0.2/24 @10", "8021q", "eth1"},
		{"dummy", "dummy", "dummy web 10.0.0.2/32", "dummy", "eth1"},
		{"dummy, alternative name", "dummy", "dummy -i lan0 web 10.0.0.2/32", "dummy", "lan0"},
		{"bridge", "bridge", "brtest web 10.0.0.2/24", "", "eth1"},
		{"bridge, its own name", "bridge", "brtest -i brtest web 10.0.0.2/24", "", "brtest"},
		{"phys", "phys", "phys:nic0 web 10.0.0.2/24", "", "eth1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			hostNS, g := newNamespace(t), docker(newNamespace(t), 0)
			inhabit(t, g.Namespace)
			in(t, hostNS, "sh", "-ec", quiet+`ip link add nic0 type veth peer name wire; ip link set nic0 up; ip link set wire up
ip link add eth1 type veth peer name eth0; ip link property add dev wire altname lan0
for l in nic0 wire eth1 eth0; do ip link set $l addrgenmode none; done`)
			carriers(t, hostNS, "nic0")
			before := inventory(t, hostNS)
			s := parsed(t, c.line)
			if c.inner == "lan0" && c.kind == "macvlan" {
				attachKind(t, c.kind, s, g, hostNS, c.needs) // fails at every step too
			}
			for i := range 2 {
				r, err := runAttach(context.Background(), s, g, hostNS, Options{})
				if fault.CodeOf(err) == fault.Unsupported && !testhost.Required(c.needs) {
					testhost.Lacking(t, c.needs, err.Error())
				}
				if err != nil || r.Changed && i == 1 {
					t.Fatalf("attach %d: changed = %v, %v", i+1, r.Changed, err)
				}
			}
			if !strings.Contains(in(t, g.Namespace, "ip", "-o", "address", "show", "dev", c.inner), "10.0.0.2/") {
				t.Errorf("%s of the guest has not got the address", c.inner)
			}
			detachKind(t, g, hostNS)
			if c.kind != "phys" { // a virtual card is returned under a new index
				sameSoon(t, "host", before, func() string { return inventory(t, hostNS) })
			}
		})
	}
}

// TestNamesakePasted: what is printed for such a name does the same when pasted.
func TestNamesakePasted(t *testing.T) {
	needRoot(t)
	for _, line := range []string{"nic0 web 10.0.0.2/24", "nic0 -i lan0 web 10.0.0.2/24", "brtest web 10.0.0.2/24"} {
		t.Run(line, func(t *testing.T) {
			hostNS, g := newNamespace(t), docker(newNamespace(t), 0)
			inhabit(t, g.Namespace)
			g.Path = fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), g.Namespace.Fd())
			in(t, hostNS, "sh", "-ec", quiet+`ip link add nic0 type veth peer name wire; ip link set nic0 up; ip link set wire up
ip link add eth1 type veth peer name eth0; ip link property add dev wire altname lan0`)
			s := parsed(t, line)
			r, err := runAttach(context.Background(), s, g, hostNS, Options{DryRun: true})
			if err != nil {
				t.Fatal(err)
			}
			in(t, hostNS, "sh", "-ec", strings.Join(r.Steps, "\n"))
			if r, err := runAttach(context.Background(), s, g, hostNS, Options{}); err != nil || r.Changed {
				t.Errorf("the same line after its own commands: changed = %v, %v", r.Changed, err)
			}
			detachKind(t, g, hostNS)
		})
	}
}
