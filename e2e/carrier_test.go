//go:build linux

package e2e

import (
	"context"
	"strings"
	"testing"

	"github.com/gopipework/gopipework/e2e/host"
)

// noCarrier reports whether a guest's interface is up and has no carrier.
func noCarrier(m *machine, g *host.Guest, ifName string) bool {
	m.t.Helper()
	return strings.Contains(m.run(g, "ip", "link", "show", ifName), "NO-CARRIER")
}

// run runs a command in a guest, and returns what it prints.
func (m *machine) run(g *host.Guest, words ...string) string {
	m.t.Helper()
	r := g.Run(words[0], words[1:]...)
	if r.Code != 0 {
		m.t.Fatal(r)
	}
	return r.Stdout
}

// TestCarrier: set --carrier off takes the carrier of an interface, which keeps its addresses
// and routes; list and doctor say so, the same line again is refused, and set --carrier on
// ends it.
func TestCarrier(t *testing.T) {
	test := func(t *testing.T, m *machine, bridge string) {
		web := m.named("web")
		web.Word = "netns:web"
		m.named("db")
		line := []string{bridge, "netns:web", "10.0.0.2/24,2001:db8::2/64@10.0.0.3", "--nodad"}
		m.quiet(bridge, "netns:db", "10.0.0.3/24")
		m.quiet(line...)
		before := m.ok("list", "--json").Stdout
		routes := func() string { return m.run(web, "ip", "-o", "address", "show", "eth1", "scope", "global") }
		had := routes()
		m.reaches(web, "10.0.0.3")

		m.says("a dry run", m.ok("set", "netns:web", "eth1", "--carrier", "off", "--dry-run").Stdout, "altname gopipework:cable:v", "ip link set dev v", " down")
		m.quiet("set", "netns:web", "eth1", "--carrier", "off")
		if !noCarrier(m, web, "eth1") || routes() != had {
			t.Errorf("web has %s\n%s", m.run(web, "ip", "link"), routes())
		}
		m.says("its routes", m.run(web, "ip", "route"), "default via 10.0.0.3")
		m.cut(web, "10.0.0.3")
		if r := m.ok("set", "netns:web", "eth1", "--carrier", "off", "--json"); !strings.Contains(r.Stdout, `"changed":false`) || !strings.Contains(r.Stdout, `"carrier_off":true`) {
			t.Errorf("twice: %v", r)
		}
		m.says("the list", m.ok("list", "-o", "wide").Stdout, "carrier off")
		if got := m.ok("list", "--json").Stdout; strings.Count(got, `"carrier":false,"carrier_off":true`) != 1 {
			t.Errorf("the list is %s", got)
		}
		_, code, text := m.doctor("netns:web")
		if code != 1 {
			t.Errorf("doctor exits with %d", code)
		}
		m.says("doctor", text, "GP301", "the cable of eth1", "is pulled", "gopipework set netns:web eth1 --carrier on")
		f := m.fails("conflict", line...)
		m.says("the same line", f.Error.Message+f.Error.Hint, "carrier off", "on", "--carrier on", "--replace")
		f = m.fails("conflict", append([]string{"br2"}, line[1:]...)...)
		m.says("a line for another bridge, too", f.Error.Hint, "gopipework set netns:web eth1 --carrier on, then gopipework set netns:web eth1 --to br2, or ")
		m.ok("gc")
		if !noCarrier(m, web, "eth1") {
			t.Error("gc has plugged it in")
		}

		m.quiet("set", "netns:web", "eth1", "--carrier", "on")
		m.reaches(web, "10.0.0.3")
		if got := m.ok("list", "--json").Stdout; got != before {
			t.Errorf("the list is\n%s, not\n%s", got, before)
		}
		if r := m.ok("set", "netns:web", "eth1", "--carrier", "on", "--json"); !strings.Contains(r.Stdout, `"changed":false`) {
			t.Errorf("on twice: %v", r)
		}
		m.quiet("set", "netns:web", "eth1", "--carrier", "off")
		m.ok(append([]string{"--replace"}, line...)...)
		m.reaches(web, "10.0.0.3")
		if got := m.ok("list", "--json").Stdout; got != before {
			t.Errorf("with --replace, the list is\n%s", got)
		}
		m.quiet("set", "netns:web", "eth1", "--carrier", "off")
		file := m.topology("lab", strings.Join(line, " "))
		m.says("diff", strings.Join(m.differs(file, 2), "\n"), "carrier off -> on")
		m.ok("apply", "-f", file)
		m.reaches(web, "10.0.0.3")
		port := m.list("web")[0].Host.Port
		m.do("ip link property add dev " + port + " altname gopipework:cable:" + port) // a killed run has left it
		m.ok("gc")
		if got := m.do("ip link show " + port); strings.Contains(got, "cable") {
			t.Errorf("gc leaves the mark: %s", got)
		}
		m.ok("set", "netns:web", "eth1", "--carrier", "off")
		m.quiet("detach", "netns:web")
		m.quiet("detach", "netns:db")
	}
	t.Run("bridge", func(t *testing.T) { test(t, newMachine(t), "brtest") })
	t.Run("ovs", func(t *testing.T) {
		m := newMachine(t)
		withOVS(t, m)
		test(t, m, "ovsbr0")
	})
}

