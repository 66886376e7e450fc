package witness

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"time"

	"github.com/gopipework/gopipework/internal/rawsocket"
	"golang.org/x/sys/unix"
)

// Ping is an ICMP or ICMPv6 echo that goes through the network stack of a host: its
// routes, its firewall, its neighbour table. That may leave neighbour entries, at both
// ends.
type Ping struct {
	Mark     Mark
	From     Host
	To       netip.Addr
	Size     int           // of the IP packet, in bytes; 0, or too few: as small as it can be
	Whole    bool          // no router may fragment it
	Patience time.Duration // how long it is sent again, each [pause], and waited for
}

// Echoed is what came of a Ping.
type Echoed struct {
	Answered bool
	After    time.Duration // from the packet that was answered to its answer
	Sent     int           // packets
	Unsent   error         // the errno with which the host's own stack refused to send; nil: it sent
	Instead  *Objection    // what came instead of an answer; nil: nothing did
}

// Send sends until an answer comes, or an objection, or the patience ends.
//
//	ping -c 1 -I FROM TO
func (p Ping) Send(ctx context.Context) (Echoed, error) {
	s, err := p.open()
	if err != nil {
		if unsent := refused(err); unsent != nil {
			return Echoed{Unsent: unsent}, nil
		}
		return Echoed{}, err
	}
	defer s.Close()
	return p.exchange(ctx, s, pause)
}

// refused returns the errno of an error that tells about the host, its addresses and
// devices, rather than about this process.
func refused(err error) error {
	if call := (*os.SyscallError)(nil); errors.As(err, &call) && call.Syscall == "socket" {
		return nil // a raw socket takes CAP_NET_RAW
	}
	for _, e := range []unix.Errno{unix.EADDRNOTAVAIL, unix.EADDRINUSE, unix.ENODEV, unix.ENETUNREACH, unix.EHOSTUNREACH, unix.ENETDOWN, unix.EPERM,
		unix.EACCES, unix.EINVAL, unix.EMSGSIZE, unix.ENXIO} {
		if errors.Is(err, e) {
			return e
		}
	}
	return nil
}

// open opens a raw socket (raw(7)) that hears answers and errors.
func (p Ping) open() (*rawsocket.Socket, error) {
	protocol := unix.IPPROTO_ICMP
	if p.To.Is6() {
		protocol = unix.IPPROTO_ICMPV6
	}
	fd, err := p.From.socket(unix.SOCK_RAW, protocol, 0)
	if err != nil {
		return nil, err
	}
	if p.To.Is6() {
		err = p.prepare6(fd)
	} else {
		err = prepare4(fd)
	}
	if err != nil {
		unix.Close(fd)
		return nil, os.NewSyscallError("setsockopt", err)
	}
	return rawsocket.New(fd, "echo")
}

// prepare4 has us write the IP header ourselves. With that, the don't-fragment bit does
// not need IP_PMTUDISC_DO, with which the kernel would note the MTU that an error tells
// for ten minutes (ipv4_sk_update_pmtu spares a socket that omits discovery).
func prepare4(fd int) error {
	const icmpFilter, answers = 1, 1<<0 | 1<<3 | 1<<11 | 1<<12 // linux/icmp.h
	return errors.Join(
		unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_HDRINCL, 1),
		unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_OMIT),
		unix.SetsockoptInt(fd, unix.SOL_RAW, icmpFilter, ^answers))
}

func (p Ping) prepare6(fd int) error {
	var f unix.ICMPv6Filter
	for i := range f.Data {
		f.Data[i] = ^uint32(0) // a bit that is set blocks a type
	}
	for _, typ := range []int{1, 2, 3, 4, 129} {
		f.Data[typ/32] &^= 1 << (typ % 32)
	}
	whole := 0
	if p.Whole {
		whole = 1
	}
	return errors.Join(
		unix.SetsockoptICMPv6Filter(fd, unix.IPPROTO_ICMPV6, unix.ICMPV6_FILTER, &f),
		unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, unix.IPV6_PMTUDISC_PROBE),
		unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_DONTFRAG, whole))
}

