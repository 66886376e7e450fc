package firewall

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/google/nftables/expr"
	"github.com/google/nftables/xt"
	"golang.org/x/sys/unix"
)

// The matches and targets of x_tables, which iptables-nft and ebtables-nft put into
// rules of nf_tables.

// match adds a match of x_tables that stands in an nftables rule.
func (d *decoder) match(e *expr.Match) {
	word := "-m " + e.Name
	switch info := e.Info.(type) {
	case *xt.Comment:
		d.comment = string(*info)
		return
	case *xt.Tcp:
		few := info.InvFlags&(xt.TcpInvSrcPorts|xt.TcpInvDestPorts) == 0 && (fewBetween(info.SrcPorts) || fewBetween(info.DstPorts))
		d.require(condition{key: varied, few: few}, word)
		return
	case *xt.Udp:
		d.require(condition{key: varied, few: info.InvFlags == 0 && (fewBetween(info.SrcPorts) || fewBetween(info.DstPorts))}, word)
		return
	case *xt.ConntrackMtinfo3:
		d.conntrack(info.MatchFlags, info.InvertFlags, info.StateMask)
		return
	case *xt.ConntrackMtinfo2:
		d.conntrack(info.MatchFlags, info.InvertFlags, info.StateMask)
		return
	case *xt.ConntrackMtinfo1:
		d.conntrack(info.MatchFlags, info.InvertFlags, uint16(info.StateMask))
		return
	case *xt.AddrType:
		d.addrType(info.Source, info.Dest, info.InvertSource, info.InvertDest)
		return
	case *xt.AddrTypeV1:
		// XT_ADDRTYPE_INVERT_SOURCE, _INVERT_DEST and _LIMIT_IFACE_* of
		// linux/netfilter/xt_addrtype.h.
		if info.Flags&0xc == 0 {
			d.addrType(info.Source, info.Dest, info.Flags&1 != 0, info.Flags&2 != 0)
			return
		}
	case *xt.Unknown:
		if cs, text := decodeMatch(e.Name, e.Rev, *info); cs != nil {
			d.conditions = append(d.conditions, cs...)
			d.words = append(d.words, strings.TrimSpace(word+" "+text))
			return
		}
	}
	d.require(condition{}, word)
}

// addrType reads which types of address -m addrtype asks for, bits of RTN_*.
func (d *decoder) addrType(source, target uint16, notSource, notTarget bool) {
	for _, a := range []struct {
		field field
		bits  uint16
		not   bool
		word  string
	}{{sourceType, source, notSource, "--src-type"}, {targetType, target, notTarget, "--dst-type"}} {
		if a.bits != 0 {
			c := typeCondition(a.field, a.bits)
			c.not = a.not
			d.require(c, "-m addrtype", map[bool]string{true: "! "}[a.not]+a.word+" "+typeWords(a.bits))
		}
	}
}

// xtTarget reads what a target of x_tables does. It is never the name of a chain.
func (d *decoder) xtTarget(e *expr.Target) {
	info, _ := e.Info.(*xt.Unknown)
	d.verdict, _ = parseTarget(e.Name)
	d.writes.add(targetWrites(e.Name, func() bool { // struct xt_ct_target_info
		return info == nil || len(*info) < 2 || binary.NativeEndian.Uint16(*info)&1 != 0
	}))
	// The targets of ebtables say themselves what becomes of the frame
	// (linux/netfilter_bridge/ebt_nat.h and its like): with a number behind a MAC
	// address, or behind a mark.
	at := map[string]int{"dnat": 8, "snat": 8, "arpreply": 8, "redirect": 0, "mark": 8}
	offset, ok := at[e.Name]
	switch {
	case d.family == unix.NFPROTO_BRIDGE && ok:
		d.verdict = goesOn
		if info != nil && len(*info) >= offset+4 {
			d.verdict = ebtVerdict(int32(binary.NativeEndian.Uint32((*info)[offset:])))
		}
		d.writes.marks = d.writes.marks || e.Name == "mark"
		if e.Name == "dnat" || e.Name == "redirect" || e.Name == "arpreply" {
			d.verdict = diverts
		}
	case d.verdict == jumps:
		d.verdict = undecided
	}
}

// ebtVerdict is EBT_ACCEPT and its likes, in the lowest four bits.
func ebtVerdict(n int32) verdict {
	switch n | ^0xf {
	case -1:
		return accepts
	case -2:
		return drops
	case -4:
		return returns
	}
	return goesOn
}

// fewBetween reports whether few ports lie between two.
func fewBetween(ports [2]uint16) bool { return int(ports[1])-int(ports[0]) < maxFewPorts }

