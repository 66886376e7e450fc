// Package witness proves that packets flow between two Ethernet interfaces: it
// sends them from one, sees them come out of the other, and the same way back.
//
// Both ends are packet sockets (packet(7)). An address of an end is a word in a
// frame: nobody has to have it, no neighbour entry is made for it, and the
// answers are of kinds that a kernel drops in silence when it has not asked.
//
// Packet sockets go past the network stack of the namespace that they are in. [Talk]
// goes through that of the one end, with an ordinary socket.
package witness

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"github.com/gopipework/gopipework/internal/rawsocket"
	"golang.org/x/sys/unix"
)

// End is one of the two interfaces.
type End struct {
	socket *rawsocket.Socket
	mac    net.HardwareAddr
}

// Open opens the interface with the index, which has to be up. It is to be
// called on a thread that is in the interface's namespace; all else can be
// called from any.
func Open(index int, mac net.HardwareAddr) (*End, error) {
	s, err := rawsocket.Packet{Name: "witness", Index: index, Protocol: unix.ETH_P_ALL, Headers: true}.Open()
	if err != nil {
		return nil, err
	}
	return &End{s, mac}, nil
}

// Close closes it.
func (e *End) Close() { e.socket.Close() }

// Broken is the error for a packet that did not arrive.
type Broken struct {
	What string // for example "an IPv4 packet (ICMP echo)"
	Back bool   // it went on its way back
}

func (b *Broken) Error() string {
	if b.Back {
		return b.What + " did not come back"
	}
	return b.What + " did not arrive"
}

// Each packet is sent again every pause, until patience ends.
const (
	pause    = 100 * time.Millisecond
	patience = 2 * time.Second
)

// Prove sends from one end to the other and back: an ARP request, or a neighbour
// solicitation, which begins everything and is for all; and then an IP packet for
// the one end alone. Of every address it tries what its family needs; without
// any, an ARP request that takes no address.
func Prove(ctx context.Context, from, to *End, addrs []netip.Prefix) error {
	if len(addrs) == 0 {
		return exchange(ctx, from, to, arp(from.mac, to.mac, netip.IPv4Unspecified()))
	}
	for _, p := range addrs {
		legs := []trip{arp(from.mac, to.mac, p.Addr()), echo4(from.mac, to.mac, p)}
		if p.Addr().Is6() {
			legs = []trip{neighbour(from.mac, to.mac, p.Addr()), echo6(from.mac, to.mac, p)}
		}
		for _, t := range legs {
			if err := exchange(ctx, from, to, t); err != nil {
				return err
			}
		}
	}
	return nil
}

// trip is a frame and the answer to it.
type trip struct {
	what      string
	out, back []byte
}

func exchange(ctx context.Context, from, to *End, t trip) error {
	for _, back := range []bool{false, true} {
		a, b, frame := from, to, t.out
		if back {
			a, b, frame = to, from, t.back
		}
		if err := carry(ctx, a, b, frame); errors.Is(err, os.ErrDeadlineExceeded) {
			return &Broken{t.what, back}
		} else if err != nil {
			return err
		}
	}
	return nil
}

// carry returns nil when a frame has come from a to b.
func carry(ctx context.Context, a, b *End, frame []byte) error {
	for end := time.Now().Add(patience); time.Now().Before(end); {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		// A link whose queue is full or stopped is no reason to give up.
		if _, err := a.socket.Write(frame); err != nil && !errors.Is(err, unix.ENOBUFS) && !errors.Is(err, unix.EAGAIN) {
			return fmt.Errorf("send: %w", err)
		}
		arrived, err := b.hear(ctx, func(f []byte) (bool, error) { return bytes.HasPrefix(f, frame), nil }) // short ones are padded
		if arrived || err != nil {
			return err
		}
	}
	return os.ErrDeadlineExceeded
}

// hear hands each frame that comes within a pause to judge, until that has what it
// wants or fails.
func (e *End) hear(ctx context.Context, judge func(frame []byte) (bool, error)) (bool, error) {
	buf := make([]byte, 2048)
	for until := time.Now().Add(pause); ; {
		n, _, err := e.socket.Receive(ctx, until, buf)
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			return false, nil
		case ctx.Err() != nil:
			return false, context.Cause(ctx)
		case err != nil:
			return false, fmt.Errorf("listen: %w", err)
		}
		if wanted, err := judge(buf[:n]); wanted || err != nil {
			return wanted, err
		}
	}
}
