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

	"github.com/gopipework/gopipework/internal/build"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/guestnet"
	"github.com/gopipework/gopipework/internal/hostclient"
	"github.com/gopipework/gopipework/internal/kind"
	"github.com/gopipework/gopipework/internal/ours"
	"github.com/gopipework/gopipework/internal/plan"
	"github.com/gopipework/gopipework/internal/rtnl"
	"github.com/gopipework/gopipework/internal/source"
	"github.com/gopipework/gopipework/internal/spec"
)

// inside looks at one guest.
func inside(o *build.Looker, m *plan.Machine, at plan.Side, s Spec, base *rtnl.Link) build.Inside {
	k, g := m.In(at), m.Guests[at].GuestInfo
	in := build.Inside{Guest: g}
	o.Look("the guest's links", func() (err error) {
		in.Links, err = k.Links()
		in.Inner = ours.Named(in.Links, namesFor(s, g, base).Inner)
		return err
	})
	o.Look("the namespace of the host", func() (err error) { in.HostNS, err = k.NamespaceID(m.HostNS); return err })
	if l := in.Inner; l != nil && l.Kind == "veth" && l.PeerNS >= 0 && l.PeerNS != in.HostNS {
		o.Look("the other end of "+l.Name, func() (err error) {
			in.Other, err = k.LinkIn(l.PeerNS, l.Peer)
			return ours.UnlessNotFound(err)
		})
	}
	o.Look("the guest's queues", func() (err error) {
		if in.Inner != nil {
			in.Shaped, err = guestnet.ReadShaped(k, in.Inner.Index)
		}
		if err == nil {
			var found guestnet.Inbounds
			found, err = guestnet.FindInbounds(k, in.Links)
			in.LeftInbounds = found.Left
		}
		return err
	})
	o.Look("the guest's addresses", func() (err error) { in.Addrs, err = k.Addrs(); return err })
	o.Look("the guest's routes", func() error {
		all, err := k.AllRoutes()
		in.Routes, in.Tables = ours.Split(all)
		return err
	})
	o.Look("the guest's rules", func() (err error) { in.Rules, err = k.Rules(); return err })
	o.Look("the leases of the guest", func() error {
		all, err := source.KeptLeases(m.Guests[at])
		if in.Inner != nil {
			in.Lease = source.KeptFor(all, in.Inner.Index)
		}
		in.LeaseTables = guestnet.TablesOf(all)
		return err
	})
	if in.Inner != nil {
		o.Look("the DHCP clients of the guest", func() error {
			all, err := hostclient.Find(m.Guests[at].Namespace)
			in.Client = source.ClientOf(all, in.Inner.Index)
			in.Unminded = s.From.Kind == FromClient && source.ClientRun(m.Guests[at].GuestInfo, s.From.Ask, in.Inner.Name, in.Inner.Index).Left()
			return err
		})
		in.RA = guestnet.AcceptsRA(o, k, in.Inner.Name)
	}
	o.Look("what was written into its resolv.conf", func() error {
		cookie, err := k.Cookie()
		if err != nil {
			return nil // nothing can have been noted: see WriteDNS
		}
		in.Resolv, err = guestnet.ResolvNoteOf(cookie)
		return err
	})
	if s.From.Kind == FromClient {
		in.NoClient = s.From.Ask.Installed()
	}
	in.NewLinks = guestnet.NewLinks(o, k, s)
	in.Sysctls = guestnet.AskedSysctls(o, k, s, in.Inner)
	if s.Has(true) {
		in.NoIPv6, in.IPv6Off = ipv6(o, k)
	}
	return in
}

