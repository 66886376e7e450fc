package guestnet

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/gopipework/gopipework/internal/build"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/nsfs"
	"github.com/gopipework/gopipework/internal/ours"
	"github.com/gopipework/gopipework/internal/plan"
	"github.com/gopipework/gopipework/internal/rtnl"
	"github.com/gopipework/gopipework/internal/spec"
	"golang.org/x/sys/unix"
)

// ClearReplies plans for the source routing of ours to go that stands for
// nothing: a killed run has left it.
func ClearReplies(j *build.Job, d *build.Draft) {
	if l := ObsoleteIn(Routing(j.There.Inside), j.Enter, j.Own); !l.Empty() {
		d.Add(DelReplies{j.Place, l})
	}
}

// keptRules are the rules of source routing that are there and stay.
func keptRules(j *build.Job) []rtnl.Rule {
	going := j.Own
	if j.Complete() {
		going = func(int) bool { return false }
	}
	kept, _ := sort(Routing(j.There.Inside), going)
	return kept
}

// TableFor returns the number of a link's table: the one that it has, or one that
// nobody uses.
func TableFor(j *build.Job, d *build.Draft, index int) int {
	if t := j.There.LeaseTables[index]; t != 0 {
		return t
	}
	for _, r := range keptRules(j) {
		if l := Holder(Routing(j.There.Inside), r.From); l != nil && l.Index == index {
			return r.Table
		}
	}
	if t := d.Tables[j.Side][index]; t != 0 {
		return t
	}
	t := spec.FirstTable
	for isTaken(j, d, t) {
		t++
	}
	if d.Tables == nil {
		d.Tables = map[plan.Side]map[int]int{}
	}
	if d.Tables[j.Side] == nil {
		d.Tables[j.Side] = map[int]int{}
	}
	d.Tables[j.Side][index] = t
	return t
}

// isTaken reports whether somebody uses a table.
func isTaken(j *build.Job, d *build.Draft, table int) bool {
	for _, tables := range []map[int]int{d.Tables[j.Side], j.There.LeaseTables} {
		for _, t := range tables {
			if t == table {
				return true
			}
		}
	}
	kept := keptRules(j)
	return slices.ContainsFunc(kept, func(r rtnl.Rule) bool { return r.Table == table }) ||
		slices.ContainsFunc(j.There.Rules, func(r rtnl.Rule) bool { return r.Table == table && !IsOurRule(r) }) ||
		slices.ContainsFunc(otherRoutes(j), func(r rtnl.Route) bool { return r.Table == table && r.Protocol != ours.Protocol })
}

// KeepReplies plans the source routing of the interfaces that the guest's
// default routes of a family go by.
func KeepReplies(j *build.Job, d *build.Draft, ipv6 bool) {
	if !j.SourceRouting {
		return
	}
	for _, l := range j.There.Links {
		if j.Own(l.Index) || l.Loopback || RepliesOwn(j, l.Index) {
			continue
		}
		routes := routesByLink(j, l, ipv6)
		if !slices.ContainsFunc(routes, func(r plan.AddRoute) bool { return r.Dst.Bits() == 0 }) {
			continue
		}
		var addrs []netip.Addr
		for _, a := range j.There.Addrs {
			if a.Index == l.Index && a.Prefix.Addr().Is6() == ipv6 && a.Scope == unix.RT_SCOPE_UNIVERSE {
				addrs = append(addrs, a.Prefix.Addr())
			}
		}
		PlanReply(j, d, addrs, TableFor(j, d, l.Index), OthersPriority, routes)
	}
}

// RepliesOwn reports whether a link has source routing that was asked for.
func RepliesOwn(j *build.Job, index int) bool {
	r := Routing(j.There.Inside)
	return r.Leased[index] != 0 || slices.ContainsFunc(r.Rules, func(rule rtnl.Rule) bool {
		l := Holder(r, rule.From)
		return IsOurRule(rule) && rule.Priority == OwnPriority && l != nil && l.Index == index
	})
}

