package witness

import (
	"bytes"
	"context"
	"encoding/binary"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/gopipework/gopipework/internal/rawsocket"
	"golang.org/x/sys/unix"
)

// Station is a link that frames are sent from, or to, without its host taking part.
type Station struct {
	Point
	MAC  net.HardwareAddr
	Addr netip.Addr // of the host, on that link
}

// Crossed is how far frames got.
type Crossed struct {
	Broadcast bool  // one for all came in by the far link
	Frame     bool  // one for the far link alone came in by it
	Socket    bool  // the network stack behind that link took it in: a socket there has received it
	Unsent    error // the errno with which the sending link refused; nil: it did not
	Unheard   error // the errno with which the far host refused us a socket; nil: it did not
}

// Cross sends frames from one link straight to another one: a question that nobody
// answers, for all, and a datagram for a socket that we open behind the far link. No host
// makes a neighbour entry for them, none answers, and the routes, the firewall and the
// neighbour table of the sending host are passed by. Between them there must be no
// router.
func Cross(ctx context.Context, m Mark, from, to Station, patience time.Duration) (c Crossed, err error) {
	there, err := Host{Addr: to.Addr, Index: to.Index, Run: to.Run}.socket(unix.SOCK_DGRAM, 0, 0)
	if err != nil {
		c.Unheard = refused(err)
		return c, unless(c.Unheard, err)
	}
	defer unix.Close(there)
	port, err := portOf(there)
	if err != nil {
		return c, err
	}
	p := rawsocket.Packet{Name: "crossing", Index: from.Index, Protocol: 0, Headers: true} // it hears nothing
	var here *rawsocket.Socket
	if err := from.Run(func() (err error) { here, err = p.Open(); return err }); err != nil {
		return c, err
	}
	defer here.Close()
	tap, err := m.Tap([]Point{to.Point})
	if err != nil {
		return c, err
	}
	defer tap.Close()
	began := time.Now()
	for serial := uint32(1); time.Since(began) < patience && !(c.Broadcast && c.Socket); serial++ {
		for _, f := range m.crossing(from, to, port, serial) {
			if _, err := here.Write(f); tolerable(err) != nil {
				c.Unsent = refused(err)
				return c, unless(c.Unsent, err)
			}
		}
		arrived, err := m.arrives(ctx, there, earlier(began.Add(patience), time.Now().Add(pause)))
		if err != nil {
			return c, err
		}
		c.Socket = c.Socket || arrived
		for _, s := range tap.Seen(m) {
			switch {
			case s.Out || !bytes.Equal(s.Src, from.MAC):
			case s.Kind == Datagram:
				c.Frame = true
			case s.Kind == ARPRequest || s.Kind == Solicitation:
				c.Broadcast = true
			}
		}
	}
	return c, nil
}

// crossing are the frames that cross.
func (m Mark) crossing(from, to Station, port int, serial uint32) [][]byte {
	toAll := slices.Concat(ethernet(broadcast, from.MAC, unix.ETH_P_ARP),
		[]byte{0, 1, 8, 0, 6, 4, 0, 1}, from.MAC, make([]byte, 4), make([]byte, 6), nobody4.AsSlice())
	if from.Addr.Is6() {
		ask := slices.Concat([]byte{135, 0, 0, 0, 0, 0, 0, 0}, nobody6.AsSlice())
		toAll = append(ethernet(allNodes, from.MAC, unix.ETH_P_IPV6),
			ipv6(netip.IPv6Unspecified(), netip.MustParseAddr("ff02::1"), 255, ask)...)
	}
	text := m.payload(serial, 0)
	datagram := binary.BigEndian.AppendUint16(nil, m.port)
	datagram = binary.BigEndian.AppendUint16(datagram, uint16(port))
	datagram = binary.BigEndian.AppendUint16(datagram, uint16(8+len(text)))
	datagram = append(append(datagram, 0, 0), text...)
	return [][]byte{toAll, ipFrame(to.MAC, from.MAC, from.Addr, to.Addr, unix.IPPROTO_UDP, datagram)}
}
