package hostaccess

import (
	"context"
	"net/netip"
	"slices"

	"github.com/gopipework/gopipework/internal/build"
	"github.com/gopipework/gopipework/internal/ours"
	"github.com/gopipework/gopipework/internal/plan"
)

// The host's way to an attachment that is there, as set turns it on and off.

// IsOn reports whether the host has, or is to have with the next lease, a way to the
// interface that is there.
func IsOn(j *build.Job) bool {
	if k := j.There.Lease; k != nil && k.Ask.Access != nil {
		return true
	}
	return slices.ContainsFunc(addrsThere(j), func(a netip.Addr) bool { return routedTo(j, a) })
}

// addrsThere returns the IPv4 addresses that the interface has.
func addrsThere(j *build.Job) (out []netip.Addr) {
	for _, a := range j.There.Addrs {
		if a.Index == j.There.Inner.Index && a.Prefix.Addr().Is4() {
			out = append(out, a.Prefix.Addr())
		}
	}
	return out
}

// PlanLeaving plans for the routes to go that are of no use once the interface is as j asks, and
// with the last route the host's own macvlan.
func PlanLeaving(j *build.Job, d *build.Draft, f build.DetachFacts) {
	link := j.There.Access.Link
	i := slices.IndexFunc(f.Ways, func(w build.Way) bool { return link != nil && w.Index == link.Index })
	if i < 0 {
		return
	}
	w := f.Ways[i]
	NeedFor(&w, f.Ours, f.Leases, map[int]bool{j.There.Inner.Index: true})
	if j.HostAccess {
		w.Wanted, w.Needed = true, append(w.Needed, accessAddrs(j)...)
	}
	steps, last := EndWay(w, addrsThere(j))
	if last != nil { // its routes would go with it, and not come back with it if it is undone
		for _, r := range w.Routes {
			d.Add(DelHostRoute{r, w.Name})
		}
		d.Add(DelAccess{*last, ParentOf(j)})
	}
	d.Steps = append(d.Steps, steps...)
}

// DelAccess deletes the host's own macvlan on a parent.
type DelAccess struct {
	ours.DelLink
	parent string
}

// Undo makes it again, unless others used it and it is there.
func (s DelAccess) Undo(ctx context.Context, m *plan.Machine) error {
	if m.Knows(plan.OnHost, s.Name) {
		return nil
	}
	return AddAccess{Name: s.Name, Parent: s.parent}.Do(ctx, m)
}

func (DelAccess) Nature() plan.Nature { return plan.Undoable }
