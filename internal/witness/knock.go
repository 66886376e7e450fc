package witness

import (
	"context"
	"encoding/binary"
	"slices"
	"time"

	"github.com/gopipework/gopipework/internal/rawsocket"
	"golang.org/x/sys/unix"
)

// The flags of a TCP segment (RFC 9293, 3.1).
const (
	flagSYN = 0x02
	flagRST = 0x04
	flagACK = 0x10
)

// KnockAll begins TCP connections from one host to ports of another that somebody listens at,
// and makes none: the sender's kernel, which knows nothing of them, resets what the far host
// accepts, and no program there hears of it. It sends again each [pause], until one port has
// accepted, or the patience ends.
func KnockAll(ctx context.Context, m Mark, from, to Host, ports []int, patience time.Duration) (d Delivered, err error) {
	held, err := from.socket(unix.SOCK_STREAM, 0, int(m.port)) // so that nobody else has it; it does not listen
	if err != nil {
		return d, err
	}
	defer unix.Close(held)
	s, err := from.socket(unix.SOCK_RAW, unix.IPPROTO_TCP, 0)
	if err != nil {
		d.Unsent = refused(err)
		return d, unless(d.Unsent, err)
	}
	defer unix.Close(s)
	if from.Addr.Is6() {
		if err := unix.SetsockoptInt(s, unix.IPPROTO_IPV6, unix.IPV6_CHECKSUM, tcpChecksum); err != nil {
			return d, err
		}
	}
	began := time.Now()
	for end := began.Add(patience); time.Now().Before(end) && !d.Arrived; {
		for _, port := range ports {
			if err := tolerable(unix.Sendto(s, m.syn(from, to, port), 0, from.at(to.Addr, 0))); err != nil {
				d.Unsent = refused(err)
				return d, unless(d.Unsent, err)
			}
		}
		for until := earlier(end, time.Now().Add(pause)); !d.Arrived; {
			ready, err := await(ctx, s, unix.POLLIN, until)
			if err != nil {
				return d, err
			}
			if !ready {
				break
			}
			flags := m.answered(s, to, ports)
			d.Arrived = flags&(flagSYN|flagACK) == flagSYN|flagACK
			d.Refused = d.Refused || flags&flagRST != 0
		}
	}
	if d.After = time.Since(began); d.Arrived {
		d.Refused = false
	} else {
		d.Arrived = d.Refused
	}
	return d, nil
}

const (
	tcpHeader   = 20 // bytes, without options
	tcpChecksum = 16 // where it is
)

// syn is the first segment of a connection.
func (m Mark) syn(from, to Host, port int) []byte {
	b := make([]byte, tcpHeader)
	binary.BigEndian.PutUint16(b, m.port)
	binary.BigEndian.PutUint16(b[2:], uint16(port))
	binary.BigEndian.PutUint32(b[4:], m.magic)
	b[12], b[13] = tcpHeader/4<<4, flagSYN
	binary.BigEndian.PutUint16(b[14:], 64240) // the window
	if from.Addr.Is4() {                      // for IPv6 the kernel does
		pseudo := slices.Concat(from.Addr.AsSlice(), to.Addr.AsSlice(), []byte{0, unix.IPPROTO_TCP, 0, tcpHeader}, b)
		binary.BigEndian.PutUint16(b[tcpChecksum:], rawsocket.Checksum(pseudo))
	}
	return b
}

// answered reads a segment, and returns its flags if it answers one of ours; 0: it does not.
func (m Mark) answered(s int, to Host, ports []int) byte {
	var buf [snapshot]byte
	n, sender, err := unix.Recvfrom(s, buf[:], unix.MSG_DONTWAIT)
	b := buf[:max(n, 0)]
	if to.Addr.Is4() && len(b) > 0 { // with the header of IP
		b = b[min(len(b), int(b[0]&15)*4):]
	}
	if err != nil || len(b) < tcpHeader || addrOf(sender) != to.Addr || binary.BigEndian.Uint16(b[2:]) != m.port ||
		!slices.Contains(ports, int(binary.BigEndian.Uint16(b))) {
		return 0
	}
	return b[13]
}
