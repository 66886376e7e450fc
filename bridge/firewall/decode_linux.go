package firewall

import (
	"bytes"
	"cmp"
	"strings"

	"github.com/google/nftables/expr"
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

// add reads the next expression: it loads a register, asks for something, or acts.
func (d *decoder) add(name string, e expr.Any) {
	if d.load(name, e) || d.ask(name, e) || d.act(name, e) {
		return
	}
	// It is not known: it asks for something that is not known either, and all
	// registers may be other than they were.
	d.require(condition{}, cmp.Or(name, "?"))
	if name != "" && name != "rt" && name != "xfrm" {
		d.verdict = undecided // unless a verdict follows
	}
	d.regs = [16]*loaded{}
}

// load reads an expression that changes a register.
func (d *decoder) load(name string, e expr.Any) bool {
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
	default:
		return false
	}
	return true
}

// ask reads an expression that lets some packets pass and ends the rule for others.
func (d *decoder) ask(name string, e expr.Any) bool {
	switch e := e.(type) {
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
	case *expr.Limit:
		// It may let through, or drop, more than some packets: 1000 a second. What
		// drops beyond a rate is about few.
		d.require(condition{few: name == "limit" || name == "connlimit"}, cmp.Or(name, "limit"))
	default:
		return false
	}
	return true
}

// act reads an expression that does something to the packet.
func (d *decoder) act(name string, e expr.Any) bool {
	switch e := e.(type) {
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
	default:
		return false
	}
	return true
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
