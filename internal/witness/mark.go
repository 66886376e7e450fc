package witness

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"net"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"
)

// Mark distinguishes the probes of one run from all other packets. An echo and a
// datagram begin with it, a connection comes from its port, and a question for a
// neighbour is about one of its addresses.
type Mark struct {
	magic uint32
	port  uint16
	addrs []netip.Addr
}

// NewMark returns a new mark for probes between the addresses.
func NewMark(addrs ...netip.Addr) Mark {
	var b [6]byte
	rand.Read(b[:])
	const unnamed = 0x8000 // services are below
	return Mark{
		magic: binary.BigEndian.Uint32(b[:]),
		port:  binary.BigEndian.Uint16(b[4:]) | unnamed,
		addrs: append([]netip.Addr{nobody4, nobody6}, addrs...),
	}
}

// payloadText is for the person who sees a probe in tcpdump(8).
const payloadText = "gopipework probe"

// payload is what the probe with a number carries, filled up to a size.
func (m Mark) payload(serial uint32, size int) []byte {
	b := binary.BigEndian.AppendUint32(nil, m.magic)
	b = binary.BigEndian.AppendUint32(b, serial)
	b = append(b, payloadText...)
	return append(b, make([]byte, max(0, size-len(b)))...)
}

// Kind is what a packet of a probe is.
type Kind string

// The kinds of packets, in the words in which they are told.
const (
	ARPRequest   Kind = "ARP request"
	ARPReply     Kind = "ARP reply"
	Solicitation Kind = "neighbour solicitation"
	Advert       Kind = "neighbour advertisement"
	EchoRequest  Kind = "echo request"
	EchoReply    Kind = "echo reply"
	ICMPError    Kind = "ICMP error"
	Datagram     Kind = "UDP datagram"
	SYN          Kind = "TCP SYN"
	RST          Kind = "TCP RST"
	OtherTCP     Kind = "TCP segment"
)

// Packet is a packet of a probe, or an answer to one.
type Packet struct {
	Kind     Kind
	Src, Dst net.HardwareAddr // Ethernet addresses
	From, To netip.Addr       // of the IP header. Of ARP and neighbour discovery: who asks or tells, and about whom
	Named    net.HardwareAddr // the MAC address that an ARP reply or an advertisement tells
	Serial   uint32           // the number of an echo or datagram; 0 in an error whose sender left it out
	Tagged   bool             // it has a VLAN tag
	VLAN     uint16           // of the tag
}

// read returns what a frame is; false for a packet that does not have the mark.
func (m Mark) read(f []byte) (p Packet, ok bool) {
	if len(f) < 14 {
		return p, false
	}
	p.Dst, p.Src = slices.Clone(net.HardwareAddr(f[:6])), slices.Clone(net.HardwareAddr(f[6:12]))
	typ, f := binary.BigEndian.Uint16(f[12:]), f[14:]
	for (typ == unix.ETH_P_8021Q || typ == unix.ETH_P_8021AD) && len(f) >= 4 {
		if !p.Tagged {
			p.Tagged, p.VLAN = true, binary.BigEndian.Uint16(f)&0xfff
		}
		typ, f = binary.BigEndian.Uint16(f[2:]), f[4:]
	}
	switch {
	case typ == unix.ETH_P_ARP && len(f) >= 28:
		return p, m.readARP(&p, f)
	case typ == unix.ETH_P_IP && len(f) >= 28 && f[0] == 0x45:
		p.From, p.To = netip.AddrFrom4([4]byte(f[12:])), netip.AddrFrom4([4]byte(f[16:]))
		return p, m.readIP(&p, f[9], f[20:], 20)
	case typ == unix.ETH_P_IPV6 && len(f) >= 48:
		p.From, p.To = netip.AddrFrom16([16]byte(f[8:])), netip.AddrFrom16([16]byte(f[24:]))
		return p, m.readIP(&p, f[6], f[40:], 40)
	}
	return p, false
}

// readARP reads an ARP packet about two addresses of the mark, or from nobody.
func (m Mark) readARP(p *Packet, f []byte) bool {
	p.From, p.To = netip.AddrFrom4([4]byte(f[14:])), netip.AddrFrom4([4]byte(f[24:]))
	switch f[7] {
	case 1:
		p.Kind = ARPRequest
	case 2:
		p.Kind, p.Named = ARPReply, slices.Clone(f[8:14])
	}
	known := func(a netip.Addr) bool { return a.IsUnspecified() || slices.Contains(m.addrs, a) }
	return known(p.From) && known(p.To) && p.From != p.To
}

// readIP reads what follows an IP header of a size.
func (m Mark) readIP(p *Packet, protocol byte, f []byte, header int) bool {
	if protocol == unix.IPPROTO_TCP {
		return m.readTCP(p, f)
	}
	if header == 40 && protocol == unix.IPPROTO_ICMPV6 && (f[0] == 135 || f[0] == 136) {
		return m.readDiscovery(p, f)
	}
	request, reply, errors, icmp := byte(8), byte(0), []byte{3, 11, 12}, byte(unix.IPPROTO_ICMP)
	if header == 40 {
		request, reply, errors, icmp = 128, 129, []byte{1, 2, 3, 4}, unix.IPPROTO_ICMPV6
	}
	data := f[8:]
	switch {
	case protocol == unix.IPPROTO_UDP:
		p.Kind = Datagram
	case protocol != icmp:
		return false
	case f[0] == request:
		p.Kind = EchoRequest
	case f[0] == reply:
		p.Kind = EchoReply
	case slices.Contains(errors, f[0]):
		p.Kind = ICMPError // it has the packet that it is about
		return len(data) >= header+8 && m.isAbout(p, data[header:])
	}
	return m.isMarked(p, data)
}

// isAbout reports whether what an error is about is ours: it has at least the first
// 8 bytes of what followed the IP header.
func (m Mark) isAbout(p *Packet, f []byte) bool {
	return m.isMarked(p, f[8:]) || binary.BigEndian.Uint32(f[4:]) == m.magic ||
		binary.BigEndian.Uint16(f) == m.port
}

func (m Mark) isMarked(p *Packet, data []byte) bool {
	if len(data) < 8 || binary.BigEndian.Uint32(data) != m.magic {
		return false
	}
	p.Serial = binary.BigEndian.Uint32(data[4:])
	return true
}

func (m Mark) readTCP(p *Packet, f []byte) bool {
	const flags, syn, rst = 13, 1 << 1, 1 << 2
	switch {
	case len(f) <= flags:
		return false
	case f[flags]&rst != 0:
		p.Kind = RST
	case f[flags]&syn != 0:
		p.Kind = SYN
	default:
		p.Kind = OtherTCP
	}
	ours := func(a netip.Addr) bool { return slices.Contains(m.addrs, a) }
	return (binary.BigEndian.Uint16(f) == m.port || binary.BigEndian.Uint16(f[2:]) == m.port) && (ours(p.From) || ours(p.To))
}

// readDiscovery reads a neighbour solicitation or advertisement about an address of
// the mark.
func (m Mark) readDiscovery(p *Packet, f []byte) bool {
	if len(f) < 24 {
		return false
	}
	about := netip.AddrFrom16([16]byte(f[8:]))
	if f[0] == 135 {
		p.Kind, p.To = Solicitation, about
		return slices.Contains(m.addrs, about)
	}
	p.Kind, p.From = Advert, about
	p.Named = p.Src
	if o := f[24:]; len(o) >= 8 && bytes.HasPrefix(o, []byte{2, 1}) { // target link-layer address
		p.Named = slices.Clone(o[2:8])
	}
	return slices.Contains(m.addrs, about)
}
