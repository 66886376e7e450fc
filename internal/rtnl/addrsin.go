package rtnl

import (
	"net/netip"
	"os"
	"slices"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// AddrsIn returns the addresses of one link of the namespace that has the id
// nsid here, without going there, or ErrNotFound if either has ended. Since Linux 4.20; before: unix.ENOPROTOOPT.
//
//	ip address show dev NAME, in that namespace
func (c *Conn) AddrsIn(nsid, index int) ([]Addr, error) {
	strict, err := c.strictSocket()
	if err != nil {
		return nil, err
	}
	msgs, err := strict.dump(func() *nl.NetlinkRequest {
		req := c.request(unix.RTM_GETADDR, unix.NLM_F_DUMP)
		msg := nl.NewIfAddrmsg(unix.AF_UNSPEC)
		msg.Index = uint32(index)
		req.AddData(msg)
		req.AddData(nl.NewRtAttr(unix.IFA_TARGET_NETNSID, nl.Uint32Attr(uint32(nsid))))
		return req
	}, unix.RTM_NEWADDR)
	addrs := parseAddrs(msgs)
	return slices.DeleteFunc(addrs, func(a Addr) bool { return a.Index != index }), unlessEnded(err)
}

// parseAddrs reads the kernel's messages about addresses.
func parseAddrs(msgs [][]byte) (addrs []Addr) {
	for _, m := range msgs {
		if len(m) < unix.SizeofIfAddrmsg {
			continue
		}
		a := Addr{Index: int(nl.NativeEndian().Uint32(m[ifaddrmsgIndex:])), Scope: m[ifaddrmsgScope], Flags: uint32(m[ifaddrmsgFlags])}
		var local, peer netip.Addr // they are the same, or there is only the second, unless it is point to point
		for at := range nested(m[unix.SizeofIfAddrmsg:]) {
			switch at.typ {
			case unix.IFA_FLAGS:
				a.Flags = u32(at.value)
			case ifaProto:
				if len(at.value) > 0 {
					a.Proto = at.value[0]
				}
			case unix.IFA_LOCAL:
				local, _ = netip.AddrFromSlice(at.value)
			case unix.IFA_ADDRESS:
				peer, _ = netip.AddrFromSlice(at.value)
			}
		}
		switch {
		case local.IsValid() && local != peer: // the subnet is the peer's
			a.Prefix = netip.PrefixFrom(local, local.BitLen())
		case peer.IsValid():
			a.Prefix = netip.PrefixFrom(peer, int(m[ifaddrmsgPrefLen]))
		}
		if a.Prefix.IsValid() {
			addrs = append(addrs, a)
		}
	}
	return addrs
}

// strictSocket is one on which the kernel heeds what a dump of addresses asks
// for (NETLINK_GET_STRICT_CHK): on any other it ignores it.
func (c *Conn) strictSocket() (*socket, error) {
	c.strictOnce.Do(func() {
		c.strictErr = c.Run(func() error {
			s, err := dial(unix.NETLINK_ROUTE)
			if err != nil {
				return err
			}
			if err := unix.SetsockoptInt(s.fd, unix.SOL_NETLINK, unix.NETLINK_GET_STRICT_CHK, 1); err != nil {
				s.close()
				return os.NewSyscallError("setsockopt", err)
			}
			c.strict = s
			return nil
		})
	})
	return c.strict, c.strictErr
}
