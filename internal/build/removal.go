package build

import (
	"fmt"
	"slices"

	"github.com/gopipework/gopipework/internal/guests"
	"github.com/gopipework/gopipework/internal/ours"
	"github.com/gopipework/gopipework/internal/plan"
	"github.com/gopipework/gopipework/internal/rtnl"
)

// Removal is a plan that deletes things, while it is written.
type Removal struct {
	Warnings []string
	First    []plan.Step // what needs the network
	Steps    []plan.Step // what can be undone
	Links    []plan.Step // what deletes links
	Last     []plan.Step // what goes when the links have gone
}

func (r *Removal) Warn(format string, args ...any) {
	r.Warnings = append(r.Warnings, fmt.Sprintf(format, args...))
}

// Order returns the steps in their order. Leases are released while packets still
// get through. Rules and records are deleted next: if one of them cannot be, what
// was done can be undone, and the pair still shows what there is to do.
func (r *Removal) Order(of []ours.Attachment) Plan {
	return Plan{Attachments: of, Plan: plan.Plan{Warnings: r.Warnings, Steps: slices.Concat(r.First, r.Steps, r.Links, r.Last)}}
}

// Departure is what goes in a detach.
type Departure struct {
	There      DetachFacts
	plan.Place // the guest
	Chosen     []Pair
	Ports      map[int]bool // the ends on the host that go, by index
	Inners     map[int]bool // the guest's links that go, by index
}

func NewDeparture(f DetachFacts, chosen []Pair) Departure {
	d := Departure{There: f, Place: plan.Place{Side: plan.InGuest, Enter: guests.Enter(f.Guest)}, Chosen: chosen, Ports: map[int]bool{}, Inners: map[int]bool{}}
	for _, c := range chosen {
		switch {
		case c.Lent != nil && c.Lent.Link != nil:
			d.Inners[c.Lent.Link.Index] = true
		case c.Child != nil:
			d.Inners[c.Child.Index] = true
		case c.Port != nil:
			d.Ports[c.Port.Index] = true
			if c.Port.PeerNS == f.GuestNS {
				d.Inners[c.Port.Peer] = true
			}
		}
	}
	return d
}

// Inbounds plans for ifbs in the guest to go: after the link, which without it
// would lose all that comes in.
func (d Departure) Inbounds(r *Removal, links ...*rtnl.Link) {
	for _, l := range links {
		r.Last = append(r.Last, ours.DelInner{Place: d.Place, Name: l.Name, Index: l.Index})
	}
}
