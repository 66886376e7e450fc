package kind

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"

	"github.com/gopipework/gopipework/internal/build"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/ours"
	"github.com/gopipework/gopipework/internal/plan"
	"github.com/gopipework/gopipework/internal/rtnl"
	"github.com/gopipework/gopipework/internal/spec"
)

// The VXLAN by which a bridge reaches the same bridge of other hosts (--uplink). It is the
// bridge's, and goes with the last port of ours there, unless a file asks for it.
//
// Without peers it learns nothing: a routing daemon enters who is where, and a station that was
// learned from a frame would contradict it. With peers there is nobody who enters that, so it
// learns. Then every question about an address goes to the peers, and every announcement too: the
// bridge knows nothing of the guests of others, and would keep back what a guest finds a
// duplicate by, and what says that an address has another MAC address now.

// ReadUplink looks for the VXLAN of a bridge among its ports.
func ReadUplink(o *build.Looker, k plan.Reader, bridge int) build.Uplink {
	var ports []*rtnl.Link
	o.Look("the ports of the bridge", func() (err error) { ports, err = k.Ports(bridge); return err })
	return UplinkAmong(o, k, bridge, ports)
}

// UplinkAmong is ReadUplink for links that were read already, and that the ports are among.
func UplinkAmong(o *build.Looker, k plan.Reader, bridge int, links []*rtnl.Link) (u build.Uplink) {
	for _, l := range links {
		if l.Master == bridge && l.Kind == "vxlan" && (u.Link == nil || build.IsVXLAN(l)) {
			u.Link = l // one of ours, if there are several
		}
	}
	ReadFlood(o, k, &u)
	return u
}

// ReadUplinkPins is ReadUplink, and reads what is pinned on the bridge too, if that is by us.
func ReadUplinkPins(o *build.Looker, k plan.Reader, bridge int) build.Uplink {
	u := ReadUplink(o, k, bridge)
	if build.IsVXLAN(u.Link) {
		readPins(o, k, bridge, &u)
	}
	return u
}

// ReadFlood reads the peers of the VXLAN. One that does not learn was made without: what is in
// its table then, a routing daemon has entered, and the kernel does not tell by whom an entry is.
func ReadFlood(o *build.Looker, k plan.Reader, u *build.Uplink) {
	if u.Link != nil && u.Link.VXLAN.Learning {
		o.Look("the peers of "+u.Link.Name, func() (err error) { u.Flood, err = k.Flood(u.Link.Index); return err })
	}
}

// PinsAmong is UplinkAmong with what is entered about guests, for a port of ours that may be
// pinned. asked says that the bridge may get a VXLAN.
func PinsAmong(o *build.Looker, k plan.Reader, bridge int, ports []*rtnl.Link, asked bool) build.Uplink {
	u := UplinkAmong(o, k, bridge, ports)
	readTold(o, k, bridge, &u)
	if asked || build.IsVXLAN(u.Link) {
		readPins(o, k, bridge, &u)
	}
	return u
}

// readTold reads what a routing daemon has entered about the guests of other hosts. The bridge
// answers for them by it, and keeps from the VXLAN the questions that would find a duplicate: so
// these entries are all that shows one, and a duplicate would have them deleted.
func readTold(o *build.Looker, k plan.Reader, bridge int, u *build.Uplink) {
	if !u.VXLAN().Asked() || u.Link.VXLAN.Learning {
		return
	}
	var remotes []rtnl.Remote
	o.Look("the hosts behind "+u.Link.Name, func() (err error) { remotes, err = k.Remotes(u.Link.Index); return err })
	o.Look("the guests behind "+u.Link.Name, func() error {
		all, err := k.ToldNeighbours(bridge)
		for _, n := range all {
			t := build.Told{FixedNeighbour: n}
			if i := slices.IndexFunc(remotes, func(r rtnl.Remote) bool { return slices.Equal(r.MAC, n.MAC) }); i >= 0 {
				t.On = remotes[i].Host
			}
			u.Told = append(u.Told, t)
		}
		return err
	})
}

