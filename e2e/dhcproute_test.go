//go:build linux

package e2e

import (
	"net"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"github.com/gopipework/gopipework/e2e/host"
)

// Routes of the line beside a lease: there with the first one, in the place of
// the server's own, and again when another lease has come, though the keeper was
// killed meanwhile.
func TestDHCPRoute(t *testing.T) {
	m := newMachine(t)
	router, g := m.router("brtest"), m.guest()
	check := m.unchanged(g)
	s := &server{}
	var another atomic.Bool
	m.answer(s, router, func(r *dhcpv4.DHCPv4) [][]byte {
		addr := net.IP{10, 9, 0, 77}
		change := []dhcpv4.Modifier{dhcpv4.WithGeneric(dhcpv4.OptionClasslessStaticRoute, []byte{16, 10, 60, 10, 9, 0, 1, 16, 10, 65, 10, 9, 0, 1})}
		if another.Load() {
			addr = net.IP{10, 9, 0, 78}
			if !r.ClientIPAddr.IsUnspecified() && r.ClientIPAddr.Equal(net.IP{10, 9, 0, 77}) {
				change = append(change, dhcpv4.WithMessageType(dhcpv4.MessageTypeNak))
			}
		}
		return [][]byte{host.Reply(r, net.IP{10, 9, 0, 1}, addr, 12*time.Second, change...)}
	})
	routes := func(when string) {
		t.Helper()
		m.says("the routes "+when, g.Run("ip", "route", "show", "table", "all").Stdout,
			"10.60.0.0/16 via 10.9.0.5 dev eth1", "10.61.0.0/16 via 10.9.0.1 dev eth1 table 7", "10.62.0.0/16 dev eth1", "10.65.0.0/16 via 10.9.0.1 dev eth1")
	}
	line := []string{"brtest", g.Word, "dhcp", "--route", "10.60.0.0/16,via 10.9.0.5", "--route", "10.61.0.0/16,via 10.9.0.1,table 7", "--route", "10.62.0.0/16"}
	m.quiet(line...)
	routes("of the first lease")
	if a := m.attach(line...); *a.Changed {
		t.Errorf("the same line again: %q", a.Steps)
	}
	m.says("another route", m.fails("conflict", "brtest", g.Word, "dhcp", "--route", "10.60.0.0/16").Error.Message, "10.61.0.0/16,via 10.9.0.1,table 7")

	another.Store(true)
	m.killed(m.keeper())
	gone := func() bool {
		return m.leased(g, "eth1") == "10.9.0.78" && strings.Contains(g.Run("ip", "route").Stdout, "10.62.0.0/16")
	}
	if !host.Poll(time.Minute, gone) {
		t.Fatalf("no other lease: %q", m.leased(g, "eth1"))
	}
	routes("of another lease")
	if a := m.attach(line...); *a.Changed {
		t.Errorf("the same line again: %q", a.Steps)
	}
	m.quiet("detach", g.Word)
	m.notKept()
	check("after detach")

	f := m.fails("conflict", "brtest", g.Word, "dhcp", "--route", "10.60.0.0/16,via 192.0.2.1")
	m.says("the hint", f.Error.Hint, "--route 192.0.2.1/32")
	check("after a gateway out of reach")
	m.quiet("brtest", g.Word, "dhcp", "--route", "10.60.0.0/16,via 192.0.2.1", "--route", "192.0.2.1/32")
	m.quiet("detach", g.Word)
	check("after a gateway on the link")
}

