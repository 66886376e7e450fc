package rtnl

import (
	"encoding/binary"
	"fmt"
	"iter"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// parseLink reads the body of an RTM_NEWLINK message.
func parseLink(m []byte) (*Link, error) {
	if len(m) < unix.SizeofIfInfomsg {
		return nil, fmt.Errorf("short link message of %d bytes", len(m))
	}
	msg := nl.DeserializeIfInfomsg(m)
	attrs := m[msg.Len():]
	if err := wellFormed(attrs); err != nil {
		return nil, fmt.Errorf("parse link message: %w", err)
	}
	l := &Link{
		Index:    int(msg.Index),
		Type:     msg.Type,
		Flags:    msg.Flags,
		Up:       msg.Flags&unix.IFF_UP != 0,
		Loopback: msg.Flags&unix.IFF_LOOPBACK != 0,
		PeerNS:   -1,
	}
	for a := range nested(attrs) {
		v := a.value
		switch a.typ &^ unix.NLA_F_NESTED {
		case unix.IFLA_IFNAME:
			l.Name = unix.ByteSliceToString(v)
		case unix.IFLA_IFALIAS:
			l.Alias = unix.ByteSliceToString(v)
		case unix.IFLA_ADDRESS:
			l.MAC = net.HardwareAddr(slices.Clone(v))
		case unix.IFLA_PERM_ADDRESS:
			l.PermMAC = net.HardwareAddr(slices.Clone(v))
		case unix.IFLA_PROP_LIST:
			l.AltNames = altNames(v)
		case unix.IFLA_PARENT_DEV_NAME:
			l.ParentDev = unix.ByteSliceToString(v)
		case unix.IFLA_PARENT_DEV_BUS_NAME:
			l.ParentBus = unix.ByteSliceToString(v)
		case unix.IFLA_CARRIER:
			l.Carrier = l.Up && len(v) > 0 && v[0] != 0
		case unix.IFLA_OPERSTATE:
			l.OperUp = len(v) > 0 && v[0] == operUp
		case unix.IFLA_QDISC:
			l.Queue = unix.ByteSliceToString(v)
		case unix.IFLA_MTU:
			l.MTU = int(u32(v))
		case unix.IFLA_TXQLEN:
			l.TxQueue = int(u32(v))
		case unix.IFLA_PROMISCUITY:
			l.Promisc = int(u32(v))
		case unix.IFLA_GROUP:
			l.Group = u32(v)
		case unix.IFLA_MASTER:
			l.Master = int(u32(v))
		case unix.IFLA_LINK:
			l.Peer = int(u32(v))
		case unix.IFLA_LINK_NETNSID:
			l.PeerNS = int(int32(u32(v)))
		case unix.IFLA_LINKINFO:
			l.parseInfo(v)
		case unix.IFLA_XDP:
			l.XDP = xdpPrograms(v)
		case unix.IFLA_AF_SPEC:
			l.AddrGen, l.Token = addrGen(v)
			l.ARPIgnore = arpIgnore(v)
		}
	}
	return l, nil
}

func altNames(b []byte) (names []string) {
	for p := range nested(b) {
		if p.typ == unix.IFLA_ALT_IFNAME {
			names = append(names, unix.ByteSliceToString(p.value))
		}
	}
	return names
}

// addrGen finds the mode and the token in the settings of the address families.
func addrGen(b []byte) (mode uint8, token string) {
	mode = nl.IN6_ADDR_GEN_MODE_EUI64
	for family := range nested(b) {
		if family.typ&^unix.NLA_F_NESTED != unix.AF_INET6 {
			continue
		}
		for a := range nested(family.value) {
			switch ip, ok := netip.AddrFromSlice(a.value); {
			case a.typ == unix.IFLA_INET6_ADDR_GEN_MODE && len(a.value) > 0:
				mode = a.value[0]
			case a.typ == unix.IFLA_INET6_TOKEN && ok && !ip.IsUnspecified():
				token = ip.String()
			}
		}
	}
	return mode, token
}

// arpIgnore finds the sysctl of that name in the settings of the address families: in
// the list of all those in net/ipv4/conf, which linux/ip.h numbers from 1.
func arpIgnore(b []byte) int {
	const confOf, number = 1, 19 // IFLA_INET_CONF, IPV4_DEVCONF_ARP_IGNORE
	for family := range nested(b) {
		if family.typ&^unix.NLA_F_NESTED != unix.AF_INET {
			continue
		}
		for a := range nested(family.value) {
			if a.typ&^unix.NLA_F_NESTED == confOf && len(a.value) >= 4*number {
				return int(u32(a.value[4*(number-1):]))
			}
		}
	}
	return 0
}

func (l *Link) parseInfo(b []byte) {
	var data, slave []byte
	for i := range nested(b) {
		switch i.typ &^ unix.NLA_F_NESTED {
		case nl.IFLA_INFO_KIND:
			l.Kind = unix.ByteSliceToString(i.value)
		case nl.IFLA_INFO_DATA:
			data = i.value
		case nl.IFLA_INFO_SLAVE_KIND:
			l.Slave = unix.ByteSliceToString(i.value)
		case nl.IFLA_INFO_SLAVE_DATA:
			slave = i.value
		}
	}
	switch l.Kind {
	case "bridge":
		l.parseBridge(data)
	case "macvlan", "macvtap", "ipvlan", "vlan", "ipoib":
		l.parseChild(data)
	case "vrf":
		for d := range nested(data) {
			if d.typ == nl.IFLA_VRF_TABLE {
				l.Table = int(u32(d.value))
			}
		}
	case "vxlan":
		l.parseVXLAN(data)
	}
	if l.Slave == "bridge" {
		l.Port = parsePort(slave)
		l.Forwarding = l.Port.State == stateForwarding
	}
}

// parsePort reads what a bridge does with a port. What the kernel does not tell
// is as it is on a new one.
func parsePort(b []byte) BridgePort {
	p := BridgePort{State: stateForwarding, Learning: true, FloodUnicast: true, FloodMulticast: true, FloodBroadcast: true}
	for a := range nested(b) {
		if len(a.value) == 0 {
			continue
		}
		on := a.value[0] != 0
		switch a.typ {
		case nl.IFLA_BRPORT_STATE:
			p.State = a.value[0]
		case nl.IFLA_BRPORT_LEARNING:
			p.Learning = on
		case nl.IFLA_BRPORT_UNICAST_FLOOD:
			p.FloodUnicast = on
		case nl.IFLA_BRPORT_MCAST_FLOOD:
			p.FloodMulticast = on
		case nl.IFLA_BRPORT_BCAST_FLOOD:
			p.FloodBroadcast = on
		case nl.IFLA_BRPORT_ISOLATED:
			p.Isolated = on
		case nl.IFLA_BRPORT_LOCKED:
			p.Locked = on
		}
	}
	return p
}

// From linux/if_link.h and linux/if_bridge.h.
const (
	iflaBrForwardDelay  = 1
	iflaBrSTPState      = 5
	iflaBrVLANFiltering = 7
	iflaBrNFCallIPv4    = 36
	iflaBrNFCallIPv6    = 37
	iflaBrDefaultPVID   = 39
	stateForwarding     = 3 // BR_STATE_FORWARDING
	operUp              = 6 // IF_OPER_UP
)

func (l *Link) parseBridge(b []byte) {
	for d := range nested(b) {
		switch d.typ {
		case iflaBrForwardDelay: // in clock ticks of 1/100 s (USER_HZ)
			l.ForwardDelay = time.Duration(u32(d.value)) * 10 * time.Millisecond
		case iflaBrSTPState:
			l.STP = u32(d.value) != 0
		case unix.IFLA_BR_MCAST_SNOOPING:
			l.Snooping = len(d.value) > 0 && d.value[0] != 0
		case iflaBrVLANFiltering:
			l.VLANFiltering = len(d.value) > 0 && d.value[0] != 0
		case iflaBrNFCallIPv4:
			l.NFCallIPv4 = len(d.value) > 0 && d.value[0] != 0
		case iflaBrNFCallIPv6:
			l.NFCallIPv6 = len(d.value) > 0 && d.value[0] != 0
		case iflaBrDefaultPVID: // told only by a kernel that knows VLANs
			l.CanFilter = true
			if len(d.value) >= 2 {
				l.DefaultPVID = int(nl.NativeEndian().Uint16(d.value))
			}
		}
	}
}

func (l *Link) parseChild(b []byte) {
	named := func(modes map[string]uint32, mode uint32) {
		for name, m := range modes {
			if m == mode {
				l.Mode = name
			}
		}
	}
	serviceTag := false
	for d := range nested(b) {
		switch {
		case (l.Kind == "macvlan" || l.Kind == "macvtap") && d.typ == nl.IFLA_MACVLAN_MODE:
			named(macvlanModes, u32(d.value))
		case l.Kind == "ipvlan" && d.typ == nl.IFLA_IPVLAN_MODE && len(d.value) >= 2:
			named(ipvlanModes, uint32(nl.NativeEndian().Uint16(d.value)))
		case l.Kind == "vlan" && d.typ == nl.IFLA_VLAN_ID && len(d.value) >= 2:
			l.VLAN = int(nl.NativeEndian().Uint16(d.value))
		case l.Kind == "vlan" && d.typ == nl.IFLA_VLAN_PROTOCOL && len(d.value) >= 2:
			serviceTag = binary.BigEndian.Uint16(d.value) != unix.ETH_P_8021Q
		case l.Kind == "ipoib" && d.typ == nl.IFLA_IPOIB_PKEY && len(d.value) >= 2:
			l.PKey = nl.NativeEndian().Uint16(d.value)
		}
	}
	if serviceTag {
		l.VLAN = 0
	}
}

// wellFormed checks the lengths of a message's attributes.
func wellFormed(b []byte) error {
	for len(b) >= unix.SizeofRtAttr {
		n := int(nl.NativeEndian().Uint16(b))
		if n < unix.SizeofRtAttr || n > len(b) {
			return unix.EINVAL
		}
		b = b[min(aligned(n), len(b)):]
	}
	return nil
}

// nested returns attributes, which lie in the message; those of a malformed one are none.
// It does nothing but call each, so that the compiler sees that no closure outlives it.
func nested(b []byte) iter.Seq[attr] {
	return func(yield func(attr) bool) { each(b, yield) }
}

func each(b []byte, yield func(attr) bool) {
	if wellFormed(b) != nil {
		return
	}
	for len(b) >= unix.SizeofRtAttr {
		n := int(nl.NativeEndian().Uint16(b))
		if !yield(attr{typ: nl.NativeEndian().Uint16(b[2:]), value: b[unix.SizeofRtAttr:n]}) {
			return
		}
		b = b[min(aligned(n), len(b)):]
	}
}

func u32(b []byte) uint32 {
	if len(b) < 4 {
		return 0
	}
	return nl.NativeEndian().Uint32(b)
}
