package firewall

import (
	"encoding/binary"
	"errors"
	"slices"
	"strings"
)

// What the rules that stand in a chain do to a frame. Both backends' rules are
// reduced to chainRule first, so that there is one evaluator.

// verdict is how a rule, or a chain, ends.
type verdict int

const (
	goesOn    verdict = iota // with the next rule; at a chain's end, with the caller's
	accepts                  // the packet leaves this base chain
	drops                    // the packet is gone, silently or with an ICMP error
	returns                  // to the rule after the jump
	jumps                    // to a chain, and comes back
	goesTo                   // to a chain, and comes back to where the last jump left
	undecided                // out of our sight: a queue to a program
	diverts                  // the packet goes on with another address, or elsewhere
)

// chainRule is one rule of either backend, reduced to what matters for frames
// within a bridge.
type chainRule struct {
	conditions []condition // all must hold
	verdict    verdict
	target     string // the chain, for jumps and goesTo
	branch     branches
	comment    string
	writes     written
	text       string // as a person reads it
}

// branches is a verdict map of nft's: which verdicts a frame may get. Nil: the
// rule's own.
type branches interface {
	of(f bridgedFrame) ([]branch, error)
}

type branch struct {
	answer  answer
	verdict verdict
	target  string
}

// of returns what the rule does to a frame that meets its conditions.
func (cr chainRule) of(f bridgedFrame) ([]branch, error) {
	if cr.branch == nil {
		return []branch{{yes, cr.verdict, cr.target}}, nil
	}
	return cr.branch.of(f)
}

// maxJumps is how deep chains may call each other (the kernel's
// NFT_JUMP_STACK_SIZE).
const maxJumps = 16

// maxRules bounds how many rules are asked: each jump that may or may not be
// taken is followed.
const maxRules = 200_000

var errTooMany = errors.New("there are too many rules to follow")

// walker follows a frame through chains. A rule that may or may not match is
// passed over: a drop of some packets does not stop a connection for sure, and
// an accept of some (established ones) does not let one begin. It is noted.
type walker struct {
	frame bridgedFrame
	rules func(chain string) ([]chainRule, error)
	// acceptIn is a chain at whose head an accept is imagined; "" for none.
	acceptIn string
	withOurs bool // our own rules are asked too

	asked    int
	inFew    int      // chains that the frame has come to by a rule for few packets
	accepted answer   // how far a rule in front has accepted some, before the verdict
	unclear  string   // a rule that may drop it, and cannot be judged
	reached  bool     // acceptIn was come to
	perhaps  bool     // a rule that cannot be judged may have accepted the frame
	last     string   // the rule that decided
	doubtful []string // rules that may drop or divert it
	diverted bool     // one of them may divert it
}

// base returns what a base chain does: accepts, drops or undecided.
func (w *walker) base(chain string, policy verdict) (verdict, error) {
	v, err := w.chain(chain, yes, 0)
	if v == goesOn {
		v = policy
		w.last = "policy drop"
	}
	return v, err
}

// chain returns how a chain ends for a frame that comes to it, or may.
func (w *walker) chain(name string, sure answer, depth int) (verdict, error) {
	if depth > maxJumps {
		return undecided, nil
	}
	if name == w.acceptIn {
		w.reached = w.reached || sure == yes
		return accepts, nil
	}
	rules, err := w.rules(name)
	if err != nil {
		return undecided, err
	}
	for i := range rules {
		r := &rules[i]
		if !w.withOurs && strings.HasPrefix(r.comment, commentPrefix) {
			continue
		}
		if w.asked++; w.asked > maxRules {
			return undecided, errTooMany
		}
		a, err := w.frame.meetsAll(r.conditions)
		if err != nil {
			return undecided, err
		}
		if a == no {
			continue
		}
		if w.frame.written != nil {
			w.frame.written.add(r.writes)
		}
		if r.writes.addresses {
			w.doubt(diverts, r.text)
		}
		ways, err := r.of(w.frame)
		if err != nil {
			return undecided, err
		}
		for _, b := range ways {
			if v, done, err := w.follow(name, r, b, min(a, b.answer), sure, depth); done || err != nil {
				return v, err
			}
		}
	}
	return goesOn, nil
}

