package attach

import (
	"context"
	"os"

	"github.com/gopipework/gopipework/internal/build"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/guests"
	"github.com/gopipework/gopipework/internal/ours"
	"github.com/gopipework/gopipework/internal/passage"
	"github.com/gopipework/gopipework/internal/plan"
	"github.com/gopipework/gopipework/internal/rtnl"
)

// A veth pair straight between two guests: the host has no part in it.

// linkFacts are what planning a link must know.
type linkFacts struct {
	Ends    [2]linkEnd
	Origin  Origin // who asks
	Machine string // what tells this machine from others
}

// linkEnd is what is known of one end's guest.
type linkEnd struct {
	build.Inside
	OtherNS int // id of the other end's namespace here; -1: none yet
	New     build.NewMACs
}

// runLink carries out Link: s.Ends[i] is about guests[i].
func runLink(ctx context.Context, s LinkSpec, guests [2]guests.Guest, hostNS *os.File, opt Options) (Result, error) {
	ctx, _, cancel := opt.bound(ctx)
	defer cancel()
	if guests[0].NetNS == guests[1].NetNS {
		return Result{}, fault.New(fault.Conflict, "link", guests[0].Name+" and "+guests[1].Name, "both are the same network namespace").
			WithHint("a link joins two guests")
	}
	m, err := plan.Open(ctx, hostNS, guests[:]...)
	if err != nil {
		return Result{}, err
	}
	defer m.Close()
	m.Remember(ours.KeeperKey{}, opt.keeper())
	f, err := observeLink(m, s)
	if err != nil {
		return Result{}, m.Cause(ctx, err)
	}
	f.Origin = opt.Origin
	if opt.Origin.Claims() {
		f.Machine = machine()
	}
	p, err := planLink(s, f)
	if err != nil || opt.DryRun {
		return result(p), err
	}
	if err := p.Apply(ctx, m, opt.tell); err != nil {
		return Result{}, err
	}
	for i, a := range p.Attachments {
		passage.WarnObstacles(ctx, m, linkSides[i], a, p.Routed)
	}
	return result(p, m.Warnings...), nil
}

// linkSides are the sides of the two ends.
var linkSides = [2]plan.Side{plan.InGuest, plan.InFar}

// observeLink reads, and never writes, what planLink needs to know.
func observeLink(m *plan.Machine, s LinkSpec) (linkFacts, error) {
	var f linkFacts
	var o build.Looker
	for i, at := range linkSides {
		other := m.Guests[linkSides[1-i]]
		e := linkEnd{Inside: inside(&o, m, at, s.Ends[i], nil)}
		o.Look("the namespace of "+other.Name, func() (err error) {
			e.OtherNS, err = m.In(at).NamespaceID(other.Namespace)
			return err
		})
		e.New.Inner = newMAC()
		f.Ends[i] = e
	}
	return f, o.Err
}

// joined reports whether the two ends are those of one pair of ours. Each
// guest speaks for its own end only.
func (f linkFacts) joined() bool {
	a, b := f.Ends[0], f.Ends[1]
	points := func(from linkEnd, to *rtnl.Link) bool {
		l := from.Inner
		return l != nil && to != nil && plan.IsOurs(l) && l.Kind == "veth" && l.Peer == to.Index && l.PeerNS >= 0 && l.PeerNS == from.OtherNS
	}
	return points(a, b.Inner) && points(b, a.Inner)
}
