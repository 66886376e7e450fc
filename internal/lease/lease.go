package lease

import (
	"encoding/binary"
	"fmt"
	"math"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/rfc1035label"
)

// Lease is what a server said, checked: it holds nothing that an interface
// cannot be given. Times that say when are since boot ([Clock]); /run, where
// leases are kept, does not outlive a boot either.
type Lease struct {
	Address netip.Prefix  `json:"address"`
	Server  netip.Addr    `json:"server"`
	Routes  []Route       `json:"routes,omitempty"`
	MTU     int           `json:"mtu,omitempty"` // 0: the server says none, or nonsense
	DNS     []netip.Addr  `json:"dns,omitempty"`
	Domain  string        `json:"domain,omitempty"`
	Search  []string      `json:"search,omitempty"`
	At      time.Duration `json:"at"`    // when the request that got it was sent; it counts from there
	T1      time.Duration `json:"t1"`    // after At: ask this server for more
	T2      time.Duration `json:"t2"`    // after At: ask any server
	Time    time.Duration `json:"lease"` // after At it ends; Forever if it does not

	DUID      []byte        `json:"duid,omitempty"`      // of a DHCPv6 server
	Preferred time.Duration `json:"preferred,omitempty"` // the preferred lifetime; 0: all of Time
}

// Forever is the time of a lease that does not end.
const Forever = math.MaxUint32 * time.Second

// Ends returns when the lease ends, since boot.
func (l Lease) Ends() time.Duration { return l.At + l.Time }

// Route is a route that came with a lease. Source is the lease's address: the
// kernel takes a route away with the address that it names as its source.
//
//	ip route add DST [via GATEWAY] dev NAME src SOURCE
type Route struct {
	Dst     netip.Prefix `json:"dst"`     // 0.0.0.0/0 for the default route
	Gateway netip.Addr   `json:"gateway"` // the zero Addr: on link
	Source  netip.Addr   `json:"source"`
}

// Default reports whether it is a default route.
func (r Route) Default() bool { return r.Dst.Bits() == 0 }

const (
	maxRoutes = 64  // more than a server has a reason to send
	maxDNS    = 8   // a resolver asks three
	minMTU    = 576 // what every host must take (RFC 791); less stops things that work
)

// readLease reads an ACK, or an offer, that came in answer to a request that
// was sent at. Its error says what is wrong with it.
func readLease(m *dhcpv4.DHCPv4, at time.Duration) (Lease, error) {
	l := Lease{At: at}
	var err error
	if l.Address, err = readAddress(m); err != nil {
		return Lease{}, err
	}
	if l.Server, err = readServer(m); err != nil {
		return Lease{}, err
	}
	if l.Time, l.T1, l.T2, err = readTimes(m.Options); err != nil {
		return Lease{}, err
	}
	if l.Routes, err = readRoutes(m.Options, l.Address); err != nil {
		return Lease{}, err
	}
	l.MTU = readMTU(m.Options)
	for _, a := range readAddrs(m.Options, dhcpv4.OptionDomainNameServer) {
		if unusable(a) == "" && len(l.DNS) < maxDNS {
			l.DNS = append(l.DNS, a)
		}
	}
	if d := domain(string(m.Options.Get(dhcpv4.OptionDomainName))); d != "" {
		l.Domain = d
	}
	l.Search = readSearch(m.Options)
	return l, nil
}

func readAddress(m *dhcpv4.DHCPv4) (netip.Prefix, error) {
	a, ok := netip.AddrFromSlice(m.YourIPAddr.To4())
	if !ok {
		return netip.Prefix{}, fmt.Errorf("it gives no address")
	}
	if why := unusable(a); why != "" {
		return netip.Prefix{}, fmt.Errorf("it gives the address %s: %s", a, why)
	}
	mask := m.Options.Get(dhcpv4.OptionSubnetMask)
	if len(mask) != 4 {
		return netip.Prefix{}, fmt.Errorf("it gives the address %s without a subnet mask", a)
	}
	ones, bits := net.IPMask(mask).Size()
	if bits != 32 || ones == 0 {
		return netip.Prefix{}, fmt.Errorf("it gives the subnet mask %s, which is none", net.IP(mask))
	}
	p := netip.PrefixFrom(a, ones)
	if why := notAHost(p, a); why != "" {
		return netip.Prefix{}, fmt.Errorf("it gives the address %s: it is %s", p, why)
	}
	return p, nil
}

func readServer(m *dhcpv4.DHCPv4) (netip.Addr, error) {
	as := readAddrs(m.Options, dhcpv4.OptionServerIdentifier)
	if len(as) != 1 {
		return netip.Addr{}, fmt.Errorf("it does not say which server it is from")
	}
	if why := unusable(as[0]); why != "" {
		return netip.Addr{}, fmt.Errorf("it says it is from the server %s: %s", as[0], why)
	}
	return as[0], nil
}

// readTimes returns the lease time, T1 and T2: the server's, where they make
// sense, else a half and seven eighths (RFC 2131, section 4.4.5).
func readTimes(o dhcpv4.Options) (lease, t1, t2 time.Duration, err error) {
	lease, ok := readSeconds(o, dhcpv4.OptionIPAddressLeaseTime)
	if !ok || lease == 0 {
		return 0, 0, 0, fmt.Errorf("it gives no lease time, or 0")
	}
	t1, ok1 := readSeconds(o, dhcpv4.OptionRenewTimeValue)
	t2, ok2 := readSeconds(o, dhcpv4.OptionRebindingTimeValue)
	if lease == Forever {
		return lease, lease, lease, nil
	}
	if !ok2 || t2 == 0 || t2 >= lease {
		t2 = lease * 7 / 8
	}
	if !ok1 || t1 == 0 || t1 >= t2 {
		t1 = min(lease/2, t2*4/7)
	}
	return lease, t1, t2, nil
}

