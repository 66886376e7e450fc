package source

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"time"

	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/lease"
	"github.com/gopipework/gopipework/internal/ours"
	"github.com/gopipework/gopipework/internal/plan"
	"github.com/gopipework/gopipework/internal/rtnl"
	"golang.org/x/sys/unix"
)

// What a lease, and the keeper after it, sets on an interface: the address, routes and
// the MTU.

// OpenLinks is how a keeper reaches the interfaces of its guest, and the host.
func OpenLinks(hostNS *os.File) lease.OpenLinks {
	return func(ns *os.File) (lease.Links, error) {
		c, err := rtnl.OpenBriefly(ns)
		if err != nil {
			return nil, err
		}
		return leaseLinks{c, hostNS}, nil
	}
}

type leaseLinks struct {
	plan.Kernel
	hostNS *os.File
}

func (l leaseLinks) Link(a lease.Ask) lease.Link { return leaseLink{l.Kernel, a, nil, l.hostNS} }

// leaseLink is an interface as leases change it.
type leaseLink struct {
	plan.Kernel
	ask    lease.Ask
	host   plan.Kernel // nil: to be opened when it is needed
	hostNS *os.File    // for that
}

var _ lease.Link = leaseLink{}

func (l leaseLink) SetAddr(p netip.Prefix, valid, preferred time.Duration) error {
	return l.Kernel.SetAddr(l.ask.Index, p, valid, preferred)
}

func (l leaseLink) DelAddr(p netip.Prefix) error {
	if err := l.Kernel.DelAddr(l.ask.Index, p); err != nil && !fault.Absent(err) {
		return err
	}
	return errors.Join(l.delReplies(p.Addr()), l.delAccess(p.Addr()), l.delNeighbour(p.Addr()))
}

// AddRoute puts a default route in front of the one that is there, as
// @GATEWAY does, or behind all others.
func (l leaseLink) AddRoute(r lease.Route) error {
	route := l.route(r)
	if r.Default() {
		all, err := l.Kernel.Routes()
		if err != nil {
			return err
		}
		if slices.ContainsFunc(all, func(o rtnl.Route) bool {
			return o.Default() && o.Index == route.Index && o.Gateway == route.Gateway
		}) {
			return nil
		}
		switch {
		case l.ask.Metric != 0:
			route.Metric = l.ask.Metric
		case l.ask.Behind:
			route.Metric = worstMetric(all, route.Index) + 1
		default:
			route.Metric = bestMetric(all)
		}
	}
	if err := l.Kernel.AddRoute(route, r.Default()); !errors.Is(err, unix.EEXIST) {
		return err
	}
	return nil
}

// bestMetric is that of the IPv4 default route that wins now.
func bestMetric(all []rtnl.Route) int {
	best := -1
	for _, r := range all {
		if r.Default() && r.Dst.Addr().Is4() && (best < 0 || r.Metric < best) {
			best = r.Metric
		}
	}
	return max(best, 0)
}

// worstMetric returns the highest metric of the IPv4 default routes by other links;
// -1 if there are none.
func worstMetric(all []rtnl.Route, but int) int {
	worst := -1
	for _, r := range all {
		if r.Default() && r.Dst.Addr().Is4() && r.Index != but {
			worst = max(worst, r.Metric)
		}
	}
	return worst
}

func (l leaseLink) DelRoute(r lease.Route) error {
	all, err := l.Kernel.Routes()
	if err != nil {
		return err
	}
	route := l.route(r)
	for _, o := range all {
		if o.Index == route.Index && o.Dst == route.Dst && o.Gateway == route.Gateway {
			route.Metric = o.Metric
			if err := l.Kernel.DelRoute(route); !fault.Absent(err) {
				return err
			}
		}
	}
	return nil
}

func (l leaseLink) route(r lease.Route) rtnl.Route {
	return rtnl.Route{Dst: r.Dst, Gateway: r.Gateway, Source: r.Source, Index: l.ask.Index, Protocol: unix.RTPROT_DHCP}
}

// AddAsked adds what --route asks for.
func (l leaseLink) AddAsked() error {
	for _, r := range l.ask.Routes {
		asked := rtnl.Route{Dst: r.Dst, Gateway: r.Via, Metric: r.Metric, Table: r.Table, Index: l.ask.Index, Protocol: ours.Protocol}
		if err := plan.EnsureRoute(l.Kernel, asked); err != nil {
			return fault.New(fault.Failed, "add route", r.Dst.String(), "%w", err)
		}
	}
	return nil
}

func (l leaseLink) LowerMTU(bytes int) error {
	link, err := l.Kernel.LinkByIndex(l.ask.Index)
	if err != nil || link.MTU <= bytes {
		return err
	}
	return l.Kernel.SetLink(l.ask.Index, rtnl.Change{MTU: bytes})
}

// DAD looks at the address. The kernel deletes one that has an end and turns out
// to be somebody else's.
func (l leaseLink) DAD(p netip.Prefix) (lease.DAD, error) {
	if _, err := l.Kernel.LinkByIndex(l.ask.Index); err != nil {
		return 0, fmt.Errorf("find interface %d: %w", l.ask.Index, err)
	}
	all, err := l.Kernel.Addrs()
	if err != nil {
		return 0, err
	}
	for _, a := range all {
		switch {
		case a.Index != l.ask.Index || a.Prefix != p:
			continue
		case a.Duplicate():
			return lease.Taken, nil
		case a.Tentative():
			return lease.Tentative, nil
		}
		return lease.Settled, nil
	}
	return lease.Taken, nil
}
