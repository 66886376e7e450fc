package watch

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"github.com/gopipework/gopipework/attach"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/reconcile"
	"github.com/gopipework/gopipework/internal/report"
	"github.com/gopipework/gopipework/internal/topology"
)

// guest is what the loop knows of a guest for which something is wanted.
type guest struct {
	looking, working bool
	again            bool      // something has changed meanwhile
	started          bool      // an event has just told so
	missing          bool      // the last look has found something that is not as it is wanted
	done             int       // Watcher.seq after the last work on it
	ended            time.Time // when that was

	failures int // in a row
	timer    *time.Timer
	next     time.Time // when the timer ends
}

// justWorked reports whether a link of the guest that has gone may be one that watch itself has
// deleted. What fails is undone, and that is no reason to try it again at once.
func (g *guest) justWorked() bool { return g.working || time.Since(g.ended) < settled }

// rests reports whether something has failed for a guest and is not to be tried again yet.
func (g *guest) rests() bool { return g != nil && g.failures > 0 && time.Now().Before(g.next) }

// stop stops the timer.
func (g *guest) stop() {
	if g.timer != nil {
		g.timer.Stop()
		g.timer = nil
	}
}

// checkAfter looks at a guest later.
func (w *Watcher) checkAfter(d time.Duration, word string, g *guest) {
	g.stop()
	g.next = time.Now().Add(d)
	g.timer = w.after(d, func() { w.check(word) })
}

// What failed is tried again after a second, and each time after twice as long.
const (
	firstAgain = time.Second
	lastAgain  = time.Minute
)

// again is how long to wait after so many failures before the one that was.
func again(failures int) time.Duration { return min(firstAgain<<min(failures, 10), lastAgain) }

// failed has a guest looked at again.
func (w *Watcher) failed(word string, g *guest) {
	w.checkAfter(again(g.failures), word, g)
	g.failures++
}

// bridgeWord begins the word for a bridge that the host is to have something on. The loop
// treats it as a guest; no word for a guest has a space.
const bridgeWord = "bridge "

// wordsOf are the guests that an item is about, or the bridge.
func wordsOf(i reconcile.Item) (words []string) {
	if name := i.BridgeName(); name != "" {
		return []string{bridgeWord + name}
	}
	if i.Action != reconcile.Remove {
		return reconcile.Words([]topology.Entry{i.Entry})
	}
	for _, a := range i.There {
		words = append(words, a.Guest.Word())
	}
	return words
}

// group are items that have guests in common.
type group struct {
	words []string
	items []reconcile.Item
}

// groups parts items so that no two groups have a guest in common.
func groups(items []reconcile.Item) (all []*group) {
	of := map[string]*group{}
	for _, i := range items {
		var g *group
		for _, word := range wordsOf(i) {
			switch has := of[word]; {
			case has == nil:
				if g == nil {
					g = &group{}
					all = append(all, g)
				}
				g.words, of[word] = append(g.words, word), g
			case g == nil:
				g = has
			case g != has: // the item joins two groups
				for _, word := range has.words {
					of[word] = g
				}
				g.words, g.items = append(g.words, has.words...), append(g.items, has.items...)
				all = slices.DeleteFunc(all, func(one *group) bool { return one == has })
			}
		}
		g.items = append(g.items, i)
	}
	return all
}

// carryOut does what a look has found, guests side by side.
func (w *Watcher) carryOut(l *look) {
	busy, all := map[string]bool{}, groups(l.items)
	if len(all) > manyWords {
		l.ahead = attach.Remember(w.Host.Options) // they begin with what those before them have read
	}
	for _, g := range all {
		for _, word := range g.words {
			busy[word] = true
		}
		if l.open == nil && slices.ContainsFunc(g.words, func(word string) bool { return w.guests[word].rests() }) {
			continue // a look at everything is no reason to try it before its time
		}
		w.work(l, g)
	}
	for _, word := range l.words {
		if g := w.guests[word]; g != nil && !busy[word] {
			if g.missing && l.open != nil { // somebody has mended it, which a look at everything tells
				w.lookAtAll()
			}
			g.failures, g.started, g.missing = 0, false, false
			w.rest(word, g)
		}
	}
	l.close()
	if l.ahead != nil {
		go func() {
			l.works.Wait()
			l.ahead.Close()
		}()
	}
}

