package firewall

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"slices"
)

// The frames that rules are asked about. A rule compares bytes: an interface's name, a
// field of a header, a mark. Of each of them the frame knows the exact bytes, or two
// bounds between which they lie, or that they differ from packet to packet, or nothing.

// field is what a condition looks at.
type field int

const (
	anything    field = iota // what the evaluator does not know
	varied                   // what differs from packet to packet: ports, lengths, the time
	inName                   // the input interface; a port, for a table of nft's family bridge
	outName                  // the output interface
	inBridge                 // the bridge of the input port (nft meta ibrname)
	outBridge                // the bridge of the output port
	inIndex                  // the input interface by its index
	outIndex                 // the output interface by its index
	deviceType               // of either interface, as unix.ARPHRD_*
	network                  // the family of the table that is asked, as unix.NFPROTO_*
	etherType                // what the frame carries
	layer4                   // the protocol in the packet
	linkHeader               // bytes of the Ethernet header
	netHeader                // bytes of the IP header
	transport                // bytes of what follows that
	ctState                  // conntrack's word for it, a bit of nft's
	ctStatus                 // conntrack's bits: seen a reply, translated, ...
	mark                     // of the packet
	ctMark                   // of the connection
	noSocket                 // whose socket sent it: of this host, none did
	reversePath              // the index of the bridge if the way back to the source leads there, else 0
	reverseAny               // not 0 if there is any way back to the source
	sourceType               // what the source is to this host, as unix.RTN_*
	targetType               // what the destination is
	isBridged                // physdev: the frame is bridged, not routed
	physIn                   // physdev: it came in by this port
	physOut                  // physdev: it goes out by this port
)

// hook is where on the way of a frame a chain is asked. The zero value is where
// iptables' FORWARD is.
type hook int

const (
	forwarding hook = iota
	preRouting
	postRouting
	input // these two only where the frame ends, or begins
	output
)

func (h hook) String() string {
	return [...]string{"forward", "prerouting", "postrouting", "input", "output"}[h]
}

// carried is what a frame has in it.
type carried int

const (
	data      carried = iota // the first packet of a connection, of any protocol
	reply                    // the answer to one
	arp                      // without which no IPv4 address is found
	solicit                  // its like for IPv6
	advertise                // and its answer
)

// bridgedFrame is one that crosses a bridge, from our port or to it.
type bridgedFrame struct {
	family Family
	bridge string
	index  int    // of the bridge; 0 if it is not there yet
	port   string // ours; "" if it has no name yet
	to     bool   // it goes to our port
	what   carried

	// The guest's address and its subnet. Not valid if they are not known.
	own netip.Prefix

	guest *guestEnd // it ends or begins here, in a guest; nil: it is bridged

	hook    hook
	ports   bool // the hook is family bridge's, where interfaces are ports
	early   bool // conntrack has not seen it
	isPort  func(name string) bool
	routeTo func(netip.Addr) (index int)
	written *written // what rules in front may have written; nil: nothing
}

// written is what rules may have changed of a frame, or of what is known of it.
type written struct {
	marks     bool // the mark of the packet, or of its connection
	tracking  bool // whether conntrack follows it
	addresses bool // of the IP header, without conntrack
}

func (w *written) add(by written) {
	w.marks, w.tracking, w.addresses = w.marks || by.marks, w.tracking || by.tracking, w.addresses || by.addresses
}

// value is what is known of a field: that it lies between lo and hi.
type value struct {
	lo, hi []byte
	answer answer              // yes: as said; otherwise why there are no bounds
	never  func(b []byte) bool // of what is partly known: what it surely is not
}

func exactly(b []byte) value { return value{lo: b, hi: b, answer: yes} }

func native32(n uint32) []byte { return binary.NativeEndian.AppendUint32(nil, n) }

// nameBytes is an interface's name as rules compare it.
func nameBytes(name string) []byte {
	b := make([]byte, 16)
	copy(b, name)
	return b
}

