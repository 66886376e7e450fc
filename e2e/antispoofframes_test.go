//go:build linux

package e2e

import (
	"encoding/binary"
	"net"
	"net/netip"
	"slices"
)

// sentFrame is a frame that a guest sends, with an end by which it is known where it comes.
type sentFrame struct {
	what   string
	passes bool // with --antispoof
	build  func(end []byte) []byte
}

// station is who sends.
type station struct {
	mac     net.HardwareAddr
	v4      netip.Addr
	v6      netip.Addr
	link    netip.Addr // link-local
	another *station   // on the same bridge, to whom it sends
}

// spoofs are frames of a guest: those that are right, and those that are not. The end of each
// is within its packet: br_netfilter cuts off what comes after that.
func (s station) spoofs() []sentFrame {
	o := s.another
	type builder = func(end []byte) []byte
	frame := func(from net.HardwareAddr, kind uint16, payload builder) builder {
		return func(end []byte) []byte {
			return slices.Concat(o.mac, from, binary.BigEndian.AppendUint16(nil, kind), payload(end))
		}
	}
	after := func(head []byte, payload builder) builder {
		return func(end []byte) []byte { return slices.Concat(head, payload(end)) }
	}
	only := func(b []byte) builder { return func(end []byte) []byte { return slices.Concat(b, end) } }
	ip4 := func(from netip.Addr, sport, dport uint16) builder {
		return func(end []byte) []byte { return packet4(from, o.v4, append(udp(sport, dport, len(end)), end...)) }
	}
	ip := func(from netip.Addr, sport, dport uint16) builder {
		return frame(s.mac, 0x800, ip4(from, sport, dport))
	}
	ip6 := func(from netip.Addr, next byte, payload []byte) builder {
		return frame(s.mac, 0x86dd, func(end []byte) []byte { return packet6(from, o.v6, next, slices.Concat(payload, end)) })
	}
	arp := func(op byte, mac net.HardwareAddr, from, to netip.Addr) builder {
		return frame(s.mac, 0x806, only(slices.Concat([]byte{0, 1, 8, 0, 6, 4, 0, op}, mac, from.AsSlice(), o.mac, to.AsSlice())))
	}
	const udpNext, icmpNext, fragmentNext, optionsNext = 17, 58, 44, 60
	zero, none := netip.IPv4Unspecified(), netip.IPv6Unspecified()
	far4, far6 := netip.MustParseAddr("10.0.0.99"), netip.MustParseAddr("2001:db8::99")
	right := ip4(s.v4, 1000, 9)
	return []sentFrame{
		{"IPv4", true, ip(s.v4, 1000, 9)},
		{"IPv6", true, ip6(s.v6, udpNext, udp(1000, 9, 0))},
		{"IPv6 from the link-local address", true, ip6(s.link, udpNext, udp(1000, 9, 0))},
		{"an ARP answer", true, arp(2, s.mac, s.v4, o.v4)},
		{"an ARP probe", true, arp(1, s.mac, zero, s.v4)},
		{"a neighbour advertisement", true, ip6(s.v6, icmpNext, neighbour(136, s.v6))},
		{"duplicate address detection", true, ip6(none, icmpNext, neighbour(135, s.v6))},
		{"a router solicitation from nobody", true, ip6(none, icmpNext, neighbour(133, none))},

		{"another MAC address", false, frame(o.another.mac, 0x800, right)},
		{"another MAC address in ARP", false, arp(2, o.mac, s.v4, o.v4)},
		{"another's address in ARP", false, arp(2, s.mac, far4, o.v4)},
		{"an ARP probe for another's address", false, arp(1, s.mac, zero, o.v4)},
		{"an ARP answer of nobody's", false, arp(2, s.mac, zero, s.v4)},
		{"IPv4 from another address", false, ip(far4, 1000, 9)},
		{"IPv4 from nobody", false, ip(zero, 68, 67)},
		{"a DHCP server's answer", false, ip(s.v4, 67, 68)},
		{"IPv6 from another address", false, ip6(far6, udpNext, udp(1000, 9, 0))},
		{"IPv6 from another link-local address", false, ip6(netip.MustParseAddr("fe80::1"), udpNext, udp(1000, 9, 0))},
		{"IPv6 from nobody", false, ip6(none, udpNext, udp(1000, 9, 0))},
		{"a neighbour advertisement for another", false, ip6(s.v6, icmpNext, neighbour(136, o.v6))},
		{"duplicate address detection for another", false, ip6(none, icmpNext, neighbour(135, o.v6))},
		{"a router advertisement", false, ip6(s.link, icmpNext, neighbour(134, none))},
		{"a router advertisement behind options", false, ip6(s.link, optionsNext, slices.Concat([]byte{icmpNext, 0, 1, 4, 0, 0, 0, 0}, neighbour(134, none)))},
		{"options in a fragment", false, ip6(s.link, fragmentNext, slices.Concat([]byte{optionsNext, 0, 0, 1, 0, 0, 0, 7}, []byte{icmpNext, 0, 1, 4, 0, 0, 0, 0}))},
		{"a DHCPv6 server's answer", false, ip6(s.link, udpNext, udp(547, 546, 0))},
		{"a VLAN tag", false, frame(s.mac, 0x8100, after([]byte{0, 5, 8, 0}, right))},
		{"a priority tag", false, frame(s.mac, 0x8100, after([]byte{0xe0, 0, 8, 0}, right))},
		{"a tag of a provider", false, frame(s.mac, 0x88a8, after([]byte{0, 5, 8, 0}, right))},
		{"two tags", false, frame(s.mac, 0x88a8, after([]byte{0, 5, 0x81, 0, 0, 6, 8, 0}, right))},
		{"PPPoE", false, frame(s.mac, 0x8864, after([]byte{0x11, 0, 0, 1, 0, 42, 0, 0x21}, right))},
		{"an LLC frame", false, frame(s.mac, 60, only(make([]byte, 30)))},
		{"another protocol", false, frame(s.mac, 0x88b5, only(make([]byte, 40)))},
	}
}

func (f sentFrame) bytes() []byte { return f.build(f.end()) }

func (f sentFrame) end() []byte { return []byte("<" + f.what + ">") }

// udp is the header of a datagram with n bytes.
func udp(from, to uint16, n int) []byte {
	b := binary.BigEndian.AppendUint16(nil, from)
	b = binary.BigEndian.AppendUint16(b, to)
	return append(b, 0, byte(8+n), 0, 0)
}

// neighbour is a message of ICMPv6 with a target.
func neighbour(kind byte, target netip.Addr) []byte {
	return append([]byte{kind, 0, 0, 0, 0, 0, 0, 0}, target.AsSlice()...)
}

func packet4(from, to netip.Addr, payload []byte) []byte {
	b := []byte{0x45, 0, 0, byte(20 + len(payload)), 0, 1, 0, 0, 64, 17, 0, 0}
	b = slices.Concat(b, from.AsSlice(), to.AsSlice())
	sum := uint32(0)
	for i := 0; i < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	binary.BigEndian.PutUint16(b[10:], ^uint16(sum+sum>>16))
	return append(b, payload...)
}

func packet6(from, to netip.Addr, next byte, payload []byte) []byte {
	return slices.Concat([]byte{0x60, 0, 0, 0, 0, byte(len(payload)), next, 255}, from.AsSlice(), to.AsSlice(), payload)
}
