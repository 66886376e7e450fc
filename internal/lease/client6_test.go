package lease

import (
	"context"
	"errors"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/hostaddr"
	"github.com/insomniacslk/dhcp/dhcpv6"
	"github.com/insomniacslk/dhcp/iana"
)

var testAsk6 = NewAsk6(Identity{Runtime: "docker", ID: "0123", Name: "web"}, "eth1", 7)

// fakeWire6 is a network with servers on it: each message is answered by what
// serve makes of it.
type fakeWire6 struct {
	clock *fakeClock
	serve func(*dhcpv6.Message) [][]byte
	sent  []string // the kinds of messages, with the time since the start
	queue [][]byte
}

func (w *fakeWire6) close() { w.queue = nil }

func (w *fakeWire6) send(b []byte) error {
	m, err := dhcpv6.MessageFromBytes(b)
	if err != nil {
		return err
	}
	w.sent = append(w.sent, m.MessageType.String())
	w.queue = append(w.queue, w.serve(m)...)
	return nil
}

func (w *fakeWire6) receive(ctx context.Context, wait time.Duration) ([]byte, netip.Addr, error) {
	if ctx.Err() != nil {
		return nil, netip.Addr{}, context.Cause(ctx)
	}
	if len(w.queue) == 0 {
		if err := w.clock.Sleep(ctx, wait); err != nil {
			return nil, netip.Addr{}, err
		}
		return nil, netip.Addr{}, errQuiet
	}
	b := w.queue[0]
	w.queue = w.queue[1:]
	w.clock.now += time.Millisecond
	return b, addr("fe80::1"), nil
}

// server6 is what a server says.
type server6 struct {
	id               byte // of its DUID
	preference       uint8
	addr             string
	valid, preferred time.Duration
	t1, t2           time.Duration
	status           iana.StatusCode // of the IA
	whole            iana.StatusCode // of the message
}

var good6 = server6{id: 1, preference: 255, addr: "2001:db8::9", valid: 2 * time.Minute, preferred: time.Minute, t1: 30 * time.Second, t2: 48 * time.Second}

func (s server6) to(t testing.TB, m *dhcpv6.Message) []byte {
	t.Helper()
	kind := dhcpv6.MessageTypeReply
	if m.MessageType == dhcpv6.MessageTypeSolicit {
		kind = dhcpv6.MessageTypeAdvertise
	}
	a := &dhcpv6.Message{MessageType: kind, TransactionID: m.TransactionID}
	a.AddOption(dhcpv6.OptClientID(m.Options.ClientID()))
	a.AddOption(dhcpv6.OptServerID(s.duid()))
	a.AddOption(dhcpv6.OptPreference(s.preference))
	a.AddOption(&dhcpv6.OptStatusCode{StatusCode: s.whole})
	ia := &dhcpv6.OptIANA{IaId: m.Options.OneIANA().IaId, T1: s.t1, T2: s.t2}
	ia.Options.Add(&dhcpv6.OptStatusCode{StatusCode: s.status, StatusMessage: "so \x1b it is"})
	if s.addr != "" {
		ia.Options.Add(&dhcpv6.OptIAAddress{IPv6Addr: addr(s.addr).AsSlice(), ValidLifetime: s.valid, PreferredLifetime: s.preferred})
	}
	a.AddOption(ia)
	return a.ToBytes()
}

func (s server6) duid() dhcpv6.DUID { return &dhcpv6.DUIDOpaque{Type: 9, Data: []byte{s.id}} }

// hears says whether m is for the server.
func (s server6) hears(m *dhcpv6.Message) bool {
	id := m.Options.ServerID()
	return id == nil || reflect.DeepEqual(id.ToBytes(), s.duid().ToBytes())
}