// rest is called when nothing is to be done for a guest.
func (w *Watcher) rest(word string, g *guest) {
	if g.again && !g.looking && !g.working {
		g.again = false
		w.check(word)
	}
}

// work begins to carry out what is to be done for a few guests. If one of them is being
// worked on, or has been since the look, that look is out of date.
func (w *Watcher) work(l *look, of *group) {
	stale := false
	for _, word := range of.words {
		if g := w.guests[word]; g != nil && (g.working || g.done > l.seq) {
			stale = true
		}
	}
	if stale {
		for _, word := range of.words {
			if g := w.guests[word]; g != nil {
				g.again = true
				w.rest(word, g)
			}
		}
		return
	}
	tried := false
	for _, word := range of.words {
		if g := w.guests[word]; g != nil {
			g.working = true
			tried = tried || g.failures > 0
		}
	}
	h := w.Host
	h.Options.Ahead = l.ahead
	lent := l.lend(of.words)
	h.Find = func(ctx context.Context, word string) (*attach.Guest, error) {
		if g := lent.take(word); g != nil {
			return g, nil
		}
		return w.Host.Find(ctx, word)
	}
	l.works.Go(func() {
		defer w.slots.work(tried)()
		defer lent.close()
		var done []outcome
		d := reconcile.Difference{Items: of.items}
		if h.Settle(w.ctx, &d) == nil {
			h.Do(w.ctx, d, func(i *reconcile.Item, o reconcile.Outcome) { done = append(done, outcome{i, o}) })
		}
		if w.ctx.Err() == nil {
			w.turn(func() { w.worked(l, of, done) })
		}
	})
}

// outcome is what an item came to.
type outcome struct {
	*reconcile.Item
	reconcile.Outcome
}

// worked takes what the work on a few guests came to.
func (w *Watcher) worked(l *look, of *group, done []outcome) {
	w.seq++
	retried := map[string]bool{} // guests for which something failed
	soon := map[string]bool{}    // guests that should have started
	for _, o := range done {
		e := o.event()
		words := wordsOf(*o.Item)
		first := w.guests[words[0]]
		for _, word := range words {
			if g := w.guests[word]; g != nil {
				g.missing = o.Outcome.Err != nil
			}
		}
		switch {
		case e.Kind == report.Failed && first != nil && first.started && fault.CodeOf(o.Outcome.Err) == fault.Conflict:
			soon[words[0]] = true // what was there before its restart may not have gone yet
			first.failures++
			continue
		case e.Kind == report.Failed:
			retried[words[0]] = true
			if first != nil {
				w.failed(words[0], first)
				e.Failures, e.Again = first.failures, first.next
			}
		case e.Kind == report.Pending:
			for _, word := range words {
				if g := w.guests[word]; g != nil && g.started {
					soon[word] = true
				} else if g != nil && (!w.Announced(word) || o.Outcome.Err != nil) { // only its link may have gone
					retried[word] = true
					w.failed(word, g)
				}
			}
		}
		w.tell(e, nil)
		for _, warning := range o.Warnings {
			w.tell(report.Event{Kind: report.Warning, Guest: e.Guest, IfName: e.IfName, Origin: e.Origin, Reason: warning}, nil)
		}
	}
	for _, word := range of.words {
		g := w.guests[word]
		if g == nil {
			continue
		}
		g.working, g.done, g.ended = false, w.seq, time.Now()
		if !retried[word] && !soon[word] {
			g.failures = 0
		}
		if g.started = false; soon[word] { // an engine may announce a start before its own answers show it
			w.checkAfter(settled, word, g)
		}
		w.rest(word, g)
	}
	if slices.ContainsFunc(done, func(o outcome) bool { return o.Changed }) && w.mirrors() {
		w.lookAtAll() // copies end with the port that they are taken from
	}
}