// From linux/if_ether.h, linux/netfilter.h, linux/in6.h and linux/icmpv6.h.
const (
	etherIPv4 = 0x0800
	etherARP  = 0x0806
	etherIPv6 = 0x86dd

	protoIPv4   = 2
	protoBridge = 7
	protoIPv6   = 10

	icmp6           = 58
	icmp6Solicit    = 135
	icmp6Advertise  = 136
	arphrdEther     = 1
	rtnUnicast      = 1
	rtnLocal        = 2
	rtnBroadcast    = 3
	rtnMulticast    = 5
	stateInvalid    = 1 // NF_CT_STATE_INVALID_BIT and its likes
	stateReplied    = 2
	stateNew        = 8
	stateUntracked  = 64
	statusSeenReply = 2 // IPS_SEEN_REPLY
)

// value returns what is known of n bytes of a field from an offset on.
func (f bridgedFrame) value(of field, offset, n int) value {
	if f.guest != nil {
		if v, ok := f.inGuest(of, offset, n); ok {
			return v
		}
	}
	switch of {
	case inName, outName, physIn, physOut:
		return f.device(of)
	case inBridge, outBridge:
		if f.ports {
			return exactly(nameBytes(f.bridge))
		}
		return value{answer: no}
	case inIndex, outIndex:
		return f.deviceIndex(of)
	case deviceType:
		return exactly(binary.NativeEndian.AppendUint16(nil, arphrdEther))
	case network:
		return exactly([]byte{f.protocolFamily()})
	case etherType:
		return exactly(f.etherType())
	case linkHeader:
		if offset == 12 && n == 2 {
			return exactly(f.etherType())
		}
	case layer4:
		if f.what >= solicit {
			return exactly([]byte{icmp6})
		}
	case netHeader:
		return f.header(offset, n)
	case transport:
		switch {
		case f.what == solicit && offset == 0 && n == 1:
			return exactly([]byte{icmp6Solicit})
		case f.what == advertise && offset == 0 && n == 1:
			return exactly([]byte{icmp6Advertise})
		}
	case ctState:
		return f.state()
	case ctStatus:
		return f.status()
	case mark, ctMark:
		if f.written != nil && f.written.marks {
			return value{answer: unclear}
		}
		return exactly(native32(0)) // one that comes out of a namespace has none
	case noSocket:
		return value{answer: no}
	case reversePath, reverseAny:
		return f.back(of)
	case sourceType, targetType:
		return f.addressType(of)
	default:
		return value{answer: unclear}
	}
	return value{answer: partly}
}

// deviceIndex returns the index of an interface.
func (f bridgedFrame) deviceIndex(of field) value {
	d := f.device(inName + of - inIndex)
	switch {
	case d.answer != yes || f.ports:
		return value{answer: unclear}
	case d.lo[0] == 0:
		return exactly(native32(0))
	case f.index == 0: // it will get one that nothing has now
		return value{answer: unclear, never: func([]byte) bool { return true }}
	}
	return exactly(native32(uint32(f.index)))
}

// protocolFamily returns the family of the table that is asked.
func (f bridgedFrame) protocolFamily() byte {
	switch {
	case f.ports:
		return protoBridge
	case f.family == IPv6:
		return protoIPv6
	}
	return protoIPv4
}

// status returns conntrack's bits for the frame.
func (f bridgedFrame) status() value {
	switch {
	case f.written != nil && f.written.tracking:
		return value{answer: unclear}
	case f.what == reply:
		return exactly(native32(statusSeenReply))
	}
	return exactly(native32(0))
}

// addressType returns the RTN_* type of the source or the destination.
func (f bridgedFrame) addressType(of field) value {
	switch {
	case f.what == solicit && of == targetType:
		return exactly(native32(rtnMulticast))
	case f.family == IPv4: // another guest's, or one that the host has no route to
		return exactly(native32(rtnUnicast))
	}
	return value{answer: unclear, never: func(b []byte) bool { // IPv6 has no broadcast
		return bytes.Equal(b, native32(rtnBroadcast)) || bytes.Equal(b, native32(rtnLocal))
	}}
}

func (f bridgedFrame) etherType() []byte {
	switch {
	case f.what == arp:
		return binary.BigEndian.AppendUint16(nil, etherARP)
	case f.family == IPv6:
		return binary.BigEndian.AppendUint16(nil, etherIPv6)
	}
	return binary.BigEndian.AppendUint16(nil, etherIPv4)
}

