package lease

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

// play keeps a lease for d on a network with the server, and returns what was
// sent and what became of the interface.
func play(t *testing.T, d time.Duration, first *Lease, serve func(*fakeClock, *dhcpv4.DHCPv4, netip.Addr) [][]byte) (*maintainer, *fakeWire, *fakeLink, []string) {
	t.Helper()
	clock, ctx := newFakeClock(d)
	w := &fakeWire{clock: clock}
	w.serve = func(m *dhcpv4.DHCPv4, to netip.Addr) [][]byte { return serve(clock, m, to) }
	link := &fakeLink{clock: clock}
	var notes []string
	k := &maintainer{asker: w.client(testAsk), link: link, clock: clock, lease: first, note: func(_ *Lease, err error) {
		if err != nil {
			notes = append(notes, err.Error())
		}
	}}
	k.run(ctx)
	return k, w, link, notes
}

func always(t *testing.T, change ...dhcpv4.Modifier) func(*fakeClock, *dhcpv4.DHCPv4, netip.Addr) [][]byte {
	return func(_ *fakeClock, m *dhcpv4.DHCPv4, to netip.Addr) [][]byte { return good(t, change...)(m, to) }
}

func count(log []string, part string) (n int) {
	for _, l := range log {
		if strings.Contains(l, part) {
			n++
		}
	}
	return n
}

func TestKeepRenews(t *testing.T) {
	k, w, link, notes := play(t, 10*time.Minute, nil, always(t, raw(3, 10, 0, 0, 1)))
	// T1 is a minute: DISCOVER and REQUEST, and then nine renewals.
	if len(w.sent) != 11 || count(link.log, "set 10.0.0.9/24 for 2m0s") != 10 || count(link.log, "del") != 0 {
		t.Errorf("%d messages, and\n%s", len(w.sent), strings.Join(link.log, "\n"))
	}
	if k.lease == nil || notes != nil {
		t.Error(k.lease, notes)
	}
	if err := k.release(); err != nil || w.sent[len(w.sent)-1].MessageType() != dhcpv4.MessageTypeRelease ||
		!strings.HasSuffix(link.log[len(link.log)-1], "del 10.0.0.9/24") {
		t.Errorf("%v: sent %s\n%s", err, w.sent[len(w.sent)-1].Summary(), link.log[len(link.log)-1])
	}
}

// The server goes after the first lease: its server is asked from T1 on,
// everybody from T2 on, and the address is gone at the end, not later.
func TestKeepServerGone(t *testing.T) {
	var to []string
	_, _, link, notes := play(t, 30*time.Minute, nil, func(c *fakeClock, m *dhcpv4.DHCPv4, dst netip.Addr) [][]byte {
		since := c.now - time.Hour
		if since < time.Second {
			return good(t)(m, dst)
		}
		if since < 2*time.Minute {
			to = append(to, dst.String())
		}
		return nil
	})
	rebind := slices.Index(to, "255.255.255.255")
	if rebind < 1 || count(to[:rebind], "10.0.0.1") != rebind || count(to[rebind:], "255.255.255.255") == 0 {
		t.Errorf("asked %q", to)
	}
	last := link.log[len(link.log)-1]
	if count(link.log, "del") != 1 || !strings.HasPrefix(last, "2m0.") && !strings.HasPrefix(last, "2m0s") {
		t.Errorf("in the end: %s", last)
	}
	if len(notes) == 0 || !strings.Contains(notes[0], "it ended") {
		t.Errorf("%q", notes)
	}
}

// It comes back: the address is taken again, the same one asked for.
func TestKeepServerComesBack(t *testing.T) {
	k, _, link, _ := play(t, time.Hour, nil, func(c *fakeClock, m *dhcpv4.DHCPv4, dst netip.Addr) [][]byte {
		if since := c.now - time.Hour; since > time.Second && since < 10*time.Minute {
			return nil
		}
		return good(t)(m, dst)
	})
	if k.lease == nil || count(link.log, "del") != 1 {
		t.Errorf("%v\n%s", k.lease, strings.Join(link.log, "\n"))
	}
}

func TestKeepRefused(t *testing.T) {
	naks := 0
	_, w, link, notes := play(t, 20*time.Minute, nil, func(c *fakeClock, m *dhcpv4.DHCPv4, dst netip.Addr) [][]byte {
		if m.MessageType() == dhcpv4.MessageTypeRequest && c.now-time.Hour > time.Second {
			naks++
			return [][]byte{to(t, m, dhcpv4.MessageTypeNak)}
		}
		return good(t)(m, dst)
	})
	if count(link.log, "set") != 1 || count(link.log, "del 10.0.0.9/24") != 1 || !strings.HasPrefix(link.log[1], "1m0") {
		t.Errorf("\n%s", strings.Join(link.log, "\n"))
	}
	if naks < 4 || naks > 60 || len(w.sent) > 130 {
		t.Errorf("%d refusals, %d messages in 20 minutes", naks, len(w.sent))
	}
	if len(notes) == 0 || !strings.Contains(notes[0], "refuses") {
		t.Errorf("%q", notes)
	}
}

