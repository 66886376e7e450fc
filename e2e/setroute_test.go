//go:build linux

package e2e

import (
	"context"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"github.com/gopipework/gopipework/e2e/host"
)

// TestSetRoute: set replaces the routes of an attachment, and no others: packets take the new
// ones at once, twice is once, --for sets them back, and apply changes them in place.
func TestSetRoute(t *testing.T) {
	m := newMachine(t)
	web, router := m.named("web"), m.named("router")
	m.check(router.Run("sh", "-ec", "ip address add 10.60.0.1/32 dev lo; ip address add 10.61.0.1/32 dev lo").Err())
	m.quiet("brtest", "netns:router", "10.0.0.1/24")
	m.quiet("brtest", "netns:web", "10.0.0.2/24", "--route", "10.60.0.1/32,via 10.0.0.1")
	m.check(web.Run("ip", "route", "add", "10.62.0.0/16", "via", "10.0.0.1").Err())
	m.reaches(web, "10.60.0.1")

	set := func(args ...string) host.Result {
		t.Helper()
		return m.ok(append([]string{"set", "netns:web", "eth1"}, args...)...)
	}
	m.says("a dry run", set("--route", "10.61.0.1/32,via 10.0.0.1", "--dry-run").Stdout,
		"ip route add 10.61.0.1/32 via 10.0.0.1 dev eth1 protocol 103", "ip route del 10.60.0.1/32 via 10.0.0.1 dev eth1 protocol 103")
	m.says("the result", set("--route", "10.61.0.1/32,via 10.0.0.1", "--json").Stdout, `"routes":["10.61.0.1/32,via 10.0.0.1"]`, `"changed":true`)
	m.reaches(web, "10.61.0.1")
	m.cut(web, "10.60.0.1")
	m.says("twice", set("--route", "10.61.0.1/32,via 10.0.0.1", "--json").Stdout, `"changed":false`)

	b := m.begin(m.Command(context.Background(), "gopipework", "set", "netns:web", "eth1", "--route", "10.60.0.1/32,via 10.0.0.1", "--route", "10.63.0.0/16", "--for", "1h"))
	if !host.Poll(host.Patience, func() bool { return strings.Contains(m.ok("list", "web", "--json").Stdout, "10.63.0.0/16") }) {
		t.Errorf("nothing is set: %v", b.end(t))
	}
	m.check(b.Process.Kill())
	b.end(t)
	if !host.Poll(host.Patience, func() bool {
		return strings.Contains(m.ok("list", "web", "--json").Stdout, `"routes":["10.61.0.1/32,via 10.0.0.1"]`)
	}) {
		t.Errorf("it is not set back: %s", m.ok("list", "web", "--json").Stdout)
	}

	m.says("a difference", m.fails("conflict", "brtest", "netns:web", "10.0.0.2/24").Error.Hint, "gopipework set netns:web eth1 --route none")
	file := m.topology("lab", "brtest netns:web 10.0.0.2/24 --route '10.60.0.1/32,via 10.0.0.1'", "brtest netns:router 10.0.0.1/24")
	changes := m.ok("apply", "-f", file, "-v")
	m.says("apply", changes.Stdout+changes.Stderr, "route '10.61.0.1/32,via 10.0.0.1' -> '10.60.0.1/32,via 10.0.0.1'", "ip route add 10.60.0.1/32")
	m.reaches(web, "10.60.0.1")
	m.differs(file, 0)
	m.says("of a file", set("--route", "none").Stderr, "change it there too")
	if routes := web.Run("ip", "route").Stdout; strings.Contains(routes, "proto 103") || !strings.Contains(routes, "10.62.0.0/16") {
		t.Errorf("the routes are\n%s", routes)
	}
	m.fails("usage", "set", "netns:web", "eth1", "--route", "none", "--route", "10.60.0.0/16")
	m.fails("usage", "set", "netns:web", "eth1", "--route", "10.60.0.0/16,via 10.7.0.1")
	m.fails("conflict", "set", "netns:web", "eth1", "--route", "10.62.0.0/16,via 10.0.0.1")
	m.ok("detach", "netns:web")
}

