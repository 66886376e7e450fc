package attach

import (
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/rtnl"
)

// The MTU of a link and that of what it is on. The kernel lets no macvlan and no
// VLAN have more than its parent. An ipvlan and the port of a switch can, and
// frames of that length vanish on the way.

// on is what the guest's link is to be on, if that is there.
func (j *job) on() *rtnl.Link {
	if j.subInterface && j.f.Tagged != nil {
		return j.f.Tagged
	}
	return j.f.Base
}

// checkMTU refuses an MTU that a link of the kind cannot have there.
func (j *job) checkMTU(mtu int, on *rtnl.Link) error {
	if on == nil || mtu <= on.MTU || !j.traits().child || j.traits().longFrames {
		return nil
	}
	return j.refuse(fault.Conflict, "an MTU of %d is more than %s's %d", mtu, on.Name, on.MTU).
		WithHint("--mtu %d, or ip link set dev %s mtu %d", on.MTU, on.Name, mtu)
}

// warnMTU warns of an MTU that does not go together with that of the switch or
// card.
func (j *job) warnMTU(d *draft, mtu int, on *rtnl.Link) {
	switch t := j.traits(); {
	case on == nil || mtu == 0 || !t.longFrames:
	case mtu > on.MTU:
		d.warn("an MTU of %d is more than %s's %d: longer packets may vanish there", mtu, on.Name, on.MTU)
	case mtu < on.MTU && t.switches:
		d.warn("the MTU of %s may follow its lowest port: %d is below its %d", on.Name, mtu, on.MTU)
	}
}
