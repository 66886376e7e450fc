package doctor

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/gopipework/gopipework/internal/finding"
	"github.com/gopipework/gopipework/internal/ours"
	"github.com/gopipework/gopipework/internal/plan"
	"github.com/gopipework/gopipework/internal/rtnl"
	"github.com/gopipework/gopipework/internal/shell"
	"github.com/gopipework/gopipework/internal/source"
)

// cardChecks look at the card that a guest's link is on.
var cardChecks = []check{
	(*walker).parentDown,
	(*walker).parentNoCarrier,
	(*walker).hostOnCard,
	(*walker).modeApart,
	(*walker).stationTwice,
	(*walker).aboveParent,
	(*walker).parentWireless,
}

// cardFacts is what a person wants to know of the card.
func (w *walker) cardFacts() []string {
	facts := linkFacts(w.host.with(w.on))
	if mode := w.near.link.Mode; mode != "" {
		facts = append(facts, w.near.link.Kind+" mode "+mode)
	}
	if w.kinship != nil && w.kinship.leftOut > 0 {
		facts = append(facts, fmt.Sprintf("%d namespaces not looked into", w.kinship.leftOut))
	}
	return facts
}

// lowers returns the card that the guest's link is on, and what that is on itself: a VLAN
// of the host's is on another card.
func (w *walker) lowers() (all []*rtnl.Link) {
	l := w.on
	for len(all) < 8 && l != nil { // the kernel nests no deeper (MAX_NEST_DEV)
		all = append(all, l)
		if l.Kind != "vlan" && !isChild(l) || l.PeerNS >= 0 {
			break
		}
		l, _ = w.host.k.LinkByIndex(l.Peer)
	}
	return all
}

// parentDown finds a card that is down. What is on it goes down with it, and up again.
func (w *walker) parentDown() ([]finding.Finding, error) {
	var down []*rtnl.Link
	for _, l := range w.lowers() {
		if !l.Up {
			down = append(down, l)
		}
	}
	if len(down) == 0 {
		return nil, nil
	}
	slices.Reverse(down)
	f := finding.ParentDown.Surely("%s, which %s of %s is on, is down", down[0].Name, w.near.link.Name, w.near.of.Name)
	for _, l := range down {
		f = f.MendedBy("ip link set dev " + shell.Quote(l.Name) + " up")
	}
	// An attach sets up HOSTIF, and a sub-interface that it has made there.
	f.Again = w.again() && (down[0] == w.on || plan.IsOurs(w.on))
	return []finding.Finding{f}, nil
}

// carrierPatience is how long a link may take to get the carrier of its card: the kernel tells
// it by a work queue, for most cards no more often than once a second (net/core/link_watch.c).
const carrierPatience = 1200 * time.Millisecond

// awaitCarrier looks again at a link that has no carrier though its card has one.
func (w *walker) awaitCarrier() {
	if w.leap != toCard || w.on == nil || !w.on.Carrier {
		return
	}
	now := ours.Now(w.near.k)
	for end := time.Now().Add(carrierPatience); w.near.link.Up && !w.near.link.Carrier && time.Now().Before(end); {
		time.Sleep(10 * time.Millisecond)
		l, err := now.LinkByIndex(w.near.link.Index)
		if err != nil {
			return
		}
		w.near.link = l
	}
}

// parentNoCarrier finds a card without a carrier. The kernel takes that of the links on it
// away too, and then sends nothing by them.
func (w *walker) parentNoCarrier() ([]finding.Finding, error) {
	all := w.lowers()
	slices.Reverse(all)
	for _, l := range all {
		if l.Up && !l.Carrier {
			return []finding.Finding{finding.ParentNoCarrier.Surely("%s, which %s of %s is on, has no carrier", l.Name, w.near.link.Name, w.near.of.Name)}, nil
		}
	}
	return nil, nil
}

// hostOnCard finds a far end that is the host itself, on the card: the kernel hands what
// leaves by a card to the wire alone. A macvlan of the host's own is another way. In mode
// vepa the switch may send frames back, which only a probe shows.
func (w *walker) hostOnCard() (out []finding.Finding, err error) {
	if !isChild(w.near.link) || w.near.link.Mode == "vepa" {
		return nil, nil
	}
	for _, f := range w.far {
		if f.ns != w.hostNS || f.link == nil || len(f.addrs) == 0 || f.link.Index != w.on.Index {
			continue
		}
		from := w.source(f.addrs[0])
		if !from.IsValid() || w.hostHasWay(f.addrs[0], from) {
			continue
		}
		found := finding.HostOnCard.Surely("%s is the host's own address on %s, and a card passes nothing to the %s on it", f.addrs[0], w.on.Name, w.near.link.Kind)
		return []finding.Finding{w.letHostIn(found, from)}, nil
	}
	return nil, nil
}

// hostHasWay reports whether the host answers an address by another link than the card.
func (w *walker) hostHasWay(own, to netip.Addr) bool {
	way, err := w.host.k.Way(rtnl.Lookup{From: own, To: to})
	return err == nil && way.Index != w.on.Index
}

// letHostIn returns f with the line that attaches the guest once more, with --host-access.
// Only IPv4 and macvlans have it.
func (w *walker) letHostIn(f finding.Finding, from netip.Addr) finding.Finding {
	m, ok := w.mark()
	if !ok || !w.again() || w.near.link.Kind != "macvlan" || from.Is6() {
		return f
	}
	if w.on.Kind == "vlan" {
		return f // it may be ours, and have its name of the tag
	}
	if w.leased() {
		f.With = []string{"--host-access", "--replace"}
		return f
	}
	var addrs []string
	for _, p := range w.near.prefixes() {
		addrs = append(addrs, p.String())
	}
	if len(addrs) == 0 {
		return f
	}
	address := strings.Join(addrs, ",")
	if gateways := w.gateways(); len(gateways) == 1 {
		address += "@" + gateways[0].String()
	}
	return f.MendedBy("gopipework " + shell.Line([]string{w.on.Name, "-i", w.near.link.Name, m.Guest().Word(), address, "--host-access"}))
}

