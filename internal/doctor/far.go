package doctor

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"

	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/finding"
	"github.com/gopipework/gopipework/internal/guests"
	"github.com/gopipework/gopipework/internal/hostaddr"
	"github.com/gopipework/gopipework/internal/ours"
	"github.com/gopipework/gopipework/internal/plan"
	"github.com/gopipework/gopipework/internal/rtnl"
	"golang.org/x/sys/unix"
)

// far is somebody whom packets of the guest's are for, and what came of them.
type far struct {
	neighbour
	addrs   []netip.Addr // of the neighbour's, at most one of each family
	gateway bool
	beyond  bool     // behind a gateway, and not on this host: nothing is sent there
	missing *Hop     // it has no link that is asked for; nil: it has
	hop     int      // index of its hop
	got     []answer // to probes
}

// maxFar bounds how many far ends are spoken to, if none is asked for.
const maxFar = 16

// findFar finds the far ends: the one that is asked for, or else the gateways, and every
// other guest on the same switch.
func (w *walker) findFar() error {
	all, err := w.neighbours()
	if err != nil {
		return err
	}
	if w.ask.To.given() {
		return w.findTarget(all)
	}
	for _, gw := range w.gateways() {
		f := w.asGateway(gw)
		if known := w.sameFar(f); known != nil { // it is the gateway of both families
			known.name += ", " + gw.String()
			known.addrs = append(known.addrs, gw)
			continue
		}
		w.far = append(w.far, f)
	}
	for _, n := range all {
		f := &far{neighbour: *n, addrs: w.common(n.subnets)}
		if len(f.addrs) > 0 && w.sameFar(f) == nil && !w.isGuests(n) {
			w.far = append(w.far, f)
		}
	}
	if more := len(w.far) - maxFar; more > 0 {
		w.far, w.leftOut = w.far[:maxFar], more
	}
	return nil
}

// isGuests reports whether a neighbour is another interface of the guest itself.
func (w *walker) isGuests(n *neighbour) bool {
	if n.port != nil && w.port != nil {
		return n.port.PeerNS == w.port.PeerNS
	}
	var own unix.Stat_t
	return n.found != nil && unix.Fstat(int(w.near.ns.Fd()), &own) == nil && own.Ino == n.found.Inode
}

// sameFar returns the far end that is already there at the same link, or nil.
func (w *walker) sameFar(f *far) *far {
	i := slices.IndexFunc(w.far, func(g *far) bool { return f.link != nil && g.link == f.link })
	if i < 0 {
		return nil
	}
	return w.far[i]
}

// gateways returns those of the guest's default routes by its link.
func (w *walker) gateways() []netip.Addr {
	routes, _ := ours.RoutesFor(w.near.k, w.near.link)
	all := ours.GatewaysIn(w.near.link.Index, routes)
	return slices.DeleteFunc(all, func(a netip.Addr) bool { return a.IsLinkLocalUnicast() || !w.source(a).IsValid() })
}

// asGateway is the far end that a gateway is.
func (w *walker) asGateway(gw netip.Addr) *far {
	f := w.whoHas(gw)
	f.gateway, f.name = true, "gateway "+gw.String()
	return f
}

// gatewayTo returns the gateway that the guest's main table has for an address, by its
// link; the zero Addr: none.
func (w *walker) gatewayTo(to netip.Addr) netip.Addr {
	routes, _ := ours.RoutesFor(w.near.k, w.near.link)
	best, bits := netip.Addr{}, -1
	for _, r := range routes {
		if r.Index == w.near.link.Index && r.Gateway.IsValid() && r.Dst.Contains(to) && r.Dst.Bits() > bits {
			best, bits = r.Gateway, r.Dst.Bits()
		}
	}
	return best
}

