package attach

import (
	"context"
	"errors"
	"os"
	"slices"

	"github.com/gopipework/gopipework/bridge/firewall"
	"github.com/gopipework/gopipework/internal/build"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/guestnet"
	"github.com/gopipework/gopipework/internal/guests"
	"github.com/gopipework/gopipework/internal/hostaccess"
	"github.com/gopipework/gopipework/internal/hostclient"
	"github.com/gopipework/gopipework/internal/kind"
	"github.com/gopipework/gopipework/internal/ours"
	"github.com/gopipework/gopipework/internal/plan"
	"github.com/gopipework/gopipework/internal/rtnl"
	"github.com/gopipework/gopipework/internal/source"
)

// runDetach carries out Detach.
func runDetach(ctx context.Context, sel Selection, g guests.Guest, hostNS *os.File, opt Options) (Result, error) {
	ctx, _, cancel := opt.bound(ctx)
	defer cancel()
	m, err := plan.Open(ctx, hostNS, g)
	if err != nil {
		return Result{}, err
	}
	defer m.Close()
	m.Remember(ours.KeeperKey{}, opt.keeper())
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
	p, err := planDetach(sel, f)
	if err != nil || opt.DryRun {
		return result(p), err
	}
	err = p.Remove(ctx, m, opt.tell)
	return result(p, m.Warnings...), err
}

func observeDetach(ctx context.Context, m *plan.Machine) (build.DetachFacts, error) {
	f := build.DetachFacts{Guest: m.Guests[plan.InGuest].GuestInfo, Bridges: map[int]build.Switch{}, Parents: map[int]build.Parent{}}
	inners := map[int]bool{} // the guest's links that are ours, by index
	for _, look := range []func() error{
		func() error { return observePairs(ctx, m, &f, inners) },
		func() error { return observeChildren(m, &f, inners) },
		func() error { return observeLent(m, &f, inners) },
		func() error { return observeRest(m, &f) },
		func() error { return guestnet.ObserveResolv(ctx, m, &f) },
		func() error { return observeForeign(m, &f, inners) },
	} {
		if err := look(); err != nil {
			return f, err
		}
	}
	return f, nil
}

// observePairs looks at what of ours has an end on the host, and at what those ends are
// plugged into.
func observePairs(ctx context.Context, m *plan.Machine, f *build.DetachFacts, inners map[int]bool) error {
	ends, err := ourEnds(m.Host(), &m.Guests[plan.InGuest])
	if err != nil {
		return err
	}
	found, err := ours.FindNamespaces(m.Host(), ends, &m.Guests[plan.InGuest])
	if err != nil {
		return err
	}
	defer found.Close()
	d, mirror := describer{ctx: ctx, host: m.Host(), uplinks: map[int]build.Uplink{}}, false
	for _, l := range ends {
		if l.Slave == "bridge" {
			if err := observeSwitch(ctx, m.Host(), l.Master, f.Bridges); err != nil {
				return err
			}
			d.uplinks[l.Master] = f.Bridges[l.Master].Uplink
		}
		a, err := d.describe(l, found[l.PeerNS])
		if errors.Is(err, rtnl.ErrNotFound) {
			continue // the guest has deleted its end, and ours with it
		}
		if err != nil {
			return err
		}
		f.Ours = append(f.Ours, build.Pair{Attachment: a, Port: l})
		inners[l.Peer] = true
		mirror = mirror || kind.IsMirror(l)
	}
	if d.ovs != nil {
		f.OVS = *d.ovs
		f.InUse, err = kind.OVSInUse(m.Host(), f.OVS)
	}
	if mirror && err == nil {
		f.Mirrors, err = kind.ReadMirrors(m.Host(), f.OVS)
	}
	return err
}

// observeRest looks at the host's ways to macvlans, at source routing, and at what gives
// the guest's interfaces their addresses.
func observeRest(m *plan.Machine, f *build.DetachFacts) (err error) {
	host, inside, g := m.Host(), m.In(plan.InGuest), m.Guests[plan.InGuest]
	self := func(ns *ours.Namespace, _ *rtnl.Link) bool { return ns.Inode == g.NetNS }
	if f.Ways, err = hostaccess.Ways(host, m.HostNS, g.Namespace, self); err != nil {
		return fault.Explain("look for macvlans of", "the host", err)
	}
	if f.GuestNS, err = host.NamespaceID(g.Namespace); err != nil {
		return fault.Explain("find", "the namespace of "+g.Name, err)
	}
	if f.HostNS, err = inside.NamespaceID(m.HostNS); err != nil {
		return fault.Explain("find", "the namespace of the host", err)
	}
	if f.Routing, err = guestnet.ObserveRouting(inside); err != nil {
		return fault.Explain("read routes and rules of", g.Name, err)
	}
	if f.Leases, err = source.KeptLeases(g); err != nil {
		return err
	}
	f.Clients, err = hostclient.Find(g.Namespace)
	return fault.Explain("find DHCP clients of", g.Name, err)
}

