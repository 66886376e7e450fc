package doctor

import (
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/gopipework/gopipework/internal/finding"
	"github.com/gopipework/gopipework/internal/witness"
)

// tapped is a place at which a probe can be seen.
type tapped struct {
	witness.Point
	name string
	hop  int // the hop that what is lost after it belongs to
	out  bool
}

// taps returns the places on the way to a far end, in their order.
func (w *walker) taps(f *far) (all []tapped) {
	all = append(all, tapped{Point: w.near.point(), name: w.near.word(), hop: 0})
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
	there, back witness.Crossed // frames straight from the one link to the other, and back
}

// locate sends the probe again, and listens along the way.
func (w *walker) locate(f *far, a answer) {
	if found, ok := w.unsent(a); ok {
		w.lostAt(1, a, found)
		return
	}
	w.enter(f)
	if f.end != nil {
		back := w.from(f)
		if found := sure(back.atFar(f)); len(found) > 0 {
			w.lostAt(f.hop, a, found...)
			return
		}
		if back.leap == toBridge {
			if found := sure(back.run(portChecks, f.name)); len(found) > 0 {
				w.lostAt(f.hop, a, found...)
				return
			}
		}
	}
	places := w.taps(f)
	l, t, err := w.listen(f, a, places)
	if err != nil {
		w.lostAt(f.hop, a, finding.Unseen.Surely("%v", err))
		return
	}
	w.explain(f, a, places, l, t)
}

func sure(all []finding.Finding) []finding.Finding {
	return slices.DeleteFunc(all, func(f finding.Finding) bool { return !f.Sure })
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
	taps, err := m.Tap(points)
	if err != nil {
		return l, nil, err
	}
	defer taps.Close()
	t = w.trace(f, a)
	defer t.close()
	var asked sync.WaitGroup
	if isEthernet(w.near.link) { // the guest's kernel may be tired of asking
		asked.Go(func() {
			_, _ = witness.Ask(w.ctx, witness.Question{From: w.near.point(), MAC: w.near.link.MAC, Addr: a.to, Patience: patience / 2})
		})
	}
	ping := witness.Ping{Mark: m, From: w.near.host(a.from), To: a.to, Patience: patience / 2}
	_, err = ping.Send(w.ctx)
	if asked.Wait(); err != nil {
		return l, t, err
	}
	if f.end != nil && f.link != nil && isEthernet(w.near.link) {
		from := witness.Station{Point: w.near.point(), MAC: w.near.link.MAC, Addr: a.from}
		to := witness.Station{Point: f.end.point(), MAC: f.station, Addr: a.to}
		if l.there, err = witness.Cross(w.ctx, m, from, to, patience/2); err != nil {
			return l, t, err
		}
		if l.back, err = witness.Cross(w.ctx, m, to, from, patience/2); err != nil {
			return l, t, err
		}
	}
	l.seen = taps.Seen(m)
	t.finish(w.ctx)
	return l, t, err
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
	return lines
}
