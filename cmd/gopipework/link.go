package main

import (
	"context"
	"strings"

	"github.com/gopipework/gopipework/attach"
	"github.com/gopipework/gopipework/dockerutil"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/urfave/cli/v2"
)

const linkUsage = "GUEST[:IFNAME] ADDRESS GUEST[:IFNAME] ADDRESS"

func (o *output) linkEntry() *cli.Command {
	return &cli.Command{
		Name:      "link",
		Usage:     "join two guests with a veth pair, with nothing in between",
		ArgsUsage: linkUsage,
		Flags: append(shapeFlags()[1:], []cli.Flag{
			&cli.StringFlag{Name: "mtu", Usage: "MTU of both ends, in `BYTES`", DefaultText: "1500"},
			&cli.BoolFlag{Name: "nodad", Usage: "do not wait for IPv6 duplicate address detection"},
			awaitFlag, dryRunFlag, jsonFlag, vFlag,
			timeoutFlag("give up after `DURATION`, and undo"),
		}...),
		Action: o.linkCommand,
	}
}

func (o *output) linkCommand(c *cli.Context) error {
	spec, err := linkSpec(c.Args().Slice(), c)
	if err != nil {
		return err
	}
	guests := []string{spec.Ends[0].Guest, spec.Ends[1].Guest}
	return o.withGuests(c, guests, func(ctx context.Context, g []*attach.Guest, opt attach.Options) error {
		r, err := attach.Link(ctx, spec, g[0], g[1], opt)
		if err != nil {
			return err
		}
		return o.result(r, opt.DryRun, false)
	})
}

// linkSpec reads the words and flags of a line.
func linkSpec(w []string, c flags) (attach.LinkSpec, error) {
	if len(w) != 4 {
		return attach.LinkSpec{}, fault.BadWord("read words", strings.Join(w, " "), "link takes %s", linkUsage).
			WithHint("gopipework link web 10.0.0.1/30 db 10.0.0.2/30")
	}
	link := attach.LinkWords{MTU: c.String("mtu"), NoDAD: c.Bool("nodad")}
	if err := noneEmpty(c, "mtu"); err != nil {
		return attach.LinkSpec{}, err
	}
	var err error
	if link.Shape, err = shapeWords(c); err != nil {
		return attach.LinkSpec{}, err
	}
	for i := range link.Ends {
		e := &link.Ends[i]
		e.Guest, e.IfName = dockerutil.Cut(w[2*i])
		e.Address = w[2*i+1]
		if strings.HasSuffix(w[2*i], ":") {
			return attach.LinkSpec{}, fault.BadWord("read guest", w[2*i], "there is no interface name after the colon").
				WithHint("%s", strings.TrimSuffix(w[2*i], ":"))
		}
	}
	return attach.ParseLink(link)
}
