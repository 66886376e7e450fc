package attach

import (
	"context"
	"os"
	"slices"

	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/guests"
	"github.com/gopipework/gopipework/internal/ours"
	"github.com/gopipework/gopipework/internal/plan"
	"github.com/gopipework/gopipework/internal/rtnl"
)

// Follow tells until ctx is done when the host has lost a link of ours to a guest, as it
// does when the guest dies, and when a card may have been lent, or returned by the kernel. The
// event has what the link's mark says about the guest, and nothing if that is not known. What
// happens after Follow has returned is told, so look then. Of opt it uses only HostNS.
func Follow(ctx context.Context, opt Options, told func(guests.Event)) error {
	_, err := opt.in(func(hostNS *os.File) (Result, error) { return Result{}, runFollow(ctx, hostNS, told) })
	return err
}

func runFollow(ctx context.Context, hostNS *os.File, told func(guests.Event)) error {
	k, err := rtnl.Open(hostNS)
	if err != nil {
		return fault.Explain("enter", "host", err)
	}
	events, err := k.WatchLinks()
	if err != nil {
		k.Close()
		return fault.Explain("watch", "links of the host", err)
	}
	context.AfterFunc(ctx, events.Close)
	go func() {
		defer k.Close()
		for ctx.Err() == nil {
			links, lost, err := events.Links()
			if err != nil {
				return
			}
			if lost {
				told(guests.Event{What: guests.Unplugged})
			}
			for _, l := range links {
				if e, ok := unplugged(k, l); ok {
					told(e)
				}
			}
		}
	}()
	return nil
}

// unplugged returns what a link tells that was made or deleted on the host.
func unplugged(k plan.Kernel, l rtnl.LinkEvent) (e guests.Event, ok bool) {
	e.What = guests.Unplugged
	switch {
	case l.Gone && plan.IsOurs(l.Link):
		if m, ok := plan.ParseMark(l.Alias); ok {
			e.Runtime, e.ID, e.Name = m.Runtime, m.ID, m.Name
		}
		return e, true
	case !plan.IsOurs(l.Link) && (l.New || l.Gone):
		lent, _, err := ours.LentBy(k)
		if e.What = guests.Unplugged; l.Gone {
			e.What = guests.Lent
		}
		return e, err == nil && slices.ContainsFunc(lent, func(one ours.Lent) bool { return (one.Home != nil) == l.New })
	}
	return e, false
}
