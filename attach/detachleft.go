package attach

import (
	"context"
	"fmt"
	"slices"

	"github.com/gopipework/gopipework/internal/build"
	"github.com/gopipework/gopipework/internal/hostaccess"
	"github.com/gopipework/gopipework/internal/kind"
	"github.com/gopipework/gopipework/internal/ours"
	"github.com/gopipework/gopipework/internal/plan"
)

// A detach that is killed after the attachment has gone can leave things on the
// host that nothing in the guest leads to any more. The same detach, run again,
// looks for them.

// observeEmptied looks for such things if a detach has nothing else to do, or takes
// everything of the guest.
func observeEmptied(ctx context.Context, m *plan.Machine, sel Selection, f *build.DetachFacts) error {
	if chosen, err := choose(sel, *f); err != nil || len(chosen) > 0 && !sel.All {
		return nil // an error is for planDetach to tell
	}
	var o build.Looker
	o.Look("the host's links", func() error { return emptiedLinks(m, f, sel.All) })
	ovs := o.OVS(ctx, m.Host())
	for _, br := range ovs.Bridges {
		if !br.Ours || br.Origin != "" || len(br.Ports) > 0 {
			continue
		}
		used := false
		if l := o.ByName(m.Host(), br.Name); l != nil {
			o.Look("the users of "+br.Name, func() (err error) {
				used, err = ours.IsUsedBut(m, l.Index, fmt.Sprint("master ", l.Master))
				return err
			})
		}
		if !used {
			f.Emptied.OVS = append(f.Emptied.OVS, br)
		}
	}
	return o.Err
}

func emptiedLinks(m *plan.Machine, f *build.DetachFacts, all bool) error {
	links, err := m.Host().Links()
	if err != nil {
		return err
	}
	going := map[int]string{} // the use that goes of a link, by its index
	for _, w := range f.Ways {
		if !all {
			hostaccess.NeedFor(&w, f.Ours, f.Leases, nil)
		}
		used, err := ours.IsUsed(m, w.Index)
		if err != nil {
			return err
		}
		if _, last := hostaccess.EndWay(w, nil); last != nil && used {
			continue
		} else if last != nil {
			going[w.Peer] = ours.UseBy(ours.User{Link: w.Link})
		}
		f.Emptied.Ways = append(f.Emptied.Ways, w)
	}
	for _, l := range links {
		if kind.EmptiedVXLAN(l, links) && !kind.UplinkWanted(l) {
			f.Emptied.VXLANs = append(f.Emptied.VXLANs, l)
			going[l.Master] = ours.UseByPort(l)
		}
	}
	for _, l := range links {
		if kind.TurnedOn(l) {
			needed, err := kind.NeedsFiltering(m.Host(), l)
			if err != nil {
				return err
			}
			if !needed {
				f.Emptied.Unfiltered = append(f.Emptied.Unfiltered, l.Name)
			}
		}
		if !plan.IsOurs(l) || l.Kind != "bridge" && l.Kind != "vlan" || ours.Wanted(l) {
			continue
		}
		used, err := ours.IsUsedBut(m, l.Index, going[l.Index])
		if err != nil {
			return err
		}
		if !used {
			f.Emptied.Links = append(f.Emptied.Links, l)
		}
	}
	return nil
}

// emptied plans to delete those things, unless that is planned already.
func emptied(d build.Departure, r *build.Removal) {
	add := func(to *[]plan.Step, s plan.Step) {
		if !slices.ContainsFunc(*to, func(have plan.Step) bool { return have.String() == s.String() }) {
			*to = append(*to, s)
		}
	}
	for _, w := range d.There.Emptied.Ways {
		steps, last := hostaccess.EndWay(w, nil)
		for _, s := range steps {
			add(&r.Steps, s)
		}
		if last != nil {
			add(&r.Links, *last)
		}
	}
	for _, l := range d.There.Emptied.VXLANs {
		add(&r.Links, kind.EndUplink("", build.Uplink{Link: l}))
	}
	for _, l := range d.There.Emptied.Links {
		add(&r.Links, ours.DelLink{Name: l.Name, Index: l.Index})
	}
	for _, br := range d.There.Emptied.OVS {
		add(&r.Last, kind.DelOVSBridge{OVSBridge: br})
	}
	for _, name := range d.There.Emptied.Unfiltered {
		add(&r.Last, kind.UnfilterVLANs{Bridge: name})
	}
}
