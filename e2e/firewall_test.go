//go:build linux

package e2e

import (
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gopipework/gopipework/e2e/host"
)

// Ping over both families where FORWARD drops both: not before the rule is
// there, and then at once.
func TestPacketsFlow(t *testing.T) {
	e := newEngine(t)
	e.do("ip6tables -P FORWARD DROP")
	e.container("one")
	e.container("two")
	e.container("three")
	a, b, c := e.guestOf("one"), e.guestOf("two"), e.guestOf("three")
	check := e.unchanged(a, b, c)

	for i, name := range []string{"one", "two"} {
		r := e.attach("--no-firewall", "brtest", name, []string{"192.168.1.2/24,fd00:1::2/64", "192.168.1.3/24,fd00:1::3/64"}[i])
		e.says("the warning", strings.Join(r.Warnings, "\n"), "iptables", "ip6tables")
	}
	e.rules(0, 0)
	e.cut(a, "192.168.1.3")
	e.cut(a, "fd00:1::3")
	e.quiet("detach", "one")
	e.quiet("detach", "two")
	check("after detach")

	e.quiet("brtest", "one", "192.168.1.2/24,fd00:1::2/64")
	e.quiet("brtest", "two", "192.168.1.3/24,fd00:1::3/64")
	e.reaches(a, "192.168.1.3")
	e.reaches(a, "fd00:1::3")
	e.reaches(b, "192.168.1.2")
	e.reaches(b, "fd00:1::2")
	e.rules(1, 1)
	e.says("the rule", e.ourRules("iptables-save")[0], "-A DOCKER-USER -i brtest -o brtest -m physdev --physdev-is-bridged", "-j ACCEPT")

	// Another bridge of ours is another network, whatever the addresses.
	e.quiet("brother", "three", "192.168.1.4/24,fd00:1::4/64")
	e.cut(c, "192.168.1.2")
	e.cut(c, "fd00:1::2")
	e.cut(a, "192.168.1.4")

	e.quiet("detach", "three")
	e.quiet("detach", "one")
	e.reaches(b, "192.168.1.3")
	e.rules(1, 1) // they stay for the last port
	e.quiet("detach", "two")
	check("after the last detach")
}

// On a bridge that somebody else made, our port is let through and no other.
func TestForeignBridge(t *testing.T) {
	m := newMachine(t)
	m.do("ip link add lan type bridge")
	m.do("ip link set lan up")
	x, y := m.guest(), m.guest()
	byHand(m, x, "lan", "px", "10.0.0.3/24")
	byHand(m, y, "lan", "py", "10.0.0.4/24")
	a, b := m.guest(), m.guest()
	check := m.unchanged(a, b, x, y)
	m.quiet("lan", a.Word, "10.0.0.1/24")
	m.quiet("lan", b.Word, "10.0.0.2/24")
	m.reaches(a, "10.0.0.3")
	m.reaches(y, "10.0.0.1")
	m.reaches(a, "10.0.0.2")
	m.cut(x, "10.0.0.4")
	m.rules(4, 4) // two for each of our ports
	m.quiet("detach", a.Word)
	m.reaches(b, "10.0.0.3")
	m.rules(2, 2)
	for _, r := range m.ourRules("iptables-save") {
		if !strings.Contains(r, m.list()[0].Host.Port) {
			t.Errorf("a rule for a port that is gone: %s", r)
		}
	}
	m.quiet("detach", b.Word)
	check("after detach")
}

// Without the chain for users' rules, ours goes first in FORWARD.
func TestNoDockerUser(t *testing.T) {
	m := newMachine(t)
	m.check(m.Host.Run("sh", "-ec", "iptables -F FORWARD; iptables -X DOCKER-USER 2>/dev/null || { iptables -F DOCKER-USER; iptables -X DOCKER-USER; }; iptables -A FORWARD -j LOG").Err())
	a, b := m.guest(), m.guest()
	check := m.unchanged(a, b)
	m.quiet("br1", a.Word, "10.0.0.1/24")
	m.quiet("br1", b.Word, "10.0.0.2/24")
	m.reaches(a, "10.0.0.2")
	first, _, _ := strings.Cut(m.do("iptables -S FORWARD"), "-j LOG")
	m.says("FORWARD before the first rule of others", first, "physdev-is-bridged")
	m.quiet("detach", a.Word)
	m.quiet("detach", b.Word)
	check("after detach")
}

