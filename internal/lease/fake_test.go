package lease

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

// fakeClock is time that passes when somebody sleeps. At end it cancels.
type fakeClock struct {
	now, end time.Duration
	cancel   context.CancelCauseFunc
}

// newFakeClock returns a clock that begins at an hour and ends after d, and the
// context that ends with it.
func newFakeClock(d time.Duration) (*fakeClock, context.Context) {
	ctx, cancel := context.WithCancelCause(context.Background())
	return &fakeClock{now: time.Hour, end: time.Hour + d, cancel: cancel}, ctx
}

func (c *fakeClock) Now() time.Duration { return c.now }

func (c *fakeClock) Sleep(ctx context.Context, d time.Duration) error {
	if ctx.Err() == nil && d > 0 {
		c.now += d
	}
	if c.now >= c.end {
		c.now = c.end
		c.cancel(errTimeUp)
	}
	return context.Cause(ctx)
}

// fakeWire is a network with servers on it: each message is answered by what
// serve makes of it.
type fakeWire struct {
	clock *fakeClock
	serve func(m *dhcpv4.DHCPv4, to netip.Addr) [][]byte
	sent  []*dhcpv4.DHCPv4
	queue [][]byte
}

var testMAC = net.HardwareAddr{2, 0, 0, 0, 0, 9}

func (w *fakeWire) mac() net.HardwareAddr { return testMAC }
func (w *fakeWire) flush()                {}
func (w *fakeWire) close()                { w.queue = nil }
func (w *fakeWire) shout(b []byte) error  { return w.send(b, netip.Addr{}, everybody) }

func (w *fakeWire) send(b []byte, _, to netip.Addr) error {
	m, err := dhcpv4.FromBytes(b)
	if err != nil {
		return err
	}
	w.sent = append(w.sent, m)
	w.queue = append(w.queue, w.serve(m, to)...)
	return nil
}

func (w *fakeWire) receive(ctx context.Context, wait time.Duration) ([]byte, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if len(w.queue) == 0 {
		if err := w.clock.Sleep(ctx, wait); err != nil {
			return nil, err
		}
		return nil, errQuiet
	}
	b := w.queue[0]
	w.queue = w.queue[1:]
	w.clock.now += time.Millisecond
	return b, nil
}

func (w *fakeWire) client(a Ask) *client {
	return &client{ask: a, clock: w.clock, open: func() (wire, error) { return w, nil }}
}

// fakeLink writes down what it is told.
type fakeLink struct {
	clock *fakeClock
	log   []string
	fail  string // the call that begins so fails
	dad   []DAD  // what becomes of addresses, in turn; then they settle
}

func (l *fakeLink) say(format string, args ...any) error {
	s := fmt.Sprintf(format, args...)
	l.log = append(l.log, fmt.Sprintf("%v ", l.clock.now-time.Hour)+s)
	if l.fail != "" && len(s) >= len(l.fail) && s[:len(l.fail)] == l.fail {
		return net.ErrClosed
	}
	return nil
}

func (l *fakeLink) DAD(netip.Prefix) (DAD, error) {
	if len(l.dad) == 0 {
		return Settled, nil
	}
	d := l.dad[0]
	l.dad = l.dad[1:]
	return d, nil
}
func (l *fakeLink) SetAddr(p netip.Prefix, valid, _ time.Duration) error {
	return l.say("set %v for %v", p, valid)
}
func (l *fakeLink) DelAddr(p netip.Prefix) error { return l.say("del %v", p) }
func (l *fakeLink) AddRoute(r Route) error       { return l.say("add route %v via %v", r.Dst, r.Gateway) }
func (l *fakeLink) DelRoute(r Route) error       { return l.say("del route %v via %v", r.Dst, r.Gateway) }
func (l *fakeLink) AddAsked() error              { return nil }
func (l *fakeLink) SetReplies(Lease) error       { return nil }
func (l *fakeLink) SetAccess(Lease) error        { return nil }
func (l *fakeLink) LowerMTU(n int) error         { return l.say("mtu %d", n) }