// network6 is a client on a network with the servers, for d.
func network6(t testing.TB, d time.Duration, servers ...server6) (*client6, *fakeWire6, *fakeLink, context.Context) {
	clock, ctx := newFakeClock(d)
	w := &fakeWire6{clock: clock}
	w.serve = func(m *dhcpv6.Message) (out [][]byte) {
		for _, s := range servers {
			if s.hears(m) {
				out = append(out, s.to(t, m))
			}
		}
		return out
	}
	link := &fakeLink{clock: clock}
	return &client6{ask: testAsk6, clock: clock, link: link, open: func(context.Context) (wire6, error) { return w, nil }}, w, link, ctx
}

// play6 keeps a lease on such a network.
func play6(c *client6, link *fakeLink, ctx context.Context) (k *maintainer, notes []string) {
	k = &maintainer{asker: c, link: link, clock: c.clock, note: func(_ *Lease, err error) {
		if err != nil {
			notes = append(notes, err.Error())
		}
	}}
	k.run(ctx)
	return k, notes
}

func TestAcquire6(t *testing.T) {
	c, w, link, ctx := network6(t, time.Minute, good6)
	link.dad = []DAD{Tentative, Tentative}
	began := c.clock.Now()
	l, err := c.acquire(ctx)
	if err != nil {
		t.Fatal(err)
	}
	want := Lease{Address: prefix("2001:db8::9/128"), Server: addr("fe80::1"), At: began + time.Millisecond, T1: 30 * time.Second, T2: 48 * time.Second,
		Time: 2 * time.Minute, Preferred: time.Minute, DUID: []byte{0, 9, 1}}
	if !reflect.DeepEqual(l, want) {
		t.Errorf("got %+v\nwant %+v", l, want)
	}
	if !reflect.DeepEqual(w.sent, []string{"SOLICIT", "REQUEST"}) || count(link.log, "set 2001:db8::9/128 for 2m0s") != 1 || len(link.log) != 1 {
		t.Errorf("sent %q, and %q", w.sent, link.log)
	}
	if got := l.preferredLeft(began + 31*time.Second); got != 30*time.Second {
		t.Errorf("after 31 s it is preferred for %v", got)
	}
}

// The one with the highest preference is asked, whoever was first.
func TestAcquire6Preference(t *testing.T) {
	first, second := good6, good6
	first.preference, second.id, second.addr, second.preference = 0, 2, "2001:db8::22", 7
	c, _, _, ctx := network6(t, time.Minute, first, second)
	if l, err := c.acquire(ctx); err != nil || l.Address != prefix("2001:db8::22/128") {
		t.Error(l, err)
	}
}

func TestAcquire6Fails(t *testing.T) {
	change := func(f func(*server6)) []server6 { s := good6; f(&s); return []server6{s} }
	tests := []struct {
		name    string
		servers []server6
		code    fault.Code
		says    string
	}{
		{"nobody", nil, fault.Timeout, "no DHCP server answered"},
		{"no address", change(func(s *server6) { s.addr = "" }), fault.Timeout, "it gives no address"},
		{"none left", change(func(s *server6) { s.addr, s.status = "", iana.StatusNoAddrsAvail }), fault.Timeout, `NoAddrsAvail ("so \x1b it is")`},
		{"trouble", change(func(s *server6) { s.whole = iana.StatusUnspecFail }), fault.Timeout, "could not answer"},
		{"multicast", change(func(s *server6) { s.addr = "ff02::1" }), fault.Timeout, "a multicast address"},
		{"link-local", change(func(s *server6) { s.addr = "fe80::5" }), fault.Timeout, "a link-local address"},
		{"IPv4", change(func(s *server6) { s.addr = "::ffff:10.0.0.1" }), fault.Timeout, "not an IPv6 address"},
		{"for 0s", change(func(s *server6) { s.valid, s.preferred = 0, 0 }), fault.Timeout, "for 0s"},
		{"preferred too long", change(func(s *server6) { s.preferred = time.Hour }), fault.Timeout, "valid for 2m0s only"},
		{"T1 after T2", change(func(s *server6) { s.t1 = 50 * time.Second }), fault.Timeout, "after its T2"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, w, link, ctx := network6(t, 25*time.Second, tt.servers...)
			_, err := c.acquire(ctx)
			var f *fault.Error
			if err = c.ask.fail6(err); !errors.As(err, &f) || f.Code != tt.code || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("got %v, should be %v: %s", err, tt.code, tt.says)
			}
			if len(w.sent) < 3 || len(w.sent) > 8 || len(link.log) > 0 {
				t.Errorf("sent %q, and %q", w.sent, link.log)
			}
		})
	}
}

