package rtnl

import (
	"errors"
	"slices"

	"github.com/gopipework/gopipework/internal/nlsocket"
	"golang.org/x/sys/unix"
)

// A request may have been carried out although receiving its answer failed: the
// kernel does the work while the request is being sent, and the answer then waits in
// the socket. A change that we do not know of is never undone, so we look once more
// whether it was made.

// unsure reports whether an error may come from receiving the answer, and so not be
// the kernel's verdict.
func unsure(err error) bool {
	return slices.ContainsFunc([]error{unix.EINTR, unix.EAGAIN, unix.ENOBUFS, unix.ENOMEM, unix.EIO},
		func(e error) bool { return errors.Is(err, e) })
}

// verdict returns the kernel's answer to a request whose receiving failed; ok is
// false if there is none.
func (c *Conn) verdict(seq uint32) (err error, ok bool) {
	s := c.route
	s.mu.Lock()
	defer s.mu.Unlock()
	const most = 64 // messages; a request that changes something has one answer
	for range most {
		msgs, err := nlsocket.Receive(s.fd, unix.MSG_DONTWAIT)
		if err != nil {
			return nil, false
		}
		for _, m := range msgs {
			if m.Header.Seq == seq && m.Header.Type == unix.NLMSG_ERROR && len(m.Data) >= 4 {
				return verdictOf(m), true
			}
		}
	}
	return nil, false
}

// settle returns nil for an error that may come from receiving the answer, if done
// reports that the request was carried out all the same.
func settle(err error, done func() (bool, error)) error {
	if !unsure(err) {
		return err
	}
	if ok, looked := done(); looked == nil && ok {
		return nil
	}
	return err
}

// hasRoute reports whether there is a route.
func (c *Conn) hasRoute(r Route) (bool, error) {
	all, err := c.AllRoutes()
	return slices.ContainsFunc(all, func(is Route) bool {
		table := r.Table
		if table == unix.RT_TABLE_MAIN {
			table = 0
		}
		return is.Dst == r.Dst && is.Gateway == r.Gateway && is.Index == r.Index && is.Table == table &&
			(r.Metric == 0 || is.Metric == r.Metric)
	}), err
}

func not(ok bool, err error) (bool, error) { return !ok, err }
