package rtnl

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// dadTimeout bounds the wait for duplicate address detection: no route can have
// a source address that is being checked. One address takes about two seconds.
var dadTimeout = 5 * time.Second

// From linux/rtnetlink.h: where things are in struct rtmsg, rtnexthop and
// rta_cacheinfo, and what golang.org/x/sys does not name.
const (
	rtmDstLen, rtmSrcLen, rtmTOS, rtmTable, rtmProtocol, rtmScope, rtmType, rtmFlags = 1, 2, 3, 4, 5, 6, 7, 8

	rtnhFlags, rtnhHops, rtnhIndex = 2, 3, 4

	rtaExpiresAt   = 8   // in struct rta_cacheinfo
	clockTicks     = 100 // USER_HZ: its unit is 1/100 s
	rtaNextHop     = 30  // RTA_NH_ID
	routeFlagsKept = unix.RTNH_F_ONLINK
)

// keepRoutes returns the routes that somebody set and that go with the link: of
// all tables and both families those by it, and IPv4 routes of the main table
// by other links that have one of its primary addresses as their source. They are in the kernel's order, which counts where the
// destination and the metric are the same, but a route that may lead to the
// gateway of others comes before them.
func (c *Conn) keepRoutes(l *Link) (parts []KeptPart, err error) {
	addrs, err := c.Addrs()
	if err != nil {
		return nil, err
	}
	own := map[netip.Addr]bool{}
	for _, a := range addrs {
		if a.Index == l.Index && a.Prefix.Addr().Is4() && a.Flags&unix.IFA_F_SECONDARY == 0 {
			own[a.Prefix.Addr()] = true
		}
	}
	outlive, err := c.outliving(l.Index)
	if err != nil {
		return nil, err
	}
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		msgs, err := c.routeMessages(family)
		if err != nil {
			return nil, err
		}
		routes, err := routesOf(l.Index, own, family, msgs)
		if err != nil {
			return nil, err
		}
		for _, r := range routes {
			if outlive[r.nexthop] {
				continue
			}
			command, err := r.command(c.linkName)
			if err != nil {
				return nil, err
			}
			parts = append(parts, KeptPart{Command: command, Message: r.message()})
		}
	}
	return parts, nil
}

func routesOf(index int, own map[netip.Addr]bool, family uint8, msgs [][]byte) (routes []keptRoute, err error) {
	for _, m := range msgs {
		r, err := readRoute(m)
		if err != nil {
			return nil, err
		}
		if r.header[0] == family && !r.kernels() && (r.by(index) || r.header[rtmTable] == unix.RT_TABLE_MAIN && own[r.source()]) {
			routes = append(routes, r)
		}
	}
	slices.SortStableFunc(routes, func(a, b keptRoute) int { return a.depth() - b.depth() })
	return routes, nil
}

// outliving returns the groups of nexthop objects that have a member by another link
// than the one with the index, by their ID. Such a group stays when that link goes, and
// so do the routes by it: they are not to be added once more.
func (c *Conn) outliving(index int) (map[uint32]bool, error) {
	all, err := c.Nexthops()
	if err != nil {
		return nil, err
	}
	here := map[uint32]bool{}
	for _, n := range all {
		here[n.ID] = n.Index == index
	}
	outlive := map[uint32]bool{}
	for _, n := range all {
		outlive[n.ID] = slices.ContainsFunc(n.Group, func(member uint32) bool { return !here[member] })
	}
	return outlive, nil
}

func (c *Conn) linkName(index int) (string, error) {
	l, err := c.LinkByIndex(index)
	if err != nil {
		return "", err
	}
	return l.Name, nil
}

// addRoute adds the route behind those of the same destination and metric, unless
// its time is up.
func (c *Conn) addRoute(index, was int, p KeptPart, age time.Duration) error {
	r, err := readRoute(p.Message)
	if err != nil {
		return err
	}
	if !r.grow(age) {
		return nil
	}
	if err := r.reindex(was, index); err != nil {
		return err
	}
	req := c.request(unix.RTM_NEWROUTE, unix.NLM_F_CREATE|unix.NLM_F_APPEND)
	req.AddRawData(r.message())
	return c.write(req)
}

