package firewall

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	mathbits "math/bits"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/google/nftables/expr"
	"github.com/google/nftables/xt"
	"golang.org/x/sys/unix"
)

// What a rule of nf_tables says, reduced to a chainRule.

// decoder takes one rule apart: what it loads into which register, what it
// compares with that, and the verdict in the end.
type decoder struct {
	chainRule
	family uint8
	table  string
	sets   *nftSets // nil in tests: a set is not judged
	regs   [16]*loaded
	words  []string
}

// loaded is what stands in a register from a slot of four bytes on.
type loaded struct {
	load
	word string // what a person writes for it
}

// slot is where a register begins: the kernel has 16 of four bytes, and an older
// way to call four of them one.
func slot(register uint32) int {
	switch {
	case register >= unix.NFT_REG_1 && register <= unix.NFT_REG_4:
		return int(register-unix.NFT_REG_1) * 4
	case register >= unix.NFT_REG32_00 && register <= unix.NFT_REG32_15:
		return int(register - unix.NFT_REG32_00)
	}
	return -1
}

func (d *decoder) put(register uint32, l *loaded) {
	at := slot(register)
	if at < 0 {
		return
	}
	d.regs[at] = l
	if l != nil {
		for i := at + 1; i < min(at+(l.n+3)/4, len(d.regs)); i++ {
			d.regs[i] = nil
		}
	}
}

func (d *decoder) at(register uint32) *loaded {
	if i := slot(register); i >= 0 && d.regs[i] != nil {
		return d.regs[i]
	}
	return &loaded{word: "?"}
}

func (d *decoder) require(c condition, words ...string) {
	d.conditions = append(d.conditions, c)
	d.words = append(d.words, words...)
}

// rule reads one rule of the kernel's.
func (d *decoder) rule(userData, exprs []byte) chainRule {
	d.comment = ruleComment(userData)
	for _, elem := range eachAttribute(exprs) {
		attrs := attributes(elem)
		name := attrString(attrs[unix.NFTA_EXPR_NAME])
		d.add(name, parseExpr(d.family, name, attrs[unix.NFTA_EXPR_DATA]))
	}
	return d.done()
}

func (d *decoder) done() chainRule {
	d.text = strings.Join(d.words, " ")
	return d.chainRule
}

func parseExpr(family uint8, name string, data []byte) expr.Any {
	var e expr.Any
	switch name {
	case "counter", "last":
		return &expr.Counter{}
	case "log":
		return &expr.Log{}
	case "reject":
		return &expr.Reject{}
	case "queue":
		return &expr.Queue{}
	case "limit", "quota", "connlimit", "socket", "osf", "inner", "tunnel":
		return &expr.Limit{}
	case "objref":
		// Of the objects it is these that a packet may or may not meet: quota,
		// limit and connlimit (NFT_OBJECT_*), and whatever a map may yield.
		if kind := attrUint32(attributes(data)[objrefType]); kind == 1 || kind == 3 || kind >= 6 && kind <= 9 {
			return &expr.Counter{}
		}
		return &expr.Limit{}
	case "dynset":
		// "update @m { ip saddr limit rate over 9/second }" is met by some packets.
		if a := attributes(data); a[dynsetExpr] != nil || a[dynsetExpressions] != nil {
			return &expr.Limit{}
		}
		return &expr.Counter{}
	case "notrack":
		return &expr.Notrack{}
	case "dup", "flow_offload", "tproxy":
		return &expr.Counter{}
	case "nat", "masq", "redir", "fwd":
		return &expr.Masq{}
	case "rt", "xfrm":
		return nil
	case "numgen", "hash", "exthdr":
		register := unix.NFTA_NG_DREG // which exthdr has too
		if name == "hash" {
			register = unix.NFTA_HASH_DREG
		}
		return &expr.Numgen{Register: attrUint32(attributes(data)[register])}
	case "meta":
		e = &expr.Meta{}
	case "cmp":
		e = &expr.Cmp{}
	case "range":
		e = &expr.Range{}
	case "payload":
		e = &expr.Payload{}
	case "bitwise":
		e = &expr.Bitwise{}
	case "byteorder":
		e = &expr.Byteorder{}
	case "ct":
		e = &expr.Ct{}
	case "fib":
		e = &expr.Fib{}
	case "lookup":
		e = &expr.Lookup{}
	case "match":
		e = &expr.Match{}
	case "target":
		e = &expr.Target{}
	case "immediate":
		imm := &expr.Immediate{}
		if expr.Unmarshal(family, data, imm) != nil {
			return nil
		}
		if imm.Register != unix.NFT_REG_VERDICT {
			return imm
		}
		e = &expr.Verdict{}
	default:
		return nil
	}
	if expr.Unmarshal(family, data, e) != nil {
		return nil
	}
	if e, ok := e.(*expr.Ct); ok { // google/nftables does not read this
		e.SourceRegister = attributes(data)[unix.NFTA_CT_SREG] != nil
	}
	return e
}

