package attach

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/plan"
	"github.com/gopipework/gopipework/internal/rtnl"
	"github.com/gopipework/gopipework/internal/spec"
	"golang.org/x/sys/unix"
)

// clearReplies plans for the source routing of ours to go that stands for
// nothing: a killed run has left it.
func (j *job) clearReplies(d *draft) {
	if l := j.f.routing().leftover(j.Enter, j.own); !l.empty() {
		d.add(delReplies{j.Place, l})
	}
}

// keptRules are the rules of source routing that are there and stay.
func (j *job) keptRules() []rtnl.Rule {
	going := j.own
	if j.complete() {
		going = func(int) bool { return false }
	}
	kept, _ := j.f.routing().sort(going)
	return kept
}

// table returns the number of a link's table: the one that it has, or one that
// nobody uses.
func (j *job) table(d *draft, index int) int {
	if t := j.f.LeaseTables[index]; t != 0 {
		return t
	}
	for _, r := range j.keptRules() {
		if l := j.f.routing().holder(r.From); l != nil && l.Index == index {
			return r.Table
		}
	}
	if t := d.tables[j.Side][index]; t != 0 {
		return t
	}
	t := spec.FirstTable
	for j.takes(d, t) {
		t++
	}
	if d.tables == nil {
		d.tables = map[plan.Side]map[int]int{}
	}
	if d.tables[j.Side] == nil {
		d.tables[j.Side] = map[int]int{}
	}
	d.tables[j.Side][index] = t
	return t
}

// takes reports whether somebody uses a table.
func (j *job) takes(d *draft, table int) bool {
	for _, tables := range []map[int]int{d.tables[j.Side], j.f.LeaseTables} {
		for _, t := range tables {
			if t == table {
				return true
			}
		}
	}
	kept := j.keptRules()
	return slices.ContainsFunc(kept, func(r rtnl.Rule) bool { return r.Table == table }) ||
		slices.ContainsFunc(j.f.Rules, func(r rtnl.Rule) bool { return r.Table == table && !isOurRule(r) }) ||
		slices.ContainsFunc(j.others(), func(r rtnl.Route) bool { return r.Table == table && r.Protocol != Protocol })
}

// keepReplies plans the source routing of the interfaces that the guest's
// default routes of a family go by.
func (j *job) keepReplies(d *draft, ipv6 bool) {
	if !j.SourceRouting {
		return
	}
	for _, l := range j.f.Links {
		if j.own(l.Index) || l.Loopback || j.repliesOwn(l.Index) {
			continue
		}
		routes := j.routesBy(l, ipv6)
		if !slices.ContainsFunc(routes, func(r plan.AddRoute) bool { return r.Dst.Bits() == 0 }) {
			continue
		}
		var addrs []netip.Addr
		for _, a := range j.f.Addrs {
			if a.Index == l.Index && a.Prefix.Addr().Is6() == ipv6 && a.Scope == unix.RT_SCOPE_UNIVERSE {
				addrs = append(addrs, a.Prefix.Addr())
			}
		}
		j.reply(d, addrs, j.table(d, l.Index), othersPriority, routes)
	}
}

// repliesOwn reports whether a link has source routing that was asked for.
func (j *job) repliesOwn(index int) bool {
	r := j.f.routing()
	return r.leased[index] != 0 || slices.ContainsFunc(r.rules, func(rule rtnl.Rule) bool {
		l := r.holder(rule.From)
		return isOurRule(rule) && rule.Priority == ownPriority && l != nil && l.Index == index
	})
}

// routesBy returns the routes of the main table by a link, those on link first;
// of several to one destination, the one that wins.
func (j *job) routesBy(l *rtnl.Link, ipv6 bool) (out []plan.AddRoute) {
	metrics := map[netip.Prefix]int{}
	for _, r := range j.f.Routes {
		gw, leads := hop(r, l.Index)
		if !leads || r.Dst.Addr().Is6() != ipv6 || !r.Default() && !spec.Routable(r.Dst.Addr()) {
			continue
		}
		if best, ok := metrics[r.Dst]; ok && best <= r.Metric {
			continue
		}
		metrics[r.Dst] = r.Metric
		out = slices.DeleteFunc(out, func(old plan.AddRoute) bool { return old.Dst == r.Dst })
		out = append(out, plan.AddRoute{Inner: l.Name, Known: l.Index, Dst: r.Dst, Gateway: gw})
	}
	slices.SortStableFunc(out, func(a, b plan.AddRoute) int { return a.Gateway.Compare(b.Gateway) }) // those on link first
	return out
}

// hop returns by which gateway a route leads to a link: the zero Addr for on
// link; false if it does not lead there.
func hop(r rtnl.Route, index int) (netip.Addr, bool) {
	if r.Index == index {
		return r.Gateway, true
	}
	for _, h := range r.Hops {
		if h.Index == index {
			return h.Gateway, true
		}
	}
	return netip.Addr{}, false
}

