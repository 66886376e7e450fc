package attach

import (
	"context"
	"errors"
	"os"
	"slices"

	"github.com/gopipework/gopipework/bridge"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/hostclient"
	"github.com/gopipework/gopipework/internal/lease"
	"github.com/gopipework/gopipework/internal/plan"
	"github.com/gopipework/gopipework/internal/rtnl"
)

// DetachFacts are what planning a detach must know.
type DetachFacts struct {
	Guest   GuestInfo
	Ours    []Pair       // what is ours between the host and this guest
	Foreign []*rtnl.Link // the guest's other links
	Left    []*rtnl.Link // ifbs of ours that nothing is sent to
	Bridges map[int]Switch
	OVS     bridge.OVS           // looked at only if a pair is in it
	InUse   map[string]bool      // its bridges that somebody has given an address
	Leases  []lease.Kept         // of the guest's interfaces
	Clients []hostclient.Running // DHCP clients of the host that run for them
	Resolv  *resolvNote          // what was written into its resolv.conf; nil: nothing
	Parents map[int]Parent       // VLAN sub-interfaces of ours that a child is on
	GuestNS int                  // id of the guest's namespace in the host's
	Routing routing              // in the guest
	Ways    []Way                // of the host to macvlans, without this guest
	HostNS  int                  // id of the host's namespace in the guest's

	ResolvChanged bool // by somebody else since

	Emptied  Emptied  // looked at only if nothing is left of what is chosen, or all of it is chosen
	Warnings []string // of what could not be looked at
}

// Pair is one of ours, described and by its end on the host; or, where it has
// none, by the guest's link; or by the loan of a card.
type Pair struct {
	Attachment
	Port  *rtnl.Link
	Child *rtnl.Link
	Lent  *Lent

	Inbound *rtnl.Link // the ifb that what comes in is sent through; nil: none
}

// index is that of the guest's end.
func (p Pair) index() int {
	switch {
	case p.Child != nil:
		return p.Child.Index
	case p.Port != nil:
		return p.Port.Peer
	case p.Lent.Link != nil:
		return p.Lent.Link.Index
	}
	return 0
}

// Parent is a VLAN sub-interface that we made as a parent.
type Parent struct {
	*rtnl.Link
	Users int // links on it, in any namespace
}

// Switch is a bridge that such a pair is plugged into.
type Switch struct {
	*rtnl.Link
	Ports    []*rtnl.Link
	InUse    bool // somebody has given the bridge an address
	Firewall bridge.Firewall
	VLANs    map[int]string // of its ports that have any but the default, by index
}

// runDetach carries out Detach.
func runDetach(ctx context.Context, sel Selection, g Guest, hostNS *os.File, opt Options) (Result, error) {
	ctx, _, cancel := opt.bound(ctx)
	defer cancel()
	m, err := plan.Open(ctx, hostNS, g)
	if err != nil {
		return Result{}, err
	}
	defer m.Close()
	m.Remember(keeperKey{}, opt.Keeper)
	if sel.IfName, err = m.OwnName(plan.InGuest, sel.IfName); err != nil {
		return Result{}, err
	}
	f, err := observeDetach(ctx, m)
	if err != nil {
		return Result{}, m.Cause(ctx, err)
	}
	if err := observeEmptied(ctx, m, sel, &f); err != nil {
		return Result{}, m.Cause(ctx, err)
	}
	p, err := BuildDetach(sel, f)
	if err != nil || opt.DryRun {
		return p.result(), err
	}
	err = p.Remove(ctx, m, opt.tell)
	return p.result(m.Warnings...), err
}

func observeDetach(ctx context.Context, m *plan.Machine) (DetachFacts, error) {
	f := DetachFacts{Guest: m.Guests[plan.InGuest].GuestInfo, Bridges: map[int]Switch{}, Parents: map[int]Parent{}}
	ends, err := ourEnds(m.Host(), &m.Guests[plan.InGuest])
	if err != nil {
		return f, err
	}
	found := findNamespaces(m.Host(), ends, &m.Guests[plan.InGuest])
	defer found.close()
	inners := map[int]bool{}
	d := describer{ctx: ctx, host: m.Host()}
	for _, l := range ends {
		a, err := d.describe(l, found[l.PeerNS])
		if errors.Is(err, rtnl.ErrNotFound) {
			continue // the guest has deleted its end, and ours with it
		}
		if err != nil {
			return f, err
		}
		f.Ours = append(f.Ours, Pair{Attachment: a, Port: l})
		inners[l.Peer] = true
		if a.Host.Kind == string(KindOVS) {
			continue
		}
		if err := observeSwitch(ctx, m.Host(), l.Master, f.Bridges); err != nil {
			return f, err
		}
	}
	if d.ovs != nil {
		f.OVS = *d.ovs
		if f.InUse, err = ovsInUse(m.Host(), f.OVS); err != nil {
			return f, err
		}
	}
	if err := observeChildren(m, &f, inners); err != nil {
		return f, err
	}
	if err := observeLent(m, &f, inners); err != nil {
		return f, err
	}
	if f.Ways, err = ways(m.Host(), m.HostNS, m.Guests[plan.InGuest].Namespace, func(ns *namespace, _ *rtnl.Link) bool { return ns.inode == m.Guests[plan.InGuest].NetNS }); err != nil {
		return f, fault.Explain("look for macvlans of", "the host", err)
	}
	if f.GuestNS, err = m.Host().NamespaceID(m.Guests[plan.InGuest].Namespace); err != nil {
		return f, fault.Explain("find", "the namespace of "+m.Guests[plan.InGuest].Name, err)
	}
	if f.HostNS, err = m.In(plan.InGuest).NamespaceID(m.HostNS); err != nil {
		return f, fault.Explain("find", "the namespace of the host", err)
	}
	if f.Routing, err = observeRouting(m.In(plan.InGuest)); err != nil {
		return f, fault.Explain("read routes and rules of", m.Guests[plan.InGuest].Name, err)
	}
	if f.Leases, err = keptLeases(m.Guests[plan.InGuest]); err != nil {
		return f, err
	}
	if err := observeResolv(ctx, m, &f); err != nil {
		return f, err
	}
	if f.Clients, err = hostclient.Find(m.Guests[plan.InGuest].Namespace); err != nil {
		return f, fault.Explain("find DHCP clients of", m.Guests[plan.InGuest].Name, err)
	}
	links, err := m.In(plan.InGuest).Links()
	if err != nil {
		return f, fault.Explain("list links of", m.Guests[plan.InGuest].Name, err)
	}
	ifbs, err := findInbounds(m.In(plan.InGuest), links)
	for i := range f.Ours {
		f.Ours[i].Inbound = ifbs.of[f.Ours[i].index()]
	}
	f.Left = ifbs.left
	f.Foreign = slices.DeleteFunc(links, func(l *rtnl.Link) bool { return inners[l.Index] || isInbound(l) })
	return f, fault.Explain("read queues of", m.Guests[plan.InGuest].Name, err)
}

