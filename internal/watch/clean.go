package watch

import (
	"time"

	"github.com/gopipework/gopipework/attach"
	"github.com/gopipework/gopipework/internal/report"
)

// cleaning is the state of what cleans up after guests that have ended.
type cleaning struct {
	under bool // it is under way, or is about to be
	again bool
	ended time.Time
	took  time.Duration
}

// Many guests may end at once. The first is cleaned up after promptly. Where guests end all
// the time, cleaning up takes a tenth of it, as long as no card has to wait for longer than
// latest.
const (
	promptly = 100 * time.Millisecond
	latest   = 600 * time.Millisecond
	tenth    = 10
)

// clean does what gopipework gc does, soon.
func (w *Watcher) clean() {
	if w.gc.under {
		w.gc.again = true
		return
	}
	w.gc.under = true
	w.after(min(max(promptly, tenth*w.gc.took-time.Since(w.gc.ended)), latest), func() {
		w.gc.again = false
		abandoned := w.abandoned()
		go func() {
			defer w.slots.work(false)()
			began := time.Now()
			for l, g := range abandoned {
				r, err := attach.Detach(w.ctx, attach.Selection{IfName: l.ifName}, g, w.Host.Options)
				g.Close()
				w.turn(func() { w.tellCleaned(r, err) })
			}
			opt := w.Host.Options
			opt.LeaveCables = true // somebody who has pulled one wants it so
			r, err := attach.GC(w.ctx, opt)
			w.turn(func() { w.cleaned(time.Since(began), r, err) })
		}()
	})
}

// cleaned takes what cleaning up came to.
func (w *Watcher) cleaned(took time.Duration, r attach.Result, err error) {
	w.gc = cleaning{again: w.gc.again, ended: time.Now(), took: took}
	w.tellCleaned(r, err)
	if r.Changed {
		for word, g := range w.guests { // what has gone may have been in the way
			if g.failures > 0 {
				w.check(word)
			}
		}
	}
	if len(w.held) > 0 {
		w.lookAtAll()
	}
	if w.gc.again {
		w.clean()
	}
}

// tellCleaned tells what was detached because its guest has ended.
func (w *Watcher) tellCleaned(r attach.Result, err error) {
	for _, a := range r.Attachments {
		w.tell(report.Event{Kind: report.Detached, Guest: a.Guest.Word(), IfName: a.Interface.Name, Origin: string(a.Origin), Reason: "its guest has ended"}, nil)
	}
	for _, warning := range r.Warnings {
		w.tell(report.Event{Kind: report.Warning, Reason: warning}, nil)
	}
	if err != nil {
		w.tell(report.Event{Kind: report.Warning}, err)
	}
}
