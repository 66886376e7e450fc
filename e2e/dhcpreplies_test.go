//go:build linux

package e2e

import (
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"github.com/gopipework/gopipework/e2e/host"
)

// asks pings an address from another of the pinging guest's own, which no subnet of
// the answering guest holds: only a default route leads back there.
func (m *machine) asks(from *host.Guest, own, addr string) bool {
	return ping(from, addr, "-I", own).Code == 0
}

// twoWays gives a guest an old interface, eth0, with a default route to the guest
// that it returns. Either neighbour speaks from an address beyond every subnet.
func (m *machine) twoWays(g, router *host.Guest) (old *host.Guest) {
	m.t.Helper()
	old = m.guest()
	m.check(m.Batch("link add eth0 netns " + strings.TrimPrefix(g.Word, "pid:") + " type veth peer name eth0 netns " + strings.TrimPrefix(old.Word, "pid:")))
	m.check(old.Run("sh", "-ec", "ip link set eth0 up; ip address add 172.17.0.1/16 dev eth0; ip address add 10.97.0.1/32 dev lo").Err())
	m.check(g.Run("sh", "-ec", "ip link set eth0 up; ip address add 172.17.0.2/16 dev eth0; ip route add default via 172.17.0.1").Err())
	m.check(router.Run("ip", "address", "add", "10.98.0.1/32", "dev", "lo").Err())
	return old
}

// Source routing of a leased address, with a real server: replies leave by the
// interface whose address they carry, with every place of the default route, also
// when a keeper that was killed and started again gets another address.
func TestDHCPSourceRouting(t *testing.T) {
	m := newMachine(t)
	router, g := m.router("brtest"), m.guest()
	old := m.twoWays(g, router)
	check := m.unchanged(g)
	renew := []string{"--dhcp-option=58,4", "--dhcp-option=59,60"}
	d := m.dnsmasq(router, renew...)
	answer := func(when string) {
		t.Helper()
		if a := m.leased(g, "eth1"); !m.asks(router, "10.98.0.1", a) {
			t.Errorf("%s: %s does not answer the router", when, a)
		}
		if !m.asks(old, "10.97.0.1", "172.17.0.2") {
			t.Errorf("%s: 172.17.0.2 does not answer by the old interface", when)
		}
	}
	rules := func() string { return g.Run("ip", "rule", "show", "proto", "103").Stdout }

	m.quiet("brtest", g.Word, "dhcp")
	m.cut(old, "172.17.0.2", "-I", "10.97.0.1") // without source routing
	m.fails("conflict", "brtest", g.Word, "dhcp", "--source-routing")
	m.quiet("detach", g.Word)
	check("after a lease alone")

	line := []string{"brtest", g.Word, "dhcp", "--source-routing"}
	for _, place := range []string{"--default=keep", "--default=front"} {
		m.quiet(append(line, place)...)
		answer("with " + place)
		if place == "--default=keep" {
			m.quiet("detach", g.Word)
			m.notKept()
			check("after detach with " + place)
		}
	}
	same := func(when string) {
		t.Helper()
		if a := m.attach(line...); *a.Changed {
			t.Errorf("%s, the same line again: %q", when, a.Steps)
		}
		if l := m.list(g.Word); len(l) != 1 || l[0].State != "complete" {
			t.Errorf("%s: list says %+v", when, l)
		}
	}
	same("at first")
	m.fails("conflict", "brtest", g.Word, "dhcp")

	first := m.leased(g, "eth1")
	m.killed(m.keeper())
	m.check(d.Stop())
	d, err := router.StartDnsmasq("eth1", "10.9.0.110,10.9.0.199,255.255.255.0,2m", renew...)
	m.check(err)
	t.Cleanup(func() { _ = d.Stop() })
	// The rule is set last: when it is there, all of the lease is.
	if !host.Poll(time.Minute, func() bool {
		a := m.leased(g, "eth1")
		return a != "" && a != first && strings.Contains(rules(), "from "+a+" ")
	}) {
		t.Fatalf("no other lease than %s: %q, the rules are\n%s", first, m.leased(g, "eth1"), rules())
	}
	answer("with another address")
	if strings.Contains(rules(), first+" ") {
		t.Errorf("the rule of the first lease is still there:\n%s", rules())
	}
	m.quiet("gc")
	answer("after gc")
	same("with another address")

	m.check(g.Run("sh", "-ec", "ip rule del from "+m.leased(g, "eth1")+"; ip route flush table 264802").Err())
	m.quiet(line...)
	answer("when somebody had deleted the rule and its table")
	same("when that is mended")

	m.quiet("brlan", "-i", "lan0", g.Word, "10.8.0.2/24@10.8.0.1", "--source-routing")
	answer("beside another interface with source routing")
	m.quiet("detach", g.Word, "lan0")
	answer("when that has gone")
	m.quiet("detach", g.Word)
	m.notKept()
	check("after detach")
}

