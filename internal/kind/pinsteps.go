package kind

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/guestnet"
	"github.com/gopipework/gopipework/internal/lease"
	"github.com/gopipework/gopipework/internal/ours"
	"github.com/gopipework/gopipework/internal/plan"
	"github.com/gopipework/gopipework/internal/rtnl"
	"github.com/gopipework/gopipework/internal/source"
)

// The steps of pins.

// Pin pins a guest to its port.
type Pin struct {
	Port, Bridge string
	MAC          net.HardwareAddr
	Want         []netip.Addr
	Was          []netip.Addr // that are pinned to the MAC address already
	Static       bool         // the MAC address is pinned to the port already
	Leased       bool         // an earlier step gets another address, from a DHCP server
}

// changes reports whether there is anything to do.
func (s Pin) changes() bool { return !s.Static || s.Leased || !ours.SameSet(s.Want, s.Was) }

func (s Pin) Do(_ context.Context, m *plan.Machine) error {
	port, bridge, err := s.find(m)
	if err == nil {
		err = m.Host().SetStation(port, s.MAC)
	}
	if err == nil {
		err = s.become(m, bridge, s.Was, s.wanted(m))
	}
	if err != nil {
		return plan.Half(fault.Explain("pin "+s.MAC.String()+" to", s.Port, err), s.restore(m), s)
	}
	return nil
}

// wanted are all the addresses, with a leased one.
func (s Pin) wanted(m *plan.Machine) []netip.Addr {
	if l, _ := m.Remembered(guestnet.LeaseKey{}).(*lease.Lease); s.Leased && l != nil {
		return append(slices.Clone(s.Want), l.Address.Addr())
	}
	return s.Want
}

func (s Pin) find(m *plan.Machine) (port, bridge int, err error) {
	if port, err = m.Find(plan.OnHost, s.Port); err == nil {
		bridge, err = m.Find(plan.OnHost, s.Bridge)
	}
	return port, bridge, err
}

// become enters neighbours of the bridge, and deletes those that were there and are not wanted.
func (s Pin) become(m *plan.Machine, bridge int, was, want []netip.Addr) error {
	for _, a := range want {
		if err := m.Host().SetFixedNeighbour(rtnl.FixedNeighbour{Index: bridge, Addr: a, MAC: s.MAC, Protocol: ours.Protocol}); err != nil {
			return err
		}
	}
	for _, a := range was {
		if slices.Contains(want, a) {
			continue
		}
		if err := source.DropNeighbour(m.Host(), rtnl.FixedNeighbour{Index: bridge, Addr: a, MAC: s.MAC}); err != nil {
			return err
		}
	}
	return nil
}

func (s Pin) Undo(_ context.Context, m *plan.Machine) error {
	return fault.Explain("unpin "+s.MAC.String()+" from", s.Port, s.restore(m))
}

func (s Pin) restore(m *plan.Machine) error {
	port, bridge, err := s.find(m)
	if err != nil {
		return ours.UnlessNotFound(err)
	}
	err = s.become(m, bridge, s.wanted(m), s.Was)
	if !s.Static {
		err = errors.Join(err, fault.IgnoreAbsent("delete station", s.MAC.String(), m.Host().DelStation(port, s.MAC)))
	}
	return err
}

func (Pin) Nature() plan.Nature { return plan.Undoable }

func (s Pin) String() string {
	lines := []string{fmt.Sprintf("bridge fdb replace %s dev %s master static", s.MAC, s.Port)}
	for _, a := range s.Want {
		lines = append(lines, fmt.Sprintf("ip neighbour replace %s lladdr %s dev %s nud permanent protocol %d", a, s.MAC, s.Bridge, ours.Protocol))
	}
	if s.Leased {
		lines = append(lines, fmt.Sprintf("# the same for the leased address: ip neighbour replace ADDRESS lladdr %s dev %s nud permanent protocol %d", s.MAC, s.Bridge, ours.Protocol))
	}
	for _, a := range s.Was {
		if !slices.Contains(s.Want, a) {
			lines = append(lines, delNeighbour(a, s.Bridge))
		}
	}
	return strings.Join(lines, "\n")
}

func delNeighbour(a netip.Addr, bridge string) string {
	return "ip neighbour del " + a.String() + " dev " + bridge
}

// Unpin ends that: Was are the addresses, and Static says that the MAC address is pinned too.
type Unpin Pin

func (s Unpin) Do(_ context.Context, m *plan.Machine) error {
	bridge, err := m.Find(plan.OnHost, s.Bridge)
	if err != nil {
		return fault.IgnoreAbsent("find", s.Bridge, err)
	}
	if err = Pin(s).become(m, bridge, s.Was, nil); err != nil || !s.Static {
		return fault.Explain("unpin "+s.MAC.String()+" from", s.Bridge, err)
	}
	port, err := m.Find(plan.OnHost, s.Port)
	if err == nil {
		err = m.Host().DelStation(port, s.MAC)
	}
	return fault.IgnoreAbsent("delete station", s.MAC.String(), err)
}

func (s Unpin) Undo(ctx context.Context, m *plan.Machine) error {
	if !s.Static {
		return nil // nothing that was of use
	}
	return Pin{Port: s.Port, Bridge: s.Bridge, MAC: s.MAC, Want: s.Was}.Do(ctx, m)
}

func (Unpin) Nature() plan.Nature { return plan.Undoable }

func (s Unpin) String() string {
	var lines []string
	for _, a := range s.Was {
		lines = append(lines, delNeighbour(a, s.Bridge))
	}
	if s.Static {
		lines = append(lines, fmt.Sprintf("bridge fdb del %s dev %s master", s.MAC, s.Port))
	}
	return strings.Join(lines, "\n")
}