// refuseTold refuses addresses that guests of other hosts have under another MAC address.
func refuseTold(j *build.Job, bridge string, u build.Uplink, mac net.HardwareAddr, addrs []netip.Addr) error {
	for _, t := range u.Told {
		if !slices.Contains(addrs, t.Addr) || slices.Equal(t.MAC, mac) {
			continue
		}
		host := "another host"
		if t.On.IsValid() {
			host = "the host " + t.On.String()
		}
		return j.Refuse(fault.Conflict, "a guest of %s has the address %s already, with the MAC address %s", host, t.Addr, t.MAC).
			WithHint("choose another address, or detach that guest there; who is where: ip neighbour show dev %s", bridge)
	}
	return nil
}

// lookAtUplink reads what an attach must know of the bridge's uplink.
func lookAtUplink(o *build.Observer, s spec.Spec, ports []*rtnl.Link, f *build.Facts) {
	if f.Base != nil {
		f.Uplink = PinsAmong(&o.Looker, o.Host, f.Base.Index, ports, s.Uplink != "")
	}
	if s.Uplink != "" {
		o.Look("the host's links", func() (err error) { f.Uplink.Links, err = o.Host.Links(); return err })
		o.Look("the host's addresses", func() (err error) { f.Uplink.Addrs, err = o.Host.Addrs(); return err })
	}
}

// settleUplink reads the word for the uplink, and refuses one that the bridge cannot have,
// unless the attachment is there: then it differs.
func settleUplink(j *build.Job) (err error) {
	if j.Uplink == "" {
		return nil
	}
	if j.VXLAN, err = spec.ParseVXLAN(j.Uplink); err != nil {
		return err
	}
	u := j.There.Uplink
	is := u.VXLAN()
	switch {
	case !j.Traits.Uplinks:
		return notUplinked(j)
	case u.Link != nil && !build.IsVXLAN(u.Link):
		return j.Refuse(fault.Conflict, "%s has a VXLAN already that gopipework did not create: %s", j.HostIF.Name, describeVXLAN(u.Link)).
			WithHint("leave --uplink out: %s reaches other hosts by %s", j.HostIF.Name, u.Link.Name)
	case is.Device() == j.VXLAN.Device() && len(is.Peers) > 0 && len(j.VXLAN.Peers) > 0 && is.String() != j.VXLAN.String():
		return otherPeers(j, is)
	case is.Asked() && is.String() != j.VXLAN.String() && !j.Complete():
		return j.Refuse(fault.Conflict, "%s has another uplink already: %s, which is %s", j.HostIF.Name, is, u.Link.Name).
			WithHint("leave --uplink out, or detach all guests of %s first", j.HostIF.Name)
	}
	return CheckVXLAN(j.VXLAN, j.HostIF.Name, u, j.Refuse)
}

// otherPeers is why a line cannot change the peers of a VXLAN: it is the bridge's, and other
// guests use it.
func otherPeers(j *build.Job, is spec.VXLAN) error {
	hint := fmt.Sprintf("the peers of a bridge in use are changed by a topology file: bridges: %s: {uplink: '%s'}", j.HostIF.Name, j.VXLAN)
	for _, p := range j.VXLAN.Peers {
		if !slices.Contains(is.Peers, p) {
			hint += "; or by " + FloodTo{VXLAN: j.There.Uplink.Link.Name, Host: p}.String()
		}
	}
	return j.Refuse(fault.Conflict, "%s has the uplink %s; the line asks for %s", j.HostIF.Name, is, j.VXLAN).WithHint("%s", hint)
}

// notUplinked is why a kind has no uplink.
func notUplinked(j *build.Job) error {
	e := j.Refuse(fault.Usage, "--uplink is for a Linux bridge, and this is of the kind %s", j.Kind)
	if j.Kind != spec.KindOVS || len(j.VXLAN.Peers) == 0 {
		return e.WithHint("leave --uplink out")
	}
	return e.WithHint("ovs-vsctl add-port %s vx%d -- set interface vx%d type=vxlan options:key=%d options:remote_ip=%s",
		j.HostIF.Name, j.VXLAN.VNI, j.VXLAN.VNI, j.VXLAN.VNI, j.VXLAN.Peers[0])
}

