package attach

import (
	"cmp"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/rtnl"
	"golang.org/x/sys/unix"
)

// Protocol is the number that routes and rules carry which nothing else tells
// as ours (RTPROT_*, FRA_PROTOCOL); "g". Not so a default route that goes in
// front: that goes with its link, and says all there is to say by itself.
const Protocol = 103

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
		w += ",metric " + itoa(r.Metric)
	}
	if r.Table != 0 {
		w += ",table " + itoa(r.Table)
	}
	return w
}

const maxMetric = math.MaxInt32 // the kernel's is twice that; nobody needs it

func parseMetric(word string) (int, error) {
	n, err := strconv.Atoi(word)
	if err != nil || n < 1 || n > maxMetric {
		return 0, fault.BadWord("read metric", word, "it is not a number from 1 to %d", maxMetric)
	}
	return n, nil
}

func parseTable(word string) (int, error) {
	n, err := strconv.Atoi(word)
	switch {
	case err != nil || n < 1 || n > maxMetric:
		return 0, fault.BadWord("read table", word, "it is not a number from 1 to %d", maxMetric)
	case n == unix.RT_TABLE_LOCAL:
		return 0, fault.BadWord("read table", word, "it is the kernel's own, for local addresses")
	case n >= firstTable && n <= lastTable:
		return 0, fault.BadWord("read table", word, "%d to %d are for --source-routing", firstTable, lastTable)
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
	if w.Default != "" && len(s.Gateways) == 0 && s.From.Kind != FromDHCP {
		return fault.BadWord("read flag", "--default="+w.Default, "there is no gateway").WithHint("ADDRESS/PREFIX@GATEWAY")
	}
	s.Keep = w.Default == "keep"
	if w.Metric != "" {
		if s.Metric, err = parseMetric(w.Metric); err != nil {
			return err
		}
		if len(s.Gateways)+len(w.Routes) == 0 && s.From.Kind != FromDHCP {
			return fault.BadWord("read flag", "--metric", "there is no route to give it to").WithHint("ADDRESS/PREFIX@GATEWAY, or --route")
		}
	}
	if s.Routes, err = parseRoutes(w.Routes, s); err != nil {
		return err
	}
	s.SourceRouting = w.SourceRouting
	return s.checkSourceRouting()
}

// checkSourceRouting refuses source routing for addresses that nobody of ours
// follows: a router's advertisements, and the host's DHCP clients, change them.
func (s *Spec) checkSourceRouting() error {
	const flag = "--source-routing"
	switch {
	case !s.SourceRouting || s.From.Kind == FromDHCP:
		return nil
	case s.From.Kind == FromClient:
		return fault.BadWord("read flag", flag, "%s changes the address without us, and no rule would follow it", s.From.Ask.Client).
			WithHint("dhcp in its place keeps the rule with the address")
	case s.From.Kind != FromLine:
		return fault.BadWord("read flag", flag, "the addresses of %s come and go without us, and no rule would follow them", s.From.Kind).
			WithHint("an address on the line, or dhcp")
	case !slices.ContainsFunc(s.Addrs, func(p netip.Prefix) bool { return routable(p.Addr()) }):
		return fault.BadWord("read flag", flag, "there is no address to tell replies by")
	}
	return nil
}

func parseRoutes(words []string, s *Spec) (routes []Route, err error) {
	for _, word := range words {
		r, err := parseRoute(word, s)
		if err != nil {
			return nil, err
		}
		if slices.ContainsFunc(routes, r.collides) {
			return nil, fault.BadWord("read route", word, "there is one to the same destination already").WithHint("%s,metric N", word)
		}
		routes = append(routes, r)
	}
	for _, r := range routes {
		if r.Via.IsValid() && !s.canReach(r.Via, routes) {
			return nil, fault.BadWord("read route", r.String(), "no subnet of the new interface holds its gateway %s", r.Via).
				WithHint("--route %s says that it is on the link", netip.PrefixFrom(r.Via, r.Via.BitLen()))
		}
	}
	return routes, nil
}

// collides reports whether the kernel would not have both.
func (r Route) collides(o Route) bool {
	return r.Dst == o.Dst && r.Table == o.Table && usualMetric(r.Dst, r.Metric) == usualMetric(o.Dst, o.Metric)
}

// usualMetric is what the kernel makes of a metric: IPv6 knows no zero.
func usualMetric(dst netip.Prefix, metric int) int {
	if metric == 0 && dst.Addr().Is6() {
		return 1024 // IP6_RT_PRIO_USER
	}
	return metric
}

// onLink reports whether an address is reached without a route of its own.
func (s *Spec) onLink(a netip.Addr) bool {
	return !routable(a) || slices.ContainsFunc(s.Addrs, func(p netip.Prefix) bool { return p.Contains(a) })
}

// routable reports whether an address means the same on every link.
func routable(a netip.Addr) bool { return !a.Is6() || !a.IsLinkLocalUnicast() }

// canReach reports whether a gateway is on the link, or made so by one of the
// routes.
func (s *Spec) canReach(gw netip.Addr, routes []Route) bool {
	return s.onLink(gw) || s.From.gives(gw.Is6()) || slices.Contains(s.Gateways, gw) || slices.ContainsFunc(routes, func(r Route) bool {
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
			err = fault.BadWord(op, word, "%q is not one via, one metric or one table", part).
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
	if gw, err := netip.ParseAddr(word); err == nil && s.From.gives(gw.Is6()) && gw.Zone() == "" && unusable(gw) == "" {
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
		return defaultRoute(via.Is6()), nil
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
	if why := unusable(p.Addr()); why != "" {
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
		return fault.BadWord(op, word, "%s sets its own routes, and takes others away with its lease", s.From.Ask.Client).
			WithHint("dhcp in its place adds the route, and keeps it")
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
	if gw := s.Gateway(ipv6); gw.IsValid() && !s.onLink(gw) && r.Table == 0 && r.Metric == 0 && r.Dst == netip.PrefixFrom(gw, gw.BitLen()) {
		return fault.BadWord(op, word, "the gateway brings that route with it")
	}
	return nil
}

// checkRoutes refuses routes that the guest has already.
func (j *job) checkRoutes() error {
	for _, r := range j.Routes {
		for _, there := range j.others() {
			if r.collides(Route{Dst: there.Dst, Metric: there.Metric, Table: there.Table}) {
				return j.refuse(fault.Conflict, "it has a route to %s already, by %s", r.Dst, j.linkName(there.Index)).
					WithHint("--route '%s,metric N' with another metric", r.Dst)
			}
		}
	}
	return nil
}

// others are the guest's routes, in every table, but for those by a link of
// ours that is about to go.
func (j *job) others() []rtnl.Route {
	return slices.DeleteFunc(slices.Concat(j.f.Routes, j.f.Tables), func(r rtnl.Route) bool { return j.own(r.Index) })
}

// warnRoutes warns of routes that the guest has and that go before the one which
// the kernel adds for the subnet of an address: those to a part of it, and one to
// the same that was there first. An address that overlaps has been warned of.
func (j *job) warnRoutes(d *draft, p netip.Prefix) {
	if p.IsSingleIP() || p.Addr().IsLinkLocalUnicast() {
		return
	}
	metric := 0 // of the kernel's own route
	if p.Addr().Is6() {
		metric = 256
	}
	for _, r := range j.f.Routes {
		known := slices.ContainsFunc(j.f.Addrs, func(a rtnl.Addr) bool { return a.Index == r.Index && a.Prefix.Overlaps(p) })
		switch {
		case known || j.own(r.Index) || r.Dst.Bits() < p.Bits() || !p.Contains(r.Dst.Addr()):
		case r.Dst.Bits() > p.Bits() || r.Metric <= metric:
			d.warn("the guest's route to %s by %s goes before the new one to %s: addresses in both are not reached by %s",
				r.Dst, j.linkName(r.Index), p.Masked(), j.names.inner)
			d.routed = append(d.routed, p.Masked())
		}
	}
}

// routes plans those of a family that are asked for; those on link first, for
// they may lead to the gateways of others.
func (j *job) routes(d *draft, ipv6 bool) {
	for _, onLink := range []bool{true, false} {
		for _, r := range j.Routes {
			if r.Dst.Addr().Is6() == ipv6 && r.Via.IsValid() != onLink {
				d.add(addRoute{place: j.place, inner: j.names.inner, dst: r.Dst, gateway: r.Via,
					metric: r.Metric, table: r.Table, protocol: Protocol, learned: j.From.gives(ipv6)})
			}
		}
	}
}

// advertisedMetric is that of a default route from a router advertisement
// (IP6_RT_PRIO_USER; ra_defrtr_metric). Among routes of one metric a router that
// calls itself preferable wins (RFC 4191).
const advertisedMetric = 1024

// rank decides where our default route goes: in front of those that are there,
// or with --default=keep behind them all. The kernel is told which was meant:
// others may come and go around it.
//
// An IPv6 route goes in front of those too that a router may yet advertise on
// another interface.
func (j *job) rank(d *draft, r *addRoute) error {
	ipv6 := r.dst.Addr().Is6()
	r.metric = j.Metric
	best, ok := j.bestDefault(ipv6)
	switch {
	case j.Keep:
		r.protocol = Protocol
		return j.behind(r)
	case ipv6 && j.Metric == 0 && (!ok || best.Metric > advertisedMetric):
		r.metric = advertisedMetric - 1
	case ipv6 && j.Metric >= advertisedMetric && (!ok || j.Metric < best.Metric):
		d.warn("a router that advertises itself on another interface of the guest goes before a default route of metric %d", j.Metric)
	case !ok:
	case !ipv6 && (j.Metric == 0 || j.Metric == best.Metric):
		r.metric, r.prepend = best.Metric, true
	case j.Metric == 0 && best.Metric <= 1:
		return j.refuse(fault.Conflict, "it has an IPv6 default route of metric 1 already, and nothing goes before that").
			WithHint("%sip -6 route show default", j.enter)
	case j.Metric == 0:
		r.metric = best.Metric - 1
	case j.Metric >= best.Metric:
		return j.refuse(fault.Conflict, "its default route has the metric %d, and one of %d does not go before it", best.Metric, j.Metric).
			WithHint("leave out --metric, or --default=keep")
	}
	return nil
}

// behind gives a default route a metric above all others of its family.
func (j *job) behind(r *addRoute) error {
	for _, o := range j.others() {
		if o.Table != 0 || !o.Default() || o.Dst.Addr().Is6() != r.dst.Addr().Is6() {
			continue
		}
		switch {
		case j.Metric != 0 && o.Metric >= j.Metric:
			return j.refuse(fault.Conflict, "it has a default route of metric %d, and one of %d does not go behind it", o.Metric, j.Metric).
				WithHint("a higher --metric, or leave it out")
		case o.Metric >= maxMetric:
			return j.refuse(fault.Conflict, "it has a default route of metric %d, and nothing goes behind that", o.Metric)
		case j.Metric == 0:
			r.metric = max(r.metric, o.Metric+1)
		}
	}
	return nil
}

// routesDiffer tells how the routes that are there differ from what is asked
// for. A metric that is not asked for may be any.
func (j *job) routesDiffer(differ differ) {
	var there []Route
	keep, metric := j.Keep, j.Metric
	for _, r := range slices.Concat(j.f.Routes, j.f.Tables) {
		switch {
		case r.Index != j.f.Inner.Index:
		case r.Table == 0 && r.Default() && (r.Set || r.Protocol == Protocol):
			keep = r.Protocol == Protocol
			if j.Metric != 0 {
				metric = r.Metric
			}
		case r.Protocol == Protocol && !sourceTable(r.Table):
			there = append(there, Route{r.Dst, r.Gateway, usualMetric(r.Dst, r.Metric), r.Table})
		}
	}
	var asked []Route
	for _, r := range j.Routes {
		r.Metric = usualMetric(r.Dst, r.Metric)
		asked = append(asked, r)
	}
	if l := j.f.Lease; l != nil && l.Lease == nil { // its keeper adds them with the next one
		for _, r := range l.Ask.Routes {
			there = append(there, Route{r.Dst, r.Via, usualMetric(r.Dst, r.Metric), r.Table})
		}
	}
	if !sameSet(there, asked) {
		differ("route", routeWords(there), routeWords(asked))
	}
	if keep != j.Keep {
		differ("--default", defaultWord(keep), defaultWord(j.Keep))
	}
	if metric != j.Metric {
		differ("metric", metric, j.Metric)
	}
}

func routeWords(routes []Route) string {
	if len(routes) == 0 {
		return "none"
	}
	var words []string
	for _, r := range routes {
		words = append(words, "'"+r.String()+"'")
	}
	return strings.Join(words, " ")
}

func defaultWord(keep bool) string {
	if keep {
		return "keep"
	}
	return "front"
}
