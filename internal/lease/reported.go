package lease

import (
	"net"
	"net/netip"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

// Reported is what another DHCP client tells about its lease.
type Reported struct {
	Address netip.Addr
	Mask    net.IPMask
	Server  netip.Addr
	Time    time.Duration // 0: the client does not say
	Routers []netip.Addr
	Routes  []Route // option 121
	MTU     int     // 0: none
}

// Lease returns it checked, as if the server had said it to us. at is when it
// was got, since boot.
func (s Reported) Lease(at time.Duration) (Lease, error) {
	m := &dhcpv4.DHCPv4{YourIPAddr: s.Address.AsSlice(), Options: dhcpv4.Options{}}
	m.UpdateOption(dhcpv4.OptSubnetMask(s.Mask))
	m.UpdateOption(dhcpv4.OptServerIdentifier(s.Server.AsSlice()))
	m.UpdateOption(dhcpv4.OptIPAddressLeaseTime(s.Time))
	if len(s.Routers) > 0 {
		m.UpdateOption(dhcpv4.OptRouter(s.Routers[0].AsSlice()))
	}
	var routes []*dhcpv4.Route
	for _, r := range s.Routes {
		routes = append(routes, &dhcpv4.Route{
			Dest:   &net.IPNet{IP: r.Dst.Addr().AsSlice(), Mask: net.CIDRMask(r.Dst.Bits(), 32)},
			Router: r.Gateway.AsSlice(),
		})
	}
	if len(routes) > 0 {
		m.UpdateOption(dhcpv4.OptClasslessStaticRoute(routes...))
	}
	if s.MTU > 0 {
		m.UpdateOption(dhcpv4.OptGeneric(dhcpv4.OptionInterfaceMTU, []byte{byte(s.MTU >> 8), byte(s.MTU)}))
	}
	return readLease(m, at)
}

// Hostname is the guest's name as a DHCP client can send it; "" if nothing of
// it can be sent.
func (who Identity) Hostname() string { return toHostname(who.Name) }
