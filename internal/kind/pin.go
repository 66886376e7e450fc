package kind

import (
	"cmp"
	"net"
	"net/netip"
	"slices"

	"github.com/gopipework/gopipework/internal/build"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/guestnet"
	"github.com/gopipework/gopipework/internal/lease"
	"github.com/gopipework/gopipework/internal/ours"
	"github.com/gopipework/gopipework/internal/plan"
	"github.com/gopipework/gopipework/internal/rtnl"
	"github.com/gopipework/gopipework/internal/source"
	"github.com/gopipework/gopipework/internal/spec"
)

// Guests that are pinned to their ports. On a bridge that reaches other hosts by a VXLAN, the
// host that has a guest enters its MAC address as a static station of the port, and its
// addresses as permanent neighbours of the bridge. A routing daemon tells the other hosts of
// both, and they answer questions about the guest by themselves: without the neighbours every
// ARP request would go to all hosts. Both outlive the daemon.
//
// The neighbours have our protocol. One whose MAC address is no static station of a port of
// ours stands for nothing, and gc deletes it: so the station comes first and goes last.

// readPins reads what is pinned on a bridge.
func readPins(o *build.Looker, k plan.Reader, bridge int, u *build.Uplink) {
	o.Look("the neighbours of the bridge", func() error {
		all, err := k.FixedNeighbours()
		for _, n := range all {
			switch {
			case n.Index != bridge:
			case n.Protocol == ours.Protocol:
				u.Pins = append(u.Pins, n)
			default:
				u.Foreign = append(u.Foreign, n)
			}
		}
		return err
	})
	o.Look("the stations of the bridge", func() error {
		all, err := k.Stations(bridge)
		u.Static = slices.DeleteFunc(all, notPinned)
		return err
	})
	o.Look("the host's namespace", func() (err error) { u.Host, err = k.Cookie(); return err })
}

// notPinned reports whether a station is none that somebody has pinned to its port.
func notPinned(s rtnl.Station) bool { return !s.Stays || s.Own || s.Told }

// refuseForeign refuses addresses and a MAC address that somebody else has entered for good on
// the bridge: they would be overwritten, and deleted with the attachment.
func refuseForeign(j *build.Job, bridge string, u build.Uplink, mac net.HardwareAddr, addrs []netip.Addr) error {
	for _, n := range u.Foreign {
		if slices.Contains(addrs, n.Addr) {
			return j.Refuse(fault.Conflict, "somebody has entered %s as a permanent neighbour of %s, with the MAC address %s", n.Addr, bridge, n.MAC).
				WithHint("choose another address, or: %s", delNeighbour(n.Addr, bridge))
		}
	}
	if pinned, _ := u.PinnedTo(mac, 0); len(pinned) > 0 {
		return nil // by us
	}
	for _, s := range u.Static {
		if slices.Equal(s.MAC, mac) && (j.There.Own == nil || s.Port != j.There.Own.Index) {
			return j.Refuse(fault.Conflict, "somebody has put the MAC address %s on another port of %s for good", mac, bridge).
				WithHint("choose another MAC address; which port: bridge fdb show br %s", bridge)
		}
	}
	return nil
}

// PlanPins plans for the guest to be pinned to its port, once it has its addresses.
func PlanPins(j *build.Job, d *build.Draft) {
	if !j.Pins() {
		if j.Complete() { // the bridge may have lost its VXLAN since
			planLeasePins(j, d, nil, 0)
		}
		return
	}
	p := Pin{Port: j.Names.Port, Bridge: j.HostIF.Name, MAC: j.LinkMAC(), Want: pinnedAddrs(j)}
	if own := j.There.Own; own != nil && j.Complete() {
		p.Port, p.MAC = own.Name, j.There.Inner.MAC
		p.Was, p.Static = j.There.Uplink.PinnedTo(p.MAC, own.Index)
		planLeasePins(j, d, j.There.Base, j.There.Uplink.Host)
	} else {
		p.Leased = j.From.Kind == spec.FromDHCP
	}
	if p.changes() {
		d.Add(p)
		planAwaitRouting(p, j.VXLAN, j.There.Uplink, d)
		planAnnounceAfar(p, j.There.Uplink, d)
	}
	d.Steps = append(d.Steps, dropStale(p, j.There.Own, j.There.Uplink)...)
}