// TestCarrierFor: the cable is plugged in again when the command that has pulled it is killed.
func TestCarrierFor(t *testing.T) {
	m := newMachine(t)
	web := m.named("web")
	m.quiet("host:tap0", "netns:web", "10.0.0.2/24", "--host-addr", "10.0.0.1/24")
	b := m.begin(m.Command(context.Background(), "gopipework", "set", "netns:web", "eth1", "--carrier", "off", "--for", "1h"))
	if !host.Poll(host.Patience, func() bool { return noCarrier(m, web, "eth1") }) {
		t.Fatalf("it has a carrier: %v", b.end(t))
	}
	m.check(b.Process.Kill())
	b.end(t)
	if !host.Poll(host.Patience, func() bool { return !noCarrier(m, web, "eth1") && len(m.running("--set-back-when-gone")) == 0 }) {
		t.Error("it has no carrier")
	}
	m.reaches(web, "10.0.0.1")
	if got := m.do("ip link show tap0"); strings.Contains(got, "cable") {
		t.Errorf("a mark is left: %s", got)
	}
	m.do("ip route add 10.9.0.0/24 via 10.0.0.2")
	f := m.fails("conflict", "set", "netns:web", "eth1", "--carrier", "off")
	m.says("a route", f.Error.Message, "tap0", "a route to 10.9.0.0/24")
}

// TestCarrierOfLink: a link between two guests loses its carrier at one end, and the other
// guest's end is down.
func TestCarrierOfLink(t *testing.T) {
	m := newMachine(t)
	web := m.named("web")
	m.named("db")
	line := []string{"link", "netns:web:to-db", "10.0.0.1/30", "netns:db:to-web", "10.0.0.2/30"}
	m.quiet(line...)
	before := m.ok("list", "--json").Stdout
	m.quiet("set", "netns:web", "to-db", "--carrier", "off")
	if !noCarrier(m, web, "to-db") {
		t.Error("it has a carrier")
	}
	m.cut(web, "10.0.0.2")
	if got := m.ok("list", "web", "--json").Stdout; !strings.Contains(got, `"carrier_off":true`) {
		t.Errorf("the list is %s", got)
	}
	for _, guest := range []string{"netns:web", "netns:db"} {
		_, _, text := m.doctor(guest)
		m.says("doctor "+guest, text, "--carrier off", "gopipework set netns:web to-db --carrier on")
	}
	m.says("the same line", m.fails("conflict", line...).Error.Message, "carrier off")
	m.quiet("set", "netns:web", "to-db", "--carrier", "on")
	m.reaches(web, "10.0.0.2")
	if got := m.ok("list", "--json").Stdout; got != before {
		t.Errorf("the list is\n%s, not\n%s", got, before)
	}
	m.do("ip -n db address add 2001:db8::1/64 dev to-web nodad")
	f := m.fails("conflict", "set", "netns:web", "to-db", "--carrier", "off")
	m.says("an address of IPv6", f.Error.Message+f.Error.Hint, "to-web", "2001:db8::1/64", "keep_addr_on_down=1")
	m.do("ip netns exec db sysctl -qw net.ipv6.conf.to-web.keep_addr_on_down=1")
	keeps := func() {
		t.Helper()
		m.quiet("set", "netns:web", "to-db", "--carrier", "off")
		m.quiet("set", "netns:web", "to-db", "--carrier", "on")
		m.says("its address", m.do("ip -n db address show to-web"), "2001:db8::1/64")
	}
	keeps()
	m.do("ip netns exec db sysctl -qw net.ipv6.conf.all.keep_addr_on_down=-1") // that of all links goes first
	f = m.fails("conflict", "set", "netns:web", "to-db", "--carrier", "off")
	m.says("no to all links", f.Error.Hint, "ipv6/conf/all/keep_addr_on_down=1")
	m.do("ip netns exec db sysctl -qw net.ipv6.conf.to-web.keep_addr_on_down=0 net.ipv6.conf.all.keep_addr_on_down=1")
	keeps()
}

