package hostaccess

import (
	"context"
	"net/netip"
	"os"
	"slices"

	"github.com/gopipework/gopipework/internal/build"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/lease"
	"github.com/gopipework/gopipework/internal/ours"
	"github.com/gopipework/gopipework/internal/plan"
	"github.com/gopipework/gopipework/internal/rtnl"
)

// How the host's way to its guests goes: each route with the guest's address,
// the link with the last of them.

// Ways looks at the host's own macvlans. goes reports that a link in a guest
// is about to go, and needs nothing any more; nor is the guest except, if there is one, looked at.
func Ways(k plan.Kernel, hostNS, except *os.File, goes func(*ours.Namespace, *rtnl.Link) bool) (out []build.Way, err error) {
	all, err := k.Links()
	if err != nil {
		return nil, err
	}
	for _, l := range all {
		if !IsAccess(l) {
			continue
		}
		w := build.Way{Link: l}
		w.Host, _ = k.Cookie() // without cookies no lease is kept
		if w.Routes, err = ours.RoutesBy(k, l.Index); err != nil {
			return nil, err
		}
		if err = observe(&w, k, hostNS, except, goes); err != nil {
			return nil, err
		}
		out = append(out, w)
	}
	return out, nil
}

// observe looks for the addresses of those on the parent.
func observe(w *build.Way, k plan.Kernel, hostNS, except *os.File, goes func(*ours.Namespace, *rtnl.Link) bool) error {
	users, err := ours.ChildrenOf(k, w.Peer, hostNS, except)
	if err != nil {
		return err
	}
	// Of a namespace that is held open by a descriptor alone, the addresses are
	// out of sight. One of a pair is no child, but
	// the other end.
	w.Dark = slices.ContainsFunc(users, func(u ours.User) bool { return u.Netns == 0 && u.PeerNS >= 0 && !ours.Paired(u.Kind) })
	return ours.EachNamespace(hostNS, func(ns *ours.Namespace, guest plan.Kernel) error {
		links, err := ours.UsersIn(guest, w.Peer, hostNS)
		if err != nil || len(links) == 0 {
			return err
		}
		addrs, err := guest.Addrs()
		if err != nil {
			return err
		}
		var leases []lease.Kept
		if cookie, err := guest.Cookie(); err == nil {
			leases, _ = ours.Keepers().Look(cookie)
		}
		for _, l := range links {
			if goes(ns, l) {
				continue
			}
			w.Wanted = w.Wanted || wantedBy(w, leases, func(index int) bool { return index == l.Index })
			if plan.IsOurs(l) && l.Alias == "" {
				w.Dark = true // an attach is under way, whose routes are there before its addresses
			}
			for _, a := range addrs {
				if a.Index == l.Index {
					w.Needed = append(w.Needed, a.Prefix.Addr())
				}
			}
		}
		return nil
	})
}

// NeedFor adds the addresses of a guest's links on the parent to those that the way
// is needed for, except of links that go.
func NeedFor(w *build.Way, ours []build.Pair, leases []lease.Kept, going map[int]bool) {
	w.Wanted = w.Wanted || wantedBy(w, leases, func(index int) bool {
		return !going[index] && slices.ContainsFunc(ours, func(c build.Pair) bool { return c.Child != nil && c.Child.Index == index })
	})
	for _, c := range ours {
		if c.Child == nil || c.Child.Peer != w.Peer || going[c.Child.Index] {
			continue
		}
		for _, p := range c.Interface.Addresses {
			w.Needed = append(w.Needed, p.Addr())
		}
	}
}

// staleRoutes returns the routes that nobody needs: those to addresses that go and,
// if all others are known, those to addresses that nobody has.
func staleRoutes(w build.Way, going []netip.Addr) (out []rtnl.Route) {
	for _, r := range w.Routes {
		a := r.Dst.Addr()
		if slices.Contains(w.Needed, a) {
			continue
		}
		if slices.Contains(going, a) || !w.Dark {
			out = append(out, r)
		}
	}
	return out
}

// EndWay deletes the routes that nobody needs any more. If none is left, the link
// goes too, and is returned instead.
func EndWay(w build.Way, going []netip.Addr) (steps []plan.Step, last *ours.DelLink) {
	stale := staleRoutes(w, going)
	if len(stale) == len(w.Routes) && !w.Wanted {
		return nil, &ours.DelLink{Name: w.Name, Index: w.Index}
	}
	for _, r := range stale {
		steps = append(steps, DelHostRoute{r, w.Name})
	}
	return steps, nil
}

// DelHostRoute deletes the host's route to a guest.
type DelHostRoute struct {
	route rtnl.Route
	dev   string
}

func (s DelHostRoute) Do(_ context.Context, m *plan.Machine) error {
	return fault.IgnoreAbsent("delete route to", s.route.Dst.String(), m.Host().DelRoute(s.route))
}

func (s DelHostRoute) Undo(_ context.Context, m *plan.Machine) error {
	r := s.route
	if m.Knows(plan.OnHost, s.dev) {
		r.Index = m.Index(plan.OnHost, s.dev) // it may have been made anew
	}
	return fault.Explain("add route to", r.Dst.String(), plan.EnsureRoute(m.Host(), r))
}

func (DelHostRoute) Nature() plan.Nature { return plan.Undoable }

func (s DelHostRoute) String() string {
	return "ip route del " + s.route.Dst.String() + " dev " + s.dev
}

// DetachWays plans for the host's ways to what goes. It returns the parents that its
// own macvlans go from.
func DetachWays(d build.Departure, r *build.Removal) (left []int) {
	for _, w := range d.There.Ways {
		var going []netip.Addr
		concerned := false
		for _, c := range d.There.Ours {
			if c.Child == nil || c.Child.Peer != w.Peer || !d.Inners[c.Child.Index] {
				continue
			}
			for _, p := range c.Interface.Addresses {
				going = append(going, p.Addr())
			}
			concerned = true
		}
		NeedFor(&w, d.There.Ours, d.There.Leases, d.Inners)
		if !concerned {
			continue
		}
		steps, last := EndWay(w, going)
		r.Steps = append(r.Steps, steps...)
		if last != nil {
			r.Links = append(r.Links, *last)
			left = append(left, w.Peer)
		}
	}
	return left
}
