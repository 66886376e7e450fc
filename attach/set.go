package attach

import (
	"context"
	"errors"
	"os"

	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/plan"
	"github.com/gopipework/gopipework/internal/rtnl"
)

// SetFacts are what planning a change must know.
type SetFacts struct {
	Inside
	Found *Pair // the attachment; nil: there is none of that name

	On        *rtnl.Link // what it is on: the bridge, the card, the VLAN of a card; nil: nothing
	OtherEnd  *rtnl.Link // of a link between two guests; nil: no link, or it cannot be seen
	OwnOn     *rtnl.Link // the Linux bridge of the host's end; nil: none
	PortVLANs []rtnl.PortVLAN
	Switch    Switch            // that bridge, as a detach sees it
	Sysctls   map[string]string // of the interface, by path; looked at only for addresses
	Detach    DetachFacts
}

// runSet carries out Set.
func runSet(ctx context.Context, s SetSpec, g Guest, hostNS *os.File, opt Options) (Result, error) {
	ctx, _, cancel := opt.bound(ctx)
	defer cancel()
	m, err := plan.Open(ctx, hostNS, g)
	if err != nil {
		return Result{}, err
	}
	defer m.Close()
	m.Remember(keeperKey{}, opt.Keeper)
	f, err := observeSet(ctx, m, s)
	if err != nil {
		return Result{}, m.Cause(ctx, err)
	}
	p, err := BuildSet(s, f)
	if err != nil || opt.DryRun {
		return p.result(), err
	}
	f.hold(m)
	if err := p.Apply(ctx, m, opt.tell); err != nil {
		return Result{}, err
	}
	return p.result(m.Warnings...), nil
}

// hold has the steps act on the links that were looked at, whatever they are
// called by then.
func (f SetFacts) hold(m *plan.Machine) {
	m.Know(plan.InGuest, f.Inner.Name, f.Inner.Index)
	if ifb := f.Shaped.Inbound; ifb != nil {
		m.Know(plan.InGuest, ifb.Name, ifb.Index)
	}
	if own := f.Found.Port; own != nil {
		m.Know(plan.OnHost, own.Name, own.Index)
	}
}

// observeSet reads, and never writes, what BuildSet needs to know.
func observeSet(ctx context.Context, m *plan.Machine, s SetSpec) (SetFacts, error) {
	name, err := m.OwnName(plan.InGuest, s.IfName)
	if err != nil {
		return SetFacts{}, err
	}
	s.IfName = name
	d, err := observeDetach(ctx, m)
	f := SetFacts{Detach: d, Inside: Inside{Guest: d.Guest}}
	if err != nil {
		return f, err
	}
	found, err := choose(Selection{IfName: s.IfName}, d)
	if e := (*fault.Error)(nil); errors.As(err, &e) {
		e.Op = "set"
	}
	if err != nil || len(found) == 0 {
		return f, err
	}
	f.Found = &found[0]
	var o looker
	f.Inside = o.inside(m, plan.InGuest, Spec{IfName: f.Found.Interface.Name, Addrs: s.Addrs}, nil)
	if f.Inner == nil {
		return f, fault.New(fault.Gone, "set", s.IfName, "somebody deleted or moved it meanwhile")
	}
	if own := f.Found.Port; own != nil {
		o.shapedAt(m.Host(), own, &f.Shaped)
		if own.Master != 0 {
			o.look("the bridge of "+own.Name, func() (err error) {
				f.OwnOn, err = m.Host().LinkByIndex(own.Master)
				return unlessNotFound(err)
			})
			if f.OwnOn != nil && f.OwnOn.Kind != "bridge" {
				f.OwnOn = nil // Open vSwitch's
			}
			o.look("the VLANs of "+own.Name, func() error {
				all, err := m.Host().PortVLANs()
				f.PortVLANs = all[own.Index]
				return err
			})
			f.Switch = d.Bridges[own.Master]
		}
	}
	if inner := f.Inner; f.Found.Attachment.Host.Kind == string(KindVeth) && inner.PeerNS >= 0 {
		o.look("the other end of "+inner.Name, func() (err error) {
			f.OtherEnd, err = m.In(plan.InGuest).LinkIn(inner.PeerNS, inner.Peer)
			return unlessNotFound(err)
		})
	}
	f.On = f.OwnOn
	switch inner := f.Inner; {
	case f.Found.Attachment.Host.Kind == string(KindOVS):
		f.On = o.byName(m.Host(), f.Found.Attachment.Host.Name)
	case f.Found.Child != nil && inner.Peer != 0 && inner.PeerNS >= 0 && inner.PeerNS == f.HostNS:
		o.look("what "+inner.Name+" is on", func() (err error) { f.On, err = m.Host().LinkByIndex(inner.Peer); return unlessNotFound(err) })
	}
	if s.HasAddrs {
		f.Sysctls = o.sysctlsOf(m.In(plan.InGuest), addrSysctls(f.Inner.Name))
	}
	return f, o.err
}
