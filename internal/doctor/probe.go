package doctor

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/finding"
	"github.com/gopipework/gopipework/internal/ours"
	"github.com/gopipework/gopipework/internal/rtnl"
	"github.com/gopipework/gopipework/internal/witness"
	"golang.org/x/sys/unix"
)

// How long probes are waited for. The first answer on a host or in a LAN takes less than a
// millisecond; a router that is asleep, or a host that first has to find the guest, more.
const (
	patience     = 500 * time.Millisecond
	patienceHere = 300 * time.Millisecond // for a guest of this host
	askPatience  = 100 * time.Millisecond // for the holder of an address of the guest's own
	doublesGrace = 30 * time.Millisecond  // for a second holder of another one's
)

// answer is what came of the probes for one address of a far end.
type answer struct {
	to      netip.Addr
	from    netip.Addr
	echo    witness.Echoed
	err     error             // why no ping could be sent; the guest's refusal is in echo
	there   witness.Delivered // of a datagram, where no echo was answered
	back    witness.Delivered // of another one, the other way
	knock   witness.Delivered // of the beginning of a connection
	holders []witness.Answer  // who has the address
}

// passes reports whether packets go there and back.
func (a answer) passes() bool {
	return a.echo.Answered || a.there.Arrived && a.back.Arrived || a.knock.Arrived
}

// probe sends packets over the whole way, to every far end at the same time, and if they
// do not come back finds out where they ended.
func (w *walker) probe() error {
	w.findNamespaces()
	return w.tidily(w.send)
}

// send is probe without its preparations.
func (w *walker) send() error {
	var all sync.WaitGroup
	all.Go(w.probeOwn)
	if w.leap == toBridge {
		all.Go(w.watchStations)
	}
	w.each(&all, w.ping)
	all.Wait()
	for _, f := range w.far {
		for _, a := range f.got {
			if errors.Is(a.err, fs.ErrPermission) {
				return fault.New(fault.Permission, "send a ping to", f.name, "%w", a.err).WithHint("run it as root, with CAP_NET_RAW, or send nothing: --passive")
			}
		}
		if !f.answers() {
			w.enter(f)
		}
	}
	w.each(&all, w.deliver)
	all.Wait()
	if err := context.Cause(w.ctx); err != nil {
		return err
	}
	w.addDuplicates()
	if len(w.moves) > 0 {
		w.add(w.hopOf("bridge"), w.moves...)
	}
	for _, f := range w.far {
		switch {
		case f.beyond && w.broken:
			w.hops[f.hop].Verdict = Skipped
			continue
		case f.beyond:
			w.add(f.hop, finding.Unseen.Perhaps("%s is beyond the guest's networks: doctor sends nothing there, and cannot tell", f.name))
			continue
		}
		w.judge(f)
	}
	w.trustAnswers()
	return nil
}

// trustAnswers makes a doubt of what could not be read, if every far end has answered all
// the same.
func (w *walker) trustAnswers() {
	if len(w.far) == 0 || slices.ContainsFunc(w.far, func(f *far) bool { return !f.beyond && !f.answers() }) {
		return
	}
	for i, h := range w.hops {
		if h.Verdict == Unseen && h.Kind != "far" {
			w.hops[i].Verdict = Doubt
		}
	}
}

// host is the end's network stack at one of its addresses.
func (e *end) host(addr netip.Addr) witness.Host {
	return witness.Host{Addr: addr, Index: e.link.Index, Device: e.vrf(), Run: e.k.Run}
}

// point is the link of an end, to listen at.
func (e *end) point() witness.Point { return witness.Point{Index: e.link.Index, Run: e.k.Run} }

