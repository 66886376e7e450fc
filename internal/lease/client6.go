package lease

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"time"

	"github.com/gopipework/gopipework/internal/fault"
	"github.com/insomniacslk/dhcp/dhcpv6"
	"golang.org/x/sys/unix"
)

// client6 speaks DHCPv6 for one interface.
type client6 struct {
	ask   Ask
	clock Clock
	link  Link // on which duplicate address detection is done; nil to release only
	open  func(context.Context) (wire6, error)
}

var _ asker = (*client6)(nil)

// newAsker is the client for a lease of either kind.
func newAsker(in namespace, a Ask, link Link, clock Clock) asker {
	if a.Kind != DHCPv6 {
		return newClient(in, a, clock)
	}
	return &client6{ask: a, clock: clock, link: link,
		open: func(ctx context.Context) (wire6, error) { return openWire6(ctx, in, a.Index) }}
}

// Acquire6 is [Acquire] by DHCPv6. The link has the address already when it
// returns, with its lifetimes: the kernel had to ask whether somebody has it. One
// that somebody has is declined, and another asked for, a few times.
func Acquire6(ctx context.Context, ns *os.File, a Ask, link Link, timeout time.Duration) (Lease, error) {
	if timeout == 0 {
		timeout = DefaultTimeout
	}
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, errTimeUp)
	defer cancel()
	in, err := enter(ns)
	if err != nil {
		return Lease{}, a.fail6(err)
	}
	defer in.End()
	l, err := newAsker(in, a, link, bootClock{}).acquire(ctx)
	if err != nil {
		return Lease{}, a.fail6(err)
	}
	return l, nil
}

// taken is an address that somebody else has.
type taken struct{ addr netip.Addr }

func (e taken) Error() string {
	return fmt.Sprintf("the server offers %s, which somebody else on this network has", e.addr)
}

// fail6 explains the error of an acquire to a user.
func (a Ask) fail6(err error) error {
	var unusable unusableAnswers
	var no refusal
	var conflict taken
	var alone noLinkLocal
	code, hint := fault.Failed, ""
	switch {
	case errors.As(err, &conflict):
		code, hint = fault.Conflict, "find out who has it; the DHCP server was told, and should not offer that address again for a while"
	case errors.Is(err, context.Canceled):
		code = fault.Interrupted
	case errors.As(err, &alone):
		code, hint = fault.Timeout, "is its MAC address in use on this network, or addrgenmode none?"
	case timeUp(err):
		code, err, hint = fault.Timeout, errTimeUp, "is there a DHCPv6 server on this network? dhcp6:timeout=1m with --timeout 2m waits longer; slaac uses what routers advertise"
	case errors.As(err, &unusable):
		code, hint = fault.Timeout, "see what the servers say: tcpdump -vni any udp port 547, while the same line runs again"
	case errors.As(err, &no):
		hint = "the server's log says why"
	case errors.Is(err, os.ErrPermission):
		code, hint = denied(err, "CAP_NET_BIND_SERVICE")
	case errors.Is(err, unix.EAFNOSUPPORT):
		code = fault.Unsupported
	}
	return fault.New(code, "get a lease for", a.IfName, "%w", err).WithHint("%s", hint)
}

// acquire is section 18.2.1 and 18.2.2 of RFC 8415: it asks until a server gives
// a lease, servers refuse what they offer again and again, or ctx ends.
func (c *client6) acquire(ctx context.Context) (Lease, error) {
	w, err := c.open(ctx)
	if err != nil {
		return Lease{}, err
	}
	defer w.close()
	e := exchange6{client6: c, wire: w, began: c.clock.Now()}
	return insistence{clock: c.clock, bad: &e.bad,
		once: func(ctx context.Context, wait time.Duration) (Lease, error) {
			l, err := e.once(ctx, wait)
			if err == nil {
				err = e.settle(ctx, l)
			}
			return l, err
		},
		conflict: func(err error) bool {
			var conflict taken
			return errors.As(err, &conflict)
		},
	}.acquire(ctx)
}

// exchange6 is what goes to and fro on one wire.
type exchange6 struct {
	*client6
	wire  wire6
	began time.Duration
	bad   error // the reason the last unusable answer was rejected
}

// once asks for offers, and for the best one.
func (e *exchange6) once(ctx context.Context, wait time.Duration) (Lease, error) {
	offer, err := e.solicit(ctx, wait)
	if err != nil {
		return Lease{}, err
	}
	q := question{kind: dhcpv6.MessageTypeRequest, x: newXID6(), server: offer.DUID, addr: offer.Address.Addr()}
	e.began = e.clock.Now()
	for try := range selectTries {
		at := e.clock.Now()
		if err := e.say(q); err != nil {
			return Lease{}, err
		}
		l, err := e.await(ctx, q.x, vary(firstWait<<try), e.verdict(q, at))
		if !errors.Is(err, errQuiet) {
			return l, err
		}
	}
	return Lease{}, errQuiet
}

