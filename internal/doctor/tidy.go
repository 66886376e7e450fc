package doctor

import (
	"net/netip"
	"slices"

	"github.com/gopipework/gopipework/internal/rtnl"
	"github.com/gopipework/gopipework/internal/tidy"
)

// tidily calls probe, and sees to it that no neighbour stays that probes have entered.
func (w *walker) tidily(probe func() error) error {
	links := w.entered()
	if needed, err := tidy.Needed(links); err != nil || !needed {
		if err != nil {
			return err
		}
		return probe()
	}
	t, err := tidy.Start(w.ctx, w.ask.Program, links)
	if err != nil {
		return err
	}
	err = probe()
	if left := t.End(); err == nil {
		err = left
	}
	return err
}

// entered returns the links that probes may enter a neighbour on: those of both ends and,
// where there is a router between them, those of the host.
func (w *walker) entered() (links []tidy.Link) {
	near := tidy.Link{Namespace: w.near.ns, Index: w.near.link.Index, Addrs: []netip.Addr{}}
	host := map[int][]netip.Addr{}
	for _, f := range w.far {
		if f.beyond {
			continue
		}
		for _, to := range f.addrs {
			from := w.source(to)
			if !from.IsValid() {
				continue
			}
			next := to
			if !w.onLink(to) {
				next = w.gatewayTo(to)
				w.routed(host, from)
				w.routed(host, to)
			}
			near.Addrs = append(near.Addrs, next)
			switch {
			case f.ns == nil || f.link == nil:
			case f.ns == w.hostNS:
				host[f.link.Index] = append(host[f.link.Index], from)
			case next == to:
				links = append(links, tidy.Link{Namespace: f.ns, Index: f.link.Index, Addrs: []netip.Addr{from}})
			default:
				links = append(links, tidy.Link{Namespace: f.ns, Index: f.link.Index})
			}
		}
	}
	near.Addrs = slices.DeleteFunc(near.Addrs, func(a netip.Addr) bool { return !a.IsValid() })
	if len(near.Addrs) == 0 {
		return nil
	}
	for index, addrs := range host {
		links = append(links, tidy.Link{Namespace: w.hostNS, Index: index, Addrs: addrs})
	}
	return append(links, near)
}

// routed notes the link of the host by which it reaches an address.
func (w *walker) routed(host map[int][]netip.Addr, to netip.Addr) {
	if way, err := w.host.k.Way(rtnl.Lookup{From: anySource(to), To: to}); err == nil && !way.Local {
		host[way.Index] = append(host[way.Index], to)
	}
}