// TestSetRouteDHCP: the keeper of a lease sets the new routes with each renewal, also when it
// was killed, and the old ones no more.
func TestSetRouteDHCP(t *testing.T) {
	m := newMachine(t)
	router, g := m.router("brtest"), m.guest()
	check := m.unchanged(g)
	s := m.lends(router, 10*time.Second)
	m.quiet("brtest", g.Word, "dhcp", "--route", "10.60.0.0/16,via 10.9.0.5", "--source-routing")
	m.ok("set", g.Word, "eth1", "--route", "10.61.0.0/16,via 10.9.0.1", "--route", "10.62.0.0/16")
	routes := func(when string) {
		t.Helper()
		all := g.Run("ip", "route", "show", "table", "all").Stdout
		m.says("the routes "+when, all, "10.61.0.0/16 via 10.9.0.1 dev eth1 proto", "10.62.0.0/16 dev eth1 proto", "10.61.0.0/16 via 10.9.0.1 dev eth1 table 26480")
		if strings.Contains(all, "10.60.") {
			t.Errorf("%s the old route is there:\n%s", when, all)
		}
	}
	routes("at first")
	asked := s.asked.Load()
	m.killed(m.keeper())
	m.check(g.Run("ip", "route", "del", "10.61.0.0/16", "table", "main").Err())
	if !host.Poll(host.Patience, func() bool {
		return s.asked.Load() > asked && strings.Contains(g.Run("ip", "route").Stdout, "10.61.0.0/16")
	}) {
		t.Error("the keeper does not set the route again")
	}
	routes("after a renewal")
	if a := m.attach("brtest", g.Word, "dhcp", "--route", "10.61.0.0/16,via 10.9.0.1", "--route", "10.62.0.0/16", "--source-routing"); *a.Changed {
		t.Errorf("the line that asks for the same: %q", a.Steps)
	}
	f := m.fails("conflict", "set", g.Word, "eth1", "--route", "10.62.0.0/16", "--route", "10.63.0.0/16,via 192.0.2.1")
	m.says("a gateway out of reach", f.Error.Message+f.Error.Hint, "192.0.2.1", "puts it on the link")
	routes("after what was refused")
	m.ok("set", g.Word, "eth1", "--route", "none")
	if all := g.Run("ip", "route", "show", "table", "all").Stdout; strings.Contains(all, "10.6") {
		t.Errorf("they have not all gone:\n%s", all)
	}
	m.quiet("detach", g.Word)
	m.notKept()
	check("after detach")
}

// TestSetDNS: set changes the name servers of a container, and restores its own.
func TestSetDNS(t *testing.T) {
	e := withDocker(t)
	e.container("web", "--dns", "10.0.0.53")
	resolv := func() string { return e.docker("exec", "web", "cat", "/etc/resolv.conf") }
	before := resolv()
	set := func(args ...string) host.Result {
		t.Helper()
		return e.ok(append([]string{"set", "web", "eth1"}, args...)...)
	}
	e.quiet("brtest", "web", "10.9.0.2/24")
	e.says("the result", set("--dns", "10.9.0.53", "--json").Stdout, `"dns":"10.9.0.53"`, `"changed":true`)
	e.says("resolv.conf", resolv(), "nameserver 10.9.0.53")
	e.says("twice", set("--dns", "10.9.0.53", "--json").Stdout, `"changed":false`)
	set("--dns", "10.9.0.54,fd00::54")
	other := resolv()
	e.says("resolv.conf", other, "nameserver 10.9.0.54\nnameserver fd00::54")
	if a := e.attach("brtest", "web", "10.9.0.2/24", "--dns", "10.9.0.54,fd00::54"); *a.Changed {
		t.Errorf("the line that asks for the same: %q", a.Steps)
	}
	e.says("a difference", e.fails("conflict", "brtest", "web", "10.9.0.2/24", "--dns", "10.9.0.53").Error.Hint, "gopipework set web eth1 --dns 10.9.0.53")
	e.says("for a while", set("--dns", "10.9.0.53", "--for", "1s").Stderr, "an interruption")
	if now := resolv(); now != other {
		t.Errorf("after a while resolv.conf is %q, was %q", now, other)
	}
	e.quiet("brtest", "-i", "eth2", "web", "10.9.1.2/24")
	e.says("of two", e.fails("conflict", "set", "web", "eth2", "--dns", "10.9.1.53").Error.Message, "eth1 are there already")
	set("--dns", "none")
	if now := resolv(); now != before {
		t.Errorf("resolv.conf is %q, was %q", now, before)
	}
	e.fails("usage", "set", "web", "eth1", "--dns", "ten")
	set("--dns", "10.9.0.53")
	e.quiet("detach", "--all", "web")
	if now := resolv(); now != before || e.notes() != "" {
		t.Errorf("after detach resolv.conf is %q, was %q, notes %q", now, before, e.notes())
	}
}

