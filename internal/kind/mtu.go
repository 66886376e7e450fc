package kind

import (
	"github.com/gopipework/gopipework/internal/build"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/rtnl"
)

// The MTU of a link and that of what it is on. The kernel lets no macvlan and no
// VLAN have more than its parent. An ipvlan and the port of a switch can, and
// frames of that length vanish on the way.

// CheckMTU refuses an MTU that a link of the kind cannot have there.
func CheckMTU(j *build.Job, mtu int, on *rtnl.Link) error {
	if on == nil || mtu <= on.MTU || !j.Traits.Child || j.Traits.LongFrames {
		return nil
	}
	return j.Refuse(fault.Conflict, "an MTU of %d is more than %s's %d", mtu, on.Name, on.MTU).
		WithHint("--mtu %d, or ip link set dev %s mtu %d", on.MTU, on.Name, mtu)
}

// WarnMTU warns of an MTU that does not go together with that of the switch or
// card.
func WarnMTU(j *build.Job, d *build.Draft, mtu int, on *rtnl.Link) {
	switch t := j.Traits; {
	case on == nil || mtu == 0 || !t.LongFrames:
	case mtu > on.MTU:
		d.Warn("an MTU of %d is more than %s's %d: longer packets may vanish there", mtu, on.Name, on.MTU)
	case mtu < on.MTU && t.Switches:
		d.Warn("the MTU of %s may drop to %d, that of its lowest port: it is %d now", on.Name, mtu, on.MTU)
	}
}
