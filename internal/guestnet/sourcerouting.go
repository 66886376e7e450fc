package guestnet

import (
	"net/netip"
	"slices"
	"strconv"

	"github.com/gopipework/gopipework/internal/build"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/lease"
	"github.com/gopipework/gopipework/internal/ours"
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
	OwnPriority    = 26480 // 0x6770, as the group: before the main table's 32766
	OthersPriority = OwnPriority + 1
)

func sourceTable(table int) bool { return table >= spec.FirstTable && table <= spec.LastTable }

func Routing(in build.Inside) build.Routing {
	return build.Routing{Links: in.Links, Addrs: in.Addrs, Rules: in.Rules, Tables: in.Tables, Leased: in.LeaseTables}
}

// ObserveRouting looks for source routing of ours in a guest.
func ObserveRouting(k plan.Kernel) (r build.Routing, err error) {
	if r.Rules, err = k.Rules(); err != nil || !slices.ContainsFunc(r.Rules, IsOurRule) {
		return r, err
	}
	var all []rtnl.Route
	for _, read := range []func() error{
		func() (err error) { r.Links, err = k.Links(); return err },
		func() (err error) { r.Addrs, err = k.Addrs(); return err },
		func() (err error) { all, err = k.AllRoutes(); return err },
	} {
		if err := read(); err != nil {
			return r, err
		}
	}
	_, r.Tables = ours.Split(all)
	r.Leased = leaseTables(k)
	return r, nil
}

func IsOurRule(r rtnl.Rule) bool {
	return r.Protocol == ours.Protocol && (r.Priority == OwnPriority || r.Priority == OthersPriority) && sourceTable(r.Table)
}

// HasReplies reports whether source routing was asked for an interface, whose routes of ours
// these are.
func HasReplies(k plan.Kernel, routes []rtnl.Route) (bool, error) {
	if !slices.ContainsFunc(routes, func(r rtnl.Route) bool { return sourceTable(r.Table) }) {
		return false, nil
	}
	rules, err := k.Rules()
	return slices.ContainsFunc(routes, func(r rtnl.Route) bool {
		return slices.ContainsFunc(rules, func(rule rtnl.Rule) bool {
			return IsOurRule(rule) && rule.Priority == OwnPriority && rule.Table == r.Table
		})
	}), err
}

// Holder returns the link that has an address; nil: none.
func Holder(r build.Routing, a netip.Addr) *rtnl.Link {
	for _, has := range r.Addrs {
		if has.Prefix.Addr() == a {
			return link(r, has.Index)
		}
	}
	return nil
}

func link(r build.Routing, index int) *rtnl.Link {
	if i := slices.IndexFunc(r.Links, func(l *rtnl.Link) bool { return l.Index == index }); i >= 0 {
		return r.Links[i]
	}
	return nil
}

// keeps reports whether a table is that of a lease which is kept, by a link that
// stays.
func keeps(r build.Routing, table int, going func(index int) bool) bool {
	for index, t := range r.Leased {
		if t == table && link(r, index) != nil && !going(index) {
			return true
		}
	}
	return false
}

// sort tells the rules of ours that stand for something from those that do not,
// once the links that are going have gone.
func sort(r build.Routing, going func(index int) bool) (kept, stale []rtnl.Rule) {
	own := false
	for _, table := range r.Leased {
		own = own || keeps(r, table, going)
	}
	for _, rule := range r.Rules {
		if !IsOurRule(rule) {
			continue
		}
		if keeps(r, rule.Table, going) {
			kept = append(kept, rule)
			continue
		}
		l := Holder(r, rule.From)
		isOwn := rule.Priority == OwnPriority
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

// ObsoleteIn is what is to go, in the guest that enter leads to.
func ObsoleteIn(r build.Routing, enter string, going func(index int) bool) Obsolete {
	kept, stale := sort(r, going)
	out := Obsolete{Rules: stale, enter: enter}
	for _, route := range r.Tables {
		used := keeps(r, route.Table, going) || slices.ContainsFunc(kept, func(k rtnl.Rule) bool { return k.Table == route.Table })
		if !sourceTable(route.Table) || route.Protocol != ours.Protocol || used || going(route.Index) {
			continue
		}
		if l := link(r, route.Index); l != nil {
			out.routes = append(out.routes, plan.AddRoute{Inner: l.Name, Dst: route.Dst, Gateway: route.Gateway,
				Metric: route.Metric, Table: route.Table, Protocol: ours.Protocol, Known: route.Index})
		}
	}
	return out
}

// Obsolete are rules and routes of ours that stand for nothing any more.
type Obsolete struct {
	enter  string
	Rules  []rtnl.Rule
	routes []plan.AddRoute
}

func (l Obsolete) Empty() bool { return len(l.Rules)+len(l.routes) == 0 }

// remove deletes them, the routes first: what is left is then found again.
func (l Obsolete) remove(k plan.Kernel) error {
	for _, r := range l.routes {
		if err := fault.IgnoreAbsent("delete route", r.Words(), k.DelRoute(r.Route(nil))); err != nil {
			return err
		}
	}
	for _, r := range l.Rules {
		if err := fault.IgnoreAbsent("delete rule", RuleWords(r), k.DelRule(r)); err != nil {
			return err
		}
	}
	return nil
}

// String is one command a line.
func (l Obsolete) String() (text string) {
	add := func(ipv6 bool, words string) {
		if text != "" {
			text += "\n"
		}
		text += l.enter + plan.IPCommand(ipv6) + words
	}
	for _, r := range l.routes {
		add(r.Dst.Addr().Is6(), "route del "+r.Words())
	}
	for _, r := range l.Rules {
		add(r.From.Is6(), "rule del "+RuleWords(r))
	}
	return text
}

func RuleWords(r rtnl.Rule) string {
	return "from " + r.From.String() + " lookup " + strconv.Itoa(r.Table) + " priority " + strconv.Itoa(r.Priority) + " protocol " + strconv.Itoa(int(r.Protocol))
}

// TablesOf returns the tables of source routing for leases, by the interface's index.
func TablesOf(all []lease.Kept) map[int]int {
	tables := map[int]int{}
	for _, k := range all {
		if k.Ask.Table != 0 {
			tables[k.Ask.Index] = k.Ask.Table
		}
	}
	return tables
}

// leaseTables looks for them in a guest. Where a record cannot be read no keeper
// could go on with it.
func leaseTables(k plan.Kernel) map[int]int {
	cookie, err := k.Cookie()
	if err != nil {
		return nil // nothing can be kept there
	}
	all, _ := ours.Keepers().Look(cookie)
	return TablesOf(all)
}

// SameWay reports whether two routes lead the same way, in whatever table.
func SameWay(a rtnl.Route) func(rtnl.Route) bool {
	return func(b rtnl.Route) bool { return a.Dst == b.Dst && a.Gateway == b.Gateway && a.Index == b.Index }
}
