package spec

import (
	"cmp"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/hostaddr"
	"golang.org/x/sys/unix"
)

// Route is one more route by the new interface (--route).
type Route struct {
	Dst    netip.Prefix
	Via    netip.Addr // the zero Addr: on link
	Metric int        // 0: the kernel's default
	Table  int        // 0: main
}

// String returns the word that parses to r.
func (r Route) String() string {
	w := r.Dst.String()
	if r.Via.IsValid() {
		w += ",via " + r.Via.String()
	}
	if r.Metric != 0 {
		w += ",metric " + strconv.Itoa(r.Metric)
	}
	if r.Table != 0 {
		w += ",table " + strconv.Itoa(r.Table)
	}
	return w
}

// MarshalText returns the word that parses to r.
func (r Route) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalText reads such a word.
func (r *Route) UnmarshalText(word []byte) (err error) {
	*r, err = parseRoute(string(word), &Spec{From: Source{Kind: fromUnknown}})
	return err
}

// RouteWords returns the words that parse to routes.
func RouteWords(routes []Route) (words []string) {
	for _, r := range routes {
		words = append(words, r.String())
	}
	return words
}

// CheckRoutes refuses routes that an attach which asks for all else in s would refuse.
func (s Spec) CheckRoutes() error {
	_, err := parseRoutes(RouteWords(s.Routes), &s)
	return err
}

// MaxMetric is the highest metric of a route that is taken.
const MaxMetric = math.MaxInt32 // the kernel's is twice that; nobody needs it

func parseMetric(word string) (int, error) {
	n, err := strconv.Atoi(word)
	if err != nil || n < 1 || n > MaxMetric {
		return 0, fault.BadWord("read metric", word, "it is not a number from 1 to %d", MaxMetric)
	}
	return n, nil
}

// FirstTable and LastTable are the first and the last of the tables that source
// routing takes.
const FirstTable, LastTable = 264801, 265800

func parseTable(word string) (int, error) {
	n, err := strconv.Atoi(word)
	switch {
	case err != nil || n < 1 || n > MaxMetric:
		return 0, fault.BadWord("read table", word, "it is not a number from 1 to %d", MaxMetric)
	case n == unix.RT_TABLE_LOCAL:
		return 0, fault.BadWord("read table", word, "it is the kernel's own, for local addresses")
	case n >= FirstTable && n <= LastTable:
		return 0, fault.BadWord("read table", word, "%d to %d are for --source-routing", FirstTable, LastTable)
	case n == unix.RT_TABLE_MAIN:
		n = 0
	}
	return n, nil
}

// parseRouting reads the flags about routes. The addresses and gateways of s
// are known by then.
func parseRouting(w Words, s *Spec) (err error) {
	if w.Default != "" && w.Default != "front" && w.Default != "keep" {
		return fault.BadWord("read flag", "--default="+w.Default, "there is no such place for a default route").
			WithHint("--default=front, or --default=keep")
	}
	if s.From.Kind == FromDHCP && s.From.DHCP.NoDefaultRoute && (w.Default != "" || w.Metric != "" && len(w.Routes) == 0) {
		return fault.BadWord("read flag", "", "dhcp:default-route=no leaves out the route that --default and --metric are about").
			WithHint("leave out default-route=no, or the flag")
	}
	if w.Default != "" && s.From.Kind == FromClient {
		return fault.BadWord("read flag", "--default="+w.Default, "%s sets the default route itself", s.From.Ask.Client).
			WithHint("use dhcp instead: its default route goes where --default says")
	}
	if w.Default != "" && len(s.Gateways) == 0 && !s.mayLearnRoutes() {
		return fault.BadWord("read flag", "--default="+w.Default, "there is no gateway").WithHint("ADDRESS/PREFIX@GATEWAY")
	}
	s.Keep = w.Default == "keep"
	if w.Metric != "" {
		if s.Metric, err = parseMetric(w.Metric); err != nil {
			return err
		}
		if len(s.Gateways)+len(w.Routes) == 0 && !s.mayLearnRoutes() {
			return fault.BadWord("read flag", "--metric", "there is no route that it could apply to").WithHint("ADDRESS/PREFIX@GATEWAY, or --route")
		}
	}
	if s.Routes, err = parseRoutes(w.Routes, s); err != nil {
		return err
	}
	s.SourceRouting = w.SourceRouting
	return s.CheckSourceRouting()
}

