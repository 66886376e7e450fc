package witness

import (
	"crypto/rand"
	"encoding/binary"
	"net"
	"net/netip"
	"slices"

	"github.com/gopipework/gopipework/internal/rawsocket"
	"golang.org/x/sys/unix"
)

// nobody4 and nobody6 are addresses that no host has: the IPv4 dummy address
// (RFC 7600) and the discard-only prefix (RFC 6666). The other end answers for
// them where an answer for a real address would be believed.
var (
	nobody4 = netip.MustParseAddr("192.0.0.8")
	nobody6 = netip.MustParseAddr("100::8")
)

var (
	broadcast = net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	allNodes  = net.HardwareAddr{0x33, 0x33, 0, 0, 0, 1}
)

func ethernet(dst, src net.HardwareAddr, protocol uint16) []byte {
	return binary.BigEndian.AppendUint16(slices.Concat(dst, src), protocol)
}

// arp asks who has an address that nobody has, from own; the unspecified address
// takes none (RFC 5227, an ARP probe).
func arp(mac, other net.HardwareAddr, own netip.Addr) trip {
	packet := func(operation byte, sender net.HardwareAddr, from netip.Addr, target net.HardwareAddr, to netip.Addr) []byte {
		return slices.Concat([]byte{0, 1, 8, 0, 6, 4, 0, operation}, sender, from.AsSlice(), target, to.AsSlice())
	}
	return trip{
		what: "an ARP packet",
		out:  append(ethernet(broadcast, mac, unix.ETH_P_ARP), packet(1, mac, own, make([]byte, 6), nobody4)...),
		back: append(ethernet(mac, other, unix.ETH_P_ARP), packet(2, other, nobody4, mac, own)...),
	}
}

// neighbour is the same of IPv6 (RFC 4861). It is sent to all nodes, not to those
// that listen for the address: a bridge that snoops passes nothing on to a group
// without members.
func neighbour(mac, other net.HardwareAddr, own netip.Addr) trip {
	ask := slices.Concat([]byte{135, 0, 0, 0, 0, 0, 0, 0}, nobody6.AsSlice(), []byte{1, 1}, mac)
	tell := slices.Concat([]byte{136, 0, 0, 0, 0x40, 0, 0, 0}, nobody6.AsSlice(), []byte{2, 1}, other)
	return trip{
		what: "an IPv6 neighbour discovery packet",
		out:  append(ethernet(allNodes, mac, unix.ETH_P_IPV6), ipv6(own, netip.MustParseAddr("ff02::1"), 255, ask)...),
		back: append(ethernet(mac, other, unix.ETH_P_IPV6), ipv6(nobody6, own, 255, tell)...),
	}
}

// Announcement is the frame by which a station tells all others that it has an address now: an
// ARP request for its own one (RFC 5227, section 3), or an unsolicited neighbour advertisement
// (RFC 4861, section 7.2.6).
func Announcement(mac net.HardwareAddr, addr netip.Addr) []byte {
	if addr.Is4() {
		return slices.Concat(ethernet(broadcast, mac, unix.ETH_P_ARP), []byte{0, 1, 8, 0, 6, 4, 0, 1}, mac, addr.AsSlice(), make([]byte, 6), addr.AsSlice())
	}
	const override = 0x20
	tell := slices.Concat([]byte{136, 0, 0, 0, override, 0, 0, 0}, addr.AsSlice(), []byte{2, 1}, mac)
	return append(ethernet(allNodes, mac, unix.ETH_P_IPV6), ipv6(addr, netip.MustParseAddr("ff02::1"), 255, tell)...)
}

