package lease

import (
	"encoding/binary"
	"net/netip"

	"github.com/gopipework/gopipework/internal/rawsocket"
	"golang.org/x/net/bpf"
)

const (
	clientPort = 68
	serverPort = 67

	ipHeader  = 20
	udpHeader = 8
	protoUDP  = 17
)

// wrap puts an IPv4 and a UDP header before a message from 0.0.0.0 to
// everybody: what a host says that has no address yet.
func wrap(message []byte) []byte {
	b := make([]byte, ipHeader+udpHeader, ipHeader+udpHeader+len(message))
	b = append(b, message...)
	b[0] = 0x45 // version 4, five words
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
	b[8] = 64 // time to live
	b[9] = protoUDP
	copy(b[16:20], []byte{255, 255, 255, 255})
	binary.BigEndian.PutUint16(b[10:], rawsocket.Checksum(b[:ipHeader]))

	udp := b[ipHeader:]
	binary.BigEndian.PutUint16(udp[0:], clientPort)
	binary.BigEndian.PutUint16(udp[2:], serverPort)
	binary.BigEndian.PutUint16(udp[4:], uint16(len(udp)))
	// The pseudo header: both addresses, the protocol, the length (RFC 768).
	protocol := binary.BigEndian.AppendUint16([]byte{0, protoUDP}, uint16(len(udp)))
	if c := rawsocket.Checksum(b[12:20], protocol, udp); c != 0 {
		binary.BigEndian.PutUint16(udp[6:], c)
	} else {
		binary.BigEndian.PutUint16(udp[6:], 0xffff)
	}
	return b
}

// unwrap returns the message in an IPv4 packet from a server's port to a
// client's, and who sent it. Checksums are not looked at: between two ends of
// one machine nobody has filled them in.
func unwrap(b []byte) (message []byte, from netip.Addr, ok bool) {
	if len(b) < ipHeader || b[0]>>4 != 4 {
		return nil, from, false
	}
	head, total := int(b[0]&0xf)*4, int(binary.BigEndian.Uint16(b[2:]))
	if head < ipHeader || total < head+udpHeader || total > len(b) ||
		b[9] != protoUDP || binary.BigEndian.Uint16(b[6:])&0x3fff != 0 {
		return nil, from, false
	}
	udp := b[head:total]
	length := int(binary.BigEndian.Uint16(udp[4:]))
	if length < udpHeader || length > len(udp) ||
		binary.BigEndian.Uint16(udp[0:]) != serverPort || binary.BigEndian.Uint16(udp[2:]) != clientPort {
		return nil, from, false
	}
	return udp[udpHeader:length], netip.AddrFrom4([4]byte(b[12:16])), true
}

// toClient lets through IPv4 packets, whole ones, that are UDP to a client's
// port. The kernel runs it, so that a busy guest does not wake us.
var toClient = []bpf.Instruction{
	bpf.LoadAbsolute{Off: 9, Size: 1},
	bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: protoUDP, SkipTrue: 5},
	bpf.LoadAbsolute{Off: 6, Size: 2},
	bpf.JumpIf{Cond: bpf.JumpBitsSet, Val: 0x3fff, SkipTrue: 3}, // more fragments, or an offset
	bpf.LoadMemShift{Off: 0},                                    // the length of the IPv4 header
	bpf.LoadIndirect{Off: 2, Size: 2},
	bpf.JumpIf{Cond: bpf.JumpEqual, Val: clientPort, SkipTrue: 1},
	bpf.RetConstant{Val: 0},
	bpf.RetConstant{Val: 1 << 16},
}
