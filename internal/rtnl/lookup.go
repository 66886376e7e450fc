package rtnl

import (
	"net/netip"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Lookup is a question for the way of one packet.
type Lookup struct {
	From, To netip.Addr
	In       int // index of the link that it comes in by; 0: it is sent from here
	Out      int // index of the link, or of its VRF, that it has to leave by; 0: any
}

// Way is the kernel's answer.
type Way struct {
	Index     int        // of the link that the packet leaves by
	Local     bool       // it is for an address of the namespace
	Broadcast bool       // it is for all hosts of a network
	Gateway   netip.Addr // it is sent to; the zero Addr: none
}

// Way asks the kernel what it does with a packet: all rules and routes, and the
// reverse path filter, have their say. The error is the kernel's for a packet that
// it drops, for example unix.EHOSTUNREACH or unix.EACCES; unix.EINVAL is that of a
// blackhole, and of the filter.
//
//	ip route get TO from FROM [iif IN] [oif OUT]
func (c *Conn) Way(q Lookup) (Way, error) {
	req := c.request(unix.RTM_GETROUTE, 0)
	msg := &nl.RtMsg{}
	msg.Family = unix.AF_INET
	if q.To.Is6() {
		msg.Family = unix.AF_INET6
	}
	msg.Dst_len, msg.Src_len = uint8(q.To.BitLen()), uint8(q.From.BitLen())
	req.AddData(msg)
	req.AddData(nl.NewRtAttr(unix.RTA_DST, q.To.AsSlice()))
	req.AddData(nl.NewRtAttr(unix.RTA_SRC, q.From.AsSlice()))
	if q.In != 0 {
		req.AddData(nl.NewRtAttr(unix.RTA_IIF, nl.Uint32Attr(uint32(q.In))))
	}
	if q.Out != 0 {
		req.AddData(nl.NewRtAttr(unix.RTA_OIF, nl.Uint32Attr(uint32(q.Out))))
	}
	answers, err := c.route.execute(req, unix.RTM_NEWROUTE)
	if err != nil {
		return Way{}, err
	}
	if len(answers) != 1 || len(answers[0]) < unix.SizeofRtMsg {
		return Way{}, unix.ENETUNREACH
	}
	answer := nl.DeserializeRtMsg(answers[0])
	w := Way{Local: answer.Type == unix.RTN_LOCAL, Broadcast: answer.Type == unix.RTN_BROADCAST}
	switch answer.Type { // IPv6 lists some that lead nowhere as it does others
	case unix.RTN_BLACKHOLE:
		return w, unix.EINVAL
	case unix.RTN_UNREACHABLE:
		return w, unix.EHOSTUNREACH
	case unix.RTN_PROHIBIT:
		return w, unix.EACCES
	}
	for a := range nested(answers[0][unix.SizeofRtMsg:]) {
		switch a.typ {
		case unix.RTA_OIF:
			w.Index = int(u32(a.value))
		case unix.RTA_GATEWAY:
			w.Gateway, _ = netip.AddrFromSlice(a.value)
		}
	}
	return w, nil
}