// dropStale plans for what was entered for others than the guest that is pinned to go: for guests
// that have died, whose ports have gone, and the stations with them; and for the guest itself
// when it had another MAC address. own is its port; nil: that is new.
func dropStale(p Pin, own *rtnl.Link, u build.Uplink) (steps []plan.Step) {
	for _, s := range u.Static {
		was, _ := u.PinnedTo(s.MAC, s.Port)
		if own != nil && s.Port == own.Index && len(was) > 0 && !slices.Equal(s.MAC, p.MAC) {
			steps = append(steps, Unpin{Port: p.Port, Bridge: p.Bridge, MAC: s.MAC, Was: was, Static: true})
		}
	}
	for _, n := range u.Pins {
		if !u.Lives(n) && !slices.Equal(n.MAC, p.MAC) {
			steps = append(steps, Unpin{Bridge: p.Bridge, MAC: n.MAC, Was: []netip.Addr{n.Addr}})
		}
	}
	return steps
}

// pinnedAddrs are the addresses that are known to be the guest's.
func pinnedAddrs(j *build.Job) []netip.Addr {
	out := append(guestnet.GivenAddrs(j, false), guestnet.GivenAddrs(j, true)...)
	if j.Complete() {
		out = withLeased(out, j.There.Lease)
	}
	return out
}

// withLeased adds the address of a lease whose keeper pins it.
func withLeased(addrs []netip.Addr, k *lease.Kept) []netip.Addr {
	if k == nil || k.Lease == nil || k.Ask.Kind == lease.DHCPv6 || slices.Contains(addrs, k.Lease.Address.Addr()) {
		return addrs
	}
	return append(addrs, k.Lease.Address.Addr())
}

// planLeasePins plans to tell the keeper of a lease on which bridge it pins the leased address;
// nil: on none. What is planned after this sees the lease as it is kept then.
func planLeasePins(j *build.Job, d *build.Draft, on *rtnl.Link, host uint64) {
	k := j.There.Lease
	if k == nil || k.Ask.Kind == lease.DHCPv6 {
		return
	}
	told, kept := *j, *k
	kept.Ask.Neighbour = nil
	if on != nil {
		kept.Ask.Neighbour = &lease.Access{Host: host, Parent: on.Index}
	}
	source.PlanChange(&told, d, &kept.Ask)
	j.There.Lease = &kept
}

// SetPins plans for what is pinned to follow a change. It comes before the addresses change,
// and returns what comes after that.
func SetPins(c *build.Change, d *build.Draft) (after func(), err error) {
	own, was := c.There.Found.Port, c.There.Switch.Uplink
	if own == nil || !was.VXLAN().Asked() && (c.To == nil || !c.To.Pins()) {
		return func() {}, nil
	}
	mac, on, host, u := c.There.Inner.MAC, c.There.OwnOn, was.Host, was
	p := Pin{Port: own.Name, MAC: mac}
	pins := c.To == nil && !getsTagged(*c)
	if c.To != nil {
		u = c.To.There.Uplink
		pins, on, host = c.To.Pins(), c.To.There.Base, u.Host
		p.Bridge = c.To.HostIF.Name
	} else {
		p.Bridge = on.Name
		p.Was, p.Static = was.PinnedTo(mac, own.Index)
	}
	if !pins {
		on = nil
	} else if c.To == nil && c.HasAddrs { // a move has looked at them already
		fresh := slices.DeleteFunc(addrsAfter(*c), func(a netip.Addr) bool { return slices.Contains(p.Was, a) })
		if err := cmp.Or(refuseTold(c.Job, on.Name, was, mac, fresh), refuseForeign(c.Job, on.Name, was, mac, fresh)); err != nil {
			return nil, err
		}
	}
	planLeasePins(c.Job, d, on, host)
	c.There.Lease = c.Job.There.Lease
	return func() {
		if !pins {
			if p.Static || len(p.Was) > 0 {
				d.Add(Unpin(p))
			}
			return
		}
		p.Want = addrsAfter(*c)
		if p.changes() {
			d.Add(p)
			made := spec.VXLAN{}
			if c.To != nil {
				made = c.To.VXLAN
			}
			planAwaitRouting(p, made, u, d)
			planAnnounceAfar(p, u, d)
		}
		if c.To == nil {
			d.Steps = append(d.Steps, dropStale(p, own, was)...)
		}
	}, nil
}

