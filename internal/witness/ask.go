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

// Question asks who has an address, on one link. No host makes a neighbour entry for
// it, because it comes from no address (RFC 5227 for IPv4; RFC 4862, section 5.4.2, for
// IPv6), and the kernel that sends it makes none for a packet socket.
type Question struct {
	From     Point            // the link that it leaves by
	MAC      net.HardwareAddr // of that link
	Addr     netip.Addr       // who has it?
	VLAN     uint16           // tag that it has; 0: none
	Patience time.Duration    // how long it waits for the first answer
	Grace    time.Duration    // how long it waits for another one then; 0: not at all
}

// Answer is that of a host that has the address.
type Answer struct {
	MAC    net.HardwareAddr
	Tagged bool // its frame had a VLAN tag
	VLAN   uint16
	After  time.Duration // since the question
}

// Ask returns the answers, one for each MAC address. More than one is a duplicate
// address; none means that nobody answered. A link that is not Ethernet is
// [errors.ErrUnsupported].
//
//	arping -D -I NAME ADDRESS
func Ask(ctx context.Context, q Question) (answers []Answer, err error) {
	if len(q.MAC) != 6 {
		return nil, fmt.Errorf("it has no Ethernet address: %w", errors.ErrUnsupported)
	}
	m := NewMark(q.Addr)
	// A socket for ARP alone gets a frame on a VLAN that is not ours without its tag.
	p := rawsocket.Packet{Name: "question", Index: q.From.Index, Protocol: unix.ETH_P_ALL, Headers: true, Filter: m.filter(), Details: true}
	var socket *rawsocket.Socket
	if err := q.From.Run(func() (err error) { socket, err = p.Open(); return err }); err != nil {
		return nil, err
	}
	defer socket.Close()
	began := time.Now()
	for end := began.Add(q.Patience); time.Now().Before(end) && err == nil; {
		if len(answers) == 0 {
			if _, err := socket.Write(q.frame()); tolerable(err) != nil {
				return nil, fmt.Errorf("send: %w", err)
			}
		}
		until := earlier(end, time.Now().Add(pause))
		if len(answers) > 0 {
			until = end
		}
		var one *Answer
		if one, err = q.hear(ctx, socket, m, until, began); one == nil {
			continue
		}
		if !slices.ContainsFunc(answers, func(a Answer) bool { return bytes.Equal(a.MAC, one.MAC) }) {
			answers = append(answers, *one)
		}
		if len(answers) == 1 {
			end = earlier(end, time.Now().Add(q.Grace))
		}
	}
	return answers, err
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// hear returns the next answer; nil if none comes until then.
func (q Question) hear(ctx context.Context, socket *rawsocket.Socket, m Mark, until, began time.Time) (*Answer, error) {
	var buf [snapshot]byte
	for {
		n, d, err := socket.ReceiveDetails(ctx, until, buf[:])
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			return nil, nil
		case ctx.Err() != nil:
			return nil, err
		case err != nil:
			return nil, fmt.Errorf("listen: %w", err)
		}
		p, ok := m.read(buf[:n])
		if !ok || d.Out || p.From != q.Addr || p.Kind != ARPReply && p.Kind != Advert {
			continue
		}
		p.tag(d)
		return &Answer{MAC: p.Named, Tagged: p.Tagged, VLAN: p.VLAN, After: time.Since(began)}, nil
	}
}

// Asked returns the MAC address that a question for the neighbour with an address goes to: all
// stations, and for IPv6 those of its group (RFC 4291, 2.7.1, and RFC 2464, 7).
func Asked(a netip.Addr) net.HardwareAddr {
	if a.Is4() {
		return slices.Clone(broadcast)
	}
	b := a.As16()
	return net.HardwareAddr{0x33, 0x33, 0xff, b[13], b[14], b[15]}
}

// frame is the question.
func (q Question) frame() []byte {
	var f []byte
	to := Asked(q.Addr)
	if q.Addr.Is4() {
		f = slices.Concat(ethernet(to, q.MAC, unix.ETH_P_ARP),
			[]byte{0, 1, 8, 0, 6, 4, 0, 1}, q.MAC, make([]byte, 4), make([]byte, 6), q.Addr.AsSlice())
	} else {
		a := q.Addr.As16()
		group := netip.AddrFrom16([16]byte{0xff, 0x02, 11: 1, 12: 0xff, 13: a[13], 14: a[14], 15: a[15]})
		ask := slices.Concat([]byte{135, 0, 0, 0, 0, 0, 0, 0}, a[:])
		f = append(ethernet(to, q.MAC, unix.ETH_P_IPV6),
			ipv6(netip.IPv6Unspecified(), group, 255, ask)...)
	}
	if q.VLAN != 0 {
		tag := binary.BigEndian.AppendUint16([]byte{0x81, 0x00}, q.VLAN)
		f = slices.Insert(f, 12, tag...)
	}
	return f
}
