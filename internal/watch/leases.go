package watch

import (
	"context"
	"sync"
	"time"

	"github.com/gopipework/gopipework/attach"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/report"
)

// handOverTime bounds how long the end of watch waits until others keep the leases.
const handOverTime = 30 * time.Second

// keepLeases has this process keep the leases of all guests until end is called. If
// another one does, it goes on with that.
func (w *Watcher) keepLeases() (end func()) {
	var all *attach.Leases
	begun := make(chan struct{})
	all, err := attach.KeepLeases(w.Host.Options, func(e attach.LeaseEvent) {
		<-begun
		w.tellLease(e)
		w.Report.Leases(all.Len())
	})
	if err != nil {
		if fault.CodeOf(err) != fault.Unsupported { // then there are no leases either
			w.tell(report.Event{Kind: report.Warning}, err)
		}
		return func() {}
	}
	close(begun)
	w.Host.Options.Leases = all
	return func() {
		ctx, cancel := context.WithTimeout(context.Background(), handOverTime)
		defer cancel()
		if err := all.Close(ctx); err != nil {
			w.tell(report.Event{Kind: report.Warning}, err)
		}
	}
}

// leaseStates are the changes that are told as such; the others are counted.
var leaseStates = sync.OnceValue(func() map[attach.LeaseChange]string {
	return map[attach.LeaseChange]string{
		attach.LeaseAcquired: report.Acquired, attach.LeaseRenewed: report.Renewed,
		attach.LeaseLost: report.Lost, attach.LeaseReleased: report.Released,
	}
})

func (w *Watcher) tellLease(e attach.LeaseEvent) {
	out := report.Event{Kind: report.Lease, Guest: e.Guest, IfName: e.IfName}
	if e.Address.IsValid() {
		out.Address = e.Address.String()
	}
	switch state, told := leaseStates()[e.What]; {
	case told:
		out.State = state
	case e.What == attach.LeaseTrouble:
		out.Kind = report.Warning
	default:
		return
	}
	if e.Err != nil {
		out.Reason, out.Hint = e.Err.Error(), fault.HintOf(e.Err)
	}
	w.Report.Tell(out)
}