// common returns one address of each family that is in a subnet of the guest's link.
func (w *walker) common(theirs []netip.Prefix) (addrs []netip.Addr) {
	for _, six := range []bool{false, true} {
		for _, p := range theirs {
			a := p.Addr()
			if a.Is6() == six && slices.ContainsFunc(w.near.prefixes(), func(own netip.Prefix) bool { return own.Contains(a) && own.Addr() != a }) {
				addrs = append(addrs, a)
				break
			}
		}
	}
	return addrs
}

// targets returns the addresses that the target has.
func (w *walker) targets() (addrs []netip.Addr, err error) {
	to := w.ask.To
	if to.Addr.IsValid() {
		return []netip.Addr{to.Addr}, nil
	}
	e, err := openGuest(to.Guest)
	if err != nil {
		return nil, err
	}
	defer e.close()
	all, err := e.k.Addrs()
	for _, a := range all {
		if l, err := e.k.LinkByIndex(a.Index); err == nil && !l.Loopback && !a.Prefix.Addr().IsLinkLocalUnicast() && (to.IfName == "" || l.Name == to.IfName) {
			addrs = append(addrs, a.Prefix.Addr())
		}
	}
	return addrs, err
}

// findTarget finds the far end that is asked for.
func (w *walker) findTarget(all []*neighbour) error {
	to := w.ask.To
	if to.Guest == nil {
		if err := w.refuseTarget(to.Addr); err != nil {
			return err
		}
		f := w.whoHas(to.Addr)
		if gw := w.gatewayTo(to.Addr); f.beyond && gw.IsValid() && !gw.IsLinkLocalUnicast() {
			w.far = append(w.far, w.asGateway(gw))
		}
		w.far = append(w.far, f)
		return nil
	}
	e, err := openGuest(to.Guest)
	if err != nil {
		return err
	}
	w.closing = append(w.closing, e.close)
	links, err := e.k.Links()
	if err != nil {
		return fault.Explain("list links of", e.word(), err)
	}
	f := &far{neighbour: neighbour{end: e, ns: to.Guest.Namespace}}
	best := -1
	for _, l := range links {
		if l.Loopback || to.IfName != "" && l.Name != to.IfName && !slices.Contains(l.AltNames, to.IfName) {
			continue
		}
		here := e.with(l)
		addrs := w.common(here.prefixes())
		rank := len(addrs)
		i := slices.IndexFunc(all, func(n *neighbour) bool { return n.link.Index == l.Index && slices.Equal(n.station, l.MAC) })
		if i >= 0 {
			rank += 3
		}
		if rank > best {
			best, f.end, f.addrs, f.link, f.station, f.port = rank, here, addrs, l, l.MAC, nil
			if i >= 0 {
				f.port = all[i].port
			}
			if len(addrs) == 0 {
				f.addrs = onePerFamily(here.prefixes())
			}
		}
	}
	if f.link == nil {
		there := &walker{ctx: w.ctx, hostNS: w.hostNS, host: w.host, guest: e}
		missing := there.noInterface(to.IfName, links)
		w.far = []*far{{neighbour: neighbour{name: missing.Name}, missing: missing}}
		return nil
	}
	f.name, f.subnets = f.end.word(), f.end.prefixes()
	w.far = []*far{f}
	return nil
}

// refuseTarget refuses an address of the guest's own, and what no host of one of its networks
// can have.
func (w *walker) refuseTarget(to netip.Addr) error {
	own, err := w.guest.k.Addrs()
	for _, a := range own {
		if a.Prefix.Addr() == to {
			return fault.BadWord("walk to", to.String(), "%s has it itself", w.ask.Guest.Word()).WithHint("name another guest, or the address of another host: --to 192.168.1.3")
		}
		if why := hostaddr.NotHost(a.Prefix, to); why != "" && a.Prefix.Contains(to) {
			return fault.BadWord("walk to", to.String(), "it is %s, not a host's", why).WithHint("name a guest, or the address of one host: --to 192.168.1.3")
		}
	}
	if to.Is6() || err != nil {
		return err
	}
	way, err := w.near.k.Way(rtnl.Lookup{From: netip.IPv4Unspecified(), To: to})
	if err != nil || !way.Broadcast {
		return nil
	}
	return fault.BadWord("walk to", to.String(), "it is for all hosts of a network").WithHint("name a guest, or the address of one host: --to 192.168.1.3")
}

