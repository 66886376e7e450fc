package firewall

import (
	"encoding/binary"
	"fmt"
	"math/big"
	"net"
	"net/netip"
	"slices"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// filterRule is a rule of a source filter: as nft writes it, and as nft gives it to the
// kernel.
type filterRule struct {
	words string
	exprs []expr.Any
	known []layer // what the tests of the rule have made sure of
}

// filterField is a field of a frame.
type filterField struct {
	word     string
	within   []layer // what the frame must be for it to have the field
	base     expr.PayloadBase
	at, size uint32 // in bytes
	show     func([]byte) string
}

// inFragment is the base of fields of a fragment header, wherever in the packet that is.
const inFragment = ^expr.PayloadBase(0)

func (f filterField) load() expr.Any {
	if f.base == inFragment {
		return &expr.Exthdr{DestRegister: 1, Type: unix.IPPROTO_FRAGMENT, Offset: f.at, Len: f.size, Op: expr.ExthdrOpIpv6}
	}
	return &expr.Payload{DestRegister: 1, Base: f.base, Offset: f.at, Len: f.size}
}

// layer is a test that nft adds to what a person writes.
type layer struct {
	key   expr.MetaKey
	value uint16
}

// test is the layer as the kernel has it.
func (l layer) test() []expr.Any {
	value := binary.BigEndian.AppendUint16(nil, l.value)
	switch l.key {
	case expr.MetaKeyIIFTYPE:
		value = binary.NativeEndian.AppendUint16(nil, l.value)
	case expr.MetaKeyL4PROTO:
		value = []byte{byte(l.value)}
	}
	return []expr.Any{&expr.Meta{Key: l.key, Register: 1}, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: value}}
}

// filterTest compares a field with a value.
type filterTest struct {
	filterField
	op    expr.CmpOp
	value []byte
}

var (
	onEthernet = layer{expr.MetaKeyIIFTYPE, unix.ARPHRD_ETHER}
	inARP      = layer{expr.MetaKeyPROTOCOL, unix.ETH_P_ARP}
	inIPv4     = layer{expr.MetaKeyPROTOCOL, unix.ETH_P_IP}
	inIPv6     = layer{expr.MetaKeyPROTOCOL, unix.ETH_P_IPV6}
	inUDP      = layer{expr.MetaKeyL4PROTO, unix.IPPROTO_UDP}
	inICMPv6   = layer{expr.MetaKeyL4PROTO, unix.IPPROTO_ICMPV6}
)

var (
	frameSource  = filterField{"ether saddr", []layer{onEthernet}, expr.PayloadBaseLLHeader, 6, 6, showMAC}
	frameType    = filterField{"ether type", []layer{onEthernet}, expr.PayloadBaseLLHeader, 12, 2, showProtocol}
	arpOperation = filterField{"arp operation", []layer{inARP}, expr.PayloadBaseNetworkHeader, 6, 2, showOperation}
	arpMAC       = filterField{"arp saddr ether", []layer{inARP}, expr.PayloadBaseNetworkHeader, 8, 6, showMAC}
	arpSource    = filterField{"arp saddr ip", []layer{inARP}, expr.PayloadBaseNetworkHeader, 14, 4, showAddress}
	arpTarget    = filterField{"arp daddr ip", []layer{inARP}, expr.PayloadBaseNetworkHeader, 24, 4, showAddress}
	ipSource     = filterField{"ip saddr", []layer{inIPv4}, expr.PayloadBaseNetworkHeader, 12, 4, showAddress}
	ip6Source    = filterField{"ip6 saddr", []layer{inIPv6}, expr.PayloadBaseNetworkHeader, 8, 16, showAddress}
	udpTarget    = filterField{"udp dport", []layer{inUDP}, expr.PayloadBaseTransportHeader, 2, 2, showNumber}
	icmp6Type    = filterField{"icmpv6 type", []layer{inIPv6, inICMPv6}, expr.PayloadBaseTransportHeader, 0, 1, showMessage}
	fragmentNext = filterField{"frag nexthdr", []layer{inIPv6}, inFragment, 0, 1, showNumber}

	// The target of a neighbour solicitation or advertisement: nft before 1.0.8 has no word for it.
	icmp6Target = filterField{"@th,64,128", []layer{inIPv6, inICMPv6}, expr.PayloadBaseTransportHeader, 8, 16, showHex}
)

func showMAC(b []byte) string    { return net.HardwareAddr(b).String() }
func showHex(b []byte) string    { return fmt.Sprintf("0x%x", b) }
func showNumber(b []byte) string { return new(big.Int).SetBytes(b).String() }

func showOperation(b []byte) string {
	if binary.BigEndian.Uint16(b) == arpRequest {
		return "request"
	}
	return showNumber(b)
}

func showMessage(b []byte) string {
	switch b[0] {
	case routerSolicit:
		return "nd-router-solicit"
	case routerAdvert:
		return "nd-router-advert"
	case neighbourSolicit:
		return "nd-neighbor-solicit"
	case neighbourAdvert:
		return "nd-neighbor-advert"
	case listenerReport:
		return "mld-listener-report"
	case listenerReport2:
		return "mld2-listener-report"
	}
	return showNumber(b)
}

func showAddress(b []byte) string {
	a, _ := netip.AddrFromSlice(b)
	return a.String()
}

func showProtocol(b []byte) string {
	switch binary.BigEndian.Uint16(b) {
	case unix.ETH_P_IP:
		return "ip"
	case unix.ETH_P_ARP:
		return "arp"
	}
	return "ip6"
}

func (f filterField) is(value []byte) filterTest  { return filterTest{f, expr.CmpOpEq, value} }
func (f filterField) not(value []byte) filterTest { return filterTest{f, expr.CmpOpNeq, value} }

// where is a rule for frames that pass all the tests.
func where(tests ...filterTest) (r filterRule) {
	for _, t := range tests {
		r.add(t)
	}
	return r
}

func (r *filterRule) add(t filterTest) {
	for _, l := range t.within {
		if !slices.Contains(r.known, l) {
			r.known = append(r.known, l)
			r.exprs = append(r.exprs, l.test()...)
		}
	}
	op := ""
	if t.op == expr.CmpOpNeq {
		op = "!= "
	}
	r.words += " " + t.word + " " + op + t.show(t.value)
	r.exprs = append(r.exprs, t.load(), &expr.Cmp{Op: t.op, Register: 1, Data: t.value})
}

func (r filterRule) accept() filterRule { return r.end("accept", expr.VerdictAccept) }
func (r filterRule) drop() filterRule   { return r.end("drop", expr.VerdictDrop) }

func (r filterRule) end(word string, kind expr.VerdictKind) filterRule {
	r.words += " " + word
	r.exprs = append(r.exprs, &expr.Verdict{Kind: kind})
	return r
}
