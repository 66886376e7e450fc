package kind

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/gopipework/gopipework/internal/build"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/ours"
	"github.com/gopipework/gopipework/internal/plan"
	"github.com/gopipework/gopipework/internal/rtnl"
	"github.com/gopipework/gopipework/internal/shell"
	"github.com/gopipework/gopipework/internal/spec"
	"golang.org/x/sys/unix"
)

// The steps of VXLANs.

// AddVXLAN makes a VXLAN as a port of a bridge, sets it up, and marks it.
type AddVXLAN struct {
	spec.VXLAN
	Name, Bridge string
	MTU          int
	Mark         string // of an origin that asks for it; "": none does
}

func (s AddVXLAN) Do(_ context.Context, m *plan.Machine) error {
	master, err := m.Find(plan.OnHost, s.Bridge)
	if err != nil {
		return fault.Explain("find bridge", s.Bridge, err)
	}
	is := rtnl.VXLAN{VNI: s.VNI, Local: s.Local, Port: s.Port, Learning: s.learns()}
	err = m.Host().AddVXLAN(rtnl.NewVXLAN{VXLAN: is, Name: s.Name, MTU: s.MTU, Group: plan.Group, Master: master})
	switch {
	case errors.Is(err, unix.EOPNOTSUPP):
		return fault.New(fault.Unsupported, "make vxlan", s.Name, "%w", err).WithHint("%s", ours.Missing("vxlan"))
	case errors.Is(err, unix.EXFULL):
		return fault.New(fault.Limit, "plug "+s.Name+" into", s.Bridge, "it is full: the kernel gives a bridge 1,023 ports").WithHint("use another bridge")
	case err != nil:
		return fault.Explain("make vxlan", s.Name, err)
	}
	if err = s.setUp(m); errors.Is(err, unix.EADDRINUSE) {
		err = fault.New(fault.Conflict, "set up vxlan", s.Name, "another program has UDP port %d", s.Port).WithHint("see which: ss -nulp sport = %d", s.Port)
	}
	if err != nil {
		return plan.Half(fault.Explain("set up vxlan", s.Name, err), ours.DropNamed(m, "vxlan", s.Name), s)
	}
	return nil
}

// learns reports whether stations are learned from the frames that come.
func (s AddVXLAN) learns() bool { return len(s.Peers) > 0 }

// setUp does the rest to the link that was made.
func (s AddVXLAN) setUp(m *plan.Machine) error {
	l, err := m.Host().LinkByName(s.Name)
	if err != nil {
		return err
	}
	m.Know(plan.OnHost, s.Name, l.Index)
	err = m.Host().SetLink(l.Index, rtnl.Change{AddrGenNone: true})
	if err == nil || errors.Is(err, unix.EAFNOSUPPORT) { // no IPv6 in the kernel, or too low an MTU for it
		err = m.Host().SetPortSuppress(l.Index, !s.learns(), s.learns())
	}
	for _, p := range s.Peers {
		if err == nil {
			err = m.Host().AddFlood(l.Index, p)
		}
	}
	if err == nil && s.Mark != "" {
		err = m.Host().AddAltName(l.Index, s.Mark)
	}
	if err == nil {
		err = m.Host().SetLink(l.Index, rtnl.Change{Alias: build.VXLANMark, Up: true})
	}
	return err
}

// Undo leaves it to others who have plugged into the bridge meanwhile.
func (s AddVXLAN) Undo(_ context.Context, m *plan.Machine) error {
	if others, err := othersOn(m, s.Bridge); others || err != nil {
		return err
	}
	return ours.DropNamed(m, "vxlan", s.Name)
}

func (AddVXLAN) Nature() plan.Nature { return plan.Shared }

