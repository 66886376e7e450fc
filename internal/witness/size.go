package witness

import (
	"context"
	"slices"
	"time"
)

// Largest is what came of the search for the largest packet that passes.
type Largest struct {
	Size    int        // of an IP packet that was answered, in bytes; 0: none was
	Instead *Objection // what came instead of the answer to one that was too big; nil: nothing did
}

// usual are sizes that links and tunnels often have.
var usual = []int{1280, 1400, 1420, 1450, 1480, 1492, 1500, 8950, 9000}

// Sizes that are tried, and how often a packet is sent that is not answered. One that
// is too big usually vanishes in silence.
const (
	maxSizes  = 24
	sizeTries = 2
)

// Largest searches for the largest packet, of low to high bytes, that passes whole. low
// should be one that passes. What it finds may be some bytes too few, as it sends a bounded
// number of packets. It waits ten times as long as the answer to low took, and at least
// 20 ms, but no longer than the patience for twelve of them. That one byte more is lost is
// asked with all patience: a host that is busy answers late.
//
//	ping -M do -s SIZE, again and again
func (p Ping) Largest(ctx context.Context, low, high int) (l Largest, err error) {
	p.Whole, p.Size = true, low
	s, err := p.open()
	if err != nil {
		if refused(err) != nil {
			err = nil
		}
		return l, err
	}
	defer s.Close()
	e, err := p.exchange(ctx, s, pause)
	l.Instead = e.Instead
	if err != nil || !e.Answered {
		return l, err
	}
	patient := p
	p.Patience = min(sizeTries*max(20*time.Millisecond, 10*e.After), p.Patience/12)
	l.Size = low
	top := high // the largest that has not been refused; what was not answered may be late
	for next, tried := high, 1; l.Size < top && tried < maxSizes; tried++ {
		last := l.Size == high
		if last {
			next = high + 1
			patient.Size = next
			e, err = patient.exchange(ctx, s, pause)
		} else {
			p.Size = next
			e, err = p.exchange(ctx, s, p.Patience/sizeTries)
		}
		switch {
		case err != nil:
			return l, err
		case e.Answered:
			l.Size = next
			if last {
				high = top
			}
		case e.Instead != nil:
			l.Instead = e.Instead
			top, high = next-1, next-1
		case last:
			return l, nil
		default:
			high = next - 1
		}
		next = middle(l.Size, high)
		if o := e.Instead; o != nil && o.Why == TooBig && o.MTU > l.Size && o.MTU <= high {
			next, top, high = o.MTU, o.MTU, o.MTU
		}
	}
	return l, nil
}

// middle is what to try next if low passes, and more than high does not: first usual
// sizes, and then one more than a usual one.
func middle(low, high int) int {
	within := slices.DeleteFunc(slices.Clone(usual), func(v int) bool { return v <= low || v > high })
	switch {
	case len(within) > 0:
		return within[len(within)/2]
	case slices.Contains(usual, low):
		return low + 1
	}
	return low + (high-low+1)/2
}
