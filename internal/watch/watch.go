package watch

import (
	"context"
	"sync"
	"time"

	"github.com/gopipework/gopipework/attach"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/reconcile"
	"github.com/gopipework/gopipework/internal/report"
	"github.com/gopipework/gopipework/internal/topology"
)

// Watcher makes a host as its sources ask, for as long as it runs.
type Watcher struct {
	Sources []Source
	Host    reconcile.Host
	// FindAll finds the guests that words name. It also returns the warnings about them.
	FindAll func(ctx context.Context, words []string) (map[string]reconcile.Guest, []string)
	// Report is told what happens.
	Report *report.Reporter
	// Reload has a value each time that all sources are to be read again.
	Reload <-chan struct{}

	asked [][]List // what each source asked for last
}

// every is how often all is compared if nothing wakes the watcher.
const every = 5 * time.Minute

// Run runs until ctx is done. What it has attached stays.
func (w *Watcher) Run(ctx context.Context) error {
	w.asked = make([][]List, len(w.Sources))
	woken := make(chan struct{}, 1)
	ring := func() {
		select {
		case woken <- struct{}{}:
		default:
		}
	}
	var following sync.WaitGroup
	defer following.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for _, s := range w.Sources {
		following.Go(func() {
			if err := s.Follow(ctx, ring); err != nil {
				w.tell(report.Event{Kind: report.Source, Name: s.String(), State: report.Down}, err)
			}
		})
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	watchdog := w.Report.Watchdog()
	for {
		began := time.Now()
		w.read(ctx)
		w.reconcile(ctx)
		w.Report.Reconciled(time.Since(began))
		for waiting := true; waiting; {
			waiting = false
			select {
			case <-ctx.Done():
				return nil
			case <-woken:
			case <-w.Reload:
				w.Report.Reloading()
			case <-tick.C:
			case <-watchdog:
				w.Report.Alive()
				waiting = true
			}
		}
	}
}

// read asks each source what is wanted now.
func (w *Watcher) read(ctx context.Context) {
	for n, s := range w.Sources {
		lists, err := s.Wanted(ctx)
		state := report.Event{Kind: report.Source, Name: s.String(), State: report.Up}
		if err != nil {
			state.State = report.Down
			lists = append(lists, others(w.asked[n], lists)...)
		}
		w.tell(state, err)
		for _, l := range others(w.asked[n], lists) {
			w.Report.Wanted(string(l.Origin), nil)
		}
		for _, l := range lists {
			var lines []string
			for _, e := range l.Entries {
				lines = append(lines, reconcile.Item{Entry: e}.Line())
			}
			w.Report.Wanted(string(l.Origin), lines)
		}
		w.asked[n] = lists
	}
}

// others are the lists whose origins are not among those of the second.
func others(lists, among []List) (rest []List) {
	known := map[attach.Origin]bool{}
	for _, l := range among {
		known[l.Origin] = true
	}
	for _, l := range lists {
		if !known[l.Origin] {
			rest = append(rest, l)
		}
	}
	return rest
}

// reconcile compares all that is wanted with what there is, and makes it so.
func (w *Watcher) reconcile(ctx context.Context) {
	if err := w.all(ctx); err != nil && ctx.Err() == nil {
		w.tell(report.Event{Kind: report.Warning}, err)
	}
}

func (w *Watcher) all(ctx context.Context) error {
	there, err := attach.List(ctx, nil, attach.Options{HostNS: w.Host.Options.HostNS})
	if err != nil {
		return err
	}
	var entries []topology.Entry
	for _, lists := range w.asked {
		for _, l := range lists {
			entries = append(entries, l.Entries...)
		}
	}
	found, _ := w.FindAll(ctx, reconcile.Words(entries))
	var want []reconcile.Wanted
	for _, lists := range w.asked {
		for _, l := range lists {
			want = append(want, reconcile.Wanted{Origin: l.Origin, Entries: l.Entries, Guests: found})
		}
	}
	d, err := reconcile.CompareAll(want, there.Attachments)
	if err == nil {
		err = w.Host.Settle(ctx, &d)
	}
	if err != nil {
		return err
	}
	w.Report.Compared(differing(d))
	w.Host.Do(ctx, d, func(i *reconcile.Item, o reconcile.Outcome) {
		if ctx.Err() == nil {
			w.tell(told(i, o), o.Err)
		}
	})
	return nil
}

// differing are the entries that are not as they are wanted.
func differing(d reconcile.Difference) (all []report.Entry) {
	for _, i := range d.Items {
		all = append(all, report.Entry{Origin: string(i.Origin), Line: i.Line()})
	}
	return all
}

// told is the event that tells what an item came to.
func told(i *reconcile.Item, o reconcile.Outcome) report.Event {
	e := report.Event{Origin: string(i.Origin), Line: i.Line(), Reason: i.Why()}
	switch {
	case i.Action == reconcile.Pending:
		e.Kind, e.Reason = report.Pending, i.Reason
	case i.Action == reconcile.Refused:
		e.Kind = report.Refused
	case o.Err != nil:
		e.Kind = report.Failed
	case i.Action == reconcile.Remove:
		e.Kind, e.Line = report.Detached, ""
	case i.Action == reconcile.Change && !i.Again:
		e.Kind = report.Changed
	default:
		e.Kind = report.Attached
	}
	if a := i.There; len(a) > 0 {
		e.Guest, e.IfName = a[0].Guest.Word(), a[0].Interface.Name
	}
	return e
}

// tell tells an event, with why it is one if err is not nil.
func (w *Watcher) tell(e report.Event, err error) {
	if err != nil {
		e.Reason, e.Hint = err.Error(), fault.HintOf(err)
	}
	w.Report.Tell(e)
}
