package acd

import (
	"encoding/binary"
	"net"
	"net/netip"
)

// mac is an Ethernet address.
type mac [6]byte

func (m mac) String() string { return net.HardwareAddr(m[:]).String() }

// The operations of ARP (RFC 826).
const (
	request = 1
	reply   = 2
)

// packet is ARP for IPv4 on Ethernet, without the Ethernet header.
type packet struct {
	op                   uint16
	senderMAC, targetMAC mac
	senderIP, targetIP   netip.Addr
}

const (
	packetSize = 28
	ethernet   = 1
	ipv4       = 0x0800
)

// bytes is the packet as it goes out.
func (p packet) bytes() []byte {
	b := make([]byte, 0, packetSize)
	b = binary.BigEndian.AppendUint16(b, ethernet)
	b = binary.BigEndian.AppendUint16(b, ipv4)
	b = append(b, 6, 4) // lengths of the two kinds of address
	b = binary.BigEndian.AppendUint16(b, p.op)
	b = append(b, p.senderMAC[:]...)
	b = append(b, p.senderIP.AsSlice()...)
	b = append(b, p.targetMAC[:]...)
	return append(b, p.targetIP.AsSlice()...)
}

// parse reads a packet; what follows it is padding.
func parse(b []byte) (p packet, ok bool) {
	if len(b) < packetSize || binary.BigEndian.Uint16(b) != ethernet || binary.BigEndian.Uint16(b[2:]) != ipv4 || b[4] != 6 || b[5] != 4 {
		return p, false
	}
	p.op = binary.BigEndian.Uint16(b[6:])
	p.senderMAC, p.senderIP = mac(b[8:14]), netip.AddrFrom4([4]byte(b[14:18]))
	p.targetMAC, p.targetIP = mac(b[18:24]), netip.AddrFrom4([4]byte(b[24:28]))
	return p, p.op == request || p.op == reply
}

// probe asks for an address without having one.
func probe(from mac, want netip.Addr) packet {
	return packet{op: request, senderMAC: from, senderIP: netip.IPv4Unspecified(), targetIP: want}
}

// announcement says to everybody who has an address now.
func announcement(from mac, have netip.Addr) packet {
	return packet{op: request, senderMAC: from, senderIP: have, targetIP: have}
}