// TestCarrierWithoutBridge: a veth whose other end is in no bridge, as those of the CNI plugin
// ptp, loses its carrier, too.
func TestCarrierWithoutBridge(t *testing.T) {
	m := newMachine(t)
	web := m.named("web")
	m.do("ip link add cali1 type veth peer name eth0 netns web")
	m.do("ip address add 10.0.0.1/24 dev cali1")
	m.do("ip link set cali1 up")
	m.do("ip -n web address add 10.0.0.2/24 dev eth0")
	m.do("ip -n web link set eth0 up")
	m.reaches(web, "10.0.0.1")
	m.says("off", m.ok("set", "netns:web", "eth0", "--carrier", "off", "--json").Stdout, `"kind":"host","name":"cali1"`)
	if !noCarrier(m, web, "eth0") {
		t.Error("it has a carrier")
	}
	m.quiet("set", "netns:web", "eth0", "--carrier", "on")
	m.reaches(web, "10.0.0.1")
	if got := m.do("ip link show cali1"); strings.Contains(got, "cable") {
		t.Errorf("a mark is left: %s", got)
	}
}

// TestCarrierOfDocker: an interface that Docker has made loses its carrier, too, and gc
// plugs the cable in again. Nothing else of it can be set.
func TestCarrierOfDocker(t *testing.T) {
	e := withDocker(t)
	e.container("web")
	web := e.guestOf("web")
	e.reaches(web, "172.17.0.1")
	off := func() {
		t.Helper()
		e.quiet("set", "web", "eth0", "--carrier", "off")
		if !noCarrier(e.machine, web, "eth0") {
			t.Error("it has a carrier")
		}
	}
	off()
	e.cut(web, "172.17.0.1")
	if r := e.ok("set", "web", "eth0", "--carrier", "off", "--json"); !strings.Contains(r.Stdout, `"changed":false`) || !strings.Contains(r.Stdout, `"state":"foreign"`) {
		t.Errorf("twice: %v", r)
	}
	_, _, text := e.doctor("web eth0")
	e.says("doctor", text, "the cable of eth0", "gopipework set docker:web eth0 --carrier on")
	e.quiet("set", "web", "eth0", "--carrier", "on")
	e.reaches(web, "172.17.0.1")

	off()
	e.says("gc", e.ok("gc").Stderr, "the cable of veth", "plugged in again")
	e.reaches(web, "172.17.0.1")
	if got := e.do("ip link show type veth"); strings.Contains(got, "cable") {
		t.Errorf("a mark is left: %s", got)
	}
	e.says("another setting", e.fails("conflict", "set", "web", "eth0", "--mtu", "1400", "--carrier", "off").Error.Message, "gopipework did not create eth0")

	b := e.begin(e.Command(context.Background(), "gopipework", "set", "web", "eth0", "--carrier", "off", "--for", "1h"))
	if !host.Poll(host.Patience, func() bool { return noCarrier(e.machine, web, "eth0") }) {
		t.Fatalf("it has a carrier: %v", b.end(t))
	}
	e.check(b.Process.Kill())
	b.end(t)
	if !host.Poll(host.Patience, func() bool { return !noCarrier(e.machine, web, "eth0") && len(e.running("--set-back-when-gone")) == 0 }) {
		t.Error("it has no carrier")
	}
	e.fails("conflict", "set", "web", "lo", "--carrier", "off")
}

// TestCarrierWatched: watch leaves a cable pulled, while it looks after the same guest.
func TestCarrierWatched(t *testing.T) {
	m := keeping(t)
	path := m.Dir + "/lab.yaml"
	m.file(path, "br1 netns:blue 10.0.0.1/24", "br1 -i eth2 netns:blue 10.0.1.1/24")
	w := m.watch("-f", path)
	m.has("the start", "blue", "eth1 10.0.0.1/24", "eth2 10.0.1.1/24")
	m.says("a warning", m.ok("set", "netns:blue", "eth1", "--carrier", "off").Stderr, "the next apply plugs its cable in again")
	m.sh("ip -n blue link del eth2")
	m.has("a deleted interface", "blue", "eth1 10.0.0.1/24", "eth2 10.0.1.1/24")
	if got := m.do("ip -n blue link show eth1"); !strings.Contains(got, "NO-CARRIER") {
		t.Errorf("watch has plugged it in: %s", got)
	}
	w.stop(t)
}

// TestCarrierRefused: a macvlan has no end that could be set down.
func TestCarrierRefused(t *testing.T) {
	m := newMachine(t)
	m.card("nic0")
	m.named("web")
	m.quiet("nic0", "netns:web", "10.0.0.2/24")
	f := m.fails("usage", "set", "netns:web", "eth1", "--carrier", "off")
	m.says("a macvlan", f.Error.Message+f.Error.Hint, "of the kind macvlan", "--loss 100%", "ip link set eth1 down")
	m.fails("usage", "set", "netns:web", "eth1", "--carrier", "perhaps")
}
