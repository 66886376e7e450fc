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

	"github.com/gopipework/gopipework/internal/hostaddr"
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
	LeftOut []string      `json:"left_out,omitempty"` // what of the server's answer was not taken, and why
	At      time.Duration `json:"at"`                 // when the request that got it was sent; it counts from there
	T1      time.Duration `json:"t1"`                 // after At: ask this server for more
	T2      time.Duration `json:"t2"`                 // after At: ask any server
	Time    time.Duration `json:"lease"`              // after At it ends; Forever if it does not

	DUID      []byte        `json:"duid,omitempty"`      // of a DHCPv6 server
	Preferred time.Duration `json:"preferred,omitempty"` // the preferred lifetime; 0: all of Time
}

// Forever is the time of a lease that does not end.
const Forever = math.MaxUint32 * time.Second

// Ends returns when the lease ends, since boot.
func (l Lease) Ends() time.Duration { return l.At + l.Time }

// Route is a route that came with a lease. Source is the lease's address: the
// kernel deletes a route with the address that it names as its source.
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
	l.Routes, l.LeftOut = readRoutes(m.Options, l.Address)
	l.MTU = readMTU(m.Options)
	for _, a := range readAddrs(m.Options, dhcpv4.OptionDomainNameServer) {
		if hostaddr.Unleasable4(a) == "" && len(l.DNS) < maxDNS {
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
	if why := hostaddr.Unleasable4(a); why != "" {
		return netip.Prefix{}, fmt.Errorf("it gives the address %s: %s", a, why)
	}
	ones, err := readMask(m.Options)
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("it gives the address %s %w", a, err)
	}
	p := netip.PrefixFrom(a, ones)
	if hostaddr.ThisNetwork.Contains(p.Masked().Addr()) {
		return netip.Prefix{}, fmt.Errorf("it gives the address %s, and the kernel makes no route to a subnet that begins in 0.0.0.0/8: %w", p, lacking("prefix=24"))
	}
	if why := hostaddr.NotHost(p, a); why != "" {
		return netip.Prefix{}, fmt.Errorf("it gives the address %s: it is %s", p, why)
	}
	return p, nil
}

// lacking is the error for an answer that lacks something which an option of ours
// can supply. Its text is an example of that option.
type lacking string

func (e lacking) Error() string { return "it needs dhcp:" + string(e) }

func readMask(o dhcpv4.Options) (ones int, err error) {
	mask := o.Get(dhcpv4.OptionSubnetMask)
	if len(mask) != 4 {
		return 0, fmt.Errorf("without a subnet mask: %w", lacking("prefix=24"))
	}
	ones, bits := net.IPMask(mask).Size()
	if bits != 32 || ones == 0 {
		return 0, fmt.Errorf("with the invalid subnet mask %s: %w", net.IP(mask), lacking("prefix=24"))
	}
	return ones, nil
}

func readServer(m *dhcpv4.DHCPv4) (netip.Addr, error) {
	as := readAddrs(m.Options, dhcpv4.OptionServerIdentifier)
	if len(as) != 1 {
		return netip.Addr{}, fmt.Errorf("it does not say which server it is from")
	}
	if why := hostaddr.Unleasable4(as[0]); why != "" {
		return netip.Addr{}, fmt.Errorf("it says it is from the server %s: %s", as[0], why)
	}
	return as[0], nil
}

// soonest is the shortest time after which we renew a lease that lasts long enough:
// a T1 of one second is a server's mistake, and hundreds of guests would flood it.
const soonest = 10 * time.Second

// paced returns T1 and T2, no sooner than that: each at least what is usual in
// the lease, where that is less.
func paced(t1, t2, usual1, usual2 time.Duration) (time.Duration, time.Duration) {
	return max(t1, min(usual1, soonest)), max(t2, min(usual2, soonest/4*7))
}

// readTimes returns the lease time, T1 and T2: the server's, where they make
// sense, else a half and seven eighths (RFC 2131, section 4.4.5). A time in
// seconds nearly fills a Duration: a product of it does not fit.
func readTimes(o dhcpv4.Options) (lease, t1, t2 time.Duration, err error) {
	lease, ok := readSeconds(o, dhcpv4.OptionIPAddressLeaseTime)
	if !ok || lease == 0 {
		return 0, 0, 0, fmt.Errorf("it gives no lease time, or 0: %w", lacking("lease=1h"))
	}
	t1, ok1 := readSeconds(o, dhcpv4.OptionRenewTimeValue)
	t2, ok2 := readSeconds(o, dhcpv4.OptionRebindingTimeValue)
	if lease == Forever {
		return lease, lease, lease, nil
	}
	usual1, usual2 := lease/2, lease-lease/8
	if !ok2 || t2 == 0 || t2 >= lease {
		t2 = usual2
	}
	if !ok1 || t1 == 0 || t1 >= t2 {
		t1 = min(usual1, t2/2+t2/14) // four sevenths
	}
	t1, t2 = paced(t1, t2, usual1, usual2)
	return lease, t1, t2, nil
}

