package rtnl

import (
	"fmt"
	"testing"

	"golang.org/x/sys/unix"
)

// TestNode: a link keeps its node whatever is changed of it, and one made in its
// image has another.
func TestNode(t *testing.T) {
	needRoot(t)
	here, there := newSpace(t), newSpace(t)
	here.sh("ip link add nic type veth peer name wire")
	was := here.link("nic")
	node := func(s space, name string) uint64 {
		t.Helper()
		n, err := s.Node(s.link(name))
		ok(t, "node of "+name, err)
		return n
	}
	want := node(here, "nic")
	if other := node(here, "wire"); other == want || other == 0 {
		t.Errorf("nic and wire have the nodes %d and %d", want, other)
	}
	ok(t, "move", here.MoveLink(was.Index, Move{NS: there.ns, Name: "eth1", Index: 77}))
	there.sh("ip link set eth1 name lost address 02:00:00:00:00:99 mtu 1300")
	if got := node(there, "lost"); got != want || there.link("lost").Index != 77 {
		t.Errorf("moved: %d, want %d; index %d", got, want, there.link("lost").Index)
	}
	_, err := there.Node(&Link{Name: "eth1", Index: 77})
	answers(t, "node by a name that it has no more", err, ErrNotFound)
	_, err = there.Node(&Link{Name: "lost", Index: 78})
	answers(t, "node of a link whose name another has", err, ErrNotFound)
	here.sh("ip link add taken index 5000 type bridge")
	answers(t, "move to an index that is taken", there.MoveLink(77, Move{NS: here.ns, Index: 5000}), unix.EBUSY)
	ok(t, "move back", there.MoveLink(77, Move{NS: here.ns, Name: "nic", Index: was.Index}))
	if got := node(here, "nic"); got != want {
		t.Errorf("back: %d, want %d", got, want)
	}
	here.sh(fmt.Sprintf("ip link del nic; ip link add nic index %d type veth peer name wire", was.Index))
	if got := node(here, "nic"); got == want {
		t.Error("one made in its image has the same")
	}
}