// exchange sends on a socket each pause until something is heard.
func (p Ping) exchange(ctx context.Context, s *rawsocket.Socket, pause time.Duration) (e Echoed, err error) {
	began := map[uint32]time.Time{}
	for end := time.Now().Add(p.Patience); time.Now().Before(end); {
		serial := uint32(p.Size)<<8 | uint32(e.Sent+1)
		began[serial] = time.Now()
		if err := s.Send(p.packet(serial), p.From.at(p.To, 0)); err == nil {
			e.Sent++
		} else if unsent := refused(err); unsent != nil {
			e.Unsent = unsent
			return e, nil
		} else if tolerable(err) != nil {
			return e, fmt.Errorf("send: %w", err)
		}
		heard, err := p.hear(ctx, s, earlier(end, time.Now().Add(pause)), began, &e)
		if heard || err != nil {
			return e, err
		}
	}
	return e, nil
}

// hear listens until an answer or objection comes to what was sent.
func (p Ping) hear(ctx context.Context, s *rawsocket.Socket, until time.Time, began map[uint32]time.Time, e *Echoed) (bool, error) {
	var buf [snapshot]byte
	for {
		n, from, err := s.Receive(ctx, until, buf[:])
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			return false, nil
		case ctx.Err() != nil:
			return false, err
		case refused(err) != nil:
			continue // an error that an ICMP error has set, which comes by itself as well
		case err != nil:
			return false, fmt.Errorf("listen: %w", err)
		}
		icmp, header := buf[:n], 40
		if p.To.Is4() { // here the IP header comes first, and there it does not
			header = 20
			if n < 20 || n < int(buf[0]&0xf)*4 {
				continue
			}
			icmp = icmp[int(buf[0]&0xf)*4:]
		}
		switch serial, kind := p.Mark.readICMP(icmp, header); {
		case kind == EchoReply && !began[serial].IsZero() && addrOf(from) == p.To.WithZone(""):
			e.Answered, e.After = true, time.Since(began[serial])
			return true, nil
		case kind == ICMPError && (serial == 0 || !began[serial].IsZero()):
			e.Instead = objection(addrOf(from), icmp[0], icmp[1], mtuOf(icmp, header))
			return true, nil
		}
	}
}

// readICMP returns what an ICMP message is to us, "" for nothing.
func (m Mark) readICMP(icmp []byte, header int) (serial uint32, k Kind) {
	protocol := byte(unix.IPPROTO_ICMP)
	if header == 40 {
		protocol = unix.IPPROTO_ICMPV6
	}
	var p Packet
	if len(icmp) < 8 || !m.readIP(&p, protocol, icmp, header) {
		return 0, ""
	}
	return p.Serial, p.Kind
}

// mtuOf is what an error tells about a packet that was too big.
func mtuOf(icmp []byte, header int) int {
	if header == 40 {
		return int(binary.BigEndian.Uint32(icmp[4:]))
	}
	return int(binary.BigEndian.Uint16(icmp[6:]))
}

// packet is what a socket sends: for IPv4 with an IP header, into which the kernel
// writes the length and the checksum; for IPv6 without one, and the kernel writes the
// checksum of the message.
func (p Ping) packet(serial uint32) []byte {
	header, typ := 20, byte(8)
	if p.To.Is6() {
		header, typ = 40, 128
	}
	icmp := binary.BigEndian.AppendUint32([]byte{typ, 0, 0, 0}, p.Mark.magic)
	icmp = append(icmp, p.Mark.payload(serial, p.Size-header-8)...)
	if p.To.Is6() {
		return icmp
	}
	binary.BigEndian.PutUint16(icmp[2:], rawsocket.Checksum(icmp))
	fragment := byte(0)
	if p.Whole {
		fragment = 0x40
	}
	return slices.Concat([]byte{0x45, 0, 0, 0, 0, 0, fragment, 0, 64, unix.IPPROTO_ICMP, 0, 0}, p.From.Addr.AsSlice(), p.To.AsSlice(), icmp)
}