func readSeconds(o dhcpv4.Options, code dhcpv4.OptionCode) (time.Duration, bool) {
	b := o.Get(code)
	if len(b) != 4 {
		return 0, false
	}
	return time.Duration(binary.BigEndian.Uint32(b)) * time.Second, true
}

// readRoutes returns the classless routes (option 121) or, only where there
// are none, a default route by the first router (RFC 3442).
func readRoutes(o dhcpv4.Options, own netip.Prefix) ([]Route, error) {
	var routes []Route
	if b := o.Get(dhcpv4.OptionClasslessStaticRoute); len(b) > 0 {
		var list dhcpv4.Routes
		if err := list.FromBytes(b); err != nil {
			return nil, fmt.Errorf("its routes (option 121) end in the middle or have a mask over 32")
		}
		for _, r := range list {
			dst, _ := netip.AddrFromSlice(r.Dest.IP.To4())
			gw, _ := netip.AddrFromSlice(r.Router.To4())
			ones, _ := r.Dest.Mask.Size()
			route := Route{Dst: netip.PrefixFrom(dst, ones).Masked(), Gateway: gw}
			if gw.IsUnspecified() {
				route.Gateway = netip.Addr{}
			}
			routes = append(routes, route)
		}
	} else if routers := readAddrs(o, dhcpv4.OptionRouter); len(routers) > 0 {
		routes = []Route{{Dst: netip.PrefixFrom(netip.IPv4Unspecified(), 0), Gateway: routers[0]}}
	}
	if len(routes) > maxRoutes {
		return nil, fmt.Errorf("it gives %d routes; at most %d are taken", len(routes), maxRoutes)
	}
	for i, r := range routes {
		if err := checkRoute(r, own); err != nil {
			return nil, err
		}
		routes[i].Source = own.Addr()
	}
	return reachable(dedupe(routes), own), nil
}

func checkRoute(r Route, own netip.Prefix) error {
	const multicast, loopback = "224.0.0.0/3", "127.0.0.0/8"
	for _, no := range []string{multicast, loopback} {
		if p := netip.MustParsePrefix(no); p.Contains(r.Dst.Addr()) && r.Dst.Bits() >= p.Bits() {
			return fmt.Errorf("it gives a route to %s, which no router forwards", r.Dst)
		}
	}
	gw := r.Gateway
	if !gw.IsValid() {
		return nil
	}
	if gw == own.Addr() {
		return fmt.Errorf("it gives %s as a router and as our own address", gw)
	}
	if why := unusable(gw); why != "" {
		return fmt.Errorf("it gives the router %s: %s", gw, why)
	}
	if why := notAHost(own, gw); why != "" {
		return fmt.Errorf("it gives the router %s: it is %s", gw, why)
	}
	return nil
}

// dedupe keeps the first route to each destination.
func dedupe(routes []Route) (out []Route) {
	for _, r := range routes {
		if !slices.ContainsFunc(out, func(o Route) bool { return o.Dst == r.Dst }) {
			out = append(out, r)
		}
	}
	return out
}

// reachable puts an on-link route before the first route through a router that
// is in no subnet of ours, and through none of the on-link routes before it:
// servers of cloud hosts give a /32 and a router outside it.
func reachable(routes []Route, own netip.Prefix) []Route {
	var onLink, out []Route
	known := []netip.Prefix{own.Masked()}
	for _, r := range routes {
		if !r.Gateway.IsValid() {
			onLink = append(onLink, r)
			known = append(known, r.Dst)
		}
	}
	for _, r := range routes {
		if !r.Gateway.IsValid() {
			continue
		}
		if !slices.ContainsFunc(known, func(p netip.Prefix) bool { return p.Contains(r.Gateway) }) {
			host := netip.PrefixFrom(r.Gateway, 32)
			onLink = append(onLink, Route{Dst: host, Source: own.Addr()})
			known = append(known, host)
		}
		out = append(out, r)
	}
	return append(onLink, out...)
}

func readMTU(o dhcpv4.Options) int {
	b := o.Get(dhcpv4.OptionInterfaceMTU)
	if len(b) != 2 {
		return 0
	}
	if mtu := int(binary.BigEndian.Uint16(b)); mtu >= minMTU {
		return mtu
	}
	return 0
}

// readAddrs returns an option that is a list of addresses; nil if its length
// is not one of addresses.
func readAddrs(o dhcpv4.Options, code dhcpv4.OptionCode) (out []netip.Addr) {
	b := o.Get(code)
	if len(b)%4 != 0 {
		return nil
	}
	for quad := range slices.Chunk(b, 4) {
		out = append(out, netip.AddrFrom4([4]byte(quad)))
	}
	return out
}

func readSearch(o dhcpv4.Options) (out []string) {
	const most = 6 // resolv.conf(5) had this limit for long
	labels, err := rfc1035label.FromBytes(o.Get(dhcpv4.OptionDNSDomainSearchList))
	if err != nil {
		return nil
	}
	for _, l := range labels.Labels {
		if d := domain(l); d != "" && len(out) < most && !slices.Contains(out, d) {
			out = append(out, d)
		}
	}
	return out
}

// domain returns s without final dots and zeros if it is a domain name, so
// that it can stand in a file and on a terminal; else "".
func domain(s string) string {
	s = strings.TrimRight(s, ".\x00")
	if !isHostname(strings.ReplaceAll(s, "_", "x")) {
		return ""
	}
	return s
}
