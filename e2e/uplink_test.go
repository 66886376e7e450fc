//go:build linux

package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gopipework/gopipework/e2e/host"
)

// A fabric is a switch that hosts of a test are connected to.
type fabric struct {
	*machine
	n int
}

// newFabric makes one without hosts.
func newFabric(t *testing.T) *fabric {
	t.Helper()
	f := &fabric{machine: newMachine(t)}
	f.sh("ip link add fabric type bridge; sysctl -qw net.bridge.bridge-nf-call-iptables=0; ip link set fabric up")
	return f
}

// host connects one more host, whose address is 10.9.0.N.
func (f *fabric) host() *machine {
	f.t.Helper()
	f.n++
	h := host.New(f.t)
	h.Path = bin
	m := &machine{h, f.t}
	m.check(m.StockFirewall())
	f.sh(fmt.Sprintf("ip link add p%d type veth peer name eth0 netns %s; ip link set p%d master fabric up", f.n, h.Namespace(), f.n))
	m.sh(fmt.Sprintf("mount -t tmpfs state /var/lib; ip link set lo up; ip address add 10.9.0.%d/24 dev eth0; ip link set eth0 up", f.n))
	return m
}

// on attaches a named guest of a host to brtest.
func (m *machine) on(guest, address string, args ...string) *host.Guest {
	m.t.Helper()
	g := m.named(guest)
	m.ok(append([]string{"brtest", "netns:" + guest, address}, args...)...)
	return g
}

// TestUplinkPeers: guests of two hosts are on one bridge, by a VXLAN with peers. The same line
// again changes nothing, others are refused, and nothing is left in the end.
func TestUplinkPeers(t *testing.T) {
	f := newFabric(t)
	a, b := f.host(), f.host()
	check := a.unchanged()
	uplink := []string{"--uplink", "vxlan:100,local=10.9.0.1,peer=10.9.0.2"}
	r := a.named("web")
	was := a.ok(append([]string{"brtest", "netns:web", "192.168.7.1/24"}, uplink...)...)
	a.says("a warning", was.Stderr, "neither encrypted nor authenticated", "UDP port 4789 of 10.9.0.1")
	b.on("db", "192.168.7.2/24", "--uplink", "vxlan:100,local=10.9.0.2,peer=10.9.0.1")
	a.reaches(r, "192.168.7.2")
	b.ok("detach", "netns:db")
	b.ok("brtest", "netns:db", "192.168.7.2/24", "--uplink", "vxlan:100,local=10.9.0.2,peer=10.9.0.1")
	a.reaches(r, "192.168.7.2") // which has another MAC address now
	a.named("dup")
	e := a.fails("conflict", "brtest", "netns:dup", "192.168.7.2/24", "--acd")
	a.says("an address of the other host's", e.Error.Message, "192.168.7.2")
	a.sh("ip netns del dup")
	if p := r.Run("busybox", "ping", "-c", "1", "-W", "2", "-s", "1422", "192.168.7.2"); p.Code != 0 { // an MTU of 1450
		t.Errorf("a long packet: %v", p)
	}

	again := a.attach(append([]string{"brtest", "netns:web", "192.168.7.1/24"}, uplink...)...)
	if *again.Changed || again.Attachment.Host.Uplink != uplink[1] || again.Attachment.Interface.MTU != 1450 {
		t.Errorf("the same line again: %+v", again)
	}
	a.says("list", a.ok("list").Stdout, "VNI 100")
	a.named("db")
	a.quiet("brtest", "netns:db", "192.168.7.3/24")
	if got := a.list(); len(got) != 2 || got[0].Host.Uplink != uplink[1] || got[1].Host.Uplink != uplink[1] {
		t.Errorf("the list is %+v", got)
	}
	for want, words := range map[string]string{
		"conflict brtest has another uplink already":       "brtest netns:db 192.168.7.4/24 -i eth2 --uplink vxlan:101,local=10.9.0.1",
		"conflict the line asks for vxlan:100,local=":      "brtest netns:web 192.168.7.1/24 --uplink vxlan:100,local=10.9.0.1",
		"conflict the VNI 100 is in use already, by vx100": "brother netns:db 192.168.7.4/24 -i eth2 --uplink vxlan:100,local=10.9.0.1",
		"not_found 10.9.0.2 is not an address":             "brother netns:db 192.168.7.4/24 -i eth2 --uplink vxlan:7,local=10.9.0.2",
		"usage needs local=":                               "brother netns:db 192.168.7.4/24 -i eth2 --uplink vxlan:7",
		"usage --uplink is for a Linux bridge":             "eth0 netns:db 192.168.7.4/24 -i eth2 --uplink vxlan:7,local=10.9.0.1",
	} {
		code, text, _ := strings.Cut(want, " ")
		e := a.fails(code, strings.Fields(words)...)
		a.says(words, e.Error.Message, text)
	}
	a.sh("ip link add brold type bridge; ip link add vxold type vxlan id 9 local 10.9.0.1 dstport 8472 nolearning; ip link set vxold master brold")
	e = a.fails("conflict", "brold", "netns:db", "192.168.7.4/24", "-i", "eth2", "--uplink", "vxlan:9,local=10.9.0.1")
	a.says("a VXLAN of somebody else's", e.Error.Message, "vxold (VNI 9, local 10.9.0.1, port 8472)")
	a.sh("ip link del vxold; ip link del brold")

	a.sh("ip link del vx100; ip neighbour flush dev brtest nud permanent")
	a.ok(append([]string{"brtest", "netns:web", "192.168.7.1/24"}, uplink...)...)
	a.reaches(r, "192.168.7.2")
	for _, g := range []string{"web", "db"} {
		a.ok("detach", "netns:"+g)
		a.sh("ip netns del " + g)
	}
	check("after detach")
}

