package lease

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"

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
	file  *os.File
	raw   syscall.RawConn
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
	s.file = os.NewFile(uintptr(fd), "dhcp6:"+name)
	s.raw, err = s.file.SyscallConn()
	return err
}

func (s *socket6) address(a netip.Addr, port int) *unix.SockaddrInet6 {
	return &unix.SockaddrInet6{Addr: a.As16(), Port: port, ZoneId: uint32(s.index)}
}

func (s *socket6) send(message []byte) error {
	var sent error
	err := s.raw.Write(func(fd uintptr) bool {
		sent = unix.Sendto(int(fd), message, 0, s.address(allServers, serverPort6))
		return !errors.Is(sent, unix.EAGAIN)
	})
	return errors.Join(err, os.NewSyscallError("sendto", sent))
}

func (s *socket6) receive(ctx context.Context, wait time.Duration) ([]byte, netip.Addr, error) {
	if err := s.file.SetReadDeadline(time.Now().Add(wait)); err != nil {
		return nil, netip.Addr{}, err
	}
	stop := context.AfterFunc(ctx, func() { _ = s.file.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	if ctx.Err() != nil {
		return nil, netip.Addr{}, context.Cause(ctx)
	}
	var n int
	var from unix.Sockaddr
	var failed error
	err := s.raw.Read(func(fd uintptr) bool {
		n, from, failed = unix.Recvfrom(int(fd), s.buf, 0)
		return !errors.Is(failed, unix.EAGAIN) && !errors.Is(failed, unix.EINTR)
	})
	switch {
	case ctx.Err() != nil:
		return nil, netip.Addr{}, context.Cause(ctx)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, netip.Addr{}, errQuiet
	case err != nil || failed != nil:
		return nil, netip.Addr{}, errors.Join(err, os.NewSyscallError("recvfrom", failed))
	}
	sender, ok := from.(*unix.SockaddrInet6)
	if !ok {
		return nil, netip.Addr{}, errors.New("a datagram came from no IPv6 address")
	}
	return s.buf[:n], netip.AddrFrom16(sender.Addr), nil
}

func (s *socket6) close() { s.file.Close() }