// solicit returns the offer of the server with the highest preference. Only the
// first time the others are waited for (RFC 8415, section 18.2.1).
func (e *exchange6) solicit(ctx context.Context, wait time.Duration) (Lease, error) {
	const outright = 255 // of a server whose offer need not be compared
	q := question{kind: dhcpv6.MessageTypeSolicit, x: newXID6()}
	if err := e.say(q); err != nil {
		return Lease{}, err
	}
	var best Lease
	preference := -1
	l, err := e.await(ctx, q.x, vary(wait), func(m heard6) (Lease, bool, error) {
		if m.MessageType != dhcpv6.MessageTypeAdvertise {
			return Lease{}, false, nil
		}
		l, err := e.ask.lease6(m.Message, m.from, netip.Addr{}, 0)
		if err != nil {
			return Lease{}, false, fmt.Errorf("%s", err) // another may still have one: no refusal
		}
		if p := int(m.Options.Preference()); p > preference {
			best, preference = l, p
		}
		return l, preference == outright || wait > firstWait, nil
	})
	if errors.Is(err, errQuiet) && preference >= 0 {
		return best, nil
	}
	return l, err
}

// settleGlance is how often it is looked whether an address can be used.
const settleGlance = 20 * time.Millisecond

// settle gives the link the address of a new lease and waits until the kernel
// knows it to be nobody else's, or declines it (RFC 8415, section 18.2.8).
func (e *exchange6) settle(ctx context.Context, l Lease) error {
	now := e.clock.Now()
	err := e.link.SetAddr(l.Address, l.Left(now), l.preferredLeft(now))
	for err == nil {
		var dad DAD
		dad, err = e.link.DAD(l.Address)
		switch {
		case err == nil && dad == Settled:
			return nil
		case err == nil && dad == Taken:
			err = taken{l.Address.Addr()}
			e.tell(ctx, dhcpv6.MessageTypeDecline, l)
		case err == nil:
			if err = e.clock.Sleep(ctx, settleGlance); timeUp(err) {
				e.bad = fmt.Errorf("it could not be determined in time whether somebody already has %s", l.Address.Addr())
			}
		}
	}
	return errors.Join(err, e.link.DelAddr(l.Address))
}

// extend asks once for more time on a lease: its server, which is RENEW, or
// anybody, which is REBIND. It waits for an answer for wait at most.
func (c *client6) extend(ctx context.Context, l Lease, to netip.Addr, wait time.Duration) (Lease, error) {
	at := c.clock.Now()
	within, cancel := context.WithTimeoutCause(ctx, wait, errQuiet)
	defer cancel()
	w, err := c.open(within)
	if err != nil {
		return Lease{}, err
	}
	defer w.close()
	e := exchange6{client6: c, wire: w, began: at}
	q := question{kind: dhcpv6.MessageTypeRenew, x: newXID6(), server: l.DUID, addr: l.Address.Addr()}
	if to == everybody {
		q.kind, q.server = dhcpv6.MessageTypeRebind, nil
	}
	if err := e.say(q); err != nil {
		return Lease{}, err
	}
	return e.await(ctx, q.x, wait, e.verdict(q, at))
}

// release tells the server that the lease is not needed.
func (c *client6) release(l Lease) error {
	ctx, cancel := context.WithTimeout(context.Background(), tellTime)
	defer cancel()
	w, err := c.open(ctx)
	if err != nil {
		return err
	}
	defer w.close()
	e := exchange6{client6: c, wire: w, began: c.clock.Now()}
	e.tell(ctx, dhcpv6.MessageTypeRelease, l)
	return nil
}

const (
	tellTries = 2
	tellWait  = 500 * time.Millisecond // for a server to say that it has heard
	tellTime  = 2 * time.Second        // with the wait for a link-local address
)

// tell says something that the server of a lease has only to hear. One that does
// not answer finds out when the lease ends.
func (e *exchange6) tell(ctx context.Context, kind dhcpv6.MessageType, l Lease) {
	e.began = e.clock.Now()
	q := question{kind: kind, x: newXID6(), server: l.DUID, addr: l.Address.Addr()}
	for range tellTries {
		if e.say(q) != nil {
			return
		}
		_, err := e.await(ctx, q.x, tellWait, func(m heard6) (Lease, bool, error) {
			return Lease{}, m.MessageType == dhcpv6.MessageTypeReply, nil
		})
		if !errors.Is(err, errQuiet) {
			return
		}
	}
}

func (e *exchange6) say(q question) error {
	q.since = e.clock.Now() - e.began
	b, err := e.ask.bytes(q)
	if err != nil {
		return err
	}
	return e.wire.send(b)
}

// heard6 is a message and who sent it.
type heard6 struct {
	*dhcpv6.Message
	from netip.Addr
}

// await waits for an answer to x that judge takes.
func (e *exchange6) await(ctx context.Context, x xid6, wait time.Duration, judge func(heard6) (Lease, bool, error)) (Lease, error) {
	next := func(ctx context.Context, wait time.Duration) (heard6, bool, error) {
		b, from, err := e.wire.receive(ctx, wait)
		if err != nil {
			return heard6{}, false, err
		}
		m, err := e.ask.answer6(b, x)
		return heard6{m, from}, err == nil, nil
	}
	return awaiting[heard6]{e.clock, next, judge, &e.bad}.await(ctx, wait)
}

// verdict judges answers to a question that was sent at.
func (e *exchange6) verdict(q question, at time.Duration) func(heard6) (Lease, bool, error) {
	return func(m heard6) (Lease, bool, error) {
		id := m.Options.ServerID()
		if m.MessageType != dhcpv6.MessageTypeReply || id == nil || q.server != nil && !bytes.Equal(id.ToBytes(), q.server) {
			return Lease{}, false, nil
		}
		l, err := e.ask.lease6(m.Message, m.from, q.addr, at)
		return l, err == nil, err
	}
}
