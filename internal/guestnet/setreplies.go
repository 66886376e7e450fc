package guestnet

import (
	"context"
	"maps"
	"net/netip"
	"slices"

	"github.com/gopipework/gopipework/internal/build"
	"github.com/gopipework/gopipework/internal/ours"
	"github.com/gopipework/gopipework/internal/plan"
	"github.com/gopipework/gopipework/internal/rtnl"
)

// Source routing turned on or off for an attachment that is there, or for other addresses of
// it (set --source-routing, set --addr).

// Replies is the source routing that an interface is to have; the zero Replies: none.
type Replies struct {
	Addrs  []netip.Addr    // that get a rule
	Routes []plan.AddRoute // of its table
}

// LineReplies is that of addresses which are on the line.
func LineReplies(j *build.Job, d *build.Draft) (r Replies) {
	if !j.SourceRouting {
		return r
	}
	index := j.There.Inner.Index
	for _, ipv6 := range []bool{false, true} {
		addrs, routes := ownTable(j, index, ipv6)
		for i := range routes {
			routes[i].Place, routes[i].Table, routes[i].Protocol = j.Place, TableFor(j, d, index), ours.Protocol
		}
		r.Addrs, r.Routes = append(r.Addrs, addrs...), append(r.Routes, routes...)
	}
	return r
}

// AddReplies plans the rules; where it is turned on, first the source routing of the
// guest's other interfaces.
func AddReplies(j *build.Job, d *build.Draft, addrs []netip.Addr) {
	index := j.There.Inner.Index
	if j.SourceRouting && !RepliesOwn(j, index) {
		KeepReplies(j, d, false)
		KeepReplies(j, d, true)
	}
	if len(addrs) > 0 {
		PlanReply(j, d, addrs, TableFor(j, d, index), OwnPriority, nil)
	}
}

// PlanRepliesAway plans for the rules of other addresses to go and, where it is turned off for the
// last interface that it was asked for, for that of the others.
func PlanRepliesAway(j *build.Job, d *build.Draft, addrs []netip.Addr) {
	own, others := ownRules(j)
	if index := j.There.Inner.Index; !j.SourceRouting && RepliesOwn(j, index) {
		r := Routing(j.There.Inside)
		r.Rules, r.Leased = others, maps.Clone(r.Leased)
		delete(r.Leased, index)
		left := ObsoleteIn(r, j.Enter, func(i int) bool { return i == index })
		for _, route := range left.routes {
			route.Place = j.Place
			d.Add(plan.DelRoute{AddRoute: route})
		}
		own = append(own, left.Rules...)
	}
	for _, r := range own {
		if !slices.Contains(addrs, r.From) {
			d.Add(DelIPRule{AddIPRule{j.Place, r}})
		}
	}
}

// ownRules tells the rules for the interface's own addresses from all others.
func ownRules(j *build.Job) (own, others []rtnl.Rule) {
	in := Routing(j.There.Inside)
	index := j.There.Inner.Index
	for _, r := range in.Rules {
		l := Holder(in, r.From)
		if IsOurRule(r) && r.Priority == OwnPriority && (r.Table == in.Leased[index] || l != nil && l.Index == index) {
			own = append(own, r)
		} else {
			others = append(others, r)
		}
	}
	return own, others
}

// DelIPRule deletes such a rule.
type DelIPRule struct{ AddIPRule }

func (s DelIPRule) Do(ctx context.Context, m *plan.Machine) error { return s.AddIPRule.Undo(ctx, m) }

func (s DelIPRule) Undo(ctx context.Context, m *plan.Machine) error { return s.AddIPRule.Do(ctx, m) }

func (s DelIPRule) String() string {
	return s.Enter + plan.IPCommand(s.rule.From.Is6()) + "rule del " + RuleWords(s.rule)
}
