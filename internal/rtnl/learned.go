package rtnl

import (
	"encoding/binary"
	"errors"
	"net/netip"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Learned is what the kernel has learned about the way to one IPv6 address from an error
// of a router: the size that fits, or another router. It forgets that after ten minutes.
type Learned struct {
	Addr  netip.Addr
	Index int    // of the link that the packets leave by
	Table uint32 // that has the route
}

// Learned returns all of that. A kernel before 5.3 does not tell it, one without IPv6 has
// learned nothing.
//
//	ip -6 route show cache table all
func (c *Conn) Learned() (all []Learned, err error) {
	strict, err := c.strictSocket()
	if errors.Is(err, unix.ENOPROTOOPT) { // before 4.20
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	msgs, err := strict.dump(func() *nl.NetlinkRequest {
		req := c.request(unix.RTM_GETROUTE, unix.NLM_F_DUMP)
		req.AddData(&nl.RtMsg{RtMsg: unix.RtMsg{Family: unix.AF_INET6, Flags: unix.RTM_F_CLONED}})
		return req
	}, unix.RTM_NEWROUTE)
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EINVAL) {
		return nil, nil
	}
	for _, m := range msgs {
		if len(m) < unix.SizeofRtMsg || m[0] != unix.AF_INET6 || binary.NativeEndian.Uint32(m[8:])&unix.RTM_F_CLONED == 0 {
			continue
		}
		as, err := readAttrs(m[unix.SizeofRtMsg:])
		if err != nil {
			return nil, err
		}
		l := Learned{Table: uint32(m[4])}
		if dst, ok := as.get(unix.RTA_DST); ok {
			l.Addr, _ = netip.AddrFromSlice(dst)
		}
		if oif, ok := as.get(unix.RTA_OIF); ok && len(oif) == 4 {
			l.Index = int(binary.NativeEndian.Uint32(oif))
		}
		if table, ok := as.get(unix.RTA_TABLE); ok && len(table) == 4 {
			l.Table = binary.NativeEndian.Uint32(table)
		}
		all = append(all, l)
	}
	return all, err
}

// Forget has the kernel forget what it has learned.
func (c *Conn) Forget(l Learned) error {
	req := c.request(unix.RTM_DELROUTE, 0)
	req.AddData(&nl.RtMsg{RtMsg: unix.RtMsg{Family: unix.AF_INET6, Dst_len: 128, Flags: unix.RTM_F_CLONED}})
	req.AddData(nl.NewRtAttr(unix.RTA_DST, l.Addr.AsSlice()))
	req.AddData(nl.NewRtAttr(unix.RTA_OIF, nl.Uint32Attr(uint32(l.Index))))
	req.AddData(nl.NewRtAttr(unix.RTA_TABLE, nl.Uint32Attr(l.Table)))
	return c.write(req)
}