// mayLearnRoutes reports whether routes can come from elsewhere than the line.
func (s *Spec) mayLearnRoutes() bool {
	return s.From.Kind == FromDHCP || s.HostIF.Kind.FromFile()
}

// CheckSourceRouting refuses source routing for addresses that nobody of ours
// follows: a router's advertisements, and the host's DHCP clients, change them.
func (s *Spec) CheckSourceRouting() error {
	const flag = "--source-routing"
	switch {
	case !s.SourceRouting || s.From.Kind == FromDHCP || s.inFile():
		return nil
	case s.From.Kind == FromClient:
		return fault.BadWord("read flag", flag, "%s changes the address without us, and no rule would follow it", s.From.Ask.Client).
			WithHint("use dhcp instead: the rule follows its lease")
	case s.From.Kind != FromLine:
		return fault.BadWord("read flag", flag, "the addresses of %s come and go without us, and no rule would follow them", s.From.Kind).
			WithHint("give an address, or use dhcp")
	case !slices.ContainsFunc(s.Addrs, func(p netip.Prefix) bool { return Routable(p.Addr()) }):
		return fault.BadWord("read flag", flag, "there is no address by which to recognize replies")
	}
	return nil
}

func parseRoutes(words []string, s *Spec) (routes []Route, err error) {
	for _, word := range words {
		r, err := parseRoute(word, s)
		if err != nil {
			return nil, err
		}
		if slices.ContainsFunc(routes, r.Collides) {
			return nil, fault.BadWord("read route", word, "there is one to the same destination already").WithHint("%s,metric N", word)
		}
		routes = append(routes, r)
	}
	for _, r := range routes {
		if r.Via.IsValid() && !s.canReach(r.Via, routes) {
			return nil, fault.BadWord("read route", r.String(), "its gateway %s is in no subnet of the new interface", r.Via).
				WithHint("--route %s puts it on the link", netip.PrefixFrom(r.Via, r.Via.BitLen()))
		}
	}
	return routes, nil
}

// Default reports whether it is a default route of the main table.
func (r Route) Default() bool { return r.Dst.Bits() == 0 && r.Table == 0 }

// Collides reports whether the kernel would not have both.
func (r Route) Collides(o Route) bool {
	return r.Dst == o.Dst && r.Table == o.Table && UsualMetric(r.Dst, r.Metric) == UsualMetric(o.Dst, o.Metric)
}

// UsualMetric is what the kernel makes of a metric: IPv6 knows no zero.
func UsualMetric(dst netip.Prefix, metric int) int {
	if metric == 0 && dst.Addr().Is6() {
		return 1024 // IP6_RT_PRIO_USER
	}
	return metric
}

// Listed returns the route without a metric that the kernel gives by itself.
func (r Route) Listed() Route {
	if r.Metric == UsualMetric(r.Dst, 0) {
		r.Metric = 0
	}
	return r
}

// OnLink reports whether an address is reached without a route of its own.
func (s *Spec) OnLink(a netip.Addr) bool {
	return !Routable(a) || slices.ContainsFunc(s.Addrs, func(p netip.Prefix) bool { return p.Contains(a) })
}

// Routable reports whether an address means the same on every link.
func Routable(a netip.Addr) bool { return !a.Is6() || !a.IsLinkLocalUnicast() }

// canReach reports whether a gateway is on the link, or made so by one of the
// routes.
func (s *Spec) canReach(gw netip.Addr, routes []Route) bool {
	return s.OnLink(gw) || s.From.Gives(gw.Is6()) || slices.Contains(s.Gateways, gw) || slices.ContainsFunc(routes, func(r Route) bool {
		return r.Table == 0 && !r.Via.IsValid() && r.Dst.Contains(gw)
	})
}