// routeMessages returns the routes of one family, of all tables; with AF_UNSPEC those of
// every family, one after the other (rtnetlink.c, rtnl_dump_all).
func (c *Conn) routeMessages(family uint8) ([][]byte, error) {
	msgs, err := c.dump(func() *nl.NetlinkRequest {
		req := c.request(unix.RTM_GETROUTE, unix.NLM_F_DUMP)
		req.AddData(&nl.RtMsg{RtMsg: unix.RtMsg{Family: family}})
		return req
	}, unix.RTM_NEWROUTE)
	// A kernel without IPv6 answers with all that it has.
	return slices.DeleteFunc(msgs, func(m []byte) bool { return len(m) == 0 || family != unix.AF_UNSPEC && m[0] != family }), err
}

func (k Kept) routeParts() (parts []Part) {
	for _, p := range k.Routes {
		parts = append(parts, Part{Kind: partRoute, KeptPart: p})
	}
	return parts
}

// routeKind is a route.
type routeKind struct{}

func (routeKind) countIn(k *Kept, p Part) { k.Routes = append(slices.Clone(k.Routes), p.KeptPart) }

func (routeKind) restore(r *restorer, p Part) error {
	err := r.addRoute(r.index, r.kept.Index, p.KeptPart, r.age)
	if err == nil {
		r.routes = nil
	}
	return err
}

func (routeKind) place(p Part) string {
	k, err := readRoute(p.Message)
	if err != nil {
		return ""
	}
	return fmt.Sprint(p.Kind, k.place())
}

// look also tells what other routes have the same destination and metric, but
// for those that are the link's own.
func (routeKind) look(r *restorer, p Part) (there bool, found string, err error) {
	want, err := r.read(p.KeptPart)
	if err != nil {
		return false, "", err
	}
	family := want.header[0]
	if _, ok := r.routes[family]; !ok {
		msgs, err := r.routeMessages(family)
		if err != nil {
			return false, "", err
		}
		if r.routes == nil {
			r.routes = map[uint8][][]byte{}
		}
		r.routes[family] = msgs
	}
	own := map[string]bool{}
	for _, k := range r.kept.Routes {
		if o, err := r.read(k); err == nil && o.place() == want.place() {
			for _, h := range o.hops() {
				own[h.text()] = true
			}
		}
	}
	var others []string
	has := map[string]bool{}
	for _, m := range r.routes[family] {
		now, err := readRoute(m)
		if err != nil {
			return false, "", err
		}
		if now.place() != want.place() || now.cloned {
			continue
		}
		for _, h := range now.hops() {
			has[h.text()] = true
			if !own[h.text()] {
				others = append(others, h.text())
			}
		}
	}
	slices.Sort(others)
	missing := slices.ContainsFunc(want.hops(), func(h hop) bool { return !has[h.text()] })
	return !missing, strings.Join(others, ", "), nil
}

// read returns a kept route as it is to be now.
func (r *restorer) read(p KeptPart) (keptRoute, error) {
	k, err := readRoute(p.Message)
	if err == nil {
		err = k.reindex(r.kept.Index, r.index)
	}
	return k, err
}

// never returns an error if a link that the route leaves by has gone: the
// kernel would have deleted the route with it.
func (routeKind) never(r *restorer, p Part) error {
	k, err := r.read(p.KeptPart)
	if err != nil {
		return nil
	}
	for _, h := range k.hops() {
		if _, err := r.LinkByIndex(h.index()); errors.Is(err, ErrNotFound) {
			return errors.New("one of the links that it leaves by has gone meanwhile")
		}
	}
	return nil
}

// late: a route may have a source address, which must not be tentative.
func (routeKind) late() bool { return true }

