package firewall

import (
	"encoding/binary"
	"errors"
	"slices"
	"strings"
)

// What the rules of a chain do to a frame. The rules of both backends are first reduced to
// chainRule, so that one evaluator serves both.

// verdict is how a rule, or a chain, ends.
type verdict int

const (
	goesOn    verdict = iota // with the next rule; at a chain's end, with the caller's
	accepts                  // the packet leaves this base chain
	drops                    // the packet is gone, silently or with an ICMP error
	returns                  // to the rule after the jump
	jumps                    // to a chain, and comes back
	goesTo                   // to a chain, and comes back to where the last jump left
	undecided                // not known: a program decides, by a queue
	diverts                  // the packet goes on with another address, or elsewhere
)

// chainRule is a rule of either backend, reduced to what matters for frames within a
// bridge.
type chainRule struct {
	conditions []condition // all must hold
	verdict    verdict
	target     string // the chain, for jumps and goesTo
	branch     branches
	comment    string
	writes     written
	text       string // as a person reads it
}

// branches is a verdict map of nft: the verdicts that a frame may get. If it is nil, the
// rule has one verdict of its own.
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

// maxRules bounds how many rules are evaluated, because every jump that may be taken is
// followed.
const maxRules = 200_000

var errTooMany = errors.New("there are too many rules to follow")

// walker follows a frame through chains. It notes a rule that may match, and goes on to
// the next one: dropping some packets may not stop a connection, and accepting some (the
// established ones) does not let one begin.
type walker struct {
	frame bridgedFrame
	rules func(chain string) ([]chainRule, error)
	// acceptIn is a chain that is evaluated as if it began with an accept, or "".
	acceptIn string
	withOurs bool // our own rules are evaluated too

	asked    int
	inFew    int      // how many of the chains were entered by a rule for few packets
	accepted answer   // whether an earlier rule has accepted some packets
	unclear  string   // a rule that may drop the frame, and cannot be evaluated
	reached  bool     // the frame certainly reaches acceptIn
	perhaps  bool     // a rule that cannot be evaluated may have accepted the frame
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

// chain returns how a chain ends for a frame that reaches it or, if not sure, may reach it.
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

// follow applies a verdict of a rule. It returns done if the chain ends with it. meets says
// whether the frame matches the rule, and sure whether the frame reaches the chain.
func (w *walker) follow(chain string, r *chainRule, b branch, meets, sure answer, depth int) (v verdict, done bool, err error) {
	a := min(meets, sure)
	text := r.text
	if depth > 0 { // name the chain: the message names only the base chain
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

// few reports whether the rule is about few packets: those of some ports, or those above a
// rate.
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

// maxFewPorts is how many ports still count as few.
const maxFewPorts = 256

// fewPorts reports whether the intervals are ports, and few of them.
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

// ports returns the ports that the check asks for, or nil if it is about something else.
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
