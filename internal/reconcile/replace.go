package reconcile

import (
	"cmp"
	"context"
	"slices"

	"github.com/gopipework/gopipework/attach"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/shell"
	"github.com/gopipework/gopipework/internal/topology"
)

// Replace makes an attachment that is there as an entry asks, after an attach has refused
// with why because it is not. It is changed in place, as set does, or is detached first; if
// the new one then fails, the one before it is attached again. What is none of ours, or
// belongs to somebody else, stays. With DryRun the attachment that is returned is the one
// that is there.
func (h Host) Replace(ctx context.Context, e topology.Entry, g *attach.Guest, why error) (r attach.Result, err error) {
	h.Options.Origin = cmp.Or(h.Options.Origin, attach.OriginLine)
	there, err := attach.List(ctx, g, attach.Options{})
	if err != nil {
		return attach.Result{}, err
	}
	d, err := Compare(Wanted{
		Origin: h.Options.Origin, Entries: []topology.Entry{e}, Guests: map[string]Guest{e.Attach.Guest: {GuestInfo: g.GuestInfo}},
	}, there.Attachments)
	if err != nil {
		return attach.Result{}, err
	}
	d.Items = slices.DeleteFunc(d.Items, func(i Item) bool { return i.Entry.Attach == nil })
	if len(d.Items) != 1 || len(d.Items[0].There) == 0 {
		return attach.Result{}, why // it has gone meanwhile, or is no attachment of ours
	}
	if err := h.refuseReplacing(d.Items[0], g); err != nil {
		return attach.Result{}, err
	}
	ifName := d.Items[0].IfName()
	r.Attachments = d.Items[0].There
	if err := h.Settle(ctx, &d); err != nil {
		return attach.Result{}, err
	}
	h.Do(ctx, d, func(_ *Item, o Outcome) {
		r.Changed, r.Steps, r.Warnings, err = o.Changed, o.Steps, o.Warnings, o.Err
	})
	if err != nil || h.Options.DryRun {
		return r, err
	}
	now, err := attachmentOf(ctx, g, ifName)
	r.Attachments = []attach.Attachment{now}
	return r, err
}

// refuseReplacing refuses to replace what belongs to another origin, and the end of a link,
// with which another guest would lose its own.
func (h Host) refuseReplacing(i Item, g *attach.Guest) error {
	a, detach := i.There[0], "gopipework detach "+shell.Line([]string{g.Word(), i.IfName()})
	refuse := func(format string, args ...any) *fault.Error {
		return fault.New(fault.Conflict, "replace", i.IfName()+" of "+g.Name, format, args...)
	}
	switch {
	case a.Origin == attach.OriginKeep && h.Options.Origin != attach.OriginKeep:
		return refuse("it belongs to %s", a.Origin).WithHint("repeat the line with --keep --replace")
	case a.Origin.Claims() && a.Origin != h.Options.Origin:
		return refuse("it belongs to %s", a.Origin).WithHint("change it where it is asked for, or %s", detach)
	case a.Host.Kind == string(attach.KindVeth):
		return refuse("it is one end of a link to %s, which would go with it", a.Host.Name).WithHint("%s", detach)
	}
	return nil
}
