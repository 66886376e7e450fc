//go:build linux

package e2e

import (
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"github.com/gopipework/gopipework/e2e/host"
)

// cardTo gives the host a card, nic0, on the network of a guest that gives others
// their addresses: 10.9.0.1, on its eth1. The host is 10.9.0.254 there.
func (m *machine) cardTo() (router *host.Guest) {
	m.t.Helper()
	router = m.guest()
	m.check(m.Batch("link add nic0 type veth peer name eth1 netns "+strings.TrimPrefix(router.Word, "pid:"),
		"address add 10.9.0.254/24 dev nic0", "link set nic0 up"))
	m.check(router.Run("sh", "-ec", "ip address add 10.9.0.1/24 dev eth1; ip link set eth1 up").Err())
	return router
}

// ways are the host's routes to guests on its cards.
func (m *machine) ways() string { return m.do("ip route show proto 103") }

// The host reaches a leased address on a macvlan, with a real server: also when a
// keeper that was killed and started again gets another one, and beside a guest that
// comes and goes. The card is as before when the last has gone.
func TestDHCPHostAccess(t *testing.T) {
	m := newMachine(t)
	router, g, other := m.cardTo(), m.guest(), m.guest()
	check := m.unchanged(g, other)
	renew := []string{"--dhcp-option=58,4", "--dhcp-option=59,60"}
	d := m.dnsmasq(router, renew...)
	line := []string{"nic0", g.Word, "dhcp", "--host-access"}
	steps := m.attach(append([]string{"--dry-run"}, line...)...).Steps
	m.says("--dry-run", strings.Join(steps, "\n"), "type macvlan mode bridge", "ip route add ADDRESS/32 dev gph")
	check("after --dry-run")

	m.quiet("nic0", g.Word, "dhcp")
	if !m.deaf(m.leased(g, "eth1")) {
		t.Error("the host hears a leased macvlan on its card without --host-access")
	}
	m.fails("conflict", line...)
	m.quiet("detach", g.Word)
	m.notKept()
	check("after a lease alone")

	answers := func(when string) {
		t.Helper()
		a := m.leased(g, "eth1")
		if want := a + " dev gph"; !m.hears(a) || !strings.HasPrefix(m.ways(), want) || strings.Count(m.ways(), "\n") != 1 {
			t.Errorf("%s: the host hears %s: %v; its routes are\n%s", when, a, m.hears(a), m.ways())
		}
		m.reaches(g, "10.9.0.254")
		m.reaches(g, "10.9.0.1")
	}
	same := func(when string) {
		t.Helper()
		if a := m.attach(line...); *a.Changed {
			t.Errorf("%s, the same line again: %q", when, a.Steps)
		}
		var l []attachment
		if !host.Poll(time.Minute, func() bool { // a renewal may have met what was mended only then
			l = m.list(g.Word)
			return len(l) == 1 && l[0].State == "complete" && l[0].Lease != nil && l[0].Lease.Trouble == ""
		}) {
			t.Errorf("%s: list says %+v", when, l)
		}
	}
	m.quiet(line...)
	answers("at first")
	same("at first")
	m.fails("conflict", "nic0", g.Word, "dhcp")

	first := m.leased(g, "eth1")
	dead := m.keeper()
	m.kill(dead)
	m.check(m.Run("unshare", "--net", "gopipework", "gc").Err())
	if pids := m.keepers(); len(pids) != 0 {
		t.Errorf("a run on another host starts the keeper, which could not reach this one: %v", pids)
	}
	m.quiet("gc")
	m.keeper()
	answers("with another keeper")
	m.check(d.Stop())
	d, err := router.StartDnsmasq("eth1", "10.9.0.110,10.9.0.199,255.255.255.0,2m", renew...)
	m.check(err)
	t.Cleanup(func() { _ = d.Stop() })
	// The route is set last: when it is there, all of the lease is.
	if !host.Poll(time.Minute, func() bool {
		a := m.leased(g, "eth1")
		return a != "" && a != first && strings.HasPrefix(m.ways(), a+" ")
	}) {
		t.Fatalf("no other lease than %s: %q, the host's routes are\n%s", first, m.leased(g, "eth1"), m.ways())
	}
	answers("with another address")
	m.quiet("gc")
	same("with another address, after gc")

	m.quiet("nic0", other.Word, "10.9.0.7/24", "--host-access")
	m.quiet("detach", other.Word)
	answers("when another guest has come and gone")

	m.do("ip route del " + m.leased(g, "eth1"))
	m.quiet(line...)
	answers("when somebody had deleted the route")
	m.do("ip link del " + strings.Fields(m.ways())[2])
	m.quiet(line...)
	answers("when somebody had deleted the macvlan")
	same("when that is mended")

	m.quiet("detach", g.Word)
	m.notKept()
	check("after detach")
	m.fails("usage", "nic0", g.Word, "udhcpc", "--host-access")
	m.check(d.Stop())
	m.fails("timeout", "nic0", g.Word, "dhcp:timeout=1s", "--host-access")
	check("after no answer")
}

// While a lease is lost the host's macvlan stays: the next address needs it, though
// other guests leave and gc runs.
func TestDHCPHostAccessLost(t *testing.T) {
	m := newMachine(t)
	router, g, other := m.cardTo(), m.guest(), m.guest()
	check := m.unchanged(g, other)
	var lost atomic.Bool
	m.answer(&server{}, router, func(r *dhcpv4.DHCPv4) [][]byte {
		var change []dhcpv4.Modifier
		switch {
		case lost.Load() && r.ClientIPAddr.IsUnspecified():
			return nil
		case lost.Load():
			change = append(change, dhcpv4.WithMessageType(dhcpv4.MessageTypeNak))
		}
		return [][]byte{host.Reply(r, net.IP{10, 9, 0, 1}, net.IP{10, 9, 0, 77}, 4*time.Second, change...)}
	})
	line := []string{"nic0", g.Word, "dhcp", "--host-access"}
	m.quiet(line...)
	m.quiet("nic0", other.Word, "10.9.0.7/24", "--host-access")
	lost.Store(true)
	if !host.Poll(30*time.Second, func() bool { return m.leased(g, "eth1") == "" && !strings.Contains(m.ways(), "10.9.0.77") }) {
		t.Errorf("without a lease the address is %q, the host's routes are\n%s", m.leased(g, "eth1"), m.ways())
	}
	if a := m.attach(line...); *a.Changed {
		t.Errorf("without a lease, the same line again: %q", a.Steps)
	}
	m.quiet("detach", other.Word)
	m.quiet("gc")
	m.killed(m.keeper()) // the next one asks at once
	lost.Store(false)
	if !host.Poll(time.Minute, func() bool { return !m.deaf("10.9.0.77") }) {
		t.Errorf("with a lease again the host does not hear %q; its routes are\n%s", m.leased(g, "eth1"), m.ways())
	}
	m.quiet("detach", g.Word)
	m.notKept()
	check("after detach")
}
