package lease

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/gopipework/gopipework/internal/acd"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/insomniacslk/dhcp/dhcpv4"
)

var testAsk = NewAsk(Options{}, Identity{Runtime: "docker", ID: "0123", Name: "my_web"}, "eth1", 7)

// good answers as a server should.
func good(t testing.TB, change ...dhcpv4.Modifier) func(*dhcpv4.DHCPv4, netip.Addr) [][]byte {
	return func(m *dhcpv4.DHCPv4, _ netip.Addr) [][]byte {
		kind := dhcpv4.MessageTypeAck
		switch m.MessageType() {
		case dhcpv4.MessageTypeDiscover:
			kind = dhcpv4.MessageTypeOffer
		case dhcpv4.MessageTypeRelease:
			return nil
		}
		return [][]byte{to(t, m, kind, change...)}
	}
}

// to is an answer to m.
func to(t testing.TB, m *dhcpv4.DHCPv4, kind dhcpv4.MessageType, change ...dhcpv4.Modifier) []byte {
	a := ack(t, append([]dhcpv4.Modifier{dhcpv4.WithMessageType(kind), dhcpv4.WithTransactionID(m.TransactionID), dhcpv4.WithHwAddr(m.ClientHWAddr)}, change...)...)
	return a.ToBytes()
}

func TestAcquireSays(t *testing.T) {
	clock, ctx := newFakeClock(time.Minute)
	w := &fakeWire{clock: clock, serve: good(t)}
	a := testAsk
	a.Request = addr("10.0.0.77")
	l, err := w.client(a).acquire(ctx)
	if err != nil || l.Address != prefix("10.0.0.9/24") {
		t.Fatal(l, err)
	}
	if len(w.sent) != 2 {
		t.Fatalf("%d messages, want 2", len(w.sent))
	}
	d, r := w.sent[0], w.sent[1]
	if d.MessageType() != dhcpv4.MessageTypeDiscover || r.MessageType() != dhcpv4.MessageTypeRequest {
		t.Errorf("sent %v and %v", d.MessageType(), r.MessageType())
	}
	if !d.RequestedIPAddress().Equal(net.IP{10, 0, 0, 77}) || !r.RequestedIPAddress().Equal(net.IP{10, 0, 0, 9}) {
		t.Errorf("asked for %v, then %v", d.RequestedIPAddress(), r.RequestedIPAddress())
	}
	if d.ServerIdentifier() != nil || !r.ServerIdentifier().Equal(net.IP{10, 0, 0, 1}) {
		t.Errorf("named the server %v, then %v", d.ServerIdentifier(), r.ServerIdentifier())
	}
	for _, m := range w.sent {
		id := m.Options.Get(dhcpv4.OptionClientIdentifier)
		if m.HostName() != "my-web" || m.ClassIdentifier() != "gopipework" || len(id) != 23 || id[0] != 255 ||
			!m.IsOptionRequested(dhcpv4.OptionClasslessStaticRoute) || m.IsBroadcast() || !m.ClientIPAddr.IsUnspecified() {
			t.Errorf("%v", m.Summary())
		}
	}
}

func TestClientIDIsStable(t *testing.T) {
	id := func(o Options, runtime, guest, ifName string) []byte {
		return NewAsk(o, Identity{Runtime: runtime, ID: guest}, ifName, 1).ClientID
	}
	one := id(Options{}, "docker", "a", "eth1")
	if !bytes.Equal(one, id(Options{}, "docker", "a", "eth1")) {
		t.Error("the same guest has two")
	}
	for _, other := range [][]byte{id(Options{}, "docker", "b", "eth1"), id(Options{}, "lxc", "a", "eth1"), id(Options{}, "docker", "a", "eth2")} {
		if bytes.Equal(one, other) {
			t.Error("two have the same")
		}
	}
	if got := id(Options{ClientID: []byte{1, 2}}, "docker", "a", "eth1"); !bytes.Equal(got, []byte{1, 2}) {
		t.Errorf("given 1 2, sent % x", got)
	}
}

func TestAcquireLosesMessages(t *testing.T) {
	clock, ctx := newFakeClock(time.Minute)
	n := 0
	w := &fakeWire{clock: clock, serve: func(m *dhcpv4.DHCPv4, to netip.Addr) [][]byte {
		if n++; n == 1 || n == 3 || n == 4 { // a DISCOVER, and two REQUESTs
			return nil
		}
		return good(t)(m, to)
	}}
	if _, err := w.client(testAsk).acquire(ctx); err != nil {
		t.Fatal(err)
	}
	if n != 5 || clock.now-time.Hour > 6*time.Second {
		t.Errorf("%d messages in %v", n, clock.now-time.Hour)
	}
}

