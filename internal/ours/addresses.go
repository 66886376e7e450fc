package ours

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/gopipework/gopipework/internal/rtnl"
	"golang.org/x/sys/unix"
)

// AddressesOf returns the addresses that somebody set on a link: not those that
// a router's advertisement brought, and not the kernel's own link-local one.
func AddressesOf(l *rtnl.Link, all []rtnl.Addr) []netip.Prefix {
	out := []netip.Prefix{}
	for _, a := range all {
		if a.Index == l.Index && a.Permanent() && !autoLinkLocal(a, l.MAC) {
			out = append(out, a.Prefix)
		}
	}
	return out
}

// AddressesIn returns the addresses that a link has, but for the kernel's own
// link-local one: also those with an end, from a DHCP server or a router.
func AddressesIn(l *rtnl.Link, all []rtnl.Addr) []netip.Prefix {
	out := []netip.Prefix{}
	for _, a := range all {
		if a.Index == l.Index && !autoLinkLocal(a, l.MAC) {
			out = append(out, a.Prefix)
		}
	}
	return out
}

// autoLinkLocal reports whether the kernel gave the address to the link by
// itself: fe80::/64 and an identifier made from the MAC address (RFC 4291,
// appendix A: ff:fe in its middle) or from a secret (RFC 7217).
func autoLinkLocal(a rtnl.Addr, mac net.HardwareAddr) bool {
	ip := a.Prefix.Addr()
	if !ip.Is6() || !ip.IsLinkLocalUnicast() || a.Prefix.Bits() != 64 {
		return false
	}
	b := ip.As16()
	return b[11] == 0xff && b[12] == 0xfe || a.Flags&unix.IFA_F_STABLE_PRIVACY != 0 || ownID(b, mac)
}

// ownID reports whether an interface identifier is made from a MAC address that
// several links share, as ipvlans do: a number tells them apart in the middle
// (addrconf_ifid_eui48).
func ownID(b [16]byte, mac net.HardwareAddr) bool {
	return len(mac) == 6 && bytes.Equal(b[8:11], mac[:3]) && bytes.Equal(b[13:], mac[3:])
}

// GatewaysOf returns the gateways of the default routes by a link that somebody
// set: a DHCP server and a router's advertisement bring others.
func GatewaysOf(index int, all []rtnl.Route) []netip.Addr {
	return gateways(index, all, func(r rtnl.Route) bool { return r.Set || r.Protocol == Protocol })
}

// GatewaysIn returns those of all default routes by a link, whoever brought them.
func GatewaysIn(index int, all []rtnl.Route) []netip.Addr {
	return gateways(index, all, func(r rtnl.Route) bool {
		return r.Set || r.Protocol == Protocol || r.Protocol == unix.RTPROT_DHCP || r.Protocol == unix.RTPROT_RA
	})
}

func gateways(index int, all []rtnl.Route, of func(rtnl.Route) bool) []netip.Addr {
	out := []netip.Addr{}
	for _, r := range all {
		if r.Default() && r.Index == index && r.Gateway.IsValid() && of(r) {
			out = append(out, r.Gateway)
		}
	}
	return out
}

func SameSet[T comparable](a, b []T) bool {
	return len(a) == len(b) && !slices.ContainsFunc(a, func(v T) bool { return !slices.Contains(b, v) })
}

// InUse reports whether somebody has given a link an address: its own
// link-local one does not count.
func InUse(index int, addrs []rtnl.Addr) bool {
	return slices.ContainsFunc(addrs, func(a rtnl.Addr) bool { return a.Index == index && !autoLinkLocal(a, nil) })
}

func DescribeKind(l *rtnl.Link) string {
	switch {
	case l.Loopback:
		return "the loopback interface"
	case l.Kind == "":
		return "a network card"
	}
	return "a " + l.Kind
}

func UnlessNotFound(err error) error {
	if errors.Is(err, rtnl.ErrNotFound) {
		return nil
	}
	return err
}

// Missing tells what a kernel lacks that does not know a kind of link.
func Missing(kind string) string {
	needs := map[string]string{
		"macvlan": "module macvlan (CONFIG_MACVLAN)",
		"macvtap": "module macvtap (CONFIG_MACVTAP)",
		"ipvlan":  "module ipvlan (CONFIG_IPVLAN)",
		"vlan":    "module 8021q (CONFIG_VLAN_8021Q)",
		"dummy":   "module dummy (CONFIG_DUMMY)",
		"ipoib":   "module ib_ipoib (CONFIG_INFINIBAND_IPOIB)",
		"vrf":     "module vrf (CONFIG_NET_VRF)",
		"veth":    "module veth (CONFIG_VETH)",
		"vxlan":   "module vxlan (CONFIG_VXLAN)",

		"wireguard": "module wireguard (CONFIG_WIREGUARD)",
	}
	return fmt.Sprintf("the kernel needs the %s; on Debian and Ubuntu it is in the package linux-image", needs[kind])
}

// Split tells the routes of the main table from the others.
func Split(all []rtnl.Route) (main, tables []rtnl.Route) {
	for _, r := range all {
		if r.Table == 0 {
			main = append(main, r)
		} else {
			tables = append(tables, r)
		}
	}
	return main, tables
}