// A keeper that was started again goes on with what was left of the lease.
func TestKeepResumes(t *testing.T) {
	l, err := readLease(ack(t), time.Hour-30*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	_, w, link, _ := play(t, time.Minute, &l, always(t))
	if len(w.sent) != 1 || !strings.HasPrefix(link.log[0], "0s set 10.0.0.9/24 for 1m30s") || !strings.HasPrefix(link.log[1], "30.001s set 10.0.0.9/24 for 2m0s") {
		t.Errorf("%d messages, %q", len(w.sent), link.log)
	}
	late := l
	late.At -= 10 * time.Minute
	_, w, link, _ = play(t, time.Minute, &late, always(t))
	if link.log[0] != "0s del 10.0.0.9/24" || w.sent[0].MessageType() != dhcpv4.MessageTypeDiscover || count(link.log, "set") != 1 {
		t.Errorf("of an ended lease: %q", link.log)
	}
}

func TestKeepShortestLease(t *testing.T) {
	k, w, link, _ := play(t, 20*time.Second, nil, always(t, dhcpv4.WithLeaseTime(1)))
	if k.lease == nil || count(link.log, "del") != 0 || len(w.sent) > 50 {
		t.Errorf("%d messages\n%s", len(w.sent), strings.Join(link.log, "\n"))
	}
}

func TestKeepForever(t *testing.T) {
	_, w, link, _ := play(t, 1000*time.Hour, nil, always(t, dhcpv4.WithLeaseTime(0xffffffff)))
	if len(w.sent) != 2 || len(link.log) != 1 {
		t.Errorf("%d messages, %q", len(w.sent), link.log)
	}
}

func TestKeepLease121Changes(t *testing.T) {
	n := 0
	_, _, link, _ := play(t, 90*time.Second, nil, func(_ *fakeClock, m *dhcpv4.DHCPv4, dst netip.Addr) [][]byte {
		if n++; n <= 2 {
			return good(t, raw(121, 8, 172, 10, 0, 0, 2))(m, dst)
		}
		return good(t, raw(121, 8, 173, 10, 0, 0, 2), raw(26, 5, 0))(m, dst)
	})
	want := []string{"set 10.0.0.9/24", "add route 172.0.0.0/8", "set 10.0.0.9/24", "add route 173.0.0.0/8", "del route 172.0.0.0/8", "mtu 1280"}
	if len(link.log) != len(want) {
		t.Fatalf("\n%s", strings.Join(link.log, "\n"))
	}
	for i := range want {
		if !strings.Contains(link.log[i], want[i]) {
			t.Errorf("%s, want %s", link.log[i], want[i])
		}
	}
}

// What cannot be set whole is not set at all.
func TestKeepCannotApply(t *testing.T) {
	clock, ctx := newFakeClock(time.Minute)
	w := &fakeWire{clock: clock, serve: good(t, raw(3, 10, 0, 0, 1))}
	link := &fakeLink{clock: clock, fail: "add route"}
	k := &maintainer{asker: w.client(testAsk), link: link, clock: clock, note: func(*Lease, error) {}}
	k.run(ctx)
	if k.lease != nil || count(link.log, "set") != count(link.log, "del") || count(link.log, "set") == 0 {
		t.Errorf("\n%s", strings.Join(link.log, "\n"))
	}
}

// A guest that was moved asks whether it may keep its address, and for another if nobody
// answers that: a server does not if it has one for the guest already.
func TestKeepMoved(t *testing.T) {
	l := Lease{Address: prefix("10.0.0.77/24"), Server: addr("10.0.0.5"), At: time.Hour, Time: 12 * time.Hour}
	k, w, link, _ := play(t, time.Minute, &l, func(_ *fakeClock, m *dhcpv4.DHCPv4, to netip.Addr) [][]byte {
		if m.ClientIPAddr.Equal(l.Address.Addr().AsSlice()) {
			return nil
		}
		return good(t)(m, to)
	})
	if k.lease == nil || k.lease.Address != prefix("10.0.0.9/24") || count(link.log, "del 10.0.0.77/24") != 1 {
		t.Errorf("%v after %d messages\n%s", k.lease, len(w.sent), strings.Join(link.log, "\n"))
	}

	l = Lease{Address: prefix("10.0.0.77/24"), Server: addr("10.0.0.5"), At: time.Hour, Time: 12 * time.Hour}
	k, _, link, _ = play(t, time.Minute, &l, func(*fakeClock, *dhcpv4.DHCPv4, netip.Addr) [][]byte { return nil })
	if k.lease == nil || k.lease.Address != l.Address || count(link.log, "del") != 0 {
		t.Errorf("without a server: %v\n%s", k.lease, strings.Join(link.log, "\n"))
	}
}