// awaitAddrs waits until no address of the link is tentative.
func (c *Conn) awaitAddrs(index int) error {
	events, err := c.Watch()
	if err != nil {
		return err
	}
	defer events.Close()
	for deadline := time.Now().Add(dadTimeout); ; {
		addrs, err := c.Addrs()
		if err != nil {
			return err
		}
		if !slices.ContainsFunc(addrs, func(a Addr) bool { return a.Index == index && a.Tentative() && !a.Duplicate() }) {
			return nil
		}
		left := time.Until(deadline)
		if left <= 0 {
			return unix.ETIMEDOUT
		}
		if err := events.Wait(left); err != nil {
			return err
		}
	}
}

// keptRoute is an RTM_NEWROUTE message, taken apart: struct rtmsg, and the
// attributes without what only the kernel writes.
type keptRoute struct {
	header []byte
	attrs  attrs
	cloned bool // an entry of a cache, not of a table

	nexthop uint32 // the ID of the nexthop object that it is by; 0: none
}

func readRoute(m []byte) (r keptRoute, err error) {
	if len(m) < unix.SizeofRtMsg {
		return r, fmt.Errorf("route message of %d bytes: %w", len(m), errDamaged)
	}
	r.header = slices.Clone(m[:unix.SizeofRtMsg])
	flags := u32(r.header[rtmFlags:])
	r.cloned = flags&unix.RTM_F_CLONED != 0
	nl.NativeEndian().PutUint32(r.header[rtmFlags:], flags&routeFlagsKept)
	all, err := readAttrs(m[unix.SizeofRtMsg:])
	if err != nil {
		return r, err
	}
	for _, a := range all {
		switch a.typ &^ unix.NLA_F_NESTED {
		case unix.RTA_CACHEINFO:
			// IPv6 tells when it expires in one way and is told in another.
			if len(a.value) > rtaExpiresAt+4 {
				if ticks := int32(u32(a.value[rtaExpiresAt:])); ticks > 0 {
					r.attrs = append(r.attrs, attr{unix.RTA_EXPIRES, nl.Uint32Attr(uint32(ticks) / clockTicks)})
				}
			}
		case rtaNextHop:
			// The nexthop object goes with the link; what it says is here too.
			if len(a.value) >= 4 {
				r.nexthop = u32(a.value)
			}
		default:
			r.attrs = append(r.attrs, a)
		}
	}
	return r, nil
}

func (r keptRoute) message() []byte { return r.attrs.append(slices.Clone(r.header)) }

// kernels reports whether nobody set it: it belongs to an address, or a router
// advertised it.
func (r keptRoute) kernels() bool {
	switch r.header[rtmProtocol] {
	case unix.RTPROT_KERNEL, unix.RTPROT_RA, unix.RTPROT_REDIRECT:
		return true
	}
	return r.cloned
}

// source is the address that packets get; the zero Addr if it does not say.
func (r keptRoute) source() netip.Addr {
	b, _ := r.attrs.get(unix.RTA_PREFSRC)
	ip, _ := netip.AddrFromSlice(b)
	return ip
}

// depth is how many routes the kernel can ask for the way to its gateway: in
// IPv4 only ones of a narrower scope, in IPv6 only ones without a gateway.
func (r keptRoute) depth() int {
	if r.header[0] == unix.AF_INET {
		return unix.RT_SCOPE_NOWHERE - int(r.header[rtmScope])
	}
	_, gateway := r.attrs.get(unix.RTA_GATEWAY)
	_, several := r.attrs.get(unix.RTA_MULTIPATH)
	if gateway || several {
		return 1
	}
	return 0
}

// by reports whether the route leaves by the link. An IPv6 route with several
// next hops loses those by the link that goes, and keeps the others; so the
// others are taken out of it here. An IPv4 route goes altogether.
func (r *keptRoute) by(index int) bool {
	if oif, ok := r.attrs.get(unix.RTA_OIF); ok {
		return int(u32(oif)) == index
	}
	b, _ := r.attrs.get(unix.RTA_MULTIPATH)
	hops, err := readHops(b)
	if err != nil {
		return false
	}
	ours := slices.DeleteFunc(slices.Clone(hops), func(h hop) bool { return h.index() != index })
	if len(ours) == 0 {
		return false
	}
	if r.header[0] == unix.AF_INET6 {
		hops = ours
	}
	r.setHops(hops)
	return true
}

