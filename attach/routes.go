package attach

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/plan"
	"github.com/gopipework/gopipework/internal/rtnl"
	"github.com/gopipework/gopipework/internal/spec"
)

// Protocol is the number that routes and rules carry which nothing else tells
// as ours (RTPROT_*, FRA_PROTOCOL); "g". Not so a default route that goes in
// front: that goes with its link, and says all there is to say by itself.
const Protocol = 103

// checkRoutes refuses routes that the guest has already.
func (j *job) checkRoutes() error {
	for _, r := range j.Routes {
		for _, there := range j.others() {
			if r.Collides(Route{Dst: there.Dst, Metric: there.Metric, Table: there.Table}) {
				return j.refuse(fault.Conflict, "it has a route to %s already, by %s", r.Dst, j.linkName(there.Index)).
					WithHint("--route '%s,metric N' with another metric", r.Dst)
			}
		}
	}
	return nil
}

// others are the guest's routes, in every table, but for those by a link of
// ours that is about to go.
func (j *job) others() []rtnl.Route {
	return slices.DeleteFunc(slices.Concat(j.f.Routes, j.f.Tables), func(r rtnl.Route) bool { return j.own(r.Index) })
}

// warnRoutes warns of routes that the guest has and that go before the one which
// the kernel adds for the subnet of an address: those to a part of it, and one to
// the same that was there first. An address that overlaps has been warned of.
func (j *job) warnRoutes(d *draft, p netip.Prefix) {
	if p.IsSingleIP() || p.Addr().IsLinkLocalUnicast() {
		return
	}
	metric := 0 // of the kernel's own route
	if p.Addr().Is6() {
		metric = 256
	}
	for _, r := range j.f.Routes {
		known := slices.ContainsFunc(j.f.Addrs, func(a rtnl.Addr) bool { return a.Index == r.Index && a.Prefix.Overlaps(p) })
		switch {
		case known || j.own(r.Index) || r.Dst.Bits() < p.Bits() || !p.Contains(r.Dst.Addr()):
		case r.Dst.Bits() > p.Bits() || r.Metric <= metric:
			d.warn("the guest's route to %s by %s goes before the new one to %s: addresses in both are not reached by %s",
				r.Dst, j.linkName(r.Index), p.Masked(), j.names.inner)
			d.routed = append(d.routed, p.Masked())
		}
	}
}

// routes plans those of a family that are asked for; those on link first, for
// they may lead to the gateways of others.
func (j *job) routes(d *draft, ipv6 bool) {
	for _, onLink := range []bool{true, false} {
		for _, r := range j.Routes {
			if r.Dst.Addr().Is6() == ipv6 && r.Via.IsValid() != onLink {
				d.add(plan.AddRoute{Place: j.Place, Inner: j.names.inner, Dst: r.Dst, Gateway: r.Via,
					Metric: r.Metric, Table: r.Table, Protocol: Protocol, Learned: j.From.Gives(ipv6)})
			}
		}
	}
}

// advertisedMetric is that of a default route from a router advertisement
// (IP6_RT_PRIO_USER; ra_defrtr_metric). Among routes of one metric a router that
// calls itself preferable wins (RFC 4191).
const advertisedMetric = 1024

// rank decides where our default route goes: in front of those that are there,
// or with --default=keep behind them all. The kernel is told which was meant:
// others may come and go around it.
//
// An IPv6 route goes in front of those too that a router may yet advertise on
// another interface.
func (j *job) rank(d *draft, r *plan.AddRoute) error {
	ipv6 := r.Dst.Addr().Is6()
	r.Metric = j.Metric
	best, ok := j.bestDefault(ipv6)
	switch {
	case j.Keep:
		r.Protocol = Protocol
		return j.behind(r)
	case ipv6 && j.Metric == 0 && (!ok || best.Metric > advertisedMetric):
		r.Metric = advertisedMetric - 1
	case ipv6 && j.Metric >= advertisedMetric && (!ok || j.Metric < best.Metric):
		d.warn("a router that advertises itself on another interface of the guest goes before a default route of metric %d", j.Metric)
	case !ok:
	case !ipv6 && (j.Metric == 0 || j.Metric == best.Metric):
		r.Metric, r.Prepend = best.Metric, true
	case j.Metric == 0 && best.Metric <= 1:
		return j.refuse(fault.Conflict, "it has an IPv6 default route of metric 1 already, and nothing goes before that").
			WithHint("%sip -6 route show default", j.Enter)
	case j.Metric == 0:
		r.Metric = best.Metric - 1
	case j.Metric >= best.Metric:
		return j.refuse(fault.Conflict, "its default route has the metric %d, and one of %d does not go before it", best.Metric, j.Metric).
			WithHint("leave out --metric, or --default=keep")
	}
	return nil
}

// behind gives a default route a metric above all others of its family.
func (j *job) behind(r *plan.AddRoute) error {
	for _, o := range j.others() {
		if o.Table != 0 || !o.Default() || o.Dst.Addr().Is6() != r.Dst.Addr().Is6() {
			continue
		}
		switch {
		case j.Metric != 0 && o.Metric >= j.Metric:
			return j.refuse(fault.Conflict, "it has a default route of metric %d, and one of %d does not go behind it", o.Metric, j.Metric).
				WithHint("a higher --metric, or leave it out")
		case o.Metric >= spec.MaxMetric:
			return j.refuse(fault.Conflict, "it has a default route of metric %d, and nothing goes behind that", o.Metric)
		case j.Metric == 0:
			r.Metric = max(r.Metric, o.Metric+1)
		}
	}
	return nil
}

// routesDiffer tells how the routes that are there differ from what is asked
// for. A metric that is not asked for may be any.
func (j *job) routesDiffer(differ differ) {
	var there []Route
	keep, metric := j.Keep, j.Metric
	for _, r := range slices.Concat(j.f.Routes, j.f.Tables) {
		switch {
		case r.Index != j.f.Inner.Index:
		case r.Table == 0 && r.Default() && (r.Set || r.Protocol == Protocol):
			keep = r.Protocol == Protocol
			if j.Metric != 0 {
				metric = r.Metric
			}
		case r.Protocol == Protocol && !sourceTable(r.Table):
			there = append(there, Route{Dst: r.Dst, Via: r.Gateway, Metric: spec.UsualMetric(r.Dst, r.Metric), Table: r.Table})
		}
	}
	var asked []Route
	for _, r := range j.Routes {
		r.Metric = spec.UsualMetric(r.Dst, r.Metric)
		asked = append(asked, r)
	}
	if l := j.f.Lease; l != nil && l.Lease == nil { // its keeper adds them with the next one
		for _, r := range l.Ask.Routes {
			there = append(there, Route{Dst: r.Dst, Via: r.Via, Metric: spec.UsualMetric(r.Dst, r.Metric), Table: r.Table})
		}
	}
	if !sameSet(there, asked) {
		differ("route", routeWords(there), routeWords(asked))
	}
	if keep != j.Keep {
		differ("--default", defaultWord(keep), defaultWord(j.Keep))
	}
	if metric != j.Metric {
		differ("metric", metric, j.Metric)
	}
}

func routeWords(routes []Route) string {
	if len(routes) == 0 {
		return "none"
	}
	var words []string
	for _, r := range routes {
		words = append(words, "'"+r.String()+"'")
	}
	return strings.Join(words, " ")
}

func defaultWord(keep bool) string {
	if keep {
		return "keep"
	}
	return "front"
}
