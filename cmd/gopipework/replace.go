package main

import (
	"cmp"
	"context"
	"errors"
	"slices"

	"github.com/gopipework/gopipework/attach"
	"github.com/gopipework/gopipework/dockerutil"
	"github.com/gopipework/gopipework/internal/build"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/reconcile"
	"github.com/gopipework/gopipework/internal/shell"
	"github.com/gopipework/gopipework/internal/topology"
)

// orReplace adds to the hint of an error about an attachment that is not as asked that the
// command can replace it.
func orReplace(err error) error {
	var f *fault.Error
	var d *build.Differs
	if errors.As(err, &f) && errors.As(err, &d) && !d.Owner.Claims() {
		f.Hint += ", or --replace"
	}
	return err
}

// elsewhere is how an attachment is changed that belongs to an origin.
func elsewhere(owner attach.Origin, g *attach.Guest, ifName string) string {
	if owner == attach.OriginKeep {
		return "repeat the line with --keep --replace"
	}
	return "change it where it is asked for, or gopipework detach " + shell.Line([]string{g.Word(), ifName})
}

// attachReplacing attaches. An attachment that is there under the name and is not as the
// line asks is changed in place, as set does, or is detached first. If the new one then
// fails, the one before it is attached again. With DryRun the attachment that is returned is
// the one that is there.
func attachReplacing(ctx context.Context, s attach.Spec, g *attach.Guest, opt attach.Options) (attach.Result, error) {
	r, err := attach.Attach(ctx, s, g, opt)
	var differs *build.Differs
	if !errors.As(err, &differs) {
		return r, err
	}
	there, listErr := attach.List(ctx, g, attach.Options{})
	if listErr != nil {
		return attach.Result{}, listErr
	}
	opt.Origin = cmp.Or(opt.Origin, attach.OriginLine)
	h := reconcile.Host{Find: dockerutil.Find, Options: opt}
	d, cmpErr := reconcile.Compare(reconcile.Wanted{
		Origin: opt.Origin, Entries: []topology.Entry{{Words: attachLine(s), Attach: &s}}, Guests: map[string]reconcile.Guest{s.Guest: {GuestInfo: g.GuestInfo}},
	}, there.Attachments)
	if cmpErr != nil {
		return attach.Result{}, cmpErr
	}
	d.Items = slices.DeleteFunc(d.Items, func(i reconcile.Item) bool { return i.Entry.Attach == nil })
	if len(d.Items) != 1 || len(d.Items[0].There) == 0 {
		return attach.Result{}, err // what is there is no attachment of ours, or has gone meanwhile
	}
	if owner := d.Items[0].There[0].Origin; owner.Claims() && owner != opt.Origin {
		return attach.Result{}, fault.New(fault.Conflict, "replace", d.Items[0].IfName()+" of "+g.Name, "it belongs to %s", owner).
			WithHint("%s", elsewhere(owner, g, d.Items[0].IfName()))
	}
	if there := d.Items[0].There[0]; there.Host.Kind == string(attach.KindVeth) {
		return attach.Result{}, fault.New(fault.Conflict, "replace", d.Items[0].IfName()+" of "+g.Name, "it is one end of a link to %s, which would go with it", there.Host.Name).
			WithHint("gopipework detach %s", shell.Line([]string{g.Word(), d.Items[0].IfName()}))
	}
	if err := h.Settle(ctx, &d); err != nil {
		return attach.Result{}, err
	}
	item := d.Items[0]
	r.Attachments = item.There
	h.Do(ctx, d, func(_ *reconcile.Item, o reconcile.Outcome) {
		r.Changed, r.Steps, r.Warnings, err = o.Changed, o.Steps, o.Warnings, o.Err
	})
	if err != nil || opt.DryRun {
		return r, err
	}
	now, err := attach.List(ctx, g, attach.Options{})
	r.Attachments = slices.DeleteFunc(now.Attachments, func(a attach.Attachment) bool { return a.Interface.Name != item.IfName() })
	if err == nil && len(r.Attachments) == 0 {
		err = fault.New(fault.Gone, "attach", item.IfName()+" to "+g.Name, "somebody has removed it")
	}
	return r, err
}
