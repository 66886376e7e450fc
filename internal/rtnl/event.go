package rtnl

import (
	"errors"
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

// Close stops listening, and ends a Wait that is under way with an error. It
// may be called again, and from any goroutine.
func (e *Events) Close() { e.socket.Close() }

// Changes tells whether links or addresses have changed since it was made, in its
// namespace or in one that has an id there, whose links can be asked for by it.
type Changes struct{ fd int }

// Changes begins to listen. It takes CAP_NET_BROADCAST in the namespace.
//
//	ip monitor all-nsid link address
func (c *Conn) Changes() (*Changes, error) {
	ch := &Changes{}
	err := c.Run(func() (err error) {
		ch.fd, err = nlsocket.Open(unix.NETLINK_ROUTE, replyTimeout)
		return err
	})
	if err != nil {
		return nil, err
	}
	groups := 1<<(unix.RTNLGRP_LINK-1) | 1<<(unix.RTNLGRP_IPV4_IFADDR-1) | 1<<(unix.RTNLGRP_IPV6_IFADDR-1)
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

// Any reports whether anything has changed, or whether that cannot be told.
func (ch *Changes) Any() bool {
	var b [1]byte
	for {
		_, _, err := unix.Recvfrom(ch.fd, b[:], unix.MSG_DONTWAIT|unix.MSG_PEEK)
		if !errors.Is(err, unix.EINTR) {
			return !errors.Is(err, unix.EAGAIN)
		}
	}
}

// Close stops listening.
func (ch *Changes) Close() error { return unix.Close(ch.fd) }