// A server that has nothing does not keep us from one that has.
func TestAcquire6OneOfTwo(t *testing.T) {
	empty := good6
	empty.id, empty.addr, empty.status = 2, "", iana.StatusNoAddrsAvail
	c, _, _, ctx := network6(t, time.Minute, empty, good6)
	if l, err := c.acquire(ctx); err != nil || l.Address != prefix("2001:db8::9/128") {
		t.Error(l, err)
	}
}

func TestAcquire6Refused(t *testing.T) {
	c, w, _, ctx := network6(t, time.Minute)
	w.serve = func(m *dhcpv6.Message) [][]byte {
		s := good6
		if m.MessageType == dhcpv6.MessageTypeRequest {
			s.status = iana.StatusNotOnLink
		}
		return [][]byte{s.to(t, m)}
	}
	_, err := c.acquire(ctx)
	var no refusal
	if !errors.As(err, &no) || len(w.sent) != 2*mostNAKs {
		t.Errorf("%v after %q", err, w.sent)
	}
}

// Somebody has the address: it is declined, taken off, and the next one is taken.
func TestAcquire6Duplicate(t *testing.T) {
	c, w, link, ctx := network6(t, time.Minute, good6)
	link.dad = []DAD{Tentative, Taken}
	if _, err := c.acquire(ctx); err != nil {
		t.Fatal(err)
	}
	want := []string{"SOLICIT", "REQUEST", "DECLINE", "SOLICIT", "REQUEST"}
	if !reflect.DeepEqual(w.sent, want) || len(link.log) != 3 || count(link.log[1:2], "del 2001:db8::9/128") != 1 {
		t.Errorf("sent %q, and %q", w.sent, link.log)
	}
	link.dad = []DAD{Taken, Taken, Taken}
	_, err := c.acquire(ctx)
	var f *fault.Error
	if err = c.ask.fail6(err); !errors.As(err, &f) || f.Code != fault.Conflict {
		t.Error(err)
	}
}

// Answers to others, and noise, are not listened to.
func TestAcquire6Ignores(t *testing.T) {
	c, w, _, ctx := network6(t, time.Minute)
	w.serve = func(m *dhcpv6.Message) [][]byte {
		good := good6.to(t, m)
		bad := good6
		bad.addr = "2001:db8::bad"
		other, theirs := *m, *m
		other.TransactionID[0]++
		theirs.Options = dhcpv6.MessageOptions{Options: append(dhcpv6.Options{}, m.Options.Options...)}
		theirs.UpdateOption(dhcpv6.OptClientID(&dhcpv6.DUIDUUID{}))
		return [][]byte{nil, []byte("noise"), good[:len(good)-1], bad.to(t, &other), bad.to(t, &theirs), good}
	}
	if l, err := c.acquire(ctx); err != nil || l.Address != prefix("2001:db8::9/128") {
		t.Error(l, err)
	}
}

func TestKeep6Renews(t *testing.T) {
	c, w, link, ctx := network6(t, 5*time.Minute, good6)
	k, notes := play6(c, link, ctx)
	if count(w.sent, "RENEW") != 9 || len(w.sent) != 11 || count(link.log, "del") != 0 || k.lease == nil || notes != nil {
		t.Errorf("sent %q, notes %q\n%s", w.sent, notes, strings.Join(link.log, "\n"))
	}
	if err := k.release(); err != nil || w.sent[len(w.sent)-1] != "RELEASE" || count(link.log, "del 2001:db8::9/128") != 1 {
		t.Errorf("%v: sent %q", err, w.sent[11:])
	}
}

