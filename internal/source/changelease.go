package source

import (
	"context"
	"slices"
	"strings"

	"github.com/gopipework/gopipework/internal/build"
	"github.com/gopipework/gopipework/internal/guestnet"
	"github.com/gopipework/gopipework/internal/lease"
	"github.com/gopipework/gopipework/internal/ours"
	"github.com/gopipework/gopipework/internal/plan"
	"github.com/gopipework/gopipework/internal/rtnl"
	"github.com/gopipework/gopipework/internal/spec"
)

// A change of what an interface gets with its lease (set). The keeper learns it before what
// is old goes: otherwise a renewal in between would bring that back.

// Changed returns how the lease of the interface that is there is asked for, once it is as
// j asks; nil: no DHCP server gives its address.
func Changed(j *build.Job) *lease.Ask {
	if j.From.Kind != spec.FromDHCP {
		return nil
	}
	a := j.There.Lease.Ask
	a.Routes = askedOf(j.Routes)
	return &a
}

// askedOf are the routes that a keeper sets with each lease.
func askedOf(routes []spec.Route) (asked []lease.Asked) {
	for _, r := range routes {
		asked = append(asked, lease.Asked{Dst: r.Dst, Via: r.Via, Metric: r.Metric, Table: r.Table})
	}
	return asked
}

// PlanChange plans to tell the keeper.
func PlanChange(j *build.Job, d *build.Draft, a *lease.Ask) {
	if a != nil && !ours.SameSet(guestnet.LeaseRoutes(*a), guestnet.LeaseRoutes(j.There.Lease.Ask)) {
		d.Add(ChangeLease{j.Place, *a, j.There.Lease.Ask})
	}
}

// TableRoutes are those of the table for replies from a leased address: those that are new
// and, of the others, those that are there. The kernel cannot have each.
func TableRoutes(j *build.Job, a lease.Ask) (out []plan.AddRoute) {
	l := j.There.Lease.Lease
	if a.Table == 0 || l == nil {
		return nil
	}
	_, was := leaseReplies(j.There.Lease.Ask, *l)
	_, all := leaseReplies(a, a.Of(*l))
	for _, r := range all {
		known := func(in []rtnl.Route) bool { return slices.ContainsFunc(in, guestnet.SameWay(r)) }
		there := slices.DeleteFunc(slices.Clone(j.There.Tables), func(t rtnl.Route) bool { return t.Table != a.Table })
		if known(there) || !known(was) {
			out = append(out, guestnet.RouteStep(j, r))
		}
	}
	return out
}

// ChangeLease has the keeper of a lease set other things with it from now on.
type ChangeLease struct {
	plan.Place
	ask, was lease.Ask
}

func (s ChangeLease) Do(ctx context.Context, m *plan.Machine) error {
	err := s.tell(ctx, m, s.ask)
	if err == nil {
		return nil
	}
	return plan.Half(err, s.Undo(ctx, m), s)
}

func (s ChangeLease) Undo(ctx context.Context, m *plan.Machine) error { return s.tell(ctx, m, s.was) }

func (s ChangeLease) tell(ctx context.Context, m *plan.Machine, a lease.Ask) error {
	return fromHost(m, func() error { return ours.KeeperOf(m).Keepers().Change(ctx, leaseGuest(m.Guests[s.Side]), a) })
}

func (s ChangeLease) Left() string {
	return "with each lease of " + s.ask.IfName + ": " + setWith(s.ask)
}

func (ChangeLease) Nature() plan.Nature { return plan.Undoable }

func (s ChangeLease) String() string {
	return "# with each lease of " + s.ask.IfName + " from now on: " + setWith(s.ask)
}

// setWith says what a keeper sets with each lease beside what the server says.
func setWith(a lease.Ask) string {
	if len(a.Routes) == 0 {
		return "no other routes"
	}
	return strings.Join(spec.RouteWords(guestnet.LeaseRoutes(a)), "; ")
}
