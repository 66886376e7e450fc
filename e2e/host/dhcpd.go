//go:build linux

package host

import (
	"context"
	"errors"
	"net"
	"syscall"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"golang.org/x/sys/unix"
)

// A DHCPServer answers DHCP messages on one interface of a guest with whatever
// it is told, right or wrong.
type DHCPServer struct {
	conn net.PacketConn
	done chan struct{}
}

// ServeDHCP starts one. answer is called with each message, from one goroutine,
// and returns what to send: to the client's address if it has one and asked for
// nothing else, else to everybody.
func (g *Guest) ServeDHCP(ifName string, answer func(*dhcpv4.DHCPv4) [][]byte) (*DHCPServer, error) {
	conn, err := g.listen("udp4", ":67", func(fd int) error {
		return errors.Join(unix.BindToDevice(fd, ifName), unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_BROADCAST, 1))
	})
	if err != nil {
		return nil, err
	}
	s := &DHCPServer{conn: conn, done: make(chan struct{})}
	go s.run(answer)
	return s, nil
}

// listen opens a socket in the guest's namespace, and sets it up there. A process that has just
// been forked still has the socket of the server before, for an instant: that is no obstacle.
func (g *Guest) listen(network, address string, set func(fd int) error) (conn net.PacketConn, err error) {
	err = g.Inside(func() (err error) {
		c := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) (err error) {
			failed := raw.Control(func(fd uintptr) {
				err = errors.Join(set(int(fd)), unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEADDR, 1))
			})
			return errors.Join(failed, err)
		}}
		conn, err = c.ListenPacket(context.Background(), network, address)
		return err
	})
	return conn, err
}

func (s *DHCPServer) run(answer func(*dhcpv4.DHCPv4) [][]byte) {
	defer close(s.done)
	buf := make([]byte, 4096)
	for {
		n, _, err := s.conn.ReadFrom(buf)
		if err != nil {
			return
		}
		m, err := dhcpv4.FromBytes(buf[:n])
		if err != nil {
			continue
		}
		to := net.IPv4bcast
		if !m.ClientIPAddr.IsUnspecified() {
			to = m.ClientIPAddr
		}
		for _, b := range answer(m) {
			_, _ = s.conn.WriteTo(b, &net.UDPAddr{IP: to, Port: 68})
		}
	}
}

// Close stops it.
func (s *DHCPServer) Close() {
	s.conn.Close()
	<-s.done
}

// Reply is a good answer to m: an offer to a DISCOVER, else an ACK, of the
// address for the time, from the server, on a /24. The modifiers may spoil it.
func Reply(m *dhcpv4.DHCPv4, server, address net.IP, lease time.Duration, change ...dhcpv4.Modifier) []byte {
	kind := dhcpv4.MessageTypeAck
	if m.MessageType() == dhcpv4.MessageTypeDiscover {
		kind = dhcpv4.MessageTypeOffer
	}
	r, err := dhcpv4.NewReplyFromRequest(m, append([]dhcpv4.Modifier{
		dhcpv4.WithMessageType(kind), dhcpv4.WithYourIP(address), dhcpv4.WithNetmask(net.CIDRMask(24, 32)),
		dhcpv4.WithOption(dhcpv4.OptServerIdentifier(server)), dhcpv4.WithLeaseTime(uint32(lease / time.Second)),
	}, change...)...)
	if err != nil {
		return nil
	}
	return r.ToBytes()
}
