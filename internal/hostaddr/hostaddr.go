// Package hostaddr knows which IP addresses a host can have, and says why it cannot
// have the others.
package hostaddr

import "net/netip"

var (
	// ThisNetwork holds no host (RFC 1122, section 3.2.1.3), and the kernel makes no
	// route to a subnet that begins in it (fib_add_ifaddr).
	ThisNetwork = netip.MustParsePrefix("0.0.0.0/8")

	broadcast = netip.MustParseAddr("255.255.255.255")
	reserved  = netip.MustParsePrefix("240.0.0.0/4") // RFC 1112, section 4
)

// Unusable returns why no interface can have the address; "" if one can.
func Unusable(a netip.Addr) string {
	switch {
	case !a.IsValid():
		return "it is not an IP address"
	case a.Is4In6():
		return "it is an IPv4 address written as IPv6"
	case a.IsUnspecified():
		return "it is the unspecified address"
	case a.IsMulticast():
		return "it is a multicast address"
	case a.IsLoopback():
		return "it is a loopback address"
	case a == broadcast:
		return "it is the broadcast address"
	case ThisNetwork.Contains(a):
		return "it is in 0.0.0.0/8, which means this network"
	}
	return ""
}

// Hostless reports whether no interface can have any address of a network.
func Hostless(p netip.Prefix) bool {
	for _, word := range []string{"0.0.0.0/8", "127.0.0.0/8", "224.0.0.0/4", "255.255.255.255/32", "::/128", "::1/128", "ff00::/8"} {
		if n := netip.MustParsePrefix(word); n.Bits() <= p.Bits() && n.Contains(p.Addr()) {
			return true
		}
	}
	return false
}

// Unleasable4 returns why no DHCP server can give the address, or have it; "" if one
// can. Addresses in 240.0.0.0/4 work on Linux, but nobody has been assigned one.
func Unleasable4(a netip.Addr) string {
	switch why := Unusable(a); {
	case !a.Is4():
		return "it is not an IPv4 address"
	case why != "":
		return why
	case reserved.Contains(a):
		return "it is in 240.0.0.0/4, which nobody has"
	}
	return ""
}

// Unleasable6 is the same of DHCPv6.
func Unleasable6(a netip.Addr) string {
	switch why := Unusable(a); {
	case !a.Is6() || a.Is4In6():
		return "it is not an IPv6 address"
	case why != "":
		return why
	case a.IsLinkLocalUnicast():
		return "it is a link-local address, which hosts give themselves"
	}
	return ""
}

// NotHost returns what a is in its subnet if it is not a host's address there; "" if
// it is. All addresses of a /31 (RFC 3021), /32, /127 (RFC 6164) and /128 are hosts'.
func NotHost(p netip.Prefix, a netip.Addr) string {
	switch {
	case p.Bits() >= a.BitLen()-1:
		return ""
	case a == p.Masked().Addr() && a.Is6():
		return "the subnet's router anycast address"
	case a == p.Masked().Addr():
		return "the subnet's network address"
	case a.Is4() && p.Contains(a) && !p.Contains(a.Next()):
		return "the subnet's broadcast address"
	}
	return ""
}