// TestUplinkDHCP: a leased address is a neighbour of the bridge as long as the guest has it,
// also after the keeper has got another one, and moves with the guest.
func TestUplinkDHCP(t *testing.T) {
	m := newMachine(t)
	m.sh("ip link set lo up; ip address add 10.255.0.1/32 dev lo")
	router, g := m.router("brtest"), m.guest()
	renew := []string{"--dhcp-option=58,4", "--dhcp-option=59,60"}
	d := m.dnsmasq(router, renew...)
	m.quiet("brtest", g.Word, "dhcp")
	line := []string{"brtest", g.Word, "dhcp", "--uplink", "vxlan:100,local=10.255.0.1"}
	if a := m.attach(line...); !*a.Changed { // the lease is kept, and is pinned from now on
		t.Error("the uplink was not made")
	}
	pinned := func(bridge, addr string) bool {
		return strings.HasPrefix(m.do("ip neighbour show nud permanent to "+addr), addr+" dev "+bridge+" ")
	}
	first := m.leased(g, "eth1")
	if a := m.attach(line...); *a.Changed || !pinned("brtest", first) {
		t.Errorf("%s is not pinned, or again: %q", first, a.Steps)
	}
	m.ok("set", g.Word, "eth1", "--mtu", "1400")
	if !pinned("brtest", first) {
		t.Errorf("with another MTU, %s is not pinned", first)
	}
	m.check(d.Stop())
	d, err := router.StartDnsmasq("eth1", "10.9.0.110,10.9.0.199,255.255.255.0,2m", renew...)
	m.check(err)
	t.Cleanup(func() { _ = d.Stop() })
	if !host.Poll(host.Patience, func() bool { a := m.leased(g, "eth1"); return a != "" && a != first && pinned("brtest", a) }) {
		t.Fatalf("no other lease than %s is pinned", first)
	}
	second := m.leased(g, "eth1")
	if pinned("brtest", first) {
		t.Errorf("%s is still pinned", first)
	}
	m.quiet("set", g.Word, "eth1", "--to", "brold", "--nodad")
	if pinned("brtest", second) || pinned("brold", second) {
		t.Errorf("after a move, %s is pinned", second)
	}
	m.ok("set", g.Word, "eth1", "--to", "brtest", "--nodad")
	if !host.Poll(host.Patience, func() bool { a := m.leased(g, "eth1"); return a != "" && pinned("brtest", a) }) {
		t.Error("moved back, its address is not pinned")
	}
	m.quiet("detach", g.Word)
	if left := m.do("ip neighbour show nud permanent"); left != "" {
		t.Errorf("after detach: %s", left)
	}
}

