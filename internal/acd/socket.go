package acd

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

// Socket sends and hears ARP on one interface.
type Socket struct {
	socket    *rawsocket.Socket
	everybody unix.Sockaddr // on the link
	from      mac
	own       []mac // of the namespace's other interfaces
	buf       [256]byte
}

// Open opens the socket on the interface with the index, which has to be up. It
// is to be called on a thread that is in the interface's namespace; all else can
// be called from any. An interface that is not Ethernet is
// [errors.ErrUnsupported].
func Open(index int) (*Socket, error) {
	link, err := net.InterfaceByIndex(index)
	if err != nil {
		return nil, err
	}
	if len(link.HardwareAddr) != len(mac{}) {
		return nil, fmt.Errorf("%s has no Ethernet address: %w", link.Name, errors.ErrUnsupported)
	}
	all, err := net.Interfaces()
	if err != nil {
		return nil, err
	}
	var own []mac
	for _, l := range all {
		if l.Index != index && len(l.HardwareAddr) == len(mac{}) {
			own = append(own, mac(l.HardwareAddr))
		}
	}
	p := rawsocket.Packet{Name: "arp:" + link.Name, Index: index, Protocol: unix.ETH_P_ARP}
	raw, err := p.Open()
	if err != nil {
		return nil, err
	}
	return &Socket{socket: raw, everybody: p.Everybody(), from: mac(link.HardwareAddr), own: own}, nil
}

// Close closes the socket.
func (s *Socket) Close() { s.socket.Close() }

// Probe returns nil when nobody has any of the addresses, which takes the total
// of the times; a [*Conflict] as soon as somebody says otherwise; the cause of
// ctx's end.
//
//	arping -D -I NAME ADDRESS
func (s *Socket) Probe(ctx context.Context, t Times, addrs []netip.Addr) error {
	p := probing{Times: t, from: s.from, own: s.own, addrs: addrs}
	for {
		out, done := p.due(time.Now())
		if done {
			return nil
		}
		for _, packet := range out {
			if err := s.send(packet); err != nil {
				return err
			}
		}
		if err := s.listen(ctx, &p); err != nil {
			return err
		}
	}
}

// listen judges what is heard until there is something to do again.
func (s *Socket) listen(ctx context.Context, p *probing) error {
	for {
		n, from, err := s.socket.Receive(ctx, p.next, s.buf[:])
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return nil
		}
		if err != nil {
			return err
		}
		h, ok := parse(s.buf[:n])
		if !ok || !rawsocket.ForUs(from) {
			continue
		}
		if c := p.judge(h); c != nil {
			return c
		}
	}
}

// Announce says once to everybody on the link who has the addresses now.
//
//	arping -c 1 -A -I NAME ADDRESS
func (s *Socket) Announce(addrs []netip.Addr) error {
	for _, a := range addrs {
		if err := s.send(announcement(s.from, a)); err != nil {
			return err
		}
	}
	return nil
}

func (s *Socket) send(p packet) error { return s.socket.Send(p.bytes(), s.everybody) }
