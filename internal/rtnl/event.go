package rtnl

import (
	"encoding/binary"
	"errors"
	"syscall"
	"time"

	"github.com/gopipework/gopipework/internal/nlsocket"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Events tells when something of a namespace's network configuration changes.
type Events struct{ socket *nl.NetlinkSocket }

// Watch begins to listen to links and IPv6 addresses. What changes from now on
// wakes [Events.Wait], so watch first and then look.
//
//	ip monitor link; ip -6 monitor address
func (c *Conn) Watch() (*Events, error) {
	return c.subscribe(unix.RTNLGRP_LINK, unix.RTNLGRP_IPV6_IFADDR)
}

// WatchAll is Watch for links, and addresses and routes of both families.
//
//	ip monitor link address route
func (c *Conn) WatchAll() (*Events, error) {
	return c.subscribe(unix.RTNLGRP_LINK,
		unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV6_IFADDR, unix.RTNLGRP_IPV4_ROUTE, unix.RTNLGRP_IPV6_ROUTE)
}

// WatchLinks is Watch for links alone.
//
//	ip monitor link
func (c *Conn) WatchLinks() (*Events, error) { return c.subscribe(unix.RTNLGRP_LINK) }

func (c *Conn) subscribe(groups ...uint) (*Events, error) {
	var e Events
	err := c.Run(func() (err error) {
		e.socket, err = nl.Subscribe(unix.NETLINK_ROUTE, groups...)
		return err
	})
	return &e, err
}

// Wait returns after the next change, or after d at the latest, so that the
// caller looks again in any case and can see its context end.
func (e *Events) Wait(d time.Duration) error {
	tv := unix.NsecToTimeval(d.Nanoseconds())
	if err := e.socket.SetReceiveTimeout(&tv); err != nil {
		return err
	}
	_, _, err := e.socket.Receive()
	if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.ENOBUFS) {
		return nil // nothing happened, or more than the socket could hold: look
	}
	return err
}

// LinkEvent is what became of one link.
type LinkEvent struct {
	*Link
	Gone bool // it was deleted, or has left the namespace
	New  bool // it was made, or has come into the namespace
}

// Links returns what became of links next. lost: it was more than the socket could hold.
func (e *Events) Links() (all []LinkEvent, lost bool, err error) {
	messages, _, err := e.socket.Receive()
	if err != nil {
		if errors.Is(err, unix.ENOBUFS) {
			return nil, true, nil
		}
		return nil, false, err
	}
	const made = ^uint32(0) // rtnetlink(7), ifi_change of a link that is new
	for _, m := range messages {
		if m.Header.Type != unix.RTM_NEWLINK && m.Header.Type != unix.RTM_DELLINK || len(m.Data) < unix.SizeofIfInfomsg {
			continue
		}
		if l, err := parseLink(m.Data); err == nil {
			gone := m.Header.Type == unix.RTM_DELLINK
			all = append(all, LinkEvent{l, gone, !gone && nl.DeserializeIfInfomsg(m.Data).Change == made})
		}
	}
	return all, false, nil
}

// Close stops listening, and ends a Wait that is under way with an error. It
// may be called again, and from any goroutine.
func (e *Events) Close() { e.socket.Close() }

// Changes tells which links have changed since it was made, or have other addresses: in its
// namespace, or in one that has an id there, whose links can be asked for by it.
type Changes struct {
	fd  int
	buf [8 << 10]byte // for one notification
}

// Changes begins to listen. It takes CAP_NET_BROADCAST in the namespace.
//
//	ip monitor all-nsid link address nsid
func (c *Conn) Changes() (*Changes, error) {
	ch := &Changes{}
	err := c.Run(func() (err error) {
		ch.fd, err = nlsocket.Open(unix.NETLINK_ROUTE, replyTimeout)
		return err
	})
	if err != nil {
		return nil, err
	}
	groups := 1<<(unix.RTNLGRP_LINK-1) | 1<<(unix.RTNLGRP_NSID-1) | 1<<(unix.RTNLGRP_IPV4_IFADDR-1) | 1<<(unix.RTNLGRP_IPV6_IFADDR-1)
	err = unix.SetsockoptInt(ch.fd, unix.SOL_NETLINK, unix.NETLINK_LISTEN_ALL_NSID, 1)
	if err == nil {
		err = unix.Bind(ch.fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: uint32(groups)})
	}
	if err != nil {
		ch.Close()
		return nil, err
	}
	return ch, nil
}

// Changed is a link that has changed, come or gone, or whose addresses have.
type Changed struct {
	NSID  int // of the namespace that it is in; -1: the one that listens
	Index int // 0: all links of that namespace
}

// Next returns what has changed since the last call. lost: there was more.
func (ch *Changes) Next() (all []Changed, lost bool) {
	var control [64]byte // for what NETLINK_LISTEN_ALL_NSID adds
	for {
		n, c, flags, _, err := unix.Recvmsg(ch.fd, ch.buf[:], control[:], unix.MSG_DONTWAIT)
		switch {
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EAGAIN):
			return all, lost
		case errors.Is(err, unix.ENOBUFS):
			lost = true
		case err != nil:
			return all, true
		default:
			messages, err := syscall.ParseNetlinkMessage(ch.buf[:n])
			lost = lost || err != nil || flags&unix.MSG_TRUNC != 0
			for _, m := range messages {
				all = append(all, changedBy(m, sender(control[:c])))
			}
		}
	}
}

// changedBy returns what a notification from the namespace with that id is about.
func changedBy(m syscall.NetlinkMessage, nsid int) Changed {
	const header = 4 // of struct rtgenmsg; ifinfomsg and ifaddrmsg have the index there
	switch {
	case m.Header.Type != unix.RTM_NEWNSID && m.Header.Type != unix.RTM_DELNSID:
		return Changed{nsid, int(binary.NativeEndian.Uint32(m.Data[header:]))}
	case nsid >= 0:
		return Changed{nsid, 0} // an id there, which is none here
	}
	// A namespace loses its id before its links go, which is told nobody then, and
	// another one can get it (net_namespace.c, cleanup_net).
	attrs, _ := nl.ParseRouteAttr(m.Data[header:])
	for _, a := range attrs {
		if a.Attr.Type == unix.NETNSA_NSID {
			return Changed{int(int32(binary.NativeEndian.Uint32(a.Value))), 0}
		}
	}
	return Changed{nsid, 0}
}

// sender returns the id of the namespace that a message is from; -1: the socket's own.
func sender(control []byte) int {
	messages, err := unix.ParseSocketControlMessage(control)
	for _, m := range messages {
		if err == nil && m.Header.Level == unix.SOL_NETLINK && m.Header.Type == unix.NETLINK_LISTEN_ALL_NSID && len(m.Data) >= 4 {
			return int(int32(binary.NativeEndian.Uint32(m.Data)))
		}
	}
	return -1
}

// Close stops listening.
func (ch *Changes) Close() error { return unix.Close(ch.fd) }

// Wait returns as soon as there is something for [Changes.Next], or after d at the latest.
func (ch *Changes) Wait(d time.Duration) error {
	_, err := unix.Poll([]unix.PollFd{{Fd: int32(ch.fd), Events: unix.POLLIN}}, int(d.Milliseconds()))
	if errors.Is(err, unix.EINTR) {
		return nil
	}
	return err
}
