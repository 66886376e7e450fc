package firewall

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	mathbits "math/bits"
	"net/netip"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// What a person writes for a rule of nf_tables.

var verdictWords = map[verdict]string{accepts: "accept", drops: "drop", returns: "return", jumps: "jump", goesTo: "goto", goesOn: "continue", undecided: "queue"}

func notWord(not bool) string {
	if not {
		return "!= "
	}
	return ""
}

func quoteName(c condition) string {
	if c.prefix {
		return strconv.Quote(c.name + "*")
	}
	return strconv.Quote(c.name)
}

type headerField struct {
	field     field
	offset, n int
}

func (l load) at() headerField { return headerField{l.field, l.offset, l.n} }

// headerWords are fields that a person calls by a name. IPv6 has none where
// IPv4 has its addresses.
var headerWords = map[headerField]string{
	{netHeader, 12, 4}:  "ip saddr",
	{netHeader, 16, 4}:  "ip daddr",
	{netHeader, 9, 1}:   "ip protocol",
	{netHeader, 8, 16}:  "ip6 saddr",
	{netHeader, 24, 16}: "ip6 daddr",
	{netHeader, 6, 1}:   "ip6 nexthdr",
	{transport, 0, 1}:   "th type",
	{transport, 0, 2}:   "th sport",
	{transport, 2, 2}:   "th dport",
	{linkHeader, 0, 6}:  "ether daddr",
	{linkHeader, 6, 6}:  "ether saddr",
	{linkHeader, 12, 2}: "ether type",
}

// etherTypeWord is nft's word for a protocol of linux/if_ether.h, or "".
func etherTypeWord(b []byte) string {
	switch hex.EncodeToString(b) {
	case "0800":
		return "ip"
	case "86dd":
		return "ip6"
	case "0806":
		return "arp"
	case "8100":
		return "vlan"
	}
	return ""
}

// protocolWord is nft's word for a protocol of linux/in.h, or "".
func protocolWord(b byte) string {
	switch b {
	case unix.IPPROTO_TCP:
		return "tcp"
	case unix.IPPROTO_UDP:
		return "udp"
	case unix.IPPROTO_ICMP:
		return "icmp"
	case icmp6:
		return "icmpv6"
	}
	return ""
}

// text writes what a field is compared with.
func (l loaded) text(b []byte) string {
	at := l.load.at()
	switch {
	case l.field >= inName && l.field <= outBridge:
		return strconv.Quote(attrString(b))
	case l.field == network && len(b) == 1:
		return map[byte]string{protoIPv4: "ipv4", protoIPv6: "ipv6"}[b[0]]
	case (l.field == reversePath || l.field == reverseAny) && l.exists:
		return map[bool]string{true: "exists", false: "missing"}[b[0] != 0]
	case l.field == netHeader && (at.offset == 12 || at.offset == 16 || at.offset == 8 || at.offset == 24):
		full := make([]byte, map[bool]int{true: 4, false: 16}[len(b) <= 4])
		copy(full, b)
		addr, _ := netip.AddrFromSlice(full)
		bits := len(b) * 8
		if l.mask != nil {
			bits = 0
			for _, m := range l.mask {
				bits += mathbits.OnesCount8(m)
			}
		}
		if bits == addr.BitLen() {
			return addr.String()
		}
		return netip.PrefixFrom(addr, bits).String()
	case len(b) <= 4 && (l.field == inIndex || l.field == outIndex || l.field == mark || l.field == ctMark) && len(b) == 4:
		return fmt.Sprintf("%#x", binary.NativeEndian.Uint32(b))
	case (l.field == etherType || l.word == "ether type") && etherTypeWord(b) != "":
		return etherTypeWord(b)
	case len(b) == 1 && protocolWord(b[0]) != "" && (l.field == layer4 || l.word == "ip protocol" || l.word == "ip6 nexthdr"):
		return protocolWord(b[0])
	case len(b) == 1:
		return strconv.Itoa(int(b[0]))
	case len(b) == 2 && l.field == transport:
		return strconv.Itoa(int(binary.BigEndian.Uint16(b)))
	}
	return "0x" + hex.EncodeToString(b)
}

// flags are the words for the bits of conntrack that a mask asks for.
func (l loaded) flags() string {
	if l.field != ctState || len(l.mask) != 4 {
		return ""
	}
	mask := binary.NativeEndian.Uint32(l.mask)
	var words []string
	for _, s := range []struct {
		bit  uint32
		word string
	}{{stateInvalid, "invalid"}, {stateReplied, "established"}, {4, "related"}, {stateNew, "new"}, {stateUntracked, "untracked"}} {
		if mask&s.bit != 0 {
			words = append(words, s.word)
		}
	}
	return strings.Join(words, ",")
}
