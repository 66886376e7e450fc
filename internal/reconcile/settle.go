package reconcile

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/gopipework/gopipework/attach"
	"github.com/gopipework/gopipework/internal/build"
	"github.com/gopipework/gopipework/internal/spec"
)

// Host is the host that is made as it is wanted, and how.
type Host struct {
	// Find returns the guest that a word names.
	Find func(context.Context, string) (*attach.Guest, error)
	// Options are those of each attach, set and detach. Origin is for items that have none.
	Options attach.Options
}

// Settle decides what Compare could not tell from a list: whether an attachment with more
// to it than a list shows is as asked, and whether a change can be made in place. It asks
// attach for its plans, and changes nothing.
func (h Host) Settle(ctx context.Context, d *Difference) error {
	h.Options.DryRun, h.Options.Step = true, nil
	// A removal can free what stands in the way of a new bridge: its address, its uplink.
	freed := slices.ContainsFunc(d.Items, func(i Item) bool { return i.OfBridge() && i.Action == Remove })
	h.sideBySide(ctx, d.Items, func(i *Item) {
		if i.OfBridge() && (i.Action == Change || i.Action == Make && !freed) {
			h.settleBridge(ctx, i)
			return
		}
		if i.Action != Change || i.OfBridge() {
			return
		}
		if i.ask {
			h.settle(ctx, i)
		}
		if i.Action == Change && i.set.IfName != "" && !i.Again {
			if _, err := h.setInPlace(ctx, *i); err != nil && ctx.Err() == nil {
				i.Again, i.Reason = true, err.Error()
			}
		}
	})
	if err := context.Cause(ctx); err != nil {
		return err
	}
	all := len(d.Items)
	d.Items = slices.DeleteFunc(d.Items, func(i Item) bool { return i.Action == "" })
	d.Same += all - len(d.Items)
	return nil
}

// settle asks what an attach would do about an entry that is there.
func (h Host) settle(ctx context.Context, i *Item) {
	listed := i.What
	r, err := h.attach(ctx, *i)
	var differs *build.Differs
	switch {
	case errors.As(err, &differs):
		i.What = merge(differs.All, i.What)
	case err != nil && ctx.Err() == nil:
		i.Action, i.Err, i.Reason = Refused, err, err.Error()
		return
	default:
		i.What = merge(nil, i.What)
	}
	i.What = append(i.What, unsaid(i)...)
	what := withoutOrigin(i.What)
	switch {
	case len(what) == 0:
		i.set, i.Again = attach.SetSpec{}, false
	case i.Entry.Attach != nil:
		i.inPlace(*i.Entry.Attach, i.There[0], what)
	case slices.ContainsFunc(what, func(d build.Difference) bool { return !slices.Contains(listed, d) }):
		i.Again = true // it is not known which end it is in
	}
	switch {
	case len(i.What) > 0:
	case r.Changed:
		i.Reason = "something of it is missing: " + r.Steps[0]
	case i.pins:
		i.Reason = i.There[0].Host.Name + " gets a VXLAN, for which it is pinned"
	default:
		i.Action = "" // it is as asked
	}
}

// unsaid tells what is there that an attach leaves alone, because the entry says nothing
// about it, and that a list only hints at.
func unsaid(i *Item) (what []build.Difference) {
	s := i.Entry.Attach
	if s == nil {
		return nil
	}
	for name, said := range map[string]bool{"--host-addr": s.HostAddr.IsValid(), "mode": s.Mode != ""} {
		for _, more := range i.There[0].More {
			if is, ok := strings.CutPrefix(more, name+" "); ok && !said {
				what = append(what, build.Difference{What: name, There: is, Asked: spec.None})
			}
		}
	}
	return what
}

// merge returns the differences that attach tells, and those that it passes over. Attach
// leaves alone what a line says nothing about; in a file, the same is not to be there.
func merge(told, listed []build.Difference) []build.Difference {
	for _, o := range listed {
		known := slices.ContainsFunc(told, func(d build.Difference) bool { return d.What == o.What })
		if o.What == originWord || shapeWord(o.What) && !known {
			told = append(told, o)
		}
	}
	return told
}

func withoutOrigin(what []build.Difference) []build.Difference {
	return slices.DeleteFunc(slices.Clone(what), func(d build.Difference) bool { return d.What == originWord })
}

// open returns the guests of an entry.
func (h Host) open(ctx context.Context, words ...string) (guests []*attach.Guest, err error) {
	for _, w := range words {
		g, err := h.Find(ctx, w)
		if err != nil {
			closeAll(guests)
			return nil, err
		}
		guests = append(guests, g)
	}
	return guests, nil
}

func closeAll(guests []*attach.Guest) {
	for _, g := range guests {
		g.Close()
	}
}

// attach attaches an entry.
func (h Host) attach(ctx context.Context, i Item) (attach.Result, error) {
	var words []string
	for _, s := range Ends(i.Entry) {
		words = append(words, s.Guest)
	}
	guests, err := h.open(ctx, words...)
	if err != nil {
		return attach.Result{}, err
	}
	defer closeAll(guests)
	h.Options.Origin = cmp.Or(i.Origin, h.Options.Origin)
	if i.Entry.Link != nil {
		return attach.Link(ctx, *i.Entry.Link, guests[0], guests[1], h.Options)
	}
	return attach.Attach(ctx, *i.Entry.Attach, guests[0], h.Options)
}

// setInPlace changes an attachment that is there.
func (h Host) setInPlace(ctx context.Context, i Item) (attach.Result, error) {
	guests, err := h.open(ctx, i.in)
	if err != nil {
		return attach.Result{}, err
	}
	defer closeAll(guests)
	h.Options.Origin = cmp.Or(i.Origin, h.Options.Origin)
	return attach.Set(ctx, i.set, guests[0], h.Options)
}
