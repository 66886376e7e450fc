package witness

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestSightings: an echo and its answer are seen at each point of the way, in order, and
// so is what the guests ask of each other first.
func TestSightings(t *testing.T) {
	c := newChain(t)
	for _, addr := range []string{chainB, chainB6} {
		m := c.mark()
		taps, err := m.Tap(c.points())
		if err != nil {
			t.Fatal(err)
		}
		defer taps.Close()
		if e := c.ping(m, addr, plenty); !e.Answered || e.After <= 0 || e.Unsent != nil || e.Instead != nil {
			t.Fatalf("%s: %+v", addr, e)
		}
		seen := taps.Seen(m)
		way := " 0>1<2>3<; "
		want := "ARP request" + way + "ARP reply 3>2<1>0<; echo request" + way + "echo reply 3>2<1>0<"
		if addr == chainB6 {
			want = strings.NewReplacer("ARP request", "neighbour solicitation", "ARP reply", "neighbour advertisement").Replace(want)
		}
		if got := steps(seen); got != want {
			t.Errorf("seen\n%s\nwant\n%s", got, want)
		}
		for k, last := range map[Kind]int{EchoRequest: 3, EchoReply: 3, RST: -1} {
			if got := Furthest(seen, k); got != last {
				t.Errorf("%s got to %d, want %d", k, got, last)
			}
		}
	}
}

// TestVanish: taps tell between which points a probe vanishes, wherever that is.
func TestVanish(t *testing.T) {
	for _, test := range []struct {
		what    string
		breaks  func(c chain)
		echo    string // what is seen of an echo
		arp     string // and of the question before it, if the guest has to ask
		unsent  error
		instead Reason
	}{
		{"the guest's port is down", func(c chain) { c.sw.sh("ip link set pa down") }, "", "", nil, 0},
		{"its port listens", func(c chain) { c.sw.sh("bridge link set dev pa state 1") }, "0>1<", "0>1<", nil, 0},
		{"the far port listens", func(c chain) { c.sw.sh("bridge link set dev pb state 1") }, "0>1<", "0>1<", nil, 0},
		{"the far port is down", func(c chain) { c.sw.sh("ip link set pb down") }, "0>1<", "0>1<", nil, 0},
		{"the bridge's firewall drops pings", func(c chain) {
			c.sw.sh("nft 'add table bridge f; add chain bridge f fw { type filter hook forward priority 0; }; add rule bridge f fw ip protocol icmp drop'")
		}, "0>1<", "0>1<2>3<", nil, 0},
		{"the far guest's firewall drops", func(c chain) {
			c.b.sh("nft 'add table ip f; add chain ip f in { type filter hook input priority 0; policy drop; }'")
		}, "0>1<2>3<", "0>1<2>3<", nil, 0},
		{"the guest's own firewall drops", func(c chain) {
			c.a.sh("nft 'add table ip f; add chain ip f out { type filter hook output priority 0; policy drop; }'")
		}, "", "", unix.EPERM, 0},
		{"the far guest's firewall rejects", func(c chain) {
			c.b.sh("nft 'add table ip f; add chain ip f in { type filter hook input priority 0; }; add rule ip f in icmp type echo-request reject with icmp type admin-prohibited'")
		}, "0>1<2>3<", "0>1<2>3<", nil, Prohibited},
		{"the guest has no route", func(c chain) { c.a.sh("ip route flush dev eth1") }, "", "", unix.ENETUNREACH, 0},
	} {
		t.Run(test.what, func(t *testing.T) {
			c := newChain(t)
			test.breaks(c)
			for _, known := range []bool{false, true} {
				want := test.arp
				if known {
					want = test.echo
				}
				m := c.mark()
				taps, err := m.Tap(c.points())
				if err != nil {
					t.Fatal(err)
				}
				defer taps.Close()
				if known {
					_, mac := c.b.point("eth1")
					c.a.sh("ip neighbour replace " + chainB + " lladdr " + mac.String() + " dev eth1 nud permanent")
				}
				e := c.ping(m, chainB, little)
				if e.Answered || !errors.Is(e.Unsent, test.unsent) || test.instead != 0 && (e.Instead == nil || e.Instead.Why != test.instead) {
					t.Errorf("%+v", e)
				}
				if e.Instead != nil && e.Instead.By.String() != chainB {
					t.Errorf("%+v", e.Instead)
				}
				seen := taps.Seen(m)
				kind := EchoRequest
				if !known {
					kind = ARPRequest
				}
				var first []Sighting // of those that were sent again
				for _, s := range seen {
					if s.Kind == kind && (len(first) == 0 || s.Point > first[len(first)-1].Point) {
						first = append(first, s)
					}
				}
				if got := strings.TrimPrefix(steps(first), string(kind)+" "); got != want {
					t.Errorf("%s is seen at %q, want %q: %s", kind, got, want, steps(seen))
				}
			}
		})
	}
}

