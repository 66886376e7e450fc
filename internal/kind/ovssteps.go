package kind

import (
	"context"
	"errors"
	"fmt"
	"net"

	"github.com/gopipework/gopipework/bridge"
	"github.com/gopipework/gopipework/internal/build"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/ours"
	"github.com/gopipework/gopipework/internal/plan"
	"github.com/gopipework/gopipework/internal/spec"
	"golang.org/x/sys/unix"
)

// The steps of an Open vSwitch bridge.

// AwaitOVS waits until the bridge forwards on the port, and then asks
// ovs-vswitchd what its flows do with a broadcast of the guest's. That they drop
// it is a warning alone: who writes flows by hand, or has a controller write
// them, often has to have the port first.
type AwaitOVS struct {
	bridge.OVSPort
	mac net.HardwareAddr
}

// forwarding waits, and returns the bridge and the port as they are then.
func (s AwaitOVS) forwarding(ctx context.Context, m *plan.Machine) (br bridge.OVSBridge, now bridge.OVSPort, err error) {
	err = m.Await(ctx, plan.OnHost, func() (bool, error) {
		var o build.Looker
		ovs := o.OVS(ctx, m.Host())
		if o.Err != nil {
			return false, o.Err
		}
		var there bool
		br, _ = ovs.Bridge(s.Bridge)
		if now, there = ovs.Port(s.Name); !there || now.Bridge != s.Bridge {
			return false, fault.New(fault.Gone, "wait for", s.Name, "somebody removed it from %s", s.Bridge)
		}
		return br.Forwards(now), nil
	})
	return br, now, err
}

func (s AwaitOVS) Do(ctx context.Context, m *plan.Machine) error {
	br, now, err := s.forwarding(ctx, m)
	if err != nil {
		return err
	}
	return m.Host().Run(func() error {
		frame := now.Broadcast(s.mac)
		trace, err := now.Trace(ctx, frame)
		switch {
		case err != nil && ctx.Err() != nil:
			return err
		case err != nil && br.Secure:
			m.Warn(fmt.Sprintf("%s has fail_mode=secure, and it is not known whether one of its flows forwards what %s sends: %v", br.Name, s.Name, err))
		case err == nil && trace.Drops():
			m.Warn(fmt.Sprintf("%s drops what %s sends%s; see why: %s", br.Name, s.Name, whyDropped(br), now.TraceCommand(frame)))
		}
		return nil
	})
}

// whyDropped is the most common reason.
func whyDropped(br bridge.OVSBridge) string {
	switch {
	case br.Secure && len(br.Controllers) > 0:
		return ": it has fail_mode=secure, and its controller has written no flow for it"
	case br.Secure:
		return ": it has fail_mode=secure, no controller, and no flow for it (ovs-ofctl add-flow " + br.Name + " actions=NORMAL)"
	}
	return ", by its flows"
}

func (s AwaitOVS) Undo(context.Context, *plan.Machine) error { return nil }

func (AwaitOVS) Nature() plan.Nature { return plan.Passive }

func (s AwaitOVS) String() string { return "# wait until " + s.Bridge + " forwards on " + s.Name }

// AddOVSBridge makes a bridge of Open vSwitch's.
type AddOVSBridge struct{ bridge.OVSBridge }

func (s AddOVSBridge) Do(ctx context.Context, m *plan.Machine) error {
	return residueOf(m.Host().Run(func() error { return s.Add(ctx) }), s)
}

// Undo leaves the bridge to whoever has come to use it meanwhile.
func (s AddOVSBridge) Undo(ctx context.Context, m *plan.Machine) error {
	var o build.Looker
	now, ok := o.OVS(ctx, m.Host()).Bridge(s.Name)
	if o.Err != nil || !ok || len(now.Ports) > 0 || now.Origin != "" {
		return o.Err
	}
	if l := o.ByName(m.Host(), s.Name); l != nil {
		// Its own port, a link of the kernel's, is a port of the datapath.
		if used, err := ours.IsUsedBut(m, l.Index, fmt.Sprint("master ", l.Master)); err != nil || used {
			return err
		}
	}
	if o.Err != nil {
		return o.Err
	}
	return m.Host().Run(func() error { return s.Delete(ctx) })
}

func (AddOVSBridge) Nature() plan.Nature { return plan.Shared }

func (s AddOVSBridge) String() string { return s.AddCommand() }

// DelOVSBridge deletes one of ours that has no ports.
type DelOVSBridge struct{ bridge.OVSBridge }

func (s DelOVSBridge) Do(ctx context.Context, m *plan.Machine) error {
	return AddOVSBridge(s).Undo(ctx, m)
}

func (s DelOVSBridge) Undo(ctx context.Context, m *plan.Machine) error {
	return AddOVSBridge(s).Do(ctx, m)
}

func (DelOVSBridge) Nature() plan.Nature { return plan.Undoable }

func (s DelOVSBridge) String() string { return s.DeleteCommand() }

// AddOVSPort makes the host's end of the pair a port.
type AddOVSPort struct{ bridge.OVSPort }

func (s AddOVSPort) Do(ctx context.Context, m *plan.Machine) error {
	return residueOf(m.Host().Run(func() error { return s.Add(ctx) }), s)
}

