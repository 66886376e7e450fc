package lease

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"time"

	"github.com/gopipework/gopipework/internal/acd"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/insomniacslk/dhcp/dhcpv4"
	"golang.org/x/sys/unix"
)

// client speaks DHCP for one interface.
type client struct {
	ask   Ask
	clock Clock
	open  func() (wire, error)
	probe func(context.Context, netip.Addr) error // asks whether somebody has an address: *acd.Conflict
}

// Acquire gets a lease for an interface that is up, in the namespace ns, which
// stays the caller's. Nothing is changed on the interface; [Lease.Apply] does
// that. It takes timeout at most (0: [DefaultTimeout]).
//
// With [Ask.ACD] an address that somebody else has is declined, and another
// asked for, a few times.
//
// Its errors are of the codes conflict (that somebody had every one), timeout (no usable answer), failed (refused, or
// the kernel would not), permission, unsupported (an interface that is not Ethernet).
func Acquire(ctx context.Context, ns *os.File, a Ask, timeout time.Duration) (Lease, error) {
	if timeout == 0 {
		timeout = DefaultTimeout
	}
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, errTimeUp)
	defer cancel()
	in, err := enter(ns)
	if err != nil {
		return Lease{}, a.fail(err)
	}
	defer in.End()
	l, err := newClient(in, a, bootClock{}).acquire(ctx)
	if err != nil {
		return Lease{}, a.fail(err)
	}
	return l, nil
}

// Release releases a lease that nobody keeps yet: what undoes [Acquire]. The
// server is told from the address as long as the interface has it, else by a
// broadcast; where it cannot be told it finds out when the lease ends.
func Release(ns *os.File, a Ask, l Lease) error {
	in, err := enter(ns)
	if err == nil {
		defer in.End()
		err = newAsker(in, a, nil, bootClock{}).release(l)
	}
	if err != nil {
		return fault.New(fault.Failed, "release lease of", a.IfName, "%w", err)
	}
	return nil
}

func newClient(in namespace, a Ask, clock Clock) *client {
	return &client{
		ask: a, clock: clock,
		open:  func() (wire, error) { return openWire(in, a.Index) },
		probe: func(ctx context.Context, addr netip.Addr) error { return probe(ctx, in, a.Index, addr) },
	}
}

// probe asks the network whether somebody has an address.
func probe(ctx context.Context, in namespace, index int, addr netip.Addr) error {
	var s *acd.Socket
	err := in.Run(func() (err error) { s, err = acd.Open(index); return err })
	if err != nil {
		return err
	}
	defer s.Close()
	return s.Probe(ctx, acd.Quick, []netip.Addr{addr})
}

var errTimeUp = errors.New("no DHCP server answered")

// unusableAnswers is the end of a wait in which servers did answer.
type unusableAnswers struct{ last error }

func (e unusableAnswers) Error() string {
	return "no usable answer; the last one was rejected: " + e.last.Error()
}

// refusal is a server's no.
type refusal struct {
	server netip.Addr
	text   string // what it says about it, quoted, or nothing
}

func (e refusal) Error() string { return fmt.Sprintf("the DHCP server %s refuses%s", e.server, e.text) }

