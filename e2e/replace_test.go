//go:build linux

package e2e

import (
	"strings"
	"testing"
)

// TestReplace: --replace changes what can be changed in place, and detaches and attaches what
// cannot; if the new attachment fails, the one before is there again. Nothing else goes.
func TestReplace(t *testing.T) {
	m := newMachine(t)
	m.sh("mount -t tmpfs state /var/lib") // what is kept there is not the machine's
	web, router := m.named("web"), m.router("br2")
	m.quiet("brtest", "netns:web", "10.0.0.2/24")
	m.quiet("brtest", "netns:web", "10.0.1.2/24", "-i", "eth2")
	there := func() string { return m.ok("list", "web").Stdout }
	before := there()

	f := m.fails("conflict", "br2", "netns:web", "10.9.0.2/24")
	m.says("without it", f.Error.Hint, "or --replace")
	dry := m.ok("br2", "netns:web", "10.9.0.2/24", "--replace", "--dry-run").Stdout
	m.says("a dry run", dry, "ip link del", "gopipework br2 netns:web 10.9.0.2/24")
	if after := there(); after != before {
		t.Errorf("the dry run has changed\n%s into\n%s", before, after)
	}
	index := func() string {
		for _, a := range m.list("web") {
			if a.Interface.Name == "eth1" {
				number, _, _ := strings.Cut(m.do("ip -o link show dev "+a.Host.Port), ":")
				return number
			}
		}
		return ""
	}
	was := index()
	m.ok("brtest", "netns:web", "10.0.0.7/24", "--replace", "--mtu", "1400")
	m.says("in place", there(), "10.0.0.7/24")
	if now := index(); now != was {
		t.Errorf("the port had the index %s, and has %s", was, now)
	}
	if r := m.attach("br2", "netns:web", "10.9.0.2/24", "--replace"); !*r.Changed || r.Attachment.Host.Name != "br2" {
		t.Errorf("replaced: %+v", r)
	}
	m.reaches(web, "10.9.0.1")
	m.says("the other one", there(), "10.0.1.2/24")
	if r := m.attach("br2", "netns:web", "10.9.0.2/24", "--replace"); *r.Changed {
		t.Errorf("the same line again: %+v", r)
	}

	before = there()
	m.fails("conflict", "br3", "netns:web", "10.0.1.2/24", "--replace") // eth2 has it
	if after := there(); after != before {
		t.Errorf("a line that is refused has changed\n%s into\n%s", before, after)
	}
	m.quiet("br3", "netns:web", "10.0.3.2/24", "--replace")
	before = there()
	f = m.fails("conflict", "br2", "netns:web", "10.9.0.1/24", "--acd", "--replace") // the router has it
	m.says("a line that fails", f.Error.Message, "what was there before is attached again")
	if after := there(); after != before {
		t.Errorf("a line that fails has changed\n%s into\n%s", before, after)
	}
	m.reaches(router, "10.9.0.1")

	m.dnsmasq(router)
	m.ok("br2", "netns:web", "dhcp:default-route=no", "-i", "lan0")
	m.fails("failed", "br2", "netns:web", "dhcp:default-route=no", "02:00:00:00:00:07", "-i", "lan0", "--sysctl", "ipv4.rp_filter=many", "--replace")
	if routes := web.Run("ip", "route").Stdout; strings.Contains(routes, "default") {
		t.Errorf("the lease is there again with a default route:\n%s", routes)
	}
	m.ok("detach", "netns:web", "lan0")

	m.named("db")
	m.ok("link", "netns:web:to-db", "10.8.0.1/30", "netns:db:to-web", "10.8.0.2/30")
	f = m.fails("conflict", "brtest", "-i", "to-db", "netns:web", "10.8.0.1/30", "--replace")
	m.says("an end of a link", f.Error.Message+f.Error.Hint, "one end of a link", "gopipework detach")
	m.fails("not_found", "phys:nothing", "netns:web", "10.0.0.2/24", "--replace")
	file := m.topology("lab", "brtest netns:web 10.0.2.2/24 -i eth3")
	m.ok("apply", "-f", file)
	f = m.fails("conflict", "brtest", "netns:web", "10.0.2.3/24", "-i", "eth3", "--replace")
	m.says("of a file", f.Error.Message, "it belongs to file:lab")
	m.ok("brtest", "netns:web", "10.0.0.2/24", "--keep", "--replace")
	m.ok("diff", "--kept")
}
