package firewall

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// A source filter is a chain of nf_tables on the port of one guest (--antispoof):
//
//	table netdev gopipework {
//		chain veth1pl4321 {
//			type filter hook ingress device "veth1pl4321" priority filter; policy accept;
//			iif != "veth1pl4321" accept
//			ether saddr != 02:00:00:00:00:0d drop
//			...
//		}
//	}
//
// It is in the family netdev and not in bridge, for a bridge learns the source of an LLDP
// frame before its family sees it (br_input.c, br_handle_frame), and so who sends such frames
// could draw the frames of others. A kernel since 6.16 keeps the chain when the port goes,
// and asks it again for the next link of that name: the first rule, which is about the
// port's number, then accepts everything.

// filterTableName is the table of our source filters. Nobody else's chains are in it.
const filterTableName = "gopipework"

// MaxFiltered is how many addresses a source filter can have of one family. A rule of
// nf_tables has at most 128 expressions (NFT_RULE_MAXEXPRS). That about neighbour
// advertisements has 7, and 2 for each address: 60 is the limit, for twice these, as while
// they change, and the link-local one.
const MaxFiltered = 29

// SourceFilter lets a guest send on its port only from its own addresses. It drops frames
// with another MAC address, frames of other protocols than ARP, IPv4 and IPv6 and those with
// a VLAN tag, and what only a router or a DHCP server sends.
type SourceFilter struct {
	Port  string
	MAC   net.HardwareAddr
	Addrs []netip.Addr // beside the link-local address that the MAC address gives
}

// Equal reports whether two filters let the same frames pass.
func (f SourceFilter) Equal(g SourceFilter) bool {
	return f.Port == g.Port && f.MAC.String() == g.MAC.String() && slices.Equal(f.of(false), g.of(false)) && slices.Equal(f.of(true), g.of(true))
}

// Passes reports whether the guest can send from an address.
func (f SourceFilter) Passes(a netip.Addr) bool { return slices.Contains(f.of(a.Is6()), a) }

// of returns the addresses of a family, sorted.
func (f SourceFilter) of(ipv6 bool) (all []netip.Addr) {
	for _, a := range f.Addrs {
		if a.Is6() == ipv6 {
			all = append(all, a.WithZone(""))
		}
	}
	if ipv6 {
		all = append(all, linkLocal(f.MAC))
	}
	slices.SortFunc(all, netip.Addr.Compare)
	return slices.Compact(all)
}

// linkLocal is the address that the kernel makes of a MAC address (RFC 4291, appendix A).
func linkLocal(mac net.HardwareAddr) netip.Addr {
	a := [16]byte{0: 0xfe, 1: 0x80, 11: 0xff, 12: 0xfe}
	if len(mac) == 6 {
		copy(a[8:], mac[:3])
		copy(a[13:], mac[3:])
		a[8] ^= 2
	}
	return netip.AddrFrom16(a)
}

// Commands are what a person types for the same filter, where there is none.
func (f SourceFilter) Commands() []string {
	chain := fmt.Sprintf("netdev %s %s", filterTableName, f.Port)
	all := []string{
		"nft add table netdev " + filterTableName,
		fmt.Sprintf("nft 'add chain %s { type filter hook ingress device %q priority filter; }'", chain, f.Port),
		"nft flush chain " + chain,
	}
	for _, r := range f.rules(0) {
		all = append(all, fmt.Sprintf("nft 'add rule %s%s'", chain, r.words))
	}
	return all
}

// BySourceFilter reports whether it was a source filter that stopped the frame.
func (s Stop) BySourceFilter() bool { return s.Family == "netdev" && s.Table == filterTableName }

// DeleteCommand is what a person types to delete it.
func (f SourceFilter) DeleteCommand() string {
	return fmt.Sprintf("nft delete chain netdev %s %s", filterTableName, f.Port)
}

func number16(n uint16) []byte { return binary.BigEndian.AppendUint16(nil, n) }