func readSeconds(o dhcpv4.Options, code dhcpv4.OptionCode) (time.Duration, bool) {
	b := o.Get(code)
	if len(b) != 4 {
		return 0, false
	}
	return time.Duration(binary.BigEndian.Uint32(b)) * time.Second, true
}

// readRoutes returns the classless routes (option 121) or, only where none of
// those is of use, a default route by the first router that can be one (RFC
// 3442). A bad route does not cost the lease: it is left out, and named.
func readRoutes(o dhcpv4.Options, address netip.Prefix) (routes []Route, left []string) {
	take := func(r Route) {
		if why := badRoute(r, address); why != "" {
			left = append(left, why)
			return
		}
		r.Source = address.Addr()
		routes = append(routes, r)
	}
	classless, whole := readClassless(o.Get(dhcpv4.OptionClasslessStaticRoute))
	if !whole {
		left = append(left, "what follows in its routes (option 121): they end in the middle, or have a mask over 32")
	}
	for _, r := range classless {
		take(r)
	}
	for _, a := range readAddrs(o, dhcpv4.OptionRouter) {
		if len(routes) > 0 {
			break
		}
		if !a.IsUnspecified() { // which means none
			take(Route{Dst: netip.PrefixFrom(netip.IPv4Unspecified(), 0), Gateway: a})
		}
	}
	routes = dedupe(routes)
	if len(routes) > maxRoutes {
		left = append(left, fmt.Sprintf("%d of its %d routes: at most %d are taken", len(routes)-maxRoutes, len(routes), maxRoutes))
		routes = routes[:maxRoutes]
	}
	if len(left) > mostLeftOut {
		left = append(left[:mostLeftOut], fmt.Sprintf("%d more", len(left)-mostLeftOut))
	}
	return reachable(routes, address), left
}

// mostLeftOut bounds how many faults of one answer a warning lists.
const mostLeftOut = 8

// readClassless reads as many routes as are whole (RFC 3442).
func readClassless(b []byte) (routes []Route, whole bool) {
	for len(b) > 0 {
		bits := int(b[0])
		n := 1 + (bits+7)/8 // the bytes of the destination that count
		if bits > 32 || len(b) < n+4 {
			return routes, false
		}
		var dst [4]byte
		copy(dst[:], b[1:n])
		r := Route{Dst: netip.PrefixFrom(netip.AddrFrom4(dst), bits).Masked(), Gateway: netip.AddrFrom4([4]byte(b[n : n+4]))}
		if r.Gateway.IsUnspecified() {
			r.Gateway = netip.Addr{}
		}
		routes, b = append(routes, r), b[n+4:]
	}
	return routes, true
}

// badRoute returns why an interface with the address cannot have a route.
func badRoute(r Route, address netip.Prefix) string {
	const multicast, loopback = "224.0.0.0/3", "127.0.0.0/8"
	for _, no := range []string{multicast, loopback} {
		if p := netip.MustParsePrefix(no); p.Contains(r.Dst.Addr()) && r.Dst.Bits() >= p.Bits() {
			return fmt.Sprintf("a route to %s, which no router forwards", r.Dst)
		}
	}
	gw := r.Gateway
	if !gw.IsValid() {
		return ""
	}
	if gw == address.Addr() {
		return fmt.Sprintf("the router %s, which is our own address", gw)
	}
	if why := hostaddr.Unleasable4(gw); why != "" {
		return fmt.Sprintf("the router %s: %s", gw, why)
	}
	if why := hostaddr.NotHost(address, gw); why != "" {
		return fmt.Sprintf("the router %s: it is %s", gw, why)
	}
	return ""
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
func reachable(routes []Route, address netip.Prefix) []Route {
	var onLink, out []Route
	known := []netip.Prefix{address.Masked()}
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
			onLink = append(onLink, Route{Dst: host, Source: address.Addr()})
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
