package ours

import (
	"errors"
	"os"
	"slices"

	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/plan"
	"github.com/gopipework/gopipework/internal/rtnl"
)

// GiveID gives a guest's namespace an id on the host. By it the host can look into
// the guest also when that has neither process nor name any more; and what of
// ours is in a guest alone is told by it from what another host of this machine,
// in a namespace of its own, has put there.
func GiveID(m *plan.Machine, at plan.Side) error {
	_, err := m.Host().GiveNamespaceID(m.Guests[at].Namespace)
	return fault.Explain("give an id to", "the namespace of "+m.Guests[at].Name, err)
}

// BetweenGuests reports whether a link in a guest is one end of a pair of ours
// to another guest, and not of one to the bridge of some other host: there the
// other end alone has the mark, and is a port from its first instant. other is
// nil if it does not lead to another guest.
func BetweenGuests(inner, other *rtnl.Link) bool {
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

// Strayed reports whether a link in a guest is one end of a pair whose other end, the
// port on the host, somebody has moved on into another namespace: it came off its bridge
// there, and went down. There it is of no use, and what the guest has goes with it.
func Strayed(inner, other *rtnl.Link) bool {
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
	return l.Master != 0 && l.Slave != "vrf" && m.IfName != l.Name
}

// User is a link whose parent is a link of the host.
type User struct {
	*rtnl.Link
	Netns uint64 // inode of the namespace that it is in; 0: the host's
}

// ChildrenOf returns the links whose parent is a link of the host: also those
// that are not ours, for they would go with it. It looks on the host, in every
// namespace that has a process or a name, and in those that have an id on the
// host, which we give to every guest with a child: but not in except, if that is
// not nil.
func ChildrenOf(k plan.Kernel, parent int, hostNS, except *os.File) (users []User, err error) {
	all, err := k.Links()
	if err != nil {
		return nil, err
	}
	for _, l := range all {
		if l.IsOn(parent) && l.PeerNS < 0 && l.Index != parent {
			users = append(users, User{Link: l})
		}
	}
	seen, err := seenIDs(k, hostNS, except)
	if err != nil {
		return nil, err
	}
	err = EachNamespace(hostNS, func(ns *Namespace, guest plan.Kernel) error {
		id, err := k.NamespaceID(ns.File)
		if err != nil || id >= 0 && seen[id] {
			return err
		}
		seen[id] = true
		there, err := UsersIn(guest, parent, hostNS)
		for _, l := range there {
			users = append(users, User{l, ns.Inode})
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

// UsersIn returns the links of a guest whose parent is that link of the host.
func UsersIn(guest plan.Kernel, parent int, hostNS *os.File) (users []*rtnl.Link, err error) {
	id, err := guest.NamespaceID(hostNS)
	if err != nil || id < 0 {
		return nil, err
	}
	links, err := guest.Links()
	return slices.DeleteFunc(links, func(l *rtnl.Link) bool { return !l.IsOn(parent) || l.PeerNS != id }), err
}

// hiddenUsers looks into namespaces that are held open by a descriptor alone,
// as far as the host has ids for them.
func hiddenUsers(k plan.Kernel, parent int, hostNS *os.File, seen map[int]bool) (users []User, err error) {
	ids, err := k.NamespaceIDs()
	if err != nil {
		return nil, err
	}
	for _, id := range ids {
		if seen[id] {
			continue
		}
		links, err := k.LinksIn(id)
		if errors.Is(err, rtnl.ErrNotFound) {
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
				users = append(users, User{Link: l})
			}
		}
	}
	return users, nil
}
