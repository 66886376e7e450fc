package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/gopipework/gopipework/attach"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/nsfs"
	"github.com/gopipework/gopipework/internal/pcapng"
	"github.com/gopipework/gopipework/internal/rawsocket"
	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"
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
		command := []string{"tcpdump", "-i", ifName}
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
func (o *output) capture(ctx context.Context, g *attach.Guest, ifName, file string) (err error) {
	in, err := nsfs.Enter(g.Namespace)
	if err != nil {
		return fault.Explain("enter the namespace of", g.Word(), err)
	}
	defer in.End()
	var socket *rawsocket.Socket
	kind := pcapng.Ethernet
	err = in.Run(func() error {
		link, err := net.InterfaceByName(ifName)
		if err != nil {
			return fault.New(fault.NotFound, "capture", ifName, "%s has no such interface", g.Word()).
				WithHint("gopipework exec %s -- ip link", g.Word())
		}
		if len(link.HardwareAddr) == 0 && link.Flags&net.FlagLoopback == 0 { // a tunnel
			kind = pcapng.RawIP
		}
		socket, err = rawsocket.Packet{Name: ifName, Index: link.Index, Protocol: unix.ETH_P_ALL, Headers: true, Details: true}.Open()
		return fault.Explain("capture", ifName, err)
	})
	if err != nil {
		return err
	}
	defer socket.Close()
	out := o.stdout
	if file != "-" {
		f, err := os.Create(file)
		if err != nil {
			return fault.New(fault.Failed, "write", file, "%w", err)
		}
		defer func() {
			if failed := f.Close(); err == nil && failed != nil {
				err = fault.New(fault.Failed, "write", file, "%w", failed)
			}
		}()
		out = f
	}
	n, err := writeFrames(ctx, socket, out, ifName, kind)
	if err != nil {
		return fault.New(fault.Failed, "write", file, "%w", err)
	}
	o.say("%d packets captured", n)
	return nil
}

// writeFrames writes the frames that a socket hears, until ctx ends, and counts them.
func writeFrames(ctx context.Context, s *rawsocket.Socket, out io.Writer, ifName string, kind pcapng.LinkType) (n int, err error) {
	w, err := pcapng.New(out, ifName, kind)
	if err != nil {
		return 0, err
	}
	buf := make([]byte, 1<<16)
	for {
		size, d, err := s.ReceiveDetails(ctx, time.Time{}, buf)
		switch {
		case ctx.Err() != nil:
			return n, nil
		case errors.Is(err, unix.ENETDOWN): // it may come up again
			continue
		case err != nil:
			return n, fmt.Errorf("listen: %w", err)
		}
		frame := buf[:size]
		if d.Tagged {
			frame = slices.Insert(slices.Clone(frame), 12, 0x81, 0x00, byte(d.VLAN>>8), byte(d.VLAN))
		}
		if err := w.Frame(frame, d.Time); err != nil {
			return n, err
		}
		n++
	}
}
