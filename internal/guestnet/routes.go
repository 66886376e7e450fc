package guestnet

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"

	"github.com/gopipework/gopipework/internal/build"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/ours"
	"github.com/gopipework/gopipework/internal/plan"
	"github.com/gopipework/gopipework/internal/rtnl"
	"github.com/gopipework/gopipework/internal/spec"
)

// CheckRoutes refuses routes that the guest has already.
func CheckRoutes(j *build.Job) error {
	for _, r := range j.Routes {
		for _, there := range otherRoutes(j) {
			if !r.Default() && r.Collides(spec.Route{Dst: there.Dst, Metric: there.Metric, Table: there.Table}) {
				return refuseRoute(j, r.Dst, there.Index)
			}
		}
	}
	return nil
}

func refuseRoute(j *build.Job, dst netip.Prefix, by int) error {
	e := j.Refuse(fault.Conflict, "it has a route to %s already, by %s", dst, j.LinkName(by))
	if j.Kind.FromFile() {
		return e.WithHint("--metric N with another metric")
	}
	return e.WithHint("--route '%s,metric N' with another metric", dst)
}

// otherRoutes are the guest's routes, in every table, except those by a link of ours
// that is about to go.
func otherRoutes(j *build.Job) []rtnl.Route {
	return slices.DeleteFunc(slices.Concat(j.There.Routes, j.There.Tables), func(r rtnl.Route) bool { return j.Own(r.Index) })
}

// WarnRoutes warns of routes that the guest has and that go before the one which
// the kernel adds for the subnet of an address: those to a part of it, and one to
// the same that was there first. An address that overlaps has been warned of.
func WarnRoutes(j *build.Job, d *build.Draft, p netip.Prefix) {
	if p.IsSingleIP() || p.Addr().IsLinkLocalUnicast() {
		return
	}
	metric := 0 // of the kernel's own route
	if p.Addr().Is6() {
		metric = 256
	}
	for _, r := range j.There.Routes {
		known := slices.ContainsFunc(j.There.Addrs, func(a rtnl.Addr) bool { return a.Index == r.Index && a.Prefix.Overlaps(p) })
		switch {
		case known || j.Own(r.Index) || r.Dst.Bits() < p.Bits() || !p.Contains(r.Dst.Addr()):
		case r.Dst.Bits() > p.Bits() || r.Metric <= metric:
			d.Warn("the guest's route to %s by %s takes precedence over the new one to %s: addresses in both are not reached by %s",
				r.Dst, j.LinkName(r.Index), p.Masked(), j.Names.Inner)
			d.Routed = append(d.Routed, p.Masked())
		}
	}
}

// PlanRoutes plans the routes of a family that are asked for.
func PlanRoutes(j *build.Job, d *build.Draft, ipv6 bool) {
	for _, r := range askedSteps(j, ipv6) {
		r.Table = cmp.Or(r.Table, j.Table)
		d.Add(r)
	}
}

// askedSteps are the steps that add them; those on link first, for they may lead to the
// gateways of others.
func askedSteps(j *build.Job, ipv6 bool) (steps []plan.AddRoute) {
	for _, onLink := range []bool{true, false} {
		for _, r := range j.Routes {
			if r.Dst.Addr().Is6() == ipv6 && r.Via.IsValid() != onLink && !r.Default() {
				steps = append(steps, plan.AddRoute{Place: j.Place, Inner: j.Names.Inner, Dst: r.Dst, Gateway: r.Via,
					Metric: r.Metric, Table: r.Table, Protocol: ours.Protocol, Learned: j.From.Gives(ipv6)})
			}
		}
	}
	return steps
}

// advertisedMetric is that of a default route from a router advertisement
// (IP6_RT_PRIO_USER; ra_defrtr_metric). Among routes of one metric a router that
// calls itself preferable wins (RFC 4191).
const advertisedMetric = 1024

