package attach

import (
	"cmp"
	"context"
	"errors"
	"os"
	"slices"

	"github.com/gopipework/gopipework/bridge"
	"github.com/gopipework/gopipework/internal/rtnl"
)

// List returns the attachments that the host's links say there are, in the
// order of their hosts' and ports' names; those of g alone, if it is not nil.
func List(ctx context.Context, hostNS *os.File, g *Guest) ([]Attachment, error) {
	if g != nil {
		g = &Guest{GuestInfo: g.short(), Namespace: g.Namespace}
	}
	k, err := rtnl.Open(hostNS)
	if err != nil {
		return nil, explain("enter", "host", err)
	}
	defer k.Close()
	ends, err := ourEnds(k, g)
	if err != nil {
		return nil, err
	}
	found := findNamespaces(k, ends, g)
	defer found.close()
	d := describer{ctx: ctx, host: k}
	list := []Attachment{}
	for _, l := range ends {
		a, err := d.describe(l, found[l.PeerNS])
		if errors.Is(err, rtnl.ErrNotFound) {
			continue // detached while we looked
		}
		if err != nil {
			return nil, err
		}
		list = append(list, a)
	}
	if err := markCut(ctx, k, list); err != nil {
		return nil, err
	}
	inside, err := listInside(ctx, k, hostNS, g)
	if err != nil {
		return nil, err
	}
	list = append(list, inside...)
	hide(list)
	slices.SortFunc(list, func(a, b Attachment) int {
		return cmp.Or(cmp.Compare(a.Host.Name, b.Host.Name), cmp.Compare(a.Host.Port, b.Host.Port),
			cmp.Compare(a.Guest.Name, b.Guest.Name), cmp.Compare(a.Interface.Name, b.Interface.Name))
	})
	return list, nil
}

// hide tells what is an orphan from what only cannot be seen from here: a guest
// may be one of the processes that are hidden from us. Its mark is all that says
// how far its attach has come.
func hide(list []Attachment) {
	orphan := func(a Attachment) bool { return a.State == Orphan }
	if !slices.ContainsFunc(list, orphan) || seesAll() {
		return
	}
	for i, a := range list {
		if orphan(a) {
			list[i].Hidden, list[i].State = true, Complete
			if a.Guest.Runtime == "" {
				list[i].State = Half
			}
		}
	}
}

// markCut says of each attachment to a bridge of the kernel's what of the host's
// firewall cuts it off.
func markCut(ctx context.Context, k kernel, list []Attachment) error {
	var queries []bridge.Query
	var at []int
	links := map[string]*rtnl.Link{}
	for i, a := range list {
		if a.Host.Kind != string(KindBridge) || a.Host.Name == "" || a.State != Complete {
			continue
		}
		l, ok := links[a.Host.Name]
		if !ok {
			var err error
			if l, err = k.LinkByName(a.Host.Name); unlessNotFound(err) != nil {
				return explain("find", a.Host.Name, err)
			}
			links[a.Host.Name] = l
		}
		if l == nil {
			continue // deleted while we looked
		}
		q := bridge.Query{Bridge: l.Name, Port: a.Host.Port, CallsIPv4: l.NFCallIPv4, CallsIPv6: l.NFCallIPv6}
		for _, p := range a.Interface.Addresses {
			family := bridge.IPv4
			if p.Addr().Is6() {
				family = bridge.IPv6
			}
			if q.Addresses = append(q.Addresses, p); !slices.Contains(q.Families, family) {
				q.Families = append(q.Families, family)
			}
		}
		queries, at = append(queries, q), append(at, i)
	}
	if queries == nil {
		return nil
	}
	// A list is right without it: a firewall that cannot be read cuts nobody.
	return k.Run(func() error {
		all, err := bridge.ObserveFirewalls(ctx, queries)
		if err != nil {
			return context.Cause(ctx)
		}
		for i, fw := range all {
			q := queries[i]
			port := q.Port
			if isOurs(links[q.Bridge]) {
				port = ""
			}
			list[at[i]].Cut = append(list[at[i]].Cut, fw.Cut(q.Bridge, port)...)
		}
		return nil
	})
}

// ourEnds returns the host's ends of our pairs; of those to g, if not nil. A
// pair is g's if its other end is there, or if our mark says so: g may have
// moved its end away.
func ourEnds(k kernel, g *Guest) ([]*rtnl.Link, error) {
	nsid := -1
	if g != nil {
		var err error
		if nsid, err = k.NamespaceID(g.Namespace); err != nil {
			return nil, explain("find", "the namespace of "+g.Name, err)
		}
	}
	all, err := k.Links()
	if err != nil {
		return nil, explain("list", "links", err)
	}
	return slices.DeleteFunc(all, func(l *rtnl.Link) bool {
		return !isOurs(l) || l.Kind != "veth" || l.PeerNS < 0 || g != nil && l.PeerNS != nsid && !bearsMarkOf(g, l)
	}), nil
}

