package watch

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/guests"
	"github.com/gopipework/gopipework/internal/reconcile"
	"github.com/gopipework/gopipework/internal/report"
)

// Watcher makes a host as its sources ask, for as long as it runs.
type Watcher struct {
	Sources []Source

	// Host finds guests, and says how they are attached.
	Host reconcile.Host
	// FindAll finds the guests that words name. It also returns the warnings about them.
	FindAll func(ctx context.Context, words []string) (map[string]reconcile.Guest, []string)
	// Follow are what tells events. Each returns once it tells all that happens from then
	// on, and goes on until ctx is done.
	Follow []func(ctx context.Context, told func(guests.Event)) error
	// Concerns reports whether an event can be about the guest that a word names.
	Concerns func(e guests.Event, word string) bool
	// Announced reports whether an event tells when the guest starts that a word names. A
	// guest of another kind is looked for again and again.
	Announced func(word string) bool

	// Report is told what happens.
	Report *report.Reporter
	// Reload has a value each time that all sources are to be read again.
	Reload <-chan struct{}

	// What is below belongs to the loop.
	ctx    context.Context
	turns  chan func()
	asked  []answer // by the source
	guests map[string]*guest
	seq    int // counts what was done
	full   fullLook
	gc     cleaning
	held   map[loan]*holding
	missed int // looks in a row with a card that could not be held yet
	slots  slots
	looks  sync.WaitGroup // under way
	parks  *parker        // not the loop's: any goroutine may use it
}

// every is how often all is compared if nothing wakes the watcher.
const every = 5 * time.Minute

// patience is how long watch waits at first for all that is under way, before it says that it is
// ready: a guest that hangs must not hold that up.
const patience = 10 * time.Second

// Run runs until ctx is done. What it has attached stays, with its leases, which other
// processes keep then; what it is about to attach is undone.
func (w *Watcher) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer w.keepLeases()()
	w.ctx, w.turns = ctx, make(chan func())
	w.asked, w.guests = make([]answer, len(w.Sources)), map[string]*guest{}
	w.slots, w.held = newSlots(), map[loan]*holding{}
	if err := w.parking(); err != nil {
		return err
	}
	defer w.parks.close()
	for _, follow := range w.Follow {
		if err := follow(ctx, func(e guests.Event) { w.turn(func() { w.heard(e) }) }); err != nil {
			return err
		}
	}
	for n, s := range w.Sources {
		go func() {
			err := s.Follow(ctx, func() { w.turn(func() { w.ask(n) }) })
			if err != nil {
				w.tell(report.Event{Kind: report.Warning, Name: s.String()}, err)
			}
		}()
	}
	w.reload()
	tick := time.NewTicker(every)
	defer tick.Stop()
	watchdog := w.Report.Watchdog()
	late := time.After(patience)
	for {
		select {
		case <-ctx.Done():
			w.slots.drain()
			w.looks.Wait() // they use what is closed next
			return nil
		case do := <-w.turns:
			do()
			if w.idle() {
				w.Report.Settled()
			}
		case <-late:
			w.Report.Settled()
		case <-w.Reload:
			w.Report.Reloading()
			for _, g := range w.guests {
				g.failures = 0 // somebody wants it to be tried now
			}
			w.reload()
			late = time.After(patience)
		case <-watchdog:
			w.Report.Alive()
		case <-tick.C:
			w.reload()
		}
	}
}

// idle reports whether nothing is under way: all is as it should be, or is waited for.
func (w *Watcher) idle() bool {
	busy := w.full.under || slices.ContainsFunc(w.asked, func(a answer) bool { return a.asking })
	for _, g := range w.guests {
		busy = busy || g.looking || g.working
	}
	return !busy
}

// turn has the loop call do. It may be called from any goroutine but the loop's.
func (w *Watcher) turn(do func()) {
	select {
	case w.turns <- do:
	case <-w.ctx.Done():
	}
}

// after has the loop call do, later.
func (w *Watcher) after(d time.Duration, do func()) *time.Timer {
	return time.AfterFunc(d, func() { w.turn(do) })
}

// reload asks all sources again, and looks at everything.
func (w *Watcher) reload() {
	for n := range w.Sources {
		w.ask(n)
	}
	w.lookAtAll()
	w.clean()
}

// An end is looked at after a moment: if it is a restart, the start follows, and is looked
// at at once.
const settled = 250 * time.Millisecond

// heard does what an event leads to.
func (w *Watcher) heard(e guests.Event) {
	for n, s := range w.Sources {
		h, ok := s.(Hearer)
		switch {
		case !ok || !h.Heard(e):
		case e.What == guests.Ended || e.What == guests.Removed:
			w.after(settled, func() { w.ask(n) }) // an engine tells an end before its list does
		default:
			w.ask(n)
		}
	}
	switch e.What {
	case guests.Followed:
		w.parks.hears(e.Engine, true)
		w.tell(report.Event{Kind: report.Engine, Name: e.Engine, State: report.Up}, nil)
		w.lookAtAll()
		return
	case guests.Deaf:
		w.parks.hears(e.Engine, false)
		w.tell(report.Event{Kind: report.Engine, Name: e.Engine, State: report.Down}, e.Err)
		return
	case guests.Lent: // its attach may be under way for some time still
		w.lookAtAll()
		for _, d := range []time.Duration{firstAgain, 10 * firstAgain} {
			w.after(d, w.lookAtAll)
		}
		return
	case guests.Ended, guests.Removed, guests.Unplugged:
		go w.parks.park(w.ctx) // one that is only a name has no process to be followed
		w.clean()
		w.eachOf(e, func(word string, g *guest) {
			switch {
			case e.What == guests.Removed && w.asks(e, word):
				g.stop()
			case g.failures > 0 && e.What == guests.Unplugged:
				if e.Name != "" && !g.justWorked() { // what has gone may have been in the way
					w.check(word)
				}
			case g.timer == nil:
				w.checkAfter(settled, word, g)
			}
		})
		return
	}
	w.eachOf(e, func(word string, g *guest) {
		g.started = e.What == guests.Started
		w.check(word)
	})
}

// asks reports whether an event has all sources asked again that want something for a guest.
func (w *Watcher) asks(e guests.Event, word string) bool {
	for n, a := range w.asked {
		if h, ok := w.Sources[n].(Hearer); ok && h.Heard(e) {
			continue
		}
		for _, l := range a.lists {
			if slices.Contains(reconcile.Words(l.Entries), word) {
				return false
			}
		}
	}
	return true
}

// eachOf calls do with each word that an event can be about.
func (w *Watcher) eachOf(e guests.Event, do func(word string, g *guest)) {
	for word, g := range w.guests {
		if w.Concerns(e, word) {
			do(word, g)
		}
	}
}

// tell tells an event, with why it is one if err is not nil.
func (w *Watcher) tell(e report.Event, err error) {
	if err != nil {
		e.Reason, e.Hint = err.Error(), fault.HintOf(err)
	}
	w.Report.Tell(e)
}