// A lease that is lost takes its rule and its routes with it, and what stands for
// the other interfaces stays: the keeper goes on asking, and the next lease needs
// it. A renewal that names another router changes the table.
func TestDHCPSourceRoutingLost(t *testing.T) {
	m := newMachine(t)
	router, g := m.router("brtest"), m.guest()
	old := m.twoWays(g, router)
	check := m.unchanged(g)
	var lost, gateway atomic.Int32
	gateway.Store(1)
	m.answer(&server{}, router, func(r *dhcpv4.DHCPv4) [][]byte {
		change := []dhcpv4.Modifier{dhcpv4.WithRouter(net.IP{10, 9, 0, byte(gateway.Load())})}
		switch {
		case lost.Load() == 1 && r.ClientIPAddr.IsUnspecified():
			return nil
		case lost.Load() == 1:
			change = append(change, dhcpv4.WithMessageType(dhcpv4.MessageTypeNak))
		}
		return [][]byte{host.Reply(r, net.IP{10, 9, 0, 1}, net.IP{10, 9, 0, 77}, 10*time.Second, change...)}
	})
	line := []string{"brtest", g.Word, "dhcp", "--source-routing", "--route", "10.60.0.0/16,via 10.9.0.9"}
	m.quiet(line...)
	table := func() []string {
		return strings.FieldsFunc(g.Run("ip", "route", "show", "table", "264802").Stdout, func(r rune) bool { return r == '\n' })
	}
	says := func(when string, want ...string) bool {
		return host.Poll(30*time.Second, func() bool {
			there := table()
			return len(there) == len(want) && !slices.ContainsFunc(want, func(w string) bool {
				return !slices.ContainsFunc(there, func(r string) bool { return strings.HasPrefix(r, w) })
			})
		})
	}
	first := []string{"default via 10.9.0.1 dev eth1", "10.9.0.0/24 dev eth1", "10.60.0.0/16 via 10.9.0.9 dev eth1"}
	if !says("at first", first...) {
		t.Errorf("at first the table is %q", table())
	}
	gateway.Store(5)
	if !says("renewed", "default via 10.9.0.5 dev eth1", first[1], first[2]) {
		t.Errorf("after the router of a renewal the table is %q", table())
	}

	lost.Store(1)
	if !host.Poll(30*time.Second, func() bool { return m.leased(g, "eth1") == "" && len(table()) == 0 }) {
		t.Errorf("without a lease the address is %q, the table %q", m.leased(g, "eth1"), table())
	}
	m.quiet("gc")
	if rules := g.Run("ip", "rule", "show", "proto", "103").Stdout; !strings.Contains(rules, "from 172.17.0.2 ") || strings.Contains(rules, "10.9.0.77") {
		t.Errorf("without a lease the rules are\n%s", rules)
	}
	if a := m.attach(line...); *a.Changed {
		t.Errorf("without a lease, the same line again: %q", a.Steps)
	}
	m.fails("conflict", "brtest", g.Word, "dhcp", "--route", "10.60.0.0/16,via 10.9.0.9")
	m.killed(m.keeper()) // the next one asks at once
	gateway.Store(1)
	lost.Store(0)
	if !host.Poll(time.Minute, func() bool { return m.leased(g, "eth1") != "" && len(table()) == 3 }) {
		t.Errorf("with a lease again the address is %q, the table %q", m.leased(g, "eth1"), table())
	}
	if !m.asks(old, "10.97.0.1", "172.17.0.2") || !m.asks(router, "10.98.0.1", "10.9.0.77") {
		t.Error("with a lease again one of the neighbours gets no answer")
	}
	m.quiet("detach", g.Word)
	m.notKept()
	check("after detach")
}

// What is said before a lease, and when the server names a router.
func TestDHCPSourceRoutingWords(t *testing.T) {
	m := newMachine(t)
	g := m.guest()
	steps := m.attach("--dry-run", "brtest", g.Word, "dhcp", "--source-routing").Steps
	m.says("--dry-run", strings.Join(steps, "\n"), "ip rule add from ADDRESS lookup 264801 priority 26480 protocol 103")
	for _, client := range []string{"udhcpc", "dhclient", "dhcpcd"} {
		f := m.fails("usage", "brtest", g.Word, client, "--source-routing")
		m.says(client, f.Error.Message+f.Error.Hint, "no rule would follow it", "use dhcp instead")
	}
}
