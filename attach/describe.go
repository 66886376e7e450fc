package attach

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"sync"

	"github.com/gopipework/gopipework/bridge"
	"github.com/gopipework/gopipework/bridge/firewall"
	"github.com/gopipework/gopipework/internal/build"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/guestnet"
	"github.com/gopipework/gopipework/internal/kind"
	"github.com/gopipework/gopipework/internal/ours"
	"github.com/gopipework/gopipework/internal/passage"
	"github.com/gopipework/gopipework/internal/plan"
	"github.com/gopipework/gopipework/internal/rtnl"
	"github.com/gopipework/gopipework/internal/source"
	"github.com/gopipework/gopipework/internal/spec"
)

// describer tells what the host's ends of our pairs are ends of. What all of
// them have in common it looks at once, and only if it has to.
type describer struct {
	ctx  context.Context
	host plan.Kernel

	mu       sync.Mutex               // for what is below
	vlans    map[int][]rtnl.PortVLAN  // nil: not looked at
	ovs      *bridge.OVS              // nil: not looked at
	queue    []rtnl.Qdisc             // nil: not looked at
	filtered []string                 // ports with a source filter; nil: not looked at
	mirrors  map[string]build.Mirrors // by the kind of switch; what is not in it was not looked at
	uplinks  map[int]build.Uplink     // of bridges that were looked at, by their index
}

// describe tells it of one. Its namespace is nil if it could not be found. The
// error is ErrNotFound if the end is gone.
func (d *describer) describe(l *rtnl.Link, ns *ours.Namespace) (Attachment, error) {
	a := Attachment{Host: Host{Kind: string(KindBridge), Port: l.Name}, State: Half}
	a.Interface.Kind, a.Interface.Addresses, a.Interface.Gateway = l.Kind, ours.NoAddrs, ours.NoGateways
	if err := d.plugged(l, &a.Host); err != nil {
		return a, err
	}
	d.cutOff(l, &a)
	if m, ok := plan.ParseMark(l.Alias); ok {
		a.State, a.Origin = Complete, m.Origin
		a.Guest = m.Guest()
		a.Interface.Name = m.IfName
	}
	d.filter(l, &a)
	if err := d.mirrored(l, &a); err != nil {
		return a, err
	}
	if ns == nil {
		a.State = Orphan
		if m, ok := plan.ParseParked(l.Alias); ok {
			a.State, a.Origin, a.Guest, a.Interface.Name = Parked, m.Origin, m.Guest(), m.IfName
		}
		return a, nil
	}
	a.Guest.PID, a.Guest.NetNS = ns.PID, ns.Inode
	if a.Guest.Runtime == "" && ns.PID != 0 { // half made: known by its process alone
		a.Guest.Runtime, a.Guest.ID, a.Guest.Name = "pid", strconv.Itoa(ns.PID), "pid:"+strconv.Itoa(ns.PID)
	}
	err := read(ns, &a, l.Peer)
	a.Interface.Pulled = ours.Pulled(l)
	if err == nil {
		err = d.shapedIn(l, &a)
	}
	if err == nil {
		p := passage.Passage{Host: d.host, Port: l, Unplugged: a.Host.Name == ""}
		if l.Slave == "bridge" {
			p.On, err = d.host.LinkByIndex(l.Master)
		}
		err = cmp.Or(err, passage.Cut(ns, d.ctx, &a, l.Peer, p))
	}
	if errors.Is(err, rtnl.ErrNotFound) {
		// The guest has deleted or moved its end. If deleted, ours is gone
		// too; if moved, the mark says what there is to say.
		_, err = ours.Now(d.host).LinkByIndex(l.Index)
	}
	return a, err
}

// filter tells whether a port has a source filter.
func (d *describer) filter(l *rtnl.Link, a *Attachment) {
	d.mu.Lock()
	if d.filtered == nil {
		d.filtered = []string{}
		_ = d.host.Run(func() error { // a kernel that cannot say has none
			ports, err := firewall.SourceFilters()
			d.filtered = append(d.filtered, ports...)
			return err
		})
	}
	looks := ours.IsFiltered(l) || slices.Contains(d.filtered, l.Name)
	d.mu.Unlock()
	if !looks {
		return
	}
	has, half := kind.FilterState(d.host, l)
	a.Host.Antispoof = has
	if half {
		a.State = Half // the same line repairs it
	}
}