// Answers that are not ours, or no good, are left out; the good one after them
// is taken.
func TestAcquireIgnores(t *testing.T) {
	clock, ctx := newFakeClock(time.Minute)
	w := &fakeWire{clock: clock, serve: func(m *dhcpv4.DHCPv4, dst netip.Addr) [][]byte {
		kind := dhcpv4.MessageTypeOffer
		if m.MessageType() == dhcpv4.MessageTypeRequest {
			kind = dhcpv4.MessageTypeAck
		}
		bad := dhcpv4.WithYourIP(net.IP{10, 0, 0, 66})
		request := to(t, m, kind, bad)
		request[0] = byte(dhcpv4.OpcodeBootRequest)
		cut := to(t, m, kind, bad)
		return append([][]byte{
			nil, []byte("garbage"), bytes.Repeat([]byte{255}, 1400), request, cut[:240], cut[:250],
			to(t, m, kind, bad, dhcpv4.WithTransactionID(xid{1, 2, 3, 4})),
			to(t, m, kind, bad, dhcpv4.WithHwAddr(net.HardwareAddr{2, 2, 2, 2, 2, 2})),
			to(t, m, kind, bad, dhcpv4.WithLeaseTime(0)),
			to(t, m, dhcpv4.MessageTypeInform, bad),
			to(t, m, kind, dhcpv4.WithYourIP(net.IP{224, 0, 0, 1})),
		}, good(t)(m, dst)...)
	}}
	l, err := w.client(testAsk).acquire(ctx)
	if err != nil || l.Address != prefix("10.0.0.9/24") {
		t.Fatal(l, err)
	}
}

func TestAcquireFails(t *testing.T) {
	nak := func(m *dhcpv4.DHCPv4, _ netip.Addr) [][]byte {
		if m.MessageType() == dhcpv4.MessageTypeDiscover {
			return [][]byte{to(t, m, dhcpv4.MessageTypeOffer)}
		}
		return [][]byte{to(t, m, dhcpv4.MessageTypeNak, dhcpv4.WithOption(dhcpv4.OptMessage("go\x1b[2J away"+strings.Repeat("!", 200))))}
	}
	tests := []struct {
		name  string
		serve func(*dhcpv4.DHCPv4, netip.Addr) [][]byte
		code  fault.Code
		want  string
	}{
		{"silence", func(*dhcpv4.DHCPv4, netip.Addr) [][]byte { return nil }, fault.Timeout, "get a lease for eth1: no DHCP server answered"},
		{"garbage", func(*dhcpv4.DHCPv4, netip.Addr) [][]byte { return [][]byte{{1}, {2}} }, fault.Timeout, "no DHCP server answered"},
		{"cut short", func(m *dhcpv4.DHCPv4, _ netip.Addr) [][]byte {
			b := to(t, m, dhcpv4.MessageTypeOffer)
			return [][]byte{b[:len(b)-1], b[:245]}
		}, fault.Timeout, "no usable answer; the last one was rejected: it is cut short"},
		{"nonsense", good(t, dhcpv4.WithLeaseTime(0)), fault.Timeout, "no usable answer; the last one was rejected: it gives no lease time"},
		{"refusals", nak, fault.Failed, `the DHCP server 10.0.0.1 refuses: "go\x1b[2J away!!`},
		{"another address than offered", func(m *dhcpv4.DHCPv4, dst netip.Addr) [][]byte {
			if m.MessageType() == dhcpv4.MessageTypeDiscover {
				return good(t)(m, dst)
			}
			return [][]byte{to(t, m, dhcpv4.MessageTypeAck, dhcpv4.WithYourIP(net.IP{10, 0, 0, 8}))}
		}, fault.Timeout, "it offers 10.0.0.8, but 10.0.0.9 was requested"},
	}
	for _, tt := range tests {
		clock, ctx := newFakeClock(time.Minute)
		w := &fakeWire{clock: clock, serve: tt.serve}
		l, err := w.client(testAsk).acquire(ctx)
		err = testAsk.fail(err)
		if fault.CodeOf(err) != tt.code || !strings.Contains(err.Error(), tt.want) || len(err.Error()) > 300 {
			t.Errorf("%s: %v %v, want %s %q", tt.name, l, err, tt.code, tt.want)
		}
		if n := len(w.sent); n > 40 {
			t.Errorf("%s: it sent %d messages in a minute", tt.name, n)
		}
	}
}