// each calls a probe for every address of every far end that was not answered for yet, all
// at the same time.
func (w *walker) each(all *sync.WaitGroup, probe func(*far, *answer)) {
	for _, f := range w.far {
		if f.beyond {
			continue
		}
		if f.got == nil {
			for _, to := range f.addrs {
				f.got = append(f.got, answer{to: to, from: w.source(to)})
			}
		}
		for i := range f.got {
			if a := &f.got[i]; a.from.IsValid() && !a.echo.Answered {
				all.Go(func() { probe(f, a) })
			}
		}
	}
}

// patience is how long a far end is waited for.
func (f *far) patience() time.Duration {
	if f.ns != nil {
		return patienceHere
	}
	return patience
}

// answers reports whether every address has answered a ping.
func (f *far) answers() bool {
	return !slices.ContainsFunc(f.got, func(a answer) bool { return !a.echo.Answered })
}

// ping sends a ping to one address, and asks who has it.
func (w *walker) ping(f *far, a *answer) {
	var asked sync.WaitGroup
	if a.to.Is4() && isEthernet(w.near.link) && w.onLink(a.to) {
		asked.Go(func() {
			a.holders, _ = witness.Ask(w.ctx, witness.Question{From: w.near.point(), MAC: w.near.link.MAC, Addr: a.to, Patience: f.patience(), Grace: doublesGrace})
		})
	}
	p := witness.Ping{Mark: witness.NewMark(a.from, a.to), From: w.near.host(a.from), To: a.to, Patience: f.patience()}
	a.echo, a.err = p.Send(w.ctx)
	asked.Wait()
}

// deliver tries what a host may answer that answers no ping.
func (w *walker) deliver(f *far, a *answer) {
	m, from := witness.NewMark(a.from, a.to), w.near.host(a.from)
	if f.end != nil {
		there := f.end.host(a.to)
		if a.there, _ = witness.Deliver(w.ctx, m, from, there, patienceHere); a.there.Arrived {
			a.back, _ = witness.Deliver(w.ctx, m, there, from, patienceHere)
		}
		if !a.passes() {
			a.knock = w.knock(m, from, there)
		}
		return
	}
	a.knock, _ = witness.Knock(w.ctx, m, from, witness.Host{Addr: a.to}, []int{discard}, patience)
}

// knock tries what listens at a far end: its firewall may accept that alone. A refusal may be
// the firewall's.
func (w *walker) knock(m witness.Mark, from, to witness.Host) (d witness.Delivered) {
	const most = 32
	ports, _ := witness.Listening(to)
	if len(ports) == 0 {
		return d
	}
	d, _ = witness.Knock(w.ctx, m, from, to, ports[:min(len(ports), most)], patienceHere)
	if d.Refused {
		return witness.Delivered{}
	}
	return d
}

// onLink reports whether an address is in a subnet of the guest's link, or has a route
// without a gateway there, as a gateway outside the subnet does.
func (w *walker) onLink(a netip.Addr) bool {
	if w.inSubnet(a) {
		return true
	}
	routes, _ := ours.RoutesFor(w.near.k, w.near.link)
	return slices.ContainsFunc(routes, func(r rtnl.Route) bool {
		return r.Index == w.near.link.Index && !r.Gateway.IsValid() && !r.Default() && r.Dst.Contains(a)
	})
}

// inSubnet reports whether an address is in a subnet of the guest's link.
func (w *walker) inSubnet(a netip.Addr) bool {
	return slices.ContainsFunc(w.near.prefixes(), func(p netip.Prefix) bool { return p.Contains(a) })
}

// probeOwn asks whether somebody else has an address of the guest's.
func (w *walker) probeOwn() {
	if !isEthernet(w.near.link) || w.near.link.Kind == "ipvlan" {
		return
	}
	for _, p := range w.near.prefixes() {
		if !p.Addr().Is4() {
			continue // the kernel has asked, see address-duplicate
		}
		holders, _ := witness.Ask(w.ctx, witness.Question{From: w.near.point(), MAC: w.near.link.MAC, Addr: p.Addr(), Patience: askPatience})
		for _, o := range w.near.without(holders) {
			w.doubles = append(w.doubles, finding.AddressDuplicate.Surely("%s has %s too", o.MAC, p.Addr()).
				SeenBy("it answered an ARP request for "+p.Addr().String()))
		}
	}
}

