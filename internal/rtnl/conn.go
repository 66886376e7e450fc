package rtnl

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/gopipework/gopipework/internal/nsfs"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// replyTimeout bounds the wait for the kernel's answer to one request. It
// answers at once unless somebody holds the RTNL lock for very long.
const replyTimeout = 5 * time.Second

// Conn speaks rtnetlink in one network namespace. Its methods may be called
// from any goroutine; they act in the namespace it was opened in.
type Conn struct {
	sockets map[int]*nl.SocketHandle
	dumps   map[int]*nl.SocketHandle // without the kernel's words for an error: see dump
	inet    *netlink.Handle
	thread  *nsfs.Thread

	strictOnce sync.Once // for the two below: few need them
	strict     map[int]*nl.SocketHandle
	strictErr  error
}

// Open returns a Conn in the network namespace ns, which stays the caller's to
// close. It has a thread of its own there.
func Open(ns *os.File) (*Conn, error) {
	t, err := nsfs.Enter(ns)
	if err != nil {
		return nil, err
	}
	c, err := open(t)
	if err != nil {
		return nil, fmt.Errorf("open netlink socket in namespace: %w", err)
	}
	return c, nil
}

// OpenOwn returns a Conn in the namespace of this process. It enters nothing,
// and so needs no privilege and no /proc: whoever is in a namespace may read
// its links, addresses and routes, and be told of changes.
func OpenOwn() (*Conn, error) {
	c, err := open(nsfs.Stay())
	if err != nil {
		return nil, fmt.Errorf("open netlink socket: %w", err)
	}
	return c, nil
}

// open returns a Conn on the thread, or ends the thread.
func open(t *nsfs.Thread) (*Conn, error) {
	c := &Conn{thread: t}
	if err := t.Run(c.connect); err != nil {
		t.End()
		return nil, err
	}
	return c, nil
}

// connect opens the sockets in the namespace that the calling thread is in.
func (c *Conn) connect() error {
	var err error
	if c.sockets, err = routeSocket(); err != nil {
		return err
	}
	err = c.sockets[unix.NETLINK_ROUTE].Socket.SetExtAck(true)
	if err == nil {
		c.dumps, err = routeSocket()
	}
	if err == nil {
		c.inet, err = netlink.NewHandle(unix.NETLINK_ROUTE)
	}
	if err != nil {
		c.closeSockets()
		return err
	}
	return c.inet.SetSocketTimeout(replyTimeout)
}

func routeSocket() (map[int]*nl.SocketHandle, error) {
	s, err := nl.Subscribe(unix.NETLINK_ROUTE) // no groups: a plain socket
	if err != nil {
		return nil, err
	}
	tv := unix.NsecToTimeval(replyTimeout.Nanoseconds())
	if err := errors.Join(s.SetSendTimeout(&tv), s.SetReceiveTimeout(&tv)); err != nil {
		s.Close()
		return nil, err
	}
	return map[int]*nl.SocketHandle{unix.NETLINK_ROUTE: {Socket: s}}, nil
}

func (c *Conn) closeSockets() {
	for _, sockets := range []map[int]*nl.SocketHandle{c.sockets, c.dumps, c.strict} {
		for _, s := range sockets {
			s.Close()
		}
	}
}

// Close closes the sockets and ends the thread. The Conn is of no use then.
func (c *Conn) Close() {
	c.thread.End()
	c.closeSockets()
	c.inet.Close()
}

// Run calls f on the thread that is inside the namespace, and waits for it:
// for what netlink cannot do (sysctls, packet sockets, child processes).
func (c *Conn) Run(f func() error) error { return c.thread.Run(f) }

// request returns an rtnetlink request that is sent on the Conn's own socket.
func (c *Conn) request(typ, flags int) *nl.NetlinkRequest {
	return &nl.NetlinkRequest{
		NlMsghdr: unix.NlMsghdr{
			Len:   unix.SizeofNlMsghdr,
			Type:  uint16(typ),
			Flags: unix.NLM_F_REQUEST | uint16(flags),
		},
		Sockets: c.sockets,
	}
}

// write sends a request that changes something and returns the kernel's
// verdict. A timeout is ETIMEDOUT, so that it does not read as "try again".
func (c *Conn) write(req *nl.NetlinkRequest) error {
	req.Flags |= unix.NLM_F_ACK
	_, err := req.Execute(unix.NETLINK_ROUTE, 0)
	if unsure(err) {
		if verdict, ok := c.verdict(req.Seq); ok {
			err = verdict
		}
	}
	if errors.Is(err, unix.EAGAIN) {
		return unix.ETIMEDOUT
	}
	return err
}

// A dump that the kernel calls interrupted (something changed while it was
// read) is asked for again for as long as dumpPatience, after pauses that begin
// with dumpPause and double up to 32 times that. A guest that never rests, on a
// machine that is busy, interrupts most of them.
const (
	dumpPatience = 5 * time.Second
	dumpPause    = time.Millisecond
)

// dump returns the answers to a dump request, never a partial list. It has a
// socket of its own: the library panics when a dump ends with an error for which
// the kernel has words, as one of a namespace does that is just ending
// (NLMSG_DONE has no echoed request in front of them).
func (c *Conn) dump(ask func() *nl.NetlinkRequest, typ uint16) ([][]byte, error) {
	return dumpOn(c.dumps, ask, typ)
}

func dumpOn(sockets map[int]*nl.SocketHandle, ask func() *nl.NetlinkRequest, typ uint16) ([][]byte, error) {
	return retry(func() ([][]byte, error) {
		req := ask()
		req.Sockets = sockets
		return req.Execute(unix.NETLINK_ROUTE, typ)
	})
}

// retry asks again while the kernel says that the list changed as it was read.
func retry[T any](list func() ([]T, error)) ([]T, error) {
	end, pause := time.Now().Add(dumpPatience), dumpPause
	for {
		out, err := list()
		if err == nil {
			return out, nil
		}
		if !interrupted(err) || time.Now().After(end) {
			return nil, err
		}
		time.Sleep(pause)
		pause = min(2*pause, 32*dumpPause)
	}
}

func interrupted(err error) bool {
	return errors.Is(err, nl.ErrDumpInterrupted) || errors.Is(err, unix.EINTR)
}