// echo4 is a ping from an address to another one of its subnet. It does not matter
// whose that is, because the frames are for the two ends alone, and a kernel silently
// drops the answer to a ping that it has not sent.
func echo4(mac, other net.HardwareAddr, own netip.Prefix) trip {
	peer := neighbourOf(own, nobody4)
	id := token()
	packet := func(kind byte, from, to netip.Addr) []byte {
		icmp := slices.Concat([]byte{kind, 0, 0, 0}, id)
		binary.BigEndian.PutUint16(icmp[2:], rawsocket.Checksum(icmp))
		head := []byte{0x45, 0, 0, byte(20 + len(icmp)), id[0], id[1], 0, 0, 64, unix.IPPROTO_ICMP, 0, 0}
		head = slices.Concat(head, from.AsSlice(), to.AsSlice())
		binary.BigEndian.PutUint16(head[10:], rawsocket.Checksum(head))
		return append(head, icmp...)
	}
	return trip{
		what: "an IPv4 packet (ICMP echo)",
		out:  append(ethernet(other, mac, unix.ETH_P_IP), packet(8, own.Addr(), peer)...),
		back: append(ethernet(mac, other, unix.ETH_P_IP), packet(0, peer, own.Addr())...),
	}
}

func echo6(mac, other net.HardwareAddr, own netip.Prefix) trip {
	peer := neighbourOf(own, nobody6)
	id := token()
	return trip{
		what: "an IPv6 packet (ICMPv6 echo)",
		out:  append(ethernet(other, mac, unix.ETH_P_IPV6), ipv6(own.Addr(), peer, 64, slices.Concat([]byte{128, 0, 0, 0}, id))...),
		back: append(ethernet(mac, other, unix.ETH_P_IPV6), ipv6(peer, own.Addr(), 64, slices.Concat([]byte{129, 0, 0, 0}, id))...),
	}
}

// ipv6 puts a header in front of an ICMPv6 message, and its checksum into it.
func ipv6(from, to netip.Addr, hops byte, icmp []byte) []byte {
	pseudo := slices.Concat(from.AsSlice(), to.AsSlice(), []byte{0, 0, 0, byte(len(icmp)), 0, 0, 0, unix.IPPROTO_ICMPV6}, icmp)
	binary.BigEndian.PutUint16(icmp[2:], rawsocket.Checksum(pseudo))
	return slices.Concat([]byte{0x60, 0, 0, 0, 0, byte(len(icmp)), unix.IPPROTO_ICMPV6, hops}, from.AsSlice(), to.AsSlice(), icmp)
}

// ipFrame is a frame with an IP packet, whose body gets its checksum.
func ipFrame(dst, src net.HardwareAddr, from, to netip.Addr, protocol byte, body []byte) []byte {
	pseudo := slices.Concat(from.AsSlice(), to.AsSlice(), []byte{0, 0, byte(len(body) >> 8), byte(len(body)), 0, 0, 0, protocol}, body)
	at := map[byte]int{unix.IPPROTO_UDP: 6, unix.IPPROTO_TCP: 16, unix.IPPROTO_ICMPV6: 2}[protocol]
	if at != 0 {
		sum := rawsocket.Checksum(pseudo)
		if protocol == unix.IPPROTO_UDP && sum == 0 {
			sum = 0xffff // 0 says that there is none
		}
		binary.BigEndian.PutUint16(body[at:], sum)
	}
	if from.Is6() {
		head := slices.Concat([]byte{0x60, 0, 0, 0, 0, byte(len(body)), protocol, 64}, from.AsSlice(), to.AsSlice())
		return append(ethernet(dst, src, unix.ETH_P_IPV6), append(head, body...)...)
	}
	head := slices.Concat([]byte{0x45, 0, 0, byte(20 + len(body)), 0, 1, 0, 0, 64, protocol, 0, 0}, from.AsSlice(), to.AsSlice())
	binary.BigEndian.PutUint16(head[10:], rawsocket.Checksum(head))
	return append(ethernet(dst, src, unix.ETH_P_IP), append(head, body...)...)
}

// neighbourOf returns an address of p's subnet that is not p's; nobody where it
// has none.
func neighbourOf(p netip.Prefix, nobody netip.Addr) netip.Addr {
	if p.Addr().BitLen()-p.Bits() < 2 {
		return nobody
	}
	first := p.Masked().Addr().Next()
	if first == p.Addr() {
		return first.Next()
	}
	return first
}

// token is the identifier, the sequence number and the text of an echo, which
// distinguish it from all others.
func token() []byte {
	id := make([]byte, 4)
	rand.Read(id)
	return append(id, "gopipework --verify"...)
}
