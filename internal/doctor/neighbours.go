package doctor

import (
	"cmp"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"

	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/ours"
	"github.com/gopipework/gopipework/internal/plan"
	"github.com/gopipework/gopipework/internal/rtnl"
)

// neighbour is somebody else on the network. Of those that neighbours returns, the link is known.
type neighbour struct {
	name    string
	link    *rtnl.Link       // in its namespace; nil: not known
	station net.HardwareAddr // the MAC address of that; nil: not known
	subnets []netip.Prefix   // its addresses
	port    *rtnl.Link       // the port of the switch that leads there; nil: not known
	ns      *os.File         // its network namespace; nil: not found, or not looked for
	found   *ours.Namespace  // the same, if it was looked for
	end     *end             // nil: not entered
}

// neighbours returns who else is on the same switch. They are read once: a bridge may have a
// thousand ports.
func (w *walker) neighbours() ([]*neighbour, error) {
	if w.knownNeighbours == nil {
		w.knownNeighbours = sync.OnceValues(w.readNeighbours)
	}
	return w.knownNeighbours()
}

func (w *walker) readNeighbours() ([]*neighbour, error) {
	switch w.leap {
	case toBridge:
		ports, err := w.host.k.Ports(w.on.Index)
		if err != nil {
			return nil, fault.Explain("list ports of", w.on.Name, err)
		}
		if !w.ask.To.given() {
			ports = slices.DeleteFunc(ports, func(p *rtnl.Link) bool {
				return !w.sharesVLAN(w.port.Index, p.Index) || w.port.Port.Isolated && p.Port.Isolated
			})
		}
		return w.behind(ports), nil
	case toOVS:
		return w.behind(w.ovsPorts()), nil
	case toGuest:
		return w.otherEnd()
	case toHost:
		e := w.host.with(w.port)
		return []*neighbour{{name: e.word(), end: e, ns: w.hostNS, link: w.port, station: w.port.MAC, subnets: e.prefixes()}}, nil
	case toCard:
		return w.onCard()
	}
	return nil, nil
}

// behind returns the guests behind ports of a switch. Their addresses are read without
// going there.
func (w *walker) behind(ports []*rtnl.Link) (all []*neighbour) {
	for _, p := range ports {
		if p.Kind != "veth" || p.PeerNS < 0 || w.port != nil && p.Index == w.port.Index {
			continue
		}
		if n := seenFrom(w.host.k, p.PeerNS, p.Peer); n != nil {
			n.port = p
			n.name = cmp.Or(nameByMark(p, n.link), fmt.Sprintf("%s behind %s", n.link.Name, p.Name))
			all = append(all, n)
		}
	}
	return all
}

// seenFrom reads a link in another namespace; nil: it is gone.
func seenFrom(k plan.Kernel, nsid, index int) *neighbour {
	l, err := k.LinkIn(nsid, index)
	if err != nil {
		return nil
	}
	n := &neighbour{link: l, station: l.MAC}
	addrs, _ := k.AddrsIn(nsid, index)
	for _, a := range addrs {
		if !a.Prefix.Addr().IsLinkLocalUnicast() {
			n.subnets = append(n.subnets, a.Prefix)
		}
	}
	return n
}

// nameByMark is what the mark on a link calls the guest that inner is in, or "".
func nameByMark(marked, inner *rtnl.Link) string {
	m, ok := plan.ParseMark(marked.Alias)
	if !ok || !plan.IsOurs(marked) {
		return ""
	}
	return m.Name + " " + inner.Name
}

// otherEnd is the guest at the other end of a wire.
func (w *walker) otherEnd() ([]*neighbour, error) {
	n := seenFrom(w.near.k, w.near.link.PeerNS, w.near.link.Peer)
	if n == nil {
		return nil, nil
	}
	n.name = cmp.Or(nameByMark(n.link, n.link), "the other end, "+n.link.Name)
	return []*neighbour{n}, nil
}

// onCard returns the other guests on the same card. Without a target those are left out that
// the mode of one of the two keeps apart.
func (w *walker) onCard() (all []*neighbour, err error) {
	others, err := w.siblings()
	apart := func(l *rtnl.Link) bool { return l.Mode == "private" || l.Mode == "vepa" }
	for _, s := range others {
		if !w.ask.To.given() && (apart(w.near.link) || apart(s.link)) || len(s.subnets) == 0 {
			continue
		}
		n := &neighbour{name: s.name, link: s.link, station: s.link.MAC, subnets: s.subnets, found: s.ns}
		switch {
		case s.onHost:
			n.ns, n.end = w.hostNS, w.host.with(s.link)
		case s.ns != nil:
			n.ns = s.ns.File
		}
		all = append(all, n)
	}
	return all, err
}