// TestSetSourceRouting: set turns it on and off, for addresses that are given and for a
// leased one, whose keeper sets it from then on; other addresses take their rules along.
func TestSetSourceRouting(t *testing.T) {
	m := newMachine(t)
	router, g := m.router("brtest"), m.guest()
	old := m.twoWays(g, router)
	s := m.lends(router, 10*time.Second, dhcpv4.WithRouter(net.IP{10, 9, 0, 1}))
	rules := func() string { return g.Run("ip", "rule", "show", "proto", "103").Stdout }
	for _, from := range []struct{ line, addr string }{{"10.9.0.2/24@10.9.0.1", "10.9.0.2"}, {"dhcp", "10.9.0.77"}} {
		m.quiet("brtest", g.Word, from.line)
		check := m.unchanged(g)
		m.cut(old, "172.17.0.2", "-I", "10.97.0.1")
		m.says("the result", m.ok("set", g.Word, "eth1", "--source-routing", "on", "--json").Stdout, `"source_routing":true`, `"changed":true`)
		m.says("twice", m.ok("set", g.Word, "eth1", "--source-routing", "on", "--json").Stdout, `"changed":false`)
		if !m.asks(old, "10.97.0.1", "172.17.0.2") || !m.asks(router, "10.98.0.1", from.addr) {
			t.Errorf("%s: a neighbour gets no answer; the rules are\n%s", from.line, rules())
		}
		if a := m.attach("brtest", g.Word, from.line, "--source-routing"); *a.Changed {
			t.Errorf("the line that asks for the same: %q", a.Steps)
		}
		if from.line == "dhcp" {
			m.killed(m.keeper())
			m.check(g.Run("ip", "rule", "del", "from", from.addr).Err())
			asked := s.asked.Load()
			if !host.Poll(host.Patience, func() bool { return s.asked.Load() > asked && strings.Contains(rules(), "from "+from.addr) }) {
				t.Errorf("the keeper does not set the rule: %s", rules())
			}
		}
		m.ok("set", g.Word, "eth1", "--source-routing", "off")
		check("with it off again, " + from.line)
		m.ok("set", g.Word, "eth1", "--source-routing", "on", "--for", "1s")
		check("after a while, " + from.line)
		if from.line != "dhcp" {
			m.ok("set", g.Word, "eth1", "--source-routing", "on")
			m.ok("set", g.Word, "eth1", "--addr", "10.9.0.3/24")
			if all := rules(); !strings.Contains(all, "from 10.9.0.3 ") || strings.Contains(all, "from 10.9.0.2 ") || !m.asks(router, "10.98.0.1", "10.9.0.3") {
				t.Errorf("the rules do not follow the address:\n%s", all)
			}
		}
		m.quiet("detach", g.Word)
		if all := rules(); strings.Contains(all, "lookup 26480") {
			t.Errorf("detach leaves\n%s", all)
		}
	}
}