// place is what a route shares with those that it has an order among.
func (r keptRoute) place() string {
	table := uint32(r.header[rtmTable])
	if t, ok := r.attrs.get(unix.RTA_TABLE); ok && len(t) >= 4 {
		table = u32(t)
	}
	dst, _ := r.attrs.get(unix.RTA_DST)
	src, _ := r.attrs.get(unix.RTA_SRC)
	metric, _ := r.attrs.get(unix.RTA_PRIORITY)
	return fmt.Sprint(r.header[0], table, dst, r.header[rtmDstLen], src, r.header[rtmSrcLen], r.header[rtmTOS], metric)
}

// hops are the next hops, be it one or several.
func (r keptRoute) hops() (all []hop) {
	if oif, ok := r.attrs.get(unix.RTA_OIF); ok && len(oif) >= 4 {
		h := hop{header: make([]byte, unix.SizeofRtNexthop), attrs: r.attrs}
		copy(h.header[rtnhIndex:], oif[:4])
		all = append(all, h)
	}
	b, _ := r.attrs.get(unix.RTA_MULTIPATH)
	several, _ := readHops(b)
	return append(all, several...)
}

// text says where a next hop leads.
func (h hop) text() string {
	return strings.Join(append(gatewayWords(h.attrs), fmt.Sprint("by ", h.index())), " ")
}

func (r *keptRoute) setHops(hops []hop) {
	for i, a := range r.attrs {
		if a.typ&^unix.NLA_F_NESTED == unix.RTA_MULTIPATH {
			r.attrs[i].value = writeHops(hops)
		}
	}
}

// reindex has what left by the link with the index was leave by the other.
func (r *keptRoute) reindex(was, index int) error {
	if oif, ok := r.attrs.get(unix.RTA_OIF); ok && len(oif) >= 4 && int(u32(oif)) == was {
		nl.NativeEndian().PutUint32(oif, uint32(index))
	}
	b, ok := r.attrs.get(unix.RTA_MULTIPATH)
	if !ok {
		return nil
	}
	hops, err := readHops(b)
	for _, h := range hops {
		if h.index() == was {
			nl.NativeEndian().PutUint32(h.header[rtnhIndex:], uint32(index))
		}
	}
	r.setHops(hops)
	return err
}

// grow takes the age from the time that an IPv6 route has. It returns false if
// none is left.
func (r keptRoute) grow(age time.Duration) bool {
	b, ok := r.attrs.get(unix.RTA_EXPIRES)
	if !ok || len(b) < 4 {
		return true
	}
	n := left(u32(b), age)
	nl.NativeEndian().PutUint32(b, n)
	return n != 0
}

// hop is one next hop of several: struct rtnexthop and its attributes.
type hop struct {
	header []byte
	attrs  attrs
}

func (h hop) index() int { return int(int32(u32(h.header[rtnhIndex:]))) }

func readHops(b []byte) (hops []hop, err error) {
	for len(b) > 0 {
		if len(b) < unix.SizeofRtNexthop {
			return nil, fmt.Errorf("next hop of %d bytes: %w", len(b), errDamaged)
		}
		n := int(nl.NativeEndian().Uint16(b))
		if n < unix.SizeofRtNexthop || n > len(b) {
			return nil, fmt.Errorf("next hop of %d bytes in %d: %w", n, len(b), errDamaged)
		}
		h := hop{header: slices.Clone(b[:unix.SizeofRtNexthop])}
		h.header[rtnhFlags] &= routeFlagsKept
		if h.attrs, err = readAttrs(b[unix.SizeofRtNexthop:n]); err != nil {
			return nil, err
		}
		hops = append(hops, h)
		b = b[min(aligned(n), len(b)):]
	}
	return hops, nil
}

func writeHops(hops []hop) (b []byte) {
	for _, h := range hops {
		one := h.attrs.append(slices.Clone(h.header))
		nl.NativeEndian().PutUint16(one, uint16(len(one)))
		b = append(b, one...)
	}
	return b
}
