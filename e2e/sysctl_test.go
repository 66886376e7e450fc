//go:build linux

package e2e

import (
	"strings"
	"testing"
)

// TestSysctls: the interface has the sysctls of the line, in whichever way they are written;
// the same line sets again what somebody has changed; one that there is not is refused.
func TestSysctls(t *testing.T) {
	m := newMachine(t)
	m.named("web")
	line := []string{"brtest", "netns:web", "10.0.0.2/24,2001:db8::2/64", "--sysctl", "ipv4.log_martians=1",
		"--sysctl", "net.ipv4.conf.IFNAME.proxy_arp=1", "--sysctl", "net/ipv6/neigh/IFNAME/gc_stale_time=77"}
	is := func(path string) string {
		return strings.TrimSpace(m.do("ip netns exec web cat /proc/sys/net/" + path))
	}
	check := func(when string) {
		t.Helper()
		for path, want := range map[string]string{"ipv4/conf/eth1/log_martians": "1", "ipv4/conf/eth1/proxy_arp": "1", "ipv6/neigh/eth1/gc_stale_time": "77"} {
			if got := is(path); got != want {
				t.Errorf("%s, %s is %s", when, path, got)
			}
		}
	}
	m.says("a dry run", m.ok(append(line, "--dry-run")...).Stdout, "sysctl -qw net/ipv4/conf/eth1/proxy_arp=1")
	m.quiet(line...)
	check("at first")
	if r := m.attach(line...); *r.Changed {
		t.Errorf("the same line again: %+v", r)
	}
	m.sh("ip netns exec web sh -c 'echo 0 >/proc/sys/net/ipv4/conf/eth1/proxy_arp'")
	if r := m.attach(line...); !*r.Changed {
		t.Errorf("what was changed is not mended: %+v", r)
	}
	check("mended")
	m.quiet("detach", "netns:web")

	f := m.fails("unsupported", "brtest", "netns:web", "10.0.0.2/24", "--sysctl", "ipv4.no_such_thing=1")
	m.says("an unknown one", f.Error.Message+f.Error.Hint, "no_such_thing", "/proc/sys/net/ipv4/conf/default")
	f = m.fails("failed", "brtest", "netns:web", "10.0.0.2/24", "--sysctl", "ipv4.rp_filter=many")
	m.says("a value that it does not take", f.Error.Message+f.Error.Hint, "rp_filter=many of web", "does not take this value")
	if left := m.list(); len(left) != 0 {
		t.Errorf("left: %+v", left)
	}

	file := m.topology("lab", "{to: brtest, guest: 'netns:web', address: 10.0.0.2/24, sysctl: [ipv4.proxy_arp=1, ipv4.log_martians=1]}")
	m.ok("apply", "-f", file)
	m.differs(file, 0)
	m.sh("ip netns exec web sh -c 'echo 0 >/proc/sys/net/ipv4/conf/eth1/proxy_arp'")
	m.differs(file, 2)
	m.ok("apply", "-f", file)
	if got := is("ipv4/conf/eth1/proxy_arp"); got != "1" {
		t.Errorf("after apply proxy_arp is %s", got)
	}
}
