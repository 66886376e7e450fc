package attach

import (
	"context"
	"errors"
	"net/netip"
	"slices"

	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/rtnl"
	"golang.org/x/sys/unix"
)

// Source routing has a reply leave by the interface whose address it carries,
// whatever the default route is. Each address gets a rule, and each interface a
// table with the routes by it alone: those of our interface, and those of the
// interfaces that the guest's default routes go by, to which Docker sends what
// comes to published ports.
//
// No file says whose these are. Rules and routes carry [Protocol], and an
// interface is found from the address in its rule. The rule is there before the
// routes of its table and goes after them, so that who looks for rules finds
// everything; a rule to an empty table does nothing. The rules for interfaces
// that are not asked for have a priority of their own: they go when no other
// is left.
const (
	ownPriority    = 26480 // 0x6770, as the group: before the main table's 32766
	othersPriority = ownPriority + 1

	firstTable, lastTable = 264801, 265800 // the tables that we take
)

func sourceTable(table int) bool { return table >= firstTable && table <= lastTable }

// routing is what source routing there is in a guest, and what tells whom it
// is for.
type routing struct {
	links  []*rtnl.Link
	addrs  []rtnl.Addr
	rules  []rtnl.Rule
	tables []rtnl.Route // of other tables than main
}

func (in Inside) routing() routing { return routing{in.Links, in.Addrs, in.Rules, in.Tables} }

// observeRouting looks for source routing of ours in a guest.
func observeRouting(k kernel) (r routing, err error) {
	if r.rules, err = k.Rules(); err != nil || !slices.ContainsFunc(r.rules, isOurRule) {
		return r, err
	}
	var all []rtnl.Route
	for _, read := range []func() error{
		func() (err error) { r.links, err = k.Links(); return err },
		func() (err error) { r.addrs, err = k.Addrs(); return err },
		func() (err error) { all, err = k.AllRoutes(); return err },
	} {
		if err := read(); err != nil {
			return r, err
		}
	}
	_, r.tables = split(all)
	return r, nil
}

// split tells the routes of the main table from the others.
func split(all []rtnl.Route) (main, tables []rtnl.Route) {
	for _, r := range all {
		if r.Table == 0 {
			main = append(main, r)
		} else {
			tables = append(tables, r)
		}
	}
	return main, tables
}

func isOurRule(r rtnl.Rule) bool {
	return r.Protocol == Protocol && (r.Priority == ownPriority || r.Priority == othersPriority) && sourceTable(r.Table)
}

// holder returns the link that has an address; nil: none.
func (r routing) holder(a netip.Addr) *rtnl.Link {
	for _, has := range r.addrs {
		if has.Prefix.Addr() == a {
			return r.link(has.Index)
		}
	}
	return nil
}

func (r routing) link(index int) *rtnl.Link {
	if i := slices.IndexFunc(r.links, func(l *rtnl.Link) bool { return l.Index == index }); i >= 0 {
		return r.links[i]
	}
	return nil
}

// sort tells the rules of ours that stand for something from those that do not,
// once the links that are going have gone.
func (r routing) sort(going func(index int) bool) (kept, stale []rtnl.Rule) {
	own := false
	for _, rule := range r.rules {
		if !isOurRule(rule) {
			continue
		}
		l := r.holder(rule.From)
		isOwn := rule.Priority == ownPriority
		if l == nil || going(l.Index) || isOwn && !isOurs(l) {
			stale = append(stale, rule)
			continue
		}
		own = own || isOwn
		kept = append(kept, rule)
	}
	if !own {
		return nil, append(stale, kept...)
	}
	return kept, stale
}

// leftover is what is to go, in the guest that enter leads to.
func (r routing) leftover(enter string, going func(index int) bool) leftover {
	kept, stale := r.sort(going)
	out := leftover{rules: stale, enter: enter}
	for _, route := range r.tables {
		used := slices.ContainsFunc(kept, func(k rtnl.Rule) bool { return k.Table == route.Table })
		if !sourceTable(route.Table) || route.Protocol != Protocol || used || going(route.Index) {
			continue
		}
		if l := r.link(route.Index); l != nil {
			out.routes = append(out.routes, addRoute{inner: l.Name, dst: route.Dst, gateway: route.Gateway,
				metric: route.Metric, table: route.Table, protocol: Protocol, known: route.Index})
		}
	}
	return out
}

// leftover are rules and routes of ours that stand for nothing any more.
type leftover struct {
	enter  string
	rules  []rtnl.Rule
	routes []addRoute
}

func (l leftover) empty() bool { return len(l.rules)+len(l.routes) == 0 }

// remove deletes them, the routes first: what is left is then found again.
func (l leftover) remove(k kernel) error {
	for _, r := range l.routes {
		if err := ignoreAbsent("delete route", r.words(), k.DelRoute(r.route(nil))); err != nil {
			return err
		}
	}
	for _, r := range l.rules {
		if err := ignoreAbsent("delete rule", ruleWords(r), k.DelRule(r)); err != nil {
			return err
		}
	}
	return nil
}