// Where nothing drops, nothing is added.
func TestNothingDrops(t *testing.T) {
	for name, prepare := range map[string]string{
		"policy accept":            "for t in iptables ip6tables; do $t -F FORWARD; $t -F DOCKER-USER; $t -X DOCKER-USER; $t -P FORWARD ACCEPT; done",
		"bridged frames not shown": "echo 0 > /proc/sys/net/bridge/bridge-nf-call-iptables; echo 0 > /proc/sys/net/bridge/bridge-nf-call-ip6tables",
	} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t)
			m.check(m.Host.Run("sh", "-ec", prepare).Err())
			a, b := m.guest(), m.guest()
			check := m.unchanged(a, b)
			m.quiet("br1", a.Word, "10.0.0.1/24")
			m.quiet("br1", b.Word, "10.0.0.2/24")
			m.reaches(a, "10.0.0.2")
			m.rules(0, 0)
			m.quiet("detach", a.Word)
			m.quiet("detach", b.Word)
			check("after detach")
		})
	}
}

// Docker sets the policy to DROP whenever it likes, for IPv6 when it makes its
// first network with it: where it has its chain, our rule is there before.
func TestDropsLater(t *testing.T) {
	m := newMachine(t)
	m.check(m.Host.Run("sh", "-ec", "for t in iptables ip6tables; do $t -P FORWARD ACCEPT; done").Err())
	a, b := m.guest(), m.guest()
	check := m.unchanged(a, b)
	m.quiet("br1", a.Word, "10.0.0.1/24,fd00:1::1/64")
	m.quiet("br1", b.Word, "10.0.0.2/24,fd00:1::2/64")
	m.rules(1, 1)
	m.check(m.Host.Run("sh", "-ec", "for t in iptables ip6tables; do $t -P FORWARD DROP; done").Err())
	m.reaches(a, "10.0.0.2")
	m.reaches(a, "fd00:1::2")
	m.check(m.Host.Run("sh", "-ec", "for t in iptables ip6tables; do $t -P FORWARD ACCEPT; done").Err())
	m.quiet("detach", a.Word)
	m.quiet("detach", b.Word)
	check("after detach")
}

// Somebody puts a drop in front of our rule: the same line mends it, list says
// that packets are cut, and detach deletes each rule of ours.
func TestDropInFront(t *testing.T) {
	for _, chain := range []string{"DOCKER-USER", "FORWARD"} {
		t.Run(chain, func(t *testing.T) {
			m := newMachine(t)
			a, b := m.guest(), m.guest()
			check := m.unchanged(a, b)
			m.quiet("br1", a.Word, "10.0.0.1/24")
			m.quiet("br1", b.Word, "10.0.0.2/24")
			m.reaches(a, "10.0.0.2")
			m.do("iptables -I " + chain + " -j DROP")
			m.cut(a, "10.0.0.2")
			for _, l := range m.list() {
				m.says("list", strings.Join(l.Cut, "\n"), "IPv4", "drop")
			}
			if r := m.attach("br1", a.Word, "10.0.0.1/24"); !*r.Changed {
				t.Error("the same line changed nothing")
			}
			m.reaches(a, "10.0.0.2")
			for _, l := range m.list() {
				if l.Cut != nil {
					t.Errorf("list still says %q", l.Cut)
				}
			}
			if r := m.attach("br1", a.Word, "10.0.0.1/24"); *r.Changed {
				t.Errorf("once more changed something: %q", r.Steps)
			}
			m.do("iptables -D " + chain + " -j DROP")
			m.quiet("detach", a.Word)
			m.quiet("detach", b.Word)
			check("after detach")
		})
	}
}

// A bridge can have its frames go through iptables where the sysctl does not.
func TestBridgeCallsIptables(t *testing.T) {
	m := newMachine(t)
	m.check(m.Host.Run("sh", "-ec", "for c in iptables ip6tables; do echo 0 > /proc/sys/net/bridge/bridge-nf-call-$c; done").Err())
	m.do("ip link add lan type bridge nf_call_iptables 1 nf_call_ip6tables 1")
	m.do("ip link set lan up")
	x := m.guest()
	byHand(m, x, "lan", "px", "10.0.0.3/24")
	if !host.Poll(30*time.Second, func() bool { return strings.Contains(m.do("ip link show lan"), "state UP") }) {
		t.Fatal("lan has no carrier")
	}
	a, b := m.guest(), m.guest()
	check := m.unchanged(a, b, x)
	m.quiet("lan", a.Word, "10.0.0.1/24,fd00:1::1/64")
	m.quiet("lan", b.Word, "10.0.0.2/24,fd00:1::2/64")
	m.rules(4, 4)
	m.reaches(a, "10.0.0.2")
	m.reaches(a, "fd00:1::2")
	m.quiet("detach", a.Word)
	m.quiet("detach", b.Word)
	check("after detach")
}