// follow does what a rule says, and returns the verdict if its chain is done
// then. The frame meets the rule as its answer says, if it comes to the chain,
// which is sure or not.
func (w *walker) follow(chain string, r *chainRule, b branch, meets, sure answer, depth int) (v verdict, done bool, err error) {
	a := min(meets, sure)
	text := r.text
	if depth > 0 { // the reader knows the base chain, and has to find this one
		text = chain + ": " + text
	}
	switch {
	case meets == no:
		return goesOn, false, nil
	case b.verdict == returns:
		return goesOn, meets == yes, nil
	case b.verdict == jumps || b.verdict == goesTo:
		few := 0
		if r.few() {
			few = 1
		}
		w.inFew += few
		v, err = w.chain(b.target, a, depth+1)
		w.inFew -= few
		return v, err != nil || meets == yes && (v != goesOn || b.verdict == goesTo), err
	case b.verdict == goesOn:
		return goesOn, false, nil
	case a == yes:
		w.last = text
	case b.verdict == accepts:
		w.perhaps = w.perhaps || a == unclear
		w.accepted = max(w.accepted, a)
	case b.verdict == drops && (w.inFew > 0 || r.few()):
		// An ordinary packet passes: such rules keep out a service, or a flood.
	default:
		if a == unclear {
			w.unclear = text
		}
		w.doubt(b.verdict, text)
	}
	return b.verdict, meets == yes, nil
}

// few reports whether the rule is about few packets: those to some ports, or those
// beyond a rate.
func (cr *chainRule) few() bool {
	return slices.ContainsFunc(cr.conditions, func(c condition) bool {
		if c.not {
			return false
		}
		t, ok := c.test.(interface{ ports() []interval })
		return c.few || ok && fewPorts(t.ports())
	}) || cr.between(0) || cr.between(2)
}

// between reports whether a rule asks for few ports by two comparisons, "not below"
// and "not above", as nft writes a range. The source port is at 0, the other at 2.
func (cr *chainRule) between(offset int) bool {
	lo, hi := 0, 65535
	for _, c := range cr.conditions {
		t, ok := c.test.(*check)
		if !ok || !c.not || !t.isPort() || t.offset != offset || len(t.within) != 1 || len(t.within[0].lo) != 2 || len(t.within[0].hi) != 2 {
			continue
		}
		from, to := int(binary.BigEndian.Uint16(t.within[0].lo)), int(binary.BigEndian.Uint16(t.within[0].hi))
		switch {
		case from == 0:
			lo = max(lo, to+1)
		case to == 65535:
			hi = min(hi, from-1)
		}
	}
	return hi-lo < maxFewPorts
}

// maxFewPorts bounds how many ports are few: fewer than the well-known ones.
const maxFewPorts = 256

// fewPorts reports whether the ports, if they are any, are few.
func fewPorts(ports []interval) bool {
	n := 0
	for _, i := range ports {
		if len(i.lo) != 2 || len(i.hi) != 2 {
			return false
		}
		n += int(binary.BigEndian.Uint16(i.hi)) - int(binary.BigEndian.Uint16(i.lo)) + 1
	}
	return 0 < n && n <= maxFewPorts
}

// isPort reports whether what is loaded is a port of TCP, UDP and their like.
func (l load) isPort() bool {
	return l.field == transport && (l.offset == 0 || l.offset == 2) && l.n == 2 && l.mask == nil && !l.swapped
}

// ports returns those that are asked for; nil: it asks for something else.
func (c *check) ports() []interval {
	if !c.isPort() {
		return nil
	}
	return c.within
}

func (w *walker) doubt(v verdict, rule string) {
	w.diverted = w.diverted || v == diverts
	if !slices.Contains(w.doubtful, rule) {
		w.doubtful = append(w.doubtful, rule)
	}
}
