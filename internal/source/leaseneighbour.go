package source

import (
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/gopipework/gopipework/internal/build"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/lease"
	"github.com/gopipework/gopipework/internal/ours"
	"github.com/gopipework/gopipework/internal/plan"
	"github.com/gopipework/gopipework/internal/rtnl"
)

// A leased address as a permanent neighbour of the guest's bridge, which reaches other hosts
// by a VXLAN: it comes and goes with the lease, so whoever applies that sets it. The attach
// sees to the guest's MAC address.

// leaseBridge is the bridge that pins the leased address; "": none does.
func leaseBridge(j *build.Job) string {
	if !j.Pins() {
		return ""
	}
	return j.HostIF.Name
}

// setNeighbour enters the leased address.
func (l leaseLink) setNeighbour(a netip.Addr) error {
	if l.ask.Neighbour == nil {
		return nil
	}
	ok, err := l.onHost(l.ask.Neighbour, func(k plan.Kernel) error {
		inner, err := l.Kernel.LinkByIndex(l.ask.Index)
		if err != nil {
			return err
		}
		n := rtnl.FixedNeighbour{Index: l.ask.Neighbour.Parent, Addr: a, MAC: inner.MAC, Protocol: ours.Protocol}
		all, err := k.FixedNeighbours()
		if err != nil {
			return err
		}
		if i := slices.IndexFunc(all, isFor(n)); i >= 0 && all[i].Protocol != ours.Protocol {
			return fmt.Errorf("somebody has entered it as a permanent neighbour, with the MAC address %s", all[i].MAC)
		}
		return k.SetFixedNeighbour(n)
	})
	if err == nil && !ok {
		err = errElsewhere
	}
	return fault.Explain("pin to the bridge", a.String(), err)
}

// delNeighbour deletes one of ours that has gone.
func (l leaseLink) delNeighbour(a netip.Addr) error {
	if l.ask.Neighbour == nil {
		return nil
	}
	_, err := l.onHost(l.ask.Neighbour, func(k plan.Kernel) error {
		var mac net.HardwareAddr
		if inner, err := l.Kernel.LinkByIndex(l.ask.Index); err == nil {
			mac = inner.MAC
		}
		return DropNeighbour(k, rtnl.FixedNeighbour{Index: l.ask.Neighbour.Parent, Addr: a, MAC: mac})
	})
	return fault.Explain("unpin from the bridge", a.String(), err)
}

// DropNeighbour deletes a neighbour of ours, unless it has come to be that of another guest:
// that has another MAC address. Without one in n, it is anybody's.
func DropNeighbour(k plan.Kernel, n rtnl.FixedNeighbour) error {
	all, err := k.FixedNeighbours()
	i := slices.IndexFunc(all, isFor(n))
	if err != nil || i < 0 || all[i].Protocol != ours.Protocol || n.MAC != nil && !slices.Equal(all[i].MAC, n.MAC) {
		return err
	}
	return fault.IgnoreAbsent("delete neighbour", n.Addr.String(), k.DelNeighbour(n.Index, n.Addr))
}

// isFor finds the neighbour of that link with that address.
func isFor(n rtnl.FixedNeighbour) func(rtnl.FixedNeighbour) bool {
	return func(is rtnl.FixedNeighbour) bool { return is.Index == n.Index && is.Addr == n.Addr }
}

// neighbourFor returns what a keeper must know to pin a leased address to a bridge; nil: ""
// is asked for.
func neighbourFor(m *plan.Machine, bridge string) (*lease.Access, error) {
	if bridge == "" {
		return nil, nil
	}
	i, err := m.Find(plan.OnHost, bridge)
	if err != nil {
		return nil, fault.Explain("find bridge", bridge, err)
	}
	return accessFor(m.Host(), i)
}
