package attach

import (
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/rtnl"
)

// The MTU of a link and that of what it is on. The kernel lets no macvlan and no
// VLAN have more than its parent. An ipvlan and the port of a switch can, and
// frames of that length vanish on the way.

// on is what the guest's link is to be on, if that is there.
func (b *builder) on() *rtnl.Link {
	if b.onTagged() && b.f.Tagged != nil {
		return b.f.Tagged
	}
	return b.f.Base
}

// checkMTU refuses an MTU that a link of the kind cannot have there.
func (b *builder) checkMTU(mtu int, on *rtnl.Link) error {
	if on == nil || mtu <= on.MTU || b.kind != KindMacvlan && b.kind != KindVLAN {
		return nil
	}
	return b.refuse(fault.Conflict, "an MTU of %d is more than %s's %d", mtu, on.Name, on.MTU).
		WithHint("--mtu %d, or ip link set dev %s mtu %d", on.MTU, on.Name, mtu)
}

// warnMTU warns of an MTU that does not go together with that of the switch or
// card.
func (b *builder) warnMTU(mtu int, on *rtnl.Link) {
	switch {
	case on == nil || mtu == 0 || !b.kind.pair() && b.kind != KindIPvlan:
	case mtu > on.MTU:
		b.warn("an MTU of %d is more than %s's %d: longer packets may vanish there", mtu, on.Name, on.MTU)
	case mtu < on.MTU && b.kind.pair():
		b.warn("the MTU of %s may follow its lowest port: %d is below its %d", on.Name, mtu, on.MTU)
	}
}
