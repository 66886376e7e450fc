package attach

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/gopipework/gopipework/bridge"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/hostclient"
	"github.com/gopipework/gopipework/internal/lease"
	"github.com/gopipework/gopipework/internal/rtnl"
)

// Selection is which of a guest's attachments to take back.
type Selection struct {
	IfName string // "" for the only one
	All    bool
}

// ParseSelection reads the words of a detach after its guest.
func ParseSelection(ifName string, all bool) (Selection, error) {
	if ifName != "" && all {
		return Selection{}, fault.BadWord("read interface name", ifName, "--all is every interface, not this one alone").
			WithHint("leave out one of the two")
	}
	name, err := parseIfName("interface name", ifName)
	return Selection{IfName: name, All: all}, err
}

// DetachFacts are what planning a detach must know.
type DetachFacts struct {
	Guest   GuestInfo
	Ours    []Pair       // what is ours between the host and this guest
	Foreign []*rtnl.Link // the guest's other links
	Left    []*rtnl.Link // ifbs of ours that nothing is sent to
	Bridges map[int]Switch
	OVS     bridge.OVS           // looked at only if a pair is in it
	InUse   map[string]bool      // its bridges that somebody has given an address
	Leases  []lease.Kept         // of the guest's interfaces
	Clients []hostclient.Running // DHCP clients of the host that run for them
	Resolv  *resolvNote          // what was written into its resolv.conf; nil: nothing
	Parents map[int]Parent       // VLAN sub-interfaces of ours that a child is on
	GuestNS int                  // id of the guest's namespace in the host's
	Routing routing              // in the guest
	Ways    []Way                // of the host to macvlans, without this guest
	HostNS  int                  // id of the host's namespace in the guest's

	ResolvChanged bool // by somebody else since
}

// Pair is one of ours, described and by its end on the host; or, where it has
// none, by the guest's link; or by the loan of a card.
type Pair struct {
	Attachment
	Port  *rtnl.Link
	Child *rtnl.Link
	Lent  *Lent

	Inbound *rtnl.Link // the ifb that what comes in is sent through; nil: none
}

// index is that of the guest's end.
func (p Pair) index() int {
	switch {
	case p.Child != nil:
		return p.Child.Index
	case p.Port != nil:
		return p.Port.Peer
	case p.Lent.Link != nil:
		return p.Lent.Link.Index
	}
	return 0
}

// Parent is a VLAN sub-interface that we made as a parent.
type Parent struct {
	*rtnl.Link
	Users int // links on it, in any namespace
}

// Switch is a bridge that such a pair is plugged into.
type Switch struct {
	*rtnl.Link
	Ports    []*rtnl.Link
	InUse    bool // somebody has given the bridge an address
	Firewall bridge.Firewall
	VLANs    map[int]string // of its ports that have any but the default, by index
}

// Detach takes attachments of the guest back: the pair, the firewall rules
// that stood for it, and the bridge if it is ours and of no use to anybody
// now. What is not there any more is taken back already.
func Detach(ctx context.Context, sel Selection, g Guest, hostNS *os.File, opt Options) (Result, error) {
	ctx, _, cancel := opt.bound(ctx)
	defer cancel()
	m, err := open(ctx, hostNS, g)
	if err != nil {
		return Result{}, err
	}
	defer m.close()
	f, err := observeDetach(ctx, m)
	if err != nil {
		return Result{}, m.cause(ctx, err)
	}
	p, err := BuildDetach(sel, f)
	if err != nil || opt.DryRun {
		return p.result(), err
	}
	return p.result(), p.remove(ctx, m, opt.tell)
}

func observeDetach(ctx context.Context, m *machine) (DetachFacts, error) {
	f := DetachFacts{Guest: m.guests[guest].GuestInfo, Bridges: map[int]Switch{}, Parents: map[int]Parent{}}
	ends, err := ourEnds(m.sides[host], &m.guests[guest])
	if err != nil {
		return f, err
	}
	found := findNamespaces(m.sides[host], ends, &m.guests[guest])
	defer found.close()
	inners := map[int]bool{}
	d := describer{ctx: ctx, host: m.sides[host]}
	for _, l := range ends {
		a, err := d.describe(l, found[l.PeerNS])
		if errors.Is(err, rtnl.ErrNotFound) {
			continue // the guest has deleted its end, and ours with it
		}
		if err != nil {
			return f, err
		}
		f.Ours = append(f.Ours, Pair{Attachment: a, Port: l})
		inners[l.Peer] = true
		if a.Host.Kind == string(KindOVS) {
			continue
		}
		if err := observeSwitch(ctx, m.sides[host], l.Master, f.Bridges); err != nil {
			return f, err
		}
	}
	if d.ovs != nil {
		f.OVS = *d.ovs
		if f.InUse, err = ovsInUse(m.sides[host], f.OVS); err != nil {
			return f, err
		}
	}
	if err := observeChildren(m, &f, inners); err != nil {
		return f, err
	}
	if err := observeLent(m, &f, inners); err != nil {
		return f, err
	}
	if f.Ways, err = ways(m.sides[host], m.hostNS, m.guests[guest].Namespace, func(ns *namespace, _ *rtnl.Link) bool { return ns.inode == m.guests[guest].NetNS }); err != nil {
		return f, explain("look for macvlans of", "the host", err)
	}
	if f.GuestNS, err = m.sides[host].NamespaceID(m.guests[guest].Namespace); err != nil {
		return f, explain("find", "the namespace of "+m.guests[guest].Name, err)
	}
	if f.HostNS, err = m.sides[guest].NamespaceID(m.hostNS); err != nil {
		return f, explain("find", "the namespace of the host", err)
	}
	if f.Routing, err = observeRouting(m.sides[guest]); err != nil {
		return f, explain("read routes and rules of", m.guests[guest].Name, err)
	}
	if f.Leases, err = keptLeases(m.guests[guest]); err != nil {
		return f, err
	}
	if err := observeResolv(ctx, m, &f); err != nil {
		return f, err
	}
	if f.Clients, err = hostclient.Find(m.guests[guest].Namespace); err != nil {
		return f, explain("find DHCP clients of", m.guests[guest].Name, err)
	}
	links, err := m.sides[guest].Links()
	if err != nil {
		return f, explain("list links of", m.guests[guest].Name, err)
	}
	ifbs, err := findInbounds(m.sides[guest], links)
	for i := range f.Ours {
		f.Ours[i].Inbound = ifbs.of[f.Ours[i].index()]
	}
	f.Left = ifbs.left
	f.Foreign = slices.DeleteFunc(links, func(l *rtnl.Link) bool { return inners[l.Index] || isInbound(l) })
	return f, explain("read queues of", m.guests[guest].Name, err)
}