// CheckVXLAN refuses a VXLAN that this host cannot have on a bridge.
func CheckVXLAN(v spec.VXLAN, bridge string, u build.Uplink, refuse func(fault.Code, string, ...any) *fault.Error) error {
	on := LinkWith(u, v.Local)
	switch {
	case on == nil:
		return refuse(fault.NotFound, "%s is not an address of this host, so no other host can send to it", v.Local).
			WithHint("ip address show; local= is the address by which the other hosts reach this one")
	case on.Name == bridge:
		return refuse(fault.Conflict, "%s is the host's address on %s itself, and a VXLAN cannot send by the bridge that it is a port of", v.Local, bridge).
			WithHint("name the address of the card that the other hosts are behind")
	case !on.Loopback && on.MTU-v.Overhead() < spec.MinMTU:
		return refuse(fault.Conflict, "%s, which has %s, has an MTU of %d: too little for a VXLAN, which takes %d bytes of it", on.Name, v.Local, on.MTU, v.Overhead()).
			WithHint("ip link set dev %s mtu 1500", on.Name)
	}
	for _, l := range u.Links {
		if l.Kind == "vxlan" && l.VXLAN.VNI == v.VNI && l.VXLAN.Port == v.Port && (u.Link == nil || l.Index != u.Link.Index) {
			return refuse(fault.Conflict, "the VNI %d is in use already, by %s", v.VNI, describeVXLAN(l)).
				WithHint("choose another VNI, or attach to the bridge that has it")
		}
	}
	return nil
}

// describeVXLAN says what a VXLAN is, for an error.
func describeVXLAN(l *rtnl.Link) string {
	return fmt.Sprintf("%s (VNI %d, local %s, port %d)", l.Name, l.VXLAN.VNI, spec.OrNone(addrWord(l.VXLAN.Local)), l.VXLAN.Port)
}

