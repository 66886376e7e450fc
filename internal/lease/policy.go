package lease

import "net/netip"

var (
	thisNetwork = netip.MustParsePrefix("0.0.0.0/8")   // RFC 1122, section 3.2.1.3
	reserved    = netip.MustParsePrefix("240.0.0.0/4") // RFC 1112, section 4, and the broadcast address
)

// unusable returns why no host can have the IPv4 address.
func unusable(a netip.Addr) string {
	switch {
	case !a.Is4():
		return "it is not an IPv4 address"
	case thisNetwork.Contains(a):
		return "it is in 0.0.0.0/8, which means this network"
	case a.IsLoopback():
		return "it is a loopback address"
	case a.IsMulticast():
		return "it is a multicast address"
	case reserved.Contains(a):
		return "it is in 240.0.0.0/4, which nobody has"
	}
	return ""
}

// notAHost returns what a is within its subnet when it is not a host's
// address: /31 (RFC 3021) and /32 have hosts only.
func notAHost(p netip.Prefix, a netip.Addr) string {
	switch {
	case p.Bits() >= 31:
		return ""
	case a == p.Masked().Addr():
		return "the subnet's network address"
	case p.Contains(a) && !p.Contains(a.Next()):
		return "the subnet's broadcast address"
	}
	return ""
}
