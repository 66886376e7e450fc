package rtnl

import (
	"errors"
	"fmt"
	"os"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// A Wi-Fi interface belongs to a radio, the wiphy, and changes namespace only
// with it. To rtnetlink it looks like Ethernet; nl80211, a family of generic
// netlink, knows better (linux/nl80211.h).

// Wiphy returns the number of the radio that the link belongs to; ok is false
// where it is no Wi-Fi interface or the kernel has no nl80211.
//
//	iw dev NAME info
func (c *Conn) Wiphy(index int) (phy int, ok bool, err error) {
	err = c.generic("nl80211", func(g *genericConn) error {
		msgs, err := g.execute(g.request(unix.NL80211_CMD_GET_INTERFACE, nl80211Link(index)), 0)
		if err != nil {
			return err
		}
		phy, ok = parseWiphy(msgs)
		return nil
	})
	// ENODEV: the link is none of nl80211's, or not there at all.
	if errors.Is(err, errNoFamily) || errors.Is(err, unix.ENODEV) {
		return 0, false, nil
	}
	return phy, ok, err
}

// MoveWiphy moves a radio with all its interfaces to another namespace. Where
// the kernel has no nl80211, or the driver cannot do it, it is
// unix.EOPNOTSUPP.
//
//	iw phy#N set netns NS
func (c *Conn) MoveWiphy(phy int, ns *os.File) error {
	err := c.generic("nl80211", func(g *genericConn) error {
		req := g.request(unix.NL80211_CMD_SET_WIPHY_NETNS, wiphyNamespace(phy, ns.Fd())...)
		req.Flags |= unix.NLM_F_ACK
		_, err := g.execute(req, 0)
		return err
	})
	if errors.Is(err, errNoFamily) {
		return unix.EOPNOTSUPP
	}
	return err
}

func nl80211Link(index int) *nl.RtAttr {
	return nl.NewRtAttr(unix.NL80211_ATTR_IFINDEX, nl.Uint32Attr(uint32(index)))
}

func wiphyNamespace(phy int, ns uintptr) []*nl.RtAttr {
	return []*nl.RtAttr{
		nl.NewRtAttr(unix.NL80211_ATTR_WIPHY, nl.Uint32Attr(uint32(phy))),
		nl.NewRtAttr(unix.NL80211_ATTR_NETNS_FD, nl.Uint32Attr(uint32(ns))),
	}
}

func parseWiphy(msgs [][]byte) (phy int, ok bool) {
	for _, m := range msgs {
		if len(m) < nl.SizeofGenlmsg {
			continue
		}
		for a := range nested(m[nl.SizeofGenlmsg:]) {
			if a.typ == unix.NL80211_ATTR_WIPHY && len(a.value) >= 4 {
				return int(u32(a.value)), true
			}
		}
	}
	return 0, false
}

// errNoFamily: this kernel has no such family of generic netlink.
var errNoFamily = errors.New("no such generic netlink family")

// genericConn is a socket of generic netlink and the family that it is for.
type genericConn struct {
	*socket
	family uint16
}

// generic calls do with a socket of generic netlink, opened in the Conn's
// namespace, for the family called name.
func (c *Conn) generic(name string, do func(*genericConn) error) error {
	var s *socket
	err := c.Run(func() (err error) {
		s, err = dial(unix.NETLINK_GENERIC)
		return err
	})
	if err != nil {
		return fmt.Errorf("open generic netlink socket: %w", err)
	}
	defer s.close()
	g := &genericConn{socket: s, family: unix.GENL_ID_CTRL}
	ask := g.request(unix.CTRL_CMD_GETFAMILY, nl.NewRtAttr(unix.CTRL_ATTR_FAMILY_NAME, nl.ZeroTerminated(name)))
	msgs, err := g.execute(ask, 0)
	if errors.Is(err, unix.ENOENT) {
		return errNoFamily
	}
	if err != nil {
		return err
	}
	g.family = 0
	for _, m := range msgs {
		if len(m) < nl.SizeofGenlmsg {
			continue
		}
		for a := range nested(m[nl.SizeofGenlmsg:]) {
			if a.typ == unix.CTRL_ATTR_FAMILY_ID && len(a.value) >= 2 {
				g.family = nl.NativeEndian().Uint16(a.value)
			}
		}
	}
	if g.family == 0 {
		return errNoFamily
	}
	return do(g)
}

// request returns a request for the command of the family.
func (g *genericConn) request(command uint8, attrs ...*nl.RtAttr) *nl.NetlinkRequest {
	req := &nl.NetlinkRequest{
		NlMsghdr: unix.NlMsghdr{Len: unix.SizeofNlMsghdr, Type: g.family, Flags: unix.NLM_F_REQUEST},
	}
	req.AddData(&nl.Genlmsg{Command: command, Version: 1})
	for _, a := range attrs {
		req.AddData(a)
	}
	return req
}
