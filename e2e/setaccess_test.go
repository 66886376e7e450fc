//go:build linux

package e2e

import (
	"strings"
	"testing"
	"time"

	"github.com/gopipework/gopipework/e2e/host"
)

// TestSetHostAccess: set has the host and a macvlan reach each other, and ends it; the routes
// follow other addresses, apply changes it in place, and --for sets it back.
func TestSetHostAccess(t *testing.T) {
	m := newMachine(t)
	router, web, db := m.cardTo(), m.named("web"), m.named("db")
	before := m.unchanged(web, db)
	m.quiet("nic0", "netns:web", "10.9.0.5/24")
	m.ok("set", "netns:web", "eth1", "--addr", "10.9.0.2/24")
	m.quiet("nic0", "netns:db", "10.9.0.3/24")
	check := m.unchanged(web, db)
	set := func(args ...string) host.Result {
		t.Helper()
		return m.ok(append([]string{"set", "netns:web", "eth1"}, args...)...)
	}
	m.says("a dry run", set("--host-access", "on", "--dry-run").Stdout, "type macvlan mode bridge", "ip route add 10.9.0.2/32 dev gph")
	check("after a dry run")
	m.says("the result", set("--host-access", "on", "--json").Stdout, `"changed":true`)
	if !m.hears("10.9.0.2") {
		t.Errorf("the host does not hear the guest; its routes are\n%s", m.ways())
	}
	m.reaches(web, "10.9.0.254")
	m.reaches(router, "10.9.0.2")
	m.says("twice", set("--host-access", "on", "--json").Stdout, `"changed":false`)
	if a := m.attach("nic0", "netns:web", "10.9.0.2/24", "--host-access"); *a.Changed {
		t.Errorf("the line that asks for the same: %q", a.Steps)
	}
	m.says("a difference", m.fails("conflict", "nic0", "netns:web", "10.9.0.2/24").Error.Hint, "gopipework set netns:web eth1 --host-access off")

	set("--addr", "10.9.0.4/24")
	if ways := m.ways(); !strings.HasPrefix(ways, "10.9.0.4 dev gph") || strings.Count(ways, "\n") != 1 || !m.hears("10.9.0.4") {
		t.Errorf("the routes do not follow the address:\n%s", ways)
	}
	set("--addr", "0/0", "--for", "1s")
	if ways := m.ways(); !strings.HasPrefix(ways, "10.9.0.4 dev gph") {
		t.Errorf("the routes are not set back:\n%s", ways)
	}
	set("--addr", "10.9.0.2/24")
	m.ok("set", "netns:db", "eth1", "--host-access", "on")
	set("--host-access", "off")
	if !m.hears("10.9.0.3") || strings.Contains(m.ways(), "10.9.0.2 ") {
		t.Errorf("off for one, the host's routes are\n%s", m.ways())
	}
	m.ok("set", "netns:db", "eth1", "--host-access", "off")
	check("with it off again")
	if !m.deaf("10.9.0.2") {
		t.Error("with it off again, the host goes on to hear the guest")
	}
	set("--host-access", "on", "--for", "1s")
	check("after a while")

	m.ok("nic0", "netns:web", "10.9.0.4/24", "--host-access", "--replace")
	if !m.hears("10.9.0.4") {
		t.Errorf("replaced by a line with it, the host's routes are\n%s", m.ways())
	}
	m.ok("nic0", "netns:web", "10.9.0.2/24", "--replace")
	check("when replaced by a line without it")
	file := m.topology("lab", "nic0 netns:web 10.9.0.2/24 --host-access", "nic0 netns:db 10.9.0.3/24")
	m.ok("apply", "-f", file)
	if !m.hears("10.9.0.2") {
		t.Errorf("after apply the host's routes are\n%s", m.ways())
	}
	m.ok("set", "netns:web", "eth1", "--host-access", "off")
	m.differs(file, 2)
	m.ok("apply", "-f", file)
	m.differs(file, 0)
	m.fails("usage", "set", "netns:web", "eth1", "--host-access", "yes")
	m.quiet("brtest", "-i", "eth2", "netns:web", "10.8.0.2/24")
	m.fails("usage", "set", "netns:web", "eth2", "--host-access", "on")
	m.quiet("detach", "--all", "netns:web")
	m.quiet("detach", "netns:db")
	before("after detach")
}

// TestSetHostAccessDHCP: the keeper of a lease that is there has the host's route follow it
// from then on, and no more when it is off again.
func TestSetHostAccessDHCP(t *testing.T) {
	m := newMachine(t)
	router, g := m.cardTo(), m.guest()
	s := m.lends(router, 6*time.Second)
	m.quiet("nic0", g.Word, "dhcp")
	check := m.unchanged(g)
	set := func(word string) host.Result {
		t.Helper()
		return m.ok("set", g.Word, "eth1", "--host-access", word, "--json")
	}
	m.says("the result", set("on").Stdout, `"changed":true`)
	m.says("twice", set("on").Stdout, `"changed":false`)
	if !m.hears("10.9.0.77") {
		t.Errorf("the host does not hear the guest; its routes are\n%s", m.ways())
	}
	if a := m.attach("nic0", g.Word, "dhcp", "--host-access"); *a.Changed {
		t.Errorf("the line that asks for the same: %q", a.Steps)
	}
	m.says("a difference", m.fails("conflict", "nic0", g.Word, "dhcp").Error.Hint, "--host-access off")
	m.do("ip route del 10.9.0.77")
	if !host.Poll(host.Patience, func() bool { return strings.HasPrefix(m.ways(), "10.9.0.77 dev gph") }) {
		t.Errorf("no renewal sets the route: %s", m.ways())
	}
	set("off")
	check("with it off again")
	asked := s.asked.Load()
	if !host.Poll(host.Patience, func() bool { return s.asked.Load() > asked+1 }) {
		t.Error("the lease is not renewed")
	}
	check("after a renewal")
	m.says("a difference", m.fails("conflict", "nic0", g.Word, "dhcp", "--host-access").Error.Hint, "--host-access on")
	set("on")
	m.quiet("detach", g.Word)
	m.notKept()
	if ways := m.ways(); ways != "" {
		t.Errorf("detach leaves %s", ways)
	}
}
