package main

import (
	"context"

	"github.com/gopipework/gopipework/attach"
	"github.com/gopipework/gopipework/internal/cni"
)

// How ADD attaches a guest whose addresses another plugin gives out.

// attachThen attaches the guest with addresses that a plugin gives out.
func (p *plugin) attachThen(ctx context.Context, g *attach.Guest, opt attach.Options) (attach.Result, *cni.Result, error) {
	dry := opt
	dry.DryRun = true
	if _, err := p.attach(ctx, g, nil, dry); err != nil { // what would fail is not to cost an address
		return attach.Result{}, nil, err
	}
	given, err := p.getAddresses(ctx)
	if err != nil {
		return attach.Result{}, nil, err
	}
	r, err := p.attach(ctx, g, given, opt)
	if err != nil {
		err = p.release(ctx, err)
	}
	return r, given, err
}

// attachFirst attaches the guest without addresses, for a plugin that asks for them by the
// interface.
func (p *plugin) attachFirst(ctx context.Context, g *attach.Guest, opt attach.Options) (r attach.Result, given *cni.Result, err error) {
	if r, err = p.attach(ctx, g, nil, opt); err != nil {
		return r, nil, err
	}
	given, err = p.getAddresses(ctx)
	if err == nil {
		if r, err = p.setAddresses(ctx, g, given); err != nil {
			err = p.release(ctx, err)
		}
	}
	if err != nil {
		if _, _, undone := p.detach(context.WithoutCancel(ctx), g, g.ID); undone != nil {
			err = notUndone(err, undone, p.config.NameIn(p.call)+" of "+p.call.NetNS)
		}
	}
	return r, given, err
}

// getAddresses asks the plugin that gives them out. One that was interrupted may have noted
// some already.
func (p *plugin) getAddresses(ctx context.Context) (*cni.Result, error) {
	p.caught()
	given, done, err := p.config.IPAM.Add(ctx, p.stderr)
	if ctx.Err() != nil {
		return nil, p.release(ctx, context.Cause(ctx))
	}
	if err != nil && done {
		err = p.release(ctx, err)
	}
	return given, err
}

// setAddresses gives the interface the addresses and routes that a plugin has given.
func (p *plugin) setAddresses(ctx context.Context, g *attach.Guest, given *cni.Result) (attach.Result, error) {
	s, err := p.asked(given)
	if err != nil {
		return attach.Result{}, err
	}
	set := attach.SetSpec{Guest: s.Guest, IfName: s.IfName, HasAddrs: true, Addrs: s.Addrs, Gateways: s.Gateways, HasRoutes: true, Routes: s.Routes}
	return attach.Set(ctx, set, g, p.options())
}

// release returns err after the addresses of an ADD that has failed were released.
func (p *plugin) release(ctx context.Context, err error) error {
	if p.config.IPAM.Type == "" {
		return err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), attach.DefaultTimeout)
	defer cancel()
	if undone := p.config.IPAM.Release(ctx); undone != nil {
		return notUndone(err, undone, "the addresses that "+p.config.IPAM.Type+" has given")
	}
	return err
}
