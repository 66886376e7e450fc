//go:build linux

package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gopipework/gopipework/e2e/host"
)

// Twice is once.
func TestTwice(t *testing.T) {
	m := newMachine(t)
	for _, words := range []string{
		"br1 GUEST 10.0.0.2/24",
		"br1 GUEST 0/0",
		"br1 -i net0 -l left GUEST 10.0.0.2/24@10.0.0.1 02:00:00:00:00:01",
		"br1 GUEST 10.0.0.2/24,fd00::2/64@10.0.0.1,fd00::1 U:web",
		"br1 GUEST 10.0.0.2/32@10.9.9.9",
	} {
		t.Run(words, func(t *testing.T) {
			m := &machine{m.Host, t}
			g := m.guest()
			defer g.Kill()
			before := m.unchanged(g)
			line := strings.Fields(strings.Replace(words, "GUEST", g.Word, 1))
			first := m.attach(line...)
			check := m.unchanged(g)
			again := m.attach(line...)
			if !*first.Changed || *again.Changed || len(again.Steps) != 0 {
				t.Errorf("changed %v and then %v, steps %q", *first.Changed, *again.Changed, again.Steps)
			}
			if again.Attachment.Interface.MAC != first.Attachment.Interface.MAC || again.Attachment.State != "complete" {
				t.Errorf("first %+v\nagain %+v", first.Attachment, again.Attachment)
			}
			m.quiet(line...)
			check("after the same line again")
			m.quiet("detach", g.Word)
			before("after detach")
		})
	}
}

// A line that contradicts what is there: refused before any change, and it
// says what is there.
func TestConflict(t *testing.T) {
	m := newMachine(t)
	g, other := m.guest(), m.guest()
	m.check(g.Run("sh", "-ec", `
		ip link add old0 type veth peer name old1
		ip address add 10.5.0.1/24 dev old0
		ip -6 address add fd05::1/64 dev old0 nodad
		ip link set old0 up; ip link set old1 up`).Err())
	m.check(m.Batch("link add brfake type veth peer name brpeer", "link add taken type veth peer name taken2", "link property add dev taken altname alttaken"))
	m.ok("br1", g.Word, "10.0.0.2/24@10.0.0.1", "02:00:00:00:00:01")
	m.ok("br1", other.Word, "10.0.0.3/24", "02:00:00:00:00:03")
	check := m.unchanged(g, other)
	for _, c := range []struct {
		line string
		says string
	}{
		{"br1 GUEST 10.0.0.9/24", "10.0.0.2/24"},
		{"br1 GUEST 10.0.0.2/25@10.0.0.1 02:00:00:00:00:01", "10.0.0.2/24"},
		{"br1 GUEST 10.0.0.2/24,10.0.0.9/24@10.0.0.1 02:00:00:00:00:01", "10.0.0.2/24"},
		{"br1 GUEST 10.0.0.2/24@10.0.0.254 02:00:00:00:00:01", "10.0.0.1"},
		{"br1 GUEST 10.0.0.2/24@10.0.0.1 02:00:00:00:00:02", "02:00:00:00:00:01"},
		{"br2 GUEST 10.0.0.2/24@10.0.0.1 02:00:00:00:00:01", "br1"},
		{"br1 -i old0 GUEST 10.0.7.2/24", "old0"},
		{"br1 -i eth2 -l taken GUEST 10.0.7.2/24", "taken"},
		{"br1 -i eth2 -l alttaken GUEST 10.0.7.2/24", "alttaken"},
		{"br1 -i eth2 -l br1 GUEST 10.0.7.2/24", "br1"},
		{"brfake -i eth2 GUEST 10.0.7.2/24", "brfake"},
		{"bridge:taken -i eth2 GUEST 10.0.7.2/24", "taken"},
		{"br1 -i eth2 GUEST 10.5.0.1/24", "old0"},
		{"br1 -i eth2 GUEST 10.0.0.2/24", "eth1"},
		{"br1 -i eth2 GUEST fd05::1/64", "old0"},
		{"br1 -i eth2 GUEST 10.0.7.2/24 02:00:00:00:00:03", "02:00:00:00:00:03"},
	} {
		t.Run(c.line, func(t *testing.T) {
			m := &machine{m.Host, t}
			f := m.fails("conflict", strings.Fields(strings.Replace(c.line, "GUEST", g.Word, 1))...)
			m.says("the error", f.Error.Op+f.Error.Object+f.Error.Message+f.Error.Hint, c.says)
		})
	}
	check("after every conflict")
}

// A detach of what is not ours is none.
func TestDetachNotOurs(t *testing.T) {
	m := newMachine(t)
	g := m.guest()
	m.check(g.Run("ip", "link", "add", "eth1", "type", "veth", "peer", "name", "eth2").Err())
	check := m.unchanged(g)
	r := m.gopipework("detach", g.Word, "eth1")
	t.Logf("%v", r)
	if r.Code == 0 && r.Stderr == "" {
		t.Error("says nothing about an interface that is not gopipework's")
	}
	m.ok("detach", "--all", g.Word)
	check("after detach of somebody else's")
}