// TestUplinkFile: a file gives a bridge its VXLAN, which stays without guests; its peers follow
// the file, a VXLAN that attachments have made is taken over, and nothing is left in the end.
func TestUplinkFile(t *testing.T) {
	m := newMachine(t)
	m.sh("ip link set lo up; ip address add 10.255.0.1/32 dev lo")
	g := m.named("web")
	check := m.unchanged(g)
	file := filepath.Join(m.Dir, "lab.yaml")
	apply := func(uplink, change string) {
		t.Helper()
		m.check(os.WriteFile(file, []byte("bridges:\n  brtest: {uplink: '"+uplink+"'}\nattachments:\n  - brtest netns:web 192.168.7.1/24\n"), 0o644))
		m.says("apply", m.ok("apply", "-f", file).Stdout, change)
		m.differs(file, 0)
		m.says("the list", m.ok("list", "--json").Stdout, `"vlan":"","uplink":"`+uplink+`"}`, `"bridges":[{"name":"brtest","kind":"bridge","origin":"file:lab","made":true,"mtu":1450,"addresses":[],"uplink":"`+uplink+`"}]`)
	}
	const vxlan = "vxlan:100,local=10.255.0.1"
	apply(vxlan, "+ bridge brtest uplink "+vxlan)
	apply(vxlan+",peer=10.9.0.2", "uplink "+vxlan+" -> "+vxlan+",peer=10.9.0.2")
	apply(vxlan+",peer=10.9.0.3,peer=10.9.0.4", "peer=10.9.0.2 -> ")
	apply("vxlan:200,local=10.255.0.1", " -> vxlan:200,local=10.255.0.1")
	m.says("import", m.ok("import").Stdout, "uplink: vxlan:200,local=10.255.0.1")
	m.ok("detach", "netns:web")
	m.ok("gc")
	m.says("the VXLAN without guests", m.do("ip link show master brtest"), "vx200: ")
	m.ok("destroy", "lab", "--yes")
	check("after destroy")

	m.ok("brtest", "netns:web", "192.168.7.2/24", "-i", "eth2", "--uplink", vxlan)
	apply2 := m.ok("apply", "-f", m.topologyOf("bridges:\n  brtest: {uplink: '"+vxlan+"'}\n"))
	m.says("apply", apply2.Stdout, "bridge brtest")
	m.ok("destroy", "lab", "--yes")
	m.says("the VXLAN that a line needs", m.do("ip link show master brtest"), "vx100: ")
	m.ok("detach", "netns:web")
	check("after detach")

	for uplink, want := range map[string]string{
		"vxlan:100":                "needs local=",
		"vxlan:100,local=10.9.9.9": "10.9.9.9 is not an address of this host",
		"vxlan:100,local=10.255.0.1', vlan-filtering: true, address: '10.7.0.1/24": "a VXLAN carries untagged frames alone",
	} {
		r := m.gopipework("apply", "-f", m.topologyOf("bridges:\n  brtest: {uplink: '"+uplink+"'}\n"))
		m.says(uplink, r.Stdout+r.Stderr, want)
	}
	check("after refusals")
}

