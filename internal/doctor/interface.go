package doctor

import (
	"net"
	"slices"
	"strings"
	"time"

	"github.com/gopipework/gopipework/internal/finding"
	"github.com/gopipework/gopipework/internal/guests"
	"github.com/gopipework/gopipework/internal/kind"
	"github.com/gopipework/gopipework/internal/ours"
	"github.com/gopipework/gopipework/internal/passage"
	"github.com/gopipework/gopipework/internal/plan"
	"github.com/gopipework/gopipework/internal/rtnl"
	"github.com/gopipework/gopipework/internal/shell"
	"github.com/gopipework/gopipework/internal/spec"
	"golang.org/x/sys/unix"
)

// theHost is what the host is called where a guest could be.
var theHost = guests.GuestInfo{Name: "the host"}

// interfaceChecks look at the guest's link and its addresses.
var interfaceChecks = []check{
	nearLink((*walker).peerElsewhere),
	nearLink((*walker).linkDown),
	nearLink((*walker).renamed),
	func(w *walker) ([]finding.Finding, error) { return w.passage().AtLink() },
	fixOurs((*walker).sysctls),
	nearLink((*walker).macTwice),
	nearLink((*walker).addressMissing),
	func(w *walker) ([]finding.Finding, error) { return w.passage().Duplicates() },
	nearLink((*walker).addressTentative),
	nearLink((*walker).leaseOver),
	fixOurs((*walker).subnetTwice),
	func(w *walker) ([]finding.Finding, error) { return w.passage().AtFirewall(w.ctx) },
}

// nearLink makes a check of one that looks at an end.
func nearLink(look func(*walker, *end) ([]finding.Finding, error)) check {
	return func(w *walker) ([]finding.Finding, error) { return look(w, w.near) }
}

// passage is the way between the guest's link and its neighbours, as an attach looks at it.
func (w *walker) passage() passage.Passage { return w.passageOf(w.near, w.port, w.bridge()) }

func (w *walker) passageOf(e *end, port, on *rtnl.Link) passage.Passage {
	return passage.Passage{Guest: e.k, Inner: e.link, Of: e.of, Host: w.host.k, Port: port, On: on, Patience: newAddress}
}

// newAddress is how long the kernel may take to use an IPv6 address that was just added.
const newAddress = 200 * time.Millisecond

// bridge returns the Linux bridge that the port is in, or nil.
func (w *walker) bridge() *rtnl.Link {
	if w.leap != toBridge {
		return nil
	}
	return w.on
}

// isOurs reports whether the attachment is ours, and of the guest that was asked about: its
// link may have been moved to this one from another.
func (w *walker) isOurs() bool {
	m, ok := w.mark()
	return ok && w.ask.Guest != nil && m.Names(guests.Short(w.ask.Guest.GuestInfo)) // a mark has as much of an ID
}

// fixOurs leaves it to a person to type the steps that would change what is not ours, or is of
// another guest than the one that was asked about.
func fixOurs(look check) check {
	return func(w *walker) ([]finding.Finding, error) {
		found, err := look(w)
		for i := range found {
			if !w.isOurs() {
				found[i].Mend, found[i].Fix = found[i].Commands(), nil
			}
		}
		return found, err
	}
}

// again reports whether the same attach line again is what a person can type. A wire between
// two guests has none.
func (w *walker) again() bool { return w.isOurs() && w.leap != toGuest }

// noInterface is the hop for a link that the guest does not have.
func (w *walker) noInterface(name string, all []*rtnl.Link) *Hop {
	var have []string
	for _, l := range all {
		have = append(have, l.Name)
	}
	f := finding.InterfaceMissing.Surely("%s has no interface %s", w.guest.word(), name)
	switch now := w.calledNow(name, all); {
	case name == "":
		f = finding.InterfaceMissing.Surely("%s has no interface but the loopback interface", w.guest.word())
	case now != "":
		f = w.rename(finding.InterfaceRenamed.Surely("%s has given %s the name %s", w.guest.word(), name, now), w.guest, now, name)
	case len(have) > 0:
		f.Reason += "; it has " + strings.Join(have, ", ")
	}
	return &Hop{Interface: name, Name: strings.TrimSpace(w.guest.word() + " " + name), Kind: "interface", Verdict: Broken, Findings: []finding.Finding{f}}
}

