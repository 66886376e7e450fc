package lease

import (
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

// wire6 carries DHCPv6 messages of one interface.
type wire6 interface {
	// send sends to all servers and relays of the link.
	send(message []byte) error
	// receive returns the next message and who sent it, or errQuiet after wait,
	// or the cause of ctx's end.
	receive(ctx context.Context, wait time.Duration) ([]byte, netip.Addr, error)
	close()
}

// Ports and address are of RFC 8415, section 7.
const clientPort6, serverPort6 = 546, 547

var allServers = netip.MustParseAddr("ff02::1:2")

// socket6 is the wire on the real kernel: UDP from the link-local address, which
// an interface has before it has any other.
type socket6 struct {
	index int
	udp   *rawsocket.Socket
	buf   []byte
}

var _ wire6 = (*socket6)(nil)

// noLinkLocal is the end of a wait for a link-local address.
type noLinkLocal struct{ cause error }

func (e noLinkLocal) Error() string { return "it got no link-local address of its own" }
func (e noLinkLocal) Unwrap() error { return e.cause }

// openWire6 opens the wire of interface number index. The kernel lets nobody send
// from an address before duplicate address detection is done with it: until then
// it waits.
func openWire6(ctx context.Context, in namespace, index int) (wire6, error) {
	for {
		link, err := in.link(index)
		if err != nil {
			return nil, err
		}
		s := &socket6{index: index, buf: make([]byte, 1<<16)}
		err = in.Run(func() error { return s.open(link) })
		if err == nil {
			return s, nil
		}
		if !errors.Is(err, unix.EADDRNOTAVAIL) {
			return nil, err
		}
		if err := (bootClock{}).Sleep(ctx, settleGlance); err != nil {
			return nil, noLinkLocal{err}
		}
	}
}

// open binds to the first link-local address that can be sent from.
func (s *socket6) open(link *net.Interface) error {
	addrs, err := link.Addrs()
	if err != nil {
		return err
	}
	for _, a := range addrs {
		p, err := netip.ParsePrefix(a.String())
		if err != nil || !p.Addr().Is6() || !p.Addr().IsLinkLocalUnicast() {
			continue
		}
		if err := s.bind(link.Name, p.Addr()); !errors.Is(err, unix.EADDRNOTAVAIL) {
			return err
		}
	}
	return unix.EADDRNOTAVAIL
}

func (s *socket6) bind(name string, from netip.Addr) error {
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	err = errors.Join(
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_BINDTOIFINDEX, s.index),
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1), // beside a client of the guest's own
	)
	if err == nil {
		err = unix.Bind(fd, s.address(from, clientPort6))
	}
	if err != nil {
		unix.Close(fd)
		return fmt.Errorf("send from %s: %w", from, err)
	}
	s.udp, err = rawsocket.New(fd, "dhcp6:"+name)
	return err
}

func (s *socket6) address(a netip.Addr, port int) *unix.SockaddrInet6 {
	return &unix.SockaddrInet6{Addr: a.As16(), Port: port, ZoneId: uint32(s.index)}
}

func (s *socket6) send(message []byte) error {
	return s.udp.Send(message, s.address(allServers, serverPort6))
}

func (s *socket6) receive(ctx context.Context, wait time.Duration) ([]byte, netip.Addr, error) {
	n, from, err := s.udp.Receive(ctx, time.Now().Add(wait), s.buf)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return nil, netip.Addr{}, errQuiet
	}
	if err != nil {
		return nil, netip.Addr{}, err
	}
	sender, ok := from.(*unix.SockaddrInet6)
	if !ok {
		return nil, netip.Addr{}, errors.New("a datagram came from no IPv6 address")
	}
	return s.buf[:n], netip.AddrFrom16(sender.Addr), nil
}

func (s *socket6) close() { s.udp.Close() }
