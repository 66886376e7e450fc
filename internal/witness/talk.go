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
	"slices"
	"time"

	"github.com/gopipework/gopipework/internal/rawsocket"
	"golang.org/x/sys/unix"
)

// Stack is the network stack of a guest, as far as Talk needs it.
type Stack struct {
	MAC net.HardwareAddr
	Own netip.Addr // its address
	VRF string     // that the interface is in; "": none

	Run      func(func() error) error                 // calls a function on a thread in its namespace
	Resolved func(netip.Addr, net.HardwareAddr) error // has it know the MAC address of a neighbour
}

// Mute is the error for a stack that takes no part, though frames pass.
type Mute struct {
	What string
	Peer netip.Addr // whom it was to speak to
}

func (m *Mute) Error() string { return m.What }

// Talk has a guest's stack find a neighbour, send it a datagram and get the answer, and
// be found by it. The neighbour is the other end, at an address that the guest has not
// spoken to. greeted tells whether it also answers to one that begins a connection, which
// its firewall may forbid for good reason.
func Talk(ctx context.Context, s Stack, other *End, peer netip.Addr) (greeted bool, err error) {
	n := &neighbourHost{Stack: s, end: other, peer: peer}
	if err := n.isFound(ctx); err != nil {
		return false, err
	}
	if err := n.isSpokenTo(ctx); err != nil {
		return false, err
	}
	return n.isGreeted(ctx)
}

// neighbourHost plays a host at the other end.
type neighbourHost struct {
	Stack
	end   *End
	peer  netip.Addr
	asked bool // the guest has asked for its MAC address
}

func (n *neighbourHost) mute(format string, args ...any) error {
	return &Mute{fmt.Sprintf(format, args...), n.peer}
}

// isFound asks for the guest's MAC address as any neighbour does.
func (n *neighbourHost) isFound(ctx context.Context) error {
	name := "an ARP request"
	ask := append(ethernet(broadcast, n.end.mac, unix.ETH_P_ARP), // from nobody: it leaves no trace (RFC 5227)
		slices.Concat([]byte{0, 1, 8, 0, 6, 4, 0, 1}, n.end.mac, make([]byte, 4), make([]byte, 6), n.Own.AsSlice())...)
	if n.Own.Is6() {
		name = "an IPv6 neighbour solicitation"
		icmp := slices.Concat([]byte{135, 0, 0, 0, 0, 0, 0, 0}, n.Own.AsSlice(), []byte{1, 1}, n.end.mac)
		ask = append(ethernet(n.MAC, n.end.mac, unix.ETH_P_IPV6), ipv6(n.peer, n.Own, 255, icmp)...)
	}
	ok, err := n.exchange(ctx, [][]byte{ask}, func(f []byte) bool {
		if n.Own.Is6() {
			return icmpType(f) == 136 && bytes.Equal(f[14+40+8:][:16], n.Own.AsSlice())
		}
		return isARP(f, 2) && bytes.Equal(f[14+14:][:4], n.Own.AsSlice())
	})
	if err == nil && !ok {
		err = n.mute("the guest did not answer %s for %s", name, n.Own)
	}
	return err
}

