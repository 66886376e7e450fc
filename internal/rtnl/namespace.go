package rtnl

import (
	"os"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// A namespace knows others by ids that it gives them: those in which a link of
// its own has the other end, and those that somebody asked an id for. An id
// lasts as long as both namespaces do.

// NamespaceID returns the id that ns has in this Conn's namespace, or -1 if it
// has none, which means that no link here has its other end there.
//
//	ip netns list-id
func (c *Conn) NamespaceID(ns *os.File) (int, error) {
	req := c.request(unix.RTM_GETNSID, 0)
	req.AddData(nl.NewRtGenMsg())
	req.AddData(nl.NewRtAttr(unix.NETNSA_FD, nl.Uint32Attr(uint32(ns.Fd()))))
	msgs, err := req.Execute(unix.NETLINK_ROUTE, unix.RTM_NEWNSID)
	if err != nil {
		return -1, err
	}
	if ids := nsids(msgs); len(ids) > 0 {
		return ids[0], nil
	}
	return -1, nil
}

// nsids reads the ids that there are in RTM_NEWNSID messages.
func nsids(msgs [][]byte) (ids []int) {
	for _, m := range msgs {
		if len(m) < unix.NLMSG_ALIGNTO {
			continue
		}
		for _, a := range nested(m[unix.NLMSG_ALIGNTO:]) {
			if id := int32(u32(a.Value)); a.Attr.Type == unix.NETNSA_NSID && id >= 0 {
				ids = append(ids, int(id))
			}
		}
	}
	return ids
}
