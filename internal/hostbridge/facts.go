package hostbridge

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/gopipework/gopipework/bridge"
	"github.com/gopipework/gopipework/internal/build"
	"github.com/gopipework/gopipework/internal/kind"
	"github.com/gopipework/gopipework/internal/ours"
	"github.com/gopipework/gopipework/internal/plan"
	"github.com/gopipework/gopipework/internal/rtnl"
	"github.com/gopipework/gopipework/internal/spec"
)

// Facts are what planning must know about this machine.
type Facts struct {
	Links  []*rtnl.Link // the host's
	Addrs  []rtnl.Addr
	Routes []rtnl.Route
	OVS    bridge.OVS // looked at only if it may matter

	Users    []ours.User // links on the uplink, in any namespace
	Radio    bool        // the uplink is a Wi-Fi card
	Borrower string      // the guest that the uplink is lent to; "": none
	Lent     string      // the name that it has there

	VXLAN build.Uplink         // of the bridge
	Peers map[int][]netip.Addr // of the VXLANs that are uplinks, by index; looked at only for a list

	VLANs   map[int][]rtnl.PortVLAN // of ports, by index; looked at only if the bridge may filter
	NoIPv6  bool                    // IPv6 is off on the bridge, or on new links
	Promote bool                    // the kernel keeps the other addresses of a subnet when it loses its first

	HostID string // of this host, as Open vSwitch ports have it
	NewMAC net.HardwareAddr
	Origin spec.Origin // who asks
}

// named returns the link of that name; nil: there is none.
func (f Facts) named(name string) *rtnl.Link {
	if name == "" {
		return nil
	}
	return ours.Named(f.Links, name)
}

// name returns that of the link with the index.
func (f Facts) name(index int) string {
	for _, l := range f.Links {
		if l.Index == index {
			return l.Name
		}
	}
	return "another interface"
}

// addrsOf returns the addresses that somebody set on a link.
func (f Facts) addrsOf(l *rtnl.Link) (addrs []rtnl.Addr) {
	if l == nil {
		return nil
	}
	set := ours.AddressesOf(l, f.Addrs)
	for _, a := range f.Addrs {
		if a.Index == l.Index && slices.Contains(set, a.Prefix) {
			addrs = append(addrs, a)
		}
	}
	return addrs
}

// Observe reads what Build and Remove must know, and changes nothing. Of s, Remove needs
// the name alone.
func Observe(ctx context.Context, m *plan.Machine, s spec.BridgeSpec) (Facts, error) {
	k := m.Host()
	var f Facts
	var o build.Looker
	o.Look("the host's links", func() (err error) { f.Links, err = k.Links(); return err })
	o.Look("the host's addresses", func() (err error) { f.Addrs, err = k.Addrs(); return err })
	o.Look("the host's routes", func() (err error) { f.Routes, err = k.AllRoutes(); return err })
	if MayBeOVS(s.Name, f.Links) {
		f.OVS = o.OVS(ctx, k)
		o.Look("the host's namespace", func() (err error) { f.HostID, err = kind.HostID(k); return err })
	}
	if br := f.named(s.Name); br != nil {
		f.VXLAN = kind.UplinkAmong(&o, k, br.Index, f.Links)
	}
	f.VXLAN.Links, f.VXLAN.Addrs = f.Links, f.Addrs
	if up := f.named(s.Uplink); up != nil {
		o.Look("the users of "+up.Name, func() (err error) { f.Users, err = ours.ChildrenOf(k, up.Index, m.HostNS, nil); return err })
		o.Look(up.Name, func() (err error) { _, f.Radio, err = k.Wiphy(up.Index); return err })
	} else if s.Uplink != "" && !spec.IsVXLAN(s.Uplink) {
		o.Look("lent cards", func() error { return f.lent(k, s.Uplink) })
	}
	if s.VLANFiltering {
		o.Look("the VLANs of bridge ports", func() (err error) { f.VLANs, err = k.PortVLANs(); return err })
	}
	of := "default"
	if f.named(s.Name) != nil {
		of = s.Name
	}
	o.Look("sysctls of "+of, func() error {
		got, err := k.Sysctls(promoteOf(of), ipv6Off(of))
		f.Promote, f.NoIPv6 = got[promoteOf(of)] == "1", got[ipv6Off(of)] == "1"
		return err
	})
	return f, o.Err
}

// ReadPeers reads the peers of the VXLANs that origins ask for.
func (f *Facts) ReadPeers(o *build.Looker, k plan.Reader) {
	f.Peers = map[int][]netip.Addr{}
	for _, l := range f.Links {
		if build.IsVXLAN(l) && marked(l) {
			u := build.Uplink{Link: l}
			kind.ReadFlood(o, k, &u)
			f.Peers[l.Index] = u.Flood
		}
	}
}

// promoteOf is the sysctl of a link that keeps the other addresses of a subnet when it loses
// its first.
func promoteOf(link string) string { return "ipv4/conf/" + link + "/promote_secondaries" }

// ipv6Off is the sysctl of a link that turns IPv6 off.
func ipv6Off(link string) string { return "ipv6/conf/" + link + "/disable_ipv6" }

// MayBeOVS reports whether Open vSwitch has to be asked about a bridge.
func MayBeOVS(name string, links []*rtnl.Link) bool {
	return strings.HasPrefix(name, "ovs") || slices.ContainsFunc(links, func(l *rtnl.Link) bool {
		return l.Kind == "openvswitch" || l.Slave == "openvswitch" || l.Kind == "tun"
	})
}

// lent finds the guest that the uplink is lent to.
func (f *Facts) lent(k plan.Kernel, name string) error {
	all, _, err := ours.LentBy(k)
	for _, l := range all {
		if l.Home == nil && l.Answers(name) {
			f.Borrower, f.Lent = l.To.Word(), l.IfName
		}
	}
	return err
}

// tagOf reads the name of a VLAN of a card, CARD.TAG.
func tagOf(name string) (card string, tag int, ok bool) {
	dot := strings.LastIndexByte(name, '.')
	if dot <= 0 {
		return "", 0, false
	}
	tag, err := strconv.Atoi(name[dot+1:])
	return name[:dot], tag, err == nil && tag >= 1 && tag <= 4094 && strconv.Itoa(tag) == name[dot+1:]
}