// observeForeign looks at the guest's other links, and at what comes in by an ifb.
func observeForeign(m *plan.Machine, f *build.DetachFacts, inners map[int]bool) error {
	inside, name := m.In(plan.InGuest), m.Guests[plan.InGuest].Name
	links, err := inside.Links()
	if err != nil {
		return fault.Explain("list links of", name, err)
	}
	ifbs, err := guestnet.FindInbounds(inside, links)
	for i := range f.Ours {
		f.Ours[i].Inbound = ifbs.Of[f.Ours[i].Index()]
	}
	f.Left, f.VRFs = ifbs.Left, guestnet.VRFs(links)
	f.Foreign = slices.DeleteFunc(links, func(l *rtnl.Link) bool { return inners[l.Index] || guestnet.IsInbound(l) || guestnet.IsVRF(l) })
	return fault.Explain("read queues of", name, err)
}

// observeChildren looks at what of ours is in the guest alone.
func observeChildren(m *plan.Machine, f *build.DetachFacts, inners map[int]bool) error {
	children, err := childrenIn(m.In(plan.InGuest), m.HostNS, nil, true)
	if err != nil {
		return fault.Explain("list links of", m.Guests[plan.InGuest].Name, err)
	}
	ns := &ours.Namespace{PID: m.Guests[plan.InGuest].PID, Inode: m.Guests[plan.InGuest].NetNS, Links: m.In(plan.InGuest)}
	for _, c := range children {
		a, err := describeChild(m.Host(), c, ns)
		if errors.Is(err, rtnl.ErrNotFound) {
			continue
		}
		if err != nil {
			return err
		}
		f.Ours = append(f.Ours, build.Pair{Attachment: a, Child: c.Link})
		inners[c.Index] = true
		if !c.onHost() {
			continue
		}
		parent, err := m.Host().LinkByIndex(c.Peer)
		if err != nil || !plan.IsOurs(parent) || parent.Kind != "vlan" {
			continue // another's, or gone
		}
		others, err := ours.ChildrenOf(m.Host(), parent.Index, m.HostNS, m.Guests[plan.InGuest].Namespace)
		if err != nil {
			return fault.Explain("look for users of", parent.Name, err)
		}
		f.Parents[parent.Index] = build.Parent{Link: parent, Users: len(others) + childrenOn(children, parent.Index)}
	}
	return nil
}

// observeLent looks at the cards that are lent to the guest.
func observeLent(m *plan.Machine, f *build.DetachFacts, inners map[int]bool) error {
	all, unread, err := ours.LentBy(m.Host())
	if err != nil {
		return err
	}
	f.Warnings = unread
	here, err := ours.LentTo(m.In(plan.InGuest), all)
	if err != nil {
		return err
	}
	ns := &ours.Namespace{PID: m.Guests[plan.InGuest].PID, Inode: m.Guests[plan.InGuest].NetNS, Links: m.In(plan.InGuest)}
	for _, l := range append(here, ours.LentBefore(m.Guests[plan.InGuest].GuestInfo, all, here)...) {
		a, err := describe(l, ns)
		if err != nil {
			return err
		}
		f.Ours = append(f.Ours, build.Pair{Attachment: a, Lent: &l})
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
func observeSwitch(ctx context.Context, k plan.Kernel, index int, seen map[int]build.Switch) error {
	if _, ok := seen[index]; ok || index == 0 {
		return nil
	}
	var s build.Switch
	var o build.Looker
	o.Look("the bridge", func() (err error) { s.Link, err = k.LinkByIndex(index); return err })
	o.Look("the ports of the bridge", func() (err error) { s.Ports, err = k.Ports(index); return err })
	o.Look("the addresses of the bridge", func() error {
		addrs, err := k.Addrs()
		s.InUse = ours.InUse(index, addrs)
		return err
	})
	s.Uplink = kind.PinsAmong(&o, k, index, s.Ports, false)
	if o.Err == nil && kind.TurnedOn(s.Link) {
		o.Look("the VLANs of the bridge", func() error {
			all, err := k.PortVLANs()
			s.VLANs = map[int]string{}
			for _, p := range s.Ports {
				s.VLANs[p.Index] = kind.VLANOf(all[p.Index], s.Link)
			}
			return err
		})
	}
	o.Look("the firewall", func() error {
		return k.Run(func() (err error) {
			s.Firewall, err = firewall.ObserveRules(ctx)
			return err
		})
	})
	seen[index] = s
	return o.Err
}