// parseRoute reads DST[,via GW][,metric N][,table T]; "=" does for the space.
func parseRoute(word string, s *Spec) (Route, error) {
	const op = "read route"
	parts := strings.Split(word, ",")
	r := Route{}
	for _, part := range parts[1:] {
		key, value, _ := strings.Cut(strings.Replace(part, "=", " ", 1), " ")
		var err error
		switch {
		case key == "via" && !r.Via.IsValid():
			r.Via, err = parseVia(value, s)
		case key == "metric" && r.Metric == 0:
			r.Metric, err = parseMetric(value)
		case key == "table" && r.Table == 0:
			r.Table, err = parseTable(value)
		default:
			err = fault.BadWord(op, word, "%q is not via, metric or table, or is given twice", part).
				WithHint("--route '10.0.5.0/24,via 192.168.1.3,metric 50'")
		}
		if err != nil {
			return r, err
		}
	}
	r.Metric = cmp.Or(r.Metric, s.Metric)
	var err error
	if r.Dst, err = parseDestination(parts[0], r.Via); err != nil {
		return r, err
	}
	return r, s.checkRoute(word, r)
}

// parseVia reads the gateway of a route. Where the network gives the addresses,
// whether one of them reaches it is known later.
func parseVia(word string, s *Spec) (netip.Addr, error) {
	if gw, err := netip.ParseAddr(word); err == nil && s.From.Gives(gw.Is6()) && gw.Zone() == "" && hostaddr.Unusable(gw) == "" {
		return gw, nil
	}
	gw, err := parseGateway(word, s.Addrs)
	if err != nil && gw.IsValid() && s.From.Kind != FromLine && !s.Has(gw.Is6()) {
		return gw, fault.BadWord("read gateway", word, "%s gives the interface no address of its family", s.From.Kind)
	}
	return gw, err
}

func parseDestination(word string, via netip.Addr) (netip.Prefix, error) {
	const op = "read destination"
	if word == "default" && via.IsValid() {
		return DefaultRoute(via.Is6()), nil
	}
	p, err := netip.ParsePrefix(word)
	if err != nil {
		if a, err := netip.ParseAddr(word); err == nil && a.Zone() == "" {
			return p, fault.BadWord(op, word, "it has no prefix length").WithHint("%s/%d", a, a.BitLen())
		}
		return p, fault.BadWord(op, word, "it is not ADDRESS/PREFIX").WithHint("--route '10.0.5.0/24,via 192.168.1.3'")
	}
	if p.Bits() == 0 && p.Addr().IsUnspecified() {
		return p, nil
	}
	if p != p.Masked() {
		return p, fault.BadWord(op, word, "its address has bits beyond its prefix length").WithHint("%s", p.Masked())
	}
	if why := hostaddr.Unusable(p.Addr()); why != "" {
		return p, fault.BadWord(op, word, "%s", why)
	}
	return p, nil
}

// checkRoute refuses what the interface could not have.
func (s *Spec) checkRoute(word string, r Route) error {
	const op = "read route"
	ipv6 := r.Dst.Addr().Is6()
	switch {
	case !s.Has(ipv6):
		return fault.BadWord(op, word, "the interface gets no address of its family")
	case s.From.Kind == FromClient:
		return fault.BadWord(op, word, "%s sets its own routes, and deletes others when its lease ends", s.From.Ask.Client).
			WithHint("use dhcp instead: it sets the route with each lease")
	case r.Via.IsValid() && r.Via.Is6() != ipv6:
		return fault.BadWord(op, word, "its gateway %s is of the other family", r.Via)
	case r.Dst.Bits() == 0 && r.Table == 0:
		return fault.BadWord(op, word, "it is a default route").WithHint("ADDRESS/PREFIX@GATEWAY, or a table of its own: %s,table N", word)
	}
	for _, p := range s.Addrs {
		if r.Table == 0 && r.Metric == 0 && p.Masked() == r.Dst && p.Bits() < p.Addr().BitLen() {
			return fault.BadWord(op, word, "the address %s brings that route with it", p)
		}
	}
	if gw := s.Gateway(ipv6); gw.IsValid() && !s.OnLink(gw) && r.Table == 0 && r.Metric == 0 && r.Dst == netip.PrefixFrom(gw, gw.BitLen()) {
		return fault.BadWord(op, word, "the gateway brings that route with it")
	}
	return nil
}

// DefaultRoute returns the destination of the family's default route.
func DefaultRoute(ipv6 bool) netip.Prefix {
	if ipv6 {
		return netip.PrefixFrom(netip.IPv6Unspecified(), 0)
	}
	return netip.PrefixFrom(netip.IPv4Unspecified(), 0)
}