// at is a walker that stands at another end, and has not gone on from there.
func (w *walker) at(e *end) *walker {
	return &walker{ctx: w.ctx, hostNS: w.hostNS, host: w.host, guest: w.guest, near: e}
}

// calledNow returns the name that the guest has given the interface that was attached
// under name, or "".
func (w *walker) calledNow(name string, all []*rtnl.Link) string {
	for _, l := range all {
		one := w.at(w.guest.with(l))
		if one.findLeap() != nil {
			continue
		}
		if m, ok := one.mark(); ok && m.IfName == name && m.IfName != l.Name {
			return l.Name
		}
	}
	return ""
}

// renamed finds a link that has another name than the one that it was attached under.
func (w *walker) renamed(e *end) ([]finding.Finding, error) {
	m, ok := w.mark()
	if !ok || e.ns == w.hostNS || m.IfName == e.link.Name || slices.Contains(e.link.AltNames, m.IfName) {
		return nil, nil
	}
	f := finding.InterfaceRenamed.Perhaps("%s was attached to %s as %s", e.link.Name, e.of.Name, m.IfName)
	return []finding.Finding{w.rename(f, e, e.link.Name, m.IfName)}, nil
}

// rename returns f with the command that gives a link of an end the name that it was
// attached under, if no other has it. Before Linux 6.2 a link that is up keeps its name,
// and gets that one beside it.
func (w *walker) rename(f finding.Finding, e *end, now, was string) finding.Finding {
	if _, err := e.k.LinkByName(was); err == nil {
		return f
	}
	now, was = shell.Quote(now), shell.Quote(was)
	return f.MendedBy(e.command("ip link set dev "+now+" name "+was) + " || " + e.command("ip link property add dev "+now+" altname "+was))
}

// isAstray reports whether the other end of a pair is in another network namespace than the
// host's, where it was made. A wire between two guests has marks at its own ends.
func (w *walker) isAstray(e *end) bool {
	_, wire := plan.ParseMark(e.link.Alias)
	return w.leap == toGuest && plan.IsOurs(e.link) && !wire
}

// peerElsewhere finds a pair whose other end somebody has moved to a third network namespace.
func (w *walker) peerElsewhere(e *end) ([]finding.Finding, error) {
	if !w.isAstray(e) {
		return nil, nil
	}
	f := finding.PeerElsewhere.Surely("the other end of %s is in a third network namespace, and not on the host", e.link.Name)
	if found, err := ours.FindNamespaces(e.k, []*rtnl.Link{e.link}, nil); err == nil {
		defer found.Close()
		if ns := found[e.link.PeerNS]; ns != nil {
			f.Reason += ", that of " + ns.Holder()
		}
	}
	return []finding.Finding{f}, nil
}

