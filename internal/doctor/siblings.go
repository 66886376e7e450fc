package doctor

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/ours"
	"github.com/gopipework/gopipework/internal/rtnl"
	"golang.org/x/sys/unix"
)

// sibling is a link on a card of the host: of another guest, or of the host itself.
type sibling struct {
	name    string // "db eth1"
	link    *rtnl.Link
	subnets []netip.Prefix  // its addresses with their prefix lengths, but for link-local ones
	onHost  bool            // it is the host's own
	ns      *ours.Namespace // it is in; nil: the host's, or one that only a descriptor holds open
}

// kinship is every link on a card of the host, and how much of it could be seen.
type kinship struct {
	all     []sibling
	leftOut int // namespaces that were not looked into, for want of time
}

// kinPatience bounds the look into namespaces that the host has no ids for. Those of ours
// all have one, and are read without going there.
const kinPatience = 200 * time.Millisecond

// siblings returns the other links on the card that the guest's is on. A VLAN has none:
// the kernel makes one of each tag on a card.
func (w *walker) siblings() ([]sibling, error) {
	if w.leap != toCard || w.on == nil || w.near.link.Kind == "vlan" {
		return nil, nil
	}
	kin, err := w.kin()
	return slices.DeleteFunc(slices.Clone(kin.all), func(s sibling) bool { return s.link.Peer != w.on.Index }), err
}

// kin finds the links on every card of the host but the guest's own, once.
func (w *walker) kin() (*kinship, error) {
	if w.kinship != nil {
		return w.kinship, nil
	}
	w.kinship = &kinship{}
	links, err := w.host.k.Links()
	if err != nil {
		return w.kinship, fault.Explain("list links of", "the host", err)
	}
	for _, l := range links {
		if isChild(l) && l.PeerNS < 0 {
			w.kinship.all = append(w.kinship.all, sibling{name: "the host's " + l.Name, link: l, subnets: w.host.with(l).prefixes(), onHost: true})
		}
	}
	byID, err := w.kinByID()
	if err != nil {
		return w.kinship, err
	}
	if err = w.visitKin(byID); err != nil {
		return w.kinship, err
	}
	for _, there := range byID { // those whose namespace only a descriptor holds open
		w.addKin(there, nil)
	}
	return w.kinship, nil
}

func isChild(l *rtnl.Link) bool {
	return slices.Contains([]string{"macvlan", "macvtap", "ipvlan", "ipvtap"}, l.Kind)
}

// kinByID reads the links on cards of the host in the namespaces that have an id there.
func (w *walker) kinByID() (map[int][]sibling, error) {
	k := w.host.k
	ids, err := k.NamespaceIDs()
	if err != nil {
		return nil, fault.Explain("list namespaces of", "the host", err)
	}
	byID := map[int][]sibling{}
	for _, id := range ids {
		links, err := k.LinksIn(id)
		if err != nil {
			continue // it has ended
		}
		// The look gives the host an id in itself, if it had none.
		self, err := k.NamespaceID(w.hostNS)
		if err != nil || self == id {
			continue
		}
		byID[id] = nil
		for _, l := range links {
			if isChild(l) && l.PeerNS >= 0 && l.PeerNS == self {
				addrs, _ := k.AddrsIn(id, l.Index)
				byID[id] = append(byID[id], sibling{link: l, subnets: subnetsOf(addrs, l.Index)})
			}
		}
	}
	return byID, nil
}

// visitKin finds the namespaces of what was read by id, and deletes that from byID; and
// it looks into the others as long as there is time.
func (w *walker) visitKin(byID map[int][]sibling) error {
	ends := time.Now().Add(kinPatience)
	var host unix.Stat_t
	if err := unix.Fstat(int(w.hostNS.Fd()), &host); err != nil {
		return fault.Explain("look at", "the host's namespace", err)
	}
	return ours.WalkNamespaces(nil, nil, func(ns *ours.Namespace) (keep, more bool) {
		if ns.Inode == host.Ino {
			return false, true
		}
		id, err := w.host.k.NamespaceID(ns.File)
		if err != nil {
			return false, true // it has ended
		}
		there, seen := byID[id]
		delete(byID, id)
		switch {
		case seen:
		case time.Now().After(ends):
			w.kinship.leftOut++
		default:
			there = w.kinIn(ns)
		}
		return w.addKin(there, ns), w.ctx.Err() == nil
	})
}

// kinIn enters a namespace that the host has no id for.
func (w *walker) kinIn(ns *ours.Namespace) (all []sibling) {
	k, err := rtnl.Open(ns.File)
	if err != nil {
		return nil
	}
	defer k.Close()
	self, err := k.NamespaceID(w.hostNS)
	if err != nil || self < 0 {
		return nil // nothing there is on a link of the host
	}
	links, _ := k.Links()
	for _, l := range links {
		if isChild(l) && l.PeerNS == self {
			addrs, _ := k.Addrs()
			all = append(all, sibling{link: l, subnets: subnetsOf(addrs, l.Index)})
		}
	}
	return all
}

// addKin adds what is in one namespace but the guest's own link, and reports whether that
// is to be held open.
func (w *walker) addKin(there []sibling, ns *ours.Namespace) (keep bool) {
	for _, s := range there {
		if w.isNear(s.link, ns) {
			continue
		}
		s.ns = ns
		of := "another guest"
		if ns != nil {
			of = ns.Word()
		}
		s.name = cmp.Or(nameByMark(s.link, s.link), of+" "+s.link.Name)
		w.kinship.all = append(w.kinship.all, s)
		keep = keep || ns != nil
	}
	if keep {
		w.closing = append(w.closing, func() { ns.File.Close() })
	}
	return keep
}

// isNear reports whether a link in a namespace is the guest's own. In one that was not
// found it is told by its MAC address and index.
func (w *walker) isNear(l *rtnl.Link, ns *ours.Namespace) bool {
	if l.Index != w.near.link.Index || l.Peer != w.near.link.Peer || l.Name != w.near.link.Name {
		return false
	}
	if ns == nil {
		return l.MAC.String() == w.near.link.MAC.String()
	}
	var st unix.Stat_t
	return unix.Fstat(int(w.near.ns.Fd()), &st) == nil && st.Ino == ns.Inode
}

func subnetsOf(addrs []rtnl.Addr, index int) (out []netip.Prefix) {
	for _, a := range addrs {
		if a.Index == index && !a.Prefix.Addr().IsLinkLocalUnicast() {
			out = append(out, a.Prefix)
		}
	}
	return out
}

// siblingOf returns the sibling that a far end is, or nil.
func (w *walker) siblingOf(f *far) *sibling {
	all, _ := w.siblings()
	i := slices.IndexFunc(all, func(s sibling) bool {
		return slices.ContainsFunc(s.subnets, func(p netip.Prefix) bool { return slices.Contains(f.addrs, p.Addr()) }) &&
			(f.link == nil || f.link.Index == s.link.Index && f.link.Name == s.link.Name)
	})
	if i < 0 {
		return nil
	}
	return &all[i]
}
