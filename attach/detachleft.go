package attach

import (
	"context"
	"fmt"
	"slices"

	"github.com/gopipework/gopipework/bridge"
	"github.com/gopipework/gopipework/internal/rtnl"
)

// What a detach that was killed has left on the host when the attachment itself
// had gone: nothing leads there from the guest any more. The same detach again
// looks for it.

// Emptied is what of ours on the host stands for nobody. An attach makes it and
// uses it without letting go of the host's lock, so none of it is about to be
// used.
type Emptied struct {
	Ways       []Way              // of the host to macvlans
	Links      []*rtnl.Link       // bridges and VLAN sub-interfaces
	OVS        []bridge.OVSBridge // bridges
	Unfiltered []string           // names of bridges that filter VLANs for no port of ours
}

// observeEmptied looks for it where a detach has nothing left to do, or is to do
// all there is.
func observeEmptied(ctx context.Context, m *machine, sel Selection, f *DetachFacts) error {
	if chosen, err := sel.choose(*f); err != nil || len(chosen) > 0 && !sel.All {
		return nil // an error is for BuildDetach to tell
	}
	var o looker
	o.look("the host's links", func() error { return m.emptiedLinks(f, sel.All) })
	ovs := o.ovs(ctx, m.sides[host])
	for _, br := range ovs.Bridges {
		if !br.Ours || len(br.Ports) > 0 {
			continue
		}
		used := false
		if l := o.byName(m.sides[host], br.Name); l != nil {
			o.look("the users of "+br.Name, func() (err error) {
				used, err = m.usedBut(l.Index, fmt.Sprint("master ", l.Master))
				return err
			})
		}
		if !used {
			f.Emptied.OVS = append(f.Emptied.OVS, br)
		}
	}
	return o.err
}

func (m *machine) emptiedLinks(f *DetachFacts, all bool) error {
	links, err := m.sides[host].Links()
	if err != nil {
		return err
	}
	going := map[int]string{} // the use that goes of a link, by its index
	for _, w := range f.Ways {
		if !all {
			w.need(f.Ours, nil)
		}
		used, err := m.used(w.Index)
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
			needed, err := needsFiltering(m.sides[host], l)
			if err != nil {
				return err
			}
			if !needed {
				f.Emptied.Unfiltered = append(f.Emptied.Unfiltered, l.Name)
			}
		}
		if !isOurs(l) || l.Kind != "bridge" && l.Kind != "vlan" {
			continue
		}
		used, err := m.usedBut(l.Index, going[l.Index])
		if err != nil {
			return err
		}
		if !used {
			f.Emptied.Links = append(f.Emptied.Links, l)
		}
	}
	return nil
}

// emptied plans for it to go, unless that is planned already.
func (d *detacher) emptied() {
	add := func(to *[]Step, s Step) {
		if !slices.ContainsFunc(*to, func(have Step) bool { return have.String() == s.String() }) {
			*to = append(*to, s)
		}
	}
	for _, w := range d.f.Emptied.Ways {
		steps, last := w.end(nil)
		for _, s := range steps {
			add(&d.plan.Steps, s)
		}
		if last != nil {
			add(&d.links, *last)
		}
	}
	for _, l := range d.f.Emptied.Links {
		add(&d.links, delLink{l.Name, l.Index})
	}
	for _, br := range d.f.Emptied.OVS {
		add(&d.last, delOVSBridge{br})
	}
	for _, name := range d.f.Emptied.Unfiltered {
		add(&d.last, unfilterVLANs{name})
	}
}
