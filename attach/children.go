package attach

import (
	"errors"
	"os"
	"slices"

	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/plan"
	"github.com/gopipework/gopipework/internal/rtnl"
	"golang.org/x/sys/unix"
)

// child is a link of ours in a guest that has no end on the host.
type child struct {
	*rtnl.Link
	hostNS int        // id of the host's namespace in the guest's; -1: none
	other  *rtnl.Link // of a veth to another guest: the end there
}

// onHost reports whether the child's parent is a link of the host.
func (c child) onHost() bool { return c.PeerNS >= 0 && c.PeerNS == c.hostNS }

// giveID gives a guest's namespace an id on the host. By it the host can look into
// the guest also when that has neither process nor name any more; and what of
// ours is in a guest alone is told by it from what another host of this machine,
// in a namespace of its own, has put there.
func giveID(m *plan.Machine, at plan.Side) error {
	_, err := m.Host().GiveNamespaceID(m.Guests[at].Namespace)
	return fault.Explain("give an id to", "the namespace of "+m.Guests[at].Name, err)
}

// owned returns those of the links in a guest that are this host's: on a parent
// here or, where there is none, in a guest that has an id here. id is that; -1: none.
func owned(id int, all []child) []child {
	return slices.DeleteFunc(all, func(c child) bool {
		if c.PeerNS >= 0 && c.other == nil {
			return !c.onHost()
		}
		return id < 0
	})
}

// childrenIn returns the links of ours in a namespace that have no end on the
// host. A guest can forge one; nothing of the host is changed on its word.
func childrenIn(k plan.Kernel, hostNS *os.File) ([]child, error) {
	id, err := k.NamespaceID(hostNS)
	if err != nil {
		return nil, err
	}
	links, err := k.Links()
	if err != nil {
		return nil, err
	}
	lent, err := lentIn(k, links)
	if err != nil {
		return nil, err
	}
	var out []child
	for _, l := range links {
		c := child{Link: l, hostNS: id}
		if _, is := lent[l.Index]; is || !plan.IsOurs(l) {
			continue
		}
		if l.Kind == "veth" && l.PeerNS >= 0 && l.PeerNS != id {
			if c.other, err = k.LinkIn(l.PeerNS, l.Peer); err != nil {
				continue // gone, or out of our reach
			}
		}
		if traitsOf(Kind(l.Kind)).child || betweenGuests(l, c.other) || strayed(l, c.other) {
			out = append(out, c)
		}
	}
	return out, nil
}

// betweenGuests reports whether a link in a guest is one end of a pair of ours
// to another guest, and not of one to the bridge of some other host: there the
// other end alone has the mark, and is a port from its first instant. other is
// nil if it does not lead to another guest.
func betweenGuests(inner, other *rtnl.Link) bool {
	if inner == nil || other == nil || !plan.IsOurs(inner) || !plan.IsOurs(other) {
		return false
	}
	if isPort(inner) || isPort(other) {
		return false
	}
	m, marked := plan.ParseMark(inner.Alias)
	if !marked {
		return other.Alias == ""
	}
	_, both := plan.ParseMark(other.Alias)
	return both || m.IfName == inner.Name
}

// strayed reports whether a link in a guest is one end of a pair whose other end, the
// port on the host, somebody has moved on into another namespace: it came off its bridge
// there, and went down. There it is of no use, and what the guest has goes with it.
func strayed(inner, other *rtnl.Link) bool {
	if inner == nil || other == nil || !plan.IsOurs(inner) || !plan.IsOurs(other) || inner.Alias != "" {
		return false
	}
	m, marked := plan.ParseMark(other.Alias)
	return marked && m.IfName == inner.Name && other.Kind == "veth" && other.Master == 0 && !other.Up
}

// isPort reports whether a link of ours is the end that is on a host: its mark
// has the name of its other end, and not its own.
func isPort(l *rtnl.Link) bool {
	m, _ := plan.ParseMark(l.Alias)
	return l.Master != 0 && m.IfName != l.Name
}

// user is a link whose parent is a link of the host.
type user struct {
	*rtnl.Link
	netns uint64 // inode of the namespace that it is in; 0: the host's
}

