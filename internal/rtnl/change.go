package rtnl

import (
	"net"
	"net/netip"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Change is what SetLink sets; the zero value of a field leaves it as it is.
type Change struct {
	Name        string // a link that is up can only be renamed since Linux 6.2; before: EBUSY
	MAC         net.HardwareAddr
	MTU         int
	TxQueue     *int // txqueuelen, packets
	Group       *uint32
	Master      int // index of the bridge or bond to become a port of
	NoMaster    bool
	Alias       string
	NoAlias     bool // delete the alias
	Up, Down    bool
	Flags       uint32 // unix.IFF_*: what those in FlagMask become
	FlagMask    uint32
	AddrGenNone bool       // no IPv6 address of the kernel's making (ip ... addrgenmode none)
	AddrGen     *uint8     // nl.IN6_ADDR_GEN_MODE_*
	Token       netip.Addr // the end of the IPv6 addresses that routers give
}

// SetLink changes a link in one message. The kernel takes the fields one
// after the other (MAC, MTU, group, name, alias, up or down, txqueuelen,
// addrgenmode), and what it had set before an error stays set.
//
//	ip link set dev NAME address MAC mtu M group G name NEW alias TEXT txqueuelen N addrgenmode none up
func (c *Conn) SetLink(index int, ch Change) error {
	req := c.request(unix.RTM_NEWLINK, 0)
	msg := nl.NewIfInfomsg(unix.AF_UNSPEC)
	msg.Index = int32(index)
	msg.Change, msg.Flags = ch.FlagMask, ch.Flags
	if ch.Up || ch.Down {
		msg.Change |= unix.IFF_UP
	}
	if ch.Up {
		msg.Flags |= unix.IFF_UP
	}
	req.AddData(msg)
	for _, a := range ch.attrs() {
		req.AddData(a)
	}
	return c.write(req)
}

func (ch Change) attrs() (as []*nl.RtAttr) {
	add := func(typ int, data []byte) { as = append(as, nl.NewRtAttr(typ, data)) }
	if ch.Name != "" {
		add(unix.IFLA_IFNAME, nl.ZeroTerminated(ch.Name))
	}
	if ch.MAC != nil {
		add(unix.IFLA_ADDRESS, ch.MAC)
	}
	if ch.MTU != 0 {
		add(unix.IFLA_MTU, nl.Uint32Attr(uint32(ch.MTU)))
	}
	if ch.TxQueue != nil {
		add(unix.IFLA_TXQLEN, nl.Uint32Attr(uint32(*ch.TxQueue)))
	}
	if ch.Group != nil {
		add(unix.IFLA_GROUP, nl.Uint32Attr(*ch.Group))
	}
	if ch.Master != 0 || ch.NoMaster {
		add(unix.IFLA_MASTER, nl.Uint32Attr(uint32(ch.Master)))
	}
	if ch.Alias != "" || ch.NoAlias {
		add(unix.IFLA_IFALIAS, []byte(ch.Alias)) // of no bytes: none
	}
	gen := ch.AddrGen
	if none := uint8(nl.IN6_ADDR_GEN_MODE_NONE); ch.AddrGenNone {
		gen = &none
	}
	if gen != nil || ch.Token.IsValid() {
		af := nl.NewRtAttr(unix.IFLA_AF_SPEC, nil)
		inet6 := af.AddRtAttr(unix.AF_INET6, nil)
		if gen != nil {
			inet6.AddRtAttr(unix.IFLA_INET6_ADDR_GEN_MODE, nl.Uint8Attr(*gen))
		}
		if ch.Token.IsValid() {
			inet6.AddRtAttr(unix.IFLA_INET6_TOKEN, ch.Token.AsSlice())
		}
		as = append(as, af)
	}
	return as
}
