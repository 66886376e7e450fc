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
	route  *socket
	thread *nsfs.Thread
	net    sysctlDirs

	// What few need is opened when it is needed.
	strictOnce sync.Once
	strict     *socket
	strictErr  error
	inetOnce   sync.Once
	inetHandle *netlink.Handle
	inetErr    error
}

// Open returns a Conn in the network namespace ns, which stays the caller's to
// close. Unless the caller is there already, it has a thread of its own there.
func Open(ns *os.File) (*Conn, error) {
	t, err := nsfs.In(ns)
	if err != nil {
		return nil, err
	}
	return openIn(t)
}

// Visit is Open for the calling goroutine alone, whose own thread goes into the
// namespace ([nsfs.Go]). To visit many namespaces, one after the other, it is quicker.
func Visit(ns *os.File) (*Conn, error) {
	t, err := nsfs.Move(ns)
	if err != nil {
		return nil, err
	}
	return openIn(t)
}

// OpenBriefly is Open for a Conn that lives long and has little to do: it has a thread
// only while it needs one ([nsfs.EnterBriefly]).
func OpenBriefly(ns *os.File) (*Conn, error) {
	t, err := nsfs.EnterBriefly(ns)
	if err != nil {
		return nil, err
	}
	return openIn(t)
}

func openIn(t *nsfs.Thread) (*Conn, error) {
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

// connect opens the socket in the namespace that the calling thread is in.
func (c *Conn) connect() (err error) {
	c.route, err = dial(unix.NETLINK_ROUTE)
	return err
}

// inet returns the library's own handle.
func (c *Conn) inet() (*netlink.Handle, error) {
	c.inetOnce.Do(func() {
		c.inetErr = c.Run(func() (err error) {
			if c.inetHandle, err = netlink.NewHandle(unix.NETLINK_ROUTE); err != nil {
				return err
			}
			return c.inetHandle.SetSocketTimeout(replyTimeout)
		})
	})
	return c.inetHandle, c.inetErr
}

// with calls do with the library's own handle.
func (c *Conn) with(do func(*netlink.Handle) error) error {
	h, err := c.inet()
	if err != nil {
		return err
	}
	return do(h)
}

// Close closes the sockets and ends the thread. The Conn is of no use then.
func (c *Conn) Close() {
	c.thread.End()
	c.route.close()
	c.net.close()
	c.strictOnce.Do(func() { c.strictErr = os.ErrClosed })
	c.strict.close()
	c.inetOnce.Do(func() { c.inetErr = os.ErrClosed })
	if c.inetHandle != nil {
		c.inetHandle.Close()
	}
}

// Run calls f on the thread that is inside the namespace, and waits for it:
// for what netlink cannot do (sysctls, packet sockets, child processes).
func (c *Conn) Run(f func() error) error { return c.thread.Run(f) }

// request returns an rtnetlink request, for execute or write.
func (c *Conn) request(typ, flags int) *nl.NetlinkRequest {
	return &nl.NetlinkRequest{
		NlMsghdr: unix.NlMsghdr{
			Len:   unix.SizeofNlMsghdr,
			Type:  uint16(typ),
			Flags: unix.NLM_F_REQUEST | uint16(flags),
		},
	}
}

// write sends a request that changes something and returns the kernel's
// verdict. A timeout is ETIMEDOUT, so that it does not read as "try again".
func (c *Conn) write(req *nl.NetlinkRequest) error {
	req.Flags |= unix.NLM_F_ACK
	_, err := c.route.execute(req, 0)
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
var dumpPatience = 5 * time.Second

const dumpPause = time.Millisecond

// dump returns the answers to a dump request, never a partial list.
func (c *Conn) dump(ask func() *nl.NetlinkRequest, typ uint16) ([][]byte, error) {
	return c.route.dump(ask, typ)
}

func (s *socket) dump(ask func() *nl.NetlinkRequest, typ uint16) ([][]byte, error) {
	return retry(func() ([][]byte, error) { return s.execute(ask(), typ) })
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
