package attach

import (
	"context"
	"strings"
	"testing"

	"github.com/gopipework/gopipework/internal/guests"

	testhost "github.com/gopipework/gopipework/e2e/host"
	"github.com/gopipework/gopipework/internal/fault"
)

// TestVLANName: a card's sub-interface for a VLAN is used under whatever name it
// has, and stays; where it cannot be, it or the guest that has it is named.
func TestVLANName(t *testing.T) {
	needRoot(t)
	hostNS := newNamespace(t)
	in(t, hostNS, "sh", "-ec", quiet+"ip link add nic0 type veth peer name wire; ip link set nic0 up; ip link set wire up")
	carriers(t, hostNS, "nic0")
	if out, err := tryIn(hostNS, "sh", "-ec", "ip link add link nic0 name vlan10 type vlan id 10; ip link set vlan10 up; ip link add link nic0 name nic0.30 type vlan protocol 802.1ad id 30"); err != nil {
		testhost.Lacking(t, "8021q", out)
	}
	guests := map[string]guests.Guest{}
	for _, name := range []string{"web", "db"} {
		g := docker(newNamespace(t), 0)
		inhabit(t, g.Namespace)
		g.Name, g.ID = name, strings.Repeat(name[:1], 12)
		guests[name] = g
	}
	before := inventory(t, hostNS)
	for _, line := range []string{"nic0 web 10.0.0.2/24 @10", "nic0 web 10.0.0.2/24 @10 --host-access", "ipvlan:nic0 web 10.0.0.2/24 @10"} {
		for i, changed := range []bool{true, false} {
			r, err := runAttach(context.Background(), parsed(t, line), guests["web"], hostNS, Options{})
			if err != nil || r.Changed != changed {
				t.Fatalf("%s, %d: changed = %v, %v", line, i+1, r.Changed, err)
			}
		}
		detachKind(t, guests["web"], hostNS)
		sameSoon(t, "host", before, func() string { return inventory(t, hostNS) })
	}
	refused := func(guest, line string, says ...string) {
		t.Helper()
		_, err := runAttach(context.Background(), parsed(t, line), guests[guest], hostNS, Options{})
		for _, word := range says {
			if fault.CodeOf(err) != fault.Conflict || !strings.Contains(errorText(err), word) {
				t.Errorf("%s: %v; want a conflict that says %q", line, err, word)
			}
		}
	}
	refused("web", "vlan:nic0 web 10.0.0.2/24 @10", "vlan10", "macvlan:vlan10")
	refused("web", "nic0 web 10.0.0.2/24 @30", "nic0.30")
	if _, err := runAttach(context.Background(), parsed(t, "vlan:nic0 db 10.0.0.3/24 @20"), guests["db"], hostNS, Options{}); err != nil {
		t.Fatal(err)
	}
	refused("web", "vlan:nic0 web 10.0.0.2/24 @20", "eth1 of db", "detach docker:db eth1")
	refused("web", "nic0 web 10.0.0.2/24 @20", "eth1 of db")
	detachKind(t, guests["db"], hostNS)
	sameSoon(t, "host at the end", before, func() string { return inventory(t, hostNS) })
}
