package rtnl

import (
	"errors"
	"net"
	"os"
	"slices"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Link is a network interface as the kernel describes it (ip -d link show).
type Link struct {
	Index     int
	Name      string
	AltNames  []string
	Alias     string
	Kind      string // "veth", "bridge", ...; "" for a device with no kind, a card
	Type      uint16 // unix.ARPHRD_*: of the hardware, or what it plays
	Group     uint32
	MTU       int    // bytes
	Queue     string // kind of the qdisc at its root: "noqueue", which is nothing, "tbf", ...
	TxQueue   int    // txqueuelen, packets
	MAC       net.HardwareAddr
	Up        bool              // administratively
	Carrier   bool              // the cable is plugged in; never while the link is down
	OperUp    bool              // the kernel sends by it; some milliseconds after Carrier
	Flags     uint32            // unix.IFF_*, as the kernel has them
	Promisc   int               // how many want to hear everything; a bridge port's bridge is one
	ARPIgnore int               // its sysctl arp_ignore
	AddrGen   uint8             // nl.IN6_ADDR_GEN_MODE_*: how it makes its link-local address
	XDP       map[string]uint32 // IDs of BPF programs that see what comes in, by "xdpdrv", "xdpgeneric" or "xdpoffload"
	Token     string            // the end of the IPv6 addresses that routers give it; "": none is set
	Loopback  bool
	Master    int    // index of the bridge or bond it is a port of; 0 for none
	Slave     string // kind of the master: "bridge", "openvswitch", ...

	// Peer is IFLA_LINK: for a veth the other end's index, for a macvlan the
	// parent's. PeerNS is the id that the namespace of that link has in this
	// one, or -1 if it is this one.
	Peer   int
	PeerNS int

	// Under is the link that a vxlan sends by, and is deleted with: 0 for none.
	// Its Peer says nothing.
	Under int

	VXLAN VXLAN // of a vxlan

	Mode string // of a macvlan or ipvlan: "bridge", "l2", ...
	VLAN int    // tag of a vlan link; 0 for one of 802.1ad
	PKey uint16 // partition key of an ipoib link

	Table int // of a vrf: the routing table of its ports

	// PermMAC, ParentDev and ParentBus say which piece of hardware it is; they
	// are empty for most virtual links, and up to the driver.
	PermMAC   net.HardwareAddr // burnt in; no "address" changes it
	ParentDev string           // for example "0000:00:1f.6"
	ParentBus string           // for example "pci"

	STP           bool          // a bridge that runs the spanning tree protocol
	ForwardDelay  time.Duration // of a bridge: listening, and again learning
	Snooping      bool          // of a bridge: it passes multicasts only to ports that asked for them
	VLANFiltering bool          // of a bridge
	CanFilter     bool          // of a bridge: its kernel knows VLANs on one
	DefaultPVID   int           // of a bridge: the VLAN of untagged frames on new ports; 0: they are dropped
	NFCallIPv4    bool          // of a bridge: its IPv4 frames go through iptables (nf_call_iptables)
	NFCallIPv6    bool          // of a bridge: its IPv6 frames go through ip6tables
	Forwarding    bool          // a bridge port in state forwarding
	Port          BridgePort    // of a bridge port
}

// BridgePort is what a bridge does with the frames of a port (bridge -d link show).
type BridgePort struct {
	State          uint8 // BR_STATE_*: 0 disabled, 1 listening, 2 learning, 3 forwarding, 4 blocking
	Isolated       bool  // nothing passes between it and another that is isolated
	Locked         bool  // it takes frames of none but known stations
	Learning       bool  // the bridge learns who is there
	FloodUnicast   bool  // it gets frames for stations that the bridge does not know
	FloodMulticast bool
	FloodBroadcast bool
}

// IsOn reports whether the link is on another, whose index it is where the link
// was made, and goes with it.
func (l *Link) IsOn(index int) bool { return l.Peer == index || l.Under == index }

// ErrNotFound is the answer for a link that is not there.
var ErrNotFound = unix.ENODEV

// LinkByName returns the link called name, also by an alternative name, or
// ErrNotFound.
//
//	ip link show dev NAME
func (c *Conn) LinkByName(name string) (*Link, error) {
	if len(name) >= unix.IFNAMSIZ {
		return c.LinkByAltName(name)
	}
	return c.getLink(0, nl.NewRtAttr(unix.IFLA_IFNAME, nl.ZeroTerminated(name)))
}

// LinkByAltName returns the link with the alternative name, or ErrNotFound.
func (c *Conn) LinkByAltName(name string) (*Link, error) {
	return c.getLink(0, nl.NewRtAttr(unix.IFLA_ALT_IFNAME, nl.ZeroTerminated(name)))
}

// LinkByIndex returns the link with the index, or ErrNotFound.
func (c *Conn) LinkByIndex(index int) (*Link, error) { return c.getLink(index, nil) }

// LinkIn returns the link with the index in the namespace that has the id nsid
// here, without going there, or ErrNotFound, also if that namespace has ended.
//
//	ip -n NAME link show
func (c *Conn) LinkIn(nsid, index int) (*Link, error) {
	l, err := c.getLink(index, nl.NewRtAttr(unix.IFLA_TARGET_NETNSID, nl.Uint32Attr(uint32(nsid))))
	return l, unlessEnded(err)
}

func (c *Conn) getLink(index int, more *nl.RtAttr) (*Link, error) {
	m, err := c.linkMessage(index, more)
	if err != nil {
		return nil, err
	}
	return parseLink(m)
}

// linkMessage returns the kernel's message about one link.
func (c *Conn) linkMessage(index int, more *nl.RtAttr) ([]byte, error) {
	req := c.request(unix.RTM_GETLINK, unix.NLM_F_ACK)
	msg := nl.NewIfInfomsg(unix.AF_UNSPEC)
	msg.Index = int32(index)
	req.AddData(msg)
	req.AddData(withoutStats())
	if more != nil {
		req.AddData(more)
	}
	msgs, err := c.route.execute(req, unix.RTM_NEWLINK)
	if err != nil {
		if errors.Is(err, unix.ENODEV) {
			return nil, ErrNotFound
		}
		return nil, err
	}
	if len(msgs) != 1 {
		return nil, ErrNotFound
	}
	return msgs[0], nil
}

// Links returns every link of the namespace.
//
//	ip link show
func (c *Conn) Links() ([]*Link, error) { return c.links(nil) }

// Ports returns the links whose master has the index.
//
//	ip link show master NAME
func (c *Conn) Ports(master int) ([]*Link, error) {
	links, err := c.links(nl.NewRtAttr(unix.IFLA_MASTER, nl.Uint32Attr(uint32(master))))
	// Kernels before 4.6 ignore the filter.
	return slices.DeleteFunc(links, func(l *Link) bool { return l.Master != master }), err
}

// withoutStats asks for links without their counters, which the kernel adds up over all
// processors, and which are a good part of each message.
func withoutStats() *nl.RtAttr {
	const skipStats = 1 << 3 // RTEXT_FILTER_SKIP_STATS
	return nl.NewRtAttr(unix.IFLA_EXT_MASK, nl.Uint32Attr(skipStats))
}

// links returns the links that the filter, if any, lets through.
func (c *Conn) links(filter *nl.RtAttr) ([]*Link, error) {
	msgs, err := c.dump(func() *nl.NetlinkRequest {
		req := c.request(unix.RTM_GETLINK, unix.NLM_F_DUMP)
		req.AddData(nl.NewIfInfomsg(unix.AF_UNSPEC))
		req.AddData(withoutStats())
		if filter != nil {
			req.AddData(filter)
		}
		return req
	}, unix.RTM_NEWLINK)
	if err != nil {
		return nil, err
	}
	var links []*Link
	for _, m := range msgs {
		l, err := parseLink(m)
		if err != nil {
			return nil, err
		}
		links = append(links, l)
	}
	return links, nil
}

// Veth is a pair of veth links to make.
type Veth struct {
	Name, PeerName string
	PeerNS         *os.File         // the namespace that PeerName is made in
	MAC, PeerMAC   net.HardwareAddr // nil: the kernel makes one up
	MTU            int              // of both ends; 0: the kernel's default
	Group          uint32           // of both ends
	Master         int              // index of the bridge that Name joins; 0: none
}

// AddVeth makes the pair in one message: both ends under their final names,
// the peer already in its namespace, and Name already a port of its bridge.
// If any of it cannot be, there is neither link.
//
//	ip link add NAME address MAC mtu M group G master BR type veth peer name PEER address MAC mtu M group G netns NS
func (c *Conn) AddVeth(v Veth) error {
	req := c.request(unix.RTM_NEWLINK, unix.NLM_F_CREATE|unix.NLM_F_EXCL)
	req.AddData(nl.NewIfInfomsg(unix.AF_UNSPEC))
	for _, a := range linkAttrs(v.Name, v.MTU, v.Group, v.MAC) {
		req.AddData(a)
	}
	if v.Master != 0 {
		req.AddData(nl.NewRtAttr(unix.IFLA_MASTER, nl.Uint32Attr(uint32(v.Master))))
	}
	info := nl.NewRtAttr(unix.IFLA_LINKINFO, nil)
	info.AddRtAttr(nl.IFLA_INFO_KIND, nl.NonZeroTerminated("veth"))
	peer := info.AddRtAttr(nl.IFLA_INFO_DATA, nil).AddRtAttr(nl.VETH_INFO_PEER, nil)
	nl.NewIfInfomsgChild(peer, unix.AF_UNSPEC)
	for _, a := range linkAttrs(v.PeerName, v.MTU, v.Group, v.PeerMAC) {
		peer.AddChild(a)
	}
	peer.AddRtAttr(unix.IFLA_NET_NS_FD, nl.Uint32Attr(uint32(v.PeerNS.Fd())))
	req.AddData(info)
	return c.write(req)
}

// Child is a link to be made on a parent: a macvlan, macvtap, ipvlan, vlan or ipoib;
// or, with no parent, a dummy, an ifb or a vrf.
type Child struct {
	Name   string
	Kind   string
	Parent int              // index of the parent; 0: none
	NS     *os.File         // the namespace that it is made in; nil: the Conn's
	Index  int              // that it gets there; 0: the kernel's choice
	MAC    net.HardwareAddr // nil: the kernel makes one up, or takes the parent's
	MTU    int              // 0: the parent's
	Group  uint32
	Mode   string // of a macvlan, macvtap or ipvlan
	VLAN   int    // tag of a vlan
	PKey   uint16 // partition key of an ipoib, for example 0x8001
	Table  int    // of a vrf
}

// Modes of the kinds that have one, as linux/if_link.h numbers them.
var (
	macvlanModes = map[string]uint32{"private": 1, "vepa": 2, "bridge": 4, "passthru": 8}
	ipvlanModes  = map[string]uint32{"l2": 0, "l3": 1, "l3s": 2}
)

// AddChild makes the link under its final name in its namespace, in one
// message.
//
// Before Linux 6.15 the kernel looks for Name in the Conn's namespace too, also
// among alternative names, and answers EEXIST to one that is there. With an
// Index it looks for that instead. To ask from within the other namespace, with
// IFLA_LINK_NETNSID, does not help: the link is made in its parent's namespace
// then, under Name, and moved.
//
//	ip link add link PARENT name NAME index N address MAC mtu M group G netns NS type KIND [mode MODE | id VLAN | pkey PKEY | table T]
func (c *Conn) AddChild(ch Child) error { return c.write(c.childRequest(ch)) }

func (c *Conn) childRequest(ch Child) *nl.NetlinkRequest {
	req := c.linkRequest(unix.RTM_NEWLINK, unix.NLM_F_CREATE|unix.NLM_F_EXCL, ch.Index)
	for _, a := range linkAttrs(ch.Name, ch.MTU, ch.Group, ch.MAC) {
		req.AddData(a)
	}
	if ch.Parent != 0 {
		req.AddData(nl.NewRtAttr(unix.IFLA_LINK, nl.Uint32Attr(uint32(ch.Parent))))
	}
	if ch.NS != nil {
		req.AddData(nl.NewRtAttr(unix.IFLA_NET_NS_FD, nl.Uint32Attr(uint32(ch.NS.Fd()))))
	}
	info := nl.NewRtAttr(unix.IFLA_LINKINFO, nil)
	info.AddRtAttr(nl.IFLA_INFO_KIND, nl.NonZeroTerminated(ch.Kind))
	switch ch.Kind {
	case "macvlan", "macvtap":
		info.AddRtAttr(nl.IFLA_INFO_DATA, nil).AddRtAttr(nl.IFLA_MACVLAN_MODE, nl.Uint32Attr(macvlanModes[ch.Mode]))
	case "ipvlan":
		info.AddRtAttr(nl.IFLA_INFO_DATA, nil).AddRtAttr(nl.IFLA_IPVLAN_MODE, nl.Uint16Attr(uint16(ipvlanModes[ch.Mode])))
	case "vlan":
		info.AddRtAttr(nl.IFLA_INFO_DATA, nil).AddRtAttr(nl.IFLA_VLAN_ID, nl.Uint16Attr(uint16(ch.VLAN)))
	case "ipoib":
		info.AddRtAttr(nl.IFLA_INFO_DATA, nil).AddRtAttr(nl.IFLA_IPOIB_PKEY, nl.Uint16Attr(ch.PKey))
	case "vrf":
		info.AddRtAttr(nl.IFLA_INFO_DATA, nil).AddRtAttr(nl.IFLA_VRF_TABLE, nl.Uint32Attr(uint32(ch.Table)))
	}
	req.AddData(info)
	return req
}

// AddBridge makes a bridge, down and without the spanning tree protocol.
//
//	ip link add NAME address MAC mtu M group G type bridge
func (c *Conn) AddBridge(name string, mac net.HardwareAddr, mtu int, group uint32) error {
	req := c.request(unix.RTM_NEWLINK, unix.NLM_F_CREATE|unix.NLM_F_EXCL)
	req.AddData(nl.NewIfInfomsg(unix.AF_UNSPEC))
	for _, a := range linkAttrs(name, mtu, group, mac) {
		req.AddData(a)
	}
	info := nl.NewRtAttr(unix.IFLA_LINKINFO, nil)
	info.AddRtAttr(nl.IFLA_INFO_KIND, nl.NonZeroTerminated("bridge"))
	req.AddData(info)
	return c.write(req)
}

// linkAttrs are the attributes that every link we make is made with.
func linkAttrs(name string, mtu int, group uint32, mac net.HardwareAddr) []*nl.RtAttr {
	as := []*nl.RtAttr{
		nl.NewRtAttr(unix.IFLA_IFNAME, nl.ZeroTerminated(name)),
		nl.NewRtAttr(unix.IFLA_GROUP, nl.Uint32Attr(group)),
	}
	if mtu != 0 {
		as = append(as, nl.NewRtAttr(unix.IFLA_MTU, nl.Uint32Attr(uint32(mtu))))
	}
	if mac != nil {
		as = append(as, nl.NewRtAttr(unix.IFLA_ADDRESS, mac))
	}
	return as
}

// AddAltName gives a link one more name.
//
//	ip link property add dev NAME altname ALT
func (c *Conn) AddAltName(index int, name string) error {
	return c.altName(unix.RTM_NEWLINKPROP, unix.NLM_F_CREATE|unix.NLM_F_EXCL|unix.NLM_F_APPEND, index, name)
}

// DelAltName deletes the name.
func (c *Conn) DelAltName(index int, name string) error {
	return c.altName(unix.RTM_DELLINKPROP, 0, index, name)
}

func (c *Conn) altName(typ, flags, index int, name string) error {
	req := c.linkRequest(typ, flags, index)
	props := nl.NewRtAttr(unix.IFLA_PROP_LIST|unix.NLA_F_NESTED, nil)
	props.AddRtAttr(unix.IFLA_ALT_IFNAME, nl.ZeroTerminated(name))
	req.AddData(props)
	return c.write(req)
}

// DelLink deletes a link; of a veth pair both ends go.
//
//	ip link del dev NAME
func (c *Conn) DelLink(index int) error { return c.write(c.linkRequest(unix.RTM_DELLINK, 0, index)) }

// linkRequest returns a request about the link with the index.
func (c *Conn) linkRequest(typ, flags, index int) *nl.NetlinkRequest {
	req := c.request(typ, flags)
	msg := nl.NewIfInfomsg(unix.AF_UNSPEC)
	msg.Index = int32(index)
	req.AddData(msg)
	return req
}