// observe reads, and never writes, what planAttach needs to know.
func observe(ctx context.Context, m *plan.Machine, s Spec, ahead *Ahead) (build.Facts, error) {
	o, done := ahead.observer(ctx, m)
	defer done()
	base := base(o, s.HostIF)
	n := namesFor(s, m.Guests[plan.InGuest].GuestInfo, base)
	f := build.Facts{Inside: inside(&o.Looker, m, plan.InGuest, s, base), Base: base}
	f.PortName, f.Port = n.Port, o.ByName(o.Host, n.Port)
	if s.HostName == "" && build.IsPortOfAnother(f.Port, f.Guest) {
		f.PortName = build.HashedPortName(n.Inner, f.Guest)
		f.Port = o.ByName(o.Host, f.PortName)
	}
	f.Namesake = o.ByName(o.Host, n.Inner)
	o.Look("the namespace of the guest", func() (err error) { f.GuestNS, err = o.Host.NamespaceID(m.Guests[plan.InGuest].Namespace); return err })
	f.Parked = observeParked(&o.Looker, m, n)
	f.AltTaken = n.Alt != "" && (f.Parked == nil || !slices.Contains(f.Parked.Port.AltNames, n.Alt)) && altTaken(o, n.Alt, f.GuestNS)
	f.Own = hostEnd(o, f.Inner, f.GuestNS)
	guestnet.ShapedAt(&o.Looker, o.Host, f.Own, &f.Shaped)
	if f.Own != nil && f.Own.Master != 0 {
		o.Look("the bridge of "+f.Own.Name, func() (err error) { f.OwnOn, err = o.Host.LinkByIndex(f.Own.Master); return ours.UnlessNotFound(err) })
	}
	if f.OwnOn != nil && f.OwnOn.VLANFiltering {
		o.Look("the VLANs of "+f.Own.Name, func() error {
			all, err := o.Host.PortVLANs()
			f.PortVLANs = all[f.Own.Index]
			return err
		})
	}
	kind.Find(ctx, o, m, s.HostIF, &f)
	kind.FindMirrors(ctx, o, s, &f)
	if p := f.Parked; p != nil && kind.Fits(s, f) {
		p.Fits, f.PortName, f.Port = true, p.Port.Name, p.Port
	}
	if k := kind.KindOf(kind.SettleKind(s.HostIF, f)); k != nil {
		k.Look(ctx, o, m, s, &f)
	}
	f.New = build.NewMACs{Bridge: newMAC(), Port: highest(newMAC()), Inner: newMAC(), ProbePort: highest(newMAC()), Probe: newMAC()}
	f.NewIndex = newIndex()
	f.Reaches = reaches(f)
	return f, o.Err
}

// base finds what HOSTIF names, by its name or by its MAC address.
func base(o *build.Observer, h HostIF) *rtnl.Link {
	if h.Kind.FromFile() {
		return nil // the name is that of a file
	}
	mac, byMAC := strings.CutPrefix(h.Name, spec.MACWord)
	if !byMAC {
		return o.ByName(o.Host, h.Name)
	}
	var found []*rtnl.Link
	o.Look("the host's links", func() error {
		all, err := o.Host.Links()
		found = cardsWith(mac, all)
		return err
	})
	switch len(found) {
	case 0:
		return nil
	case 1:
		return found[0]
	}
	o.Look("MAC address "+mac, func() error {
		return fault.New(fault.Conflict, "find host interface", h.String(), "%s and %s both have that address", found[0].Name, found[1].Name).
			WithHint("name the card that you mean")
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

// altTaken reports whether a link has the alternative name, but for a half-made
// one to the same guest, which is about to go.
func altTaken(o *build.Observer, name string, guestNS int) (taken bool) {
	o.Look(name, func() error {
		l, err := o.Host.LinkByAltName(name)
		taken = l != nil && !(plan.IsOurs(l) && l.Alias == "" && l.PeerNS >= 0 && l.PeerNS == guestNS)
		return ours.UnlessNotFound(err)
	})
	return taken
}

// hostEnd returns the host's end of a guest's veth, if both ends say
// that they are a pair, and the host's is of our group. What the guest
// says alone is not believed.
func hostEnd(o *build.Observer, inner *rtnl.Link, guestNS int) (own *rtnl.Link) {
	if inner == nil || inner.Kind != "veth" || guestNS < 0 {
		return nil
	}
	o.Look("the other end of "+inner.Name, func() error {
		l, err := o.Host.LinkByIndex(inner.Peer)
		if err == nil && l.Kind == "veth" && l.Group == plan.Group && l.PeerNS == guestNS && l.Peer == inner.Index {
			own = l
		}
		return ours.UnlessNotFound(err)
	})
	return own
}

// ipv6 reports whether the guest has no IPv6 at all, or has it off on new
// interfaces, as Docker's guests do.
func ipv6(o *build.Looker, k plan.Kernel) (none, off bool) {
	o.Look("the guest's IPv6", func() error {
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

// newMAC returns a random address with the "locally administered" bit, as the
// kernel makes them (eth_random_addr).
func newMAC() net.HardwareAddr {
	mac := make(net.HardwareAddr, 6)
	rand.Read(mac)
	mac[0] = mac[0]&^1 | 2
	return mac
}

// machine is what tells this machine from others on its networks: a number that systemd, or
// the package dbus, has given it (machine-id(5)), or its name.
func machine() string {
	id, err := os.ReadFile("/etc/machine-id")
	if word := strings.TrimSpace(string(id)); err == nil && word != "" && word != "uninitialized" {
		return word
	}
	name, _ := os.Hostname()
	return name
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
func reaches(f build.Facts) bool {
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
	its, err2 := os.Readlink("/proc/" + strconv.Itoa(f.Guest.PID) + "/ns/user")
	return caps&(1<<capNetAdmin) != 0 && err1 == nil && err2 == nil && mine == its
}

func effectiveCaps(pid int) (caps uint64) {
	b, _ := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	for line := range strings.Lines(string(b)) {
		if v, ok := strings.CutPrefix(line, "CapEff:"); ok {
			caps, _ = strconv.ParseUint(strings.TrimSpace(v), 16, 64)
		}
	}
	return caps
}