// A server's default route goes where the line says: behind the guest's own, by
// its metric, with a renewal that names another router too, and by a keeper that
// was started again.
func TestDHCPDefault(t *testing.T) {
	m := newMachine(t)
	router, g := m.router("brtest"), m.guest()
	m.quiet("brlan", "-i", "lan0", g.Word, "10.8.0.2/24@10.8.0.1", "--metric", "20")
	check := m.unchanged(g)
	var gateway atomic.Uint32
	gateway.Store(1)
	m.answer(&server{}, router, func(r *dhcpv4.DHCPv4) [][]byte {
		return [][]byte{host.Reply(r, net.IP{10, 9, 0, 1}, net.IP{10, 9, 0, 77}, 12*time.Second, dhcpv4.WithRouter(net.IP{10, 9, 0, byte(gateway.Load())}))}
	})
	defaults := func() string { return g.Run("ip", "route", "show", "default").Stdout }
	for _, s := range []struct{ flags, first, second, other string }{
		{"", "default via 10.9.0.1 dev eth1", "default via 10.8.0.1 dev lan0", "--default=keep"},
		{"--default=keep", "default via 10.8.0.1 dev lan0", "metric 21", "--default=front"},
		{"--default=keep --metric 50", "default via 10.8.0.1 dev lan0", "metric 50", "--default=keep --metric 51"},
		{"--metric 10", "default via 10.9.0.1 dev eth1 proto dhcp src 10.9.0.77 metric 10", "default via 10.8.0.1 dev lan0", "--metric 11"},
	} {
		gateway.Store(1)
		line := append([]string{"brtest", g.Word, "dhcp"}, strings.Fields(s.flags)...)
		m.quiet(line...)
		look := func(when string) {
			t.Helper()
			routes := strings.Split(strings.TrimSpace(defaults()), "\n")
			if len(routes) != 2 || !strings.HasPrefix(routes[0], s.first) || !strings.Contains(routes[1], s.second) {
				t.Errorf("%q %s: the default routes are %q", s.flags, when, routes)
			}
		}
		look("at first")
		m.quiet(line...)
		if a := m.attach(line...); *a.Changed {
			t.Errorf("the same line again: %q", a.Steps)
		}
		m.fails("conflict", append([]string{"brtest", g.Word, "dhcp"}, strings.Fields(s.other)...)...)
		if s.flags == "--default=keep" {
			gateway.Store(5)
			m.killed(m.keeper())
			if !host.Poll(host.Patience, func() bool {
				d := defaults()
				return strings.Contains(d, "10.9.0.5") && !strings.Contains(d, "10.9.0.1 ")
			}) {
				t.Errorf("the router of a renewal is not taken: %q", defaults())
			}
			look("after a renewal")
		}
		m.quiet("detach", g.Word, "eth1")
		m.notKept()
		check("after " + s.flags)
	}
	m.fails("conflict", "brtest", g.Word, "dhcp", "--metric", "20", "--default=keep")
	m.fails("conflict", "brtest", g.Word, "dhcp", "--metric", "30")
	m.fails("usage", "brtest", g.Word, "dhcp:default-route=no", "--default=keep")
	check("after what was refused")
	m.quiet("detach", "--all", g.Word)
}

// killed kills a keeper, and has gc start it again.
func (m *machine) killed(old int) {
	m.t.Helper()
	m.check(syscall.Kill(old, syscall.SIGKILL))
	again := func() bool { // not before the kernel has let go of the dead one's lock
		m.ok("gc")
		pids := m.keepers()
		return len(pids) == 1 && pids[0] != old
	}
	if !host.Poll(30*time.Second, again) {
		m.t.Fatalf("gc does not start the keeper again: %v", m.keepers())
	}
}

// The same where a router gives the address.
func TestSLAACRoute(t *testing.T) {
	m := newMachine(t)
	need(t, "ipv6")
	router, g := m.guest(), m.guest()
	m.check(router.Run("sysctl", "-qw", "net.ipv6.conf.all.forwarding=1").Err())
	m.quiet("brtest", router.Word, "fd00:9::1/64")
	r, err := router.StartRadvd("eth1", "fd00:9::/64")
	m.check(err)
	t.Cleanup(func() { _ = r.Stop() })
	check := m.unchanged(g)
	line := []string{"brtest", g.Word, "slaac", "--route", "fd00:50::/64,via fd00:9::1", "--route", "fd00:51::/64,via fe80::1"}
	m.quiet(line...)
	m.says("the routes", g.Run("ip", "-6", "route").Stdout, "fd00:50::/64 via fd00:9::1 dev eth1", "fd00:51::/64 via fe80::1 dev eth1")
	if a := m.attach(line...); *a.Changed {
		t.Errorf("the same line again: %q", a.Steps)
	}
	m.quiet("detach", g.Word)
	check("after detach")
	f := m.fails("conflict", "brtest", g.Word, "slaac", "--route", "fd00:50::/64,via fd00:8::1")
	m.says("the hint", f.Error.Hint, "--route fd00:8::1/128")
	check("after a gateway out of reach")
}