// From linux/netfilter/nf_tables.h.
const (
	objrefType        = 1  // NFTA_OBJREF_IMM_TYPE
	dynsetExpr        = 7  // NFTA_DYNSET_EXPR
	dynsetExpressions = 10 // NFTA_DYNSET_EXPRESSIONS
)

// add reads the next expression. One that is not known asks for something that
// is not, and all registers may be other than they were.
func (d *decoder) add(name string, e expr.Any) {
	switch e := e.(type) {
	case *expr.Meta:
		d.meta(e)
	case *expr.Payload:
		d.payload(e)
	case *expr.Ct:
		d.ct(e)
	case *expr.Fib:
		d.fib(e)
	case *expr.Numgen:
		d.put(e.Register, &loaded{load{field: varied}, name})
	case *expr.Immediate:
		d.put(e.Register, nil)
	case *expr.Bitwise:
		d.bitwise(e)
	case *expr.Byteorder:
		l := *d.at(e.SourceRegister)
		l.swapped = !l.swapped
		if l.mask != nil {
			l = loaded{word: l.word}
		}
		d.put(e.DestRegister, &l)
	case *expr.Cmp:
		d.cmp(e)
	case *expr.Range:
		l := d.at(e.Register)
		c := condition{not: e.Op == expr.CmpOpNeq, test: &check{l.load, []interval{{e.FromData, e.ToData}}}}
		d.require(c, l.word, notWord(c.not)+l.text(e.FromData)+"-"+l.text(e.ToData))
	case *expr.Lookup:
		d.lookup(e)
	case *expr.Match:
		d.match(e)
	case *expr.Target:
		d.words = append(d.words, e.Name)
		d.xtTarget(e)
	case *expr.Reject:
		d.verdict = drops
		d.words = append(d.words, "reject")
	case *expr.Queue:
		d.verdict = undecided
		d.words = append(d.words, "queue")
	case *expr.Masq:
		d.verdict = diverts
		d.words = append(d.words, name)
	case *expr.Verdict:
		d.verdict, d.target = decodeVerdict(e)
		d.words = append(d.words, strings.TrimSpace(verdictWords[d.verdict]+" "+d.target))
	case *expr.Notrack:
		d.writes.tracking = true
	case *expr.Counter, *expr.Log:
		// They do something, and the rule goes on.
	case *expr.Limit:
		// It may let through, or drop, more than some packets: 1000 a second. What
		// drops beyond a rate is about few.
		d.require(condition{few: name == "limit" || name == "connlimit"}, cmp.Or(name, "limit"))
	default:
		d.require(condition{}, cmp.Or(name, "?"))
		if name != "" && name != "rt" && name != "xfrm" {
			d.verdict = undecided // unless a verdict follows
		}
		d.regs = [16]*loaded{}
	}
}

var verdictWords = map[verdict]string{accepts: "accept", drops: "drop", returns: "return", jumps: "jump", goesTo: "goto", goesOn: "continue", undecided: "queue"}

func notWord(not bool) string {
	if not {
		return "!= "
	}
	return ""
}

// ruleComment returns the comment that nft, and newer iptables-nft, keep
// beside a rule: type 0 in a list of type, length, value.
func ruleComment(data []byte) string {
	for len(data) >= 2 && len(data) >= 2+int(data[1]) {
		value := data[2 : 2+int(data[1])]
		if data[0] == 0 {
			return string(bytes.TrimRight(value, "\x00"))
		}
		data = data[2+len(value):]
	}
	return ""
}

// metaBroute is NFT_META_BRI_BROUTE: the frame is routed instead of bridged.
const metaBroute expr.MetaKey = 34

