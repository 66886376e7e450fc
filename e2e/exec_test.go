//go:build linux

package e2e

import "testing"

// exec, route, rule and tc run the host's own commands in the guest's network
// namespace, and hand on their exit code.
func TestExec(t *testing.T) {
	m := newMachine(t)
	g := m.guest()
	m.quiet("br1", g.Word, "10.0.0.2/24")
	check := m.unchanged(g)
	m.says("the links of the guest", m.ok("exec", g.Word, "--", "ip", "-br", "link").Stdout, "eth1")
	m.says("/sys of the guest", m.ok("exec", g.Word, "ls", "/sys/class/net").Stdout, "eth1")
	for line, code := range map[string]int{"exit 0": 0, "exit 7": 7, "kill -TERM $$": 143} {
		if r := m.gopipework("exec", g.Word, "--", "sh", "-c", line); r.Code != code {
			t.Errorf("%s: exit code %d, want %d", line, r.Code, code)
		}
	}
	m.quiet("route", g.Word, "add", "10.7.0.0/16", "via", "10.0.0.1")
	m.says("the routes", m.ok("route", g.Word).Stdout, "10.7.0.0/16 via 10.0.0.1")
	m.says("the IPv6 routes", m.ok("route", g.Word, "-6", "show", "table", "all").Stdout, "fe80::")
	m.quiet("route", g.Word, "del", "10.7.0.0/16")
	if r := m.gopipework("route", g.Word, "add", "nonsense"); r.Code != 1 {
		t.Errorf("ip's own refusal: exit code %d, want 1", r.Code)
	}
	m.quiet("rule", g.Word, "add", "from", "10.0.0.2", "table", "7")
	m.says("the rules", m.ok("rule", g.Word).Stdout, "from 10.0.0.2 lookup 7")
	m.quiet("rule", g.Word, "del", "from", "10.0.0.2", "table", "7")
	m.says("the queueing discipline", m.ok("tc", g.Word, "qdisc", "show", "dev", "eth1").Stdout, "qdisc")
	check("after all of them")
}
