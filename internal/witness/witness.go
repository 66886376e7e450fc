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
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// End is one of the two interfaces.
type End struct {
	file *os.File
	mac  net.HardwareAddr
}

// Open opens the interface with the index, which has to be up. It is to be
// called on a thread that is in the interface's namespace; all else can be
// called from any.
func Open(index int, mac net.HardwareAddr) (*End, error) {
	// No protocol yet: nothing is heard before the socket is bound to the one
	// interface.
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	e := &End{os.NewFile(uintptr(fd), "witness"), mac}
	all := binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, unix.ETH_P_ALL)) // htons
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: index}); err != nil {
		e.Close()
		return nil, os.NewSyscallError("bind", err)
	}
	return e, nil
}

// Close closes it.
func (e *End) Close() { e.file.Close() }

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
	end := time.Now().Add(patience)
	buf := make([]byte, 2048)
	for time.Now().Before(end) {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		// A link whose queue is full or stopped is no reason to give up.
		if _, err := a.file.Write(frame); err != nil && !errors.Is(err, unix.ENOBUFS) && !errors.Is(err, unix.EAGAIN) {
			return fmt.Errorf("send: %w", err)
		}
		if err := b.file.SetReadDeadline(time.Now().Add(pause)); err != nil {
			return err
		}
		for {
			n, err := b.file.Read(buf)
			if errors.Is(err, os.ErrDeadlineExceeded) {
				break
			}
			if err != nil {
				return fmt.Errorf("listen: %w", err)
			}
			if bytes.HasPrefix(buf[:n], frame) { // short ones are padded
				return nil
			}
		}
	}
	return os.ErrDeadlineExceeded
}
