package guestnet

import (
	"cmp"
	"slices"

	"github.com/gopipework/gopipework/internal/build"
	"github.com/gopipework/gopipework/internal/lease"
	"github.com/gopipework/gopipework/internal/ours"
	"github.com/gopipework/gopipework/internal/plan"
	"github.com/gopipework/gopipework/internal/rtnl"
	"github.com/gopipework/gopipework/internal/spec"
	"golang.org/x/sys/unix"
)

// Other routes for an attachment that is there (set --route). Those that --route has asked
// for are known by our protocol number, so no others are deleted.

// isAsked reports whether --route has asked for a route of an interface of ours. Other
// routes with our protocol number are those of source routing, and a default route that
// goes behind the guest's own.
func isAsked(r rtnl.Route) bool {
	return r.Protocol == ours.Protocol && !sourceTable(r.Table) && (r.Table != 0 || !r.Default())
}

// AskedRoutes returns those of an interface that --route has asked for.
func AskedRoutes(index int, all []rtnl.Route) (routes []spec.Route) {
	for _, r := range all {
		if r.Index == index && isAsked(r) {
			routes = append(routes, spec.Route{Dst: r.Dst, Via: r.Gateway, Metric: r.Metric, Table: r.Table}.Listed())
		}
	}
	return routes
}

// RoutesThere returns those of the interface that is there, or is to have them with its
// next lease.
func RoutesThere(in build.Inside) []spec.Route {
	routes := AskedRoutes(in.Inner.Index, slices.Concat(in.Routes, in.Tables))
	if in.Lease != nil && in.Lease.Lease == nil { // its keeper adds them with the next one
		routes = append(routes, LeaseRoutes(in.Lease.Ask)...)
	}
	return routes
}

// LeaseRoutes returns those that a keeper sets with each lease.
func LeaseRoutes(a lease.Ask) (routes []spec.Route) {
	for _, r := range a.Routes {
		routes = append(routes, spec.Route{Dst: r.Dst, Via: r.Via, Metric: r.Metric, Table: r.Table}.Listed())
	}
	return routes
}

// AddRoutes plans for those of an interface that are to be there and are not. A route of ours
// to the same destination is replaced, and so is one that came with the lease.
func AddRoutes(j *build.Job, d *build.Draft, want []plan.AddRoute) error {
	for _, r := range want {
		var is, was, foreign *rtnl.Route
		for _, there := range slices.Concat(j.There.Routes, j.There.Tables) {
			switch {
			case !collides(r, there):
			case !replaceable(j, there):
				foreign = &there
			case there.Gateway == r.Gateway && there.Protocol == r.Protocol:
				is = &there
			default:
				was = &there
			}
		}
		r.Table = cmp.Or(r.Table, j.Table)
		switch {
		case is != nil:
		case was != nil:
			d.Add(plan.ReplaceRoute{AddRoute: r, Was: RouteStep(j, *was)})
		case foreign != nil:
			return refuseRoute(j, r.Dst, foreign.Index)
		default:
			d.Add(r)
		}
	}
	return nil
}

// DelRoutes plans for the routes of ours by an interface to go that are not to be there.
func DelRoutes(j *build.Job, d *build.Draft, want []plan.AddRoute) {
	for _, there := range slices.Concat(j.There.Routes, j.There.Tables) {
		wanted := slices.ContainsFunc(want, func(r plan.AddRoute) bool { return collides(r, there) })
		if there.Index == j.There.Inner.Index && !wanted && (isAsked(there) || sourceTable(there.Table) && there.Protocol == ours.Protocol) {
			d.Add(plan.DelRoute{AddRoute: RouteStep(j, there)})
		}
	}
}

// collides reports whether the kernel would not have both.
func collides(r plan.AddRoute, there rtnl.Route) bool {
	return (spec.Route{Dst: r.Dst, Metric: r.Metric, Table: r.Table}).Collides(spec.Route{Dst: there.Dst, Metric: there.Metric, Table: there.Table})
}

// replaceable reports whether a route is by the interface, and ours or the lease's.
func replaceable(j *build.Job, r rtnl.Route) bool {
	leased := j.There.Lease != nil && r.Protocol == unix.RTPROT_DHCP
	return r.Index == j.There.Inner.Index && (r.Protocol == ours.Protocol || leased) && (r.Table != 0 || !r.Default())
}

// RouteStep is the step that adds a route of the interface which is there.
func RouteStep(j *build.Job, r rtnl.Route) plan.AddRoute {
	return plan.AddRoute{Place: j.Place, Inner: j.Names.Inner, Known: r.Index, Dst: r.Dst, Gateway: r.Gateway,
		Metric: r.Metric, Table: cmp.Or(r.Table, j.Table), Protocol: r.Protocol, Source: r.Source}
}

// WantedRoutes are the routes that j asks for, of both families; those on link first.
func WantedRoutes(j *build.Job) (routes []plan.AddRoute) {
	for _, ipv6 := range []bool{false, true} {
		routes = append(routes, askedSteps(j, ipv6)...)
	}
	return routes
}

// listed returns routes as they are listed. The metric of a default route is its rank.
func listed(routes []spec.Route) (out []spec.Route) {
	for _, r := range routes {
		if r.Default() {
			r = spec.Route{Dst: r.Dst}
		} else {
			r = r.Listed()
		}
		out = append(out, r)
	}
	return out
}