// Protocols and messages that the rules know.
const (
	arpRequest       = 1
	dhcpClientPort   = 68
	dhcp6ClientPort  = 546
	routerSolicit    = 133
	routerAdvert     = 134
	neighbourSolicit = 135
	neighbourAdvert  = 136
	listenerReport   = 131
	listenerReport2  = 143 // of MLDv2
)

// rules are the filter's, in their order. index is the port's number.
func (f SourceFilter) rules(index int) []filterRule {
	all := []filterRule{
		f.onOthers(index),
		where(frameSource.not(f.MAC)).drop(),
		where(frameType.not(number16(unix.ETH_P_IP)), frameType.not(number16(unix.ETH_P_ARP)), frameType.not(number16(unix.ETH_P_IPV6))).drop(),
	}
	return slices.Concat(all, f.arpRules(), f.ipRules(), f.ip6Rules())
}

// arpRules let the guest speak of its own addresses alone, and ask whether somebody else has
// them (RFC 5227).
func (f SourceFilter) arpRules() (all []filterRule) {
	all = append(all, where(arpMAC.not(f.MAC)).drop())
	for _, a := range f.of(false) {
		all = append(all, where(arpOperation.is(number16(arpRequest)), arpSource.is(netip.IPv4Unspecified().AsSlice()), arpTarget.is(a.AsSlice())).accept())
	}
	return append(all, noneOf(arpSource, unix.ETH_P_ARP, f.of(false)))
}

func (f SourceFilter) ipRules() []filterRule {
	return []filterRule{
		where(udpTarget.is(number16(dhcpClientPort))).drop(),
		where(udpTarget.is(number16(dhcp6ClientPort))).drop(),
		noneOf(ipSource, unix.ETH_P_IP, f.of(false)),
	}
}

// ip6Rules also let the guest ask for routers, report what groups it is in, and ask whether
// somebody else has its addresses, before it has one. What follows a fragment header must be
// no other extension header: it could hide the message behind it in the next fragment.
func (f SourceFilter) ip6Rules() (all []filterRule) {
	for _, next := range []byte{unix.IPPROTO_HOPOPTS, unix.IPPROTO_ROUTING, unix.IPPROTO_FRAGMENT, unix.IPPROTO_DSTOPTS} {
		all = append(all, where(fragmentNext.is([]byte{next})).drop())
	}
	all = append(all, where(icmp6Type.is([]byte{routerAdvert})).drop())
	advert := where(icmp6Type.is([]byte{neighbourAdvert}))
	for _, a := range f.of(true) {
		advert.add(icmp6Target.not(a.AsSlice()))
	}
	all = append(all, advert.drop())
	nobody := ip6Source.is(netip.IPv6Unspecified().AsSlice())
	for _, a := range f.of(true) {
		all = append(all, where(nobody, icmp6Type.is([]byte{neighbourSolicit}), icmp6Target.is(a.AsSlice())).accept())
	}
	for _, kind := range []byte{routerSolicit, listenerReport, listenerReport2} {
		all = append(all, where(nobody, icmp6Type.is([]byte{kind})).accept())
	}
	return append(all, noneOf(ip6Source, unix.ETH_P_IPV6, f.of(true)))
}

// noneOf drops what has none of the addresses in a field.
func noneOf(field filterField, protocol uint16, addrs []netip.Addr) filterRule {
	if len(addrs) == 0 {
		return where(frameType.is(number16(protocol))).drop()
	}
	var r filterRule
	for _, a := range addrs {
		r.add(field.not(a.AsSlice()))
	}
	return r.drop()
}

// onOthers accepts what comes in by another link than the port.
func (f SourceFilter) onOthers(index int) filterRule {
	r := filterRule{words: fmt.Sprintf(" iif != %q", f.Port)}
	r.exprs = append(r.exprs, &expr.Meta{Key: expr.MetaKeyIIF, Register: 1}, &expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: binary.NativeEndian.AppendUint32(nil, uint32(index))})
	return r.accept()
}
