package rtnl

import (
	"math"
	"net"
	"net/netip"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Addr is an address on a link (ip address show).
type Addr struct {
	Index  int          // of the link
	Prefix netip.Prefix // the address itself, with its prefix length
	Flags  uint32       // unix.IFA_F_*
	Scope  uint8        // unix.RT_SCOPE_*
	Proto  uint8        // who set it (IFA_PROTO); 0: not known, as on kernels before 5.18
}

// Tentative reports whether duplicate address detection still holds it back.
func (a Addr) Tentative() bool { return a.Flags&unix.IFA_F_TENTATIVE != 0 }

// Duplicate reports whether duplicate address detection found another holder.
func (a Addr) Duplicate() bool { return a.Flags&unix.IFA_F_DADFAILED != 0 }

// Secondary reports whether it is an IPv4 address that comes after another one of its subnet: the
// kernel sends from the first, and may delete this one with it (ip-sysctl, promote_secondaries).
func (a Addr) Secondary() bool { return a.Prefix.Addr().Is4() && a.Flags&unix.IFA_F_SECONDARY != 0 }

// Permanent reports whether somebody set it, and it was not learned from a
// router.
func (a Addr) Permanent() bool { return a.Flags&unix.IFA_F_PERMANENT != 0 }

// Addrs returns the addresses of every link in the namespace.
//
//	ip address show
func (c *Conn) Addrs() ([]Addr, error) {
	msgs, err := c.dump(func() *nl.NetlinkRequest {
		req := c.request(unix.RTM_GETADDR, unix.NLM_F_DUMP)
		req.AddData(nl.NewIfAddrmsg(unix.AF_UNSPEC))
		return req
	}, unix.RTM_NEWADDR)
	return parseAddrs(msgs), err
}

// AddAddr puts an address on a link. IPv4 gets the subnet's broadcast address,
// except in /31 and /32, which have none (RFC 3021). With nodad an IPv6
// address is usable at once, unchecked.
//
//	ip address add PREFIX brd + dev NAME [nodad]
func (c *Conn) AddAddr(index int, p netip.Prefix, nodad bool) error {
	var flags uint8
	if nodad {
		flags = unix.IFA_F_NODAD
	}
	return c.write(c.addrRequest(unix.RTM_NEWADDR, unix.NLM_F_CREATE|unix.NLM_F_EXCL, index, p, flags))
}

// AddAddrBy is AddAddr with a number that says who sets the address. The kernel keeps it
// since Linux 5.18; before, it is ignored.
//
//	ip address add PREFIX brd + dev NAME proto PROTO
func (c *Conn) AddAddrBy(index int, p netip.Prefix, nodad bool, proto uint8) error {
	var flags uint8
	if nodad {
		flags = unix.IFA_F_NODAD
	}
	req := c.addrRequest(unix.RTM_NEWADDR, unix.NLM_F_CREATE|unix.NLM_F_EXCL, index, p, flags)
	req.AddData(nl.NewRtAttr(ifaProto, nl.Uint8Attr(proto)))
	return c.write(req)
}

// SetAddr is AddAddr for an address that lasts a time: the kernel deletes it
// after valid, which counts in whole seconds, and no longer prefers it as a
// source after preferred; [Forever] is no end. One that is there gets the new
// times.
//
//	ip address replace PREFIX brd + dev NAME valid_lft S preferred_lft S
func (c *Conn) SetAddr(index int, p netip.Prefix, valid, preferred time.Duration) error {
	req := c.addrRequest(unix.RTM_NEWADDR, unix.NLM_F_CREATE|unix.NLM_F_REPLACE, index, p, 0)
	times := nl.IfaCacheInfo{IfaCacheinfo: unix.IfaCacheinfo{Valid: uint32(valid.Seconds()), Prefered: uint32(preferred.Seconds())}}
	req.AddData(nl.NewRtAttr(unix.IFA_CACHEINFO, times.Serialize()))
	return c.write(req)
}

// Forever is the time of an address that lasts (INFINITY_LIFE_TIME).
const Forever = math.MaxUint32 * time.Second

// DelAddr deletes the address.
func (c *Conn) DelAddr(index int, p netip.Prefix) error {
	return c.write(c.addrRequest(unix.RTM_DELADDR, 0, index, p, 0))
}

func (c *Conn) addrRequest(typ, flags, index int, p netip.Prefix, addrFlags uint8) *nl.NetlinkRequest {
	req := c.request(typ, flags)
	family := unix.AF_INET
	if p.Addr().Is6() {
		family = unix.AF_INET6
	}
	msg := nl.NewIfAddrmsg(family)
	msg.Index, msg.Prefixlen, msg.Flags = uint32(index), uint8(p.Bits()), addrFlags
	req.AddData(msg)
	req.AddData(nl.NewRtAttr(unix.IFA_LOCAL, p.Addr().AsSlice()))
	req.AddData(nl.NewRtAttr(unix.IFA_ADDRESS, p.Addr().AsSlice()))
	if p.Addr().Is4() && p.Bits() < 31 {
		req.AddData(nl.NewRtAttr(unix.IFA_BROADCAST, broadcast(p)))
	}
	return req
}

// broadcast returns the last address of a subnet.
func broadcast(p netip.Prefix) []byte {
	last := p.Addr().AsSlice()
	for i, m := range net.CIDRMask(p.Bits(), p.Addr().BitLen()) {
		last[i] |= ^m
	}
	return last
}

// Route is a unicast route.
type Route struct {
	Dst      netip.Prefix // 0.0.0.0/0 or ::/0 for a default route
	Gateway  netip.Addr   // the zero Addr: on link
	Source   netip.Addr   // address that what takes it is sent from; it goes with that. The zero Addr: any
	Index    int          // of the link it leaves by; 0 if it has several next hops
	Hops     []Hop        // those, if it has several
	Metric   int
	Table    int   // 0: main
	Protocol uint8 // who set it (unix.RTPROT_*); adding one, 0 is RTPROT_BOOT
	Set      bool  // somebody set it: no router's advertisement, no routing daemon
}

// Hop is one of several next hops of a route.
type Hop struct {
	Gateway netip.Addr // the zero Addr: on link
	Index   int        // of the link
}

// Default reports whether it is a default route.
func (r Route) Default() bool { return r.Dst.Bits() == 0 }

// Routes returns the routes of the main table, of both families, in the order
// in which the kernel prefers those of one destination and metric.
//
//	ip route show; ip -6 route show
func (c *Conn) Routes() ([]Route, error) { return c.routes(unix.RT_TABLE_MAIN) }

// parseRoute reads the body of an RTM_NEWROUTE message. ok is false for a route that is
// no unicast route, or that the kernel has made from another for one destination.
func parseRoute(m []byte) (r Route, ok bool) {
	if len(m) < unix.SizeofRtMsg {
		return r, false
	}
	msg := nl.DeserializeRtMsg(m)
	if msg.Type != unix.RTN_UNICAST || msg.Flags&unix.RTM_F_CLONED != 0 {
		return r, false
	}
	r = Route{Protocol: msg.Protocol, Set: msg.Protocol == unix.RTPROT_BOOT, Table: int(msg.Table)}
	to := netip.IPv4Unspecified()
	if msg.Family == unix.AF_INET6 {
		to = netip.IPv6Unspecified()
	}
	for a := range nested(m[unix.SizeofRtMsg:]) {
		switch a.typ &^ unix.NLA_F_NESTED {
		case unix.RTA_DST:
			to, _ = netip.AddrFromSlice(a.value)
		case unix.RTA_GATEWAY:
			r.Gateway, _ = netip.AddrFromSlice(a.value)
		case unix.RTA_PREFSRC:
			r.Source, _ = netip.AddrFromSlice(a.value)
		case unix.RTA_OIF:
			r.Index = int(u32(a.value))
		case unix.RTA_PRIORITY:
			r.Metric = int(u32(a.value))
		case unix.RTA_TABLE:
			r.Table = int(u32(a.value))
		case unix.RTA_MULTIPATH:
			hops, err := readHops(a.value)
			if err != nil {
				return r, false
			}
			for _, h := range hops {
				via, _ := h.attrs.get(unix.RTA_GATEWAY)
				gw, _ := netip.AddrFromSlice(via)
				r.Hops = append(r.Hops, Hop{Gateway: gw, Index: h.index()})
			}
		}
	}
	r.Dst = netip.PrefixFrom(to, int(msg.Dst_len))
	if r.Table == unix.RT_TABLE_MAIN {
		r.Table = 0
	}
	return r, r.Dst.IsValid()
}

// addr is the zero Addr for an IP that is none.
func addr(ip net.IP) netip.Addr {
	a, _ := netip.AddrFromSlice(ip)
	return a.Unmap()
}

// AddRoute adds a route. With prepend it goes in front of those that have the
// same destination and metric, and wins (IPv4 only: in IPv6 the kernel would
// make one route with two next hops of them).
//
//	ip route add|prepend DST [via GATEWAY] dev NAME [metric M] [table T] [proto P]
func (c *Conn) AddRoute(r Route, prepend bool) error {
	added := c.with(func(h *netlink.Handle) error {
		if prepend {
			// NLM_F_CREATE without EXCL or APPEND is what "ip route prepend"
			// sends; the library calls it by its IPv6 effect.
			return h.RouteAddEcmp(r.netlink())
		}
		return h.RouteAdd(r.netlink())
	})
	return settle(added, func() (bool, error) { return c.hasRoute(r) })
}

// ReplaceRoute puts a route in the place of one that has the same destination, metric and
// table; if there is none, it adds it.
//
//	ip route replace DST [via GATEWAY] dev NAME [metric M] [table T] [proto P]
func (c *Conn) ReplaceRoute(r Route) error {
	return settle(c.with(func(h *netlink.Handle) error { return h.RouteReplace(r.netlink()) }), func() (bool, error) { return c.hasRoute(r) })
}

// DelRoute deletes the route.
func (c *Conn) DelRoute(r Route) error {
	return settle(c.with(func(h *netlink.Handle) error { return h.RouteDel(r.netlink()) }), func() (bool, error) { return not(c.hasRoute(r)) })
}

func (r Route) netlink() *netlink.Route {
	out := &netlink.Route{LinkIndex: r.Index, Dst: ipNet(r.Dst), Priority: r.Metric, Table: r.Table, Protocol: unix.RTPROT_BOOT}
	if r.Protocol != 0 {
		out.Protocol = netlink.RouteProtocol(r.Protocol)
	}
	if r.Source.IsValid() {
		out.Src = r.Source.AsSlice()
	}
	if r.Gateway.IsValid() {
		out.Gw = r.Gateway.AsSlice()
	} else {
		out.Scope = netlink.SCOPE_LINK
	}
	return out
}

func byIndex(index int) netlink.Link {
	return &netlink.Dummy{LinkAttrs: netlink.LinkAttrs{Index: index}}
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}
