package firewall

import (
	"cmp"
	"encoding/binary"
	"errors"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/gopipework/gopipework/internal/plainname"
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

// judgement is what a base chain does to all the frames that are asked about.
type judgement struct {
	drops    bool     // one of them, at least; or diverts it
	diverts  bool     // that is what it does
	perhaps  bool     // unless a rule that cannot be judged has accepted it
	by       string   // the rule that drops it
	doubtful []string // rules that may drop some of them
	reached  bool     // a chain where an accept was imagined is come to by all, and opens the way
}

// judge asks a base chain about frames.
func judge(chain string, policy verdict, w walker, frames []bridgedFrame) (j judgement, err error) {
	j.reached = true
	for _, f := range frames {
		one := w
		one.frame = f
		v, err := one.base(chain, policy)
		if err != nil {
			return j, err
		}
		j.reached = j.reached && one.reached && v == accepts
		switch {
		case (v == drops || v == diverts) && (!j.drops || j.perhaps):
			j.drops, j.perhaps, j.by = true, one.perhaps, one.last
			j.diverts = v == diverts
		case v == undecided:
			one.doubt(v, one.last)
		}
		j.diverts = j.diverts || !j.drops && one.diverted
		for _, rule := range one.doubtful {
			if !slices.Contains(j.doubtful, rule) {
				j.doubtful = append(j.doubtful, rule)
			}
		}
	}
	return j, nil
}

// asksWayBack reports whether a rule checks the way back to the source. A rule
// that asks fib for the type of the source does not.
func asksWayBack(rule string) bool {
	return wayBackRule().MatchString(rule) || strings.Contains(rule, "-m rpfilter")
}

var wayBackRule = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`fib saddr( \. \w+)* oif\b`) })

// block says what of a chain stops frames, if anything does, and what would open
// it.
func (j judgement) block(chain string, remedy func(rule string) string) []Block {
	switch {
	case j.drops && !j.perhaps:
		return []Block{{Chain: chain, Rule: j.by, Diverts: j.diverts, Sure: true, Remedy: remedy(j.by)}}
	case j.drops:
		j.doubtful = append(j.doubtful, j.by)
	}
	if len(j.doubtful) == 0 {
		return nil
	}
	first := j.doubtful[0]
	return []Block{{Chain: chain, Rule: first, Diverts: j.diverts, More: len(j.doubtful) - 1, Remedy: remedy(first)}}
}

// filterTable is iptables' table "filter" of one family and backend.
type filterTable struct {
	backend Backend
	chains  []string
	policy  verdict // of FORWARD
	dormant bool    // the kernel does not ask it
	rules   func(chain string) ([]chainRule, error)
}

func (t filterTable) has(chain string) bool { return slices.Contains(t.chains, chain) }

func (t filterTable) judge(w walker, frames []bridgedFrame) (judgement, error) {
	w.rules = t.rules
	return judge(forwardChain, t.policy, w, frames)
}

// path returns what the table does to the frames, which are of one bridge, and
// whether it shows that the bridge is Docker's.
func (t filterTable) path(frames ...bridgedFrame) (p Path, docker bool, err error) {
	f := frames[0]
	p = Path{Family: f.family, Backend: t.backend, Chain: forwardChain}
	if !t.has(forwardChain) || t.dormant {
		return p, false, nil
	}
	plain, err := t.judge(walker{}, frames)
	if err != nil {
		return p, false, err
	}
	p.Drops, p.By = plain.drops, plain.by
	if t.has(dockerUserChain) {
		// A DOCKER-USER that nothing calls (Docker was removed), or that a drop
		// stands in front of, helps nobody.
		j, err := t.judge(walker{acceptIn: dockerUserChain}, frames)
		if err != nil {
			return p, false, err
		}
		if j.reached {
			p.Chain = dockerUserChain
		}
	}
	if p.Ours, err = t.ours(f.family); err != nil {
		return p, false, err
	}
	if p.Late, err = t.late(p.Ours, frames); err != nil {
		return p, false, err
	}
	if docker, err = t.dockerOwns(f.bridge); docker || err != nil {
		return p, docker, err
	}
	// What else may drop, once what is needed stands.
	w := walker{withOurs: true}
	if len(p.missing(f.bridge, f.port)) > 0 {
		w.acceptIn = p.Chain
	}
	j, err := t.judge(w, frames)
	j.drops = false
	open := Rule{Family: p.Family, Backend: p.Backend, Chain: p.Chain, Bridge: f.bridge}
	p.Blocks = j.block(t.name(f.family, forwardChain), func(string) string { return open.InsertCommand() })
	return p, docker, err
}