// isSpokenTo has the guest send a datagram, and answers it.
func (n *neighbourHost) isSpokenTo(ctx context.Context) error {
	var socket *os.File
	if err := n.Run(func() (err error) { socket, err = n.dial(); return err }); err != nil {
		return n.mute("the guest could send nothing from %s to %s: %v", n.Own, n.peer, err)
	}
	defer socket.Close()
	if n.Own.Is6() { // a bridge that snoops keeps its question from us
		if err := n.Resolved(n.peer, n.end.mac); err != nil {
			return err
		}
	}
	text := token()
	var got []byte
	arrives := func() (bool, error) {
		return n.hear(ctx, func() error { _, err := socket.Write(text); return tolerable(err) }, func(f []byte) bool {
			if bytes.Contains(f, text) && n.isFrom(f, unix.IPPROTO_UDP) {
				got = slices.Clone(f)
			}
			return got != nil
		})
	}
	ok, err := arrives()
	if err == nil && !ok && n.asked { // somebody else has the address, and was quicker
		if err = n.Resolved(n.peer, n.end.mac); err == nil {
			ok, err = arrives()
		}
	}
	switch {
	case err != nil:
		return err
	case !ok && !n.asked && n.Own.Is4():
		return n.mute("nothing that the guest sent to %s arrived, not even an ARP request", n.peer)
	case !ok:
		return n.mute("a UDP datagram of the guest's from %s to %s did not arrive", n.Own, n.peer)
	}
	back := n.packet(unix.IPPROTO_UDP, udp(got, text))
	buf := make([]byte, 2048)
	for end := time.Now().Add(patience); time.Now().Before(end); {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		if _, err := n.end.socket.Write(back); tolerable(err) != nil {
			return fmt.Errorf("send: %w", err)
		}
		if err := socket.SetReadDeadline(time.Now().Add(pause)); err != nil {
			return err
		}
		if k, err := socket.Read(buf); err == nil && bytes.Equal(buf[:k], text) {
			return nil
		}
	}
	return n.mute("the answer to a UDP datagram of the guest's did not reach its socket")
}

// isGreeted begins what a guest answers by itself: a ping, and a TCP connection to a
// port that nobody listens at.
func (n *neighbourHost) isGreeted(ctx context.Context) (bool, error) {
	id := token()
	kind := map[bool]byte{false: 8, true: 128}[n.Own.Is6()]
	icmp := slices.Concat([]byte{kind, 0, 0, 0}, id)
	protocol := byte(unix.IPPROTO_ICMP)
	if n.Own.Is6() {
		protocol = unix.IPPROTO_ICMPV6
	} else {
		binary.BigEndian.PutUint16(icmp[2:], rawsocket.Checksum(icmp))
	}
	syn := make([]byte, 20)
	copy(syn, id[:2]) // the source port
	syn[0] |= 0x80
	syn[3] = 9 // discard
	copy(syn[4:], id[:4])
	syn[12], syn[13], syn[14] = 5<<4, 2, 0x10
	return n.exchange(ctx, [][]byte{n.packet(protocol, icmp), n.packet(unix.IPPROTO_TCP, syn)}, func(f []byte) bool {
		return n.isFrom(f, unix.IPPROTO_TCP) || n.isFrom(f, protocol) && bytes.Contains(f, id)
	})
}

// dial returns a socket of the guest's that is connected to the neighbour.
func (n *neighbourHost) dial() (*os.File, error) {
	family, at := unix.AF_INET, func(a netip.Addr, port int) unix.Sockaddr { return &unix.SockaddrInet4{Addr: a.As4(), Port: port} }
	if n.Own.Is6() {
		family, at = unix.AF_INET6, func(a netip.Addr, port int) unix.Sockaddr { return &unix.SockaddrInet6{Addr: a.As16(), Port: port} }
	}
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	if n.VRF != "" {
		err = unix.BindToDevice(fd, n.VRF)
	}
	if err == nil {
		err = unix.Bind(fd, at(n.Own, 0))
	}
	if err == nil {
		err = unix.Connect(fd, at(n.peer, 9))
	}
	if err != nil {
		unix.Close(fd)
		return nil, err
	}
	return os.NewFile(uintptr(fd), "witness"), nil
}

// exchange sends frames until one comes that is wanted.
func (n *neighbourHost) exchange(ctx context.Context, frames [][]byte, wanted func([]byte) bool) (bool, error) {
	return n.hear(ctx, func() error {
		for _, f := range frames {
			if _, err := n.end.socket.Write(f); tolerable(err) != nil {
				return fmt.Errorf("send: %w", err)
			}
		}
		return nil
	}, wanted)
}