func addrWord(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

// LinkWith returns the link that has an address of the host; nil: none has.
func LinkWith(u build.Uplink, a netip.Addr) *rtnl.Link {
	for _, have := range u.Addrs {
		if have.Prefix.Addr() != a {
			continue
		}
		if i := slices.IndexFunc(u.Links, func(l *rtnl.Link) bool { return l.Index == have.Index }); i >= 0 {
			return u.Links[i]
		}
	}
	return nil
}

// UplinkMTU is the longest packet of a guest, in bytes, that the bridge's uplink takes to other
// hosts whole; 0: there is no uplink. An address on the loopback interface does not say which
// card the packets leave by: that of an Ethernet is assumed.
func UplinkMTU(v spec.VXLAN, u build.Uplink) int {
	on := LinkWith(u, v.Local)
	switch {
	case v.Asked() && on != nil && !on.Loopback:
		return on.MTU - v.Overhead()
	case v.Asked():
		return build.DefaultMTU - v.Overhead()
	case u.VXLAN().Asked():
		return u.Link.MTU
	}
	return 0
}

// planUplink sees to it that the bridge has the uplink that is asked for, and that it is up.
func planUplink(j *build.Job, d *build.Draft) {
	u := j.There.Uplink
	switch {
	case !j.VXLAN.Asked():
		return
	case u.VXLAN().Asked():
		if !u.Link.Up {
			d.Add(ours.RaiseLink{Name: u.Link.Name})
		}
		return
	}
	on := j.There.Base
	if j.HalfBridge() {
		on = nil
	}
	PlanVXLAN(AddVXLAN{VXLAN: j.VXLAN, Bridge: j.HostIF.Name, MTU: j.MTU}, on, u, d)
}

// PlanVXLAN plans for a bridge to get a VXLAN, also in place of one that is half made, or
// another. The MTU of s is the one that is asked for; 0: none is. Its Name is chosen here. on
// is the bridge; nil: that is made as well.
func PlanVXLAN(s AddVXLAN, on *rtnl.Link, u build.Uplink, d *build.Draft) {
	fits := UplinkMTU(s.VXLAN, u)
	if s.MTU > fits {
		d.Warn("an MTU of %d is more than the %d that fit into packets from %s: longer ones are sent in fragments, or lost", s.MTU, fits, s.Local)
	}
	s.Name, s.MTU = vxlanName(s.VNI, u), max(fits, s.MTU)
	if build.IsVXLAN(u.Link) {
		end := EndUplink(s.Bridge, u)
		end.replaced = true
		d.Add(end)
	}
	d.Add(s)
	lowerBridge(on, d, s.MTU)
	d.Warn("a VXLAN is neither encrypted nor authenticated: whoever can send to UDP port %d of %s is on %s", s.Port, s.Local, s.Bridge)
}

// lowerBridge plans for the MTU of a bridge of ours not to be more than that of its uplink; the
// kernel lowers that of others, unless somebody has set it.
func lowerBridge(b *rtnl.Link, d *build.Draft, mtu int) {
	if b == nil || b.MTU <= mtu {
		return
	}
	if plan.IsOurs(b) {
		d.Add(plan.ChangeMTU{Link: b.Name, MTU: mtu, Was: b.MTU})
	}
	d.Warn("longer packets than %d bytes do not reach the other hosts; guests that are on %s already have an MTU of up to %d: gopipework set GUEST IFNAME --mtu %d",
		mtu, b.Name, b.MTU, mtu)
}

// vxlanName is the name of a new VXLAN: made from its number, unless that is taken.
func vxlanName(vni int, u build.Uplink) string {
	base := "vx" + strconv.Itoa(vni)
	name := base
	taken := func(l *rtnl.Link) bool {
		return (u.Link == nil || l.Index != u.Link.Index) && (l.Name == name || slices.Contains(l.AltNames, name))
	}
	for n := 2; slices.ContainsFunc(u.Links, taken); n++ {
		name = base + "-" + strconv.Itoa(n)
	}
	return name
}

// uplinkDiffers holds the uplink that is there against the one that is asked for. One that is
// gone is made again.
func uplinkDiffers(j *build.Job, differ build.Differ) {
	if is := j.There.Uplink.VXLAN(); j.VXLAN.Asked() && is.Asked() && is.String() != j.VXLAN.String() {
		differ(spec.Uplink, is, j.VXLAN)
	}
}

// leaveUplink plans for the VXLAN of a bridge to go once no port of ours is left there. It
// returns the ports that are left then.
func leaveUplink(bridge string, u build.Uplink, rest []*rtnl.Link, r *build.Removal) []*rtnl.Link {
	if !build.IsVXLAN(u.Link) || slices.ContainsFunc(rest, guestPort) || UplinkWanted(u.Link) {
		return rest
	}
	r.Links = append(r.Links, EndUplink(bridge, u))
	return slices.DeleteFunc(rest, func(l *rtnl.Link) bool { return l.Index == u.Link.Index })
}

// EmptiedVXLAN reports whether a VXLAN of ours serves no port of ours any more.
func EmptiedVXLAN(l *rtnl.Link, all []*rtnl.Link) bool {
	return build.IsVXLAN(l) && !slices.ContainsFunc(all, func(p *rtnl.Link) bool {
		return l.Master != 0 && p.Master == l.Master && guestPort(p)
	})
}

// UplinkWanted reports whether an origin asks for the link as an uplink.
func UplinkWanted(l *rtnl.Link) bool {
	_, is := ours.UplinkMarkOf(l)
	return is
}

// collectVXLANs plans for VXLANs of ours to go that are half made, or serve no port of ours.
func collectVXLANs(f build.GCFacts, r *build.Removal) (going map[int]bool) {
	going = map[int]bool{}
	for _, l := range f.Links {
		serves := func(p *rtnl.Link) bool {
			_, goes := f.Abandoned[p.Index]
			return l.Master != 0 && p.Master == l.Master && guestPort(p) && !goes
		}
		if build.IsVXLAN(l) && (l.Alias == "" || !UplinkWanted(l) && !slices.ContainsFunc(f.Links, serves)) {
			going[l.Index] = true
			r.Links = append(r.Links, EndUplink("", build.Uplink{Link: l}))
		}
	}
	return going
}