// The subnet is on another interface: done, with a warning, because replies
// may leave by the other one.
func TestSubnetTwice(t *testing.T) {
	m := newMachine(t)
	g := m.guest()
	check := m.unchanged(g)
	m.ok("br1", g.Word, "10.0.0.2/24")
	r := m.attach("br2", "-i", "eth2", g.Word, "10.0.0.3/24")
	if !*r.Changed || len(r.Warnings) == 0 {
		t.Errorf("changed %v, warnings %q", *r.Changed, r.Warnings)
	}
	m.says("the warning", strings.Join(r.Warnings, "\n"), "eth1")
	m.ok("detach", "--all", g.Word)
	check("after detach")
}

// A bridge takes 1,023 ports and not one more.
func TestBridgeFull(t *testing.T) {
	m := newMachine(t)
	g, far := m.guest(), m.guest()
	m.do("ip link add brfull type bridge")
	m.do("ip link set brfull up")
	m.state(m.State) // before there are so many links that looking takes long
	var lines []string
	for i := range 1023 {
		lines = append(lines, fmt.Sprintf("link add p%d master brfull type veth peer name q%d netns %d", i, i, far.PID))
	}
	m.check(m.Batch(lines...))
	check := m.unchanged(g)
	f := m.fails("limit", "brfull", g.Word, "10.0.0.2/24")
	m.says("the error", f.Error.Object+f.Error.Message, "brfull", "1,023")
	check("after a bridge that is full")
	m.do("ip link delete p7")
	m.quiet("brfull", g.Word, "10.0.0.2/24")
	m.quiet("detach", g.Word)
}

// An IPv6 address that somebody on the bridge has: found by the kernel's
// detection, undone. --nodad does not ask.
func TestDuplicateIPv6(t *testing.T) {
	m := newMachine(t)
	a, b := m.guest(), m.guest()
	m.quiet("br1", a.Word, "fd00::2/64")
	check := m.unchanged(b)
	r := m.gopipework("--json", "br1", b.Word, "10.0.0.2/24,fd00::2/64")
	f := m.failed("conflict", r)
	m.says("the error", f.Error.Object+f.Error.Message, "fd00::2")
	m.within(bound, r)
	check("after a duplicate address")

	m.ok("--nodad", "br1", b.Word, "fd00::2/64")
	m.ok("br1", "-i", "eth2", b.Word, "fd00:2::2/64")
	for name, want := range map[string]bool{"eth1": true, "eth2": false} {
		if a := b.Run("ip", "-6", "address", "show", "dev", name, "scope", "global").Stdout; strings.Contains(a, "nodad") != want {
			t.Errorf("not to ask about an address: want %v, is %s", want, a)
		}
	}
	m.ok("detach", "--all", b.Word)
	check("after detach")
}

// IPv6 is turned on for our interface alone.
func TestIPv6TurnedOff(t *testing.T) {
	e := withDocker(t)
	e.container("web")
	g := e.guestOf("web")
	// As Docker left it before version 26, which turns it off on eth0 alone.
	e.check(g.Run("sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1", "net.ipv6.conf.default.disable_ipv6=1").Err())
	check := e.unchanged(g)
	e.quiet("brtest", "web", "fd00::2/64")
	off := g.Run("sh", "-c", "cd /proc/sys/net/ipv6/conf; grep . */disable_ipv6").Stdout
	e.says("disable_ipv6", off, "eth1/disable_ipv6:0", "eth0/disable_ipv6:1", "default/disable_ipv6:1", "all/disable_ipv6:1")
	e.quiet("detach", "web")
	check("after detach")
}

// An address that moves to another guest: a neighbour with a stale entry
// reaches the new holder within a second.
func TestNeighbours(t *testing.T) {
	m := newMachine(t)
	client, first, second := m.guest(), m.guest(), m.guest()
	m.quiet("br1", client.Word, "10.0.0.1/24,fd00::1/64")
	m.quiet("br1", first.Word, "10.0.0.5/24,fd00::5/64", "02:00:00:00:00:05")
	m.reaches(client, "10.0.0.5")
	m.reaches(client, "fd00::5")
	m.ok("detach", first.Word)
	m.quiet("br1", second.Word, "10.0.0.5/24,fd00::5/64", "02:00:00:00:00:06")
	for _, addr := range []string{"10.0.0.5", "fd00::5"} {
		knows := func() bool {
			return strings.Contains(client.Run("ip", "neigh", "show", addr).Stdout, "02:00:00:00:00:06")
		}
		// Nothing is sent meanwhile, so only an announcement can tell the client.
		if !host.Poll(30*time.Second, knows) {
			t.Errorf("%s is still %s", addr, client.Run("ip", "neigh", "show", addr).Stdout)
		}
		m.reaches(client, addr)
	}
	m.ok("detach", second.Word)
	m.ok("detach", client.Word)
}

