package doctor

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/gopipework/gopipework/bridge/firewall"
	"github.com/gopipework/gopipework/internal/finding"
	"github.com/gopipework/gopipework/internal/shell"
	"github.com/gopipework/gopipework/internal/witness"
)

// explain says where the probe ended, and why.
func (w *walker) explain(f *far, a answer, places []tapped, l lost, t *traced) {
	evidence := append(t.reasons(), l.evidence(places)...)
	if found, hop := w.reason(f, a, l, t); found != nil {
		w.lostAt(hop, a, found.SeenBy(evidence...))
		return
	}
	evidence = append(evidence, t.notes...)
	out := l.furthest(witness.EchoRequest)
	unasked := out < 0
	if unasked {
		out = l.furthest(witness.ARPRequest, witness.Solicitation)
	}
	whole := f.end != nil && f.link != nil
	last := len(places) - 1
	var unheard *finding.Finding
	if unasked && whole && out >= 0 && out < last {
		unheard = w.unheard(f, a, t, places[out].name)
	}
	switch {
	case w.beyondGateway(a, out, l.nearest(witness.EchoReply), last):
		w.lostAt(f.hop, a, finding.Unseen.Perhaps("packets for %s are sent to the gateway %s, and doctor does not see beyond it", a.to, w.gatewayWord(a.to)).SeenBy(evidence...))
	case out < 0:
		w.blame(0, a, finding.Lost.Surely("nothing of the probe left by %s", places[0].name), evidence)
	case !whole:
		w.noAnswer(f, a, places, out, evidence)
	case unheard != nil:
		w.blame(w.hopOf("bridge"), a, *unheard, evidence)
	case out < last:
		hop := places[out].hop
		w.blame(hop, a, finding.Lost.Surely("frames pass %s, and do not come out at %s", places[out].name, places[out+1].name), evidence)
	default:
		w.comesBack(f, a, places, l, t, evidence)
	}
}

// reason is what stopped the probe, as somebody who knows tells: a neighbour table, the kernel's
// trace, the host's routes, Open vSwitch, or the modes of the links on a card; nil: nobody does.
func (w *walker) reason(f *far, a answer, l lost, t *traced) (found *finding.Finding, hop int) {
	if !a.passes() {
		if found, hop = w.wrongNeighbour(f, a); found != nil {
			return found, hop
		}
	}
	unasked := l.furthest(witness.EchoRequest) < 0
	for _, s := range t.traces {
		if found, hop = w.byTrace(s, f, a, unasked); found != nil {
			return found, hop
		}
	}
	if found, hop = w.notRouted(f, a); found != nil {
		return found, hop
	}
	if w.leap == toOVS {
		hop = w.hopOf("ovs")
		if found = w.byFlow(f, a); found != nil {
			return found, hop
		}
		if doubt := w.promoted(hop, finding.Finding{}); doubt.Kind != nil { // the datapath may still pass what it knew
			return &doubt, hop
		}
	}
	if apart, ok := w.keptApart(f); ok {
		apart.Sure = true
		return &apart, w.hopOf("card")
	}
	return nil, 0
}

// byTrace is the finding about a rule that the kernel's trace shows to stop the probe.
// unasked: no ping was sent, because the question for the neighbour was lost.
func (w *walker) byTrace(s *spot, f *far, a answer, unasked bool) (*finding.Finding, int) {
	stop, evidence, ok := s.stopped(unasked)
	if !ok {
		return nil, 0
	}
	chain, rule := strings.Join([]string{stop.Family, stop.Table, stop.Chain}, " "), stop.Rule
	family := firewall.IPv4
	if a.to.Is6() {
		family = firewall.IPv6
	}
	var found finding.Finding
	hop := w.hopOf("firewall", "bridge", "ovs", "card", "port")
	switch {
	case s.carrier != "":
		found, hop = finding.VTEPFirewall.Surely("%s of this host drops the packets of %s, to UDP port %d: %s", chain, w.vxlan.Name, w.vxlan.VXLAN.Port, rule), w.hopOf(uplinkHop)
	case s.of == w.near:
		found, hop = finding.GuestFirewall.Surely("%s of %s drops it: %s", chain, w.near.of.Name, rule), 0
	case s.of != w.host:
		found, hop = finding.FarFirewall.Surely("%s of %s drops it: %s", chain, f.name, rule), f.hop
	case stop.BySourceFilter():
		found, hop = w.bySourceFilter(stop, f)
	case w.leap == toBridge && f.ns != w.hostNS:
		found = w.dropped(chain, rule, family)
		if stop.Family == "bridge" || stop.Family == "netdev" {
			found.Mend = nil // by the names of ports, which every kernel can match
			found = w.acceptFrames(found, stop, f)
		}
		switch {
		case found.Kind == finding.DockerDrop: // what Docker forbids stays forbidden
		case w.rules.DockerOwned && stop.Chain == dockerUser:
			found.Again, found.Mend = false, passPackets(stop, family, a, dockerUser, "RETURN")
		case w.rules.DockerOwned:
			found.Again, found.Mend = false, nil
		case !w.onLink(a.to): // the host routes them, and an attach opens a way for bridged frames
			found.Again, found.Mend = false, passPackets(stop, family, a, "FORWARD", "ACCEPT")
		}
	default:
		found, hop = finding.FarFirewall.Surely("%s of the host drops it: %s", chain, rule), f.hop
	}
	found = found.SeenBy(evidence)
	return &found, hop
}

