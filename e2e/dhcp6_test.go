//go:build linux

package e2e

import (
	"net"
	"regexp"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv6"

	"github.com/gopipework/gopipework/e2e/host"
)

// range6 is what a server gives from; two minutes is its shortest lease.
const range6 = "2001:db8:6::100,2001:db8:6::1ff,64,2m"

// router6 plugs in a guest with a DHCPv6 server, which advertises itself, too. It
// is 2001:db8:6::1, on its eth1.
func (m *machine) router6(hostIF string) (*host.Guest, *host.Dnsmasq) {
	m.t.Helper()
	g := m.guest()
	m.quiet(hostIF, g.Word, "2001:db8:6::1/64")
	d, err := g.StartDnsmasq("eth1", range6, "--enable-ra")
	m.check(err)
	m.t.Cleanup(func() { _ = d.Stop() })
	return g, d
}

// reaches6 waits for the route that a router's advertisement brings.
func (m *machine) reaches6(from *host.Guest, addr string) {
	m.t.Helper()
	if !host.Poll(30*time.Second, func() bool { return strings.Contains(from.Run("ip", "-6", "route").Stdout, "2001:db8:6::/64") }) {
		m.t.Errorf("no route from the router's advertisements:\n%s", from.Run("ip", "-6", "route").Stdout)
	}
	m.reaches(from, addr)
}

// A real server, and a guest with IPv6 off, as Docker has it: the address comes,
// stays also when the keeper is killed, and is released by detach.
func TestDHCP6(t *testing.T) {
	everyNetwork(t, func(t *testing.T, m *machine, hostIF string) {
		need(t, "ipv6")
		g := m.guest()
		m.check(g.Run("sh", "-ec", "echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6; echo 1 > /proc/sys/net/ipv6/conf/default/disable_ipv6").Err())
		check := m.unchanged(g)
		router, d := m.router6(hostIF)

		m.quiet(hostIF, g.Word, "dhcp6")
		addr := globalAddr(m, g)
		if !strings.HasPrefix(addr, "2001:db8:6::1") {
			t.Fatalf("the address is %q", addr)
		}
		m.listsAddress(g.Word, addr+"/128")
		m.reaches6(g, "2001:db8:6::1")
		m.reaches(router, addr)
		m.says("the default route", g.Run("ip", "-6", "route").Stdout, "default via fe80::")
		lifetimes := g.Run("ip", "-6", "addr", "show", "dev", "eth1", "scope", "global").Stdout
		if valid := regexp.MustCompile(`valid_lft (\d+)sec`).FindStringSubmatch(lifetimes); valid == nil || len(valid[1]) > 3 {
			t.Errorf("the address is not valid for the two minutes of its lease:\n%s", lifetimes)
		}
		m.logs(d, "DHCPREPLY(eth1) "+addr)

		if a := m.attach(hostIF, g.Word, "dhcp6"); *a.Changed {
			t.Errorf("the same line again: %q", a.Steps)
		}
		m.says("the error", m.fails("conflict", hostIF, g.Word, "2001:db8:6::77/64").Error.Message, "by dhcp6")
		m.fails("conflict", hostIF, g.Word, "dhcp")
		m.fails("conflict", hostIF, g.Word, "slaac")
		m.fails("conflict", hostIF, router.Word, "dhcp6")
		m.fails("usage", hostIF, g.Word, "dhcp6:hostname=x")

		old := m.keeper()
		m.check(syscall.Kill(old, syscall.SIGKILL))
		m.restarted(g, old, addr+"/128")

		m.says("the server's leases", d.Leases(), addr)
		m.quiet("detach", g.Word)
		m.logs(d, "DHCPRELEASE(eth1)", "release received")
		if !host.Poll(host.Patience, func() bool { return !strings.Contains(d.Leases(), addr) }) {
			t.Errorf("the server still has lent it:\n%s", d.Leases())
		}
		m.notKept()

		m.quiet(hostIF, g.Word, "dhcp6")
		if now := globalAddr(m, g); now != addr {
			t.Errorf("the address is %s; the same guest had %s", now, addr)
		}
		m.quiet("detach", g.Word)
		m.quiet("detach", router.Word)
		check("after detach")

		m.diesWithLease6(hostIF, router)
	})
}

// diesWithLease6 kills a guest: nothing of its lease is left.
func (m *machine) diesWithLease6(hostIF string, router *host.Guest) {
	m.t.Helper()
	m.quiet(hostIF, router.Word, "2001:db8:6::1/64")
	d, err := router.StartDnsmasq("eth1", range6, "--enable-ra")
	m.check(err)
	m.t.Cleanup(func() { _ = d.Stop() })
	g := m.guest()
	m.quiet(hostIF, g.Word, "dhcp6")
	m.keeper()
	m.check(g.Kill())
	m.notKept()
}

