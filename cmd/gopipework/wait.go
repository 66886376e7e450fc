package main

import (
	"context"

	"github.com/gopipework/gopipework/attach"
	"github.com/urfave/cli/v2"
)

func (o *output) waitEntry() *cli.Command {
	return &cli.Command{
		Name: "wait", Usage: "wait until an interface of a guest (eth1) is up and has a carrier", ArgsUsage: "GUEST [IFNAME]",
		Flags:  waitFlags(timeoutFlag("give up after `DURATION`")),
		Action: o.waitCommand,
	}
}

// waitCommand waits for an interface of a guest, from the host.
func (o *output) waitCommand(c *cli.Context) error {
	w, err := words(c, 1, 2)
	if err != nil {
		return err
	}
	want, err := attach.ParseReady(append(w, "")[1], c.Bool("addr"), c.Bool("route"))
	if err != nil {
		return err
	}
	return o.withGuest(c, w[0], func(ctx context.Context, g *attach.Guest, opt attach.Options) error {
		if opt.Timeout == 0 {
			opt.Timeout = attach.DefaultTimeout
		}
		ctx, cancel := context.WithTimeout(ctx, opt.Timeout)
		defer cancel()
		seen, err := attach.Await(ctx, want, g)
		if err != nil {
			return err
		}
		return o.ready(seen)
	})
}

// ready prints the interface that is ready, but only with --json.
func (o *output) ready(i attach.Interface) error {
	if !o.json {
		return nil
	}
	return o.document(map[string]any{"interface": i})
}

// waitFlags returns the flags that wait and --wait share.
func waitFlags(timeout cli.Flag) []cli.Flag {
	return []cli.Flag{
		&cli.BoolFlag{Name: "addr", Usage: "also wait for a usable address: not tentative, and not an IPv6 link-local one"},
		&cli.BoolFlag{Name: "route", Usage: "also wait for a route beyond the link: a default route through the interface, or any route through a gateway on it"},
		jsonFlag, timeout,
	}
}
