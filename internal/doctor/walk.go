package doctor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/gopipework/gopipework/bridge/firewall"

	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/finding"
	"github.com/gopipework/gopipework/internal/kind"
	"github.com/gopipework/gopipework/internal/ours"
	"github.com/gopipework/gopipework/internal/plan"
	"github.com/gopipework/gopipework/internal/rtnl"
	"golang.org/x/sys/unix"
)

// walker walks the way of one interface of a guest.
type walker struct {
	ctx    context.Context
	ask    Ask
	hostNS *os.File
	host   *end // of the host itself; its link is not set
	guest  *end // the same of the guest

	near *end       // the guest's end of this way
	leap leap       // what the guest's link leads to
	port *rtnl.Link // the host's end of a pair; nil: none
	on   *rtnl.Link // the switch that port is in, or the card that the link is on; nil: none

	vxlan   *rtnl.Link   // by which that switch reaches other hosts; nil: it has none
	under   *rtnl.Link   // the link that has the address of that; nil: none has
	remotes []netip.Addr // the other hosts that it sends frames for unknown stations to
	ovs     switched
	rules   firewall.Firewall // of the host, as far as frames of the bridge meet them
	far     []*far

	knownNeighbours func() ([]*neighbour, error) // nil: not asked for yet

	leftOut int               // far ends that are not spoken to, because there are too many
	doubles []finding.Finding // who else has an address of the guest's
	moves   []finding.Finding // MAC addresses that the bridge hears from several ports
	located int               // for how many addresses it was found out where probes end
	locates time.Duration     // how long that has taken
	kinship *kinship          // the links on cards of the host; nil: not looked for yet
	closing []func()          // closes what was opened at far ends
	hops    []Hop
	broken  bool // one of them is, and what comes after depends on it
}

// leap is what a guest's link leads to.
type leap int

const (
	toNothing leap = iota // a dummy, or a pair whose other end was not found
	toBridge              // a pair whose other end is a port of a Linux bridge
	toOVS                 // the same of Open vSwitch
	toHost                // a pair whose other end is the host's own
	toGuest               // a pair whose other end is in another guest
	toCard                // a macvlan, ipvlan or VLAN on a card of the host
)

func open(ctx context.Context, hostNS *os.File, ask Ask) (*walker, error) {
	c, err := rtnl.Open(hostNS)
	if err != nil {
		return nil, fault.Explain("enter", "host", err)
	}
	w := &walker{ctx: ctx, ask: ask, hostNS: hostNS, host: &end{of: theHost, k: ours.Freeze(c), ns: hostNS}}
	if w.guest, err = openGuest(ask.Guest); err != nil {
		w.host.close()
		return nil, err
	}
	return w, nil
}

func (w *walker) close() {
	w.guest.close()
	w.host.close()
}

// report walks the way of each interface that is asked about.
func (w *walker) report() (Report, error) {
	r := Report{Guest: w.ask.Guest.GuestInfo}
	links, missing, err := w.interfaces()
	if err != nil {
		return r, err
	}
	if missing != nil {
		r.Hops = append(r.Hops, *missing)
	}
	ways := make([]*walker, len(links))
	errs := make([]error, len(links))
	var all sync.WaitGroup
	for i, l := range links {
		one := *w
		one.near = w.guest.with(l)
		ways[i] = &one
		all.Go(func() { errs[i] = one.walk() })
	}
	all.Wait()
	for _, one := range ways {
		for _, f := range slices.Backward(one.closing) {
			f()
		}
		r.Hops = append(r.Hops, one.hops...)
	}
	return r, cmp.Or(context.Cause(w.ctx), errors.Join(errs...))
}

// interfaces returns those of the guest whose way is to be walked, or a hop that says
// that there is none.
func (w *walker) interfaces() (links []*rtnl.Link, missing *Hop, err error) {
	all, err := w.guest.k.Links()
	if err != nil {
		return nil, nil, fault.Explain("list links of", w.guest.word(), err)
	}
	if l := ours.Named(all, w.ask.IfName); l != nil && l.Loopback {
		return nil, nil, fault.BadWord("walk from", l.Name, "what is sent by the loopback interface does not leave the guest").WithHint("leave it out, and every other interface is walked")
	}
	all = slices.DeleteFunc(all, func(l *rtnl.Link) bool { return l.Loopback })
	if name := w.ask.IfName; name != "" {
		if l := ours.Named(all, name); l != nil {
			return []*rtnl.Link{l}, nil, nil
		}
		return nil, w.noInterface(name, all), nil
	}
	if w.ask.To.given() {
		l, err := w.leadingTo(all)
		if l != nil || err != nil {
			return []*rtnl.Link{l}, nil, err
		}
	}
	links = slices.DeleteFunc(slices.Clone(all), func(l *rtnl.Link) bool { return l.Type != unix.ARPHRD_ETHER || isInner(l) || w.unused(l) })
	switch {
	case len(links) == 0:
		return nil, w.noInterface("", all), nil
	case w.ask.To.given(): // there is no route to it, and the hop of any interface says so
		return links[:1], nil, nil
	}
	return links, nil, nil
}

// isInner reports whether a link is of the guest's own making, on others of its own: a
// bridge or a VRF, for one.
func isInner(l *rtnl.Link) bool {
	return slices.Contains([]string{"bridge", "vrf", "bond", "ifb"}, l.Kind)
}

// unused reports whether a foreign link is down and has no address: nobody expects packets
// of it. The kernel makes some such in every namespace, gretap0 for one.
func (w *walker) unused(l *rtnl.Link) bool {
	own, _ := w.guest.with(l).addrs()
	return !l.Up && !plan.Attached(l) && len(own) == 0
}

