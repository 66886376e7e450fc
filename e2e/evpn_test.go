//go:build linux

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gopipework/gopipework/e2e/host"
)

// reflector connects a host that passes on what the others say about their guests.
func (f *fabric) reflector() *host.FRR {
	f.t.Helper()
	m := f.host()
	r, err := m.StartFRR(fmt.Sprintf(`router bgp 65000
 bgp router-id 10.9.0.%d
 no bgp default ipv4-unicast
 neighbor hosts peer-group
 neighbor hosts remote-as 65000
 bgp listen limit 5000
 bgp listen range 10.9.0.0/24 peer-group hosts
 address-family l2vpn evpn
  neighbor hosts activate
  neighbor hosts route-reflector-client
 exit-address-family
`, f.n))
	m.check(err)
	f.t.Cleanup(func() { _ = r.Kill() })
	return r
}

// routed connects a host whose guest, of the address 192.168.7.N, is on brtest, and which is
// configured by evpn-config alone.
func (f *fabric) routed(guest string) (*machine, *host.Guest, *host.FRR) {
	f.t.Helper()
	m := f.host()
	g := m.on(guest, fmt.Sprintf("192.168.7.%d/24", f.n), "--uplink", fmt.Sprintf("vxlan:100,local=10.9.0.%d", f.n))
	r, err := m.StartFRR(m.ok("evpn-config", "--reflector", "10.9.0.1", "--reflector", "10.9.0.2").Stdout)
	m.check(err)
	f.t.Cleanup(func() { _ = r.Kill() })
	return m, g, r
}

// soon waits until something holds, and logs how long that took.
func (f *fabric) soon(what string, holds func() bool) {
	f.t.Helper()
	began := time.Now()
	if !host.Poll(host.Patience, holds) {
		f.t.Fatalf("%s does not come", what)
	}
	f.t.Logf("%s after %s", what, time.Since(began).Round(time.Millisecond))
}

// knows reports whether a host has been told where the guest with the address is.
func (m *machine) knows(addr, on string) bool {
	_, mac, ok := strings.Cut(m.do("ip neighbour show dev brtest to "+addr), " lladdr ")
	mac, _, _ = strings.Cut(mac, " ")
	return ok && strings.Contains(m.do("bridge fdb show dev vx100"), mac+" dst "+on+" ")
}

// TestEVPN: guests of three hosts and of one that joins later are on one bridge. The hosts tell
// each other by FRR and two reflectors who is where: no host hears ARP requests for the guests
// of another, a guest that moves is found, a reflector that dies loses nothing, and what a host
// has said is said again when its FRR was killed.
func TestEVPN(t *testing.T) {
	need(t, "frr", "tcpdump")
	f := newFabric(t)
	first := f.reflector()         // 10.9.0.1
	f.reflector()                  // 10.9.0.2
	a, web, frr := f.routed("web") // 10.9.0.3
	b, db, _ := f.routed("db")     // 10.9.0.4
	c, by, _ := f.routed("by")     // 10.9.0.5
	f.soon("the word of each host to each", func() bool {
		return c.knows("192.168.7.3", "10.9.0.3") && c.knows("192.168.7.4", "10.9.0.4") && b.knows("192.168.7.3", "10.9.0.3") &&
			b.knows("192.168.7.5", "10.9.0.5") && a.knows("192.168.7.4", "10.9.0.4") && a.knows("192.168.7.5", "10.9.0.5")
	})
	a.reaches(web, "192.168.7.4")
	b.reaches(db, "192.168.7.5")
	c.reaches(by, "192.168.7.3")
	c.hearsNoARP(by, func() { a.neighbourless(web, "192.168.7.4") }, func() { web.Run("busybox", "ping", "-c", "1", "-W", "1", "192.168.7.99") })

	a.quiet("brtest", "netns:web", "192.168.7.3/24", "--uplink", "vxlan:100,local=10.9.0.3") // FRR's hosts are no peers
	a.named("dup")
	a.ok("brold", "netns:dup", "192.168.7.5/24")
	for _, words := range []string{"brtest netns:dup 192.168.7.4/24 -i eth2", "set netns:dup eth1 --to brtest", "set netns:dup eth1 --to brtest --nodad --addr 192.168.7.4/24",
		"set netns:web eth1 --addr 192.168.7.3/24,192.168.7.4/24"} {
		a.says(words, a.fails("conflict", strings.Fields(words)...).Error.Message, "a guest of the host 10.9.0.")
	}
	a.ok("detach", "netns:dup")

	mac := a.list()[0].Interface.MAC
	a.ok("detach", "netns:web")
	b.on("web", "192.168.7.3/24", mac)
	f.soon("a guest that moved", func() bool { return c.knows("192.168.7.3", "10.9.0.4") })
	c.reaches(by, "192.168.7.3")
	api := a.on("api", "192.168.7.9/24,2001:db8:7::9/64", "--uplink", "vxlan:100,local=10.9.0.3", "--nodad")
	f.soon("a new guest", func() bool { return c.knows("192.168.7.9", "10.9.0.3") })

	back := []string{"brtest", "netns:back", "192.168.7.8/24,2001:db8:7::8/64", "--nodad"}
	c.named("back")
	c.ok(append(back, "02:00:00:00:00:08")...)
	for _, mac := range []string{"02:00:00:00:00:18", "02:00:00:00:00:28"} {
		for _, addr := range []string{"192.168.7.8", "2001:db8:7::8"} {
			a.reaches(api, addr)
		}
		c.ok("detach", "netns:back")
		c.ok(append(back, mac)...)
		for _, addr := range []string{"192.168.7.8", "2001:db8:7::8"} {
			if r := api.Run("busybox", "ping", "-c", "1", "-W", "1", addr); r.Code != 0 {
				t.Errorf("a guest that has come back with another MAC address is not reached at once: %v", r)
			}
		}
	}

	pings := c.begin(by.Command(t.Context(), "ping", "-q", "-c", "200", "-i", "0.01", "192.168.7.9"))
	a.check(first.Kill())
	began := time.Now()
	d, _, _ := f.routed("late") // 10.9.0.6
	f.soon("a new host", func() bool { return d.knows("192.168.7.9", "10.9.0.3") && a.knows("192.168.7.6", "10.9.0.6") })
	t.Logf("with the start of its daemons, a new host takes %s", time.Since(began).Round(time.Millisecond))
	if r := pings.end(t); !strings.Contains(r.Stdout, " 0% packet loss") {
		t.Errorf("while a reflector was killed: %v", r)
	}

	pinned := func() string { // and not what FRR has entered, which goes with it
		return a.sh("ip neighbour show nud permanent | grep 'proto 103'; bridge fdb show dev " + a.list()[0].Host.Port + " | grep static")
	}
	was := pinned()
	a.check(frr.Kill())
	f.soon("the end of a host's FRR", func() bool { return !c.knows("192.168.7.9", "10.9.0.3") })
	if is := pinned(); is != was || !strings.Contains(is, "192.168.7.9 ") || !strings.Contains(is, " static") {
		t.Errorf("without FRR, what was pinned is\n%s\nand was\n%s", is, was)
	}
	a.check(frr.Start())
	f.soon("what it said, again", func() bool { return c.knows("192.168.7.9", "10.9.0.3") && a.knows("192.168.7.5", "10.9.0.5") })
}