// The older backend of iptables, where it is installed.
func TestLegacyIptables(t *testing.T) {
	m := newMachine(t)
	if r := m.Host.Run("iptables-legacy", "-S"); r.Code != 0 {
		host.Lacking(t, "iptables-legacy", r.Stderr)
	}
	// The host's own iptables is the legacy one, as an administrator sets it.
	m.check(m.Host.Run("sh", "-ec", `
		mkdir `+m.Dir+`/legacy
		for c in iptables ip6tables iptables-save ip6tables-save iptables-restore ip6tables-restore; do
			ln -s "$(command -v "$(echo $c | sed 's/tables/tables-legacy/')")" `+m.Dir+`/legacy/$c
		done
		for t in iptables ip6tables; do $t -F; $t -X; $t -P FORWARD ACCEPT; done`).Err())
	m.Path = m.Dir + "/legacy:" + bin
	m.check(m.StockFirewall())
	a, b := m.guest(), m.guest()
	check := m.unchanged(a, b)
	m.quiet("br1", a.Word, "10.0.0.1/24")
	m.quiet("br1", b.Word, "10.0.0.2/24")
	m.reaches(a, "10.0.0.2")
	m.rules(1, 1)
	m.quiet("detach", a.Word)
	m.quiet("detach", b.Word)
	check("after detach")
}

// Docker's own bridge is Docker's: no rule, and a warning that says so.
func TestDockerBridge(t *testing.T) {
	e := withDocker(t)
	e.container("one")
	check := e.unchanged(e.guestOf("one"))
	before := e.do("iptables -S")
	r := e.attach("docker0", "one", "172.17.0.99/16")
	if after := e.do("iptables -S"); after != before {
		t.Errorf("rules before:\n%s\nafter:\n%s", before, after)
	}
	if len(r.Warnings) == 0 {
		t.Error("no warning")
	}
	e.quiet("detach", "one")
	check("after detach")
}

// The rules survive a restart of dockerd, and so do the attachments.
func TestEngineRestart(t *testing.T) {
	e := newEngine(t)
	e.container("one")
	e.container("two")
	a := e.guestOf("one")
	before := e.state(e.State).Shape()
	e.quiet("brtest", "one", "192.168.1.2/24")
	e.quiet("brtest", "two", "192.168.1.3/24")
	for _, s := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
		e.check(e.daemon.Stop(s))
		e.check(e.daemon.Start())
		e.reaches(a, "192.168.1.3")
		e.rules(1, -1)
		if r := e.attach("brtest", "one", "192.168.1.2/24"); *r.Changed {
			t.Errorf("after %v the same line changed something: %q", s, r.Steps)
		}
	}
	e.quiet("detach", "one")
	e.quiet("detach", "two")
	// A daemon that starts puts its own rules into another order.
	e.same("the host after detach", before, func() (host.State, error) {
		now, err := e.State()
		return now.Shape(), err
	})
}

// A published port keeps answering: the guest's own default route is not touched.
func TestPublishedPort(t *testing.T) {
	e := withDocker(t)
	e.container("web", "-p", "8080:80", "box", "httpd", "-f", "-p", "80", "-h", "/www")
	e.listens(e.guestOf("web"), 80)
	client := e.guest()
	t.Cleanup(func() {
		e.do("ip link delete ext0")
		e.check(client.Kill())
	})
	e.check(e.Batch("link add ext0 type veth peer name eth0 netns "+strings.TrimPrefix(client.Word, "pid:"),
		"address add 10.99.0.1/24 dev ext0", "link set ext0 up"))
	e.check(client.Run("ip", "address", "add", "10.99.0.2/24", "dev", "eth0").Err())
	e.check(client.Run("ip", "link", "set", "eth0", "up").Err())
	e.check(client.Run("ip", "route", "add", "default", "via", "10.99.0.1").Err())
	answers := func(when string) {
		t.Helper()
		r := client.RunInput("GET / HTTP/1.0\r\n\r\n", "busybox", "nc", "-w", "20", "10.99.0.1", "8080")
		if !strings.HasSuffix(r.Stdout, "\r\n\r\n"+host.Page) {
			t.Errorf("%s: %v", when, r)
		}
	}
	web := e.guestOf("web")
	check := e.unchanged(web)
	answers("before")
	e.quiet("brtest", "web", "192.168.1.2/24")
	answers("after attach")
	e.quiet("detach", "web")
	answers("after detach")
	check("after detach")
}