// observeChildren looks at what of ours is in the guest alone.
func observeChildren(m *machine, f *DetachFacts, inners map[int]bool) error {
	children, err := childrenIn(m.sides[guest], m.hostNS)
	if err != nil {
		return explain("list links of", m.guests[guest].Name, err)
	}
	ns := &namespace{pid: m.guests[guest].PID, inode: m.guests[guest].NetNS, links: m.sides[guest]}
	for _, c := range children {
		a, err := describeChild(m.sides[host], c, ns)
		if errors.Is(err, rtnl.ErrNotFound) {
			continue
		}
		if err != nil {
			return err
		}
		f.Ours = append(f.Ours, Pair{Attachment: a, Child: c.Link})
		inners[c.Index] = true
		if !c.onHost() {
			continue
		}
		parent, err := m.sides[host].LinkByIndex(c.Peer)
		if err != nil || !isOurs(parent) || parent.Kind != "vlan" {
			continue // another's, or gone
		}
		others, err := childrenOf(m.sides[host], parent.Index, m.hostNS, m.guests[guest].Namespace)
		if err != nil {
			return explain("look for users of", parent.Name, err)
		}
		f.Parents[parent.Index] = Parent{Link: parent, Users: len(others) + childrenOn(children, parent.Index)}
	}
	return nil
}

// observeLent looks at the cards that are lent to the guest.
func observeLent(m *machine, f *DetachFacts, inners map[int]bool) error {
	all, err := lentBy(m.sides[host])
	if err != nil {
		return err
	}
	here, err := lentTo(m.sides[guest], all)
	if err != nil {
		return err
	}
	ns := &namespace{pid: m.guests[guest].PID, inode: m.guests[guest].NetNS, links: m.sides[guest]}
	for _, l := range here {
		a, err := l.describe(ns)
		if err != nil {
			return err
		}
		f.Ours = append(f.Ours, Pair{Attachment: a, Lent: &l})
		if l.Link != nil {
			inners[l.Link.Index] = true
		}
	}
	return nil
}

// childrenOn counts the children that are on a parent of the host.
func childrenOn(children []child, parent int) (n int) {
	for _, c := range children {
		if c.onHost() && c.Peer == parent {
			n++
		}
	}
	return n
}

// observeSwitch looks at a bridge that a pair is plugged into, once.
func observeSwitch(ctx context.Context, k kernel, index int, seen map[int]Switch) error {
	if _, ok := seen[index]; ok || index == 0 {
		return nil
	}
	var s Switch
	var o looker
	o.look("the bridge", func() (err error) { s.Link, err = k.LinkByIndex(index); return err })
	o.look("the ports of the bridge", func() (err error) { s.Ports, err = k.Ports(index); return err })
	o.look("the addresses of the bridge", func() error {
		addrs, err := k.Addrs()
		s.InUse = inUse(index, addrs)
		return err
	})
	if o.err == nil && turnedOn(s.Link) {
		o.look("the VLANs of the bridge", func() error {
			all, err := k.PortVLANs()
			s.VLANs = map[int]string{}
			for _, p := range s.Ports {
				s.VLANs[p.Index] = vlanOf(all[p.Index], s.Link)
			}
			return err
		})
	}
	o.look("the firewall", func() error {
		return k.Run(func() (err error) {
			s.Firewall, err = bridge.ObserveFirewall(ctx, s.Name)
			return err
		})
	})
	seen[index] = s
	return o.err
}

// BuildDetach decides what goes. Leases are given back while packets still get
// through. Then rules and records go: should one of them not, what was done can
// be undone, and the pair still shows what there is to do.
func BuildDetach(sel Selection, f DetachFacts) (Plan, error) {
	chosen, err := sel.choose(f)
	if err != nil {
		return Plan{}, err
	}
	d := detacher{f: f, going: map[int]bool{}, inners: map[int]bool{}}
	d.plan.Attachments = []Attachment{}
	for _, c := range chosen {
		if c.Lent != nil {
			if err := c.Lent.checkHome(); err != nil {
				return Plan{}, err
			}
		}
		d.plan.Attachments = append(d.plan.Attachments, c.Attachment)
		d.take(c)
	}
	if sel.All {
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
			if on && l.Kind != "veth" {
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