// routesByLink returns the routes of the main table by a link, those on link first;
// of several to one destination, the one that wins.
func routesByLink(j *build.Job, l *rtnl.Link, ipv6 bool) (out []plan.AddRoute) {
	metrics := map[netip.Prefix]int{}
	for _, r := range j.There.Routes {
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

// OwnReplies plans the source routing of our interface.
func OwnReplies(j *build.Job, d *build.Draft, ipv6 bool) {
	if !j.SourceRouting {
		return
	}
	index := 0
	if j.Complete() {
		index = j.There.Inner.Index
	}
	addrs, routes := ownTable(j, index, ipv6)
	PlanReply(j, d, addrs, TableFor(j, d, index), OwnPriority, routes)
}

// ownTable returns the addresses of our interface that get a rule, and the routes that its
// table gets.
func ownTable(j *build.Job, index int, ipv6 bool) (addrs []netip.Addr, routes []plan.AddRoute) {
	add := func(dst netip.Prefix, gw netip.Addr) {
		if !slices.ContainsFunc(routes, func(r plan.AddRoute) bool { return r.Dst == dst }) {
			routes = append(routes, plan.AddRoute{Inner: j.Names.Inner, Known: index, Dst: dst, Gateway: gw})
		}
	}
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
	best := slices.SortedStableFunc(slices.Values(j.Routes), func(a, b spec.Route) int { return cmp.Compare(a.Metric, b.Metric) })
	for _, onLink := range []bool{true, false} {
		for _, r := range best {
			if r.Table == 0 && r.Dst.Addr().Is6() == ipv6 && r.Via.IsValid() != onLink {
				add(r.Dst, r.Via)
			}
		}
	}
	if gw.IsValid() {
		add(spec.DefaultRoute(ipv6), gw)
	}
	return addrs, routes
}

// PlanReply plans the rules for addresses, and the routes of their table, except
// those that are there.
func PlanReply(j *build.Job, d *build.Draft, addrs []netip.Addr, table, priority int, routes []plan.AddRoute) {
	kept := keptRules(j)
	for _, a := range addrs {
		r := rtnl.Rule{From: a, Table: table, Priority: priority, Protocol: ours.Protocol}
		if !slices.Contains(kept, r) {
			d.Add(AddIPRule{j.Place, r})
		}
	}
	for _, r := range routes {
		if len(addrs) == 0 || r.Known != 0 && slices.ContainsFunc(j.There.Tables, func(t rtnl.Route) bool {
			return t.Table == table && t.Index == r.Known && t.Dst == r.Dst && t.Protocol == ours.Protocol
		}) {
			continue
		}
		r.Place, r.Table, r.Protocol = j.Place, table, ours.Protocol
		d.Add(r)
	}
}

// RepliesDiffer tells whether source routing is on and not asked for, or the
// other way round. It returns the flags with which set would end that.
func RepliesDiffer(j *build.Job, differ build.Differ) (flags []string) {
	if is := RepliesOwn(j, j.There.Inner.Index); is != j.SourceRouting {
		differ(spec.SourceRouting, spec.OnOff(is), spec.OnOff(j.SourceRouting))
		flags = append(flags, "--source-routing "+spec.OnOff(j.SourceRouting))
	}
	return flags
}

// WarnReplies warns of published ports that the new default route cuts off from
// clients beyond the host: Docker hands their packets on as they come, so the
// answer is addressed to the client, and leaves by that route.
func WarnReplies(j *build.Job, d *build.Draft) {
	for _, gw := range j.Gateways {
		if old := CutsOff(j, gw.Is6()); old != "" {
			d.Warn("%s", RepliesWarning(gw, old))
			return
		}
	}
}

func RepliesWarning(gw netip.Addr, old string) string {
	return fmt.Sprintf("answers from its published ports to clients beyond the host now leave by %s instead of %s: --source-routing prevents that", gw, old)
}

// CutsOff returns the interface by which answers from published ports leave, if a
// default route of ours would send them another way.
func CutsOff(j *build.Job, ipv6 bool) string {
	if !j.There.Guest.Published || j.SourceRouting || j.Keep {
		return ""
	}
	best, ok := bestDefault(j, ipv6)
	if len(best.Hops) > 0 {
		best.Index = best.Hops[0].Index
	}
	l := link(Routing(j.There.Inside), best.Index)
	if !ok || l == nil || plan.Attached(l) {
		return ""
	}
	return l.Name
}

// AddIPRule has replies from an address looked up in a table.
type AddIPRule struct {
	plan.Place
	rule rtnl.Rule
}

func (s AddIPRule) Do(_ context.Context, m *plan.Machine) error {
	return AddRuleTo(s.Kernel(m), s.rule)
}

func AddRuleTo(k plan.Kernel, r rtnl.Rule) error {
	err := k.AddRule(r)
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EAFNOSUPPORT) {
		return fault.New(fault.Unsupported, "add rule", RuleWords(r), "%w", err).
			WithHint("the kernel needs CONFIG_IP_MULTIPLE_TABLES, and for IPv6 CONFIG_IPV6_MULTIPLE_TABLES")
	}
	return fault.Explain("add rule", RuleWords(r), err)
}

func (s AddIPRule) Undo(_ context.Context, m *plan.Machine) error {
	return fault.IgnoreAbsent("delete rule", RuleWords(s.rule), s.Kernel(m).DelRule(s.rule))
}

func (AddIPRule) Nature() plan.Nature { return plan.Undoable }

func (s AddIPRule) String() string {
	return s.Enter + plan.IPCommand(s.rule.From.Is6()) + "rule add " + RuleWords(s.rule)
}

// DelReplies deletes source routing that stands for nothing, in a guest of the
// machine.
type DelReplies struct {
	plan.Place
	Obsolete
}

func (s DelReplies) Do(_ context.Context, m *plan.Machine) error { return s.remove(s.Kernel(m)) }

func (s DelReplies) Undo(context.Context, *plan.Machine) error { return nil }

func (DelReplies) Nature() plan.Nature { return plan.Final }

func (s DelReplies) String() string { return s.Obsolete.String() }

// DelRepliesIn deletes it in some guest, whose lock is held.
type DelRepliesIn struct {
	Path  string // of the guest's namespace
	Inode uint64
	Obsolete
}

func (s DelRepliesIn) Do(_ context.Context, _ *plan.Machine) error {
	ns, err := ours.OpenSame(s.Path, s.Inode)
	if nsfs.Starved(err) {
		return fault.Explain("enter", s.Path, err)
	}
	if err != nil {
		return nil // the guest has gone, and all of it with it
	}
	defer ns.Close()
	k, err := rtnl.Open(ns)
	if err != nil {
		return fault.Explain("enter", s.Path, err)
	}
	defer k.Close()
	return s.remove(k)
}

func (s DelRepliesIn) Undo(context.Context, *plan.Machine) error { return nil }

func (DelRepliesIn) Nature() plan.Nature { return plan.Final }

func (s DelRepliesIn) String() string { return s.Obsolete.String() }
