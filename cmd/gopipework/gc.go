package main

import (
	"github.com/gopipework/gopipework/attach"
	"github.com/urfave/cli/v2"
)

func (o *output) gcEntry() *cli.Command {
	return &cli.Command{
		Name:  "gc",
		Usage: "clean up after killed runs and dead guests: delete half-made links and what is no longer used, and return lent cards",
		Flags: []cli.Flag{
			dryRunFlag, jsonFlag, vFlag,
			timeoutFlag("give up after `DURATION`"),
		},
		Action: o.gcCommand,
	}
}

func (o *output) gcCommand(c *cli.Context) error {
	if _, err := words(c, 0, 0); err != nil {
		return err
	}
	opt, err := o.options(c)
	if err != nil {
		return err
	}
	r, err := attach.GC(c.Context, opt)
	if err != nil {
		return stopped(c.Context, err)
	}
	return o.result(r, opt.DryRun, false)
}
