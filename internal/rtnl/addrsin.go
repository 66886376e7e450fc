package rtnl

import (
	"net/netip"
	"os"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// AddrsIn returns the addresses of one link of the namespace that has the id
// nsid here, without going there. Since Linux 4.20; before: unix.ENOPROTOOPT.
//
//	ip address show dev NAME, in that namespace
func (c *Conn) AddrsIn(nsid, index int) ([]Addr, error) {
	sockets, err := c.strictSocket()
	if err != nil {
		return nil, err
	}
	msgs, err := dumpOn(sockets, func() *nl.NetlinkRequest {
		req := c.request(unix.RTM_GETADDR, unix.NLM_F_DUMP)
		msg := nl.NewIfAddrmsg(unix.AF_UNSPEC)
		msg.Index = uint32(index)
		req.AddData(msg)
		req.AddData(nl.NewRtAttr(unix.IFA_TARGET_NETNSID, nl.Uint32Attr(uint32(nsid))))
		return req
	}, unix.RTM_NEWADDR)
	var addrs []Addr
	for _, m := range msgs {
		if len(m) < unix.SizeofIfAddrmsg {
			continue
		}
		a := Addr{Index: int(nl.NativeEndian().Uint32(m[ifaddrmsgIndex:])), Scope: m[ifaddrmsgScope], Flags: uint32(m[ifaddrmsgFlags])}
		for _, at := range nested(m[unix.SizeofIfAddrmsg:]) {
			switch at.Attr.Type {
			case unix.IFA_FLAGS:
				a.Flags = u32(at.Value)
			case unix.IFA_LOCAL, unix.IFA_ADDRESS: // the first is behind the second, if it is there
				if ip, ok := netip.AddrFromSlice(at.Value); ok && (!a.Prefix.IsValid() || at.Attr.Type == unix.IFA_LOCAL) {
					a.Prefix = netip.PrefixFrom(ip, int(m[ifaddrmsgPrefLen]))
				}
			}
		}
		if a.Index == index && a.Prefix.IsValid() {
			addrs = append(addrs, a)
		}
	}
	return addrs, err
}

// strictSocket is one on which the kernel heeds what a dump of addresses asks
// for (NETLINK_GET_STRICT_CHK): on any other it ignores it.
func (c *Conn) strictSocket() (map[int]*nl.SocketHandle, error) {
	c.strictOnce.Do(func() {
		c.strictErr = c.Run(func() error {
			sockets, err := routeSocket()
			if err != nil {
				return err
			}
			s := sockets[unix.NETLINK_ROUTE]
			if err := unix.SetsockoptInt(s.Socket.GetFd(), unix.SOL_NETLINK, unix.NETLINK_GET_STRICT_CHK, 1); err != nil {
				s.Close()
				return os.NewSyscallError("setsockopt", err)
			}
			c.strict = sockets
			return nil
		})
	})
	return c.strict, c.strictErr
}
