package attach

import (
	"context"
	"crypto/rand"
	"errors"
	"io/fs"
	mathrand "math/rand/v2"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/gopipework/gopipework/bridge"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/hostclient"
	"github.com/gopipework/gopipework/internal/plan"
	"github.com/gopipework/gopipework/internal/rtnl"
	"github.com/gopipework/gopipework/internal/spec"
)

// looker reads one thing after the other; the first error sticks.
type looker struct{ err error }

func (o *looker) look(at string, read func() error) {
	if o.err == nil {
		o.err = fault.Explain("look at", at, read())
	}
}

// observer reads the facts of one spec.
type observer struct {
	looker
	host, guest plan.Kernel
}

// inside looks at one guest.
func (o *looker) inside(m *plan.Machine, at plan.Side, s Spec, base *rtnl.Link) Inside {
	k, g := m.In(at), m.Guests[at].GuestInfo
	in := Inside{Guest: g, Inner: o.byName(k, namesFor(s, g, base).inner)}
	o.look("the namespace of the host", func() (err error) { in.HostNS, err = k.NamespaceID(m.HostNS); return err })
	if l := in.Inner; l != nil && l.Kind == "veth" && l.PeerNS >= 0 && l.PeerNS != in.HostNS {
		o.look("the other end of "+l.Name, func() (err error) {
			in.Other, err = k.LinkIn(l.PeerNS, l.Peer)
			return unlessNotFound(err)
		})
	}
	o.look("the guest's links", func() (err error) { in.Links, err = k.Links(); return err })
	o.look("the guest's queues", func() (err error) {
		if in.Inner != nil {
			in.Shaped, err = readShaped(k, in.Inner.Index)
		}
		if err == nil {
			var found inbounds
			found, err = findInbounds(k, in.Links)
			in.LeftInbounds = found.left
		}
		return err
	})
	o.look("the guest's addresses", func() (err error) { in.Addrs, err = k.Addrs(); return err })
	o.look("the guest's routes", func() error {
		all, err := k.AllRoutes()
		in.Routes, in.Tables = split(all)
		return err
	})
	o.look("the guest's rules", func() (err error) { in.Rules, err = k.Rules(); return err })
	o.look("the leases of the guest", func() error {
		all, err := keptLeases(m.Guests[at])
		if in.Inner != nil {
			in.Lease = keptFor(all, in.Inner.Index)
		}
		in.LeaseTables = tablesOf(all)
		return err
	})
	if in.Inner != nil {
		o.look("the DHCP clients of the guest", func() error {
			all, err := hostclient.Find(m.Guests[at].Namespace)
			in.Client = clientOf(all, in.Inner.Index)
			in.Unminded = s.From.Kind == FromClient && clientRun(m.Guests[at].GuestInfo, s.From.Ask, in.Inner.Name, in.Inner.Index).Left()
			return err
		})
		in.RA = o.acceptsRA(k, in.Inner.Name)
	}
	o.look("what was written into its resolv.conf", func() error {
		cookie, err := k.Cookie()
		if err != nil {
			return nil // nothing can have been noted: see writeDNS
		}
		in.Resolv, err = resolvNoteOf(cookie)
		return err
	})
	if s.From.Kind == FromClient {
		in.NoClient = s.From.Ask.Installed()
	}
	in.NewLinks = o.newLinks(k)
	if s.Has(true) {
		in.NoIPv6, in.IPv6Off = o.ipv6(k)
	}
	return in
}

