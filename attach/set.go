package attach

import (
	"context"
	"errors"
	"os"

	"github.com/gopipework/gopipework/internal/build"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/guestnet"
	"github.com/gopipework/gopipework/internal/guests"
	"github.com/gopipework/gopipework/internal/kind"
	"github.com/gopipework/gopipework/internal/ours"
	"github.com/gopipework/gopipework/internal/passage"
	"github.com/gopipework/gopipework/internal/plan"
	"github.com/gopipework/gopipework/internal/rtnl"
)

// runSet carries out Set.
func runSet(ctx context.Context, s SetSpec, g guests.Guest, hostNS *os.File, opt Options) (Result, error) {
	ctx, extend, cancel := opt.bound(ctx)
	defer cancel()
	far, err := farGuest(s, g, hostNS)
	if err != nil {
		return Result{}, err
	}
	all := []guests.Guest{g}
	if far != nil {
		defer far.Close()
		all = append(all, *far)
	}
	m, err := plan.Open(ctx, hostNS, all...)
	if err != nil {
		return Result{}, err
	}
	defer m.Close()
	m.Remember(ours.KeeperKey{}, opt.keeper())
	f, err := observeSet(ctx, m, s)
	if err != nil {
		return Result{}, m.Cause(ctx, err)
	}
	f.Origin = opt.Origin
	p, err := planSet(s, f)
	if err != nil || opt.DryRun {
		return result(p), err
	}
	hold(f, m)
	extend(p.Wait)
	if err := p.Apply(ctx, m, opt.tell); err != nil {
		return Result{}, err
	}
	if f.To != nil {
		passage.WarnObstacles(ctx, m, plan.InGuest, p.Attachments[0], nil)
	}
	return result(p, m.Warnings...), nil
}

// hold has the steps act on the links that were looked at, whatever they are
// called by then.
func hold(f build.SetFacts, m *plan.Machine) {
	m.Know(plan.InGuest, f.Inner.Name, f.Inner.Index)
	if f.Lease != nil && f.Lease.Lease != nil {
		m.Remember(guestnet.LeaseKey{}, f.Lease.Lease)
	}
	if ifb := f.Shaped.Inbound; ifb != nil {
		m.Know(plan.InGuest, ifb.Name, ifb.Index)
	}
	if own := f.Found.Port; own != nil {
		m.Know(plan.OnHost, own.Name, own.Index)
	}
	if on := f.OwnOn; on != nil {
		m.Know(plan.OnHost, on.Name, on.Index)
	}
	if way := f.Access.Link; way != nil {
		m.Know(plan.OnHost, way.Name, way.Index)
	}
	if c := f.Cable; c != nil {
		m.Know(c.Side, c.End.Name, c.End.Index)
	}
}

// observeSet reads, and never writes, what planSet needs to know.
func observeSet(ctx context.Context, m *plan.Machine, s SetSpec) (build.SetFacts, error) {
	name, err := m.OwnName(plan.InGuest, s.IfName)
	if err != nil {
		return build.SetFacts{}, err
	}
	s.IfName = name
	d, err := observeDetach(ctx, m)
	f := build.SetFacts{Detach: d, Inside: build.Inside{Guest: d.Guest}}
	if err != nil {
		return f, err
	}
	found, err := choose(Selection{IfName: s.IfName}, d)
	if s.OnlyCarrier() && fault.CodeOf(err) == fault.Conflict {
		found, err = foreign(ctx, m, s.IfName)
	}
	if e := (*fault.Error)(nil); errors.As(err, &e) {
		e.Op = "set"
	}
	if err != nil || len(found) == 0 {
		return f, err
	}
	f.Found = &found[0]
	var o build.Looker
	f.Inside = inside(&o, m, plan.InGuest, Spec{IfName: f.Found.Interface.Name, Addrs: s.Addrs}, nil)
	if f.Inner == nil {
		return f, fault.New(fault.Gone, "set", s.IfName, "somebody deleted or moved it meanwhile")
	}
	if own := f.Found.Port; own != nil {
		observePort(&o, m, own, &f)
		kind.LookAtFilter(&o, m.Host(), s, own, &f)
	}
	observeOn(&o, m, &f)
	observeAccess(&o, m, s, &f)
	if s.Carrier != nil {
		observeCable(&o, m, &f)
	}
	if s.HasAddrs {
		o.Look("the sysctls of "+f.Inner.Name, func() (err error) {
			f.Sysctls, err = m.In(plan.InGuest).Sysctls(addrSysctls(f.Inner.Name)...)
			return err
		})
	}
	if o.Err != nil {
		return f, o.Err
	}
	return f, observeMove(ctx, m, s, &f)
}

// observePort looks at the host's end, and at the bridge that it is a port of.
func observePort(o *build.Looker, m *plan.Machine, own *rtnl.Link, f *build.SetFacts) {
	guestnet.ShapedAt(o, m.Host(), own, &f.Shaped)
	if own.Master == 0 {
		return
	}
	o.Look("the bridge of "+own.Name, func() (err error) {
		f.OwnOn, err = m.Host().LinkByIndex(own.Master)
		return ours.UnlessNotFound(err)
	})
	if f.OwnOn != nil && f.OwnOn.Kind != "bridge" {
		f.OwnOn = nil // Open vSwitch's
	}
	o.Look("the VLANs of "+own.Name, func() error {
		all, err := m.Host().PortVLANs()
		f.PortVLANs = all[own.Index]
		return err
	})
	f.Switch = f.Detach.Bridges[own.Master]
}

// observeOn looks at what the interface is on and, of a link between two guests, at the
// other end.
func observeOn(o *build.Looker, m *plan.Machine, f *build.SetFacts) {
	inner, host := f.Inner, f.Found.Attachment.Host
	if host.Kind == string(KindVeth) && inner.PeerNS >= 0 {
		o.Look("the other end of "+inner.Name, func() (err error) {
			f.OtherEnd, err = m.In(plan.InGuest).LinkIn(inner.PeerNS, inner.Peer)
			return ours.UnlessNotFound(err)
		})
	}
	f.On = f.OwnOn
	switch {
	case host.Kind == string(KindOVS):
		f.On = o.ByName(m.Host(), host.Name)
	case f.Found.Child != nil && inner.Peer != 0 && inner.PeerNS >= 0 && inner.PeerNS == f.HostNS:
		o.Look("what "+inner.Name+" is on", func() (err error) { f.On, err = m.Host().LinkByIndex(inner.Peer); return ours.UnlessNotFound(err) })
	}
}