// ownReplies plans the source routing of our interface.
func (j *job) ownReplies(d *draft, ipv6 bool) {
	if !j.SourceRouting {
		return
	}
	index := 0
	if j.complete() {
		index = j.f.Inner.Index
	}
	var routes []plan.AddRoute
	add := func(dst netip.Prefix, gw netip.Addr) {
		if !slices.ContainsFunc(routes, func(r plan.AddRoute) bool { return r.Dst == dst }) {
			routes = append(routes, plan.AddRoute{Inner: j.names.inner, Known: index, Dst: dst, Gateway: gw})
		}
	}
	var addrs []netip.Addr
	for _, p := range j.AddrsOf(ipv6) {
		if spec.Routable(p.Addr()) {
			addrs = append(addrs, p.Addr())
			if p.Bits() < p.Addr().BitLen() {
				add(p.Masked(), netip.Addr{})
			}
		}
	}
	gw := j.Gateway(ipv6)
	if gw.IsValid() && !j.OnLink(gw) {
		add(netip.PrefixFrom(gw, gw.BitLen()), netip.Addr{})
	}
	for _, onLink := range []bool{true, false} {
		for _, r := range j.Routes {
			if r.Table == 0 && r.Dst.Addr().Is6() == ipv6 && r.Via.IsValid() != onLink {
				add(r.Dst, r.Via)
			}
		}
	}
	if gw.IsValid() {
		add(spec.DefaultRoute(ipv6), gw)
	}
	j.reply(d, addrs, j.table(d, index), ownPriority, routes)
}

// reply plans the rules for addresses, and the routes of their table; not those
// that are there.
func (j *job) reply(d *draft, addrs []netip.Addr, table, priority int, routes []plan.AddRoute) {
	kept := j.keptRules()
	for _, a := range addrs {
		r := rtnl.Rule{From: a, Table: table, Priority: priority, Protocol: Protocol}
		if !slices.Contains(kept, r) {
			d.add(addIPRule{j.Place, r})
		}
	}
	for _, r := range routes {
		if len(addrs) == 0 || r.Known != 0 && slices.ContainsFunc(j.f.Tables, func(t rtnl.Route) bool {
			return t.Table == table && t.Index == r.Known && t.Dst == r.Dst && t.Protocol == Protocol
		}) {
			continue
		}
		r.Place, r.Table, r.Protocol = j.Place, table, Protocol
		d.add(r)
	}
}

// repliesDiffer tells whether source routing is on and not asked for, or the
// other way round.
func (j *job) repliesDiffer(differ differ) {
	word := map[bool]string{true: "on", false: "off"}
	if is := j.repliesOwn(j.f.Inner.Index); is != j.SourceRouting {
		differ("source routing", word[is], word[j.SourceRouting])
	}
}

// warnReplies warns of published ports that the new default route cuts off from
// clients beyond the host: Docker hands their packets on as they come, so the
// answer is addressed to the client, and leaves by that route.
func (j *job) warnReplies(d *draft) {
	for _, gw := range j.Gateways {
		if old := j.cutsOff(gw.Is6()); old != "" {
			d.warn("%s", repliesWarning(gw, old))
			return
		}
	}
}

func repliesWarning(gw netip.Addr, old string) string {
	return fmt.Sprintf("answers from its published ports to clients beyond the host now leave by %s, and no longer by %s: --source-routing keeps them there", gw, old)
}

// cutsOff returns the interface by which answers from published ports leave, if a
// default route of ours would send them another way.
func (j *job) cutsOff(ipv6 bool) string {
	if !j.f.Guest.Published || j.SourceRouting || j.Keep {
		return ""
	}
	best, ok := j.bestDefault(ipv6)
	if len(best.Hops) > 0 {
		best.Index = best.Hops[0].Index
	}
	l := j.f.routing().link(best.Index)
	if !ok || l == nil || plan.Attached(l) {
		return ""
	}
	return l.Name
}

// addIPRule has replies from an address looked up in a table.
type addIPRule struct {
	plan.Place
	rule rtnl.Rule
}

func (s addIPRule) Do(_ context.Context, m *plan.Machine) error {
	return addRuleTo(s.Kernel(m), s.rule)
}

func addRuleTo(k plan.Kernel, r rtnl.Rule) error {
	err := k.AddRule(r)
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EAFNOSUPPORT) {
		return fault.New(fault.Unsupported, "add rule", ruleWords(r), "%w", err).
			WithHint("the kernel needs CONFIG_IP_MULTIPLE_TABLES, and for IPv6 CONFIG_IPV6_MULTIPLE_TABLES")
	}
	return fault.Explain("add rule", ruleWords(r), err)
}

func (s addIPRule) Undo(_ context.Context, m *plan.Machine) error {
	return fault.IgnoreAbsent("delete rule", ruleWords(s.rule), s.Kernel(m).DelRule(s.rule))
}

func (addIPRule) Nature() plan.Nature { return plan.Undoable }

func (s addIPRule) String() string {
	return s.Enter + plan.IPCommand(s.rule.From.Is6()) + "rule add " + ruleWords(s.rule)
}

// delReplies deletes source routing that stands for nothing, in a guest of the
// machine.
type delReplies struct {
	plan.Place
	leftover
}

func (s delReplies) Do(_ context.Context, m *plan.Machine) error { return s.remove(s.Kernel(m)) }

func (s delReplies) Undo(context.Context, *plan.Machine) error { return nil }

func (delReplies) Nature() plan.Nature { return plan.Undoable }

func (s delReplies) String() string { return s.leftover.String() }

// delRepliesIn deletes it in some guest, whose lock is held.
type delRepliesIn struct {
	path  string // of the guest's namespace
	inode uint64
	leftover
}

func (s delRepliesIn) Do(_ context.Context, _ *plan.Machine) error {
	ns, err := openSame(s.path, s.inode)
	if err != nil {
		return nil // the guest has gone, and all of it with it
	}
	defer ns.Close()
	k, err := rtnl.Open(ns)
	if err != nil {
		return fault.Explain("enter", s.path, err)
	}
	defer k.Close()
	return s.remove(k)
}

func (s delRepliesIn) Undo(context.Context, *plan.Machine) error { return nil }

func (delRepliesIn) Nature() plan.Nature { return plan.Undoable }

func (s delRepliesIn) String() string { return s.leftover.String() }