// linkDown finds a link that is down, or has no carrier.
func (w *walker) linkDown(e *end) ([]finding.Finding, error) {
	l := e.link
	if card := w.on; !l.Up && w.leap == toCard && card != nil && !card.Up && l.Kind == "vlan" {
		return nil, nil // the kernel sets a VLAN down with its card, and up again: see parentDown
	}
	if w.isAstray(e) {
		return nil, nil // peer-elsewhere says why
	}
	if found := w.cablePulled(e); found != nil {
		return found, nil
	}
	if !l.Up {
		f := finding.InterfaceDown.Surely("%s of %s is down", l.Name, e.of.Name).MendedBy(e.command("ip link set dev " + shell.Quote(l.Name) + " up"))
		switch {
		case w.again() && len(e.prefixes()) > 0:
			f.Again = true
		case w.isOurs(): // the kernel has deleted the addresses of IPv6, which are in no line then
			f = f.FixedBy(plan.SetLink{Place: plan.Place{Side: plan.InGuest, Enter: guests.Enter(e.of)}, Name: l.Name, Set: rtnl.Change{Up: true}, Taken: kind.TraitsOf(spec.Kind(l.Kind)).Taken})
		}
		return []finding.Finding{f}, nil
	}
	if l.Carrier || l.Type != unix.ARPHRD_ETHER || l.Kind == "dummy" {
		return nil, nil
	}
	if card := w.on; w.leap == toCard && card != nil && !card.Carrier {
		return nil, nil // the card's own checks say why
	}
	if p := w.port; p != nil && !p.Up {
		f := finding.PeerDown.Surely("%s, the other end of %s, is down", p.Name, l.Name).MendedBy("ip link set dev " + shell.Quote(p.Name) + " up")
		f.Again = w.again()
		return []finding.Finding{f}, nil
	}
	if w.leap == toGuest {
		if p, err := e.k.LinkIn(l.PeerNS, l.Peer); err == nil && !p.Up {
			return []finding.Finding{finding.PeerDown.Surely("%s, the other end of %s in another guest, is down", p.Name, l.Name)}, nil
		}
	}
	return []finding.Finding{finding.NoCarrier.Surely("%s of %s has no carrier", l.Name, e.of.Name)}, nil
}

// sysctls looks at those that silence the link, and ends IPv6 on it. Those of ARP matter
// to IPv4 alone.
func (w *walker) sysctls() (found []finding.Finding, err error) {
	if !w.onlyIPv6() {
		if found, err = w.passage().AtSysctls(); err != nil {
			return found, err
		}
	}
	f, err := w.ipv6Disabled(w.near)
	return append(found, f...), err
}

// macTwice finds another station of the same MAC address on the bridge. The ports of a
// bond have one by design.
func (w *walker) macTwice(e *end) ([]finding.Finding, error) {
	if w.leap != toBridge || len(e.link.MAC) == 0 {
		return nil, nil
	}
	mac := e.link.MAC.String()
	same := ""
	if w.on.MAC.String() == mac {
		same = w.on.Name + " itself"
	}
	ports, err := w.host.k.Ports(w.on.Index)
	if err != nil {
		return nil, err
	}
	used := []string{w.on.MAC.String()}
	for _, p := range ports {
		used = append(used, p.MAC.String())
		if p.MAC.String() == mac && same == "" {
			same = p.Name
		}
	}
	bonded := slices.Contains([]string{"bond", "team"}, e.link.Slave)
	others, err := w.neighbours()
	for _, n := range others {
		used = append(used, n.station.String())
		if n.station.String() != mac || !n.link.Up || same != "" || w.apart(n.port) {
			continue
		}
		if bonded && n.port.PeerNS == w.port.PeerNS && n.link.Master == e.link.Master {
			continue
		}
		same = n.name
	}
	if same == "" || err != nil {
		return nil, err
	}
	f := finding.MACTwice.Surely("%s of %s and %s have the MAC address %s, both on %s", e.link.Name, e.of.Name, same, mac, w.on.Name)
	return []finding.Finding{f.MendedBy(e.command("ip link set dev " + shell.Quote(e.link.Name) + " address " + unusedMAC(e.link.MAC, used)))}, nil
}

// apart reports whether a bridge that filters VLANs knows the stations behind another port
// apart from those behind the guest's.
func (w *walker) apart(other *rtnl.Link) bool {
	return w.on.VLANFiltering && w.vlanWord(other.Index) != w.vlanWord(w.port.Index)
}

// unusedMAC returns a locally administered address near mac that none of used is.
func unusedMAC(mac net.HardwareAddr, used []string) string {
	next := slices.Clone(mac)
	next[0] = next[0]&^1 | 2
	for last := len(next) - 1; slices.Contains(used, next.String()) || next.String() == mac.String(); {
		if next[last]++; next[last] == mac[last] {
			next[last-1]++
		}
	}
	return next.String()
}
