package witness

import (
	"context"
	"encoding/binary"
	"errors"
	"os"
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

// Knock begins TCP connections from one host to ports of another, and makes none: the sender's
// kernel, which knows nothing of them, resets what the far host accepts, and no program there
// hears of it. Any answer of the far host means that packets pass both ways. It sends again each
// [pause], until one port has accepted, or an objection comes, or the patience ends; a refusal is
// no reason to stop while another port may accept.
func Knock(ctx context.Context, m Mark, from, to Host, ports []int, patience time.Duration) (d Delivered, err error) {
	held, own, err := m.holdPort(from)
	if err != nil {
		d.Unsent = refused(err)
		return d, unless(d.Unsent, err)
	}
	defer unix.Close(held)
	s, err := segments(from)
	if err != nil {
		return d, err
	}
	defer unix.Close(s)
	began, refusing := time.Now(), map[uint16]bool{}
	for end := began.Add(patience); time.Now().Before(end) && !d.Arrived && len(refusing) < len(ports); {
		for _, port := range ports {
			err := tolerable(unix.Sendto(s, m.syn(from, to, own, port), 0, from.at(to.Addr, 0)))
			if d.Instead = objected(s); d.Instead != nil {
				return d, nil
			}
			if err != nil {
				d.Unsent = refused(err)
				return d, unless(d.Unsent, err)
			}
		}
		for until := earlier(end, time.Now().Add(pause)); !d.Arrived && len(refusing) < len(ports); {
			ready, err := await(ctx, s, unix.POLLIN, until)
			if err != nil {
				return d, err
			}
			if !ready {
				break
			}
			if d.Instead = objected(s); d.Instead != nil {
				return d, nil
			}
			port, flags := answered(s, to, own)
			switch {
			case !slices.Contains(ports, int(port)):
			case flags&(flagSYN|flagACK) == flagSYN|flagACK:
				d.Arrived = true
			case flags&flagRST != 0:
				refusing[port] = true
			}
		}
	}
	d.Refused = !d.Arrived && len(refusing) > 0
	if d.Arrived = d.Arrived || d.Refused; d.Arrived {
		d.After = time.Since(began)
	}
	return d, nil
}

// holdPort opens a socket that does not listen, so that nobody else has its port: that of the
// mark, by which taps know the probe, or if somebody has it another one.
func (m Mark) holdPort(h Host) (fd, port int, err error) {
	fd, err = h.socket(unix.SOCK_STREAM, 0, int(m.port))
	if errors.Is(err, unix.EADDRINUSE) {
		fd, err = h.socket(unix.SOCK_STREAM, 0, 0)
	}
	if err == nil {
		port, err = portOf(fd)
	}
	return fd, port, err
}

// segments opens a socket that sends and hears segments as they are, and the ICMP errors about
// them.
func segments(h Host) (fd int, err error) {
	if fd, err = h.socket(unix.SOCK_RAW, unix.IPPROTO_TCP, 0); err != nil {
		return -1, err
	}
	err = hearErrors(fd, h)
	if err == nil && h.Addr.Is6() {
		err = os.NewSyscallError("setsockopt", unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_CHECKSUM, tcpChecksum))
	}
	if err != nil {
		unix.Close(fd)
	}
	return fd, err
}

const (
	tcpHeader   = 20 // bytes, without options
	tcpChecksum = 16 // where it is
)

// syn is the first segment of a connection from one port to another.
func (m Mark) syn(from, to Host, own, port int) []byte {
	b := make([]byte, tcpHeader)
	binary.BigEndian.PutUint16(b, uint16(own))
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

// answered reads a segment of a host to a port of ours, and returns the port that it is from,
// and its flags; 0: it is none.
func answered(s int, to Host, own int) (port uint16, flags byte) {
	var buf [snapshot]byte
	n, sender, err := unix.Recvfrom(s, buf[:], unix.MSG_DONTWAIT)
	b := buf[:max(n, 0)]
	if to.Addr.Is4() && len(b) > 0 { // with the header of IP
		b = b[min(len(b), int(b[0]&15)*4):]
	}
	if err != nil || len(b) < tcpHeader || addrOf(sender) != to.Addr || int(binary.BigEndian.Uint16(b[2:])) != own {
		return 0, 0
	}
	return binary.BigEndian.Uint16(b), b[13]
}