// getsTagged reports whether the port has VLANs, whose frames do not cross the VXLAN, after a
// change.
func getsTagged(c build.Change) bool {
	word := c.There.Found.Host.VLAN
	if c.VLAN != "" {
		word = c.VLAN
	}
	return word != "" && word != spec.None
}

// addrsAfter are the addresses that the guest has after a change, but for those of a DHCP
// client of the host: that changes them, and tells nobody.
func addrsAfter(c build.Change) (out []netip.Addr) {
	all := c.Addrs
	if !c.HasAddrs && c.There.Client == nil {
		all = ours.AddressesOf(c.There.Inner, c.There.Addrs)
	}
	for _, p := range all {
		out = append(out, p.Addr())
	}
	return withLeased(out, c.There.Lease)
}

// unpin plans for what is pinned to ports that go, before the ports do: their host is the
// first that knows.
func unpin(d build.Departure, r *build.Removal) {
	for _, c := range d.Chosen {
		if c.Port == nil {
			continue
		}
		s := d.There.Bridges[c.Port.Master]
		for _, st := range s.Uplink.Static {
			was, _ := s.Uplink.PinnedTo(st.MAC, st.Port)
			port := c.Port
			if away := s.Uplink.Link; build.IsVXLAN(away) && st.Port == away.Index && len(was) > 0 && st.MAC.String() == c.Interface.MAC {
				port = away // the guest runs on another host already, and the kernel moves a station with its frames
			}
			if st.Port == port.Index {
				r.Steps = append(r.Steps, Unpin{Port: port.Name, Bridge: s.Name, MAC: st.MAC, Was: was, Static: true})
			}
		}
	}
}

// collectPins plans for neighbours of ours to go that stand for no port.
func collectPins(f build.GCFacts, r *build.Removal) {
	for _, n := range f.Pins {
		stays := slices.ContainsFunc(f.Static, func(s rtnl.Station) bool {
			_, goes := f.Abandoned[s.Port]
			return s.Bridge == n.Index && !goes && slices.Equal(s.MAC, n.MAC)
		})
		if i := slices.IndexFunc(f.Links, func(l *rtnl.Link) bool { return l.Index == n.Index }); i >= 0 && !stays {
			r.Steps = append(r.Steps, Unpin{Bridge: f.Links[i].Name, MAC: n.MAC, Was: []netip.Addr{n.Addr}})
		}
	}
}

// ReadAllPins reads what is pinned on any bridge. The stations come last: of a guest that is
// pinned meanwhile, they are there before the neighbours.
func ReadAllPins(k plan.Reader) (pins []rtnl.FixedNeighbour, static []rtnl.Station, err error) {
	all, err := k.FixedNeighbours()
	if err != nil {
		return nil, nil, err
	}
	pins = slices.DeleteFunc(all, func(n rtnl.FixedNeighbour) bool { return n.Protocol != ours.Protocol })
	seen := map[int]bool{}
	for _, n := range pins {
		if seen[n.Index] {
			continue
		}
		seen[n.Index] = true
		all, err := k.Stations(n.Index)
		if err != nil {
			return nil, nil, err
		}
		static = append(static, slices.DeleteFunc(all, notPinned)...)
	}
	return pins, static, nil
}
