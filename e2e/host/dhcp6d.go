//go:build linux

package host

import (
	"errors"
	"net"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv6"
	"golang.org/x/sys/unix"
)

// A DHCP6Server answers DHCPv6 messages on one interface of a guest with whatever
// it is told. dnsmasq does not lend for less than two minutes.
type DHCP6Server struct {
	conn net.PacketConn
	done chan struct{}
}

// ServeDHCP6 starts one. answer is called with each message, from one goroutine,
// and returns the answer to it.
func (g *Guest) ServeDHCP6(ifName string, answer func(*dhcpv6.Message) []byte) (*DHCP6Server, error) {
	conn, err := g.listen("udp6", "[::]:547", func(fd int) error {
		link, err := net.InterfaceByName(ifName)
		if err != nil {
			return err
		}
		group := unix.IPv6Mreq{Interface: uint32(link.Index)}
		copy(group.Multiaddr[:], net.ParseIP("ff02::1:2"))
		return errors.Join(unix.BindToDevice(fd, ifName), unix.SetsockoptIPv6Mreq(fd, unix.IPPROTO_IPV6, unix.IPV6_JOIN_GROUP, &group))
	})
	if err != nil {
		return nil, err
	}
	s := &DHCP6Server{conn: conn, done: make(chan struct{})}
	go s.run(answer)
	return s, nil
}

func (s *DHCP6Server) run(answer func(*dhcpv6.Message) []byte) {
	defer close(s.done)
	buf := make([]byte, 4096)
	for {
		n, from, err := s.conn.ReadFrom(buf)
		if err != nil {
			return
		}
		m, err := dhcpv6.MessageFromBytes(buf[:n])
		to, ok := from.(*net.UDPAddr)
		if err != nil || !ok {
			continue
		}
		to.Zone = "" // the socket is bound to the interface; names are of another namespace
		_, _ = s.conn.WriteTo(answer(m), to)
	}
}

// Close stops it.
func (s *DHCP6Server) Close() {
	s.conn.Close()
	<-s.done
}

// Reply6 is a good answer to m: the address for the time, renewed after a third of it.
func Reply6(m *dhcpv6.Message, address net.IP, lease time.Duration) []byte {
	kind := dhcpv6.MessageTypeReply
	if m.MessageType == dhcpv6.MessageTypeSolicit {
		kind = dhcpv6.MessageTypeAdvertise
	}
	r := &dhcpv6.Message{MessageType: kind, TransactionID: m.TransactionID}
	r.AddOption(dhcpv6.OptClientID(m.Options.ClientID()))
	r.AddOption(dhcpv6.OptServerID(&dhcpv6.DUIDLL{HWType: 1, LinkLayerAddr: net.HardwareAddr{2, 0, 0, 0, 0, 1}}))
	if ia := m.Options.OneIANA(); ia != nil {
		out := &dhcpv6.OptIANA{IaId: ia.IaId, T1: lease / 3, T2: lease / 2}
		out.Options.Add(&dhcpv6.OptIAAddress{IPv6Addr: address, PreferredLifetime: lease * 2 / 3, ValidLifetime: lease})
		r.AddOption(out)
	}
	return r.ToBytes()
}
