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
	m.Remember(ours.KeeperKey{}, opt.Keeper)
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
	ends, err := ourEnds(m.Host(), &m.Guests[plan.InGuest])
	if err != nil {
		return f, err
	}
	found := ours.FindNamespaces(m.Host(), ends, &m.Guests[plan.InGuest])
	defer found.Close()
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
		f.Ours = append(f.Ours, build.Pair{Attachment: a, Port: l})
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
		if f.InUse, err = kind.OVSInUse(m.Host(), f.OVS); err != nil {
			return f, err
		}
	}
	if err := observeChildren(m, &f, inners); err != nil {
		return f, err
	}
	if err := observeLent(m, &f, inners); err != nil {
		return f, err
	}
	if f.Ways, err = hostaccess.Ways(m.Host(), m.HostNS, m.Guests[plan.InGuest].Namespace, func(ns *ours.Namespace, _ *rtnl.Link) bool { return ns.Inode == m.Guests[plan.InGuest].NetNS }); err != nil {
		return f, fault.Explain("look for macvlans of", "the host", err)
	}
	if f.GuestNS, err = m.Host().NamespaceID(m.Guests[plan.InGuest].Namespace); err != nil {
		return f, fault.Explain("find", "the namespace of "+m.Guests[plan.InGuest].Name, err)
	}
	if f.HostNS, err = m.In(plan.InGuest).NamespaceID(m.HostNS); err != nil {
		return f, fault.Explain("find", "the namespace of the host", err)
	}
	if f.Routing, err = guestnet.ObserveRouting(m.In(plan.InGuest)); err != nil {
		return f, fault.Explain("read routes and rules of", m.Guests[plan.InGuest].Name, err)
	}
	if f.Leases, err = source.KeptLeases(m.Guests[plan.InGuest]); err != nil {
		return f, err
	}
	if err := guestnet.ObserveResolv(ctx, m, &f); err != nil {
		return f, err
	}
	if f.Clients, err = hostclient.Find(m.Guests[plan.InGuest].Namespace); err != nil {
		return f, fault.Explain("find DHCP clients of", m.Guests[plan.InGuest].Name, err)
	}
	links, err := m.In(plan.InGuest).Links()
	if err != nil {
		return f, fault.Explain("list links of", m.Guests[plan.InGuest].Name, err)
	}
	ifbs, err := guestnet.FindInbounds(m.In(plan.InGuest), links)
	for i := range f.Ours {
		f.Ours[i].Inbound = ifbs.Of[f.Ours[i].Index()]
	}
	f.Left = ifbs.Left
	f.Foreign = slices.DeleteFunc(links, func(l *rtnl.Link) bool { return inners[l.Index] || guestnet.IsInbound(l) })
	return f, fault.Explain("read queues of", m.Guests[plan.InGuest].Name, err)
}

// observeChildren looks at what of ours is in the guest alone.
func observeChildren(m *plan.Machine, f *build.DetachFacts, inners map[int]bool) error {
	children, err := childrenIn(m.In(plan.InGuest), m.HostNS)
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