// observe reads, and never writes, what Build needs to know.
func observe(ctx context.Context, m *plan.Machine, s Spec) (Facts, error) {
	o := &observer{host: m.Host(), guest: m.In(plan.InGuest)}
	base := o.base(s.HostIF)
	n := namesFor(s, m.Guests[plan.InGuest].GuestInfo, base)
	f := Facts{Inside: o.inside(m, plan.InGuest, s, base), Base: base}
	f.Port = o.byName(o.host, n.port)
	f.Namesake = o.byName(o.host, n.inner)
	o.look("the namespace of the guest", func() (err error) { f.GuestNS, err = o.host.NamespaceID(m.Guests[plan.InGuest].Namespace); return err })
	f.AltTaken = n.alt != "" && o.altTaken(n.alt, f.GuestNS)
	f.Own = o.hostEnd(f.Inner, f.GuestNS)
	o.shapedAt(o.host, f.Own, &f.Shaped)
	if f.Own != nil && f.Own.Master != 0 {
		o.look("the bridge of "+f.Own.Name, func() (err error) { f.OwnOn, err = o.host.LinkByIndex(f.Own.Master); return unlessNotFound(err) })
	}
	if f.OwnOn != nil && f.OwnOn.VLANFiltering {
		o.look("the VLANs of "+f.Own.Name, func() error {
			all, err := o.host.PortVLANs()
			f.PortVLANs = all[f.Own.Index]
			return err
		})
	}
	f.Card.Radio = o.radio(base)
	if mayBeCard(s.HostIF, f) {
		o.card(m, s.HostIF, &f)
	}
	if mayBeOVS(s.HostIF, f) {
		f.OVS = o.ovs(ctx, o.host)
		o.look("the host's namespace", func() (err error) { f.HostID, err = hostID(o.host); return err })
	}
	f.Tagged = o.tagged(settleKind(s.HostIF, f), f.Base, s.VLAN)
	if base != nil && settleKind(s.HostIF, f) == KindMacvlan {
		name, parent := base.Name, base
		switch tagged := taggedName(KindMacvlan, base, s.VLAN); {
		case f.Tagged != nil:
			name, parent = f.Tagged.Name, f.Tagged
		case tagged != "":
			name, parent = tagged, nil
		}
		f.Access = o.access(name, parent)
	}
	if s.MAC != nil || len(s.Addrs) > 0 || settleKind(s.HostIF, f) == KindIPvlan {
		f.Stations = o.stations(m, s, f)
	}
	f.New = NewMACs{Bridge: newMAC(), Port: highest(newMAC()), Inner: newMAC(), ProbePort: highest(newMAC()), Probe: newMAC()}
	f.NewIndex = newIndex()
	f.Reaches = reaches(f)
	if o.err != nil {
		return f, o.err
	}
	if settleKind(s.HostIF, f) != KindBridge {
		return f, nil // its frames cross no bridge of the kernel's
	}
	q := firewallQuery(s, f, n.port)
	err := o.host.Run(func() (err error) {
		f.Firewall, err = bridge.ObserveFirewall(ctx, q)
		return err
	})
	if err != nil && s.NoFirewall && ctx.Err() == nil {
		f.FirewallUnread = err.Error()
		err = nil
	}
	return f, withHint(fault.Explain("read", "the firewall", err), "--no-firewall attaches without looking at it")
}

// firewallQuery asks about the frames of the guest that are to cross the bridge.
func firewallQuery(s Spec, f Facts, port string) bridge.Query {
	q := bridge.Query{Bridge: s.HostIF.Name, Port: port, Addresses: s.Addrs}
	if f.Own != nil {
		q.Port = f.Own.Name
	}
	if f.Base != nil {
		q.Bridge = f.Base.Name // HOSTIF may be an alternative name
		q.CallsIPv4, q.CallsIPv6 = f.Base.NFCallIPv4, f.Base.NFCallIPv6
	}
	for _, family := range []bridge.Family{bridge.IPv4, bridge.IPv6} {
		if s.Has(family == bridge.IPv6) {
			q.Families = append(q.Families, family)
		}
	}
	return q
}

// withHint adds a hint to an error that has none.
func withHint(err error, hint string) error {
	if f := (*fault.Error)(nil); errors.As(err, &f) && f.Hint == "" {
		f.Hint = hint
	}
	return err
}

// base finds what HOSTIF names, by its name or by its MAC address.
func (o *observer) base(h HostIF) *rtnl.Link {
	mac, byMAC := strings.CutPrefix(h.Name, spec.MACWord)
	if !byMAC {
		return o.byName(o.host, h.Name)
	}
	var found []*rtnl.Link
	o.look("the host's links", func() error {
		all, err := o.host.Links()
		found = cardsWith(mac, all)
		return err
	})
	switch len(found) {
	case 0:
		return nil
	case 1:
		return found[0]
	}
	o.look("MAC address "+mac, func() error {
		return fault.New(fault.Conflict, "find host interface", h.String(), "%s and %s both have that address", found[0].Name, found[1].Name).
			WithHint("name the one that is meant")
	})
	return nil
}

// cardsWith returns the network cards that have the address; if there is none,
// the links that can stand for one. A bridge, or a VLAN of a card, has most
// often the card's address too.
func cardsWith(mac string, all []*rtnl.Link) []*rtnl.Link {
	having := func(is func(*rtnl.Link) bool) []*rtnl.Link {
		return slices.DeleteFunc(slices.Clone(all), func(l *rtnl.Link) bool { return l.MAC.String() != mac || plan.IsOurs(l) || !is(l) })
	}
	if cards := having(func(l *rtnl.Link) bool { return l.Kind == "" }); len(cards) > 0 {
		return cards
	}
	return having(func(l *rtnl.Link) bool { return l.Kind != "bridge" })
}

// mayBeOVS reports whether Open vSwitch has to be asked: the kind is said, or
// the name is that of a link such as its bridges have, or of none; or the pair
// that is there is in no bridge of the kernel's.
func mayBeOVS(h HostIF, f Facts) bool {
	switch {
	case h.Kind == KindOVS, h.Kind == KindPhys, f.Own != nil && (f.OwnOn == nil || f.OwnOn.Kind != "bridge"):
		return true
	case h.Kind != KindAny:
		return false
	case f.Base == nil:
		return strings.HasPrefix(h.Name, "ovs")
	}
	return f.Base.Kind == "openvswitch" || f.Base.Kind == "tun"
}

