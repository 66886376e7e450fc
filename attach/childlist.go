package attach

import (
	"os"
	"slices"

	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/kind"
	"github.com/gopipework/gopipework/internal/ours"
	"github.com/gopipework/gopipework/internal/passage"
	"github.com/gopipework/gopipework/internal/plan"
	"github.com/gopipework/gopipework/internal/rtnl"
)

// child is a link of ours in a guest that has no end on the host.
type child struct {
	*rtnl.Link
	hostNS int        // id of the host's namespace in the guest's; -1: none
	other  *rtnl.Link // of a veth to another guest: the end there
}

// onHost reports whether the child's parent is a link of the host.
func (c child) onHost() bool { return c.PeerNS >= 0 && c.PeerNS == c.hostNS }

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
// host: not those whose ends there are known, and links to other guests only if pairs is
// set. Another host of this machine can have hundreds, and each costs a question. A guest
// can forge one; nothing of the host is changed on its word.
func childrenIn(k plan.Kernel, hostNS *os.File, known []*rtnl.Link, pairs bool) ([]child, error) {
	links, err := k.Links()
	if err != nil {
		return nil, err
	}
	maybe := slices.DeleteFunc(slices.Clone(links), func(l *rtnl.Link) bool {
		return !plan.IsOurs(l) || slices.ContainsFunc(known, func(end *rtnl.Link) bool { return end.Peer == l.Index })
	})
	if len(maybe) == 0 {
		return nil, nil
	}
	id, err := k.NamespaceID(hostNS)
	if err != nil {
		return nil, err
	}
	var out []child
	for _, l := range maybe {
		c := child{Link: l, hostNS: id}
		if l.Kind == "veth" && l.PeerNS >= 0 && l.PeerNS != id {
			if !pairs {
				continue
			}
			if c.other, err = k.LinkIn(l.PeerNS, l.Peer); err != nil {
				continue // gone, or out of our reach
			}
		}
		if kind.TraitsOf(Kind(l.Kind)).Child || ours.BetweenGuests(l, c.other) || ours.Strayed(l, c.other) {
			out = append(out, c)
		}
	}
	if len(out) == 0 {
		return nil, nil
	}
	lent, err := ours.LentIn(k, links)
	return slices.DeleteFunc(out, func(c child) bool { _, is := lent[c.Index]; return is }), err
}

// describeChild tells what a child in a guest is. k is the host's side.
func describeChild(k plan.Kernel, c child, ns *ours.Namespace) (Attachment, error) {
	a := Attachment{Host: Host{Kind: c.Kind}, State: Half}
	a.Interface.Addresses, a.Interface.Gateway = ours.NoAddrs, ours.NoGateways
	if m, ok := plan.ParseMark(c.Alias); ok {
		a.State, a.Origin = Complete, m.Origin
		a.Guest = m.Guest()
	}
	a.Guest.PID, a.Guest.NetNS = ns.PID, ns.Inode
	if ours.Strayed(c.Link, c.other) {
		m, _ := plan.ParseMark(c.other.Alias)
		a.Guest.Runtime, a.Guest.ID, a.Guest.Name = m.Runtime, m.ID, m.Name
		return a, read(ns, &a, c.Index)
	}
	if c.other != nil {
		a.Host.Port = c.other.Name
		if m, ok := plan.ParseMark(c.other.Alias); ok {
			a.Host.Name = m.Guest().Word()
		} else {
			a.State, a.Origin = Half, ""
		}
	}
	if c.onHost() {
		parent, err := k.LinkByIndex(c.Peer)
		if err == nil && parent.Kind == "vlan" && plan.IsOurs(parent) {
			a.Host.VLAN = kind.TagWord(KindVLAN, parent.VLAN)
			parent, err = k.LinkByIndex(parent.Peer)
		}
		if ours.UnlessNotFound(err) != nil {
			return a, fault.Explain("find the parent of", c.Name, err)
		}
		if err == nil {
			a.Host.Name = parent.Name
		}
	}
	if tag := max(c.VLAN, int(c.PKey)); tag != 0 {
		a.Host.VLAN = kind.TagWord(Kind(c.Kind), tag)
	}
	err := read(ns, &a, c.Index)
	a.Interface.Pulled = ours.Pulled(c.other)
	return a, err
}

// inside describes what of ours is in a guest alone: children, and cards that are
// lent. id is that of the guest's namespace on the host; -1: none. ends are those on the
// host of the pairs that it has.
func (o *lister) inside(ns *ours.Namespace, id int, ends []*rtnl.Link) error {
	children, err := childrenIn(ns.Links, o.hostNS, ends, !o.every || id >= 0)
	if err != nil {
		return fault.Explain("list links in", "a guest", err)
	}
	if o.every {
		children = owned(id, children)
	}
	for _, c := range children {
		a, err := describeChild(o.host, c, ns)
		if err == nil {
			err = passage.Cut(ns, o.ctx, &a, c.Index, passage.Passage{})
		}
		if err == nil {
			err = o.more(ns, &a, c.Index, nil)
		}
		if err := o.add(a, err); err != nil {
			return err
		}
	}
	here, err := ours.LentTo(ns.Links, o.lent)
	for _, l := range here {
		o.mu.Lock()
		o.met[l.File()] = true
		o.mu.Unlock()
		a, err := describe(l, ns)
		if err == nil && l.Link != nil {
			err = passage.Cut(ns, o.ctx, &a, l.Link.Index, passage.Passage{})
		}
		if err == nil && l.Link != nil {
			err = o.more(ns, &a, l.Link.Index, nil)
		}
		if err := o.add(a, err); err != nil {
			return err
		}
	}
	return err
}