var metaFields = map[expr.MetaKey]loaded{
	expr.MetaKeyIIFNAME:    {load{field: inName, n: 16}, "iifname"},
	expr.MetaKeyOIFNAME:    {load{field: outName, n: 16}, "oifname"},
	expr.MetaKeyBRIIIFNAME: {load{field: inBridge, n: 16}, "meta ibrname"},
	expr.MetaKeyBRIOIFNAME: {load{field: outBridge, n: 16}, "meta obrname"},
	expr.MetaKeyIIF:        {load{field: inIndex, n: 4}, "iif"},
	expr.MetaKeyOIF:        {load{field: outIndex, n: 4}, "oif"},
	expr.MetaKeyIIFTYPE:    {load{field: deviceType, n: 2}, "iiftype"},
	expr.MetaKeyOIFTYPE:    {load{field: deviceType, n: 2}, "oiftype"},
	expr.MetaKeyNFPROTO:    {load{field: network, n: 1}, "meta nfproto"},
	expr.MetaKeyPROTOCOL:   {load{field: etherType, n: 2}, "meta protocol"},
	expr.MetaKeyL4PROTO:    {load{field: layer4, n: 1}, "meta l4proto"},
	expr.MetaKeyMARK:       {load{field: mark, n: 4}, "meta mark"},
	expr.MetaKeyLEN:        {load{field: varied, n: 4}, "meta length"},
	expr.MetaKeyPKTTYPE:    {load{field: varied, n: 1}, "meta pkttype"},
	expr.MetaKeyCPU:        {load{field: varied, n: 4}, "meta cpu"},
	expr.MetaKeyPRANDOM:    {load{field: varied, n: 4}, "meta random"},
	expr.MetaKeyPRIORITY:   {load{field: varied, n: 4}, "meta priority"},
	expr.MetaKeySKUID:      {load{field: noSocket, n: 4}, "meta skuid"},
	expr.MetaKeySKGID:      {load{field: noSocket, n: 4}, "meta skgid"},
	expr.MetaKeyCGROUP:     {load{field: noSocket, n: 4}, "meta cgroup"},
}

func (d *decoder) meta(e *expr.Meta) {
	if e.SourceRegister {
		d.writes.marks = d.writes.marks || e.Key == expr.MetaKeyMARK
		if e.Key == metaBroute {
			d.verdict = diverts
		}
		return
	}
	l, ok := metaFields[e.Key]
	if !ok {
		l.word = "meta ?"
	}
	d.put(e.Register, &l)
}

func (d *decoder) ct(e *expr.Ct) {
	if e.SourceRegister {
		d.writes.marks = d.writes.marks || e.Key == expr.CtKeyMARK
		return
	}
	l := loaded{load{n: 4}, "ct ?"}
	switch e.Key {
	case expr.CtKeySTATE:
		l = loaded{load{field: ctState, n: 4}, "ct state"}
	case expr.CtKeySTATUS:
		l = loaded{load{field: ctStatus, n: 4}, "ct status"}
	case expr.CtKeyMARK:
		l = loaded{load{field: ctMark, n: 4}, "ct mark"}
	}
	d.put(e.Register, &l)
}

var payloadBases = map[expr.PayloadBase]struct {
	field field
	word  string
}{
	expr.PayloadBaseLLHeader:        {linkHeader, "ll"},
	expr.PayloadBaseNetworkHeader:   {netHeader, "nh"},
	expr.PayloadBaseTransportHeader: {transport, "th"},
}