// bySourceFilter is the finding about a port that drops what its guest sends from an address
// that the attachment does not have.
func (w *walker) bySourceFilter(s firewall.Stop, f *far) (finding.Finding, int) {
	hop := slices.IndexFunc(w.hops, func(h Hop) bool { return h.Name == s.Chain }) // it has the port's name
	if hop < 0 {
		hop = f.hop
	}
	known := w.hops[hop].Findings
	if i := slices.IndexFunc(known, func(k finding.Finding) bool { return k.Kind == finding.SourceFiltered }); i >= 0 {
		found := known[i]
		found.Sure = true // the probe was lost there
		return found, hop
	}
	return finding.SourceFiltered.Surely("the filter of %s drops it: %s", s.Chain, s.Rule), hop
}

// passPackets are the commands that let packets between two addresses pass: by a rule with that
// target at the head of FORWARD, or of a chain that is called from it. There are none for what
// other chains stop.
func passPackets(s firewall.Stop, family firewall.Family, a answer, chain, target string) (commands []string) {
	if s.Table != "filter" || s.Base != "FORWARD" {
		return nil
	}
	tool := family.Tool()
	if strings.HasSuffix(s.Family, "-legacy") {
		tool = s.Family
	}
	for _, way := range [][2]netip.Addr{{a.from, a.to}, {a.to, a.from}} {
		commands = append(commands, fmt.Sprintf("%s -I %s 1 -s %s -d %s -j %s", tool, chain, way[0], way[1], target))
	}
	return commands
}

// promoted returns what was doubtful at a hop as sure, because the probe was lost there, or
// otherwise if nothing was.
func (w *walker) promoted(hop int, otherwise finding.Finding) finding.Finding {
	h := &w.hops[hop]
	for i, f := range h.Findings {
		if !f.Sure && f.Kind != finding.Unseen {
			h.Findings = slices.Delete(h.Findings, i, i+1)
			h.Verdict = verdictOf(h.Findings)
			f.Sure = true
			return f
		}
	}
	for _, f := range w.suspects() {
		if h.Kind == "firewall" && f.Sure {
			return f
		}
	}
	return otherwise
}

// blame adds what was doubtful at the hop where the probe was lost, or else at another hop
// of the switch, as sure; or otherwise.
func (w *walker) blame(hop int, a answer, otherwise finding.Finding, evidence []string) {
	order := []int{hop}
	for i, h := range w.hops {
		if slices.Contains([]string{"port", "bridge", "ovs", "card"}, h.Kind) {
			order = append(order, i)
		}
	}
	for _, at := range order {
		if found := w.promoted(at, finding.Finding{}); found.Kind != nil {
			w.lostAt(at, a, found.SeenBy(evidence...))
			return
		}
	}
	w.lostAt(hop, a, otherwise.SeenBy(evidence...))
}

// noAnswer is about a far end that cannot be entered: the probe was seen to leave for it.
func (w *walker) noAnswer(f *far, a answer, places []tapped, out int, evidence []string) {
	if w.byUplink(f, a, evidence) {
		return
	}
	uplinks := w.uplinks()
	switch {
	case f.gateway && w.leap == toBridge && len(uplinks) == 0 && f.link == nil && w.hostsOwn().IsValid():
		w.lostAt(f.hop, a, finding.GatewaySilent.Surely("nobody on %s has %s: the host itself has %s there", w.on.Name, a.to, w.hostsOwn()).SeenBy(evidence...))
	case f.gateway && w.leap == toBridge && len(uplinks) == 0 && f.link == nil && w.inSubnet(a.to):
		w.lostAt(f.hop, a, finding.BridgeNoAddress.Surely("nobody on %s has %s, and it has no uplink", w.on.Name, a.to).
			MendedBy(fmt.Sprintf("ip address add %s/%d dev %s", a.to, w.bits(a), shell.Quote(w.on.Name))).SeenBy(evidence...))
	case f.gateway:
		w.lostAt(f.hop, a, finding.GatewaySilent.Surely("%s does not answer", f.name).SeenBy(evidence...))
	case f.link != nil:
		w.lostAt(f.hop, a, finding.FarSilent.Surely("%s does not answer, and its network namespace was not found", f.name).SeenBy(evidence...))
	case w.leap == toBridge && len(uplinks) == 0:
		w.lostAt(w.hopOf("bridge"), a, finding.UplinkMissing.Surely("neither the host nor anybody on %s has %s, and the bridge has no uplink", w.on.Name, a.to).SeenBy(evidence...))
	case len(a.holders) > 0:
		w.lostAt(f.hop, a, finding.FarSilent.Surely("%s has %s, and answers neither a ping nor a connection", a.holders[0].MAC, a.to).SeenBy(evidence...))
	case w.leap == toBridge && w.vxlan != nil:
		w.lostAt(f.hop, a, w.behindVXLAN(a).SeenBy(evidence...))
	default:
		w.lostAt(f.hop, a, finding.FarMissing.Surely("nobody answers for %s", a.to).SeenBy(evidence...))
	}
}