// fail explains the error of an acquire to a user.
func (a Ask) fail(err error) error {
	const op = "get a lease for"
	var unusable unusableAnswers
	var lack lacking
	var no refusal
	var conflict *acd.Conflict
	code, hint := fault.Failed, ""
	switch {
	case errors.As(err, &conflict):
		code = fault.Conflict
		hint = "find out who has it; the DHCP server was told, and should not offer that address again for a while"
	case timeUp(err):
		code, err = fault.Timeout, errTimeUp
		hint = "is there a DHCP server on this network? dhcp:timeout=1m with --timeout 2m waits longer"
	case errors.As(err, &unusable) && errors.As(unusable.last, &lack):
		code = fault.Timeout
		hint = "dhcp:" + string(lack) + " supplies what the server does not send"
	case errors.As(err, &unusable):
		code = fault.Timeout
		hint = "see what the servers say: tcpdump -vni any udp port 67, while the same line runs again"
	case errors.As(err, &no):
		hint = "the server's log says why; it recognizes the guest by dhcp:client-id= and hostname="
	case errors.Is(err, context.Canceled):
		code = fault.Interrupted
	case errors.Is(err, errors.ErrUnsupported):
		code = fault.Unsupported
	case errors.Is(err, os.ErrPermission):
		code, hint = denied(err, "CAP_NET_RAW")
	case errors.Is(err, unix.ENETDOWN):
		hint = "it has to be up: ip link set " + a.IfName + " up"
	}
	return fault.New(code, op, a.IfName, "%w", err).WithHint("%s", hint)
}

// denied explains EPERM and EACCES. Sending needs no capability, so when sendto
// fails with one of them a firewall has dropped the packet.
func denied(err error, capability string) (code fault.Code, hint string) {
	var call *os.SyscallError
	if errors.As(err, &call) && call.Syscall == "sendto" {
		return fault.Failed, "the guest's own firewall drops what it sends: nft list ruleset there"
	}
	return fault.Permission, "run it as root, with " + capability
}

const (
	firstWait   = time.Second // RFC 2131 says 4 s; a switch port may have begun to forward just now
	longestWait = 16 * time.Second
	selectTries = 3 // requests for one offer
	mostNAKs    = 3 // refusals of what was just offered

	mostConflicts = 3 // addresses that turn out to be somebody else's
)

// acquire is INIT, SELECTING and REQUESTING of RFC 2131: it asks until a server
// gives a lease, servers refuse what they offer again and again, or ctx ends.
func (c *client) acquire(ctx context.Context) (Lease, error) {
	w, err := c.open()
	if err != nil {
		return Lease{}, err
	}
	defer w.close()
	e := exchange{client: c, wire: w, began: c.clock.Now()}
	return insistence{clock: c.clock, bad: &e.bad,
		once: func(ctx context.Context, wait time.Duration) (Lease, error) {
			l, err := e.once(ctx, wait)
			if err == nil {
				err = e.verify(ctx, l)
			}
			return l, err
		},
		conflict: func(err error) bool {
			var conflict *acd.Conflict
			return errors.As(err, &conflict)
		},
	}.acquire(ctx)
}

func timeUp(err error) bool {
	return errors.Is(err, errTimeUp) || errors.Is(err, context.DeadlineExceeded)
}

// vary spreads d by a quarter to either side, so that guests that were started
// together do not ask together for ever.
func vary(d time.Duration) time.Duration { return d*3/4 + rand.N(d/2+1) }

// exchange is what goes to and fro on one wire.
type exchange struct {
	*client
	wire  wire
	began time.Duration
	bad   error // the reason the last unusable answer was rejected
}

// once asks for offers, and for the first good one.
func (e *exchange) once(ctx context.Context, wait time.Duration) (Lease, error) {
	x := newXID()
	m := e.ask.discover(e.wire.mac(), x)
	if err := e.shout(m); err != nil {
		return Lease{}, err
	}
	offer, err := e.await(ctx, x, vary(wait), func(m *dhcpv4.DHCPv4) (Lease, bool, error) {
		if m.MessageType() != dhcpv4.MessageTypeOffer {
			return Lease{}, false, nil
		}
		l, err := e.ask.lease(m, 0)
		return l, err == nil, err
	})
	if err != nil {
		return Lease{}, err
	}
	for try := range selectTries {
		at := e.clock.Now()
		if err := e.shout(e.ask.selecting(e.wire.mac(), x, offer)); err != nil {
			return Lease{}, err
		}
		l, err := e.await(ctx, x, vary(firstWait<<try), e.verdict(at, offer.Server, offer.Address.Addr()))
		if !errors.Is(err, errQuiet) {
			return l, err
		}
	}
	return Lease{}, errQuiet
}