// @GATEWAY goes in front of the old default route, which is back by itself.
func TestGateway(t *testing.T) {
	e := withDocker(t)
	e.container("web")
	g := e.guestOf("web")
	check := e.unchanged(g)
	way := func(addr string) string { return g.Run("ip", "-o", "route", "get", addr).Stdout }
	old := way("203.0.113.1")
	for _, gw := range []string{"192.168.1.1", "10.9.9.9"} {
		e.quiet("brtest", "web", "192.168.1.2/24@"+gw)
		e.says("the default route", way("203.0.113.1"), "via "+gw+" dev eth1")
		e.says("the routes", g.Run("ip", "route").Stdout, "via 172.17.0.1 dev eth0")
		if l := e.list("web"); len(l) != 1 || !slices.Equal(l[0].Interface.Gateway, []string{gw}) {
			t.Errorf("list: %+v", l)
		}
		e.quiet("detach", "web")
		if now := way("203.0.113.1"); now != old {
			t.Errorf("the default route was %s, is %s", old, now)
		}
		check("after detach")
	}
	// Not only a detach brings it back: the link's end does.
	e.quiet("brtest", "web", "192.168.1.2/24@192.168.1.1")
	e.check(g.Run("ip", "link", "delete", "eth1").Err())
	if now := way("203.0.113.1"); now != old {
		t.Errorf("the default route was %s, is %s", old, now)
	}
	e.quiet("brtest", "web", "192.168.1.2/24")
	e.quiet("detach", "web")
	check("after detach")
}

func TestGatewayIPv6(t *testing.T) {
	m := newMachine(t)
	g := m.guest()
	m.check(g.Run("sh", "-ec", `
		ip link add old0 type veth peer name old1; ip link set old0 up; ip link set old1 up
		ip -6 address add fd05::1/64 dev old0 nodad
		ip -6 route add default via fd05::2 metric 1024`).Err())
	check := m.unchanged(g)
	way := func() string { return g.Run("ip", "-o", "-6", "route", "get", "2001:db8::1").Stdout }
	m.says("the default route", way(), "via fd05::2 dev old0")
	for _, gw := range []string{"fd00::1", "fd09::9"} {
		m.quiet("br1", g.Word, "fd00::2/64@"+gw)
		m.says("the default route", way(), "via "+gw+" dev eth1")
		m.quiet("detach", g.Word)
		m.says("the default route after detach", way(), "via fd05::2 dev old0")
		check("after detach")
	}
	// Nothing is better than metric 1.
	m.check(g.Run("ip", "-6", "route", "add", "default", "via", "fd05::3", "metric", "1").Err())
	check = m.unchanged(g)
	f := m.fails("conflict", "br1", g.Word, "fd00::2/64@fd00::1")
	m.says("the error", f.Error.Message, "metric")
	check("after a default route that cannot be beaten")
}

// The MTU of somebody else's bridge is taken over, and ours is pinned.
func TestMTU(t *testing.T) {
	m := newMachine(t)
	a, b := m.guest(), m.guest()
	m.do("ip link add lan mtu 1400 type bridge")
	m.do("ip link set lan up")
	m.quiet("lan", a.Word, "10.0.0.2/24")
	if mtu := m.links(a)["eth1"].MTU; mtu != 1400 {
		t.Errorf("the guest's MTU is %d, the bridge's 1400", mtu)
	}
	r := m.attach("lan", "--mtu", "1300", b.Word, "10.0.0.3/24")
	if len(r.Warnings) == 0 {
		t.Error("no warning although the bridge follows its lowest port")
	}
	m.ok("detach", a.Word)
	m.ok("detach", b.Word)

	// Ours keeps its own, and its MAC, whatever is plugged in.
	m.quiet("br1", a.Word, "10.0.0.2/24")
	br := m.links(m)["br1"]
	m.ok("br1", "--mtu", "1300", b.Word, "10.0.0.3/24", "02:00:00:00:00:01")
	if now := m.links(m)["br1"]; now.MTU != br.MTU || now.MAC != br.MAC {
		t.Errorf("the bridge was %d %s, is %d %s", br.MTU, br.MAC, now.MTU, now.MAC)
	}
	m.ok("detach", a.Word)
	m.ok("detach", b.Word)
}

// STP holds a port back, for thirty seconds if nobody says otherwise. That is
// said, and waited for.
func TestSTP(t *testing.T) {
	m := newMachine(t)
	g := m.guest()
	m.do("ip link add lan type bridge stp_state 1 forward_delay 200")
	m.do("ip link set lan up")
	other := m.guest()
	byHand(m, other, "lan", "p0", "10.0.0.1/24")
	r := m.attach("lan", g.Word, "10.0.0.2/24")
	m.says("the warning", strings.Join(r.Warnings, "\n"), "spanning tree")
	forwards := func() bool {
		return strings.Contains(m.do("bridge link show dev p0"), "state forwarding")
	}
	if !host.Poll(30*time.Second, forwards) {
		t.Fatal("the other port does not forward")
	}
	m.reaches(g, "10.0.0.1")
	m.ok("detach", g.Word)
}
