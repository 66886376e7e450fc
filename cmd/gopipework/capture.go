package main

import (
	"cmp"
	"context"
	"os"
	"os/exec"
	"slices"
	"strings"

	"github.com/gopipework/gopipework/attach"
	"github.com/gopipework/gopipework/internal/capture"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/urfave/cli/v2"
)

func (o *output) captureEntry() *cli.Command {
	return &cli.Command{
		Name:      "capture",
		Usage:     "print the packets of a guest's interface, or write them to a file, until it is interrupted",
		ArgsUsage: "GUEST IFNAME [FILTER...]",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "w", Usage: "write the packets to `FILE`, for tcpdump -r and Wireshark; - is standard output"},
		},
		Action: o.captureCommand,
	}
}

// captureCommand becomes the host's tcpdump in the guest's network namespace, or without one
// writes a file itself.
func (o *output) captureCommand(c *cli.Context) error {
	w := c.Args().Slice()
	if len(w) < 2 || slices.Contains(w, "") {
		return fault.BadWord("read words", strings.Join(w, " "), "capture takes %s", c.Command.ArgsUsage).
			WithHint("gopipework capture web eth1 -w web.pcap tcp port 80")
	}
	if err := noneEmpty(c, "w"); err != nil {
		return err
	}
	guest, ifName, filter, file := w[0], w[1], w[2:], c.String("w")
	_, missing := exec.LookPath("tcpdump")
	switch {
	case missing == nil:
		// Without the flag the kernel keeps packets for up to a second, and tcpdump leaves them
		// there when it is interrupted.
		command := []string{"tcpdump", "--immediate-mode", "-i", ifName}
		if file != "" {
			command = append(command, "-U", "-w", file, "-Z", "root") // it would give up what it needs to write the file
		}
		return o.become(c, guest, append(command, filter...), false)
	case file == "":
		return fault.New(fault.Unsupported, "print packets of", ifName, "this host has no tcpdump").WithHint("install it, or write a file: -w FILE")
	case len(filter) > 0:
		return fault.New(fault.Unsupported, "filter packets of", ifName, "this host has no tcpdump").WithHint("install it, or leave the filter out")
	}
	return o.withGuest(c, guest, func(ctx context.Context, g *attach.Guest, _ attach.Options) error {
		return o.capture(ctx, g, ifName, file)
	})
}

// capture writes what passes an interface of a guest, until ctx ends.
func (o *output) capture(ctx context.Context, g *attach.Guest, ifName, file string) error {
	from, err := capture.Open(g.Namespace, ifName)
	if err != nil {
		return err
	}
	defer from.Close()
	var n int
	if file == "-" {
		n, err = from.Write(ctx, o.stdout)
	} else {
		var f *os.File
		if f, err = os.Create(file); err == nil {
			n, err = from.Write(ctx, f)
			err = cmp.Or(err, f.Close())
		}
	}
	if err != nil {
		return fault.New(fault.Failed, "write", file, "%w", err)
	}
	o.say("%d packets captured", n)
	return nil
}
