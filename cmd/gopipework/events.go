package main

import (
	"github.com/gopipework/gopipework/internal/report"
	"github.com/urfave/cli/v2"
)

func (o *output) eventsEntry() *cli.Command {
	return &cli.Command{
		Name:   "events",
		Usage:  "print what watch does as it happens, each as a line of JSON, until it is interrupted",
		Flags:  []cli.Flag{&cli.BoolFlag{Name: "json", Usage: "the same: there is no other format"}},
		Action: o.eventsCommand,
	}
}

// eventsCommand follows watch. A signal is how it ends, and no error.
func (o *output) eventsCommand(c *cli.Context) error {
	if _, err := words(c, 0, 0); err != nil {
		return err
	}
	err := report.Follow(c.Context, func(line []byte) error {
		if _, err := o.stdout.Write(line); err != nil {
			return unwritten(err)
		}
		return nil
	})
	if c.Context.Err() != nil {
		return nil
	}
	return err
}
