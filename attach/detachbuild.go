package attach

import (
	"fmt"
	"slices"
	"strings"

	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/guests"
	"github.com/gopipework/gopipework/internal/plan"
	"github.com/gopipework/gopipework/internal/rtnl"
)

// removal is a plan that takes things away, while it is written.
type removal struct {
	warnings []string
	first    []plan.Step // what needs the network
	steps    []plan.Step // what can be undone
	links    []plan.Step // what deletes links
	last     []plan.Step // what goes when the links have gone
}

func (r *removal) warn(format string, args ...any) {
	r.warnings = append(r.warnings, fmt.Sprintf(format, args...))
}

// plan returns the steps in their order. Leases are released while packets still get
// through. Then rules and records go: should one of them not, what was done can be
// undone, and the pair still shows what there is to do.
func (r *removal) order(of []Attachment) Plan {
	return Plan{Attachments: of, Plan: plan.Plan{Warnings: r.warnings, Steps: slices.Concat(r.first, r.steps, r.links, r.last)}}
}

// departure is what goes in a detach.
type departure struct {
	f          DetachFacts
	plan.Place // the guest
	chosen     []Pair
	ports      map[int]bool // the ends on the host that go, by index
	inners     map[int]bool // the guest's links that go, by index
}

func newDeparture(f DetachFacts, chosen []Pair) departure {
	d := departure{f: f, Place: plan.Place{Side: plan.InGuest, Enter: guests.Enter(f.Guest)}, chosen: chosen, ports: map[int]bool{}, inners: map[int]bool{}}
	for _, c := range chosen {
		switch {
		case c.Lent != nil && c.Lent.Link != nil:
			d.inners[c.Lent.Link.Index] = true
		case c.Child != nil:
			d.inners[c.Child.Index] = true
		case c.Port != nil:
			d.ports[c.Port.Index] = true
			if c.Port.PeerNS == f.GuestNS {
				d.inners[c.Port.Peer] = true
			}
		}
	}
	return d
}

// BuildDetach decides what goes.
func BuildDetach(sel Selection, f DetachFacts) (Plan, error) {
	chosen, err := choose(sel, f)
	if err != nil {
		return Plan{}, err
	}
	d, r := newDeparture(f, chosen), &removal{warnings: f.Warnings}
	going := []Attachment{}
	for _, c := range chosen {
		if c.Lent != nil {
			if err := c.Lent.checkHome(); err != nil {
				return Plan{}, err
			}
		}
		going = append(going, c.Attachment)
		for _, s := range addressSources {
			s.detach(d, c, r)
		}
		if c.Inbound != nil {
			d.inbounds(r, c.Inbound)
		}
		d.link(c, r)
	}
	if sel.All || len(chosen) == 0 {
		d.inbounds(r, f.Left...)
	}
	for _, k := range registry {
		k.detached(d, r)
	}
	d.replies(r)
	d.remaining(r)
	d.restoreDNS(r)
	d.emptied(r)
	return r.order(going), nil
}

// link plans for the link of an attachment to go.
func (d departure) link(c Pair, r *removal) {
	switch {
	case c.Lent != nil:
		r.links = append(r.links, c.Lent.home(d.Place))
	case c.Child != nil:
		r.links = append(r.links, delInner{d.Place, c.Child.Name, c.Child.Index})
	default:
		r.links = append(r.links, delLink{c.Port.Name, c.Port.Index})
	}
}

// inbounds plans for ifbs in the guest to go: after the link, which without it
// would lose all that comes in.
func (d departure) inbounds(r *removal, links ...*rtnl.Link) {
	for _, l := range links {
		r.last = append(r.last, delInner{d.Place, l.Name, l.Index})
	}
}

// replies plans for the source routing to go that then stands for nothing.
func (d departure) replies(r *removal) {
	if l := d.f.Routing.leftover(d.Enter, func(index int) bool { return d.inners[index] }); !l.empty() {
		r.last = append(r.last, delReplies{d.Place, l})
	}
}

// remaining warns of links that the guest itself has made on what goes: a
// macvlan on our macvlan is one on the host's card, and stays there.
func (d departure) remaining(r *removal) {
	for _, l := range d.f.Foreign {
		for _, c := range d.chosen {
			on := c.Child != nil && l.Peer == c.Child.Peer && l.PeerNS >= 0 && l.PeerNS == d.f.HostNS ||
				c.Lent != nil && c.Lent.Link != nil && l.Peer == c.Lent.Link.Index && l.PeerNS < 0
			if on && !paired(l.Kind) {
				r.warn("%s has made %s on %s of the host, which stays: %sip link del dev %s",
					d.f.Guest.Name, l.Name, c.Host.Name, d.Enter, l.Name)
				break
			}
		}
	}
}

// inUse reports whether somebody has given a link an address: its own
// link-local one does not count.
func inUse(index int, addrs []rtnl.Addr) bool {
	return slices.ContainsFunc(addrs, func(a rtnl.Addr) bool { return a.Index == index && !autoLinkLocal(a, nil) })
}

// choose returns the pairs that are meant. None is fine: it is detached.
func choose(sel Selection, f DetachFacts) ([]Pair, error) {
	refuse := func(code fault.Code, format string, args ...any) *fault.Error {
		return fault.New(code, "detach", f.Guest.Name, format, args...)
	}
	switch {
	case sel.All:
		return f.Ours, nil
	case sel.IfName == "" && len(f.Ours) > 1:
		var names []string
		for _, p := range f.Ours {
			names = append(names, p.Interface.Name)
		}
		return nil, refuse(fault.Usage, "it has %d attachments: %s", len(f.Ours), strings.Join(names, ", ")).
			WithHint("name one of them, or --all")
	case sel.IfName == "":
		return f.Ours, nil
	}
	for _, p := range f.Ours {
		if p.Interface.Name == sel.IfName {
			return []Pair{p}, nil
		}
	}
	for _, p := range f.Ours { // the guest has renamed it
		if p.Lent != nil && p.Lent.IfName == sel.IfName {
			return []Pair{p}, nil
		}
		if p.Port == nil {
			continue
		}
		if m, ok := plan.ParseMark(p.Port.Alias); ok && m.IfName == sel.IfName {
			return []Pair{p}, nil
		}
	}
	for _, l := range f.Foreign {
		if l.Name == sel.IfName {
			return nil, refuse(fault.Conflict, "%s is not ours: it is %s", l.Name, describeKind(l)).
				WithHint("gopipework list %s", f.Guest.Name)
		}
	}
	return nil, nil
}
