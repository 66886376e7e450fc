package attach

import (
	"context"
	"fmt"
	"slices"

	"github.com/gopipework/gopipework/bridge"
	"github.com/gopipework/gopipework/internal/plan"
	"github.com/gopipework/gopipework/internal/rtnl"
)

// A detach that is killed after the attachment has gone can leave things on the
// host that nothing in the guest leads to any more. The same detach, run again,
// looks for them.

// Emptied is what we made on the host and nothing uses any more. An attach makes
// such a thing and puts it to use under one hold of the host's lock, so none of it
// is about to be used.
type Emptied struct {
	Ways       []Way              // of the host to macvlans
	Links      []*rtnl.Link       // bridges and VLAN sub-interfaces
	OVS        []bridge.OVSBridge // bridges
	Unfiltered []string           // names of bridges that filter VLANs for no port of ours
}

// observeEmptied looks for such things if a detach has nothing else to do, or takes
// everything of the guest.
func observeEmptied(ctx context.Context, m *plan.Machine, sel Selection, f *DetachFacts) error {
	if chosen, err := choose(sel, *f); err != nil || len(chosen) > 0 && !sel.All {
		return nil // an error is for BuildDetach to tell
	}
	var o looker
	o.look("the host's links", func() error { return emptiedLinks(m, f, sel.All) })
	ovs := o.ovs(ctx, m.Host())
	for _, br := range ovs.Bridges {
		if !br.Ours || len(br.Ports) > 0 {
			continue
		}
		used := false
		if l := o.byName(m.Host(), br.Name); l != nil {
			o.look("the users of "+br.Name, func() (err error) {
				used, err = isUsedBut(m, l.Index, fmt.Sprint("master ", l.Master))
				return err
			})
		}
		if !used {
			f.Emptied.OVS = append(f.Emptied.OVS, br)
		}
	}
	return o.err
}

func emptiedLinks(m *plan.Machine, f *DetachFacts, all bool) error {
	links, err := m.Host().Links()
	if err != nil {
		return err
	}
	going := map[int]string{} // the use that goes of a link, by its index
	for _, w := range f.Ways {
		if !all {
			w.need(f.Ours, f.Leases, nil)
		}
		used, err := isUsed(m, w.Index)
		if err != nil {
			return err
		}
		if _, last := w.end(nil); last != nil && used {
			continue
		} else if last != nil {
			going[w.Peer] = useBy(user{Link: w.Link})
		}
		f.Emptied.Ways = append(f.Emptied.Ways, w)
	}
	for _, l := range links {
		if turnedOn(l) {
			needed, err := needsFiltering(m.Host(), l)
			if err != nil {
				return err
			}
			if !needed {
				f.Emptied.Unfiltered = append(f.Emptied.Unfiltered, l.Name)
			}
		}
		if !plan.IsOurs(l) || l.Kind != "bridge" && l.Kind != "vlan" {
			continue
		}
		used, err := isUsedBut(m, l.Index, going[l.Index])
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
func (d departure) emptied(r *removal) {
	add := func(to *[]plan.Step, s plan.Step) {
		if !slices.ContainsFunc(*to, func(have plan.Step) bool { return have.String() == s.String() }) {
			*to = append(*to, s)
		}
	}
	for _, w := range d.f.Emptied.Ways {
		steps, last := w.end(nil)
		for _, s := range steps {
			add(&r.steps, s)
		}
		if last != nil {
			add(&r.links, *last)
		}
	}
	for _, l := range d.f.Emptied.Links {
		add(&r.links, delLink{l.Name, l.Index})
	}
	for _, br := range d.f.Emptied.OVS {
		add(&r.last, delOVSBridge{br})
	}
	for _, name := range d.f.Emptied.Unfiltered {
		add(&r.last, unfilterVLANs{name})
	}
}