// An address that somebody has is declined, and another asked for; after the
// third one it ends.
func TestAcquireDeclines(t *testing.T) {
	for _, taken := range []int{0, 1, 2, 9} {
		clock, ctx := newFakeClock(time.Minute)
		next := byte(9)
		w := &fakeWire{clock: clock, serve: func(m *dhcpv4.DHCPv4, dst netip.Addr) [][]byte {
			if m.MessageType() == dhcpv4.MessageTypeDecline {
				if !m.RequestedIPAddress().Equal(net.IP{10, 0, 0, next}) || !m.ServerIdentifier().Equal(net.IP{10, 0, 0, 1}) || !m.ClientIPAddr.Equal(net.IPv4zero) {
					t.Errorf("RFC 2131, table 5, has another DECLINE: %s", m.Summary())
				}
				next++
				return nil
			}
			return good(t, dhcpv4.WithYourIP(net.IP{10, 0, 0, next}))(m, dst)
		}}
		a := testAsk
		a.ACD = true
		c := w.client(a)
		asked := 0
		c.probe = func(_ context.Context, addr netip.Addr) error {
			if asked++; asked > taken {
				return nil
			}
			return &acd.Conflict{Addr: addr, Holder: net.HardwareAddr{2, 0, 0, 0, 0, 5}}
		}
		l, err := c.acquire(ctx)
		if taken < mostConflicts {
			if err != nil || l.Address.Addr().As4()[3] != byte(9+taken) {
				t.Errorf("%d taken: %v, %v", taken, l.Address, err)
			}
			continue
		}
		if err = a.fail(err); fault.CodeOf(err) != fault.Conflict || !strings.Contains(err.Error(), "02:00:00:00:00:05 has 10.0.0.11 already") || asked != mostConflicts {
			t.Errorf("all taken: %v after %d", err, asked)
		}
	}
}

func TestExtend(t *testing.T) {
	l, err := readLease(ack(t), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name  string
		to    netip.Addr
		serve func(*dhcpv4.DHCPv4) []byte
		want  string // of the error
	}{
		{"granted", l.Server, func(m *dhcpv4.DHCPv4) []byte { return to(t, m, dhcpv4.MessageTypeAck) }, ""},
		{"refused", l.Server, func(m *dhcpv4.DHCPv4) []byte { return to(t, m, dhcpv4.MessageTypeNak) }, "refuses"},
		{"another server's word", l.Server, func(m *dhcpv4.DHCPv4) []byte {
			return to(t, m, dhcpv4.MessageTypeNak, raw(54, 10, 0, 0, 2))
		}, "no answer"},
		{"another server, rebinding", everybody, func(m *dhcpv4.DHCPv4) []byte {
			return to(t, m, dhcpv4.MessageTypeAck, raw(54, 10, 0, 0, 2))
		}, ""},
		{"another address", l.Server, func(m *dhcpv4.DHCPv4) []byte {
			return to(t, m, dhcpv4.MessageTypeAck, dhcpv4.WithYourIP(net.IP{10, 0, 0, 8}))
		}, "no answer"},
		{"an offer", l.Server, func(m *dhcpv4.DHCPv4) []byte { return to(t, m, dhcpv4.MessageTypeOffer) }, "no answer"},
	}
	for _, tt := range tests {
		clock, ctx := newFakeClock(time.Minute)
		var asked netip.Addr
		w := &fakeWire{clock: clock, serve: func(m *dhcpv4.DHCPv4, to netip.Addr) [][]byte {
			asked = to
			if !m.ClientIPAddr.Equal(net.IP{10, 0, 0, 9}) || m.Options.Has(dhcpv4.OptionRequestedIPAddress) || m.Options.Has(dhcpv4.OptionServerIdentifier) {
				t.Errorf("%s: RFC 2131, table 5, has another request: %s", tt.name, m.Summary())
			}
			return [][]byte{tt.serve(m)}
		}}
		got, err := w.client(testAsk).extend(ctx, l, tt.to, 5*time.Second)
		if asked != tt.to || (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: asked %v, got %v, %v", tt.name, asked, got, err)
		}
		if d := clock.now - time.Hour; d > 5*time.Second {
			t.Errorf("%s: took %v", tt.name, d)
		}
	}
}

func TestAcquireIsInterrupted(t *testing.T) {
	clock, _ := newFakeClock(time.Minute)
	ctx, cancel := context.WithCancel(context.Background())
	w := &fakeWire{clock: clock, serve: func(*dhcpv4.DHCPv4, netip.Addr) [][]byte { cancel(); return nil }}
	_, err := w.client(testAsk).acquire(ctx)
	if !errors.Is(err, context.Canceled) || fault.CodeOf(testAsk.fail(err)) != fault.Interrupted {
		t.Error(err)
	}
}

func TestNoDefaultRoute(t *testing.T) {
	clock, ctx := newFakeClock(time.Minute)
	a := testAsk
	a.NoDefaultRoute = true
	w := &fakeWire{clock: clock, serve: good(t, raw(121, 0, 10, 0, 0, 1, 8, 172, 10, 0, 0, 2))}
	l, err := w.client(a).acquire(ctx)
	if err != nil || len(l.Routes) != 1 || l.Routes[0].Dst != prefix("172.0.0.0/8") {
		t.Error(l, err)
	}
}