// walk looks at every hop, and then sends probes.
func (w *walker) walk() error {
	if err := w.findLeap(); err != nil {
		return err
	}
	w.awaitCarrier()
	if err := w.findFar(); err != nil {
		return err
	}
	w.look(w.near.word(), "interface", w.interfaceFacts(), interfaceChecks)
	w.look("route", "route", w.routeFacts(), routeChecks)
	switch w.leap {
	case toBridge:
		w.look(w.port.Name, "port", w.portFacts(), portChecks)
		w.look(w.on.Name, "bridge", w.bridgeFacts(), bridgeChecks)
		w.look("firewall", "firewall", nil, firewallChecks)
		if err := w.lookAtUplink(); err != nil {
			return err
		}
	case toOVS:
		w.look(w.port.Name, "port", w.ovsPortFacts(), ovsPortChecks)
		w.look(w.ovs.port.Bridge, "ovs", w.ovsFacts(), ovsChecks)
	case toHost, toNothing:
		if w.port != nil {
			w.look(w.port.Name, "port", w.portFacts(), looseChecks)
		}
	case toCard:
		if w.on != nil {
			w.look(w.on.Name, "card", w.cardFacts(), cardChecks)
		}
	}
	w.lookFar()
	if !w.broken && !w.ask.Passive {
		return w.probe()
	}
	return nil
}

// check looks at one thing for what is wrong with it.
type check func(*walker) ([]finding.Finding, error)

// look adds a hop, and what its checks find.
func (w *walker) look(name, kind string, facts []string, checks []check) {
	w.hops = append(w.hops, Hop{Interface: w.near.link.Name, Name: name, Kind: kind, Facts: facts, Verdict: Skipped})
	if w.broken {
		return
	}
	found := w.run(checks, name)
	h := &w.hops[len(w.hops)-1]
	h.Findings, h.Verdict = found, verdictOf(found)
	w.broken = h.Verdict == Broken
}

// run carries out checks, and puts what is sure first.
func (w *walker) run(checks []check, about string) (out []finding.Finding) {
	for _, c := range checks {
		found, err := c(w)
		if err != nil && !errors.Is(err, rtnl.ErrNotFound) && w.ctx.Err() == nil {
			found = append(found, finding.Unseen.Perhaps("%s: %v", about, err))
		}
		out = append(out, found...)
	}
	slices.SortStableFunc(out, func(a, b finding.Finding) int { return cmp.Compare(rank(a), rank(b)) })
	return out
}

func rank(f finding.Finding) int {
	if f.Sure {
		return 0
	}
	return 1
}

func verdictOf(found []finding.Finding) Verdict {
	v := OK
	for _, f := range found {
		switch {
		case f.Kind == finding.Unseen:
			if v == OK || f.Sure {
				v = Unseen
			}
		case f.Sure:
			return Broken
		case v != Unseen:
			v = Doubt
		}
	}
	return v
}

// findLeap finds what the guest's link leads to.
func (w *walker) findLeap() error {
	l := w.near.link
	host, err := w.near.k.NamespaceID(w.hostNS)
	if err != nil {
		return fault.Explain("find", "the host's namespace", err)
	}
	onHost := l.PeerNS >= 0 && l.PeerNS == host
	switch {
	case l.Kind == "veth" && onHost:
		return w.findPort()
	case l.Kind == "veth" && l.PeerNS >= 0:
		w.leap = toGuest
	case slices.Contains([]string{"macvlan", "macvtap", "ipvlan", "ipvtap", "vlan", "ipoib"}, l.Kind) && onHost:
		w.leap = toCard
		w.on, err = w.host.k.LinkByIndex(l.Peer)
		return ours.UnlessNotFound(err)
	}
	return nil
}

// findPort finds the host's end of a pair, and the switch that it is in.
func (w *walker) findPort() (err error) {
	if w.port, err = w.host.k.LinkByIndex(w.near.link.Peer); err != nil {
		return ours.UnlessNotFound(err)
	}
	if word, _ := kind.OfPort(w.port); word != "" || w.port.Master == 0 && w.routedAt(w.port) {
		w.leap = toHost
		return nil
	}
	if w.port.Master != 0 {
		if w.on, err = w.host.k.LinkByIndex(w.port.Master); ours.UnlessNotFound(err) != nil {
			return fault.Explain("find the bridge of", w.port.Name, err)
		}
		if w.on != nil && w.on.Kind == "bridge" {
			w.leap = toBridge
			return nil
		}
	}
	return w.findOVS()
}

// routedAt reports whether the host itself speaks by the end of a pair that is not ours: it
// has an address there, or a route, as with systemd-nspawn, Calico and the CNI plugin ptp.
func (w *walker) routedAt(port *rtnl.Link) bool {
	if plan.IsOurs(port) {
		return false
	}
	routes, _ := w.host.k.Routes()
	return len(w.host.with(port).prefixes()) > 0 || slices.ContainsFunc(routes, func(r rtnl.Route) bool {
		return r.Index == port.Index && !r.Dst.Addr().IsLinkLocalUnicast() && !r.Dst.Addr().IsMulticast()
	})
}

// interfaceFacts is what a person wants to know of the guest's link.
func (w *walker) interfaceFacts() []string { return linkFacts(w.near) }

// linkFacts is what a person wants to know of the link of an end.
func linkFacts(e *end) []string {
	state := "down"
	if e.link.Up {
		state = "up"
		if !e.link.Carrier {
			state = "up, no carrier"
		}
	}
	facts := []string{state}
	for _, p := range e.prefixes() {
		facts = append(facts, p.String())
	}
	if len(e.link.MAC) > 0 {
		facts = append(facts, e.link.MAC.String())
	}
	return append(facts, fmt.Sprintf("mtu %d", e.link.MTU))
}