// A lease of a few seconds lives on, also after its keeper was killed, without a
// gap in a running ping; with neither keeper nor server the kernel ends it.
func TestDHCP6Stays(t *testing.T) {
	const lease = 10 * time.Second // a busy machine starts a keeper in this time
	m := newMachine(t)
	need(t, "ipv6")
	router, g := m.guest(), m.guest()
	m.quiet("brtest", router.Word, "2001:db8:6::1/64")
	check := m.unchanged(g)
	var renewals atomic.Int64
	s, err := router.ServeDHCP6("eth1", func(q *dhcpv6.Message) []byte {
		if q.MessageType == dhcpv6.MessageTypeRenew {
			renewals.Add(1)
		}
		return host.Reply6(q, net.ParseIP("2001:db8:6::77"), lease)
	})
	m.check(err)
	t.Cleanup(s.Close)
	m.quiet("brtest", g.Word, "dhcp6")
	m.check(g.Run("ip", "route", "add", "2001:db8:6::/64", "dev", "eth1").Err()) // nobody advertises it here
	pings := make(chan host.Result, 1)
	go func() { pings <- router.Run("busybox", "ping", "-i", "0.5", "-w", "17", "-q", "2001:db8:6::77") }()

	// It is renewed after half of its time, and killed then: so it has all of it left.
	if !host.Poll(host.Patience, func() bool { return renewals.Load() > 0 }) {
		t.Fatal("the lease is not renewed")
	}
	old := m.keeper()
	m.check(syscall.Kill(old, syscall.SIGKILL))
	m.restarted(g, old, "2001:db8:6::77/128")
	if r := <-pings; r.Code != 0 || !strings.Contains(r.Stdout, " 0% packet loss") {
		t.Errorf("a gap in the ping: %v", r)
	}
	if !host.Poll(host.Patience, func() bool { return renewals.Load() >= 4 }) {
		t.Errorf("it was renewed %d times", renewals.Load())
	}

	s.Close()
	m.check(syscall.Kill(m.keeper(), syscall.SIGKILL))
	if !host.Poll(lease+30*time.Second, func() bool { return globalAddr(m, g) == "" }) {
		t.Error("the address outlives its lease")
	}
	m.quiet("detach", g.Word)
	m.notKept()
	check("after detach without a server")
}

// restarted waits until gc has started the keeper again, and checks that list says
// the same address.
func (m *machine) restarted(g *host.Guest, old int, addr string) {
	m.t.Helper()
	again := func() bool { // not before the kernel has let go of the dead one's lock
		m.ok("gc")
		m.listsAddress(g.Word, addr)
		pids := m.keepers()
		return len(pids) == 1 && pids[0] != old
	}
	if !host.Poll(30*time.Second, again) {
		m.t.Fatalf("gc does not start the keeper again: %v", m.keepers())
	}
}

// Without a server it takes no longer than allowed, and an address that somebody
// has is none to take; neither leaves anything.
func TestDHCP6Fails(t *testing.T) {
	m := newMachine(t)
	need(t, "ipv6")
	other, g := m.guest(), m.guest()
	m.quiet("brtest", other.Word, "2001:db8:6::150/64")
	check := m.unchanged(g)
	m.says("nobody", m.fails("timeout", "brtest", g.Word, "dhcp6:timeout=3s").Error.Message, "no DHCP server answered")
	check("without a server")

	router := m.guest()
	m.quiet("brtest", router.Word, "2001:db8:6::1/64")
	check = m.unchanged(g)
	d, err := router.StartDnsmasq("eth1", "2001:db8:6::150,2001:db8:6::150,64,2m")
	m.check(err)
	t.Cleanup(func() { _ = d.Stop() })
	m.fails("conflict", "brtest", g.Word, "dhcp6:timeout=1m")
	m.logs(d, "DHCPDECLINE(eth1)")
	check("after a duplicate")
	m.notKept()
}

// A container, whose host drops what its firewall does not know: killed, it leaves
// nothing.
func TestDHCP6Container(t *testing.T) {
	e := withDocker(t).in(t)
	need(t, "ipv6")
	untouched := e.unchanged()
	router, d := e.router6("brtest")
	e.container("web")
	web := e.guestOf("web")
	check := e.unchanged(web)
	e.quiet("brtest", "web", "dhcp6")
	addr := globalAddr(e.machine, web)
	e.listsAddress("web", addr+"/128")
	e.reaches6(web, "2001:db8:6::1")
	e.reaches(router, addr)
	e.quiet("detach", "web")
	e.logs(d, "release received")
	e.notKept()
	check("after detach")

	e.quiet("brtest", "web", "dhcp6")
	e.keeper()
	e.docker("kill", "web")
	e.notKept()
	e.docker("rm", "web")
	e.quiet("detach", router.Word)
	e.check(router.Kill())
	e.ok("gc")
	untouched("after the guests")
}
