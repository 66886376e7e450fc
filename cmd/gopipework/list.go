package main

import (
	"context"
	"os"

	"github.com/gopipework/gopipework/attach"
	"github.com/urfave/cli/v2"
)

func (o *output) listCommand(c *cli.Context) error {
	w, err := words(c, 0, 1)
	if err != nil {
		return err
	}
	if len(w) == 1 {
		return o.withGuest(c, w[0], func(ctx context.Context, g attach.Guest, hostNS *os.File, _ attach.Options) error {
			return o.listOf(ctx, hostNS, &g)
		})
	}
	return withHost(func(hostNS *os.File) error {
		return o.listOf(c.Context, hostNS, nil)
	})
}

func (o *output) listOf(ctx context.Context, hostNS *os.File, g *attach.Guest) error {
	all, err := attach.List(ctx, hostNS, g)
	if err = stopped(ctx, err); err == nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		return err
	}
	return o.list(all, attach.UnreadLoans(hostNS))
}
