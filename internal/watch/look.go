package watch

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/gopipework/gopipework/attach"
	"github.com/gopipework/gopipework/internal/reconcile"
	"github.com/gopipework/gopipework/internal/report"
	"github.com/gopipework/gopipework/internal/topology"
)

// look is what was found by looking: how what is wanted and what is there differ.
type look struct {
	began time.Time
	seq   int // of the last work that was done before
	items []reconcile.Item
	words []string // the guests that it was about
	open  map[string]*attach.Guest
	there []attach.Attachment // all that there are
	ahead *attach.Ahead       // what works of one look share; nil: they are few
	works sync.WaitGroup
}

// close closes the guests that nobody has used.
func (l *look) close() {
	for _, g := range l.open {
		g.Close()
	}
	l.open = nil
}

// begin begins a look.
func (w *Watcher) begin() *look { return &look{began: time.Now(), seq: w.seq} }

// fullLook is the look at everything.
type fullLook struct {
	under bool          // it is under way, or is about to be
	again bool          // something has changed meanwhile
	took  time.Duration // the last one
}

// gather is how long the first of several reasons for a look at everything waits for the
// others.
const gather = 20 * time.Millisecond

// lookAtAll compares all that is wanted with all that there is.
func (w *Watcher) lookAtAll() {
	if w.full.under {
		w.full.again = true
		return
	}
	w.full.under = true
	w.after(max(gather, min(w.full.took, time.Second)), func() {
		l, want := w.begin(), w.wanted("")
		w.full.again = false
		w.looks.Go(func() {
			err := w.all(l, want)
			w.turn(func() {
				w.full.under, w.full.took = false, time.Since(l.began)
				if err != nil {
					w.tell(report.Event{Kind: report.Warning}, err)
				} else {
					w.Report.Compared(w.differing(l.items))
					w.Report.Cuts(cut(l.there))
					w.hold(l.there)
				}
				w.carryOut(l)
				if err == nil && !slices.ContainsFunc(w.asked, func(a answer) bool { return !a.known }) {
					w.Report.Reconciled(w.full.took)
				}
				if w.full.again {
					w.lookAtAll()
				}
			})
		})
	})
}

// all looks at everything.
func (w *Watcher) all(l *look, want []reconcile.Wanted) error {
	there, err := attach.List(w.ctx, nil, attach.Options{HostNS: w.Host.Options.HostNS})
	if err != nil {
		return err
	}
	l.there = there.Attachments
	var entries []topology.Entry
	for _, o := range want {
		entries = append(entries, o.Entries...)
	}
	l.words = reconcile.Words(entries)
	found, _ := w.FindAll(w.ctx, l.words)
	w.parks.found(w.ctx, found)
	w.parks.settle(w.ctx, there.Attachments)
	l.words = append(l.words, bridgeWords(entries)...)
	for n := range want {
		want[n].Guests = found
	}
	l.items = slices.DeleteFunc(reconcile.CompareEach(want, there.Attachments, there.Bridges...).Items, func(i reconcile.Item) bool {
		stays := i.Action == reconcile.Remove && i.Origin == attach.OriginKeep // gopipework forget lets it stay
		return stays || i.Pulled()
	})
	return context.Cause(w.ctx)
}

// differing are the entries that are not as they are wanted, and those that are refused by
// their source.
func (w *Watcher) differing(items []reconcile.Item) (all []report.Entry) {
	for _, a := range w.asked {
		for _, l := range a.lists {
			for _, e := range l.Refused {
				all = append(all, report.Entry{Origin: e.Origin, Line: e.Line})
			}
		}
	}
	for _, i := range items {
		if i.Action != reconcile.Remove {
			all = append(all, report.Entry{Origin: string(i.Origin), Line: i.Line()})
		}
	}
	return all
}

// cut tells which attachments are there and have their packets dropped.
func cut(there []attach.Attachment) (all []report.Event) {
	for _, a := range there {
		if len(a.Cut) > 0 {
			all = append(all, report.Event{
				Kind: report.Cut, Guest: a.Guest.Word(), IfName: a.Interface.Name, Origin: string(a.Origin), Reason: strings.Join(a.Cut, "; "),
			})
		}
	}
	return all
}

// check looks at one guest, in a short way: of what is there, only its own is listed.
func (w *Watcher) check(word string) {
	g := w.guests[word]
	if g == nil {
		return // nothing is wanted for it any more
	}
	g.stop()
	if strings.HasPrefix(word, bridgeWord) {
		w.lookAtAll() // a look at one guest tells no bridges
		return
	}
	if g.looking || g.working {
		g.again = true
		return
	}
	want := w.wanted(word)
	l := w.begin()
	g.looking = true
	w.looks.Go(func() {
		defer w.slots.look()()
		err := w.one(l, want)
		w.turn(func() {
			g.looking = false
			if err != nil {
				l.close()
				w.failed(word, g)
				w.tell(report.Event{Kind: report.Failed, Guest: word, Failures: g.failures, Again: g.next}, err)
				return
			}
			w.carryOut(l)
		})
	})
}

// one looks at one guest, and those that are linked to it.
func (w *Watcher) one(l *look, want []reconcile.Wanted) error {
	var entries []topology.Entry
	for _, o := range want {
		entries = append(entries, o.Entries...)
	}
	l.words, l.open = reconcile.Words(entries), map[string]*attach.Guest{}
	found := map[string]reconcile.Guest{}
	var there []attach.Attachment
	for _, word := range l.words {
		g, err := w.Host.Find(w.ctx, word)
		if err != nil {
			found[word] = reconcile.Guest{Err: err}
			continue
		}
		found[word], l.open[word] = reconcile.Guest{GuestInfo: g.GuestInfo}, g
		r, err := attach.List(w.ctx, g, attach.Options{HostNS: w.Host.Options.HostNS})
		if err != nil {
			return err
		}
		there = append(there, r.Attachments...)
	}
	w.parks.found(w.ctx, found)
	w.parks.settle(w.ctx, there)
	for n := range want {
		want[n].Guests = found
	}
	// What nobody asks for can only be told by a look at everything.
	l.items = slices.DeleteFunc(reconcile.CompareEach(want, there).Items, func(i reconcile.Item) bool {
		return i.Action == reconcile.Remove || i.Pulled()
	})
	return context.Cause(w.ctx)
}