// device returns the name of an interface. At the first hook no output is known
// yet, and the last is not told the input (br_netfilter_hooks.c,
// br_nf_post_routing).
func (f bridgedFrame) device(of field) value {
	in := of == inName || of == physIn
	switch {
	case (of == outName || of == physOut) && f.hook == preRouting, of == inName && f.hook == postRouting:
		return exactly(nameBytes(""))
	case (of == inName || of == outName) && !f.ports:
		return exactly(nameBytes(f.bridge))
	case in != f.to && f.port != "":
		return exactly(nameBytes(f.port))
	}
	port, isPort := f.port, f.isPort // and not all of the frame
	return value{answer: partly, never: func(b []byte) bool {
		name, _, whole := bytes.Cut(b, []byte{0})
		return whole && (string(name) == port || isPort != nil && !isPort(string(name)))
	}}
}

func (f bridgedFrame) state() value {
	switch {
	case f.ports:
		return value{answer: unclear}
	case f.written != nil && f.written.tracking:
		return value{answer: unclear}
	case f.early:
		return exactly(native32(stateInvalid))
	case f.what >= solicit:
		return exactly(native32(stateUntracked)) // nf_conntrack_proto_icmpv6.c
	case f.what == reply:
		return exactly(native32(stateReplied))
	}
	return exactly(native32(stateNew))
}

// header returns bytes of the IP header.
func (f bridgedFrame) header(offset, n int) value {
	switch {
	case f.what == arp:
		return value{answer: partly}
	case f.written != nil && f.written.addresses:
		return value{answer: unclear}
	}
	protocol, size, source := 9, 4, 12
	if f.family == IPv6 {
		protocol, size, source = 6, 16, 8
	}
	at := 0
	var v value
	switch {
	case offset >= source && offset+n <= source+size:
		v, at = f.address(!f.to), offset-source
	case offset >= source+size && offset+n <= source+2*size:
		v, at = f.address(f.to), offset-source-size
	case offset == protocol && n == 1:
		return f.value(layer4, 0, 1)
	default:
		return value{answer: partly}
	}
	switch {
	case v.answer != yes:
		return v
	case at > 0 && !bytes.Equal(v.lo[:at], v.hi[:at]):
		return value{answer: partly}
	}
	v.lo, v.hi = v.lo[at:at+n], v.hi[at:at+n]
	return v
}

// address returns the guest's address, or that of whom it speaks to: somebody
// in its subnet.
func (f bridgedFrame) address(guests bool) value {
	switch {
	case f.what == solicit && guests == f.to:
		// The group of those whose address ends alike (RFC 4291, 2.7.1).
		lo := netip.MustParseAddr("ff02::1:ff00:0").As16()
		hi := netip.MustParseAddr("ff02::1:ffff:ffff").As16()
		return value{lo: lo[:], hi: hi[:], answer: yes}
	case !f.own.IsValid():
		return value{answer: unclear}
	case guests:
		return exactly(f.own.Addr().AsSlice())
	}
	lo, hi := bounds(f.own)
	return value{lo: lo, hi: hi, answer: yes}
}

// bounds returns the first and the last address of a subnet.
func bounds(p netip.Prefix) (lo, hi []byte) {
	lo = p.Masked().Addr().AsSlice()
	hi = slices.Clone(lo)
	for bit := p.Bits(); bit < len(hi)*8; bit++ {
		hi[bit/8] |= 0x80 >> (bit % 8)
	}
	return lo, hi
}

// back looks up the way to the source, as "fib saddr" and rpfilter do. Whoever
// is in the guest's subnet is found as the guest is.
func (f bridgedFrame) back(of field) value {
	if !f.own.IsValid() || f.routeTo == nil || f.hook != preRouting || f.ports {
		return value{answer: unclear}
	}
	index := f.routeTo(f.own.Addr())
	if of == reversePath && (f.index == 0 || index != f.index) {
		index = 0
	}
	return exactly(native32(uint32(index)))
}
