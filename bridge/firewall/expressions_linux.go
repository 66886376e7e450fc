package firewall

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// The expressions of an nftables rule.

// parseExpr reads an expression. It returns nil for one that is not known.
func parseExpr(family uint8, name string, data []byte) expr.Any {
	if e := standIn(name, data); e != nil {
		return e
	}
	if name == "immediate" {
		imm := &expr.Immediate{}
		if expr.Unmarshal(family, data, imm) != nil {
			return nil
		}
		if imm.Register != unix.NFT_REG_VERDICT {
			return imm
		}
	}
	e := emptyExpr(name)
	if e == nil || expr.Unmarshal(family, data, e) != nil {
		return nil
	}
	if e, ok := e.(*expr.Ct); ok { // google/nftables does not read this
		e.SourceRegister = attributes(data)[unix.NFTA_CT_SREG] != nil
	}
	return e
}

// standIn returns, for an expression of which only the effect on the rule matters, one
// that has the same effect: a Counter for what every packet passes, a Limit for what
// some do not, a Masq for what diverts.
func standIn(name string, data []byte) expr.Any {
	switch name {
	case "counter", "last", "dup", "flow_offload", "tproxy":
		return &expr.Counter{}
	case "log":
		return &expr.Log{}
	case "reject":
		return &expr.Reject{}
	case "queue":
		return &expr.Queue{}
	case "notrack":
		return &expr.Notrack{}
	case "nat", "masq", "redir", "fwd":
		return &expr.Masq{}
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
	case "numgen", "hash", "exthdr":
		register := unix.NFTA_NG_DREG // which exthdr has too
		if name == "hash" {
			register = unix.NFTA_HASH_DREG
		}
		return &expr.Numgen{Register: attrUint32(attributes(data)[register])}
	}
	return nil
}

// emptyExpr returns the type that an expression is read into, nil if there is none.
func emptyExpr(name string) expr.Any {
	switch name {
	case "meta":
		return &expr.Meta{}
	case "cmp":
		return &expr.Cmp{}
	case "range":
		return &expr.Range{}
	case "payload":
		return &expr.Payload{}
	case "bitwise":
		return &expr.Bitwise{}
	case "byteorder":
		return &expr.Byteorder{}
	case "ct":
		return &expr.Ct{}
	case "fib":
		return &expr.Fib{}
	case "lookup":
		return &expr.Lookup{}
	case "match":
		return &expr.Match{}
	case "target":
		return &expr.Target{}
	case "immediate":
		return &expr.Verdict{}
	}
	return nil
}

// From linux/netfilter/nf_tables.h.
const (
	objrefType        = 1  // NFTA_OBJREF_IMM_TYPE
	dynsetExpr        = 7  // NFTA_DYNSET_EXPR
	dynsetExpressions = 10 // NFTA_DYNSET_EXPRESSIONS
)

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
