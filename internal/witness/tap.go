package witness

import (
	"cmp"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/gopipework/gopipework/internal/rawsocket"
	"golang.org/x/sys/unix"
)

// Point is a link that a packet passes on its way.
type Point struct {
	Index int
	Run   func(func() error) error // calls a function on a thread in its namespace
}

// Taps hear at points of a way, in both directions, the packets of one [Mark].
//
//	tcpdump -i NAME, at each point
type Taps struct{ rings []*rawsocket.Ring }

// Sighting is a packet that was seen at a point.
type Sighting struct {
	Packet
	Point int       // which of the points
	Out   bool      // the link sent it, rather than received it
	Time  time.Time // when
}

// Tap opens taps at the points. A link that is down is heard once it is up.
func (m Mark) Tap(points []Point) (*Taps, error) {
	t := &Taps{}
	filter := m.filter()
	for _, p := range points {
		err := p.Run(func() error {
			r, err := rawsocket.Packet{Index: p.Index, Protocol: unix.ETH_P_ALL, Headers: true, Filter: filter}.NewRing()
			if err == nil {
				t.rings = append(t.rings, r)
			}
			return err
		})
		if err != nil {
			t.Close()
			return nil, err
		}
	}
	var all sync.WaitGroup
	errs := make([]error, len(t.rings))
	for i, r := range t.rings {
		all.Go(func() { errs[i] = r.Listen() })
	}
	all.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Close()
		return nil, err
	}
	return t, nil
}

// Close closes the taps, all at once: each takes the kernel some milliseconds, until no
// processor can be at work with it.
func (t *Taps) Close() {
	var all sync.WaitGroup
	for _, r := range t.rings {
		all.Go(r.Close)
	}
	all.Wait()
}

// Seen returns what m was seen of since the last call, in the order of time, and at
// one time in that of the points.
func (t *Taps) Seen(m Mark) (all []Sighting) {
	for i, r := range t.rings {
		for frame, d, ok := r.Next(); ok; frame, d, ok = r.Next() {
			if p, ok := m.read(frame); ok {
				p.tag(d)
				all = append(all, Sighting{Packet: p, Point: i, Out: d.Out, Time: d.Time})
			}
		}
	}
	slices.SortStableFunc(all, func(a, b Sighting) int { return cmp.Or(a.Time.Compare(b.Time), cmp.Compare(a.Point, b.Point)) })
	return all
}

// tag notes a tag that the kernel told beside a frame; it is the outermost.
func (p *Packet) tag(d rawsocket.Details) {
	if d.Tagged {
		p.Tagged, p.VLAN = true, d.VLAN
	}
}

// Furthest returns the last of the points at which a packet of the kind was seen; -1 if
// it was seen at none. The points have to be in the order of its way.
func Furthest(seen []Sighting, k Kind) int {
	last := -1
	for _, s := range seen {
		if s.Kind == k {
			last = max(last, s.Point)
		}
	}
	return last
}