// mirrors reports whether an entry asks for copies of another guest's frames.
func (w *Watcher) mirrors() bool {
	return slices.ContainsFunc(w.wanted(""), func(want reconcile.Wanted) bool {
		return slices.ContainsFunc(want.Entries, func(e topology.Entry) bool { return e.Attach != nil && len(e.Attach.Mirrors) > 0 })
	})
}

// event is what tells an outcome.
func (o outcome) event() report.Event {
	e := report.Event{Origin: string(o.Origin), Line: o.Line(), Reason: o.Why(), IfName: o.IfName()}
	if o.Action != reconcile.Pending && o.Action != reconcile.Refused { // nothing was tried of these
		e.Took = report.Seconds(o.Took.Seconds())
	}
	err := o.Outcome.Err
	switch code := fault.CodeOf(err); {
	case o.Action == reconcile.Pending:
		e.Kind, e.Reason = report.Pending, o.Item.Reason
	case o.Action == reconcile.Refused && (code == fault.Runtime || code == fault.Timeout || code == fault.Failed):
		e.Kind = report.Failed // an engine or the kernel may answer next time
	case o.OfBridge() && code == fault.NotFound:
		e.Kind = report.Failed // the uplink may be plugged in later
	case o.Action == reconcile.Refused:
		e.Kind = report.Refused
	case code == fault.Gone && o.Action != reconcile.Remove:
		e.Kind = report.Pending // it has ended meanwhile
	case err != nil:
		e.Kind = report.Failed
	case o.Action == reconcile.Remove:
		if e.Kind = report.Detached; !o.OfBridge() {
			e.Line = ""
		}
	case o.Action == reconcile.Change && !o.Again:
		e.Kind = report.Changed
	default:
		e.Kind = report.Attached
	}
	if err != nil {
		e.Reason, e.Hint = err.Error(), fault.HintOf(err)
	}
	if len(o.There) > 0 {
		e.Guest, e.IfName = o.There[0].Guest.Word(), o.There[0].Interface.Name
	} else if !o.OfBridge() {
		e.Guest = cmp.Or(o.Item.Guest, wordsOf(*o.Item)[0])
	}
	return e
}

// lent are the open guests of a look that some work uses.
type lent struct {
	mu   sync.Mutex
	open map[string]*attach.Guest
}

func (l *look) lend(words []string) *lent {
	out := &lent{open: map[string]*attach.Guest{}}
	for _, word := range words {
		if g := l.open[word]; g != nil {
			out.open[word] = g
			delete(l.open, word)
		}
	}
	return out
}

// take returns the guest, which belongs to the caller then; nil: there is none any more.
func (l *lent) take(word string) *attach.Guest {
	l.mu.Lock()
	defer l.mu.Unlock()
	g := l.open[word]
	delete(l.open, word)
	return g
}

// close closes those that nobody has taken.
func (l *lent) close() {
	for _, g := range l.open {
		g.Close()
	}
}

// slots bound how much goes on at once.
type slots struct{ looks, first, again chan struct{} }

// newSlots returns the slots. A guest that has failed before cannot take the place of one that
// has not: it may hang.
func newSlots() slots {
	return slots{looks: make(chan struct{}, 16), first: make(chan struct{}, 64), again: make(chan struct{}, 16)}
}

func take(c chan struct{}) (release func()) {
	c <- struct{}{}
	return func() { <-c }
}

// look waits until there is room for one more look.
func (s slots) look() (release func()) { return take(s.looks) }

// work waits until there is room for more work on a guest, which has failed before if again
// is set.
func (s slots) work(again bool) (release func()) {
	if again {
		return take(s.again)
	}
	return take(s.first)
}

// drain waits until no work is under way, and lets none begin.
func (s slots) drain() {
	for _, c := range []chan struct{}{s.first, s.again} {
		for range cap(c) {
			c <- struct{}{}
		}
	}
}