// RankRoute decides where our default route goes: in front of those that are
// there, or with --default=keep behind them all. In the latter case the route gets
// our protocol number, from which a later run knows what was asked for: the metrics
// alone do not tell, because other routes come and go.
//
// An IPv6 route also goes in front of those that a router may yet advertise on
// another interface.
func RankRoute(j *build.Job, d *build.Draft, r *plan.AddRoute) error {
	ipv6 := r.Dst.Addr().Is6()
	r.Metric = j.Metric
	best, ok := bestDefault(j, ipv6)
	switch {
	case j.Keep:
		r.Protocol = ours.Protocol
		return rankBehind(j, r)
	case ipv6 && j.Metric == 0 && (!ok || best.Metric > advertisedMetric):
		r.Metric = advertisedMetric - 1
	case ipv6 && j.Metric >= advertisedMetric && (!ok || j.Metric < best.Metric):
		d.Warn("a router that advertises itself on another interface of the guest takes precedence over a default route of metric %d", j.Metric)
	case !ok:
	case !ipv6 && (j.Metric == 0 || j.Metric == best.Metric):
		r.Metric, r.Prepend = best.Metric, true
	case j.Metric == 0 && best.Metric <= 1:
		return j.Refuse(fault.Conflict, "it has an IPv6 default route of metric 1 already, and nothing can take precedence over that").
			WithHint("%sip -6 route show default", j.Enter)
	case j.Metric == 0:
		r.Metric = best.Metric - 1
	case j.Metric >= best.Metric:
		return j.Refuse(fault.Conflict, "its default route has the metric %d, and a route of metric %d does not take precedence over it", best.Metric, j.Metric).
			WithHint("leave --metric out, or use --default=keep")
	}
	return nil
}

// rankBehind gives a default route a metric above all others of its family.
func rankBehind(j *build.Job, r *plan.AddRoute) error {
	for _, o := range otherRoutes(j) {
		if o.Table != 0 || !o.Default() || o.Dst.Addr().Is6() != r.Dst.Addr().Is6() {
			continue
		}
		switch {
		case j.Metric != 0 && o.Metric >= j.Metric:
			return j.Refuse(fault.Conflict, "it has a default route of metric %d, and a route of metric %d does not go behind it", o.Metric, j.Metric).
				WithHint("give a higher --metric, or none")
		case o.Metric >= spec.MaxMetric:
			return j.Refuse(fault.Conflict, "it has a default route of metric %d, and nothing can go behind that", o.Metric)
		case j.Metric == 0:
			r.Metric = max(r.Metric, o.Metric+1)
		}
	}
	return nil
}

// RoutesDiffer tells how the routes that are there differ from what is asked
// for. A metric that is not asked for may be any. It returns the flags with which set would
// change them.
func RoutesDiffer(j *build.Job, differ build.Differ) (flags []string) {
	keep, metric := j.Keep, j.Metric
	for _, r := range j.There.Routes {
		if r.Index == j.There.Inner.Index && r.Default() && (r.Set || r.Protocol == ours.Protocol) {
			keep = r.Protocol == ours.Protocol
			if j.Metric != 0 {
				metric = r.Metric
			}
		}
	}
	there := append(RoutesThere(j.There.Inside), defaultOnLink(j)...)
	if asked := listed(j.Routes); !ours.SameSet(there, asked) {
		differ("route", strings.Join(routeWords(there), " "), strings.Join(routeWords(asked), " "))
		if !slices.ContainsFunc(asked, spec.Route.Default) { // which set does not know
			flags = append(flags, "--route "+strings.Join(routeWords(asked), " --route "))
		}
	}
	if keep != j.Keep {
		differ("--default", DefaultWord(keep), DefaultWord(j.Keep))
	}
	if metric != j.Metric {
		differ("metric", metric, j.Metric)
	}
	return flags
}

// defaultOnLink returns the default routes without a gateway that the interface has, of those
// that are asked for.
func defaultOnLink(j *build.Job) (there []spec.Route) {
	for _, r := range j.There.Routes {
		asked := func(a spec.Route) bool { return a.Default() && a.Dst == r.Dst }
		if r.Default() && r.Index == j.There.Inner.Index && !r.Gateway.IsValid() && slices.ContainsFunc(j.Routes, asked) {
			there = append(there, spec.Route{Dst: r.Dst})
		}
	}
	return there
}

// routeWords lists routes as a person types them; "none" if there are none.
func routeWords(routes []spec.Route) []string {
	if len(routes) == 0 {
		return []string{spec.None}
	}
	var words []string
	for _, r := range routes {
		words = append(words, "'"+r.String()+"'")
	}
	return words
}

func DefaultWord(keep bool) string {
	if keep {
		return "keep"
	}
	return "front"
}
