package attach

import (
	"net/netip"
	"slices"

	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/plan"
	"github.com/gopipework/gopipework/internal/rtnl"
	"github.com/gopipework/gopipework/internal/spec"
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
//
// The table of an interface whose lease is kept belongs to its keeper. It stays
// also while there is no lease, and so no rule to it.
const (
	ownPriority    = 26480 // 0x6770, as the group: before the main table's 32766
	othersPriority = ownPriority + 1
)

func sourceTable(table int) bool { return table >= spec.FirstTable && table <= spec.LastTable }

// routing is what source routing there is in a guest, and what tells whom it
// is for.
type routing struct {
	links  []*rtnl.Link
	addrs  []rtnl.Addr
	rules  []rtnl.Rule
	tables []rtnl.Route // of other tables than main
	leased map[int]int  // the tables of leases that are kept, by the interface's index
}

func (in Inside) routing() routing {
	return routing{in.Links, in.Addrs, in.Rules, in.Tables, in.LeaseTables}
}

// observeRouting looks for source routing of ours in a guest.
func observeRouting(k plan.Kernel) (r routing, err error) {
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
	r.leased = leaseTables(k)
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

// keeps reports whether a table is that of a lease which is kept, by a link that
// stays.
func (r routing) keeps(table int, going func(index int) bool) bool {
	for index, t := range r.leased {
		if t == table && r.link(index) != nil && !going(index) {
			return true
		}
	}
	return false
}

// sort tells the rules of ours that stand for something from those that do not,
// once the links that are going have gone.
func (r routing) sort(going func(index int) bool) (kept, stale []rtnl.Rule) {
	own := false
	for _, table := range r.leased {
		own = own || r.keeps(table, going)
	}
	for _, rule := range r.rules {
		if !isOurRule(rule) {
			continue
		}
		if r.keeps(rule.Table, going) {
			kept = append(kept, rule)
			continue
		}
		l := r.holder(rule.From)
		isOwn := rule.Priority == ownPriority
		if l == nil || going(l.Index) || isOwn && !plan.Attached(l) {
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
		used := r.keeps(route.Table, going) || slices.ContainsFunc(kept, func(k rtnl.Rule) bool { return k.Table == route.Table })
		if !sourceTable(route.Table) || route.Protocol != Protocol || used || going(route.Index) {
			continue
		}
		if l := r.link(route.Index); l != nil {
			out.routes = append(out.routes, plan.AddRoute{Inner: l.Name, Dst: route.Dst, Gateway: route.Gateway,
				Metric: route.Metric, Table: route.Table, Protocol: Protocol, Known: route.Index})
		}
	}
	return out
}

// leftover are rules and routes of ours that stand for nothing any more.
type leftover struct {
	enter  string
	rules  []rtnl.Rule
	routes []plan.AddRoute
}

func (l leftover) empty() bool { return len(l.rules)+len(l.routes) == 0 }

// remove deletes them, the routes first: what is left is then found again.
func (l leftover) remove(k plan.Kernel) error {
	for _, r := range l.routes {
		if err := fault.IgnoreAbsent("delete route", r.Words(), k.DelRoute(r.Route(nil))); err != nil {
			return err
		}
	}
	for _, r := range l.rules {
		if err := fault.IgnoreAbsent("delete rule", ruleWords(r), k.DelRule(r)); err != nil {
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
		text += l.enter + plan.IPCommand(ipv6) + words
	}
	for _, r := range l.routes {
		add(r.Dst.Addr().Is6(), "route del "+r.Words())
	}
	for _, r := range l.rules {
		add(r.From.Is6(), "rule del "+ruleWords(r))
	}
	return text
}

func ruleWords(r rtnl.Rule) string {
	return "from " + r.From.String() + " lookup " + itoa(r.Table) + " priority " + itoa(r.Priority) + " protocol " + itoa(int(r.Protocol))
}
