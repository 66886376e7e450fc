package doctor

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/gopipework/gopipework/internal/finding"
	"github.com/gopipework/gopipework/internal/ours"
	"github.com/gopipework/gopipework/internal/passage"
	"github.com/gopipework/gopipework/internal/rtnl"
	"github.com/gopipework/gopipework/internal/shell"
	"github.com/gopipework/gopipework/internal/spec"
	"github.com/gopipework/gopipework/internal/witness"
	"golang.org/x/sys/unix"
)

// routeChecks look at the guest's routes and rules.
var routeChecks = []check{
	(*walker).prefixLength,
	fixOurs((*walker).noRoute),
	(*walker).gatewayElsewhere,
	(*walker).repliesElsewhere,
}

// repliesElsewhere finds that a container whose ports its engine has published answers by
// another interface than the engine's: clients beyond its networks never hear it.
func (w *walker) repliesElsewhere() ([]finding.Finding, error) {
	from := w.source(netip.IPv4Unspecified())
	if _, ours := w.mark(); !w.near.of.Published || ours || !from.IsValid() {
		return nil, nil
	}
	client := netip.AddrFrom4([4]byte{192, 0, 2, 1}) // somewhere else (RFC 5737); it is only looked up
	way, err := w.near.k.Way(rtnl.Lookup{From: from, To: client})
	if err != nil || way.Index == w.near.link.Index {
		return nil, nil // without a route there are no clients either
	}
	by, err := w.near.k.LinkByIndex(way.Index)
	if err != nil {
		return nil, err
	}
	return []finding.Finding{finding.OtherRoute.Perhaps("%s answers clients of its published ports by %s, and not by %s that they come in by: attach it again with --source-routing",
		w.near.of.Name, by.Name, w.near.link.Name).SeenBy(w.near.command(fmt.Sprintf("ip route get %s from %s", client, from)))}, nil
}

// noRoute finds an address that is asked for, or without one some neighbour, that the guest
// has no route to by its link.
func (w *walker) noRoute() ([]finding.Finding, error) {
	to := w.asked()
	switch {
	case !w.near.link.Up || w.near.link.Loopback:
		return nil, nil // it has no routes
	case len(to) == 0:
		return w.passage().ToPeers()
	}
	for _, to := range to {
		from := w.source(to)
		if !from.IsValid() || to.IsLoopback() {
			continue
		}
		if f, err := w.wayTo(from, to); f != nil || err != nil {
			return listed(f), err
		}
	}
	return nil, nil
}

func listed(f *finding.Finding) []finding.Finding {
	if f == nil {
		return nil
	}
	return []finding.Finding{*f}
}

// wayTo finds out why the guest sends nothing from one address to another by its link.
func (w *walker) wayTo(from, to netip.Addr) (*finding.Finding, error) {
	e := w.near
	for _, own := range e.prefixes() {
		if own.Addr() == from && own.Contains(to) {
			return w.passage().ToNeighbour(own, to)
		}
	}
	way, err := e.k.Way(rtnl.Lookup{From: from, To: to, Out: e.inVRF()})
	ask := e.command(fmt.Sprintf("ip route get %s from %s", to, from))
	switch {
	case passage.NoWay(err):
		if p := w.subnetOf(to); !p.IsSingleIP() && p.Contains(from) {
			return nil, nil // prefixLength tells
		}
		f := finding.NoRoute.Surely("%s is in no subnet of %s of %s (%s), which has no route to it: give both addresses of one subnet, or add a route", to, e.link.Name, e.of.Name, spec.Join(e.prefixes())).SeenBy(ask)
		if !errors.Is(err, unix.ENETUNREACH) {
			f.Reason = fmt.Sprintf("a route or rule of %s forbids packets to %s: %v", e.of.Name, to, err)
		}
		return &f, nil
	case err != nil:
		return nil, err
	case way.Local || w.ask.Guest == nil: // a far end may answer by whatever interface it likes
		return nil, nil
	case way.Index != e.link.Index:
		by := "another interface"
		if l, err := e.k.LinkByIndex(way.Index); err == nil {
			by = l.Name
		}
		f := finding.OtherRoute.Surely("%s sends packets for %s out by %s, and not by %s", e.of.Name, to, by, e.link.Name).SeenBy(ask)
		return &f, nil
	}
	return w.passage().DropsFrom(from, to)
}

// inWords names the VRF that the link of an end is in, for a command about routes.
func (e *end) inWords() string {
	if vrf := e.vrf(); vrf != "" {
		return " vrf " + shell.Quote(vrf)
	}
	return ""
}

// inVRF returns the index of the VRF that the link of an end is in, or 0.
func (e *end) inVRF() int {
	if e.link.Slave != "vrf" {
		return 0
	}
	return e.link.Master
}

// subnetOf returns the address of another guest on the switch, with its prefix length; the
// zero Prefix: nobody has it.
func (w *walker) subnetOf(addr netip.Addr) netip.Prefix {
	all, _ := w.neighbours()
	for _, n := range all {
		for _, p := range n.subnets {
			if p.Addr() == addr {
				return p
			}
		}
	}
	return netip.Prefix{}
}

// prefixLength finds neighbours that count the guest in their subnet, and that the guest
// takes for hosts beyond a router. With a router that forwards, packets may flow all the same.
func (w *walker) prefixLength() (out []finding.Finding, err error) {
	if !w.near.link.Up {
		return nil, nil
	}
	all, err := w.neighbours()
	if err != nil {
		return nil, err
	}
	to := w.asked()
	for _, own := range w.near.prefixes() {
		var alike bool
		var found *finding.Finding
		for _, n := range all {
			for _, p := range n.subnets {
				if p.IsSingleIP() || !p.Contains(own.Addr()) || p.Addr() == own.Addr() {
					continue
				}
				alike = alike || p.Bits() == own.Bits()
				if own.Contains(p.Addr()) || len(to) > 0 && !slices.Contains(to, p.Addr()) || found != nil {
					continue
				}
				if beyond, cut := w.takesForBeyond(own, p.Addr()); beyond {
					one := w.otherLength(own.Addr(), p)
					one.Sure = cut
					found = &one
				}
			}
		}
		if found != nil {
			found.Sure = found.Sure && (len(to) > 0 || !alike)
			out = append(out, *found)
		}
	}
	return out, nil
}

