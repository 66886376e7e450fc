package rtnl

import (
	"net"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Station is an entry in the table by which a bridge knows the port of a MAC address.
type Station struct {
	MAC    net.HardwareAddr
	Port   int    // index of the port, or of the bridge itself
	VLAN   uint16 // that the entry is for; 0: none
	Stays  bool   // somebody has made it, and it does not age
	Own    bool   // it is the address of the port itself
	Told   bool   // a routing daemon has entered it
	Bridge int    // index of the bridge
}

// Stations returns the entries of a bridge.
//
//	bridge fdb show br NAME
func (c *Conn) Stations(bridge int) (all []Station, err error) {
	msgs, err := c.dump(func() *nl.NetlinkRequest {
		req := c.request(unix.RTM_GETNEIGH, unix.NLM_F_DUMP)
		msg := nl.NewIfInfomsg(unix.AF_BRIDGE) // as bridge(8) asks: kernels before 5.0 know no other way
		req.AddData(msg)
		req.AddData(nl.NewRtAttr(unix.IFLA_MASTER, nl.Uint32Attr(uint32(bridge))))
		return req
	}, unix.RTM_NEWNEIGH)
	if err != nil {
		return nil, err
	}
	for _, m := range msgs {
		if s, ok := parseStation(m); ok && s.Bridge == bridge {
			all = append(all, s)
		}
	}
	return all, nil
}

// parseStation reads an RTM_NEWNEIGH message of the family AF_BRIDGE.
func parseStation(m []byte) (s Station, ok bool) {
	if len(m) < unix.SizeofNdMsg || m[0] != unix.AF_BRIDGE {
		return s, false
	}
	s.Port = int(u32(m[ndmIndex:]))
	state := nl.NativeEndian().Uint16(m[ndmState:])
	s.Own = state&unix.NUD_PERMANENT != 0
	s.Told = m[ndmFlags]&unix.NTF_EXT_LEARNED != 0
	s.Stays = state&(unix.NUD_PERMANENT|unix.NUD_NOARP) != 0
	for a := range nested(m[unix.SizeofNdMsg:]) {
		switch a.typ {
		case unix.NDA_LLADDR:
			s.MAC = net.HardwareAddr(a.value)
		case unix.NDA_VLAN:
			if len(a.value) >= 2 {
				s.VLAN = nl.NativeEndian().Uint16(a.value)
			}
		case unix.NDA_MASTER:
			s.Bridge = int(u32(a.value))
		}
	}
	return s, len(s.MAC) == 6
}

// StationCount returns how many MAC addresses a bridge has learned, and how many it learns at
// most; 0 is any number, also on a kernel before 6.8, which does not tell.
//
//	ip -d link show NAME
func (c *Conn) StationCount(bridge int) (learned, most int, err error) {
	err = c.linkData(bridge, nl.IFLA_INFO_DATA, func(typ uint16, value []byte) {
		switch typ {
		case unix.IFLA_BR_FDB_N_LEARNED:
			learned = int(u32(value))
		case unix.IFLA_BR_FDB_MAX_LEARNED:
			most = int(u32(value))
		}
	})
	return learned, most, err
}

// PortDelay returns how long the spanning tree protocol still holds a port of a bridge in
// its state; 0: it does not.
//
//	ip -d link show NAME
func (c *Conn) PortDelay(port int) (d time.Duration, err error) {
	err = c.linkData(port, nl.IFLA_INFO_SLAVE_DATA, func(typ uint16, value []byte) {
		if typ == nl.IFLA_BRPORT_FORWARD_DELAY_TIMER && len(value) >= 8 { // in clock ticks of 1/100 s (USER_HZ)
			d = time.Duration(nl.NativeEndian().Uint64(value)) * 10 * time.Millisecond
		}
	})
	return d, err
}

// linkData calls f for each attribute in one part of what the kernel tells about a link's kind.
// What changes by itself is read by it, and is not in a Link, which is compared.
func (c *Conn) linkData(index int, part uint16, f func(typ uint16, value []byte)) error {
	m, err := c.linkMessage(index, nil)
	if err != nil {
		return err
	}
	for a := range nested(m[unix.SizeofIfInfomsg:]) {
		if a.typ&^unix.NLA_F_NESTED != unix.IFLA_LINKINFO {
			continue
		}
		for info := range nested(a.value) {
			if info.typ&^unix.NLA_F_NESTED != part {
				continue
			}
			for d := range nested(info.value) {
				f(d.typ&^unix.NLA_F_NESTED, d.value)
			}
		}
	}
	return nil
}
