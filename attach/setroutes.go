package attach

import (
	"errors"
	"slices"

	"github.com/gopipework/gopipework/internal/build"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/guestnet"
	"github.com/gopipework/gopipework/internal/ours"
	"github.com/gopipework/gopipework/internal/plan"
	"github.com/gopipework/gopipework/internal/source"
)

// setRoutes plans for the list of its routes to be another, and for source routing to be
// turned on or off or to follow other addresses: what is new is there before what is old
// goes, and whoever keeps its lease knows of it in between.
func setRoutes(c build.Change, d *build.Draft) error {
	if !c.HasRoutes && c.SourceRouting == nil && !c.HasAddrs {
		return nil
	}
	j := wanted(c)
	if err := checkRoutes(c, j); err != nil {
		return err
	}
	var routes []plan.AddRoute
	var replies guestnet.Replies
	ask := source.Changed(j, d)
	switch {
	case ask == nil:
		routes, replies = guestnet.WantedRoutes(j), guestnet.LineReplies(j, d)
	case j.There.Lease.Lease != nil: // otherwise they come with the next one
		routes, replies = guestnet.WantedRoutes(j), source.LeaseReplies(j, *ask)
	}
	guestnet.AddReplies(j, d, replies.Addrs)
	routes = append(routes, replies.Routes...)
	if err := guestnet.AddRoutes(j, d, routes); err != nil {
		return err
	}
	source.PlanChange(j, d, ask)
	guestnet.DelRoutes(j, d, routes)
	guestnet.PlanRepliesAway(j, d, replies.Addrs)
	return nil
}

// checkRoutes refuses what an attach would refuse.
func checkRoutes(c build.Change, j *build.Job) error {
	link := c.Job.Kind == KindVeth
	switch {
	case c.HasRoutes && link:
		return c.Refuse(fault.Usage, "--route is not for a link between two guests").WithHint("gopipework route %s add ...", c.Guest)
	case c.HasRoutes && c.Job.Kind.FromFile():
		return c.Refuse(fault.Usage, "AllowedIPs in the file make the routes of a tunnel").WithHint("change the file, and attach with --replace")
	case c.SourceRouting != nil && link:
		return c.Refuse(fault.Usage, "--source-routing is not for a link between two guests").WithHint("leave --source-routing out")
	case j.Table != 0 && j.SourceRouting:
		return c.Refuse(fault.Usage, "the replies of an interface in a VRF leave by the VRF anyway").WithHint("leave --source-routing out")
	case j.Table != 0 && slices.ContainsFunc(c.Routes, func(r Route) bool { return r.Table != 0 }):
		return c.Refuse(fault.Usage, "the routes of an interface in a VRF are in the table of that VRF").WithHint("leave the table of --route out")
	}
	if err := j.CheckSourceRouting(); err != nil {
		return err
	}
	err := j.CheckRoutes()
	if e := (*fault.Error)(nil); errors.As(err, &e) && !c.HasRoutes {
		return c.Refuse(fault.Conflict, "one of its routes does not go with these addresses: %w", e.Err).
			WithHint("give its routes in the same line, or --route none")
	}
	return err
}

// setDNS plans for other name servers.
func setDNS(c build.Change, d *build.Draft) error {
	if !c.HasDNS {
		return nil
	}
	if c.Job.Kind == KindVeth {
		return c.Refuse(fault.Usage, "--dns is not for a link between two guests").WithHint("leave --dns out")
	}
	j := wanted(c)
	j.DNS = c.DNS
	if err := j.CheckDNS(); err != nil {
		return err
	}
	return guestnet.SetDNS(j, d, c.There.Detach.ResolvChanged)
}

// wanted is the interface as an attach sees it that asks for all that it is to have.
func wanted(c build.Change) *build.Job {
	j, in := *c.Job, c.There.Inside
	j.From = source.There(in)
	if !c.HasAddrs {
		j.Addrs = ours.AddressesOf(in.Inner, in.Addrs)
	}
	if j.From.Kind != FromLine {
		j.Addrs = nil
	}
	j.Gateways = append(ours.GatewaysOf(in.Inner.Index, in.Routes), c.Gateways...)
	switch {
	case c.HasRoutes:
		j.Routes = c.Routes
	case j.From.Kind == FromDHCP: // also one that somebody has deleted
		j.Routes = guestnet.LeaseRoutes(in.Lease.Ask)
	default:
		j.Routes = guestnet.RoutesThere(in)
	}
	j.SourceRouting = guestnet.RepliesOwn(&j, in.Inner.Index)
	if c.SourceRouting != nil {
		j.SourceRouting = *c.SourceRouting
	}
	return &j
}