// observeChildren looks at what of ours is in the guest alone.
func observeChildren(m *plan.Machine, f *DetachFacts, inners map[int]bool) error {
	children, err := childrenIn(m.In(plan.InGuest), m.HostNS)
	if err != nil {
		return fault.Explain("list links of", m.Guests[plan.InGuest].Name, err)
	}
	ns := &namespace{pid: m.Guests[plan.InGuest].PID, inode: m.Guests[plan.InGuest].NetNS, links: m.In(plan.InGuest)}
	for _, c := range children {
		a, err := describeChild(m.Host(), c, ns)
		if errors.Is(err, rtnl.ErrNotFound) {
			continue
		}
		if err != nil {
			return err
		}
		f.Ours = append(f.Ours, Pair{Attachment: a, Child: c.Link})
		inners[c.Index] = true
		if !c.onHost() {
			continue
		}
		parent, err := m.Host().LinkByIndex(c.Peer)
		if err != nil || !plan.IsOurs(parent) || parent.Kind != "vlan" {
			continue // another's, or gone
		}
		others, err := childrenOf(m.Host(), parent.Index, m.HostNS, m.Guests[plan.InGuest].Namespace)
		if err != nil {
			return fault.Explain("look for users of", parent.Name, err)
		}
		f.Parents[parent.Index] = Parent{Link: parent, Users: len(others) + childrenOn(children, parent.Index)}
	}
	return nil
}

// observeLent looks at the cards that are lent to the guest.
func observeLent(m *plan.Machine, f *DetachFacts, inners map[int]bool) error {
	all, unread, err := lentBy(m.Host())
	if err != nil {
		return err
	}
	f.Warnings = unread
	here, err := lentTo(m.In(plan.InGuest), all)
	if err != nil {
		return err
	}
	ns := &namespace{pid: m.Guests[plan.InGuest].PID, inode: m.Guests[plan.InGuest].NetNS, links: m.In(plan.InGuest)}
	for _, l := range append(here, lentBefore(m.Guests[plan.InGuest].GuestInfo, all, here)...) {
		a, err := l.describe(ns)
		if err != nil {
			return err
		}
		f.Ours = append(f.Ours, Pair{Attachment: a, Lent: &l})
		if l.Link != nil {
			inners[l.Link.Index] = true
		}
	}
	return nil
}

// childrenOn counts the children that are on a parent of the host.
func childrenOn(children []child, parent int) (n int) {
	for _, c := range children {
		if c.onHost() && c.Peer == parent {
			n++
		}
	}
	return n
}

// observeSwitch looks at a bridge that a pair is plugged into, once.
func observeSwitch(ctx context.Context, k plan.Kernel, index int, seen map[int]Switch) error {
	if _, ok := seen[index]; ok || index == 0 {
		return nil
	}
	var s Switch
	var o looker
	o.look("the bridge", func() (err error) { s.Link, err = k.LinkByIndex(index); return err })
	o.look("the ports of the bridge", func() (err error) { s.Ports, err = k.Ports(index); return err })
	o.look("the addresses of the bridge", func() error {
		addrs, err := k.Addrs()
		s.InUse = inUse(index, addrs)
		return err
	})
	if o.err == nil && turnedOn(s.Link) {
		o.look("the VLANs of the bridge", func() error {
			all, err := k.PortVLANs()
			s.VLANs = map[int]string{}
			for _, p := range s.Ports {
				s.VLANs[p.Index] = vlanOf(all[p.Index], s.Link)
			}
			return err
		})
	}
	o.look("the firewall", func() error {
		return k.Run(func() (err error) {
			s.Firewall, err = bridge.ObserveRules(ctx)
			return err
		})
	})
	seen[index] = s
	return o.err
}
