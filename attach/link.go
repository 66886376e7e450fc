package attach

import (
	"context"
	"os"

	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/rtnl"
)

// A veth pair straight between two guests: the host has no part in it.

// LinkWords are the words of a link line, each as it was typed.
type LinkWords struct {
	Ends  [2]EndWords
	MTU   string     // --mtu
	NoDAD bool       // --nodad
	Shape ShapeWords // of what either end sends
}

// EndWords are those of one end.
type EndWords struct {
	Guest, IfName string // GUEST[:IFNAME]
	Address       string // 192.168.1.2/24@192.168.1.1
}

// LinkSpec is one link between two guests as the user asked for it.
type LinkSpec struct{ Ends [2]Spec }

// ParseLink turns the words into a LinkSpec, as Parse does.
func ParseLink(w LinkWords) (LinkSpec, error) {
	var s LinkSpec
	var err error
	if w.Shape.RateIn != "" {
		return s, fault.BadWord("read flag", "--rate-in", "what one end of a link gets is what the other sends").
			WithHint("--rate-out limits either")
	}
	for i, e := range w.Ends {
		end := &s.Ends[i]
		*end = Spec{HostIF: HostIF{Kind: KindVeth}, Guest: e.Guest, NoDAD: w.NoDAD}
		if e.Guest == "" {
			return s, fault.BadWord("read guest", "", "it is empty")
		}
		if end.IfName, err = parseIfName("interface name", e.IfName); err != nil {
			return s, err
		}
		if _, isSource, _ := parseSource(e.Address); isSource {
			return s, fault.BadWord("read address", e.Address, "nobody but the two guests is on a link, and neither gives addresses")
		}
		if end.Addrs, end.Gateways, err = parseAddress(e.Address); err != nil {
			return s, err
		}
		if end.MTU, err = parseMTU(w.MTU, end.Has(true)); err != nil {
			return s, err
		}
		if end.Shape, err = w.Shape.parse(); err != nil {
			return s, err
		}
	}
	for _, p := range s.Ends[0].Addrs {
		for _, q := range s.Ends[1].Addrs {
			if p.Addr() == q.Addr() {
				return s, fault.BadWord("read address", p.Addr().String(), "it is that of both ends")
			}
		}
	}
	return s, nil
}

// LinkFacts are what planning a link must know.
type LinkFacts struct {
	Ends [2]LinkEnd
}

// LinkEnd is what is known of one end's guest.
type LinkEnd struct {
	Inside
	OtherNS int // id of the other end's namespace here; -1: none yet
	New     NewMACs
}

// Link joins two guests by a veth pair, as s asks: s.Ends[i] is about
// guests[i]. On any error nothing has changed, unless its code is
// fault.Residue.
func Link(ctx context.Context, s LinkSpec, guests [2]Guest, hostNS *os.File, opt Options) (Result, error) {
	ctx, _, cancel := opt.bound(ctx)
	defer cancel()
	if guests[0].NetNS == guests[1].NetNS {
		return Result{}, fault.New(fault.Conflict, "link", guests[0].Name+" and "+guests[1].Name, "both are one network namespace").
			WithHint("a link joins two guests")
	}
	m, err := open(ctx, hostNS, guests[:]...)
	if err != nil {
		return Result{}, err
	}
	defer m.close()
	f, err := observeLink(m, s)
	if err != nil {
		return Result{}, m.cause(ctx, err)
	}
	p, err := BuildLink(s, f)
	if err != nil || opt.DryRun {
		return p.result(), err
	}
	if err := p.apply(ctx, m, opt.tell); err != nil {
		return Result{}, err
	}
	for i, a := range p.Attachments {
		m.warnObstacles(ctx, linkSides[i], a, p.routed)
	}
	return p.result(m.warnings...), nil
}

// linkSides are the sides of the two ends.
var linkSides = [2]side{guest, far}

// observeLink reads, and never writes, what BuildLink needs to know.
func observeLink(m *machine, s LinkSpec) (LinkFacts, error) {
	var f LinkFacts
	var o looker
	for i, at := range linkSides {
		other := m.guests[linkSides[1-i]]
		e := LinkEnd{Inside: o.inside(m, at, s.Ends[i], nil)}
		o.look("the namespace of "+other.Name, func() (err error) {
			e.OtherNS, err = m.sides[at].NamespaceID(other.Namespace)
			return err
		})
		e.New.Inner = newMAC()
		f.Ends[i] = e
	}
	return f, o.err
}

// joined reports whether the two ends are those of one pair of ours. Each
// guest speaks for its own end only.
func (f LinkFacts) joined() bool {
	a, b := f.Ends[0], f.Ends[1]
	points := func(from LinkEnd, to *rtnl.Link) bool {
		l := from.Inner
		return l != nil && to != nil && isOurs(l) && l.Kind == "veth" && l.Peer == to.Index && l.PeerNS >= 0 && l.PeerNS == from.OtherNS
	}
	return points(a, b.Inner) && points(b, a.Inner)
}