// String is one command a line.
func (l leftover) String() (text string) {
	add := func(ipv6 bool, words string) {
		if text != "" {
			text += "\n"
		}
		text += l.enter + ipCommand(ipv6) + words
	}
	for _, r := range l.routes {
		add(r.dst.Addr().Is6(), "route del "+r.words())
	}
	for _, r := range l.rules {
		add(r.From.Is6(), "rule del "+ruleWords(r))
	}
	return text
}

func ipCommand(ipv6 bool) string {
	if ipv6 {
		return "ip -6 "
	}
	return "ip "
}

func ruleWords(r rtnl.Rule) string {
	return "from " + r.From.String() + " lookup " + itoa(r.Table) + " priority " + itoa(r.Priority) + " protocol " + itoa(int(r.Protocol))
}

// replies is what a builder knows of source routing as it plans.
type replies struct {
	kept   []rtnl.Rule
	tables map[int]int // of links that have none yet, by their index; 0: the one to come
}

// clearReplies plans for the source routing of ours to go that stands for
// nothing: a killed run has left it.
func (b *builder) clearReplies() {
	if l := b.f.routing().leftover(b.enter, b.own); !l.empty() {
		b.add(delReplies{b.place, l})
	}
}

// observeReplies notes what is there and stays.
func (b *builder) observeReplies() {
	if b.replies != nil {
		return
	}
	going := b.own
	if b.complete() {
		going = func(int) bool { return false }
	}
	b.replies = &replies{tables: map[int]int{}}
	b.replies.kept, _ = b.f.routing().sort(going)
}

// table returns the number of a link's table: the one that it has, or one that
// nobody uses.
func (b *builder) table(index int) int {
	for _, r := range b.replies.kept {
		if l := b.f.routing().holder(r.From); l != nil && l.Index == index {
			return r.Table
		}
	}
	if t := b.replies.tables[index]; t != 0 {
		return t
	}
	t := firstTable
	for b.takes(t) {
		t++
	}
	b.replies.tables[index] = t
	return t
}

// takes reports whether somebody uses a table.
func (b *builder) takes(table int) bool {
	for _, t := range b.replies.tables {
		if t == table {
			return true
		}
	}
	kept := b.replies.kept
	return slices.ContainsFunc(kept, func(r rtnl.Rule) bool { return r.Table == table }) ||
		slices.ContainsFunc(b.f.Rules, func(r rtnl.Rule) bool { return r.Table == table && !isOurRule(r) }) ||
		slices.ContainsFunc(b.others(), func(r rtnl.Route) bool { return r.Table == table && r.Protocol != Protocol })
}

// keepReplies plans the source routing of the interfaces that the guest's
// default routes of a family go by.
func (b *builder) keepReplies(ipv6 bool) {
	if !b.SourceRouting {
		return
	}
	b.observeReplies()
	for _, l := range b.f.Links {
		if b.own(l.Index) || l.Loopback || b.repliesOwn(l.Index) {
			continue
		}
		routes := b.routesBy(l, ipv6)
		if !slices.ContainsFunc(routes, func(r addRoute) bool { return r.dst.Bits() == 0 }) {
			continue
		}
		var addrs []netip.Addr
		for _, a := range b.f.Addrs {
			if a.Index == l.Index && a.Prefix.Addr().Is6() == ipv6 && a.Scope == unix.RT_SCOPE_UNIVERSE {
				addrs = append(addrs, a.Prefix.Addr())
			}
		}
		b.reply(addrs, b.table(l.Index), othersPriority, routes)
	}
}

// repliesOwn reports whether a link has source routing that was asked for.
func (b *builder) repliesOwn(index int) bool {
	r := b.f.routing()
	return slices.ContainsFunc(r.rules, func(rule rtnl.Rule) bool {
		l := r.holder(rule.From)
		return isOurRule(rule) && rule.Priority == ownPriority && l != nil && l.Index == index
	})
}