// bearsMarkOf reports whether the mark of a link of ours says that it is g's.
func bearsMarkOf(g *Guest, l *rtnl.Link) bool {
	m, ok := ParseMark(l.Alias)
	return ok && m == g.mark(m.IfName)
}

// describer tells what the host's ends of our pairs are ends of. What all of
// them have in common it looks at once, and only if it has to.
type describer struct {
	ctx   context.Context
	host  kernel
	vlans map[int][]rtnl.PortVLAN // nil: not looked at
	ovs   *bridge.OVS             // nil: not looked at
	queue []rtnl.Qdisc            // nil: not looked at
}

// describe tells it of one. Its namespace is nil if it could not be found. The
// error is ErrNotFound if the end is gone.
func (d *describer) describe(l *rtnl.Link, ns *namespace) (Attachment, error) {
	a := Attachment{Host: Host{Kind: string(KindBridge), Port: l.Name}, State: Half}
	a.Interface.Kind, a.Interface.Addresses, a.Interface.Gateway = l.Kind, noAddrs, noGateways
	if err := d.plugged(l, &a.Host); err != nil {
		return a, err
	}
	if m, ok := ParseMark(l.Alias); ok {
		a.State = Complete
		a.Guest = GuestInfo{Runtime: m.Runtime, ID: m.ID, Name: m.Name}
		a.Interface.Name = m.IfName
	}
	if ns == nil {
		a.State = Orphan
		return a, nil
	}
	a.Guest.PID, a.Guest.NetNS = ns.pid, ns.inode
	if a.Guest.Runtime == "" && ns.pid != 0 { // half made: known by its process alone
		a.Guest.Runtime, a.Guest.ID, a.Guest.Name = "pid", itoa(ns.pid), "pid:"+itoa(ns.pid)
	}
	err := ns.read(&a, l.Peer)
	if err == nil {
		err = d.shapedIn(l, &a)
	}
	if err == nil {
		p := passage{host: d.host, port: l, unplugged: a.Host.Name == ""}
		if l.Slave == "bridge" {
			p.on, err = d.host.LinkByIndex(l.Master)
		}
		err = cmp.Or(err, ns.cut(d.ctx, &a, l.Peer, p))
	}
	if errors.Is(err, rtnl.ErrNotFound) {
		// The guest has deleted or moved its end. If deleted, ours is gone
		// too; if moved, the mark says what there is to say.
		_, err = d.host.LinkByIndex(l.Index)
	}
	return a, err
}

// plugged tells what switch an end is plugged into.
func (d *describer) plugged(l *rtnl.Link, h *Host) error {
	var master *rtnl.Link
	if l.Master != 0 {
		var err error
		if master, err = d.host.LinkByIndex(l.Master); unlessNotFound(err) != nil {
			return explain("find the bridge of", l.Name, err)
		}
	}
	if master == nil || master.Kind != "bridge" {
		return d.pluggedOVS(l, h)
	}
	h.Name = master.Name
	if !master.VLANFiltering {
		return nil
	}
	if d.vlans == nil {
		var err error
		if d.vlans, err = d.host.PortVLANs(); err != nil {
			return explain("read", "the VLANs of bridge ports", err)
		}
	}
	h.VLAN = vlanOf(d.vlans[l.Index], master)
	return nil
}

// pluggedOVS asks Open vSwitch for an end that is in no bridge of the kernel's.
func (d *describer) pluggedOVS(l *rtnl.Link, h *Host) error {
	if d.ovs == nil {
		var o looker
		ovs := o.ovs(d.ctx, d.host)
		if o.err != nil {
			return o.err
		}
		d.ovs = &ovs
	}
	if p, ok := d.ovs.Port(l.Name); ok {
		h.Kind, h.Name, h.VLAN = string(KindOVS), p.Bridge, p.VLAN.String()
	}
	return nil
}

// shapedIn adds what the host's end does to what the guest gets.
func (d *describer) shapedIn(l *rtnl.Link, a *Attachment) (err error) {
	if d.queue == nil {
		if d.queue, err = d.host.Qdiscs(); err != nil {
			return explain("read", "the host's queues", err)
		}
	}
	var s Shaping
	if a.Shaping != nil {
		s = *a.Shaping
	}
	if in := (Shaped{In: qdiscsOf(l.Index, d.queue)}).shaping(); s.RateIn == 0 {
		s.RateIn = in.RateIn
	}
	a.Shaping = shapingOrNil(s)
	return nil
}
