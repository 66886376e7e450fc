package rtnl

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"golang.org/x/sys/unix"
)

// two returns two namespaces with a veth between them, nic in the first, with
// all that a link may carry.
func two(t *testing.T) (from, to space) {
	t.Helper()
	from, to = newSpace(t), newSpace(t)
	from.sh(`
ip link add nic address 02:00:00:00:00:07 mtu 1400 txqueuelen 77 type veth peer name wire
ip link set wire up; ip link set nic up group 5 alias "a card"
ip link property add dev nic altname enp0 altname enx1
ip address add 10.0.0.1/24 dev nic`)
	return from, to
}

func TestChange(t *testing.T) {
	needRoot(t)
	s, _ := two(t)
	nic := s.link("nic")
	want := Link{Name: "nic", AltNames: []string{"enp0", "enx1"}, Alias: "a card", Type: unix.ARPHRD_ETHER, Group: 5,
		MTU: 1400, TxQueue: 77, Up: true, Carrier: true}
	brief := func(l *Link) Link {
		return Link{Name: l.Name, AltNames: l.AltNames, Alias: l.Alias, Type: l.Type, Group: l.Group,
			MTU: l.MTU, TxQueue: l.TxQueue, Up: l.Up, Carrier: l.Carrier}
	}
	if diff := cmp.Diff(want, brief(nic), cmpopts.EquateComparable(netip.Addr{})); diff != "" {
		t.Errorf("as made (-want +got):\n%s", diff)
	}
	if nic.Flags&unix.IFF_UP == 0 || nic.Flags&unix.IFF_BROADCAST == 0 {
		t.Errorf("flags %#x", nic.Flags)
	}
	queue, group := 0, uint32(0)
	ok(t, "change", s.SetLink(nic.Index, Change{NoAlias: true, TxQueue: &queue, Group: &group, Down: true}))
	want.Alias, want.TxQueue, want.Group, want.Up, want.Carrier = "", 0, 0, false, false
	if diff := cmp.Diff(want, brief(s.link("nic")), cmpopts.EquateComparable(netip.Addr{})); diff != "" {
		t.Errorf("changed (-want +got):\n%s", diff)
	}
	ok(t, "rename", s.SetLink(nic.Index, Change{Name: "card0"}))
	answers(t, "take a name that is taken", s.SetLink(nic.Index, Change{Name: "wire"}), unix.EEXIST)
	if got := s.link("card0"); got.Index != nic.Index || s.has("nic") {
		t.Errorf("renamed: %+v", got)
	}
	s.sh("ip link set card0 up; ip link set card0 promisc on; ip link set wire down")
	if l := s.link("card0"); l.Promisc != 1 || l.Carrier || !l.Up {
		t.Errorf("with the cable out: %+v", l)
	}
}