// routesBy returns the routes of the main table by a link, those on link first;
// of several to one destination, the one that wins.
func (b *builder) routesBy(l *rtnl.Link, ipv6 bool) (out []addRoute) {
	metrics := map[netip.Prefix]int{}
	for _, r := range b.f.Routes {
		gw, leads := hop(r, l.Index)
		if !leads || r.Dst.Addr().Is6() != ipv6 || !r.Default() && !routable(r.Dst.Addr()) {
			continue
		}
		if best, ok := metrics[r.Dst]; ok && best <= r.Metric {
			continue
		}
		metrics[r.Dst] = r.Metric
		out = slices.DeleteFunc(out, func(old addRoute) bool { return old.dst == r.Dst })
		out = append(out, addRoute{inner: l.Name, known: l.Index, dst: r.Dst, gateway: gw})
	}
	slices.SortStableFunc(out, func(a, b addRoute) int { return a.gateway.Compare(b.gateway) }) // those on link first
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
func (b *builder) ownReplies(ipv6 bool) {
	if !b.SourceRouting {
		return
	}
	b.observeReplies()
	index := 0
	if b.complete() {
		index = b.f.Inner.Index
	}
	var routes []addRoute
	add := func(dst netip.Prefix, gw netip.Addr) {
		if !slices.ContainsFunc(routes, func(r addRoute) bool { return r.dst == dst }) {
			routes = append(routes, addRoute{inner: b.names.inner, known: index, dst: dst, gateway: gw})
		}
	}
	var addrs []netip.Addr
	for _, p := range b.of(ipv6) {
		if routable(p.Addr()) {
			addrs = append(addrs, p.Addr())
			if p.Bits() < p.Addr().BitLen() {
				add(p.Masked(), netip.Addr{})
			}
		}
	}
	gw := b.Gateway(ipv6)
	if gw.IsValid() && !b.onLink(gw) {
		add(netip.PrefixFrom(gw, gw.BitLen()), netip.Addr{})
	}
	for _, onLink := range []bool{true, false} {
		for _, r := range b.Routes {
			if r.Table == 0 && r.Dst.Addr().Is6() == ipv6 && r.Via.IsValid() != onLink {
				add(r.Dst, r.Via)
			}
		}
	}
	if gw.IsValid() {
		add(defaultRoute(ipv6), gw)
	}
	b.reply(addrs, b.table(index), ownPriority, routes)
}

// reply plans the rules for addresses, and the routes of their table; not those
// that are there.
func (b *builder) reply(addrs []netip.Addr, table, priority int, routes []addRoute) {
	for _, a := range addrs {
		r := rtnl.Rule{From: a, Table: table, Priority: priority, Protocol: Protocol}
		if !slices.Contains(b.replies.kept, r) {
			b.add(addIPRule{b.place, r})
		}
	}
	for _, r := range routes {
		if len(addrs) == 0 || r.known != 0 && slices.ContainsFunc(b.f.Tables, func(t rtnl.Route) bool {
			return t.Table == table && t.Index == r.known && t.Dst == r.dst && t.Protocol == Protocol
		}) {
			continue
		}
		r.place, r.table, r.protocol = b.place, table, Protocol
		b.add(r)
	}
}

// repliesDiffer tells whether source routing is on and not asked for, or the
// other way round.
func (b *builder) repliesDiffer(differ differ) {
	word := map[bool]string{true: "on", false: "off"}
	if is := b.repliesOwn(b.f.Inner.Index); is != b.SourceRouting {
		differ("source routing", word[is], word[b.SourceRouting])
	}
}

// warnReplies warns of published ports that the new default route cuts off from
// clients beyond the host: Docker hands their packets on as they come, so the
// answer is addressed to the client, and leaves by that route.
func (b *builder) warnReplies() {
	if !b.f.Guest.Published || b.SourceRouting || b.Keep {
		return
	}
	r := b.f.routing()
	for _, gw := range b.Gateways {
		best, ok := b.bestDefault(gw.Is6())
		if len(best.Hops) > 0 {
			best.Index = best.Hops[0].Index
		}
		l := r.link(best.Index)
		if !ok || l == nil || isOurs(l) {
			continue
		}
		b.warn("answers from its published ports to clients beyond the host now leave by %s, and no longer by %s: --source-routing keeps them there",
			gw, l.Name)
		return
	}
}

// addIPRule has replies from an address looked up in a table.
type addIPRule struct {
	place
	rule rtnl.Rule
}

func (s addIPRule) do(_ context.Context, m *machine) error {
	err := s.kernel(m).AddRule(s.rule)
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EAFNOSUPPORT) {
		return fault.New(fault.Unsupported, "add rule", ruleWords(s.rule), "%w", err).
			WithHint("the kernel needs CONFIG_IP_MULTIPLE_TABLES, and for IPv6 CONFIG_IPV6_MULTIPLE_TABLES")
	}
	return explain("add rule", ruleWords(s.rule), err)
}

func (s addIPRule) undo(_ context.Context, m *machine) error {
	return ignoreAbsent("delete rule", ruleWords(s.rule), s.kernel(m).DelRule(s.rule))
}

func (s addIPRule) String() string {
	return s.enter + ipCommand(s.rule.From.Is6()) + "rule add " + ruleWords(s.rule)
}

// delReplies deletes source routing that stands for nothing, in a guest of the
// machine.
type delReplies struct {
	place
	leftover
}

func (s delReplies) do(_ context.Context, m *machine) error { return s.remove(s.kernel(m)) }

func (s delReplies) undo(context.Context, *machine) error { return nil }

func (s delReplies) String() string { return s.leftover.String() }

// delRepliesIn deletes it in some guest, whose lock is held.
type delRepliesIn struct {
	path  string // of the guest's namespace
	inode uint64
	leftover
}

func (s delRepliesIn) do(_ context.Context, _ *machine) error {
	ns, err := openSame(s.path, s.inode)
	if err != nil {
		return nil // the guest has gone, and all of it with it
	}
	defer ns.Close()
	k, err := rtnl.Open(ns)
	if err != nil {
		return explain("enter", s.path, err)
	}
	defer k.Close()
	return s.remove(k)
}

func (s delRepliesIn) undo(context.Context, *machine) error { return nil }

func (s delRepliesIn) String() string { return s.leftover.String() }
