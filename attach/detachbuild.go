package attach

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/gopipework/gopipework/bridge"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/rtnl"
)

// BuildDetach decides what goes. Leases are given back while packets still get
// through. Then rules and records go: should one of them not, what was done can
// be undone, and the pair still shows what there is to do.
func BuildDetach(sel Selection, f DetachFacts) (Plan, error) {
	chosen, err := sel.choose(f)
	if err != nil {
		return Plan{}, err
	}
	d := detacher{f: f, going: map[int]bool{}, inners: map[int]bool{}}
	d.plan.Attachments, d.plan.Warnings = []Attachment{}, f.Warnings
	for _, c := range chosen {
		if c.Lent != nil {
			if err := c.Lent.checkHome(); err != nil {
				return Plan{}, err
			}
		}
		d.plan.Attachments = append(d.plan.Attachments, c.Attachment)
		d.take(c)
	}
	if sel.All || len(chosen) == 0 {
		d.inbounds(f.Left...)
	}
	d.access()
	d.parents()
	d.switches()
	d.ovs()
	if l := f.Routing.leftover(f.Guest.enter(), func(index int) bool { return d.inners[index] }); !l.empty() {
		d.last = append(d.last, delReplies{place{guest, f.Guest.enter()}, l})
	}
	d.remaining(chosen)
	d.restoreDNS()
	d.emptied()
	d.plan.Steps = slices.Concat(d.first, d.plan.Steps, d.links, d.last)
	return d.plan, nil
}

// remaining warns of links that the guest itself has made on what goes: a
// macvlan on our macvlan is one on the host's card, and stays there.
func (d *detacher) remaining(chosen []Pair) {
	for _, l := range d.f.Foreign {
		for _, c := range chosen {
			on := c.Child != nil && l.Peer == c.Child.Peer && l.PeerNS >= 0 && l.PeerNS == d.f.HostNS ||
				c.Lent != nil && c.Lent.Link != nil && l.Peer == c.Lent.Link.Index && l.PeerNS < 0
			if on && !paired(l.Kind) {
				d.plan.Warnings = append(d.plan.Warnings, fmt.Sprintf("%s has made %s on %s of the host, which stays: %sip link del dev %s",
					d.f.Guest.Name, l.Name, c.Host.Name, d.f.Guest.enter(), l.Name))
				break
			}
		}
	}
}

// detacher is one BuildDetach on its way.
type detacher struct {
	f     DetachFacts
	plan  Plan
	first []Step       // what packets have to get out for
	links []Step       // that delete links: after all that can be undone
	last  []Step       // what goes when the links have gone
	going map[int]bool // ports, by index

	inners map[int]bool // the guest's links that go, by index
}

// take plans for one attachment to go, and notes what it leaves behind.
func (d *detacher) take(c Pair) {
	if r := clientOf(d.f.Clients, c.index()); r != nil {
		d.links = append(d.links, endClient{place{guest, d.f.Guest.enter()}, c.Interface.Name, r.Ask.Client, r.Index})
	}
	if kept := keptFor(d.f.Leases, c.index()); kept != nil {
		d.first = append(d.first, releaseLease{place{guest, d.f.Guest.enter()}, c.Interface.Name, kept.Ask.Index})
	}
	if c.Inbound != nil {
		d.inbounds(c.Inbound)
	}
	if c.Lent != nil {
		if c.Lent.Link != nil {
			d.inners[c.Lent.Link.Index] = true
		}
		d.links = append(d.links, c.Lent.home(place{guest, d.f.Guest.enter()}))
		return
	}
	if c.Child != nil {
		d.inners[c.Child.Index] = true
		d.links = append(d.links, delInner{place{guest, d.f.Guest.enter()}, c.Child.Name, c.Child.Index})
		if parent, ok := d.f.Parents[c.Child.Peer]; ok {
			parent.Users--
			d.f.Parents[c.Child.Peer] = parent
		}
		return
	}
	if p, ok := d.f.OVS.Port(c.Port.Name); ok && p.Mark != "" {
		d.plan.Steps = append(d.plan.Steps, delOVSPort{p})
	}
	d.links = append(d.links, delLink{c.Port.Name, c.Port.Index})
	d.going[c.Port.Index] = true
	if c.Port.PeerNS == d.f.GuestNS {
		d.inners[c.Port.Peer] = true
	}
}

// inbounds plans for ifbs in the guest to go: after the link, which without it
// would lose all that comes in.
func (d *detacher) inbounds(links ...*rtnl.Link) {
	for _, l := range links {
		d.last = append(d.last, delInner{place{guest, d.f.Guest.enter()}, l.Name, l.Index})
	}
}

// parents plans for VLAN sub-interfaces of ours that nothing is on any more.
func (d *detacher) parents() {
	for _, index := range slices.Sorted(maps.Keys(d.f.Parents)) {
		if parent := d.f.Parents[index]; parent.Users == 0 {
			d.links = append(d.links, delLink{parent.Name, parent.Index})
		}
	}
}

// switches plans for what stood for ports that go: rules, VLAN filtering, and
// the bridge itself.
func (d *detacher) switches() {
	for _, index := range slices.Sorted(maps.Keys(d.f.Bridges)) {
		s := d.f.Bridges[index]
		rest := slices.DeleteFunc(slices.Clone(s.Ports), func(l *rtnl.Link) bool { return d.going[l.Index] })
		if len(rest) == len(s.Ports) {
			continue // nothing of this bridge goes
		}
		ours := func(has func(*rtnl.Link) bool) bool {
			return slices.ContainsFunc(rest, func(l *rtnl.Link) bool { return isOurs(l) && has(l) })
		}
		for _, r := range s.Firewall.OursFor(s.Name, "") {
			if !ours(func(l *rtnl.Link) bool { return r.Port == "" || l.Name == r.Port }) {
				d.plan.Steps = append(d.plan.Steps, delRule{r})
			}
		}
		if turnedOn(s.Link) && !ours(func(l *rtnl.Link) bool { return s.VLANs[l.Index] != "" }) {
			d.last = append(d.last, unfilterVLANs{s.Name})
		}
		if isOurs(s.Link) && len(rest) == 0 && !s.InUse {
			d.links = append(d.links, delLink{s.Name, s.Index})
		}
	}
}

// ovs plans for the bridges of Open vSwitch that we made and that have no port
// any more.
func (d *detacher) ovs() {
	for _, br := range d.f.OVS.Bridges {
		rest := slices.DeleteFunc(slices.Clone(br.Ports), func(p bridge.OVSPort) bool {
			return slices.ContainsFunc(d.plan.Steps, func(s Step) bool {
				del, ok := s.(delOVSPort)
				return ok && del.Name == p.Name
			})
		})
		if br.Ours && len(rest) == 0 && len(br.Ports) > 0 && !d.f.InUse[br.Name] {
			d.last = append(d.last, delOVSBridge{br})
		}
	}
}

// inUse reports whether somebody has given a link an address: its own
// link-local one does not count.
func inUse(index int, addrs []rtnl.Addr) bool {
	return slices.ContainsFunc(addrs, func(a rtnl.Addr) bool { return a.Index == index && !autoLinkLocal(a, nil) })
}

// choose returns the pairs that are meant. None is fine: it is detached.
func (sel Selection) choose(f DetachFacts) ([]Pair, error) {
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
		if m, ok := ParseMark(p.Port.Alias); ok && m.IfName == sel.IfName {
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
