package attach

import (
	"context"
	"strings"
	"testing"

	"github.com/gopipework/gopipework/internal/fault"
)

// TestCardNexthops: a card with a nexthop object is in use; with --force-phys
// what is lost of the objects is named, and that is what is lost.
func TestCardNexthops(t *testing.T) {
	needRoot(t)
	notesHere(t)
	hostNS, g := newNamespace(t), docker(newNamespace(t), 0)
	in(t, hostNS, "sh", "-ec", quiet+`for n in 0 1; do ip link add nic$n type veth peer name wire$n; ip link set nic$n up; ip link set wire$n up; done
ip nexthop add id 7 dev nic0; ip nexthop add id 8 dev nic1; ip nexthop add id 9 group 7/8
ip route add 10.9.0.0/16 nhid 7`)
	carriers(t, hostNS, "nic0", "wire0")
	_, err := runAttach(context.Background(), parsed(t, "phys:nic0 web 0/0"), g, hostNS, Options{})
	if fault.CodeOf(err) != fault.Conflict || !strings.Contains(err.Error(), "nexthop object 7") {
		t.Errorf("attach: %v; want a conflict that names nexthop object 7", err)
	}
	in(t, hostNS, "sh", "-ec", "ip nexthop show | grep -q '^id 7 '")
	r, err := runAttach(context.Background(), parsed(t, "phys:nic0 web 0/0 --force-phys"), g, hostNS, Options{})
	if err != nil {
		t.Fatal(err)
	}
	said := strings.Join(r.Warnings, "\n")
	for _, want := range []string{"nexthop object 7", "member 7 of nexthop group 9"} {
		if !strings.Contains(said, want) {
			t.Errorf("warnings %q; want %q", said, want)
		}
	}
	if strings.Contains(said, "object 8") {
		t.Errorf("warnings %q: nexthop object 8 is by another card", said)
	}
	if _, err := runDetach(context.Background(), Selection{}, g, hostNS, Options{}); err != nil {
		t.Error(err)
	}
	in(t, hostNS, "sh", "-ec", `ip nexthop show | grep -q '^id 8 '; ip route show 10.9.0.0/16 | grep -q "dev nic0"; ! ip nexthop show | grep -q '^id 7 '`)
}

// TestCardNexthopGroup: a route by a group of nexthop objects outlives the card that
// one of them is by, and there is one such route when the card is returned; one by a
// group that goes with the card is restored.
func TestCardNexthopGroup(t *testing.T) {
	needRoot(t)
	notesHere(t)
	hostNS, g := newNamespace(t), docker(newNamespace(t), 0)
	in(t, hostNS, "sh", "-ec", quiet+`for n in 0 1; do ip link add nic$n type veth peer name wire$n; ip link set nic$n up; ip link set wire$n up
ip address add 10.0.$n.1/24 dev nic$n; ip address add 2001:db8:$n::1/64 dev nic$n nodad; done
ip nexthop add id 7 via 10.0.0.9 dev nic0; ip nexthop add id 8 via 10.0.1.9 dev nic1; ip nexthop add id 9 group 7/8; ip nexthop add id 10 group 7
ip nexthop add id 17 via 2001:db8:0::9 dev nic0; ip nexthop add id 18 via 2001:db8:1::9 dev nic1; ip nexthop add id 19 group 17/18
ip route add 10.9.0.0/16 nhid 9; ip route add 10.10.0.0/16 nhid 10; ip -6 route add 2001:db8:9::/48 nhid 19`)
	carriers(t, hostNS, "nic0", "wire0", "nic1", "wire1")
	if _, err := runAttach(context.Background(), parsed(t, "phys:nic0 web 0/0 --force-phys"), g, hostNS, Options{}); err != nil {
		t.Fatal(err)
	}
	if _, err := runDetach(context.Background(), Selection{}, g, hostNS, Options{}); err != nil {
		t.Error(err)
	}
	in(t, hostNS, "sh", "-ec", `ip route; ip -6 route; ip nexthop
[ $(ip route show 10.9.0.0/16 | grep -c ^10.9) = 1 ]; ip route show 10.9.0.0/16 | grep -q 'nhid 9'
ip route show 10.10.0.0/16 | grep -q 'via 10.0.0.9 dev nic0'
[ $(ip -6 route show 2001:db8:9::/48 | grep -c ^2001) = 1 ]; ip -6 route show 2001:db8:9::/48 | grep -q 'nhid 19'`)
	noNotes(t)
}