// addDuplicates adds what probeOwn found to the hop of the guest's interface.
func (w *walker) addDuplicates() {
	if len(w.doubles) > 0 {
		w.add(0, w.doubles...)
	}
}

// add adds findings to a hop, and marks those after it as not reached if one is sure.
func (w *walker) add(hop int, found ...finding.Finding) {
	h := &w.hops[hop]
	h.Findings = slices.DeleteFunc(h.Findings, func(old finding.Finding) bool { // what was doubtful is known now
		return !old.Sure && slices.ContainsFunc(found, func(f finding.Finding) bool { return f.Kind == old.Kind })
	})
	h.Findings = append(found, h.Findings...)
	slices.SortStableFunc(h.Findings, func(a, b finding.Finding) int { return rank(a) - rank(b) })
	if h.Verdict = verdictOf(h.Findings); h.Verdict == Broken {
		w.broken = true
	}
}

// judge says what came of the probes to a far end.
func (w *walker) judge(f *far) {
	h := &w.hops[f.hop]
	spoken := false
	for _, a := range f.got {
		if !a.from.IsValid() { // of a family that the guest's interface does not have
			continue
		}
		spoken = true
		if !a.echo.Answered && !w.findLoss(f, &a) {
			continue
		}
		h.Facts = append(h.Facts, fmt.Sprintf("answers from %s in %s", a.to, round(a.echo.After)))
		if found := w.holders(f, a); found != nil {
			w.add(f.hop, *found)
		}
		if found := w.tooLarge(f, a); found != nil {
			w.add(f.hop, *found)
		}
		w.onlyPings(f, a)
	}
	if !spoken && len(f.got) > 0 {
		w.lostAt(0, answer{}, finding.AddressMissing.Surely("%s has no address of the family that %s has", w.near.word(), f.name))
	}
}

// onlyPings finds a rule of the host that drops datagrams or connections to a far end that
// answers a ping. What the far end's own rules accept is up to it.
func (w *walker) onlyPings(f *far, a answer) {
	if !w.ask.To.given() || f.ns == w.hostNS || len(sure(w.hops[f.hop].Findings)) > 0 {
		return
	}
	if w.enter(f); f.end == nil {
		return
	}
	const moment = 100 * time.Millisecond
	m, from, there := witness.NewMark(a.from, a.to), w.near.host(a.from), f.end.host(a.to)
	lost := func() (lost bool) {
		var both sync.WaitGroup
		var datagram, connection witness.Delivered
		both.Go(func() { datagram, _ = witness.Deliver(w.ctx, m, from, there, moment) })
		both.Go(func() { connection, _ = witness.Knock(w.ctx, m, from, there, []int{discard}, moment) })
		both.Wait()
		return !datagram.Arrived || !connection.Arrived
	}
	if !lost() {
		return
	}
	t := w.traceOf(f, a, 0)
	defer t.close()
	lost()
	t.finish(w.ctx)
	for _, s := range t.traces {
		if found, hop := w.byTrace(s, f, a, false); found != nil && s.of == w.host {
			found.Sure = false
			found.Reason += "; pings pass"
			w.add(hop, *found)
			return
		}
	}
}

// discard is a port that hardly anybody listens at (RFC 863).
const discard = 9

// For how many far ends it is found out where probes end, and for how long another one is
// begun with.
const (
	maxLocated = 3
	maxLocates = 1200 * time.Millisecond
)