// plugged tells what switch an end is plugged into.
func (d *describer) plugged(l *rtnl.Link, h *Host) error {
	if word, name := kind.OfPort(l); word != "" {
		h.Kind, h.Name = string(word), name
		return nil
	}
	var master *rtnl.Link
	if l.Master != 0 {
		var err error
		if master, err = d.host.LinkByIndex(l.Master); ours.UnlessNotFound(err) != nil {
			return fault.Explain("find the bridge of", l.Name, err)
		}
	}
	if master == nil || master.Kind != "bridge" {
		return d.pluggedOVS(l, h)
	}
	h.Name, h.Isolated = master.Name, l.Port.Isolated
	if err := d.vlan(l, master, h); err != nil || h.VLAN != "" {
		return err
	}
	return d.uplink(master, h)
}

// vlan tells the VLANs of a port.
func (d *describer) vlan(l, master *rtnl.Link, h *Host) error {
	if !master.VLANFiltering {
		return nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.vlans == nil {
		var err error
		if d.vlans, err = d.host.PortVLANs(); err != nil {
			return fault.Explain("read", "the VLANs of bridge ports", err)
		}
	}
	h.VLAN = kind.VLANOf(d.vlans[l.Index], master)
	return nil
}

// uplink tells by what a bridge takes untagged frames to other hosts.
func (d *describer) uplink(bridge *rtnl.Link, h *Host) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	u, known := d.uplinks[bridge.Index]
	if !known {
		var o build.Looker
		if u = kind.ReadUplinkPins(&o, d.host, bridge.Index); o.Err != nil {
			return o.Err
		}
		if d.uplinks == nil {
			d.uplinks = map[int]build.Uplink{}
		}
		d.uplinks[bridge.Index] = u
	}
	h.Uplink = u.VXLAN().String()
	return nil
}

// cutOff tells whether the bridge's uplink is down.
func (d *describer) cutOff(l *rtnl.Link, a *Attachment) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if u := d.uplinks[l.Master]; a.Host.Uplink != "" && !u.Link.Up {
		a.Cut = append(a.Cut, fmt.Sprintf("%s, by which %s reaches other hosts, is down: ip link set dev %s up", u.Link.Name, a.Host.Name, u.Link.Name))
	}
}

// unpinned reports whether something is missing of what pins the guest to its port on a bridge
// with an uplink. given are the addresses that its line says.
func (d *describer) unpinned(l *rtnl.Link, a *Attachment, given []netip.Prefix) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	mac, err := net.ParseMAC(a.Interface.MAC)
	if l == nil || a.Host.Uplink == "" || err != nil {
		return false
	}
	u := d.uplinks[l.Master]
	_, static := u.PinnedTo(mac, l.Index)
	known := func(p netip.Prefix) bool { // of two guests with one address, the bridge knows one
		return slices.ContainsFunc(u.Pins, func(n rtnl.FixedNeighbour) bool { return n.Addr == p.Addr() && u.Lives(n) })
	}
	return !static || slices.ContainsFunc(given, func(p netip.Prefix) bool { return !known(p) })
}

// pluggedOVS asks Open vSwitch for an end that is in no Linux bridge.
func (d *describer) pluggedOVS(l *rtnl.Link, h *Host) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.ovs == nil {
		var o build.Looker
		ovs := o.OVS(d.ctx, d.host)
		if o.Err != nil {
			return o.Err
		}
		d.ovs = &ovs
	}
	if p, ok := d.ovs.Port(l.Name); ok {
		h.Kind, h.Name, h.VLAN = string(KindOVS), p.Bridge, p.VLAN.String()
		h.Isolated = p.Protected
	}
	return nil
}

// mirrored tells what is copied to an end that was made for copies.
func (d *describer) mirrored(l *rtnl.Link, a *Attachment) error {
	if !kind.IsMirror(l) || a.State != Complete {
		return nil
	}
	m, err := d.readMirrors(a.Host.Kind)
	if err != nil {
		return fault.Explain("read mirrors to", l.Name, err)
	}
	if a.Mirrors = kind.MirrorWords(m, l.Name); a.Mirrors == nil {
		a.Cut = append(a.Cut, "no frames are copied to it: what it mirrored has been detached, or attached again; its line again mends that")
	}
	return nil
}