// ovs looks at the host's Open vSwitch.
func (o *looker) ovs(ctx context.Context, k plan.Kernel) (ovs bridge.OVS) {
	o.look("Open vSwitch", func() error {
		return k.Run(func() (err error) { ovs, err = bridge.ObserveOVS(ctx); return err })
	})
	return ovs
}

// byName returns nil for a link that is not there.
func (o *looker) byName(k plan.Kernel, name string) (l *rtnl.Link) {
	o.look(name, func() (err error) {
		l, err = k.LinkByName(name)
		return unlessNotFound(err)
	})
	return l
}

// altTaken reports whether a link has the alternative name, but for a half-made
// one to the same guest, which is about to go.
func (o *observer) altTaken(name string, guestNS int) (taken bool) {
	o.look(name, func() error {
		l, err := o.host.LinkByAltName(name)
		taken = l != nil && !(plan.IsOurs(l) && l.Alias == "" && l.PeerNS >= 0 && l.PeerNS == guestNS)
		return unlessNotFound(err)
	})
	return taken
}

// hostEnd returns the host's end of a guest's veth, if both ends say of each
// other that they are a pair, and the host's is of our group. What the guest
// says alone is not believed.
func (o *observer) hostEnd(inner *rtnl.Link, guestNS int) (own *rtnl.Link) {
	if inner == nil || inner.Kind != "veth" || guestNS < 0 {
		return nil
	}
	o.look("the other end of "+inner.Name, func() error {
		l, err := o.host.LinkByIndex(inner.Peer)
		if err == nil && l.Kind == "veth" && l.Group == plan.Group && l.PeerNS == guestNS && l.Peer == inner.Index {
			own = l
		}
		return unlessNotFound(err)
	})
	return own
}

// ipv6 reports whether the guest has no IPv6 at all, or has it off on new
// interfaces, as Docker's guests do.
func (o *looker) ipv6(k plan.Kernel) (none, off bool) {
	o.look("the guest's IPv6", func() error {
		v, err := k.Sysctl("ipv6/conf/default/disable_ipv6")
		if errors.Is(err, fs.ErrNotExist) {
			none = true
			return nil
		}
		off = v != "0"
		return err
	})
	return none, off
}

func unlessNotFound(err error) error {
	if errors.Is(err, rtnl.ErrNotFound) {
		return nil
	}
	return err
}

// newMAC returns a random address with the "locally administered" bit, as the
// kernel makes them (eth_random_addr).
func newMAC() net.HardwareAddr {
	mac := make(net.HardwareAddr, 6)
	rand.Read(mac)
	mac[0] = mac[0]&^1 | 2
	return mac
}

// newIndex returns a random index for a link, beyond those that the kernel has
// come to anywhere: it is free on the host and in the guest, and no link that
// was there before had it.
func newIndex() int { return 1<<24 + mathrand.IntN(1<<30) }

// highest returns mac with a first byte above that of any network card. A
// bridge without an address of its own takes the lowest of its ports'
// (br_stp_recalculate_bridge_id): a port of ours must not change that.
func highest(mac net.HardwareAddr) net.HardwareAddr {
	mac[0] = 0xfe
	return mac
}

// reaches reports whether a container gains a way to the host's links by our
// veth: whoever holds one end and has CAP_NET_ADMIN in the host's user
// namespace can make and delete links where the other end is
// (IFLA_TARGET_NETNSID). One with an interface from its engine has that way
// already.
func reaches(f Facts) bool {
	if f.Guest.Runtime != "docker" || f.Guest.PID == 0 {
		return false
	}
	for _, l := range f.Links {
		if l.PeerNS >= 0 && (f.Own == nil || l.Index != f.Inner.Index) {
			return false
		}
	}
	const capNetAdmin = 12
	caps := effectiveCaps(f.Guest.PID)
	mine, err1 := os.Readlink("/proc/self/ns/user")
	its, err2 := os.Readlink("/proc/" + itoa(f.Guest.PID) + "/ns/user")
	return caps&(1<<capNetAdmin) != 0 && err1 == nil && err2 == nil && mine == its
}

func effectiveCaps(pid int) (caps uint64) {
	b, _ := os.ReadFile("/proc/" + itoa(pid) + "/status")
	for line := range strings.Lines(string(b)) {
		if v, ok := strings.CutPrefix(line, "CapEff:"); ok {
			caps, _ = strconv.ParseUint(strings.TrimSpace(v), 16, 64)
		}
	}
	return caps
}