// The server goes: it is asked from T1 on, anybody from T2 on, and the address is
// gone when its time is over; then it begins again.
func TestKeep6ServerGone(t *testing.T) {
	c, w, link, ctx := network6(t, 3*time.Minute)
	var at = map[string]time.Duration{}
	w.serve = func(m *dhcpv6.Message) [][]byte {
		since := w.clock.now - time.Hour
		if kind := m.MessageType.String(); at[kind] == 0 {
			at[kind] = since
		}
		if since > time.Second {
			return nil
		}
		return [][]byte{good6.to(t, m)}
	}
	k, notes := play6(c, link, ctx)
	if at["RENEW"].Round(time.Second) != 30*time.Second || at["REBIND"].Round(time.Second) != 48*time.Second {
		t.Errorf("at %v", at)
	}
	if last := link.log[len(link.log)-1]; k.lease != nil || !strings.HasPrefix(last, "2m0") || !strings.HasSuffix(last, "del 2001:db8::9/128") {
		t.Errorf("in the end: %s", last)
	}
	if w.sent[len(w.sent)-1] != "SOLICIT" || len(notes) == 0 || !strings.Contains(notes[0], "it ended") {
		t.Errorf("sent %q, notes %q", w.sent, notes)
	}
}

// A server withdraws the address, or does not know it any more: it is gone at
// once, and another asked for.
func TestKeep6Withdrawn(t *testing.T) {
	back, lost := good6, good6
	back.valid, back.preferred = 0, 0
	lost.addr, lost.status = "", iana.StatusNoBinding
	for _, then := range []server6{back, lost} {
		c, w, link, ctx := network6(t, 40*time.Second)
		w.serve = func(m *dhcpv6.Message) [][]byte {
			if m.MessageType == dhcpv6.MessageTypeRenew {
				return [][]byte{then.to(t, m)}
			}
			return [][]byte{good6.to(t, m)}
		}
		k, notes := play6(c, link, ctx)
		want := []string{"SOLICIT", "REQUEST", "RENEW", "SOLICIT", "REQUEST"}
		if !reflect.DeepEqual(w.sent, want) || count(link.log, "del") != 1 || k.lease == nil || len(notes) != 1 || !strings.Contains(notes[0], "refuses") {
			t.Errorf("sent %q, notes %q\n%s", w.sent, notes, strings.Join(link.log, "\n"))
		}
	}
}

func TestRelease6Unheard(t *testing.T) {
	c, w, _, _ := network6(t, time.Minute)
	if err := c.release(Lease{Address: prefix("2001:db8::9/128"), DUID: []byte{0, 9, 1}}); err != nil || count(w.sent, "RELEASE") != tellTries {
		t.Errorf("%v: sent %q", err, w.sent)
	}
}

// Whatever comes, nothing that a host cannot have gets through.
func FuzzLease6(f *testing.F) {
	b, err := testAsk6.bytes(question{kind: dhcpv6.MessageTypeSolicit, x: xid6{1, 2, 3}})
	if err != nil {
		f.Fatal(err)
	}
	m, err := dhcpv6.MessageFromBytes(b)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good6.to(f, m))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := testAsk6.answer6(b, xid6{1, 2, 3})
		if err != nil {
			return
		}
		l, err := testAsk6.lease6(m, addr("fe80::1"), netip.Addr{}, 0)
		if err != nil {
			return
		}
		if hostaddr.Unleasable6(l.Address.Addr()) != "" || l.Time <= 0 || l.Preferred > l.Time || l.T1 > l.T2 || l.T2 > l.Time || len(l.DUID) < 3 {
			t.Errorf("%+v", l)
		}
		if _, err := testAsk6.bytes(question{kind: dhcpv6.MessageTypeRenew, server: l.DUID, addr: l.Address.Addr()}); err != nil {
			t.Error(err)
		}
	})
}