// childrenOf returns the links whose parent is a link of the host: also those
// that are not ours, for they would go with it. It looks on the host, in every
// namespace that has a process or a name, and in those that have an id on the
// host, which we give to every guest with a child: but not in except, if that is
// not nil.
func childrenOf(k plan.Kernel, parent int, hostNS, except *os.File) (users []user, err error) {
	all, err := k.Links()
	if err != nil {
		return nil, err
	}
	for _, l := range all {
		if l.IsOn(parent) && l.PeerNS < 0 && l.Index != parent {
			users = append(users, user{Link: l})
		}
	}
	seen, err := seenIDs(k, hostNS, except)
	if err != nil {
		return nil, err
	}
	err = eachNamespace(hostNS, func(ns *namespace, guest plan.Kernel) error {
		id, err := k.NamespaceID(ns.file)
		if err != nil || id >= 0 && seen[id] {
			return err
		}
		seen[id] = true
		there, err := usersIn(guest, parent, hostNS)
		for _, l := range there {
			users = append(users, user{l, ns.inode})
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	hidden, err := hiddenUsers(k, parent, hostNS, seen)
	return append(users, hidden...), err
}

// seenIDs are those of the namespaces that need no look: the host's own, and
// except.
func seenIDs(k plan.Kernel, hostNS, except *os.File) (map[int]bool, error) {
	seen := map[int]bool{}
	for _, ns := range []*os.File{hostNS, except} {
		if ns == nil {
			continue
		}
		id, err := k.NamespaceID(ns)
		if err != nil {
			return nil, err
		}
		if id >= 0 {
			seen[id] = true
		}
	}
	return seen, nil
}

// usersIn returns the links of a guest whose parent is that link of the host.
func usersIn(guest plan.Kernel, parent int, hostNS *os.File) (users []*rtnl.Link, err error) {
	id, err := guest.NamespaceID(hostNS)
	if err != nil || id < 0 {
		return nil, err
	}
	links, err := guest.Links()
	return slices.DeleteFunc(links, func(l *rtnl.Link) bool { return !l.IsOn(parent) || l.PeerNS != id }), err
}

// hiddenUsers looks into namespaces that are held open by a descriptor alone,
// as far as the host has ids for them.
func hiddenUsers(k plan.Kernel, parent int, hostNS *os.File, seen map[int]bool) (users []user, err error) {
	ids, err := k.NamespaceIDs()
	if err != nil {
		return nil, err
	}
	for _, id := range ids {
		if seen[id] {
			continue
		}
		links, err := k.LinksIn(id)
		if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOENT) {
			continue // it ended meanwhile
		}
		if err != nil {
			return nil, err
		}
		self, err := k.NamespaceID(hostNS) // given by the look, if not before
		if err != nil {
			return nil, err
		}
		for _, l := range links {
			if l.IsOn(parent) && l.PeerNS >= 0 && l.PeerNS == self {
				users = append(users, user{Link: l})
			}
		}
	}
	return users, nil
}

// describeChild tells what a child in a guest is. k is the host's side.
func describeChild(k plan.Kernel, c child, ns *namespace) (Attachment, error) {
	a := Attachment{Host: Host{Kind: c.Kind}, State: Half}
	a.Interface.Addresses, a.Interface.Gateway = noAddrs, noGateways
	if m, ok := plan.ParseMark(c.Alias); ok {
		a.State = Complete
		a.Guest = GuestInfo{Runtime: m.Runtime, ID: m.ID, Name: m.Name}
	}
	a.Guest.PID, a.Guest.NetNS = ns.pid, ns.inode
	if strayed(c.Link, c.other) {
		m, _ := plan.ParseMark(c.other.Alias)
		a.Guest.Runtime, a.Guest.ID, a.Guest.Name = m.Runtime, m.ID, m.Name
		return a, ns.read(&a, c.Index)
	}
	if c.other != nil {
		a.Host.Port = c.other.Name
		if m, ok := plan.ParseMark(c.other.Alias); ok {
			a.Host.Name = GuestInfo{Runtime: m.Runtime, ID: m.ID, Name: m.Name}.Word()
		} else {
			a.State = Half
		}
	}
	if c.onHost() {
		parent, err := k.LinkByIndex(c.Peer)
		if err == nil && parent.Kind == "vlan" && plan.IsOurs(parent) {
			a.Host.VLAN = tagWord(KindVLAN, parent.VLAN)
			parent, err = k.LinkByIndex(parent.Peer)
		}
		if unlessNotFound(err) != nil {
			return a, fault.Explain("find the parent of", c.Name, err)
		}
		if err == nil {
			a.Host.Name = parent.Name
		}
	}
	if tag := max(c.VLAN, int(c.PKey)); tag != 0 {
		a.Host.VLAN = tagWord(Kind(c.Kind), tag)
	}
	return a, ns.read(&a, c.Index)
}

// inside describes what of ours is in a guest alone: children, and cards that are
// lent. id is that of the guest's namespace on the host; -1: none.
func (o *lister) inside(ns *namespace, id int) error {
	children, err := childrenIn(ns.links, o.hostNS)
	if err != nil {
		return fault.Explain("list links in", "a guest", err)
	}
	if o.every {
		children = owned(id, children)
	}
	for _, c := range children {
		a, err := describeChild(o.host, c, ns)
		if err == nil {
			err = ns.cut(o.ctx, &a, c.Index, passage{})
		}
		if err := o.add(a, err); err != nil {
			return err
		}
	}
	here, err := lentTo(ns.links, o.lent)
	for _, l := range here {
		o.mu.Lock()
		o.met[l.file()] = true
		o.mu.Unlock()
		a, err := l.describe(ns)
		if err == nil && l.Link != nil {
			err = ns.cut(o.ctx, &a, l.Link.Index, passage{})
		}
		if err := o.add(a, err); err != nil {
			return err
		}
	}
	return err
}