func (d *decoder) payload(e *expr.Payload) {
	if e.OperationType == expr.PayloadWrite {
		at := load{field: netHeader, offset: int(e.Offset), n: int(e.Len)}.at()
		if word := headerWords[at]; e.Base == expr.PayloadBaseNetworkHeader && strings.HasSuffix(word, "addr") {
			d.writes.addresses = true
			d.words = append(d.words, word, "set")
		}
		return
	}
	base, ok := payloadBases[e.Base]
	if !ok {
		base.word = "ih"
	}
	l := loaded{load{field: base.field, offset: int(e.Offset), n: int(e.Len)}, fmt.Sprintf("@%s,%d,%d", base.word, e.Offset*8, e.Len*8)}
	if word := headerWords[l.load.at()]; word != "" {
		l.word = word
	} else if word := headerWords[headerField{base.field, l.offset, 4}]; word != "" && l.n < 4 { // a prefix of it
		l.word = word
	}
	d.put(e.DestRegister, &l)
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

func (d *decoder) fib(e *expr.Fib) {
	l := loaded{load{n: 4, exists: e.FlagPRESENT}, "fib"}
	for _, f := range []struct {
		set  bool
		word string
	}{{e.FlagSADDR, " saddr"}, {e.FlagDADDR, " daddr"}, {e.FlagMARK, " mark"}, {e.FlagIIF, " iif"}, {e.FlagOIF, " oif"}} {
		if f.set {
			l.word = strings.Replace(l.word+" ."+f.word, "fib .", "fib", 1)
		}
	}
	switch {
	case e.ResultADDRTYPE && e.FlagSADDR:
		l.field = sourceType
	case e.ResultADDRTYPE:
		l.field = targetType
	case e.ResultOIF && e.FlagSADDR && e.FlagIIF:
		l.field = reversePath
	case e.ResultOIF && e.FlagSADDR && !e.FlagOIF:
		l.field = reverseAny
	}
	if e.ResultADDRTYPE {
		l.word += " type"
	} else {
		l.word += " oif"
	}
	d.put(e.Register, &l)
}

func (d *decoder) bitwise(e *expr.Bitwise) {
	l := *d.at(e.SourceRegister)
	if len(e.Mask) == 0 || l.mask != nil || l.swapped {
		l = loaded{word: l.word}
	} else {
		l.mask, l.xor = e.Mask, e.Xor
		if l.xor == nil {
			l.xor = make([]byte, len(l.mask))
		}
	}
	d.put(e.DestRegister, &l)
}

func (d *decoder) cmp(e *expr.Cmp) {
	l := d.at(e.Register)
	if c, ok := nameCmp(l, e); ok {
		d.require(c, l.word, notWord(c.not)+quoteName(c))
		return
	}
	zero, full := make([]byte, len(e.Data)), bytes.Repeat([]byte{0xff}, len(e.Data))
	c := check{load: l.load}
	not, op := false, ""
	switch e.Op {
	case expr.CmpOpEq, expr.CmpOpNeq:
		not = e.Op == expr.CmpOpNeq
		c.within = []interval{only(e.Data)}
	case expr.CmpOpLt, expr.CmpOpGte:
		not, op = e.Op == expr.CmpOpGte, "< "
		if before, ok := step(e.Data, -1); ok {
			c.within = []interval{{zero, before}}
		}
	case expr.CmpOpGt, expr.CmpOpLte:
		not, op = e.Op == expr.CmpOpLte, "> "
		if after, ok := step(e.Data, 1); ok {
			c.within = []interval{{after, full}}
		}
	}
	if l.field == noSocket {
		not = false // without one the rule ends, whatever is asked
	}
	if l.field == anything {
		d.require(condition{}, l.word, op+l.text(e.Data))
		return
	}
	words := []string{l.word, notWord(not) + op + l.text(e.Data)}
	if bits := l.flags(); bits != "" && bytes.Equal(e.Data, zero) {
		words = []string{l.word, notWord(!not) + bits}
	}
	d.require(condition{test: &c, not: not}, words...)
}

// nameCmp is a comparison with a name, which is compared over the length of the
// data alone: with the NUL that ends it, one name; without, all that begin so.
func nameCmp(l *loaded, e *expr.Cmp) (condition, bool) {
	if l.field < inName || l.field > outBridge || l.mask != nil || e.Op != expr.CmpOpEq && e.Op != expr.CmpOpNeq {
		return condition{}, false
	}
	name, _, whole := bytes.Cut(e.Data, []byte{0})
	return condition{key: l.field, name: string(name), prefix: !whole && len(e.Data) < unix.IFNAMSIZ, not: e.Op == expr.CmpOpNeq}, true
}

func quoteName(c condition) string {
	if c.prefix {
		return strconv.Quote(c.name + "*")
	}
	return strconv.Quote(c.name)
}

// step returns the number before or after, and whether there is one.
func step(b []byte, by int) ([]byte, bool) {
	b = bytes.Clone(b)
	for i := len(b) - 1; i >= 0; i-- {
		b[i] += byte(by)
		if by > 0 && b[i] != 0 || by < 0 && b[i] != 0xff {
			return b, true
		}
	}
	return nil, false
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

func decodeVerdict(e *expr.Verdict) (verdict, string) {
	switch e.Kind {
	case expr.VerdictAccept:
		return accepts, ""
	case expr.VerdictDrop:
		return drops, ""
	case expr.VerdictReturn:
		return returns, ""
	case expr.VerdictJump:
		return jumps, e.Chain
	case expr.VerdictGoto:
		return goesTo, e.Chain
	case expr.VerdictContinue, expr.VerdictBreak:
		return goesOn, ""
	}
	return undecided, ""
}

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
