package reconcile

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/gopipework/gopipework/attach"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/ours"
)

// Outcome is what carrying out an item came to.
type Outcome struct {
	Tried    bool // false: it is pending or refused, or the run was interrupted before its turn
	Err      error
	Steps    []string
	Warnings []string
	Changed  bool
	Took     time.Duration
}

// atOnce bounds how many guests are changed at the same time. Most of the work on one
// waits for locks of the kernel that are the same for all.
const atOnce = 8

// Do carries out a difference: first the removals, of attachments and then of what the host
// has on bridges; then what the host is to have on bridges, and last the attachments, those
// that receive copies of others' frames after those others. Guests are done side by side, and
// one item at a time in each. An item that fails is undone, and the others go on. told is
// called with each as it is done, one at a time. If ctx is cancelled, what runs is undone and
// nothing else begins.
func (h Host) Do(ctx context.Context, d Difference, told func(*Item, Outcome)) {
	var mu sync.Mutex
	for _, turn := range []struct{ removal, bridge, mirror bool }{{true, false, false}, {true, true, false}, {false, true, false}, {false, false, false}, {false, false, true}} {
		items := slices.DeleteFunc(slices.Clone(d.Items), func(i Item) bool {
			return (i.Action == Remove) != turn.removal || i.OfBridge() != turn.bridge || i.mirrors() != turn.mirror
		})
		h.sideBySide(ctx, items, func(i *Item) {
			began := time.Now()
			o := h.do(ctx, i)
			o.Took = time.Since(began)
			mu.Lock()
			defer mu.Unlock()
			told(i, o)
		})
	}
}

// mirrors reports whether the item attaches what receives copies of others' frames.
func (i Item) mirrors() bool {
	return i.Action != Remove && i.Entry.Attach != nil && len(i.Entry.Attach.Mirrors) > 0
}

func (h Host) do(ctx context.Context, i *Item) (o Outcome) {
	o.Tried = true
	take := func(r attach.Result, err error) {
		o.Steps = append(o.Steps, r.Steps...)
		for _, w := range r.Warnings { // a set and the attach after it have the same to say
			if !slices.Contains(o.Warnings, w) {
				o.Warnings = append(o.Warnings, w)
			}
		}
		o.Changed, o.Err = o.Changed || r.Changed, err
	}
	switch {
	case i.Action == Pending || i.Action == Refused:
		return Outcome{Err: i.Err}
	case i.OfBridge():
		take(h.bridge(ctx, *i))
		return o
	case i.Action == Remove:
		take(h.detach(ctx, i.There))
		return o
	case i.Action == Change && i.Again:
		if take(h.detach(ctx, i.There)); o.Err != nil {
			return o
		}
		if h.Options.DryRun { // an attach cannot be planned while the other one is there
			o.Steps = append(o.Steps, "gopipework "+i.Line())
			return o
		}
		take(h.attach(ctx, *i))
		if o.Err != nil && fault.CodeOf(o.Err) != fault.Residue { // residue is in its place
			o.Err = h.restore(ctx, i.There, o.Err)
		}
		return o
	case i.Action == Change && i.set.IfName != "":
		if take(h.setInPlace(ctx, *i)); o.Err != nil || h.Options.DryRun {
			return o
		}
		take(h.attach(ctx, *i)) // it sees to it that all is as asked
		if o.Err != nil {
			o.Err = h.setBack(ctx, *i, o.Err)
		}
		return o
	}
	take(h.attach(ctx, *i))
	return o
}

// detach removes what is there: of a link, both ends. If the second of two ends that do
// not belong together stays, the first is attached again.
func (h Host) detach(ctx context.Context, there []attach.Attachment) (all attach.Result, err error) {
	for n, a := range there {
		if n == 1 && Joined(there[0], a) {
			break // it has gone with the other end
		}
		r, err := h.detachOne(ctx, a)
		all.Steps, all.Warnings, all.Changed = append(all.Steps, r.Steps...), append(all.Warnings, r.Warnings...), all.Changed || r.Changed
		if err != nil && n > 0 && !h.Options.DryRun {
			err = h.restore(ctx, there[:n], err)
		}
		if err != nil {
			return all, err
		}
	}
	return all, nil
}

func (h Host) detachOne(ctx context.Context, a attach.Attachment) (attach.Result, error) {
	g, err := ours.Reopen(a.Guest)
	if err != nil {
		return attach.Result{}, err
	}
	defer g.Close()
	return attach.Detach(ctx, attach.Selection{IfName: a.Interface.Name}, g, h.Options)
}

// sideBySide calls f for each item, for some of them at the same time, but one after the
// other where they are in the same guest. Once ctx is done it calls f for no more.
func (h Host) sideBySide(ctx context.Context, items []Item, f func(*Item)) {
	if h.Options.Step != nil { // the steps of several would be told in each other's midst
		for n := range items {
			if ctx.Err() == nil {
				f(&items[n])
			}
		}
		return
	}
	slots := make(chan struct{}, atOnce)
	var running sync.WaitGroup
	last := map[uint64]chan struct{}{}
	for n := range items {
		i, done := &items[n], make(chan struct{})
		var before []chan struct{}
		for _, g := range i.guests {
			if c := last[g]; c != nil {
				before = append(before, c)
			}
			last[g] = done
		}
		running.Go(func() {
			defer close(done)
			for _, c := range before {
				<-c
			}
			slots <- struct{}{}
			defer func() { <-slots }()
			if ctx.Err() == nil {
				f(i)
			}
		})
	}
	running.Wait()
}
