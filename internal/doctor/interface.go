package doctor

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/gopipework/gopipework/internal/finding"
	"github.com/gopipework/gopipework/internal/guests"
	"github.com/gopipework/gopipework/internal/ours"
	"github.com/gopipework/gopipework/internal/passage"
	"github.com/gopipework/gopipework/internal/rtnl"
	"golang.org/x/sys/unix"
)

// theHost is what the host is called where a guest could be.
var theHost = guests.GuestInfo{Name: "the host"}

// interfaceChecks look at the guest's link and its addresses.
var interfaceChecks = []check{
	nearLink((*walker).linkDown),
	func(w *walker) ([]finding.Finding, error) { return w.passage().AtLink() },
	func(w *walker) ([]finding.Finding, error) { return w.passage().AtSysctls() },
	nearLink((*walker).addressMissing),
	func(w *walker) ([]finding.Finding, error) { return w.passage().AtFirewall(w.ctx) },
}

// routeChecks look at the guest's routes and rules.
var routeChecks = []check{
	func(w *walker) ([]finding.Finding, error) { return w.passage().OnRoutes() },
	(*walker).noRoute,
}

// nearLink makes a check of one that looks at an end.
func nearLink(look func(*walker, *end) ([]finding.Finding, error)) check {
	return func(w *walker) ([]finding.Finding, error) { return look(w, w.near) }
}

// passage is the way between the guest's link and its neighbours, as an attach looks at it.
func (w *walker) passage() passage.Passage { return w.passageOf(w.near, w.port, w.bridge()) }

func (w *walker) passageOf(e *end, port, on *rtnl.Link) passage.Passage {
	return passage.Passage{Guest: e.k, Inner: e.link, Of: e.of, Host: w.host.k, Port: port, On: on}
}

// bridge returns the Linux bridge that the port is in, or nil.
func (w *walker) bridge() *rtnl.Link {
	if w.leap != toBridge {
		return nil
	}
	return w.on
}

// noInterface is the hop for a link that the guest does not have.
func (w *walker) noInterface(name string, all []*rtnl.Link) *Hop {
	var have []string
	for _, l := range all {
		have = append(have, l.Name)
	}
	f := finding.InterfaceMissing.Surely("%s has no interface %s", w.guest.word(), name)
	if name == "" {
		f = finding.InterfaceMissing.Surely("%s has no interface but the loopback interface", w.guest.word())
	} else if len(have) > 0 {
		f.Reason += "; it has " + strings.Join(have, ", ")
	}
	return &Hop{Interface: name, Name: strings.TrimSpace(w.guest.word() + " " + name), Kind: "interface", Verdict: Broken, Findings: []finding.Finding{f}}
}

// linkDown finds a link that is down, or has no carrier.
func (w *walker) linkDown(e *end) ([]finding.Finding, error) {
	l := e.link
	if !l.Up {
		f := finding.InterfaceDown.Surely("%s of %s is down", l.Name, e.of.Name).MendedBy(e.command("ip link set dev " + l.Name + " up"))
		_, f.Again = w.mark()
		return []finding.Finding{f}, nil
	}
	if l.Carrier || l.Type != unix.ARPHRD_ETHER || l.Kind == "dummy" {
		return nil, nil
	}
	if p := w.port; p != nil && !p.Up && e == w.near {
		f := finding.PeerDown.Surely("%s, the other end of %s, is down", p.Name, l.Name).MendedBy("ip link set dev " + p.Name + " up")
		_, f.Again = w.mark()
		return []finding.Finding{f}, nil
	}
	return []finding.Finding{finding.NoCarrier.Surely("%s of %s has no carrier", l.Name, e.of.Name)}, nil
}

// addressMissing finds a link without an address.
func (w *walker) addressMissing(e *end) ([]finding.Finding, error) {
	all, err := e.addrs()
	if err != nil || len(all) > 0 || e.link.Master != 0 && e.link.Slave != "vrf" {
		return nil, err
	}
	return []finding.Finding{finding.AddressMissing.Surely("%s of %s has no address", e.link.Name, e.of.Name)}, nil
}

// noRoute finds an address that the guest has no route to.
func (w *walker) noRoute() ([]finding.Finding, error) {
	to := w.ask.To.Addr
	if !to.IsValid() {
		return nil, nil
	}
	from := w.source(to)
	if !from.IsValid() {
		return nil, nil
	}
	way, err := w.near.k.Way(rtnl.Lookup{From: from, To: to})
	ask := w.near.command(fmt.Sprintf("ip route get %s from %s", to, from))
	switch {
	case errors.Is(err, unix.ENETUNREACH) || errors.Is(err, unix.EHOSTUNREACH) || errors.Is(err, unix.EACCES) || errors.Is(err, unix.EINVAL):
		return []finding.Finding{finding.NoRoute.Surely("%s has no route to %s", w.near.of.Name, to).SeenBy(ask)}, nil
	case err != nil:
		return nil, err
	case way.Index != w.near.link.Index && !way.Local:
		by := "another interface"
		if l, err := w.near.k.LinkByIndex(way.Index); err == nil {
			by = l.Name
		}
		return []finding.Finding{finding.OtherRoute.Surely("%s sends packets for %s out by %s, and not by %s", w.near.of.Name, to, by, w.near.link.Name).SeenBy(ask)}, nil
	}
	return nil, nil
}

// source returns an address of the guest's link of the family of to; the zero Addr: none.
func (w *walker) source(to netip.Addr) netip.Addr {
	all, _ := w.near.addrs()
	best := netip.Addr{}
	for _, a := range all {
		if a.Prefix.Addr().Is6() == to.Is6() && (!best.IsValid() || a.Prefix.Contains(to)) {
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
	routes, _ := w.near.k.Routes()
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