// name is what a chain of the table is called in messages.
func (t filterTable) name(family Family, chain string) string {
	return chainName(family, t.backend, "filter", chain)
}

// chainName is what a chain of iptables is called in messages.
func chainName(family Family, backend Backend, table, chain string) string {
	if backend == Legacy {
		return strings.Join([]string{family.tool() + "-legacy", table, chain}, " ")
	}
	name := "ip"
	if family == IPv6 {
		name = "ip6"
	}
	return strings.Join([]string{"nft", name, table, chain}, " ")
}

// late returns those of our rules for the bridge that do not let their frames
// through: a drop stands in front of them.
func (t filterTable) late(ours []Rule, frames []bridgedFrame) ([]Rule, error) {
	var out []Rule
	for _, r := range ours {
		if r.Bridge != frames[0].bridge || slices.Contains(out, r) {
			continue
		}
		var its []bridgedFrame
		for _, f := range frames {
			if r.Port != "" && f.to != r.Out || r.Port != "" && f.port != "" && f.port != r.Port {
				continue
			}
			if r.Port != "" {
				f.port = r.Port
			}
			its = append(its, f)
		}
		j, err := t.judge(walker{withOurs: true}, its)
		if err != nil {
			return nil, err
		}
		if j.drops {
			out = append(out, r)
		}
	}
	return out, nil
}

func (t filterTable) ours(family Family) ([]Rule, error) {
	var ours []Rule
	for _, chain := range []string{dockerUserChain, forwardChain} {
		if !t.has(chain) {
			continue
		}
		rules, err := t.rules(chain)
		if err != nil {
			return nil, err
		}
		for _, cr := range rules {
			if r, ok := cr.ours(Rule{Family: family, Backend: t.backend, Chain: chain}); ok {
				ours = append(ours, r)
			}
		}
	}
	return ours, nil
}

// ours fills in r from a rule that we made. The comment names what the rule is
// for, and every match must then be as we would write it: anybody can write a
// comment, and what is not exactly ours is never deleted.
func (cr chainRule) ours(r Rule) (Rule, bool) {
	words := strings.Split(cr.comment, " ")
	if len(words) < 2 || len(words) > 3 || words[0]+" " != commentPrefix || cr.verdict != accepts {
		return r, false
	}
	for _, w := range words[1:] {
		if !plainname.Is(w) {
			return r, false
		}
	}
	r.Bridge = words[1]
	want := []condition{{key: inName, name: r.Bridge}, {key: outName, name: r.Bridge}, {key: isBridged}}
	if len(words) == 3 {
		r.Port = words[2]
		r.Out = slices.ContainsFunc(cr.conditions, func(c condition) bool { return c.key == physOut })
		port := condition{key: physIn, name: r.Port}
		if r.Out {
			port.key = physOut
		}
		want = append(want, port)
	}
	return r, slices.Equal(sortConditions(cr.conditions), sortConditions(want))
}

func sortConditions(cs []condition) []condition {
	return slices.SortedFunc(slices.Values(cs), func(a, b condition) int {
		return cmp.Or(cmp.Compare(a.key, b.key), strings.Compare(a.name, b.name))
	})
}

// dockerName reports whether the name is one that Docker itself gives a bridge.
func dockerName(bridge string) bool {
	id, ok := strings.CutPrefix(bridge, "br-")
	return bridge == "docker0" || ok && len(id) == 12 && strings.Trim(id, "0123456789abcdef") == ""
}

// dockerOwns tells whether Docker's own rules speak of the bridge by name. It
// sends what goes out by a bridge of its own to a chain of its own: in FORWARD
// before version 28, in DOCKER-BRIDGE since.
func (t filterTable) dockerOwns(bridge string) (bool, error) {
	if dockerName(bridge) {
		return true, nil
	}
	for _, chain := range []string{forwardChain, "DOCKER-FORWARD", "DOCKER-BRIDGE"} {
		if !t.has(chain) {
			continue
		}
		rules, err := t.rules(chain)
		if err != nil {
			return false, err
		}
		for _, r := range rules {
			toDocker := (r.verdict == jumps || r.verdict == goesTo) &&
				strings.HasPrefix(r.target, "DOCKER") && r.target != dockerUserChain
			if toDocker && slices.Contains(r.conditions, condition{key: outName, name: bridge}) {
				return true, nil
			}
		}
	}
	return false, nil
}
