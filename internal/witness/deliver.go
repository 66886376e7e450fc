package witness

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Delivered is what came of a datagram or of the beginning of a connection.
type Delivered struct {
	Arrived bool          // the datagram, or the answer to the connection
	Refused bool          // that answer was a refusal: nobody listens, or a firewall says so
	After   time.Duration // since the first packet
	Unsent  error         // the errno with which the sender's own stack refused; nil: it sent
	Unheard error         // the errno with which the far host refused us a socket; nil: it did not
	Instead *Objection    // an ICMP error that came instead; nil: none did
}

// Deliver sends a UDP datagram from one host to another, where we open the socket that
// receives it: for a host whose firewall forbids pings. Like [Ping] it may leave
// neighbour entries. It sends again each [pause], until the patience ends.
func Deliver(ctx context.Context, m Mark, from, to Host, patience time.Duration) (d Delivered, err error) {
	there, err := to.socket(unix.SOCK_DGRAM, 0, 0)
	if err != nil {
		d.Unheard = refused(err)
		return d, unless(d.Unheard, err)
	}
	defer unix.Close(there)
	port, err := portOf(there)
	if err != nil {
		return d, err
	}
	here, err := from.socket(unix.SOCK_DGRAM, 0, 0)
	if err == nil {
		defer unix.Close(here)
		err = hearErrors(here, from)
	}
	began := time.Now()
	for serial := uint32(1); err == nil && time.Since(began) < patience; serial++ {
		err = unix.Sendto(here, m.payload(serial, 0), 0, from.at(to.Addr, port))
		if d.Instead = objected(here); d.Instead != nil {
			return d, nil
		}
		if err = tolerable(err); err != nil {
			break
		}
		if d.Arrived, err = m.arrives(ctx, there, earlier(began.Add(patience), time.Now().Add(pause))); d.Arrived {
			d.After = time.Since(began)
			return d, nil
		}
	}
	if ctx.Err() != nil {
		return d, context.Cause(ctx)
	}
	d.Unsent = refused(err)
	return d, unless(d.Unsent, err)
}

// unless returns an error that has not been told.
func unless(told, err error) error {
	if told != nil || err == nil {
		return nil
	}
	return fmt.Errorf("probe: %w", err)
}

// arrives reports whether a datagram with the mark comes to a socket.
func (m Mark) arrives(ctx context.Context, fd int, until time.Time) (bool, error) {
	var buf [snapshot]byte
	for {
		if ready, err := await(ctx, fd, unix.POLLIN, until); !ready {
			return false, err
		}
		n, err := unix.Read(fd, buf[:])
		if err == nil && n >= 4 && binary.BigEndian.Uint32(buf[:]) == m.magic {
			return true, nil
		}
	}
}

// await waits until a socket is ready.
func await(ctx context.Context, fd int, events int16, until time.Time) (ready bool, err error) {
	const step = 20 // ms, after which a context that has ended is seen
	for {
		left := time.Until(until)
		if ctx.Err() != nil || left <= 0 {
			return false, context.Cause(ctx)
		}
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: events}}, int(min(step, left.Milliseconds()+1)))
		if err != nil && !errors.Is(err, unix.EINTR) {
			return false, os.NewSyscallError("poll", err)
		}
		if n > 0 {
			return true, nil
		}
	}
}

func portOf(fd int) (int, error) {
	sa, err := unix.Getsockname(fd)
	if err != nil {
		return 0, os.NewSyscallError("getsockname", err)
	}
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return sa.Port, nil
	case *unix.SockaddrInet6:
		return sa.Port, nil
	}
	return 0, unix.EAFNOSUPPORT
}

// hearErrors has the kernel keep the ICMP errors for a socket.
func hearErrors(fd int, h Host) error {
	if h.Addr.Is6() {
		return os.NewSyscallError("setsockopt", unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_RECVERR, 1))
	}
	return os.NewSyscallError("setsockopt", unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_RECVERR, 1))
}

// objected returns the ICMP error that a socket has got; nil for none.
func objected(fd int) *Objection {
	var buf [snapshot]byte
	var control [256]byte
	_, n, _, _, err := unix.Recvmsg(fd, buf[:], control[:], unix.MSG_ERRQUEUE|unix.MSG_DONTWAIT)
	if err != nil {
		return nil
	}
	messages, err := unix.ParseSocketControlMessage(control[:n])
	if err != nil {
		return nil
	}
	for _, m := range messages {
		if o := readObjection(m.Data); o != nil {
			return o
		}
	}
	return nil
}

// readObjection reads struct sock_extended_err, and the address behind it: who sent the
// ICMP error.
func readObjection(b []byte) *Objection {
	const size, origin, typ, code, info = 16, 4, 5, 6, 8
	if len(b) < size+16 || b[origin] != unix.SO_EE_ORIGIN_ICMP && b[origin] != unix.SO_EE_ORIGIN_ICMP6 {
		return nil
	}
	var by netip.Addr
	switch sender := b[size:]; {
	case binary.NativeEndian.Uint16(sender) == unix.AF_INET:
		by = netip.AddrFrom4([4]byte(sender[4:]))
	case binary.NativeEndian.Uint16(sender) == unix.AF_INET6 && len(sender) >= 24:
		by = netip.AddrFrom16([16]byte(sender[8:]))
	default:
		return nil
	}
	return objection(by, b[typ], b[code], int(binary.NativeEndian.Uint32(b[info:])))
}