// neighbourless has a guest reach an address whose MAC address it has forgotten.
func (m *machine) neighbourless(from *host.Guest, addr string) {
	m.t.Helper()
	m.check(from.Run("ip", "neighbour", "flush", "dev", "eth1").Err())
	m.reaches(from, addr)
}

// hearsNoARP fails if a guest hears an ARP request while something is done. It has ears, for it
// hears the one of something else.
func (m *machine) hearsNoARP(g *host.Guest, do, other func()) {
	m.t.Helper()
	file := filepath.Join(m.t.TempDir(), "arp")
	m.begin(g.Command(m.t.Context(), "sh", "-c", "exec tcpdump -n -l -i eth1 arp >"+file+" 2>"+file+".err"))
	heard := func(file, what string) bool {
		text, _ := os.ReadFile(file)
		return strings.Contains(string(text), what)
	}
	if !host.Poll(host.Patience, func() bool { return heard(file+".err", "listening on") }) {
		m.t.Fatal("tcpdump does not listen")
	}
	do()
	other()
	if !host.Poll(host.Patience, func() bool { return heard(file, "who-has 192.168.7.99 ") }) {
		m.t.Error("a request for nobody was not heard")
	}
	if heard(file, "who-has 192.168.7.4 ") {
		m.t.Error("a request for the guest of another host was heard")
	}
}

// TestEVPNConfig: what a host cannot know is asked for.
func TestEVPNConfig(t *testing.T) {
	m := newMachine(t)
	m.sh("ip link set lo up; ip address add 10.255.0.1/32 dev lo; ip address add 10.255.0.2/32 dev lo")
	rr := []string{"evpn-config", "--reflector", "10.9.0.250"}
	m.says("without a VXLAN", m.fails("not_found", rr...).Error.Message, "no bridge of this host has a VXLAN yet")
	m.on("web", "192.168.7.1/24", "--uplink", "vxlan:100,local=10.255.0.1")
	m.says("with one", m.ok(rr...).Stdout, "router bgp 65000\n bgp router-id 10.255.0.1\n", " neighbor 10.9.0.250 remote-as 65000\n", " neighbor 10.9.0.250 update-source 10.255.0.1\n", "  advertise-all-vni\n")
	m.fails("usage", "evpn-config", "--reflector", "10.255.0.1")
	m.ok("apply", "-f", m.topologyOf("bridges:\n  brother: {uplink: 'vxlan:200,local=10.255.0.2'}\n"))
	m.says("with two", m.fails("not_found", rr...).Error.Message, "several addresses: 10.255.0.1, 10.255.0.2")
	m.says("--json", m.ok(append(rr, "--router-id", "10.255.0.2", "--as", "65010", "--json")...).Stdout, `{"config":"router bgp 65010\n bgp router-id 10.255.0.2\n`)
	for _, words := range []string{"", "--reflector web", "--reflector 10.9.0.250 --as 0", "--reflector 10.9.0.250 --router-id fd00::1",
		"--reflector 10.9.0.250 --router-id 224.0.0.1", "--reflector 10.9.0.250 --router-id 10.9.0.250", "--reflector 127.0.0.1", "--reflector fe80::1"} {
		m.fails("usage", append(rr[:1:1], strings.Fields(words)...)...)
	}
}