// TestUplinkSetFor: a bridge that its last guest leaves for a limited time has its VXLAN again
// when the guest comes back, and one that has got another VXLAN meanwhile keeps that.
func TestUplinkSetFor(t *testing.T) {
	m := newMachine(t)
	m.sh("ip link set lo up; ip address add 10.255.0.1/32 dev lo")
	m.on("web", "192.168.7.1/24", "--uplink", "vxlan:100,local=10.255.0.1,peer=10.9.0.2")
	look := func() string {
		return m.sh("ip -o link show vx100 | sed 's/^[0-9]*//; s/link.*//'; bridge fdb show dev vx100 | grep dst; ip neighbour show nud permanent") + m.ok("list", "web", "--json").Stdout
	}
	before := look()
	m.ok("set", "netns:web", "eth1", "--to", "brother", "--for", "100ms")
	if after := look(); after != before {
		t.Errorf("set back: %s\nbefore: %s", after, before)
	}
	p := m.begin(m.Command(context.Background(), "gopipework", "set", "netns:web", "eth1", "--to", "brother", "--for", "1m"))
	if !host.Poll(host.Patience, func() bool { return !strings.Contains(m.do("ip -o link"), "vx100") }) {
		t.Fatalf("it was not moved: %v", p.end(t))
	}
	m.on("db", "192.168.7.2/24", "--uplink", "vxlan:200,local=10.255.0.1")
	m.check(p.Process.Signal(os.Interrupt))
	p.end(t)
	m.says("the list", m.ok("list", "web").Stdout, "brtest", "VNI 200")
}

// TestUplinkUnpinned: the list tells whom a bridge has lost, or has not got yet, and the file
// that gives a bridge its VXLAN pins the guests that are there in the same run.
func TestUplinkUnpinned(t *testing.T) {
	m := newMachine(t)
	m.sh("ip link set lo up; ip address add 10.255.0.1/32 dev lo")
	m.named("web")
	lines := "attachments:\n  - brtest netns:web 192.168.7.1/24\n"
	m.ok("apply", "-f", m.topologyOf(lines))
	file := m.topologyOf("bridges:\n  brtest: {uplink: 'vxlan:100,local=10.255.0.1'}\n" + lines)
	m.says("apply", m.ok("apply", "-f", file).Stdout, "brtest gets a VXLAN, for which it is pinned")
	pinned := func() {
		t.Helper()
		m.differs(file, 0)
		m.says("the neighbours", m.do("ip neighbour show nud permanent"), "192.168.7.1 dev brtest")
		if r := m.ok("list"); strings.Contains(r.Stdout, "not pinned") {
			t.Errorf("%s", r.Stdout)
		}
	}
	pinned()
	m.sh("ip link set brtest down; ip link set brtest up")
	m.says("the list", m.ok("list").Stdout, "VNI 100, not pinned")
	m.says("apply", m.ok("apply", "-f", file).Stdout, "something of it is missing")
	pinned()

	m.on("dup", "192.168.7.1/24")
	m.differs(file, 0) // or each run would enter the other one
	m.ok("detach", "netns:dup")
	m.says("the list", m.ok("list").Stdout, "not pinned")
	m.ok("apply", "-f", file)
	pinned()
}

// TestExampleUplink: the file gives the bridge its VXLAN, for which FRR's lines are printed, and
// destroy leaves nothing.
func TestExampleUplink(t *testing.T) {
	m := newMachine(t)
	m.sh("ip link set lo up; ip address add 10.9.0.1/32 dev lo")
	check := m.unchanged(m.named("web"))
	file := exampleFile(t, "uplink.yaml")
	m.ok("apply", "-f", file)
	m.differs(file, 0)
	m.says("the list", m.ok("list", "web").Stdout, "192.168.7.1/24", "VNI 100")
	m.says("evpn-config", m.ok("evpn-config", "--reflector", "10.9.0.250").Stdout, " bgp router-id 10.9.0.1\n")
	m.ok("destroy", "-f", file, "--yes")
	check("after destroy")
}

// topologyOf writes a file called lab.
func (m *machine) topologyOf(text string) string {
	m.t.Helper()
	file := filepath.Join(m.Dir, "lab.yaml")
	m.check(os.WriteFile(file, []byte(text), 0o644))
	return file
}