// TestAsk: who has an address answers, two of them too, on a VLAN with its tag, and no
// neighbour entry is made.
func TestAsk(t *testing.T) {
	c := newChain(t)
	here, mac := c.a.point("eth1")
	_, there := c.b.point("eth1")
	ask := func(q Question) []Answer {
		t.Helper()
		q.From, q.MAC = here, mac
		if q.Patience == 0 {
			q.Patience = plenty
		}
		got, err := Ask(context.Background(), q)
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	before := [3]string{c.a.neighbours(), c.sw.neighbours(), c.b.neighbours()}
	for _, addr := range []string{chainB, chainB6} {
		a := netip.MustParseAddr(addr)
		if got := ask(Question{Addr: a}); len(got) != 1 || got[0].MAC.String() != there.String() || got[0].Tagged {
			t.Errorf("%v: %+v", a, got)
		}
		if got := ask(Question{Addr: a.Next(), Patience: little}); len(got) != 0 {
			t.Errorf("%v, which nobody has: %+v", a.Next(), got)
		}
	}
	if after := [3]string{c.a.neighbours(), c.sw.neighbours(), c.b.neighbours()}; after != before {
		t.Errorf("neighbours are %q, and were %q", after, before)
	}
	// The switch itself takes the same addresses.
	c.sw.sh("ip addr add " + chainB + "/24 dev br0; ip addr add " + chainB6 + "/64 dev br0 nodad")
	for _, addr := range []string{chainB, chainB6} {
		if got := ask(Question{Addr: netip.MustParseAddr(addr), Grace: 2 * time.Second}); len(got) != 2 {
			t.Errorf("%s twice: %+v", addr, got)
		}
	}
	c.sw.sh("ip addr flush dev br0")
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(unix.EINTR)
	if _, err := Ask(ctx, Question{From: here, MAC: mac, Addr: netip.MustParseAddr(chainB), Patience: plenty}); !errors.Is(err, unix.EINTR) {
		t.Errorf("when it is to end: %v", err)
	}
}

// TestLargest: the largest packet that passes is found, a usual size to the byte, though the
// larger ones vanish in silence.
func TestLargest(t *testing.T) {
	c := newChain(t)
	find := func(high int) Largest {
		t.Helper()
		l, err := Ping{Mark: c.mark(), From: c.host(c.a, chainA), To: netip.MustParseAddr(chainB), Patience: 2 * time.Second}.
			Largest(context.Background(), 100, high)
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	c.ping(c.mark(), chainB, plenty) // neighbours are known
	if l := find(1500); l.Size != 1500 {
		t.Errorf("nothing is too big: %+v", l)
	}
	for mtu, least := range map[int]int{1400: 1400, 1337: 1335} {
		c.sw.sh(fmt.Sprintf("ip link set pb mtu %d", mtu)) // the bridge drops what does not fit, in silence
		if l := find(1500); l.Size > mtu || l.Size < least || l.Instead != nil {
			t.Errorf("mtu %d: %+v", mtu, l)
		}
	}
	// Both packets of a size are lost once, as if they were late.
	c.a.sh("ip link set eth1 mtu 1600")
	c.sw.sh("ip link set pa mtu 1600; ip link set pb mtu 1500")
	c.b.sh("nft 'add table inet f; add chain inet f in { type filter hook input priority 0; }; add rule inet f in meta l4proto icmp ip length 1450 quota until 3000 bytes drop'")
	if l := find(1600); l.Size != 1500 {
		t.Errorf("with a size whose answer is late: %+v", l)
	}
	if got := c.b.sh("nft list ruleset"); !strings.Contains(got, "used 3000 bytes") {
		t.Errorf("nothing was lost: %s", got)
	}
}

// TestDeliver: a datagram and the beginning of a connection arrive, though pings are
// dropped; and each says what came instead.
func TestDeliver(t *testing.T) {
	c := newChain(t)
	ctx := context.Background()
	for _, pair := range [][2]string{{chainA, chainB}, {chainA6, chainB6}} {
		m, from, to := c.mark(), c.host(c.a, pair[0]), c.host(c.b, pair[1])
		taps, err := m.Tap(c.points())
		if err != nil {
			t.Fatal(err)
		}
		defer taps.Close()
		c.b.sh("nft 'add table inet f; add chain inet f in { type filter hook input priority 0; }; add rule inet f in meta l4proto icmp drop; add rule inet f in icmpv6 type echo-request drop'")
		for what, probe := range map[string]func() (Delivered, error){
			"a datagram":   func() (Delivered, error) { return Deliver(ctx, m, from, to, plenty) },
			"a connection": func() (Delivered, error) { return Knock(ctx, m, from, to, []int{9}, plenty) },
		} {
			if d, err := probe(); err != nil || !d.Arrived || d.After <= 0 {
				t.Errorf("%s to %s: %+v, %v", what, pair[1], d, err)
			}
		}
		seen := taps.Seen(m)
		for _, k := range []Kind{Datagram, SYN, RST} {
			if Furthest(seen, k) != 3 {
				t.Errorf("%s is not seen: %s", k, steps(seen))
			}
		}
		c.b.sh("nft 'flush chain inet f in; add rule inet f in meta l4proto { tcp, udp } reject with icmpx type admin-prohibited'")
		for what, probe := range map[string]func() (Delivered, error){
			"a datagram":   func() (Delivered, error) { return Deliver(ctx, m, from, to, plenty) },
			"a connection": func() (Delivered, error) { return Knock(ctx, m, from, to, []int{9}, plenty) },
		} {
			d, err := probe()
			if err != nil || d.Arrived || d.Instead == nil || d.Instead.Why != Prohibited || d.Instead.By.String() != pair[1] {
				t.Errorf("%s that is rejected: %+v, %+v, %v", what, d, d.Instead, err)
			}
		}
		c.b.sh("nft 'flush chain inet f in; add rule inet f in meta l4proto { tcp, udp } drop'")
		for what, probe := range map[string]func() (Delivered, error){
			"a datagram":   func() (Delivered, error) { return Deliver(ctx, m, from, to, little) },
			"a connection": func() (Delivered, error) { return Knock(ctx, m, from, to, []int{9}, little) },
		} {
			if d, err := probe(); err != nil || d != (Delivered{}) {
				t.Errorf("%s that is dropped: %+v, %v", what, d, err)
			}
		}
		c.b.sh("nft delete table inet f")
		elsewhere := to
		elsewhere.Addr = to.Addr.Next()
		if d, err := Deliver(ctx, m, from, elsewhere, plenty); err != nil || d.Unheard != unix.EADDRNOTAVAIL {
			t.Errorf("to an address that is not there: %+v, %v", d, err)
		}
	}
}

// TestKnock: what listens answers though all else is dropped, and hears of no connection; a
// refusal is told apart, and what listens elsewhere is left out.
func TestKnock(t *testing.T) {
	c := newChain(t)
	for _, pair := range [][2]string{{chainA, chainB}, {chainA6, chainB6}} {
		from, to := c.host(c.a, pair[0]), c.host(c.b, pair[1])
		var heard []net.Listener
		for _, addr := range []string{net.JoinHostPort(pair[1], "0"), "127.0.0.1:0"} {
			if err := to.Run(func() error {
				l, err := net.Listen("tcp", addr)
				heard = append(heard, l)
				return err
			}); err != nil {
				t.Fatal(err)
			}
			defer heard[len(heard)-1].Close()
		}
		port := heard[0].Addr().(*net.TCPAddr).Port
		ports, err := Listening(to)
		if err != nil || !slices.Equal(ports, []int{port}) {
			t.Errorf("at %v listen %v, %v; want %d", to.Addr, ports, err, port)
		}
		c.b.sh(fmt.Sprintf("nft 'add table inet f; add chain inet f in { type filter hook input priority 0; policy drop; }; add rule inet f in icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept; add rule inet f in tcp dport %d accept'", port))
		knock := func(ports ...int) Delivered {
			t.Helper()
			d, err := Knock(context.Background(), c.mark(), from, to, ports, little)
			if err != nil {
				t.Fatal(err)
			}
			d.After = 0
			return d
		}
		if d := knock(port-1, port); d != (Delivered{Arrived: true}) {
			t.Errorf("%v: %+v", to.Addr, d)
		}
		if d := knock(port - 1); d != (Delivered{}) {
			t.Errorf("a port that is dropped: %+v", d)
		}
		c.b.sh(fmt.Sprintf("nft insert rule inet f in tcp dport %d reject with tcp reset", port))
		if d := knock(port); d != (Delivered{Arrived: true, Refused: true}) {
			t.Errorf("a port that is refused: %+v", d)
		}
		heard[0].(*net.TCPListener).SetDeadline(time.Now().Add(little))
		if conn, err := heard[0].Accept(); err == nil {
			t.Errorf("a program was connected to by %v", conn.RemoteAddr())
		}
		c.b.sh("nft delete table inet f")
	}
}

// TestCross: frames cross the switch though the guests' firewalls drop all that comes and
// goes, and no neighbour entry is made.
func TestCross(t *testing.T) {
	c := newChain(t)
	for _, pair := range [][2]string{{chainA, chainB}, {chainA6, chainB6}} {
		before := [3]string{c.a.neighbours(), c.sw.neighbours(), c.b.neighbours()}
		from, to := c.station(c.a, pair[0]), c.station(c.b, pair[1])
		cross := func(patience time.Duration) Crossed {
			t.Helper()
			got, err := Cross(context.Background(), c.mark(), from, to, patience)
			if err != nil {
				t.Fatal(err)
			}
			return got
		}
		c.a.sh("nft 'add table inet f; add chain inet f out { type filter hook output priority 0; policy drop; }'")
		if got := cross(plenty); got != (Crossed{Broadcast: true, Frame: true, Socket: true}) {
			t.Errorf("%+v", got)
		}
		c.b.sh("nft 'add table inet f; add chain inet f in { type filter hook input priority 0; policy drop; }'")
		if got := cross(little); got != (Crossed{Broadcast: true, Frame: true}) {
			t.Errorf("the far firewall drops: %+v", got)
		}
		c.sw.sh("nft 'add table bridge f; add chain bridge f fw { type filter hook forward priority 0; }; add rule bridge f fw meta l4proto udp drop'")
		if got := cross(little); got != (Crossed{Broadcast: true}) {
			t.Errorf("the switch drops: %+v", got)
		}
		c.sw.sh("bridge link set dev pb state 1")
		if got := cross(little); got != (Crossed{}) {
			t.Errorf("the far port listens: %+v", got)
		}
		if after := [3]string{c.a.neighbours(), c.sw.neighbours(), c.b.neighbours()}; after != before {
			t.Errorf("neighbours are %q, and were %q", after, before)
		}
		c.a.sh("nft flush ruleset")
		c.b.sh("nft flush ruleset")
		c.sw.sh("nft flush ruleset; bridge link set dev pb state 3")
	}
}

// TestRouter: behind a router, whose error tells how much fits, the size is found at once;
// and the guest has not noted it.
func TestRouter(t *testing.T) {
	c := newChain(t)
	c.sw.sh(`ip link set pb nomaster; ip addr add 10.9.0.1/24 dev br0; ip addr add fd09::1/64 dev br0 nodad
		ip addr add 10.8.0.1/24 dev pb; ip addr add fd08::1/64 dev pb nodad; ip link set pb mtu 1391
		sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1`)
	c.b.sh(`ip addr flush dev eth1 scope global; ip addr add 10.8.0.3/24 dev eth1; ip addr add fd08::3/64 dev eth1 nodad
		ip route add default via 10.8.0.1; ip route add default via fd08::1`)
	c.a.sh("ip route add default via 10.9.0.1; ip route add default via fd09::1")
	for _, pair := range [][2]string{{chainA, "10.8.0.3"}, {chainA6, "fd08::3"}} {
		to := netip.MustParseAddr(pair[1])
		p := Ping{Mark: NewMark(to), From: c.host(c.a, pair[0]), To: to, Patience: plenty}
		if e, err := p.Send(context.Background()); err != nil || !e.Answered {
			t.Fatalf("%+v, %v", e, err)
		}
		l, err := p.Largest(context.Background(), 100, 1500)
		if err != nil {
			t.Fatal(err)
		}
		if l.Size != 1391 || l.Instead == nil || l.Instead.Why != TooBig || l.Instead.MTU != 1391 {
			t.Errorf("%s: %+v, %+v", to, l, l.Instead)
		}
		// IPv6 notes it whoever has sent the packet; internal/tidy deletes that.
		if got := c.a.sh("ip route get " + pair[1]); to.Is4() && strings.Contains(got, "mtu") {
			t.Errorf("noted: %s", got)
		}
	}
	// Beyond the router is no such host: it says so after three seconds.
	e := c.ping(c.mark(), "10.8.0.9", plenty)
	if e.Instead == nil || e.Instead.Why != Unreachable || e.Instead.By.String() != "10.9.0.1" {
		t.Errorf("%+v, %+v", e, e.Instead)
	}
}