// leased reports whether the guest's link has its address of a lease.
func (w *walker) leased() bool {
	return source.LeaseState(ours.Now(w.near.k), w.near.link.Index) != nil
}

// modeApart finds a macvlan in mode private, of the guest or of the far end, between the
// two. Without a far end that is asked for, private is as somebody wanted it.
func (w *walker) modeApart() ([]finding.Finding, error) {
	if !w.ask.To.given() {
		return nil, nil
	}
	for _, f := range w.far {
		if found, ok := w.keptApart(f); ok && found.Sure {
			return []finding.Finding{found}, nil
		}
	}
	return nil, nil
}

// keptApart is the finding about the modes of the guest's link and of a far end on the
// same card. It is sure with private: the kernel floods no broadcast of another to such a
// link, also if the switch sends it back. Between vepa and bridge that is up to the switch.
func (w *walker) keptApart(f *far) (finding.Finding, bool) {
	s := w.siblingOf(f)
	if s == nil {
		return finding.Finding{}, false
	}
	near := w.near.link
	for _, mode := range []string{"private", "vepa"} {
		var found finding.Finding
		switch {
		case near.Mode == mode:
			found = finding.ModeApart.Perhaps("%s of %s is a macvlan in mode %s", near.Name, w.near.of.Name, mode).
				MendedBy(w.near.command("ip link set dev " + shell.Quote(near.Name) + " type macvlan mode bridge"))
		case s.link.Mode == mode:
			found = finding.ModeApart.Perhaps("%s is a macvlan in mode %s", s.name, mode)
		default:
			continue
		}
		if s.link.Mode == mode && f.end != nil {
			found = found.MendedBy(f.end.command("ip link set dev " + shell.Quote(s.link.Name) + " type macvlan mode bridge"))
		}
		found.Sure = mode == "private"
		return found, true
	}
	return finding.Finding{}, false
}

// stationTwice finds another macvlan with the MAC address of the guest's: on another card,
// for the kernel sets up only one of two on one card; or the card itself, whose address
// can be changed to it. In mode passthru the two have one by design.
func (w *walker) stationTwice() ([]finding.Finding, error) {
	near := w.near.link
	if near.Kind != "macvlan" && near.Kind != "macvtap" || near.Mode == "passthru" {
		return nil, nil
	}
	mac := near.MAC.String()
	used := []string{w.on.MAC.String()}
	kin, err := w.kin()
	if err != nil {
		return nil, err
	}
	var same *sibling
	for i, s := range kin.all {
		used = append(used, s.link.MAC.String())
		if s.link.MAC.String() == mac && s.link.Up && s.link.Mode != "passthru" && s.link.Kind != "ipvlan" && len(w.common(s.subnets)) > 0 {
			same = &kin.all[i]
		}
	}
	var found finding.Finding
	switch {
	case w.on.MAC.String() == mac:
		found = finding.StationTwice.Perhaps("%s of %s and its card %s have the MAC address %s: what is for the host goes to the guest", near.Name, w.near.of.Name, w.on.Name, mac)
	case same != nil:
		found = finding.StationTwice.Perhaps("%s of %s and %s have the MAC address %s, on two cards", near.Name, w.near.of.Name, same.name, mac)
		found.Sure = w.ask.To.given() && slices.ContainsFunc(w.far, func(f *far) bool { return f.station.String() == mac || f.link != nil && f.link.MAC.String() == mac })
	default:
		return nil, nil
	}
	return []finding.Finding{found.MendedBy(w.near.command("ip link set dev " + shell.Quote(near.Name) + " address " + unusedMAC(near.MAC, used)))}, nil
}

// aboveParent finds a link with a larger MTU than its card's. The kernel lets an ipvlan
// have one, and takes those of the other kinds down with the card's.
func (w *walker) aboveParent() ([]finding.Finding, error) {
	near := w.near.link
	if near.MTU <= w.on.MTU {
		return nil, nil
	}
	return []finding.Finding{finding.MTUDiffers.Perhaps("%s of %s has the MTU %d, and %s, which it is on, %d: longer packets are lost", near.Name, w.near.of.Name, near.MTU, w.on.Name, w.on.MTU).
		MendedBy(w.near.command(fmt.Sprintf("ip link set dev %s mtu %d", shell.Quote(near.Name), w.on.MTU)))}, nil
}

// parentWireless finds a macvlan on a Wi-Fi card. An access point takes frames only from
// stations that have joined it; the other links on the card are reached all the same.
func (w *walker) parentWireless() ([]finding.Finding, error) {
	near := w.near.link
	if near.Kind != "macvlan" && near.Kind != "macvtap" || near.Mode == "passthru" {
		return nil, nil
	}
	all := w.lowers()
	_, wireless, err := w.host.k.Wiphy(all[len(all)-1].Index)
	if err != nil || !wireless {
		return nil, err
	}
	if len(w.far) > 0 && !slices.ContainsFunc(w.far, func(f *far) bool { return w.siblingOf(f) == nil }) {
		return nil, nil
	}
	return []finding.Finding{finding.ParentWireless.Perhaps("%s is a Wi-Fi card, and %s of %s has a MAC address of its own there", w.on.Name, near.Name, w.near.of.Name)}, nil
}