func (s AddOVSPort) Undo(ctx context.Context, m *plan.Machine) error {
	return m.Host().Run(func() error { return s.Delete(ctx) })
}

func (AddOVSPort) Nature() plan.Nature { return plan.Undoable }

func (s AddOVSPort) String() string { return s.AddCommand() }

// DelOVSPort takes a port of ours off its bridge. Open vSwitch keeps one whose
// link has gone.
type DelOVSPort struct{ bridge.OVSPort }

func (s DelOVSPort) Do(ctx context.Context, m *plan.Machine) error { return AddOVSPort(s).Undo(ctx, m) }

func (s DelOVSPort) Undo(ctx context.Context, m *plan.Machine) error { return AddOVSPort(s).Do(ctx, m) }

func (DelOVSPort) Nature() plan.Nature { return plan.Undoable }

func (s DelOVSPort) String() string { return s.DeleteCommand() }

// residueOf names what a step that failed could not undo itself.
func residueOf(err error, s plan.Step) error {
	if errors.Is(err, bridge.ErrLeft) {
		return plan.WithResidue(err, bridge.ErrLeft, []plan.Step{s})
	}
	return err
}

// Checksums has the kernel compute those of what the guest sends. The datapath
// of ovs-vswitchd passes frames on as they are, and a packet whose checksum was
// left to a card that is not there is thrown away by the receiver: ping works,
// TCP does not.
type Checksums struct {
	plan.Place
	inner string
	on    bool // leave them to a card again
}

func (s Checksums) Do(_ context.Context, m *plan.Machine) error { return s.set(m, s.on) }

func (s Checksums) Undo(_ context.Context, m *plan.Machine) error {
	return fault.IgnoreAbsent("find", s.inner, s.set(m, !s.on))
}

func (s Checksums) set(m *plan.Machine, on bool) error {
	err := s.Kernel(m).SetTxChecksum(s.Index(m, s.inner), on)
	if errors.Is(err, unix.EOPNOTSUPP) {
		return nil // it leaves none to a card
	}
	return fault.Explain("set checksum offload of", s.inner, err)
}

func (Checksums) Nature() plan.Nature { return plan.Undoable }

func (s Checksums) String() string {
	return s.Enter + "ethtool -K " + s.inner + " tx " + spec.OnOff(s.on)
}

// LosesChecksums reports whether an Open vSwitch bridge passes on frames of the guest's with
// checksums that nobody has computed: its datapath is that of ovs-vswitchd, which does not
// complete them, and the interface of that index in the guest leaves them to a card. Ping
// works and TCP does not; the receiver counts what it throws away as InCsumErrors in
// /proc/net/snmp. What [Checksums] does mends it.
//
//	ethtool -k NAME | grep ^tx-checksumming
func LosesChecksums(o bridge.OVS, br bridge.OVSBridge, guest plan.Reader, index int) (bool, error) {
	if !br.Userspace() || o.Segments {
		return false, nil
	}
	return guest.TxChecksum(index)
}

// ChangeOVSVLAN puts a port of ours into another VLAN.
type ChangeOVSVLAN struct {
	bridge.OVSPort
	want bridge.VLAN
}

func (s ChangeOVSVLAN) Do(ctx context.Context, m *plan.Machine) error {
	err := m.Host().Run(func() error { return s.SetVLAN(ctx, s.want) })
	return plan.Interrupted(err, m, s)
}

func (s ChangeOVSVLAN) Undo(ctx context.Context, m *plan.Machine) error {
	return m.Host().Run(func() error { return s.SetVLAN(ctx, s.VLAN) })
}

func (ChangeOVSVLAN) Nature() plan.Nature { return plan.Undoable }

func (s ChangeOVSVLAN) String() string { return s.SetVLANCommand(s.want) }

// ChangeOVSMark changes the mark of a port of ours.
type ChangeOVSMark struct {
	bridge.OVSPort
	want string
}

func (s ChangeOVSMark) Do(ctx context.Context, m *plan.Machine) error {
	err := m.Host().Run(func() error { return s.SetMark(ctx, s.want) })
	return plan.Interrupted(err, m, s)
}

func (s ChangeOVSMark) Undo(ctx context.Context, m *plan.Machine) error {
	return m.Host().Run(func() error { return s.SetMark(ctx, s.Mark) })
}

func (ChangeOVSMark) Nature() plan.Nature { return plan.Undoable }

func (s ChangeOVSMark) String() string { return s.SetMarkCommand(s.want) }

// TakeOVSPort writes the record of a parked port anew, for the guest that it gets.
type TakeOVSPort struct{ want, was bridge.OVSPort }

func (s TakeOVSPort) Do(ctx context.Context, m *plan.Machine) error {
	err := m.Host().Run(func() error { return s.want.SetIDs(ctx) })
	return plan.Interrupted(err, m, s)
}

func (s TakeOVSPort) Undo(ctx context.Context, m *plan.Machine) error {
	return m.Host().Run(func() error { return s.was.SetIDs(ctx) })
}

func (TakeOVSPort) Nature() plan.Nature { return plan.Undoable }

func (s TakeOVSPort) String() string { return s.want.SetIDsCommand() }
