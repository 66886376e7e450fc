package doctor

import (
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/gopipework/gopipework/bridge/firewall"
	"github.com/gopipework/gopipework/internal/finding"
	"github.com/gopipework/gopipework/internal/witness"
)

// tapped is a place at which a probe can be seen.
type tapped struct {
	witness.Point
	name string
	hop  int // the hop that what is lost after it belongs to
}

// taps returns the places on the way to a far end, in their order.
func (w *walker) taps(f *far) (all []tapped) {
	near := tapped{Point: w.near.point(), name: w.near.word()}
	if w.leap == toCard {
		near.hop = w.hopOf("card")
	}
	all = append(all, near)
	host := func(index int, name string, hop int) {
		all = append(all, tapped{Point: witness.Point{Index: index, Run: w.host.k.Run}, name: name, hop: hop})
	}
	if w.port != nil {
		host(w.port.Index, w.port.Name, w.hopOf("firewall", "bridge", "ovs", "port"))
	}
	if f.port != nil {
		host(f.port.Index, f.port.Name, f.hop)
	}
	if f.end != nil && f.link != nil {
		all = append(all, tapped{Point: f.end.point(), name: f.name, hop: f.hop})
	}
	return all
}

// hopOf returns the index of the hop of the first of the kinds that is on the way.
func (w *walker) hopOf(kinds ...string) int {
	for _, k := range kinds {
		if i := slices.IndexFunc(w.hops, func(h Hop) bool { return h.Kind == k }); i >= 0 {
			return i
		}
	}
	return 0
}

// lost is how far a probe got.
type lost struct {
	seen        []witness.Sighting
	echo        witness.Echoed
	there, back witness.Crossed // frames straight from the one link to the other, and back
}

// locate sends the probe again, listens along the way, and adds what it finds. It reports
// whether the probe was answered after all: on a machine that is very busy it can be late.
func (w *walker) locate(f *far, a *answer) (answered bool) {
	if found, ok := w.unsent(*a); ok {
		w.lostAt(w.hopOf("route"), *a, w.ruled(f, *a, found))
		return false
	}
	w.enter(f)
	if hop, found := w.fromThere(f); len(found) > 0 {
		w.lostAt(hop, *a, found...)
		return false
	}
	places := w.taps(f)
	l, t, err := w.listen(f, *a, places)
	defer t.close()
	switch {
	case err != nil:
		w.lostAt(f.hop, *a, finding.Unseen.Surely("%v", err))
	case l.echo.Answered:
		a.echo = l.echo
		return true
	default:
		w.explain(f, *a, places, l, t)
	}
	return false
}

// ruled returns a finding about a probe that the guest refused to send with the rule that
// refused it, which the kernel's trace of another one names, if it does.
func (w *walker) ruled(f *far, a answer, found finding.Finding) finding.Finding {
	if found.Kind != finding.GuestFirewall {
		return found
	}
	t := &traced{}
	defer t.close()
	t.open(w, w.near, []firewall.Probe{{Source: a.from, Target: a.to}}, false)
	again := witness.Ping{Mark: witness.NewMark(a.from, a.to), From: w.near.host(a.from), To: a.to, Patience: patienceHere}
	_, _ = again.Send(w.ctx)
	t.finish(w.ctx)
	for _, s := range t.traces {
		if by, _ := w.byTrace(s, f, a, false); by != nil {
			return by.SeenBy(fmt.Sprintf("sending to %s: %v", a.to, a.echo.Unsent))
		}
	}
	return found
}

// fromThere looks at the way from the far end, and returns what surely stops packets there.
func (w *walker) fromThere(f *far) (hop int, found []finding.Finding) {
	if f.end == nil {
		return 0, nil
	}
	back := w.from(f)
	found = back.atFar(f)
	if back.leap == toBridge {
		found = append(found, back.run(portChecks, f.name)...)
	}
	return f.hop, sure(found)
}

// sure returns the findings that stop all packets.
func sure(all []finding.Finding) []finding.Finding {
	return slices.DeleteFunc(slices.Clone(all), func(f finding.Finding) bool { return !f.Sure })
}

// lostAt adds findings to a hop, and marks those after it, and before the far end, as not
// reached.
func (w *walker) lostAt(hop int, a answer, found ...finding.Finding) {
	if a.passes() { // only pings are lost
		for i := range found {
			found[i].Sure = false
			found[i].Reason += "; other packets pass"
		}
	}
	if w.add(hop, found...); a.passes() {
		return
	}
	if !w.ask.To.given() && len(w.far) > 1 {
		return // others may be reached
	}
	for i := range w.hops {
		if i > hop && w.hops[i].Verdict == OK {
			w.hops[i].Verdict = Skipped
		}
	}
}

// listen sends the probe again with taps at the places.
func (w *walker) listen(f *far, a answer, places []tapped) (l lost, t *traced, err error) {
	m := witness.NewMark(a.from, a.to)
	points := make([]witness.Point, len(places))
	for i, p := range places {
		points[i] = p.Point
	}
	t = w.trace(f, a)
	taps, err := m.Tap(points)
	if err != nil {
		return l, t, err
	}
	defer taps.Close()
	var asked sync.WaitGroup
	if isEthernet(w.near.link) { // the guest's kernel may be tired of asking
		asked.Go(func() {
			_, _ = witness.Ask(w.ctx, witness.Question{From: w.near.point(), MAC: w.near.link.MAC, Addr: a.to, Patience: patienceHere})
		})
	}
	ping := witness.Ping{Mark: m, From: w.near.host(a.from), To: a.to, Patience: patienceHere}
	l.echo, err = ping.Send(w.ctx)
	asked.Wait()
	t.finish(w.ctx) // what comes now is no ping
	if err != nil || l.echo.Answered {
		return l, t, err
	}
	if f.end != nil && f.link != nil && isEthernet(w.near.link) {
		from := witness.Station{Point: w.near.point(), MAC: w.near.link.MAC, Addr: a.from}
		to := witness.Station{Point: f.end.point(), MAC: f.station, Addr: a.to}
		if l.there, err = witness.Cross(w.ctx, m, from, to, patienceHere); err != nil {
			return l, t, err
		}
		if l.back, err = witness.Cross(w.ctx, m, to, from, patienceHere); err != nil {
			return l, t, err
		}
	}
	l.seen = slices.DeleteFunc(taps.Seen(m), func(s witness.Sighting) bool { // what Cross asks is about nobody
		question := slices.Contains([]witness.Kind{witness.ARPRequest, witness.ARPReply, witness.Solicitation, witness.Advert}, s.Kind)
		return question && s.To != a.to && s.From != a.to
	})
	return l, t, nil
}

// evidence says how far each kind of packet was seen.
func (l lost) evidence(places []tapped) (lines []string) {
	for _, k := range []witness.Kind{witness.ARPRequest, witness.Solicitation, witness.ARPReply, witness.Advert, witness.EchoRequest, witness.EchoReply} {
		var at []string
		for _, s := range l.seen {
			if name := places[s.Point].name; s.Kind == k && !slices.Contains(at, name) {
				at = append(at, name)
			}
		}
		if at != nil {
			lines = append(lines, fmt.Sprintf("%s seen at %s", k, strings.Join(at, ", ")))
		}
	}
	if o := l.echo.Instead; o != nil {
		lines = append(lines, fmt.Sprintf("instead of an answer %s sent: %s", o.By, o.Text))
	}
	return lines
}