// hostsOwn returns the address that the host has on the bridge in a subnet of the guest's;
// the zero Addr: none.
func (w *walker) hostsOwn() netip.Addr {
	for _, p := range w.host.with(w.on).prefixes() {
		if w.inSubnet(p.Addr()) {
			return p.Addr()
		}
	}
	return netip.Addr{}
}

// bits is the prefix length of the subnet that the guest shares with an address.
func (w *walker) bits(a answer) int {
	for _, p := range w.near.prefixes() {
		if p.Contains(a.to) {
			return p.Bits()
		}
	}
	return a.to.BitLen()
}

// uplinks returns the ports of the bridge that lead out of this host, or to the rest of it.
func (w *walker) uplinks() (names []string) {
	if w.leap != toBridge {
		return nil
	}
	ports, _ := w.host.k.Ports(w.on.Index)
	for _, p := range ports {
		if p.Kind != "veth" || p.PeerNS < 0 {
			names = append(names, p.Name)
		}
	}
	return names
}

// comesBack is about a probe that reached the far end's link: it was not answered, or its
// answer was lost.
func (w *walker) comesBack(f *far, a answer, places []tapped, l lost, t *traced, evidence []string) {
	last := len(places) - 1
	back := l.nearest(witness.ARPReply, witness.Advert, witness.EchoReply)
	asked := l.furthest(witness.EchoRequest) == last
	switch {
	case asked && l.nearest(witness.EchoReply) > last, back > last:
		w.blame(f.hop, a, w.silent(f, a, l, t), evidence)
	case l.nearest(witness.EchoReply) == 0, !asked && back == 0:
		w.blame(0, a, w.notTaken(f, places[0].name, t), evidence)
	default:
		at := back
		if asked {
			at = l.nearest(witness.EchoReply)
		}
		hop := places[at].hop
		w.blame(hop, a, finding.Lost.Surely("answers pass %s, and do not come out at %s", places[at].name, places[at-1].name), evidence)
	}
}

// reasonRPFilter is the kernel's reason for a packet that a reverse path filter dropped.
const reasonRPFilter = "IP_RPFILTER"

// notTaken is the finding about an answer that came to the guest's link, and no further.
func (w *walker) notTaken(f *far, at string, t *traced) finding.Finding {
	if t.dropped(reasonRPFilter) {
		return finding.ReversePath.Surely("%s drops what comes in by %s, because its way back is another", w.near.of.Name, w.near.link.Name)
	}
	return finding.Lost.Surely("the answer of %s comes to %s, and %s does not take it", f.name, at, w.near.of.Name)
}

// silent is the finding about a far end that does not answer what reached its link.
func (w *walker) silent(f *far, a answer, l lost, t *traced) finding.Finding {
	if t.dropped(reasonRPFilter) {
		return finding.ReversePath.Surely("%s drops what comes in by that link, because its way back is another", f.name)
	}
	if l.there.Frame && !l.there.Socket && l.there.Unheard == nil {
		return finding.FarFirewall.Surely("frames reach %s, and its network stack drops them", f.name)
	}
	return finding.FarSilent.Surely("%s does not answer for %s, though the frames reach it", f.name, a.to)
}

// furthest returns the last place at which a packet of one of the kinds was seen; -1: none.
func (l lost) furthest(kinds ...witness.Kind) int {
	last := -1
	for _, k := range kinds {
		last = max(last, witness.Furthest(l.seen, k))
	}
	return last
}

// nearest returns the first place, counted from the guest, at which a packet of one of the
// kinds was seen; more than any place: none.
func (l lost) nearest(kinds ...witness.Kind) int {
	first := 1 << 30
	for _, s := range l.seen {
		if slices.Contains(kinds, s.Kind) {
			first = min(first, s.Point)
		}
	}
	return first
}