// verify asks whether somebody has the address of a lease already, if it is to,
// and declines it then.
func (e *exchange) verify(ctx context.Context, l Lease) error {
	if !e.ask.ACD {
		return nil
	}
	err := e.probe(ctx, l.Address.Addr())
	var conflict *acd.Conflict
	if !errors.As(err, &conflict) {
		return err
	}
	if err := e.shout(e.ask.decline(e.wire.mac(), newXID(), l)); err != nil {
		return err
	}
	return conflict
}

// extend asks once for more time on a lease: its server, which is RENEWING, or
// anybody, which is REBINDING. It waits for an answer for wait at most.
func (c *client) extend(ctx context.Context, l Lease, to netip.Addr, wait time.Duration) (Lease, error) {
	w, err := c.open()
	if err != nil {
		return Lease{}, err
	}
	defer w.close()
	again := *c
	if again.ask.Bits == 0 {
		again.ask.Bits = l.Address.Bits() // a server need not say twice what the subnet is
	}
	e := exchange{client: &again, wire: w, began: c.clock.Now()}
	x, at := newXID(), c.clock.Now()
	if err := w.send(c.ask.extend(w.mac(), x, l).ToBytes(), l.Address.Addr(), to); err != nil {
		return Lease{}, err
	}
	server := l.Server
	if to == everybody {
		server = netip.Addr{}
	}
	return e.await(ctx, x, wait, e.verdict(at, server, l.Address.Addr()))
}

// release tells the server that the lease is not needed. Nobody answers, so there is
// nothing to wait for but that it gets out.
func (c *client) release(l Lease) error {
	w, err := c.open()
	if err != nil {
		return err
	}
	defer w.close()
	defer w.flush()
	m := c.ask.release(w.mac(), newXID(), l).ToBytes()
	if w.send(m, l.Address.Addr(), l.Server) == nil {
		return nil
	}
	return w.shout(m) // the address is not there: the message says which it is
}

// shout sends a message from no address.
func (e *exchange) shout(m *dhcpv4.DHCPv4) error {
	m.NumSeconds = uint16(min((e.clock.Now()-e.began)/time.Second, 0xffff))
	return e.wire.shout(m.ToBytes())
}

// await waits for an answer to x that judge takes.
func (e *exchange) await(ctx context.Context, x xid, wait time.Duration, judge func(*dhcpv4.DHCPv4) (Lease, bool, error)) (Lease, error) {
	next := func(ctx context.Context, wait time.Duration) (*dhcpv4.DHCPv4, bool, error) {
		b, err := e.wire.receive(ctx, wait)
		if err != nil {
			return nil, false, err
		}
		m, err := answer(b, e.wire.mac(), x)
		if errors.Is(err, errCutShort) {
			e.bad = err
		}
		return m, err == nil, nil
	}
	return awaiting[*dhcpv4.DHCPv4]{e.clock, next, judge, &e.bad}.await(ctx, wait)
}

// verdict judges answers to a request for the address want, sent at: from the
// server, or from any if that is the zero Addr.
func (e *exchange) verdict(at time.Duration, server, want netip.Addr) func(*dhcpv4.DHCPv4) (Lease, bool, error) {
	return func(m *dhcpv4.DHCPv4) (Lease, bool, error) {
		from, _ := readServer(m)
		if server.IsValid() && from.IsValid() && from != server {
			return Lease{}, false, nil
		}
		switch m.MessageType() {
		case dhcpv4.MessageTypeNak:
			return Lease{}, false, refusal{from, reason(m)}
		case dhcpv4.MessageTypeAck:
			l, err := e.ask.lease(m, at)
			if err == nil && l.Address.Addr() != want {
				err = fmt.Errorf("it offers %s, but %s was requested", l.Address.Addr(), want)
			}
			return l, err == nil, err
		}
		return Lease{}, false, nil
	}
}
