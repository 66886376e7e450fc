package firewall

import (
	"cmp"
	"slices"
	"strings"

	"github.com/gopipework/gopipework/internal/lazyregexp"
	"github.com/gopipework/gopipework/internal/plainname"
)

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
	return wayBackRule.Get().MatchString(rule) || strings.Contains(rule, "-m rpfilter")
}

var wayBackRule = lazyregexp.Regexp{Expr: `fib saddr( \. \w+)* oif\b`}

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
	p.Blocks = j.block(t.name(f.family, forwardChain), func(string) string { return open.UnmarkedCommand() })
	return p, docker, err
}

// name is what a chain of the table is called in messages.
func (t filterTable) name(family Family, chain string) string {
	return chainName(family, t.backend, "filter", chain)
}

// chainName is what a chain of iptables is called in messages.
func chainName(family Family, backend Backend, table, chain string) string {
	if backend == Legacy {
		return strings.Join([]string{family.Tool() + "-legacy", table, chain}, " ")
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