// findLoss finds out why an address has not answered, unless something that is found
// already explains it. It reports whether the address has answered after all.
func (w *walker) findLoss(f *far, a *answer) (answered bool) {
	stopped := func() bool {
		return slices.ContainsFunc(w.hops[:w.far[0].hop], func(h Hop) bool { return h.Verdict == Broken })
	}
	switch {
	case stopped():
	case w.located == maxLocated, w.locates > maxLocates:
		w.lostAt(f.hop, *a, finding.FarSilent.Surely("%s does not answer for %s, and why was not looked into", f.name, a.to))
	default:
		began := time.Now()
		answered = w.locate(f, a)
		w.located, w.locates = w.located+1, w.locates+time.Since(began)
	}
	if stopped() {
		w.hops[f.hop].Verdict = Skipped
	}
	return answered
}

// holders finds several holders of a far end's address.
func (w *walker) holders(f *far, a answer) *finding.Finding {
	if len(a.holders) < 2 {
		return nil
	}
	others := a.holders
	if w.enter(f); f.end != nil {
		others = f.end.without(a.holders)
	}
	if len(others) == 0 || f.end == nil && len(others) < 2 {
		return nil
	}
	first, last := a.holders[0].MAC, others[len(others)-1].MAC
	if bytes.Equal(first, last) {
		first = a.holders[1].MAC
	}
	found := finding.AddressDuplicate.Perhaps("%s and %s both have %s", first, last, a.to).
		SeenBy(fmt.Sprintf("%d stations answered an ARP request for %s", len(a.holders), a.to))
	found.Sure = f.end != nil // one host with two cards in the network answers by both, too
	return &found
}

// tooLarge finds that packets as large as the guest may send are lost, though smaller ones
// pass. If it is the far end itself that takes no larger ones, TCP knows, and a look at the
// ports has told it.
func (w *walker) tooLarge(f *far, a answer) *finding.Finding {
	mtu := w.near.link.MTU
	if !w.ask.To.given() || len(w.hops[f.hop].Findings) > 0 {
		return nil
	}
	least := 128
	if a.to.Is6() {
		least = 1280
	}
	p := witness.Ping{Mark: witness.NewMark(a.from, a.to), From: w.near.host(a.from), To: a.to, Patience: f.patience()}
	l, err := p.Largest(w.ctx, least, mtu)
	if err != nil || l.Size == 0 || l.Size >= mtu || l.Instead != nil || f.link != nil && l.Size >= f.link.MTU {
		return nil
	}
	found := finding.MTUDiffers.Perhaps("packets of %d bytes pass to %s, and larger ones are lost, though %s sends up to %d", l.Size, f.name, w.near.word(), mtu)
	found.Sure = f.link != nil
	return &found
}

// without returns the answers that are not the host's at an end itself: Linux answers for
// any of its addresses on each of its links (arp(7), arp_ignore).
func (e *end) without(all []witness.Answer) []witness.Answer {
	links, _ := e.k.Links()
	return slices.DeleteFunc(slices.Clone(all), func(a witness.Answer) bool {
		return slices.ContainsFunc(links, func(l *rtnl.Link) bool { return bytes.Equal(l.MAC, a.MAC) })
	})
}

// round makes a time one that a person reads.
func round(d time.Duration) time.Duration {
	if d < time.Millisecond {
		return d.Round(time.Microsecond)
	}
	return d.Round(10 * time.Microsecond)
}

// unsent is the finding about a probe that the guest's own kernel refused to send.
func (w *walker) unsent(a answer) (finding.Finding, bool) {
	err := a.echo.Unsent
	switch err {
	case nil:
		return finding.Finding{}, false
	case unix.EPERM, unix.EACCES:
		return finding.GuestFirewall.Surely("%s may not send to %s: %v", w.near.of.Name, a.to, err), true
	case unix.ENETUNREACH, unix.EHOSTUNREACH:
		return finding.NoRoute.Surely("%s has no route to %s", w.near.of.Name, a.to), true
	}
	return finding.Unseen.Surely("%s cannot send to %s: %v", w.near.of.Name, a.to, err), true
}