func onePerFamily(all []netip.Prefix) (addrs []netip.Addr) {
	for _, p := range all {
		if !slices.ContainsFunc(addrs, func(a netip.Addr) bool { return a.Is6() == p.Addr().Is6() }) {
			addrs = append(addrs, p.Addr())
		}
	}
	return addrs
}

// whoHas finds who has an address: another guest on the switch, the host, or nobody that
// can be seen here.
func (w *walker) whoHas(addr netip.Addr) *far {
	all, _ := w.neighbours()
	f := &far{neighbour: neighbour{name: addr.String()}, addrs: []netip.Addr{addr}}
	for _, n := range all {
		if slices.ContainsFunc(n.subnets, func(p netip.Prefix) bool { return p.Addr() == addr }) {
			f.neighbour = *n
			return f
		}
	}
	if l := w.hostInterfaceWith(addr); l != nil {
		f.end = w.host.with(l)
		f.ns, f.link, f.station, f.name = w.hostNS, l, l.MAC, f.end.word()
		return f
	}
	f.beyond = !w.onLink(addr)
	return f
}

// hostInterfaceWith returns the link of the host that has the address, or nil.
func (w *walker) hostInterfaceWith(addr netip.Addr) *rtnl.Link {
	all, _ := w.host.k.Addrs()
	for _, a := range all {
		if a.Prefix.Addr() == addr {
			l, _ := w.host.k.LinkByIndex(a.Index)
			return l
		}
	}
	return nil
}

// findNamespaces finds those of the far ends that are guests of this host. What cannot be
// found is not entered.
func (w *walker) findNamespaces() {
	k, links := w.host.k, map[*rtnl.Link]*far{}
	for _, f := range w.far {
		switch {
		case f.ns != nil || f.link == nil:
		case w.leap == toGuest:
			k = w.near.k
			links[w.near.link] = f
		case f.port != nil:
			links[f.port] = f
		}
	}
	if len(links) == 0 {
		return
	}
	found, err := ours.FindNamespaces(k, slices.Collect(maps.Keys(links)), nil)
	if err != nil {
		return
	}
	w.closing = append(w.closing, found.Close)
	for l, f := range links {
		if ns := found[l.PeerNS]; ns != nil {
			f.ns, f.found = ns.File, ns
		}
	}
}

// enter opens a connection in the namespace of a far end, if it was found.
func (w *walker) enter(f *far) {
	if f.end != nil || f.found == nil {
		return
	}
	c, err := rtnl.Open(f.ns)
	if err != nil {
		return
	}
	e := &end{of: guests.GuestInfo{Name: f.found.Word(), Runtime: "path", Path: f.found.Path, PID: f.found.PID}, k: ours.Freeze(c), ns: f.ns}
	marked := f.port
	if marked == nil {
		marked = f.link
	}
	if m, ok := plan.ParseMark(marked.Alias); ok && plan.IsOurs(marked) {
		e.of = m.Guest()
	} else if pid := f.found.PID; pid != 0 {
		e.of = guests.GuestInfo{Runtime: "pid", ID: strconv.Itoa(pid), Name: f.found.Word(), PID: pid}
	}
	w.closing = append(w.closing, e.close)
	if l, err := e.k.LinkByIndex(f.link.Index); err == nil { // with the ids of its own namespace
		f.link = l
	}
	f.end = e.with(f.link)
}

