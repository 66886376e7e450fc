package rtnl

import (
	"encoding/binary"
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// VXLAN is what a vxlan link sends to other hosts, and how.
type VXLAN struct {
	VNI      int
	Local    netip.Addr // that it sends from and is reached at; the zero Addr: any
	Port     int        // UDP
	Learning bool       // it learns which host a station is behind
}

// NewVXLAN is such a link to be made as a port of a bridge.
type NewVXLAN struct {
	VXLAN
	Name   string
	MTU    int // bytes
	Group  uint32
	Master int // index of the bridge
}

// AddVXLAN makes the link, down, in one message.
//
//	ip link add name NAME mtu M group G master BR type vxlan id VNI local A dstport N [no]learning
func (c *Conn) AddVXLAN(v NewVXLAN) error {
	req := c.request(unix.RTM_NEWLINK, unix.NLM_F_CREATE|unix.NLM_F_EXCL)
	req.AddData(nl.NewIfInfomsg(unix.AF_UNSPEC))
	for _, a := range linkAttrs(v.Name, v.MTU, v.Group, nil) {
		req.AddData(a)
	}
	req.AddData(nl.NewRtAttr(unix.IFLA_MASTER, nl.Uint32Attr(uint32(v.Master))))
	info := nl.NewRtAttr(unix.IFLA_LINKINFO, nil)
	info.AddRtAttr(nl.IFLA_INFO_KIND, nl.NonZeroTerminated("vxlan"))
	data := info.AddRtAttr(nl.IFLA_INFO_DATA, nil)
	data.AddRtAttr(nl.IFLA_VXLAN_ID, nl.Uint32Attr(uint32(v.VNI)))
	local := nl.IFLA_VXLAN_LOCAL
	if v.Local.Is6() {
		local = nl.IFLA_VXLAN_LOCAL6
	}
	data.AddRtAttr(local, v.Local.AsSlice())
	data.AddRtAttr(nl.IFLA_VXLAN_PORT, binary.BigEndian.AppendUint16(nil, uint16(v.Port)))
	data.AddRtAttr(nl.IFLA_VXLAN_LEARNING, switchAttr(v.Learning))
	req.AddData(info)
	return c.write(req)
}

func (l *Link) parseVXLAN(b []byte) {
	for d := range nested(b) {
		switch d.typ {
		case nl.IFLA_VXLAN_LINK:
			l.Under = int(u32(d.value))
		case nl.IFLA_VXLAN_ID:
			l.VXLAN.VNI = int(u32(d.value))
		case nl.IFLA_VXLAN_LOCAL, nl.IFLA_VXLAN_LOCAL6:
			if a, ok := netip.AddrFromSlice(d.value); ok && !a.IsUnspecified() {
				l.VXLAN.Local = a
			}
		case nl.IFLA_VXLAN_PORT:
			if len(d.value) >= 2 {
				l.VXLAN.Port = int(binary.BigEndian.Uint16(d.value))
			}
		case nl.IFLA_VXLAN_LEARNING:
			l.VXLAN.Learning = len(d.value) > 0 && d.value[0] != 0
		}
	}
}

// SetPortSuppress has a bridge answer for the neighbours that it knows instead of flooding
// questions about them to the port, or not, and learn, or not, who is behind the port. A port
// that suppresses gets no ARP probe and no announcement at all, and no question of IPv6's
// duplicate address detection (br_do_proxy_suppress_arp, br_do_suppress_nd).
//
//	ip link set dev PORT type bridge_slave neigh_suppress on|off learning on|off
func (c *Conn) SetPortSuppress(port int, suppress, learning bool) error {
	req := c.linkRequest(unix.RTM_NEWLINK, 0, port)
	info := nl.NewRtAttr(unix.IFLA_LINKINFO, nil)
	info.AddRtAttr(nl.IFLA_INFO_SLAVE_KIND, nl.NonZeroTerminated("bridge"))
	data := info.AddRtAttr(nl.IFLA_INFO_SLAVE_DATA, nil)
	data.AddRtAttr(nl.IFLA_BRPORT_NEIGH_SUPPRESS, switchAttr(suppress))
	data.AddRtAttr(nl.IFLA_BRPORT_LEARNING, switchAttr(learning))
	req.AddData(info)
	return c.write(req)
}

// Flood returns the hosts that somebody has a vxlan link send frames for unknown stations
// to, without those that a routing daemon has entered.
//
//	bridge fdb show dev NAME | grep ^00:00:00:00:00:00
func (c *Conn) Flood(vxlan int) (hosts []netip.Addr, err error) {
	all, err := c.Remotes(vxlan)
	for _, r := range all {
		if r.Flood() && !r.Learned {
			hosts = append(hosts, r.Host)
		}
	}
	slices.SortFunc(hosts, netip.Addr.Compare)
	return hosts, err
}

// Remote is a host that a vxlan link sends the frames for a station to.
type Remote struct {
	MAC     net.HardwareAddr
	Host    netip.Addr
	Learned bool // a routing daemon has entered it
}

// Flood reports whether it is for frames of unknown stations.
func (r Remote) Flood() bool { return slices.Equal(r.MAC, noMAC) }

// noMAC is the address of unknown stations.
var noMAC = make(net.HardwareAddr, 6)

// Remotes returns those of a vxlan link.
//
//	bridge fdb show dev NAME self
func (c *Conn) Remotes(vxlan int) (all []Remote, err error) {
	msgs, err := c.neighMessages(neighHead(unix.AF_BRIDGE, vxlan, 0, 0))
	for _, m := range msgs {
		if len(m) < unix.SizeofNdMsg || int(u32(m[ndmIndex:])) != vxlan {
			continue
		}
		r := Remote{Learned: m[ndmFlags]&unix.NTF_EXT_LEARNED != 0}
		for a := range nested(m[unix.SizeofNdMsg:]) {
			switch a.typ {
			case unix.NDA_LLADDR:
				r.MAC = net.HardwareAddr(a.value)
			case unix.NDA_DST:
				r.Host, _ = netip.AddrFromSlice(a.value)
			}
		}
		if r.Host.IsValid() {
			all = append(all, r)
		}
	}
	return all, err
}

// AddFlood has a vxlan link send frames for unknown stations to one more host.
//
//	bridge fdb append 00:00:00:00:00:00 dev NAME dst HOST
func (c *Conn) AddFlood(vxlan int, host netip.Addr) error {
	return c.write(c.station(unix.RTM_NEWNEIGH, unix.NLM_F_CREATE|unix.NLM_F_APPEND, vxlan, unix.NTF_SELF, unix.NUD_PERMANENT, noMAC, host))
}

// DelFlood ends that.
func (c *Conn) DelFlood(vxlan int, host netip.Addr) error {
	return c.write(c.station(unix.RTM_DELNEIGH, 0, vxlan, unix.NTF_SELF, unix.NUD_PERMANENT, noMAC, host))
}

// SetStation enters the station that is behind a bridge port. It does not age, and stays if
// the bridge hears its address elsewhere, until it does so by a routing daemon.
//
//	bridge fdb replace MAC dev PORT master static
func (c *Conn) SetStation(port int, mac net.HardwareAddr) error {
	return c.write(c.station(unix.RTM_NEWNEIGH, unix.NLM_F_CREATE|unix.NLM_F_REPLACE, port, unix.NTF_MASTER, unix.NUD_NOARP, mac, netip.Addr{}))
}

// DelStation deletes the entry.
//
//	bridge fdb del MAC dev PORT master
func (c *Conn) DelStation(port int, mac net.HardwareAddr) error {
	return c.write(c.station(unix.RTM_DELNEIGH, 0, port, unix.NTF_MASTER, unix.NUD_NOARP, mac, netip.Addr{}))
}

// station is a request about an entry in a table of stations.
func (c *Conn) station(typ, flags, index int, where uint8, state uint16, mac net.HardwareAddr, host netip.Addr) *nl.NetlinkRequest {
	attrs := []*nl.RtAttr{nl.NewRtAttr(unix.NDA_LLADDR, mac)}
	if host.IsValid() {
		attrs = append(attrs, nl.NewRtAttr(unix.NDA_DST, host.AsSlice()))
	}
	return c.neighRequest(typ, flags, neighHead(unix.AF_BRIDGE, index, where, state), attrs...)
}

func (c *Conn) neighRequest(typ, flags int, head []byte, attrs ...*nl.RtAttr) *nl.NetlinkRequest {
	req := c.request(typ, flags)
	for _, a := range attrs {
		head = append(head, a.Serialize()...)
	}
	req.AddRawData(head)
	return req
}

// neighHead is a struct ndmsg.
func neighHead(family byte, index int, flags byte, state uint16) []byte {
	m := ndmsg(family, flags)
	binary.NativeEndian.PutUint32(m[ndmIndex:], uint32(index))
	binary.NativeEndian.PutUint16(m[ndmState:], state)
	return m
}

// FixedNeighbour is an entry in the table of neighbours that stays until it is deleted.
type FixedNeighbour struct {
	Index    int // of the link
	Addr     netip.Addr
	MAC      net.HardwareAddr
	Protocol uint8 // whoever entered it; 0: that is not said, as by a kernel before 5.0
}

// FixedNeighbours returns those of all links that somebody has entered for good. Those of a
// routing daemon are not among them.
//
//	ip neighbour show nud permanent
func (c *Conn) FixedNeighbours() (all []FixedNeighbour, err error) {
	return c.neighboursThat(func(m []byte) bool {
		return nl.NativeEndian().Uint16(m[ndmState:])&unix.NUD_PERMANENT != 0 && m[ndmFlags]&unix.NTF_EXT_LEARNED == 0
	})
}

// ToldNeighbours returns those of a link that a routing daemon has entered.
//
//	ip neighbour show dev NAME | grep extern_learn
func (c *Conn) ToldNeighbours(link int) (all []FixedNeighbour, err error) {
	return c.neighboursThat(func(m []byte) bool {
		return int(u32(m[ndmIndex:])) == link && m[ndmFlags]&unix.NTF_EXT_LEARNED != 0
	})
}

// neighboursThat returns the neighbours of whose messages something holds.
func (c *Conn) neighboursThat(holds func(m []byte) bool) (all []FixedNeighbour, err error) {
	msgs, err := c.neighMessages(ndmsg(unix.AF_UNSPEC, 0))
	for _, m := range msgs {
		if len(m) < unix.SizeofNdMsg || !holds(m) {
			continue
		}
		n := FixedNeighbour{Index: int(u32(m[ndmIndex:]))}
		for a := range nested(m[unix.SizeofNdMsg:]) {
			switch {
			case a.typ == unix.NDA_DST:
				n.Addr, _ = netip.AddrFromSlice(a.value)
			case a.typ == unix.NDA_LLADDR:
				n.MAC = net.HardwareAddr(a.value)
			case a.typ == ndaProtocol && len(a.value) > 0:
				n.Protocol = a.value[0]
			}
		}
		all = append(all, n)
	}
	return all, err
}

// SetFixedNeighbour enters the MAC address of a neighbour for good.
//
//	ip neighbour replace ADDR lladdr MAC dev NAME nud permanent protocol P
func (c *Conn) SetFixedNeighbour(n FixedNeighbour) error {
	family := byte(unix.AF_INET)
	if n.Addr.Is6() {
		family = unix.AF_INET6
	}
	return c.write(c.neighRequest(unix.RTM_NEWNEIGH, unix.NLM_F_CREATE|unix.NLM_F_REPLACE, neighHead(family, n.Index, 0, unix.NUD_PERMANENT),
		nl.NewRtAttr(unix.NDA_DST, n.Addr.AsSlice()), nl.NewRtAttr(unix.NDA_LLADDR, n.MAC), nl.NewRtAttr(ndaProtocol, nl.Uint8Attr(n.Protocol))))
}
