package attach

import (
	"net/netip"
	"slices"
	"sync"

	"github.com/gopipework/gopipework/internal/build"
	"github.com/gopipework/gopipework/internal/guestnet"
	"github.com/gopipework/gopipework/internal/hostaccess"
	"github.com/gopipework/gopipework/internal/hostclient"
	"github.com/gopipework/gopipework/internal/ours"
	"github.com/gopipework/gopipework/internal/rtnl"
	"github.com/gopipework/gopipework/internal/spec"
)

// beyond is what a lister has to know to tell what there is to attachments beyond what
// it shows. It is looked at when it is first asked for.
type beyond struct {
	resolv  func() ([]build.ResolvNote, error)
	clients func() ([]hostclient.Running, error) // of the host, for all guests
}

func newBeyond() beyond {
	return beyond{sync.OnceValues(guestnet.ResolvNotes), sync.OnceValues(hostclient.All)}
}

// more notes what there is to an attachment that its other fields do not show. index is
// that of its link in the guest, port the host's end, if there is one.
func (o *lister) more(ns *ours.Namespace, a *Attachment, index int, port *rtnl.Link) error {
	if a.State != Complete || ns == nil || ns.Links == nil {
		return nil
	}
	add := func(is bool, what string) {
		if is {
			a.More = append(a.More, what)
		}
	}
	routes, err := ns.Links.AllRoutes()
	if err != nil {
		return err
	}
	of := slices.DeleteFunc(routes, func(r rtnl.Route) bool { return r.Index != index || r.Protocol != ours.Protocol })
	if a.Interface.SourceRouting, err = guestnet.HasReplies(ns.Links, of); err != nil {
		return err
	}
	add(slices.ContainsFunc(of, func(r rtnl.Route) bool { return r.Default() && r.Table == 0 }), "routes")
	l, err := ns.Links.LinkByIndex(index)
	if err != nil {
		return ours.UnlessNotFound(err)
	}
	add(l.Mode != "" && l.Mode != "bridge" && l.Mode != "l2", "mode "+l.Mode)
	addrs, err := ns.Links.Addrs()
	if err != nil {
		return err
	}
	clients, err := o.clients()
	if err != nil {
		return err
	}
	given := ours.AddressesOf(l, addrs)
	client := slices.ContainsFunc(clients, func(r hostclient.Running) bool { return r.Index == index && r.In(ns.File) })
	add(a.Lease == nil && (client || !ours.SameSet(given, a.Interface.Addresses)), "addresses from the network")
	if client || a.Lease != nil {
		given = nil // they are not told from others
	}
	a.Unpinned = o.unpinned(port, a, given)
	if err := o.moreOnHost(a, port); err != nil {
		return err
	}
	notes, err := o.resolv()
	if err != nil || len(notes) == 0 {
		return err
	}
	cookie, err := ns.Links.Cookie()
	if n := slices.IndexFunc(notes, func(n build.ResolvNote) bool { return n.GuestNS == cookie && n.Index == index }); err == nil && n >= 0 {
		a.Interface.DNS = notes[n].Asked
	}
	return err
}

// moreOnHost notes what there is on the host.
func (o *lister) moreOnHost(a *Attachment, port *rtnl.Link) error {
	switch {
	case a.Host.Kind == string(KindMacvlan):
		routes, err := o.host.AllRoutes()
		leads := func(r rtnl.Route) bool {
			to := func(p netip.Prefix) bool { return r.Dst == netip.PrefixFrom(p.Addr(), p.Addr().BitLen()) }
			return slices.ContainsFunc(a.Interface.Addresses, to) && o.isWay(r.Index)
		}
		if slices.ContainsFunc(routes, leads) {
			a.More = append(a.More, spec.HostAccess)
		}
		return err
	case port != nil && port.Master == 0:
		addrs, err := o.host.Addrs()
		for _, p := range ours.AddressesOf(port, addrs) {
			a.More = append(a.More, "--host-addr "+p.String())
		}
		return err
	}
	return nil
}

// isWay reports whether a link of the host is its own macvlan to guests.
func (o *lister) isWay(index int) bool {
	l, err := o.host.LinkByIndex(index)
	return err == nil && hostaccess.IsAccess(l)
}
