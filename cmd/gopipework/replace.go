package main

import (
	"context"
	"errors"

	"github.com/gopipework/gopipework/attach"
	"github.com/gopipework/gopipework/dockerutil"
	"github.com/gopipework/gopipework/internal/build"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/reconcile"
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

// attachReplacing attaches, and replaces an attachment that is there under the name and is
// not as the line asks.
func attachReplacing(ctx context.Context, s attach.Spec, g *attach.Guest, opt attach.Options) (attach.Result, error) {
	r, err := attach.Attach(ctx, s, g, opt)
	if !errors.As(err, new(*build.Differs)) {
		return r, err
	}
	h := reconcile.Host{Find: dockerutil.Find, Options: opt}
	return h.Replace(ctx, topology.Entry{Words: attachLine(s), Attach: &s}, g, err)
}
