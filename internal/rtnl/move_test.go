package rtnl

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

func TestMoveLink(t *testing.T) {
	needRoot(t)
	from, to := two(t)
	group := uint32(0x6770)
	ok(t, "move", from.MoveLink(from.link("nic").Index, Move{NS: to.ns, Name: "eth1", Group: &group}))
	if from.has("nic") {
		t.Error("it is still here")
	}
	got := to.link("eth1")
	if got.Up || got.Group != group || got.Alias != "a card" || got.MTU != 1400 || got.TxQueue != 77 ||
		got.MAC.String() != "02:00:00:00:00:07" || !cmp.Equal(got.AltNames, []string{"enp0", "enx1"}) {
		t.Errorf("as it arrived: %+v", got)
	}
	back := uint32(5)
	ok(t, "move back", to.MoveLink(got.Index, Move{NS: from.ns, Name: "nic", Group: &back}))
	if l := from.link("nic"); l.Group != 5 {
		t.Errorf("group %d", l.Group)
	}
}

// TestMoveLinkClash shows what the kernel begins and does not finish; the comment of
// MoveLink says it.
func TestMoveLinkClash(t *testing.T) {
	needRoot(t)
	group := uint32(0x6770)
	for _, test := range []struct {
		name, taken string // there
		err         error
		where       string // "" for still here
	}{
		{"its new name is taken", "eth1", unix.EEXIST, "nic"},
		{"its old name is taken", "nic", nil, "eth1"},
		{"its alternative name is taken", "enx1", unix.EEXIST, ""},
		{"both are", "nic eth1", unix.EEXIST, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			from, to := two(t)
			to.sh("for n in " + test.taken + "; do ip link add $n type bridge; done")
			nic := from.link("nic")
			answers(t, "move", from.MoveLink(nic.Index, Move{NS: to.ns, Name: "eth1", Group: &group}), test.err)
			if here := from.has("nic"); here != (test.where == "") {
				t.Errorf("still here: %v", here)
			}
			if test.where == "" {
				if l := from.link("nic"); l.Group != 5 || !l.Up {
					t.Errorf("not moved, and changed: %+v", l)
				}
				return
			}
			if l := to.link(test.where); l.Kind != "veth" || l.Group != group || l.Up {
				t.Errorf("moved: %+v", l)
			}
		})
	}
}
