package rtnl

import (
	"os"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Move says where a link goes and what it is to be there.
type Move struct {
	NS    *os.File
	Name  string  // there; "": as here
	Group *uint32 // nil: as here
	Index int     // there; 0: as here where that is free, and else the kernel's choice
}

// MoveLink moves a link to another namespace, in one message. It keeps its
// alias, its alternative names, its MAC and MTU, and its index where that is
// free; it arrives down, without its master, its addresses and its routes.
//
//	ip link set dev NAME netns NS name NEW group G
//
// An Index that is taken there is EBUSY, and the link is where and as it was.
//
// It is several things to the kernel, which does not undo one when the next
// fails:
//
//   - Name is taken there: EEXIST, but where the name that the link has here
//     is free there, the link *has moved*, under that name, and has the group.
//   - Both names are taken there, or (since Linux 6.6) one of its alternative
//     names: EEXIST, and the link is where and as it was.
//   - Only the name that it has here is taken there: no error, it arrives
//     under Name at once.
//
// After an error look in both namespaces.
func (c *Conn) MoveLink(index int, m Move) error {
	req := c.linkRequest(unix.RTM_NEWLINK, 0, index)
	req.AddData(nl.NewRtAttr(unix.IFLA_NET_NS_FD, nl.Uint32Attr(uint32(m.NS.Fd()))))
	if m.Index != 0 {
		req.AddData(nl.NewRtAttr(unix.IFLA_NEW_IFINDEX, nl.Uint32Attr(uint32(m.Index))))
	}
	for _, a := range (Change{Name: m.Name, Group: m.Group}).attrs() {
		req.AddData(a)
	}
	return c.write(req)
}