// conntrack reads struct xt_conntrack_mtinfo3 (linux/netfilter/xt_conntrack.h),
// whose states have the bits of nft's, but for UNTRACKED.
func (d *decoder) conntrack(asked, inverted, states uint16) {
	const stateFlag, translated, untracked = 0x01, 0xc0, 0x100
	if asked != stateFlag || states&translated != 0 {
		d.require(condition{}, "-m conntrack")
		return
	}
	if states&untracked != 0 {
		states = states&^untracked | stateUntracked
	}
	c := bitsCondition(ctState, uint32(states))
	l := loaded{load: c.test.(*check).load}
	d.require(condition{test: c.test, not: inverted&stateFlag == 0}, "ct state", notWord(inverted&stateFlag != 0)+l.flags())
}

// decodeMatch reads the matches that most often decide over bridged frames. Nil:
// it is not one of them.
func decodeMatch(name string, revision uint32, info []byte) ([]condition, string) {
	switch {
	case name == "physdev":
		cs, _ := decodePhysdev(info)
		return cs, ""
	case name == "rpfilter" && len(info) >= 1:
		// XT_RPFILTER_LOOSE and _INVERT of linux/netfilter/xt_rpfilter.h
		loose, invert := info[0]&1 != 0, info[0]&8 != 0
		text := ""
		if loose {
			text += "--loose "
		}
		if invert {
			text += "--invert"
		}
		return []condition{wayBack(loose, invert)}, text
	case name == "mark" && revision == 1 && len(info) >= 9: // struct xt_mark_mtinfo1
		c := markedCondition(mark, binary.NativeEndian.Uint32(info), binary.NativeEndian.Uint32(info[4:]))
		c.not = info[8] != 0
		return []condition{c}, fmt.Sprintf("--mark %#x/%#x", binary.NativeEndian.Uint32(info), binary.NativeEndian.Uint32(info[4:]))
	case name == "icmp6" && len(info) >= 4: // struct ip6t_icmp: type, codes, inverted
		c := icmp6Condition(strconv.Itoa(int(info[0])))
		c.not = info[3]&1 != 0
		return []condition{c}, "--icmpv6-type " + strconv.Itoa(int(info[0]))
	case name == "multiport" && len(info) >= 48: // struct xt_multiport_v1: flags, count, ports, which begin a range, inverted
		few := info[47] == 0 && !slices.Contains(info[32:47], 1)
		return []condition{{key: varied, few: few}}, ""
	case name == "hashlimit", name == "connlimit", name == "limit":
		return []condition{{few: true}}, ""
	case name == "icmp", name == "statistic", name == "multiport", name == "sctp", name == "length", name == "recent", name == "time", name == "pkttype", name == "tcpmss", name == "dscp", name == "tos", name == "ttl", name == "hl":
		return []condition{{key: varied}}, ""
	}
	return nil, ""
}

// decodePhysdev reads struct xt_physdev_info (linux/netfilter/xt_physdev.h):
// two names, each with a mask over its bytes, then which matches are asked for
// and which of them are inverted.
func decodePhysdev(info []byte) ([]condition, bool) {
	const (
		name     = unix.IFNAMSIZ
		in       = 0x01
		out      = 0x02
		bridged  = 0x04
		isIn     = 0x08
		isOut    = 0x10
		sizeUsed = 4*name + 2
	)
	if len(info) < sizeUsed {
		return nil, false
	}
	invert, asked := info[4*name], info[4*name+1]
	var cs []condition
	for _, m := range []struct {
		bit  byte
		make func(not bool) condition
	}{
		{in, func(not bool) condition { return maskedName(physIn, info[0:name], info[name:2*name], not) }},
		{out, func(not bool) condition { return maskedName(physOut, info[2*name:3*name], info[3*name:4*name], not) }},
		{isIn, func(not bool) condition { return physKind("--physdev-is-in", not) }},
		{isOut, func(not bool) condition { return physKind("--physdev-is-out", not) }},
		{bridged, func(not bool) condition { return physKind("--physdev-is-bridged", not) }},
	} {
		if asked&m.bit != 0 {
			cs = append(cs, m.make(invert&m.bit != 0))
		}
	}
	return cs, true
}

// maskedName reads a name of x_tables: one name if the mask covers the NUL
// that ends it, else all that begin so.
func maskedName(key field, name, mask []byte, not bool) condition {
	n := bytes.IndexByte(mask, 0)
	if n < 0 {
		n = len(mask)
	}
	s, _, whole := bytes.Cut(name[:n], []byte{0})
	return condition{key: key, name: string(s), prefix: !whole, not: not}
}
