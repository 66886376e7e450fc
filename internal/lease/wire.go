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

// wire carries DHCP messages of one interface.
type wire interface {
	mac() net.HardwareAddr
	// shout sends to everybody on the link, from no address.
	shout(message []byte) error
	// send sends from an address that the interface has; to may be everybody.
	send(message []byte, from, to netip.Addr) error
	// receive returns the next message that a server sent to a client, or
	// errQuiet after wait, or the cause of ctx's end.
	receive(ctx context.Context, wait time.Duration) ([]byte, error)
	// flush waits until what was sent has left.
	flush()
	close()
}

var errQuiet = errors.New("no answer")

var everybody = netip.AddrFrom4([4]byte{255, 255, 255, 255})

// socket is the wire on the real kernel. It hears with a packet socket, in
// every state: without an address there is no other way, with one a server's
// refusal may come to everybody, and no firewall of the guest's is in the way.
// It speaks through that socket as long as there is no address; with one it
// speaks like any program, so that the kernel finds the neighbour or router.
type socket struct {
	in        namespace
	link      *net.Interface
	packets   *rawsocket.Socket
	everybody unix.Sockaddr // on the link
	buf       []byte
	plain     int // the UDP socket, -1 before it is needed
}

var _ wire = (*socket)(nil)

// openWire opens the wire of interface number index.
func openWire(in namespace, index int) (wire, error) {
	link, err := in.link(index)
	if err != nil {
		return nil, err
	}
	if len(link.HardwareAddr) != 6 {
		return nil, fmt.Errorf("it has no Ethernet address: %w", errors.ErrUnsupported)
	}
	s := &socket{in: in, link: link, buf: make([]byte, 1<<14), plain: -1}
	if err := in.Run(s.open); err != nil {
		return nil, err
	}
	return s, nil
}

func (s *socket) open() (err error) {
	p := rawsocket.Packet{Name: "packet:" + s.link.Name, Index: s.link.Index, Protocol: unix.ETH_P_IP, Filter: toClient}
	s.everybody = p.Everybody()
	s.packets, err = p.Open()
	return err
}

func (s *socket) mac() net.HardwareAddr { return s.link.HardwareAddr }

func (s *socket) shout(message []byte) error { return s.packets.Send(wrap(message), s.everybody) }

func (s *socket) receive(ctx context.Context, wait time.Duration) ([]byte, error) {
	for until := time.Now().Add(wait); ; {
		n, from, err := s.packets.Receive(ctx, until, s.buf)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return nil, errQuiet
		}
		if err != nil {
			return nil, err
		}
		if m, _, ok := unwrap(s.buf[:n]); ok && rawsocket.ForUs(from) {
			return m, nil
		}
	}
}

func (s *socket) send(message []byte, from, to netip.Addr) error {
	if s.plain < 0 {
		err := s.in.Run(func() error { return s.openPlain(from) })
		if err != nil {
			return err
		}
	}
	return os.NewSyscallError("sendto", unix.Sendto(s.plain, message, 0, &unix.SockaddrInet4{Port: serverPort, Addr: to.As4()}))
}

// openPlain opens the UDP socket. What comes to it is never read: it is there
// so that the kernel does not call the port closed when the answer comes, which
// the packet socket hears.
func (s *socket) openPlain(from netip.Addr) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	err = errors.Join(
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_BINDTOIFINDEX, s.link.Index),
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1),
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_BROADCAST, 1),
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 0), // the least there is
	)
	if err == nil {
		err = unix.Bind(fd, &unix.SockaddrInet4{Port: clientPort, Addr: from.As4()})
		// A client of the guest's own has the port open, or we may not open it.
		if errors.Is(err, unix.EADDRINUSE) || errors.Is(err, unix.EACCES) {
			err = unix.Bind(fd, &unix.SockaddrInet4{Addr: from.As4()})
		}
	}
	if err != nil {
		unix.Close(fd)
		return fmt.Errorf("send from %s: %w", from, err)
	}
	s.plain = fd
	return nil
}

// longestFlush is how long a message may wait for the neighbour's MAC address.
const longestFlush = time.Second

// flush waits until the kernel has let go of what send was given: a datagram
// that still waits for ARP is lost with the address or the link.
func (s *socket) flush() {
	for end := time.Now().Add(longestFlush); s.plain >= 0 && time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if n, err := unix.IoctlGetInt(s.plain, unix.SIOCOUTQ); err != nil || n == 0 {
			return
		}
	}
}

func (s *socket) close() {
	s.packets.Close()
	if s.plain >= 0 {
		unix.Close(s.plain)
	}
}
