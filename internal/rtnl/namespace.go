package rtnl

import (
	"errors"
	"os"
	"slices"

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
	msgs, err := c.route.execute(req, unix.RTM_NEWNSID)
	if err != nil {
		return -1, err
	}
	if ids := nsids(msgs); len(ids) > 0 {
		return ids[0], nil
	}
	return -1, nil
}

// GiveNamespaceID returns the id that ns has in this Conn's namespace, and has
// the kernel pick one if it has none.
//
//	ip netns set NAME auto
func (c *Conn) GiveNamespaceID(ns *os.File) (int, error) {
	req := c.request(unix.RTM_NEWNSID, 0)
	req.AddData(nl.NewRtGenMsg())
	req.AddData(nl.NewRtAttr(unix.NETNSA_FD, nl.Uint32Attr(uint32(ns.Fd()))))
	automatic := int32(-1)
	req.AddData(nl.NewRtAttr(unix.NETNSA_NSID, nl.Uint32Attr(uint32(automatic))))
	if err := c.write(req); err != nil && !errors.Is(err, unix.EEXIST) {
		return -1, err
	}
	id, err := c.NamespaceID(ns)
	if err == nil && id < 0 {
		err = unix.ENOENT
	}
	return id, err
}

// NamespaceIDs returns the ids of all namespaces that have one in this Conn's,
// in ascending order. Its own may be among them: the kernel gives it one when
// it has to name it (see [Conn.LinksIn]).
//
//	ip netns list-id
func (c *Conn) NamespaceIDs() ([]int, error) {
	msgs, err := c.dump(func() *nl.NetlinkRequest {
		req := c.request(unix.RTM_GETNSID, unix.NLM_F_DUMP)
		req.AddData(nl.NewRtGenMsg())
		return req
	}, unix.RTM_NEWNSID)
	ids := nsids(msgs)
	slices.Sort(ids)
	return ids, err
}

// nsids reads the ids that there are in RTM_NEWNSID messages.
func nsids(msgs [][]byte) (ids []int) {
	for _, m := range msgs {
		if len(m) < unix.NLMSG_ALIGNTO {
			continue
		}
		for a := range nested(m[unix.NLMSG_ALIGNTO:]) {
			if id := int32(u32(a.value)); a.typ == unix.NETNSA_NSID && id >= 0 {
				ids = append(ids, int(id))
			}
		}
	}
	return ids
}

// unlessEnded returns ErrNotFound for what the kernel answers about an id whose
// namespace has ended, or that it never gave.
func unlessEnded(err error) error {
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOENT) {
		return ErrNotFound
	}
	return err
}

// LinksIn returns every link of the namespace that has the id nsid here,
// without going there, or ErrNotFound if that namespace has ended.
//
// Index, Name, Master and Peer are as in that namespace. PeerNS is -1 if the
// peer is in that namespace too; otherwise it is an id as this Conn's
// namespace has it, not as that one has it. The kernel gives ids for it where
// there are none, also to this namespace, in itself: a peer that is here has
// the id that [Conn.NamespaceID] returns for this namespace.
//
//	ip link show, in that namespace
func (c *Conn) LinksIn(nsid int) ([]*Link, error) {
	links, err := c.links(nl.NewRtAttr(unix.IFLA_TARGET_NETNSID, nl.Uint32Attr(uint32(nsid))))
	return links, unlessEnded(err)
}

// Cookie returns the number by which the kernel knows this Conn's namespace.
// Unlike an inode number it is never given again while the machine runs. Since
// Linux 5.14; before: unix.ENOPROTOOPT.
func (c *Conn) Cookie() (uint64, error) {
	return unix.GetsockoptUint64(c.route.fd, unix.SOL_SOCKET, unix.SO_NETNS_COOKIE)
}
