package lease

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gopipework/gopipework/internal/fault"
	"github.com/insomniacslk/dhcp/dhcpv4"
	"golang.org/x/sys/unix"
)

// A route that is none does not cost the lease: the others are taken, and it is
// named.
func TestReadLeaseLeavesOut(t *testing.T) {
	many := make([]byte, 0, 6*70)
	for i := range 70 {
		many = append(many, 8, byte(i+1), 10, 0, 0, 2)
	}
	const byRouter = "0.0.0.0/0 10.0.0.1"
	tests := []struct {
		name   string
		change []dhcpv4.Modifier
		want   []string // the first routes
		left   string   // what is said of what was left out
	}{
		{"router 0.0.0.0 means none", []dhcpv4.Modifier{raw(3, 0, 0, 0, 0)}, nil, ""},
		{"router 0.0.0.0, then one", []dhcpv4.Modifier{raw(3, 0, 0, 0, 0, 10, 0, 0, 1)}, []string{byRouter}, ""},
		{"router of half an address", []dhcpv4.Modifier{raw(3, 10, 0)}, nil, ""},
		{"we are the router", []dhcpv4.Modifier{raw(3, 10, 0, 0, 9)}, nil, "10.0.0.9, which is our own address"},
		{"we are the first router", []dhcpv4.Modifier{raw(3, 10, 0, 0, 9, 10, 0, 0, 1)}, []string{byRouter}, "our own address"},
		{"router is broadcast", []dhcpv4.Modifier{raw(3, 10, 0, 0, 255)}, nil, "broadcast address"},
		{"router is everybody", []dhcpv4.Modifier{raw(3, 255, 255, 255, 255)}, nil, "the broadcast address"},
		{"router is multicast", []dhcpv4.Modifier{raw(121, 0, 224, 0, 0, 1)}, nil, "multicast"},
		{"one bad among good ones", []dhcpv4.Modifier{raw(121, 8, 172, 10, 0, 0, 2, 8, 239, 10, 0, 0, 1, 8, 173, 10, 0, 0, 3)},
			[]string{"172.0.0.0/8 10.0.0.2", "173.0.0.0/8 10.0.0.3"}, "239.0.0.0/8, which no router forwards"},
		{"good ones, then the end", []dhcpv4.Modifier{raw(121, 8, 172, 10, 0, 0, 2, 24, 10, 1)}, []string{"172.0.0.0/8 10.0.0.2"}, "end in the middle"},
		{"no whole route, and a router", []dhcpv4.Modifier{raw(121, 24, 10, 1), raw(3, 10, 0, 0, 1)}, []string{byRouter}, "end in the middle"},
		{"mask 33", []dhcpv4.Modifier{raw(121, 33, 10, 1, 1, 1, 1, 10, 0, 0, 1)}, nil, "mask over 32"},
		{"only bad ones, and a router", []dhcpv4.Modifier{raw(121, 0, 10, 0, 0, 9), raw(3, 10, 0, 0, 1)}, []string{byRouter}, "our own address"},
		{"many", []dhcpv4.Modifier{raw(121, many...)}, []string{"1.0.0.0/8 10.0.0.2"}, "6 of its 70 routes"},
	}
	for _, tt := range tests {
		l, err := readLease(ack(t, tt.change...), 0)
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		var got []string
		for _, r := range l.Routes {
			got = append(got, r.Dst.String()+" "+r.Gateway.String())
		}
		if len(got) < len(tt.want) || !slices.Equal(got[:len(tt.want)], tt.want) || tt.want == nil && got != nil || len(got) > maxRoutes {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
		if said := l.Warning(); tt.left == "" && said != "" || !strings.Contains(said, tt.left) {
			t.Errorf("%s: warns %q, want %q", tt.name, said, tt.left)
		}
	}
}

// However short or long the times of a server are, it is not asked in a row.
func TestReadLeasePaces(t *testing.T) {
	const year = 365 * 24 * time.Hour
	tests := []struct {
		name    string
		change  []dhcpv4.Modifier
		t1, end time.Duration // T1 at least, and at most
	}{
		{"68 years", []dhcpv4.Modifier{dhcpv4.WithLeaseTime(0x7fffffff)}, 33 * year, 35 * year},
		{"nearly for ever", []dhcpv4.Modifier{dhcpv4.WithLeaseTime(0xfffffffe)}, 67 * year, 69 * year},
		{"nearly for ever, by T2", []dhcpv4.Modifier{dhcpv4.WithLeaseTime(0xfffffffe), raw(59, 0xff, 0xff, 0xff, 0xfd)}, 67 * year, 69 * year},
		{"T1 of a second", []dhcpv4.Modifier{dhcpv4.WithLeaseTime(3600), raw(58, 0, 0, 0, 1)}, soonest, soonest},
		{"T2 of a second", []dhcpv4.Modifier{dhcpv4.WithLeaseTime(3600), raw(59, 0, 0, 0, 1)}, soonest, soonest},
		{"a short lease", []dhcpv4.Modifier{dhcpv4.WithLeaseTime(4), raw(58, 0, 0, 0, 1)}, 2 * time.Second, 2 * time.Second},
	}
	for _, tt := range tests {
		l, err := readLease(ack(t, tt.change...), 0)
		if err != nil || l.T1 < tt.t1 || l.T1 > tt.end || l.T2 < l.T1 || l.T2 > l.Time {
			t.Errorf("%s: T1 %v, T2 %v of %v, %v; want T1 from %v to %v", tt.name, l.T1, l.T2, l.Time, err, tt.t1, tt.end)
		}
	}
}

// What a server leaves out is refused, with a hint at the option that says it,
// and taken from that.
func TestOptionsInstead(t *testing.T) {
	tests := []struct {
		without dhcpv4.OptionCode
		option  string
		got     func(Lease) bool
	}{
		{dhcpv4.OptionIPAddressLeaseTime, "lease=1h", func(l Lease) bool { return l.Time == time.Hour && l.T1 == 30*time.Minute }},
		{dhcpv4.OptionSubnetMask, "prefix=24", func(l Lease) bool { return l.Address == prefix("10.0.0.9/24") }},
	}
	for _, tt := range tests {
		ask := func(options string) (Lease, error) {
			clock, ctx := newFakeClock(time.Minute)
			w := &fakeWire{clock: clock, serve: good(t, dhcpv4.WithoutOption(tt.without))}
			o, err := ParseOptions(options)
			if err != nil {
				t.Fatal(err)
			}
			c := w.client(NewAsk(o, Identity{Runtime: "docker", ID: "x", Name: "web"}, "eth1", 2))
			l, err := c.acquire(ctx)
			if err != nil {
				err = c.ask.fail(err)
			}
			return l, err
		}
		_, err := ask("")
		var f *fault.Error
		if !errors.As(err, &f) || f.Code != fault.Timeout || !strings.Contains(f.Hint, "dhcp:"+tt.option) {
			t.Errorf("without %v: %v, want a hint at dhcp:%s", tt.without, err, tt.option)
		}
		if l, err := ask(tt.option); err != nil || !tt.got(l) {
			t.Errorf("with %s: %+v, %v", tt.option, l, err)
		}
	}
}

// A renewal that leaves out the mask goes on with the one that is there.
func TestExtendKeepsMask(t *testing.T) {
	clock, ctx := newFakeClock(time.Minute)
	w := &fakeWire{clock: clock, serve: good(t, dhcpv4.WithoutOption(dhcpv4.OptionSubnetMask), raw(3, 0, 0, 0, 0))}
	old := Lease{Address: prefix("10.0.0.9/22"), Server: addr("10.0.0.1"), Time: time.Minute}
	l, err := w.client(Ask{}).extend(ctx, old, old.Server, time.Second)
	if err != nil || l.Address != old.Address {
		t.Errorf("%v, %v, want %v", l.Address, err, old.Address)
	}
}

// A route that the kernel cannot have is left out also when the lease is new;
// what is wrong with the interface is an error.
func TestApplyLeavesOut(t *testing.T) {
	for _, tt := range []struct {
		errno unix.Errno
		taken bool
	}{{unix.EINVAL, true}, {unix.ENETUNREACH, true}, {unix.EHOSTUNREACH, true}, {unix.ENETDOWN, false}, {unix.ENODEV, false}} {
		link := &refusingRoutes{fakeLink{clock: &fakeClock{}}, tt.errno}
		l, err := readLease(ack(t, raw(3, 10, 0, 0, 1)), 0)
		if err != nil {
			t.Fatal(err)
		}
		err = l.Apply(link, nil, 0)
		if tt.taken && (err != nil || !strings.Contains(l.Warning(), "a route to 0.0.0.0/0 by 10.0.0.1")) || !tt.taken && !errors.Is(err, tt.errno) {
			t.Errorf("%v: %v, warns %q", tt.errno, err, l.Warning())
		}
	}
}

type refusingRoutes struct {
	fakeLink
	errno unix.Errno
}

func (l *refusingRoutes) AddRoute(Route) error { return l.errno }

// A lease that the interface cannot take is released.
func TestKeepReleasesWhatItCannotTake(t *testing.T) {
	clock, ctx := newFakeClock(30 * time.Second)
	w := &fakeWire{clock: clock, serve: good(t)}
	k := &maintainer{asker: w.client(testAsk), clock: clock, link: &fakeLink{clock: clock, fail: "set"}, note: func(*Lease, error) {}}
	k.run(ctx)
	acks, releases := 0, 0
	for _, m := range w.sent {
		switch m.MessageType() {
		case dhcpv4.MessageTypeRequest:
			acks++
		case dhcpv4.MessageTypeRelease:
			releases++
		}
	}
	if acks == 0 || releases != acks || k.lease != nil {
		t.Errorf("%d leases, %d released", acks, releases)
	}
}

// The address never came to the interface: its server hears of it all the same.
func TestLiveReleaseWithoutAddress(t *testing.T) {
	n := newNet(t)
	d := n.dnsmasq()
	l := n.acquire(Options{})
	check(t, Release(n.g.Namespace, n.ask(Options{}), l))
	until(t, "the server logs the release", func() bool { return strings.Contains(d.Log(), "DHCPRELEASE(srv0) "+l.Address.Addr().String()) })
}
