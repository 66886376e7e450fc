package source

import (
	"context"
	"net/netip"
	"reflect"
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
func Changed(j *build.Job, d *build.Draft) *lease.Ask {
	if j.From.Kind != spec.FromDHCP {
		return nil
	}
	a := j.There.Lease.Ask
	a.Routes, a.Table = askedOf(j.Routes), 0
	if j.SourceRouting {
		a.Table = guestnet.TableFor(j, d, a.Index)
	}
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
	if a == nil {
		return
	}
	if was := j.There.Lease.Ask; a.Table != was.Table || !reflect.DeepEqual(a.Access, was.Access) || !reflect.DeepEqual(a.Neighbour, was.Neighbour) || !ours.SameSet(guestnet.LeaseRoutes(*a), guestnet.LeaseRoutes(was)) {
		d.Add(ChangeLease{j.Place, *a, was})
	}
}

// LeaseReplies is the source routing of a leased address: the routes that are new and, of
// the others, those that are there. The kernel cannot have each.
func LeaseReplies(j *build.Job, a lease.Ask) (r guestnet.Replies) {
	l := j.There.Lease.Lease
	if a.Table == 0 || l == nil {
		return r
	}
	_, was := leaseReplies(j.There.Lease.Ask, *l)
	_, all := leaseReplies(a, a.Of(*l))
	there := slices.DeleteFunc(slices.Concat(j.There.Routes, j.There.Tables), func(t rtnl.Route) bool { return t.Table != 0 && t.Table != a.Table })
	for _, route := range all {
		known := func(in []rtnl.Route) bool { return slices.ContainsFunc(in, guestnet.SameWay(route)) }
		if known(there) || !known(was) {
			r.Routes = append(r.Routes, guestnet.RouteStep(j, route))
		}
	}
	r.Addrs = []netip.Addr{l.Address.Addr()}
	return r
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
	words := spec.RouteWords(guestnet.LeaseRoutes(a))
	if len(words) == 0 {
		words = []string{"no other routes"}
	}
	if a.Table != 0 {
		words = append(words, spec.SourceRouting)
	}
	if a.Access != nil {
		words = append(words, spec.HostAccess)
	}
	if a.Neighbour != nil {
		words = append(words, "a neighbour of the bridge")
	}
	return strings.Join(words, "; ")
}
