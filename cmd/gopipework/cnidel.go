package main

import (
	"cmp"
	"context"
	"slices"

	"github.com/gopipework/gopipework/attach"
	"github.com/gopipework/gopipework/internal/cni"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/ours"
)

// What goes when a container engine asks for it: DEL and GC. Both succeed when nothing of it
// is there, however often they are asked.

// del detaches what the caller's container has got, and releases its addresses. One that
// fails does not keep the other from being done.
func (p *plugin) del(ctx context.Context) error {
	ipam := p.config.IPAM
	release := func() error {
		if ipam.Type == "" {
			return nil
		}
		return ipam.Release(ctx)
	}
	if ipam.NeedsInterface() {
		err := release()
		return cmp.Or(p.remove(ctx), err)
	}
	err := p.remove(ctx)
	return cmp.Or(err, release())
}

// remove detaches what the caller's container has got, in the namespace that the caller names or,
// for a caller that names none or another one, wherever that is. Only if that is nothing, the
// caller may have called the container something else for ADD. Unless all of an attachment was
// found, a killed run may have left more; so it may have of the next of several.
func (p *plugin) remove(ctx context.Context) error {
	several := p.config.Extra()
	id := cni.ID(p.config.Name, p.call.ContainerID, p.call.IfName)
	here, complete, err := p.detachNamed(ctx, id)
	if complete && !several || err != nil {
		return err
	}
	found, err := p.detachAll(ctx, func(a attach.Attachment) bool { return a.Guest.ID == id })
	if found && !several || err != nil {
		return err
	}
	if !here && !found {
		if _, complete, err = p.detachNamed(ctx, ""); complete && !several || err != nil {
			return err
		}
	}
	return p.sweep(ctx)
}

// detachNamed detaches in the namespace that the caller names, as detach does. A namespace that is
// not there has nothing.
func (p *plugin) detachNamed(ctx context.Context, id string) (found, complete bool, err error) {
	if p.call.NetNS == "" {
		return false, false, nil
	}
	g, err := p.guest()
	if fault.CodeOf(err) == fault.Conflict {
		return false, false, err
	} else if err != nil {
		return false, false, nil
	}
	defer g.Close()
	return p.detach(ctx, g, id)
}

// detachAll detaches what of this network goes, in whatever guest. One that fails does not keep
// the others from being detached.
func (p *plugin) detachAll(ctx context.Context, goes func(attach.Attachment) bool) (found bool, failed error) {
	r, err := attach.List(ctx, nil, p.options())
	if err != nil {
		return false, err
	}
	going := slices.DeleteFunc(r.Attachments, func(a attach.Attachment) bool { return a.Origin != p.origin || !goes(a) })
	for _, a := range going {
		g, err := ours.Reopen(a.Guest)
		if err != nil {
			continue // its guest has ended: sweep looks at what may remain
		}
		d, err := attach.Detach(ctx, attach.Selection{IfName: a.Interface.Name, Origin: p.origin}, g, p.options())
		g.Close()
		p.warn(d.Warnings)
		found, failed = true, cmp.Or(failed, err)
	}
	return found, failed
}

// sweep deletes what dead guests and killed runs have left, as gopipework gc does.
func (p *plugin) sweep(ctx context.Context) error {
	r, err := attach.GC(ctx, p.options())
	p.warn(r.Warnings)
	return err
}

// gc detaches what this network has attached for containers that the caller does not name,
// and cleans up after dead guests. A caller that names none at all, not even an empty list,
// does not say what there is to be.
func (p *plugin) gc(ctx context.Context) error {
	keep, all, err := p.config.Keeps()
	if err != nil {
		return err
	}
	var left error
	if !all {
		_, left = p.detachAll(ctx, func(a attach.Attachment) bool { return !keep[a.Guest.ID] })
	}
	if err := cmp.Or(left, p.sweep(ctx)); err != nil || all || p.config.IPAM.Type == "" {
		return err // what is left may still use its addresses
	}
	return p.config.IPAM.GC(ctx) // to which no list may mean that nothing is kept
}
