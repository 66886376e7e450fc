package source

import (
	"errors"
	"net/netip"
	"slices"
	"strconv"

	"github.com/gopipework/gopipework/internal/build"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/guestnet"
	"github.com/gopipework/gopipework/internal/lease"
	"github.com/gopipework/gopipework/internal/ours"
	"github.com/gopipework/gopipework/internal/plan"
	"github.com/gopipework/gopipework/internal/rtnl"
	"golang.org/x/sys/unix"
)

// Source routing for an address that a DHCP server gives. The attach chooses the
// table, which stays the interface's own. What is in it, and the rule, comes and
// goes with the lease: the step that gets the first one, and the keeper after it,
// set both.

// leaseReplies returns the rule for a leased address, and the routes of its table:
// those that the interface has in the main table too.
func leaseReplies(ask lease.Ask, l lease.Lease) (rule rtnl.Rule, routes []rtnl.Route) {
	rule = rtnl.Rule{From: l.Address.Addr(), Table: ask.Table, Priority: guestnet.OwnPriority, Protocol: ours.Protocol}
	add := func(dst netip.Prefix, gw netip.Addr) {
		if !slices.ContainsFunc(routes, func(r rtnl.Route) bool { return r.Dst == dst }) {
			routes = append(routes, rtnl.Route{Dst: dst, Gateway: gw, Index: ask.Index, Table: ask.Table, Protocol: ours.Protocol})
		}
	}
	if !l.Address.IsSingleIP() {
		add(l.Address.Masked(), netip.Addr{})
	}
	for _, onLink := range []bool{true, false} { // those on link may lead to the gateways of others
		for _, r := range l.Routes {
			if r.Gateway.IsValid() != onLink {
				add(r.Dst, r.Gateway)
			}
		}
		for _, r := range ask.Routes {
			if r.Table == 0 && r.Via.IsValid() != onLink {
				add(r.Dst, r.Via)
			}
		}
	}
	return rule, routes
}

// SetReplies leaves out a route that the kernel cannot have: whoever adds the same
// one to the main table says so.
func (l leaseLink) SetReplies(got lease.Lease) error {
	if l.ask.Table == 0 {
		return nil
	}
	rule, routes := leaseReplies(l.ask, got)
	wanted := func(r rtnl.Route) bool { return slices.ContainsFunc(routes, guestnet.SameWay(r)) }
	if err := l.dropReplies(func(r rtnl.Rule) bool { return r == rule }, wanted); err != nil {
		return err
	}
	if err := guestnet.AddRuleTo(l.Kernel, rule); err != nil && !errors.Is(err, unix.EEXIST) {
		return err
	}
	for _, r := range routes {
		if err := l.Kernel.AddRoute(r, false); err != nil && !errors.Is(err, unix.EEXIST) && !lease.Impossible(err) {
			return fault.New(fault.Failed, "add route", r.Dst.String()+" table "+strconv.Itoa(r.Table), "%w", err)
		}
	}
	return nil
}

// delReplies deletes the rule for an address that has gone and, unless the table
// serves another one by now, its routes. The kernel deletes with an address only
// routes of the main table (fib_sync_down_addr).
func (l leaseLink) delReplies(a netip.Addr) error {
	if l.ask.Table == 0 {
		return nil
	}
	rules, err := l.Kernel.Rules()
	if err != nil {
		return fault.Explain("read", "the rules", err)
	}
	another := slices.ContainsFunc(rules, func(r rtnl.Rule) bool { return guestnet.IsOurRule(r) && r.Table == l.ask.Table && r.From != a })
	return l.dropReplies(func(r rtnl.Rule) bool { return r.From != a }, func(rtnl.Route) bool { return another })
}

// dropReplies deletes what is ours of the table, except for what stays: the routes
// first, as in obsolete.
func (l leaseLink) dropReplies(ruleStays func(rtnl.Rule) bool, routeStays func(rtnl.Route) bool) error {
	routes, err := l.Kernel.AllRoutes()
	if err != nil {
		return fault.Explain("read", "the routes", err)
	}
	for _, r := range routes {
		if r.Table == l.ask.Table && r.Index == l.ask.Index && r.Protocol == ours.Protocol && !routeStays(r) {
			if err := fault.IgnoreAbsent("delete route", r.Dst.String(), l.Kernel.DelRoute(r)); err != nil {
				return err
			}
		}
	}
	rules, err := l.Kernel.Rules()
	if err != nil {
		return fault.Explain("read", "the rules", err)
	}
	for _, r := range rules {
		if guestnet.IsOurRule(r) && r.Table == l.ask.Table && !ruleStays(r) {
			if err := fault.IgnoreAbsent("delete rule", guestnet.RuleWords(r), l.Kernel.DelRule(r)); err != nil {
				return err
			}
		}
	}
	return nil
}

// leaseTable returns the table for the lease to come; 0: none is asked for.
func leaseTable(j *build.Job, d *build.Draft) int {
	if !j.SourceRouting {
		return 0
	}
	return guestnet.TableFor(j, d, 0)
}

// repairLeaseReplies plans the source routing of a leased address that somebody has
// deleted. Its keeper would set it again only with the next renewal.
func repairLeaseReplies(j *build.Job, d *build.Draft) {
	kept := j.There.Lease
	if kept == nil || kept.Lease == nil || kept.Ask.Table == 0 {
		return
	}
	rule, all := leaseReplies(kept.Ask, *kept.Lease)
	if l := guestnet.Holder(guestnet.Routing(j.There.Inside), rule.From); l == nil || l.Index != kept.Ask.Index {
		return // its keeper is about to change it
	}
	var routes []plan.AddRoute
	for _, r := range all {
		if slices.ContainsFunc(j.There.Routes, guestnet.SameWay(r)) { // else the kernel cannot have it
			routes = append(routes, plan.AddRoute{Inner: j.Names.Inner, Known: r.Index, Dst: r.Dst, Gateway: r.Gateway, Learned: true})
		}
	}
	guestnet.PlanReply(j, d, []netip.Addr{rule.From}, rule.Table, guestnet.OwnPriority, routes)
}
