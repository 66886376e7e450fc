// Package capture writes the packets of a guest's interface to a file.
package capture

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"time"

	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/nsfs"
	"github.com/gopipework/gopipework/internal/rawsocket"
	"golang.org/x/sys/unix"
)

// Capture hears what passes an interface.
type Capture struct {
	ifName string
	kind   linkType
	socket *rawsocket.Socket
}

// Open begins to listen at an interface in a network namespace. The error has the code
// fault.NotFound if there is none of that name. Close it when done.
func Open(ns *os.File, ifName string) (*Capture, error) {
	in, err := nsfs.EnterBriefly(ns)
	if err != nil {
		return nil, fault.Explain("capture", ifName, err)
	}
	defer in.End()
	c := &Capture{ifName: ifName, kind: ethernet}
	err = in.Run(func() error {
		link, err := net.InterfaceByName(ifName)
		if err != nil {
			return fault.New(fault.NotFound, "capture", ifName, "the guest has no such interface")
		}
		if len(link.HardwareAddr) == 0 && link.Flags&net.FlagLoopback == 0 { // a tunnel
			c.kind = rawIP
		}
		c.socket, err = rawsocket.Packet{Name: ifName, Index: link.Index, Protocol: unix.ETH_P_ALL, Headers: true, Details: true}.Open()
		return fault.Explain("capture", ifName, err)
	})
	if err != nil {
		return nil, err
	}
	return c, nil
}

// Close closes it.
func (c *Capture) Close() { c.socket.Close() }

// Write writes the frames that pass, in the format pcapng, until ctx ends, and returns how
// many there were.
//
//	tcpdump -i NAME -w FILE
func (c *Capture) Write(ctx context.Context, out io.Writer) (n int, err error) {
	w, err := newWriter(out, c.ifName, c.kind)
	if err != nil {
		return 0, err
	}
	buf := make([]byte, 1<<16)
	for {
		size, d, err := c.socket.ReceiveDetails(ctx, time.Time{}, buf)
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
		if err := w.frame(frame, d.Time); err != nil {
			return n, err
		}
		n++
	}
}
