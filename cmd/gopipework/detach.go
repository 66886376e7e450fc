package main

import (
	"context"
	"errors"

	"github.com/gopipework/gopipework/attach"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/kept"
	"github.com/gopipework/gopipework/internal/shell"
	"github.com/urfave/cli/v2"
)

func (o *output) detachEntry() *cli.Command {
	return &cli.Command{
		Name:      "detach",
		Aliases:   []string{"rm"},
		Usage:     "remove one attachment of a guest, or all of them",
		ArgsUsage: "GUEST [IFNAME]",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "all", Usage: "remove every attachment of the guest"},
			dryRunFlag, jsonFlag, vFlag,
			timeoutFlag("give up after `DURATION`"),
		},
		Action: o.detachCommand,
	}
}

func (o *output) detachCommand(c *cli.Context) error {
	w, err := words(c, 1, 2)
	if err != nil {
		return err
	}
	sel, err := attach.ParseSelection(append(w, "")[1], c.Bool("all"))
	if err != nil {
		return err
	}
	err = o.withGuest(c, w[0], func(ctx context.Context, g *attach.Guest, opt attach.Options) error {
		r, err := attach.Detach(ctx, sel, g, opt)
		if err == nil {
			err = dropKept(ctx, sel, w[0], g, opt, &r)
		}
		if err != nil {
			return err
		}
		return o.result(r, opt.DryRun, false)
	})
	if f := (*fault.Error)(nil); errors.As(err, &f) && (f.Code == fault.Gone || f.Code == fault.NotFound) {
		f.Hint = "its interfaces went with it; gopipework gc cleans up what may remain on the host"
		if lines, err := kept.Read(grammar()); err == nil && len(kept.Of(lines, kept.Guest{Word: w[0]}, "")) > 0 {
			f.Hint += "; gopipework forget " + shell.Quote(w[0]) + " drops what is kept for it"
		}
		if where := attach.WhereLent(w[0], attach.Options{}); where != "" {
			f.Hint = where
		}
	}
	return err
}