// readMirrors reads what is copied from port to port on switches of one kind.
func (d *describer) readMirrors(of string) (m build.Mirrors, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if m, ok := d.mirrors[of]; ok {
		return m, nil
	}
	var ovs bridge.OVS
	if of == string(KindOVS) {
		ovs = *d.ovs
	}
	if m, err = kind.ReadMirrors(d.host, ovs); err != nil {
		return m, err
	}
	if d.mirrors == nil {
		d.mirrors = map[string]build.Mirrors{}
	}
	d.mirrors[of] = m
	return m, nil
}

// shapedIn adds what the host's end does to what the guest gets.
func (d *describer) shapedIn(l *rtnl.Link, a *Attachment) (err error) {
	if !guestnet.HasQueue(l) {
		return nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.queue == nil {
		if d.queue, err = d.host.Qdiscs(); err != nil {
			return fault.Explain("read", "the host's queues", err)
		}
	}
	var s Shaping
	if a.Shaping != nil {
		s = *a.Shaping
	}
	if in := guestnet.Shaping((build.Shaped{In: guestnet.QdiscsOf(l.Index, d.queue)})); s.RateIn == 0 {
		s.RateIn = in.RateIn
	}
	a.Shaping = guestnet.ShapingOrNil(s)
	return nil
}

// describe tells what a loan is. ns is the guest's namespace; nil: it was not
// found.
func describe(l ours.Lent, ns *ours.Namespace) (Attachment, error) {
	a := Attachment{Guest: l.To, Host: Host{Kind: string(KindPhys), Name: l.Card.Name}, State: Orphan}
	if l.Complete {
		a.Origin = cmp.Or(l.Origin, OriginLine)
	}
	a.Interface = Interface{Name: l.IfName, Kind: string(KindPhys), MAC: l.Card.MAC, MTU: l.Card.MTU, Addresses: ours.NoAddrs, Gateway: ours.NoGateways}
	a.Guest.PID = 0
	if l.Home != nil {
		a.State = Half
	}
	if ns == nil || l.Link == nil {
		return a, nil
	}
	a.Guest.PID, a.Guest.NetNS = ns.PID, ns.Inode
	err := read(ns, &a, l.Link.Index)
	if errors.Is(err, rtnl.ErrNotFound) {
		return a, nil // its guest has moved it on since: whoever wants it looks for it
	}
	a.Interface.Kind = string(KindPhys)
	a.State = Half
	if l.Complete {
		a.State = Complete
	}
	return a, err
}

// read fills in the guest's side of an attachment.
func read(ns *ours.Namespace, a *Attachment, index int) error {
	if ns.Links == nil {
		c, err := rtnl.Open(ns.File)
		if err != nil {
			return fault.Explain("enter", "the namespace of "+a.Guest.Name, err)
		}
		ns.Links = c
	}
	l, err := ns.Links.LinkByIndex(index)
	if err != nil {
		return err
	}
	addrs, err := ns.Links.Addrs()
	if err != nil {
		return fault.Explain("read addresses of", l.Name, err)
	}
	all, err := ns.Links.AllRoutes()
	if err != nil {
		return fault.Explain("read routes of", l.Name, err)
	}
	vrf, err := ours.VRFOf(ns.Links, l)
	if err != nil {
		return fault.Explain("find the VRF of", l.Name, err)
	}
	shaping, err := guestnet.ShapingIn(ns.Links, l)
	if err != nil {
		return fault.Explain("read queues of", l.Name, err)
	}
	a.Shaping = guestnet.ShapingOrNil(shaping)
	table := 0
	if vrf != nil {
		table = vrf.Table
	}
	routes, others := ours.InTable(all, table)
	a.Interface = Interface{
		Name: l.Name, Kind: l.Kind, MAC: l.MAC.String(), MTU: l.MTU, Carrier: &l.Carrier,
		Addresses: ours.AddressesIn(l, addrs), Gateway: ours.GatewaysIn(index, routes),
		Routes: guestnet.AskedRoutes(index, slices.Concat(routes, others)),
	}
	if a.Lease = source.LeaseState(ns.Links, index); a.Lease != nil {
		a.Interface.Routes = append(a.Interface.Routes, a.Lease.Routes...)
	}
	if vrf != nil {
		a.Interface.VRF = &spec.VRF{Name: vrf.Name, Table: vrf.Table}
	}
	return nil
}
