package attach

import (
	"slices"
	"strings"

	"github.com/gopipework/gopipework/internal/build"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/guestnet"
	"github.com/gopipework/gopipework/internal/kind"
	"github.com/gopipework/gopipework/internal/ours"
	"github.com/gopipework/gopipework/internal/plan"
	"github.com/gopipework/gopipework/internal/source"
)

// planDetach decides what goes.
func planDetach(sel Selection, f build.DetachFacts) (build.Plan, error) {
	chosen, err := choose(sel, f)
	if err != nil {
		return build.Plan{}, err
	}
	d, r := build.NewDeparture(f, chosen), &build.Removal{Warnings: f.Warnings}
	going := []Attachment{}
	for _, c := range chosen {
		if c.Lent != nil {
			if err := c.Lent.CheckHome(); err != nil {
				return build.Plan{}, err
			}
		}
		going = append(going, c.Attachment)
		for _, s := range source.AddressSources {
			s.Detach(d, c, r)
		}
		if c.Inbound != nil {
			d.Inbounds(r, c.Inbound)
		}
		link(d, c, r)
	}
	if sel.All || len(chosen) == 0 {
		d.Inbounds(r, f.Left...)
	}
	kind.DetachMirrors(d, r)
	for _, k := range kind.Registry {
		k.Detached(d, r)
	}
	replies(d, r)
	remaining(d, r)
	guestnet.EmptiedVRFs(d, r)
	guestnet.ReturnDNS(d, r)
	emptied(d, r)
	return r.Order(going), nil
}

// link plans for the link of an attachment to go.
func link(d build.Departure, c build.Pair, r *build.Removal) {
	switch {
	case c.Lent != nil:
		r.Links = append(r.Links, kind.HomeStep(*c.Lent, d.Place))
	case c.Child != nil:
		r.Links = append(r.Links, ours.DelInner{Place: d.Place, Name: c.Child.Name, Index: c.Child.Index})
	default:
		r.Links = append(r.Links, ours.DelLink{Name: c.Port.Name, Index: c.Port.Index})
	}
}

// replies plans for the source routing to go that then stands for nothing.
func replies(d build.Departure, r *build.Removal) {
	if l := guestnet.ObsoleteIn(d.There.Routing, d.Enter, func(index int) bool { return d.Inners[index] }); !l.Empty() {
		r.Last = append(r.Last, guestnet.DelReplies{Place: d.Place, Obsolete: l})
	}
}

// remaining warns of links that the guest itself has made on what goes: a
// macvlan on our macvlan is one on the host's card, and stays there.
func remaining(d build.Departure, r *build.Removal) {
	for _, l := range d.There.Foreign {
		for _, c := range d.Chosen {
			on := c.Child != nil && l.Peer == c.Child.Peer && l.PeerNS >= 0 && l.PeerNS == d.There.HostNS ||
				c.Lent != nil && c.Lent.Link != nil && l.Peer == c.Lent.Link.Index && l.PeerNS < 0
			if on && !ours.Paired(l.Kind) {
				r.Warn("%s has created %s on the host's %s, and keeps it; to delete it: %sip link del dev %s",
					d.There.Guest.Name, l.Name, c.Host.Name, d.Enter, l.Name)
				break
			}
		}
	}
}

// belongs reports whether an attachment is among those that a selection is about. Of one
// that is half made nobody knows who asked for it.
func belongs(sel Selection, a Attachment) bool {
	return a.Origin == "" || (sel.Origin == "" || a.Origin == sel.Origin) && (sel.Guest == "" || a.Guest.ID == sel.Guest)
}

// choose returns the pairs that are meant. None is fine: it is detached.
func choose(sel Selection, f build.DetachFacts) ([]build.Pair, error) {
	f.Ours = slices.DeleteFunc(slices.Clone(f.Ours), func(p build.Pair) bool { return !belongs(sel, p.Attachment) })
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
			WithHint("name one of them, or use --all")
	case sel.IfName == "":
		return f.Ours, nil
	}
	for _, p := range f.Ours {
		if p.Interface.Name == sel.IfName {
			return []build.Pair{p}, nil
		}
	}
	for _, p := range f.Ours { // the guest has renamed it
		if p.Lent != nil && p.Lent.IfName == sel.IfName {
			return []build.Pair{p}, nil
		}
		if p.Port == nil {
			continue
		}
		if m, ok := plan.ParseMark(p.Port.Alias); ok && m.IfName == sel.IfName {
			return []build.Pair{p}, nil
		}
	}
	if sel.Origin != "" {
		return nil, nil // what else has the name is none of its
	}
	for _, l := range f.Foreign {
		if l.Name == sel.IfName {
			return nil, refuse(fault.Conflict, "gopipework did not create %s: it is %s", l.Name, ours.DescribeKind(l)).
				WithHint("gopipework list %s", f.Guest.Name)
		}
	}
	return nil, nil
}