// lookFar adds a hop for each far end; for one that is asked for, what it looks like from
// there.
func (w *walker) lookFar() {
	for _, f := range w.far {
		if w.ask.To.given() && f.end != nil {
			w.lookFrom(f)
			continue
		}
		f.hop = len(w.hops)
		var checks []check
		if f.missing != nil {
			checks = []check{func(*walker) ([]finding.Finding, error) { return f.missing.Findings, nil }}
		}
		w.look(f.name, "far", f.facts(), checks)
	}
	if len(w.far) == 0 && !w.broken {
		w.hops = append(w.hops, Hop{
			Interface: w.near.link.Name, Name: "far end", Kind: "far",
			Facts: []string{"there is no gateway, and no other guest in a subnet of " + w.near.link.Name}, Verdict: Doubt,
		})
	}
	if w.leftOut > 0 {
		w.hops = append(w.hops, Hop{
			Interface: w.near.link.Name, Name: fmt.Sprintf("%d more guests", w.leftOut), Kind: "far",
			Facts: []string{"name one of them with --to"}, Verdict: Skipped,
		})
	}
}

// lookFrom adds the hops of a far end as another walker sees them, who comes from there: its
// port, if it has one, and itself.
func (w *walker) lookFrom(f *far) {
	back := w.from(f)
	if back.leap == toBridge {
		name := back.port.Name
		w.look(name, "port", back.portFacts(), []check{func(*walker) ([]finding.Finding, error) { return back.run(portChecks, name), nil }})
	}
	f.hop = len(w.hops)
	w.look(f.name, "far", f.facts(), []check{func(*walker) ([]finding.Finding, error) {
		found := back.atFar(f)
		for i := range found {
			found[i].Sure = found[i].Sure && !w.probeTells(f, found[i])
		}
		return found, nil
	}})
}

// probeTells reports whether a probe has to show that something at a far end stops packets:
// rules may accept just these, and a router on the way may give them another source.
func (w *walker) probeTells(f *far, found finding.Finding) bool {
	routed := slices.ContainsFunc(f.addrs, func(a netip.Addr) bool { return !w.onLink(a) })
	return !w.ask.Passive && (found.Kind == finding.FarFirewall || routed && (found.Kind == finding.NoRoute || found.Kind == finding.OtherRoute))
}

func (f *far) facts() (facts []string) {
	for _, p := range f.subnets {
		facts = append(facts, p.String())
	}
	if len(facts) == 0 {
		for _, a := range f.addrs {
			facts = append(facts, a.String())
		}
	}
	if len(f.station) > 0 {
		facts = append(facts, f.station.String())
	}
	return facts
}

// from is a walker that comes the other way, from a far end that was entered.
func (w *walker) from(f *far) *walker {
	back := &walker{ctx: w.ctx, hostNS: w.hostNS, host: w.host, guest: f.end, near: f.end}
	if a := w.sourceFor(f); a.IsValid() {
		back.ask = Ask{IfName: f.end.link.Name, To: Target{Addr: a}, Passive: true}
	}
	if f.ns != w.hostNS {
		_ = back.findLeap() // what is not found is not looked at
	}
	return back
}

// atFar looks at a far end, from where it is.
func (w *walker) atFar(f *far) []finding.Finding {
	found := w.run(interfaceChecks, f.name)
	if len(sure(found)) == 0 {
		found = append(found, w.run(routeChecks, f.name)...)
	}
	for i := range found {
		if found[i].Kind == finding.GuestFirewall {
			found[i].Kind = finding.FarFirewall
		}
	}
	return found
}

// sourceFor returns the address that the guest speaks to a far end from.
func (w *walker) sourceFor(f *far) netip.Addr {
	for _, a := range f.addrs {
		if from := w.source(a); from.IsValid() {
			return from
		}
	}
	return netip.Addr{}
}

// vrf returns the name of the VRF that the link of an end is in, or "".
func (e *end) vrf() string {
	if e.link.Slave != "vrf" {
		return ""
	}
	if l, err := e.k.LinkByIndex(e.link.Master); err == nil {
		return l.Name
	}
	return ""
}

// isEthernet reports whether frames of a link have MAC addresses.
func isEthernet(l *rtnl.Link) bool { return l.Type == unix.ARPHRD_ETHER && l.Flags&unix.IFF_NOARP == 0 }
