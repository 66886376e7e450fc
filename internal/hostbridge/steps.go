package hostbridge

import (
	"context"
	"errors"
	"net/netip"
	"slices"

	"github.com/gopipework/gopipework/bridge"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/guestnet"
	"github.com/gopipework/gopipework/internal/kind"
	"github.com/gopipework/gopipework/internal/ours"
	"github.com/gopipework/gopipework/internal/plan"
	"github.com/gopipework/gopipework/internal/rtnl"
	"golang.org/x/sys/unix"
)

// SetOVSOrigin notes who asks for an Open vSwitch bridge.
type SetOVSOrigin struct{ bridge, origin, was string }

func (s SetOVSOrigin) Do(ctx context.Context, m *plan.Machine) error {
	err := m.Host().Run(func() error { return bridge.OVSBridge{Name: s.bridge}.SetOrigin(ctx, s.origin) })
	return plan.Interrupted(err, m, s)
}

func (s SetOVSOrigin) Undo(ctx context.Context, m *plan.Machine) error {
	return m.Host().Run(func() error { return bridge.OVSBridge{Name: s.bridge}.SetOrigin(ctx, s.was) })
}

func (SetOVSOrigin) Nature() plan.Nature { return plan.Undoable }

func (s SetOVSOrigin) String() string {
	return bridge.OVSBridge{Name: s.bridge}.SetOriginCommand(s.origin)
}

// Unplug takes an uplink out of a bridge, unless somebody has moved it since it was looked at.
type Unplug struct{ kind.PlugIn }

func (s Unplug) Do(ctx context.Context, m *plan.Machine) error {
	in, err := s.PlugIn.In(m)
	if err != nil || !in {
		return err
	}
	return s.PlugIn.Undo(ctx, m)
}

func (s Unplug) Undo(ctx context.Context, m *plan.Machine) error { return s.PlugIn.Do(ctx, m) }

func (Unplug) Nature() plan.Nature { return plan.Undoable }

func (s Unplug) String() string { return s.PlugIn.Unplugging() }

// Trunk has an uplink carry VLANs with their tags. They go with the port.
type Trunk struct {
	port  string
	VLANs []rtnl.PortVLAN
}

func (s Trunk) Do(_ context.Context, m *plan.Machine) error {
	i, err := m.Find(plan.OnHost, s.port)
	if err == nil {
		err = m.Host().AddPortVLANs(i, s.VLANs)
	}
	if errors.Is(err, unix.EOPNOTSUPP) {
		return nil // this kernel filters none; a guest that asks for a VLAN is refused
	}
	return fault.Explain("add VLANs to", s.port, err)
}

func (s Trunk) Undo(context.Context, *plan.Machine) error { return nil }

func (Trunk) Nature() plan.Nature { return plan.Undoable }

func (s Trunk) String() (lines string) {
	for n, v := range s.VLANs {
		if n > 0 {
			lines += "\n"
		}
		lines += "bridge vlan add dev " + s.port + " vid " + bridge.TagRange{First: v.First, Last: v.Last}.String()
	}
	return lines
}

// AddAddr gives the host an address on a bridge, marked as ours by its protocol.
type AddAddr struct {
	bridge string
	prefix netip.Prefix
}

func (s AddAddr) Do(_ context.Context, m *plan.Machine) error {
	if err := s.add().Do(context.Background(), m); err != nil {
		return err
	}
	i := m.Index(plan.OnHost, s.bridge)
	all, err := m.Host().Addrs()
	if err == nil && slices.ContainsFunc(all, func(a rtnl.Addr) bool { return a.Index == i && a.Prefix == s.prefix && a.Proto != ours.Protocol }) {
		err = fault.New(fault.Unsupported, "mark address", s.prefix.String(), "this kernel does not keep who set an address").
			WithHint("Linux does since 5.18; with an older kernel, leave the address out of the file, and set it in the configuration of the host")
	}
	if err != nil {
		return plan.Half(fault.Explain("read addresses of", s.bridge, err), m.Host().DelAddr(i, s.prefix), s)
	}
	return nil
}

func (s AddAddr) Undo(_ context.Context, m *plan.Machine) error {
	if _, err := m.Find(plan.OnHost, s.bridge); err != nil {
		return fault.IgnoreAbsent("find", s.bridge, err)
	}
	return s.add().Undo(context.Background(), m)
}

func (AddAddr) Nature() plan.Nature { return plan.Undoable }

func (s AddAddr) String() string { return s.add().String() }

func (s AddAddr) add() plan.AddAddr {
	return plan.AddAddr{Inner: s.bridge, Prefix: s.prefix, Proto: ours.Protocol}
}

// DelAddr deletes it.
type DelAddr struct{ AddAddr }

func (s DelAddr) Do(ctx context.Context, m *plan.Machine) error   { return s.AddAddr.Undo(ctx, m) }
func (s DelAddr) Undo(ctx context.Context, m *plan.Machine) error { return s.AddAddr.Do(ctx, m) }

func (DelAddr) Nature() plan.Nature { return plan.Undoable }

func (s DelAddr) String() string { return "ip address del " + s.prefix.String() + " dev " + s.bridge }

// AwaitUplink waits until the bridge passes on what the uplink hears. An uplink without a
// carrier is a warning alone: the cable may be plugged in later.
type AwaitUplink struct {
	uplink, bridge string
	ovs            bool
}

func (s AwaitUplink) Do(ctx context.Context, m *plan.Machine) error {
	if err := (guestnet.AwaitCarrier{Link: s.uplink, Card: s.uplink}).Do(ctx, m); err != nil || s.ovs {
		return err
	}
	i, err := m.Find(plan.OnHost, s.uplink)
	if err != nil {
		return fault.Explain("find", s.uplink, err)
	}
	if l, err := m.Host().LinkByIndex(i); err != nil || !l.Carrier {
		return fault.Explain("find", s.uplink, err)
	}
	if _, err := m.Find(plan.OnHost, s.bridge); err != nil {
		return fault.Explain("find", s.bridge, err)
	}
	return kind.AwaitForwardingOf(s.uplink, s.bridge).Do(ctx, m)
}

func (s AwaitUplink) Undo(context.Context, *plan.Machine) error { return nil }

func (AwaitUplink) Nature() plan.Nature { return plan.Passive }

func (s AwaitUplink) String() string {
	return "# wait until " + s.uplink + " has a carrier, and " + s.bridge + " forwards on it"
}

// AwaitAddrs waits until IPv6 addresses are known to be nobody else's. While the bridge has
// no carrier nobody can be asked, and the kernel asks when it has.
type AwaitAddrs struct{ plan.AwaitDAD }

func (s AwaitAddrs) Do(ctx context.Context, m *plan.Machine) error {
	i, err := m.Find(plan.OnHost, s.Inner)
	if err != nil {
		return fault.Explain("find", s.Inner, err)
	}
	if l, err := m.Host().LinkByIndex(i); err != nil || !l.Carrier {
		return fault.Explain("find", s.Inner, err)
	}
	return s.AwaitDAD.Do(ctx, m)
}

func (s AwaitAddrs) Undo(context.Context, *plan.Machine) error { return nil }

func (AwaitAddrs) Nature() plan.Nature { return plan.Passive }

func (s AwaitAddrs) String() string { return s.AwaitDAD.String() }