func (s AddVXLAN) String() string {
	learning, learn, suppress := "nolearning", spec.Off, spec.On
	if s.learns() {
		learning, learn, suppress = "learning", spec.On, spec.Off
	}
	lines := []string{
		fmt.Sprintf("ip link add name %s group %d type vxlan id %d local %s dstport %d %s", s.Name, plan.Group, s.VNI, s.Local, s.Port, learning),
		fmt.Sprintf("ip link set dev %s master %s addrgenmode none mtu %d", s.Name, s.Bridge, s.MTU),
		fmt.Sprintf("ip link set dev %s type bridge_slave neigh_suppress %s learning %s", s.Name, suppress, learn),
	}
	for _, p := range s.Peers {
		lines = append(lines, FloodTo{VXLAN: s.Name, Host: p}.String())
	}
	if s.Mark != "" {
		lines = append(lines, ours.AddMark{Link: s.Name, Mark: s.Mark}.String())
	}
	return strings.Join(append(lines, "ip link set dev "+s.Name+" alias "+shell.Quote(build.VXLANMark)+" up"), "\n")
}

// DelVXLAN deletes a VXLAN of ours, unless a port of ours is on its bridge by then.
type DelVXLAN struct {
	AddVXLAN
	Index    int
	replaced bool // another takes its place
}

// EndUplink deletes the uplink of ours that a bridge has; "": one that serves nobody.
func EndUplink(bridge string, u build.Uplink) DelVXLAN {
	s := DelVXLAN{AddVXLAN{VXLAN: u.VXLAN(), Name: u.Link.Name, Bridge: bridge, MTU: u.Link.MTU}, u.Link.Index, false}
	if m, is := ours.UplinkMarkOf(u.Link); is {
		s.Mark = m.String()
	}
	return s
}

func (s DelVXLAN) Do(_ context.Context, m *plan.Machine) error {
	l, err := m.Host().LinkByIndex(s.Index)
	if err != nil || !build.IsVXLAN(l) {
		return fault.IgnoreAbsent("delete", s.Name, err)
	}
	m.Know(plan.OnHost, s.Name, l.Index)
	if l.Master != 0 && l.Alias != "" && !s.replaced {
		ports, err := m.Host().Ports(l.Master)
		if err != nil || slices.ContainsFunc(ports, guestPort) {
			return fault.Explain("list the ports beside", s.Name, err)
		}
	}
	m.Forget(plan.OnHost, s.Name)
	return fault.IgnoreAbsent("delete", s.Name, ours.DeleteLink(m.Host(), l.Index))
}

// Undo makes it again, unless somebody used it and it stayed, it was half made, or it is not
// said of which bridge it was: then it served nobody.
func (s DelVXLAN) Undo(ctx context.Context, m *plan.Machine) error {
	if m.Knows(plan.OnHost, s.Name) || !s.Asked() || s.Bridge == "" {
		return nil
	}
	return s.AddVXLAN.Do(ctx, m)
}

func (DelVXLAN) Nature() plan.Nature { return plan.Undoable }

func (s DelVXLAN) String() string { return "ip link del dev " + s.Name }

// FloodTo has a VXLAN send frames for unknown stations to one more host.
type FloodTo struct {
	VXLAN string
	Host  netip.Addr
}

func (s FloodTo) Do(_ context.Context, m *plan.Machine) error {
	i, err := m.Find(plan.OnHost, s.VXLAN)
	if err == nil {
		err = m.Host().AddFlood(i, s.Host)
	}
	return fault.Explain("add peer to", s.VXLAN, err)
}

func (s FloodTo) Undo(_ context.Context, m *plan.Machine) error {
	i, err := m.Find(plan.OnHost, s.VXLAN)
	if err == nil {
		err = m.Host().DelFlood(i, s.Host)
	}
	return fault.IgnoreAbsent("delete peer of", s.VXLAN, err)
}

func (FloodTo) Nature() plan.Nature { return plan.Undoable }

func (s FloodTo) String() string { return s.words("append") }

func (s FloodTo) words(verb string) string {
	return "bridge fdb " + verb + " 00:00:00:00:00:00 dev " + s.VXLAN + " dst " + s.Host.String()
}

// NotFloodTo ends that.
type NotFloodTo FloodTo

func (s NotFloodTo) Do(ctx context.Context, m *plan.Machine) error   { return FloodTo(s).Undo(ctx, m) }
func (s NotFloodTo) Undo(ctx context.Context, m *plan.Machine) error { return FloodTo(s).Do(ctx, m) }

func (NotFloodTo) Nature() plan.Nature { return plan.Undoable }

func (s NotFloodTo) String() string { return FloodTo(s).words("del") }
