package attach

import (
	"context"
	"errors"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/gopipework/gopipework/bridge"
	"github.com/gopipework/gopipework/internal/fault"
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
	Bridges map[int]Switch
	Parents map[int]Parent // VLAN sub-interfaces of ours that a child is on
}

// Pair is one of ours, described and by its end on the host; or, where it has
// none, by the guest's link.
type Pair struct {
	Attachment
	Port  *rtnl.Link
	Child *rtnl.Link
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
	for _, l := range ends {
		a, err := describe(m.sides[host], l, found[l.PeerNS])
		if errors.Is(err, rtnl.ErrNotFound) {
			continue // the guest has deleted its end, and ours with it
		}
		if err != nil {
			return f, err
		}
		f.Ours = append(f.Ours, Pair{Attachment: a, Port: l})
		inners[l.Peer] = true
		if err := observeSwitch(ctx, m.sides[host], l.Master, f.Bridges); err != nil {
			return f, err
		}
	}
	if err := observeChildren(m, &f, inners); err != nil {
		return f, err
	}
	links, err := m.sides[guest].Links()
	f.Foreign = slices.DeleteFunc(links, func(l *rtnl.Link) bool { return inners[l.Index] })
	return f, explain("list links of", m.guests[guest].Name, err)
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
		others, err := childrenOf(m.sides[host], parent.Index, m.hostNS, m.guests[guest].NetNS)
		if err != nil {
			return explain("look for users of", parent.Name, err)
		}
		f.Parents[parent.Index] = Parent{Link: parent, Users: len(others) + usersIn(children, parent.Index)}
	}
	return nil
}

// usersIn counts the children that are on a parent of the host.
func usersIn(children []child, parent int) (n int) {
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
	o.look("the firewall", func() error {
		return k.Run(func() (err error) {
			s.Firewall, err = bridge.ObserveFirewall(ctx, s.Name)
			return err
		})
	})
	seen[index] = s
	return o.err
}

// BuildDetach decides what goes. Rules go first: should one of them not, what
// was done can be undone, and the pair still shows what there is to do.
func BuildDetach(sel Selection, f DetachFacts) (Plan, error) {
	chosen, err := sel.choose(f)
	if err != nil {
		return Plan{}, err
	}
	p := Plan{Attachments: []Attachment{}}
	going := map[int]bool{}
	var links []Step
	for _, c := range chosen {
		p.Attachments = append(p.Attachments, c.Attachment)
		if c.Child != nil {
			links = append(links, delInner{place{guest, f.Guest.enter()}, c.Child.Name, c.Child.Index})
			if parent, ok := f.Parents[c.Child.Peer]; ok {
				parent.Users--
				f.Parents[c.Child.Peer] = parent
			}
			continue
		}
		links = append(links, delLink{c.Port.Name, c.Port.Index})
		going[c.Port.Index] = true
	}
	for _, index := range slices.Sorted(maps.Keys(f.Parents)) {
		if parent := f.Parents[index]; parent.Users == 0 {
			links = append(links, delLink{parent.Name, parent.Index})
		}
	}
	for _, index := range slices.Sorted(maps.Keys(f.Bridges)) {
		s := f.Bridges[index]
		rest := slices.DeleteFunc(slices.Clone(s.Ports), func(l *rtnl.Link) bool { return going[l.Index] })
		if len(rest) == len(s.Ports) {
			continue // nothing of this bridge goes
		}
		stays := func(port string) bool {
			return slices.ContainsFunc(rest, func(l *rtnl.Link) bool { return isOurs(l) && (port == "" || l.Name == port) })
		}
		for _, r := range s.Firewall.OursFor(s.Name, "") {
			if !stays(r.Port) {
				p.Steps = append(p.Steps, delRule{r})
			}
		}
		if isOurs(s.Link) && len(rest) == 0 && !s.InUse {
			links = append(links, delLink{s.Name, s.Index})
		}
	}
	p.Steps = append(p.Steps, links...)
	return p, nil
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
