package attach

import (
	"github.com/gopipework/gopipework/internal/build"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/guestnet"
	"github.com/gopipework/gopipework/internal/ours"
	"github.com/gopipework/gopipework/internal/plan"
	"github.com/gopipework/gopipework/internal/source"
)

// setRoutes plans for the list of its routes to be another: the new ones are there before
// the old ones go, and whoever keeps its lease knows of both.
func setRoutes(c build.Change, d *build.Draft) error {
	if !c.HasRoutes {
		return nil
	}
	if c.Job.Kind == KindVeth {
		return c.Refuse(fault.Usage, "--route is not for a link between two guests").WithHint("gopipework route %s add ...", c.Guest)
	}
	j := wanted(c)
	if err := j.CheckRoutes(); err != nil {
		return err
	}
	ask := source.Changed(j)
	var routes []plan.AddRoute
	switch {
	case ask == nil:
		routes = append(guestnet.WantedRoutes(j), guestnet.TableRoutes(j, d)...)
	case j.There.Lease.Lease != nil: // otherwise they come with the next one
		routes = append(guestnet.WantedRoutes(j), source.TableRoutes(j, *ask)...)
	}
	if err := guestnet.AddRoutes(j, d, routes); err != nil {
		return err
	}
	source.PlanChange(j, d, ask)
	guestnet.DelRoutes(j, d, routes)
	return nil
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
	j.Gateways = ours.GatewaysOf(in.Inner.Index, in.Routes)
	j.Routes = guestnet.RoutesThere(in)
	if c.HasRoutes {
		j.Routes = c.Routes
	}
	j.SourceRouting = guestnet.RepliesOwn(&j, in.Inner.Index)
	return &j
}