// takesForBeyond reports whether the guest takes an address for one beyond a router, and whether
// it is cut off from it, because there is no router. An address alone in its subnet that has a
// router is so on purpose.
func (w *walker) takesForBeyond(own netip.Prefix, addr netip.Addr) (beyond, cut bool) {
	way, err := w.near.k.Way(rtnl.Lookup{From: own.Addr(), To: addr, Out: w.near.inVRF()})
	if passage.NoWay(err) {
		return true, true
	}
	return err == nil && way.Gateway.IsValid() && !own.IsSingleIP(), false
}

// gatewayElsewhere finds a default route by a gateway that is in none of the guest's networks.
// With an address alone in its subnet that is usual, and some routers answer for whatever they
// are asked for: unless nothing may be sent, it asks.
func (w *walker) gatewayElsewhere() (out []finding.Finding, err error) {
	e := w.near
	if w.ask.To.Addr.IsValid() && w.onLink(w.ask.To.Addr) || w.ask.Guest == nil || !isEthernet(e.link) {
		return nil, nil
	}
	routes, err := ours.RoutesFor(e.k, e.link)
	for _, r := range routes {
		gw := r.Gateway
		if !r.Default() || r.Index != e.link.Index || !gw.IsValid() || gw.IsLinkLocalUnicast() || w.onLink(gw) {
			continue
		}
		if slices.ContainsFunc(routes, func(o rtnl.Route) bool { return o.Index == r.Index && !o.Default() && o.Dst.Contains(gw) }) {
			continue
		}
		f := finding.GatewayElsewhere.Perhaps("the gateway %s of %s is in no network of %s", gw, e.of.Name, e.link.Name).
			SeenBy(e.command("ip route show default" + e.inWords()))
		if !w.ask.Passive {
			who, err := witness.Ask(w.ctx, witness.Question{From: e.point(), MAC: e.link.MAC, Addr: gw, Patience: patience})
			if err != nil || len(who) > 0 {
				continue
			}
			f.Sure = true
		}
		out = append(out, f)
	}
	return out, err
}

// otherLength is the finding about a neighbour with another prefix length than own's.
func (w *walker) otherLength(own netip.Addr, theirs netip.Prefix) finding.Finding {
	e := w.near
	f := finding.PrefixLength.Perhaps("%s takes %s for a host beyond a router, which takes %s for a neighbour", e.of.Name, theirs, own)
	for _, p := range e.prefixes() {
		if p.Addr() == own {
			change := netip.PrefixFrom(own, theirs.Bits())
			f.Reason = fmt.Sprintf("%s has %s, so that it takes %s for a host beyond a router, which takes it for a neighbour", e.of.Name, p, theirs)
			commands := []string{e.command(fmt.Sprintf("ip address add %s dev %s", change, shell.Quote(e.link.Name))), e.command(fmt.Sprintf("ip address del %s dev %s", p, shell.Quote(e.link.Name)))}
			if own.Is6() { // which the kernel has once on a link
				slices.Reverse(commands)
			}
			f = f.MendedBy(commands...)
		}
	}
	return f
}

// source returns an address of the guest's link of the family of to, that the kernel sends from
// by itself if there is one; the zero Addr: none.
func (w *walker) source(to netip.Addr) netip.Addr {
	all, _ := w.near.addrs()
	best := netip.Addr{}
	for _, a := range all {
		if a.Prefix.Addr().Is6() == to.Is6() && (!best.IsValid() || a.Prefix.Contains(to) && !a.Secondary()) {
			best = a.Prefix.Addr()
		}
	}
	return best
}

// leadingTo returns the link by which the guest sends what is for the target: the one that
// is in its subnet, or else that of the route.
func (w *walker) leadingTo(all []*rtnl.Link) (*rtnl.Link, error) {
	to, err := w.targets()
	if err != nil {
		return nil, err
	}
	addrs, err := w.guest.k.Addrs()
	if err != nil {
		return nil, err
	}
	for _, a := range addrs {
		i := slices.IndexFunc(all, func(l *rtnl.Link) bool { return l.Index == a.Index })
		if i >= 0 && slices.ContainsFunc(to, a.Prefix.Contains) {
			return all[i], nil
		}
	}
	for _, t := range to {
		way, err := w.guest.k.Way(rtnl.Lookup{From: netip.IPv4Unspecified(), To: t})
		if err != nil {
			continue
		}
		if l, err := w.guest.k.LinkByIndex(way.Index); err == nil {
			return l, nil
		} else if ours.UnlessNotFound(err) != nil {
			return nil, err
		}
	}
	return nil, nil
}

// routeFacts says which addresses the guest reaches by its link.
func (w *walker) routeFacts() (facts []string) {
	routes, _ := ours.RoutesFor(w.near.k, w.near.link)
	for _, r := range routes {
		if r.Index != w.near.link.Index || r.Dst.Addr().IsLinkLocalUnicast() || r.Dst.Addr().IsMulticast() {
			continue
		}
		to := r.Dst.String()
		if r.Default() {
			to = "default"
		}
		if r.Gateway.IsValid() {
			to += " by " + r.Gateway.String()
		}
		facts = append(facts, to)
	}
	return facts
}