// hear listens to the guest, and answers when it asks for the MAC address of its
// neighbour, until a frame is wanted. It does again each pause what makes it come.
func (n *neighbourHost) hear(ctx context.Context, again func() error, wanted func([]byte) bool) (bool, error) {
	for end := time.Now().Add(patience); time.Now().Before(end); {
		if err := context.Cause(ctx); err != nil {
			return false, err
		}
		if err := again(); err != nil {
			return false, err
		}
		heard, err := n.end.hear(ctx, func(f []byte) (bool, error) {
			if len(f) < 14+20 || !bytes.Equal(f[6:12], n.MAC) {
				return false, nil
			}
			if wanted(f) {
				return true, nil
			}
			return false, n.answer(f)
		})
		if heard || err != nil {
			return heard, err
		}
	}
	return false, nil
}

// answer tells the guest the MAC address of its neighbour, if that is what it asks.
func (n *neighbourHost) answer(f []byte) error {
	var back []byte
	switch {
	case n.peer.Is4() && isARP(f, 1) && bytes.Equal(f[14+24:][:4], n.peer.AsSlice()):
		n.asked = true
		back = append(ethernet(n.MAC, n.end.mac, unix.ETH_P_ARP),
			slices.Concat([]byte{0, 1, 8, 0, 6, 4, 0, 2}, n.end.mac, n.peer.AsSlice(), n.MAC, f[14+14:][:4])...)
	case n.peer.Is6() && icmpType(f) == 135 && bytes.Equal(f[14+40+8:][:16], n.peer.AsSlice()):
		tell := slices.Concat([]byte{136, 0, 0, 0, 0x60, 0, 0, 0}, n.peer.AsSlice(), []byte{2, 1}, n.end.mac)
		from, _ := netip.AddrFromSlice(f[14+8:][:16])
		back = append(ethernet(n.MAC, n.end.mac, unix.ETH_P_IPV6), ipv6(n.peer, from, 255, tell)...)
	default:
		return nil
	}
	_, err := n.end.socket.Write(back)
	return tolerable(err)
}

// tolerable is nil for an error of sending that is no reason to give up.
func tolerable(err error) error {
	for _, e := range []error{unix.ENOBUFS, unix.EAGAIN, unix.EPERM, unix.ECONNREFUSED, unix.EHOSTUNREACH} {
		if errors.Is(err, e) {
			return nil
		}
	}
	return err
}

// packet is one from the neighbour to the guest, with its checksums.
func (n *neighbourHost) packet(protocol byte, body []byte) []byte {
	return ipFrame(n.MAC, n.end.mac, n.peer, n.Own, protocol, body)
}

// udp is the answer to the datagram in a frame.
func udp(frame, text []byte) []byte {
	ask := frame[14+20:]
	if binary.BigEndian.Uint16(frame[12:]) == unix.ETH_P_IPV6 {
		ask = frame[14+40:]
	}
	return slices.Concat(ask[2:4], ask[0:2], []byte{0, byte(8 + len(text)), 0, 0}, text)
}

// isFrom reports whether a frame is a packet of a protocol from the guest's address to
// the neighbour's.
func (n *neighbourHost) isFrom(f []byte, protocol byte) bool {
	if n.Own.Is4() {
		return len(f) >= 14+28 && binary.BigEndian.Uint16(f[12:]) == unix.ETH_P_IP && f[14] == 0x45 && f[14+9] == protocol &&
			bytes.Equal(f[14+12:][:4], n.Own.AsSlice()) && bytes.Equal(f[14+16:][:4], n.peer.AsSlice())
	}
	return len(f) >= 14+48 && binary.BigEndian.Uint16(f[12:]) == unix.ETH_P_IPV6 && f[14+6] == protocol &&
		bytes.Equal(f[14+8:][:16], n.Own.AsSlice()) && bytes.Equal(f[14+24:][:16], n.peer.AsSlice())
}

func isARP(f []byte, operation byte) bool {
	return len(f) >= 14+28 && binary.BigEndian.Uint16(f[12:]) == unix.ETH_P_ARP && f[14+7] == operation
}

// icmpType is that of an ICMPv6 message about a neighbour; 0 for what is none.
func icmpType(f []byte) byte {
	if len(f) < 14+40+24 || binary.BigEndian.Uint16(f[12:]) != unix.ETH_P_IPV6 || f[14+6] != unix.IPPROTO_ICMPV6 {
		return 0
	}
	return f[14+40]
}
