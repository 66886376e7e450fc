//go:build linux

package e2e

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"github.com/gopipework/gopipework/e2e/host"
)

// everyNetwork runs a test on a bridge, on a network card and on Open vSwitch,
// each on a host of its own. hostIF is what a line names there.
func everyNetwork(t *testing.T, test func(t *testing.T, m *machine, hostIF string)) {
	t.Helper()
	t.Run("bridge", func(t *testing.T) { test(t, newMachine(t), "brtest") })
	t.Run("macvlan", func(t *testing.T) {
		m := newMachine(t)
		m.card("nic0")
		test(t, m, "nic0")
	})
	t.Run("ovs", func(t *testing.T) {
		m := newMachine(t)
		withOVS(t, m)
		test(t, m, "ovsbr0")
	})
}

// card makes a link that plays a network card; the host is not on its network.
func (m *machine) card(name string) {
	m.t.Helper()
	m.check(m.Batch("link add "+name+" type veth peer name wire-"+name, "link set "+name+" up", "link set wire-"+name+" addrgenmode none up"))
	m.do("sysctl -qw net/ipv6/conf/wire-" + name + "/accept_ra=0")
	m.do("sysctl -qw net/ipv6/conf/" + name + "/accept_ra=0")
}

// router plugs in a guest that gives others their addresses: 10.9.0.1, on its eth1.
func (m *machine) router(hostIF string) *host.Guest {
	m.t.Helper()
	g := m.guest()
	m.quiet(hostIF, g.Word, "10.9.0.1/24")
	return g
}

// dnsmasq runs one there, with the shortest lease that it takes.
func (m *machine) dnsmasq(router *host.Guest, args ...string) *host.Dnsmasq {
	m.t.Helper()
	d, err := router.StartDnsmasq("eth1", "10.9.0.10,10.9.0.99,255.255.255.0,2m", args...)
	m.check(err)
	m.t.Cleanup(func() { _ = d.Stop() })
	return d
}

// logs waits until a server has logged every one of the words: a client that expects
// no answer does not wait for the server to read what it says.
func (m *machine) logs(d *host.Dnsmasq, words ...string) {
	m.t.Helper()
	host.Poll(host.Patience, func() bool {
		log := d.Log()
		return !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(log, w) })
	})
	m.says("the server's log", d.Log(), words...)
}

// leased is the address that an interface of a guest has, or "".
func (m *machine) leased(g *host.Guest, ifName string) string {
	m.t.Helper()
	for _, a := range m.links(g)[ifName].Addrs {
		if a.Family == "inet" {
			return a.Local
		}
	}
	return ""
}

// keepers are the processes on the host that keep leases.
func (m *machine) keepers() (pids []int) {
	m.t.Helper()
	return m.running("--keep-leases")
}

// running are the processes on the host that have the word on their line.
func (m *machine) running(word string) (pids []int) {
	m.t.Helper()
	here := strings.TrimSpace(m.do("readlink /proc/self/ns/mnt"))
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	m.check(err)
	for _, path := range lines {
		dir := filepath.Dir(path)
		line, _ := os.ReadFile(path)
		if ns, _ := os.Readlink(dir + "/ns/mnt"); ns != here || !strings.Contains(string(line), "\x00"+word+"\x00") {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(dir))
		m.check(err)
		pids = append(pids, pid)
	}
	return pids
}

// keeper is the only one.
func (m *machine) keeper() int {
	m.t.Helper()
	pids := m.keepers()
	if len(pids) != 1 {
		m.t.Fatalf("%d keepers, should be one", len(pids))
	}
	return pids[0]
}

// records are the files of the keepers.
func (m *machine) records() string {
	return m.Run("sh", "-c", "ls /run/gopipework/dhcp-* 2>/dev/null").Stdout
}

// notKept waits until no keeper is there, nor a file of one.
func (m *machine) notKept() {
	m.t.Helper()
	if !host.Poll(host.Patience, func() bool { return len(m.keepers()) == 0 && m.records() == "" }) {
		m.t.Errorf("there are still the keepers %v and the files %q", m.keepers(), m.records())
	}
}

// residentMB is what a process holds of the memory.
func residentMB(t testing.TB, pid int) float64 {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); f[0] == "VmRSS:" {
			kb, err := strconv.Atoi(f[1])
			if err != nil {
				t.Fatal(err)
			}
			return float64(kb) / 1024
		}
	}
	t.Fatalf("no VmRSS:\n%s", text)
	return 0
}

// A container, and a real server: on a bridge, on a network card and on Open
// vSwitch.
func TestDHCP(t *testing.T) {
	e := withDocker(t)
	t.Run("bridge", func(t *testing.T) { e.in(t).dhcp("brtest") })
	t.Run("macvlan", func(t *testing.T) {
		e := e.in(t)
		e.card("nic0")
		t.Cleanup(func() { e.do("ip link delete nic0") })
		e.dhcp("nic0")
	})
	t.Run("ovs", func(t *testing.T) {
		e := e.in(t)
		withOVS(t, e.machine)
		e.dhcp("ovsbr0")
	})
}

func (e *engine) dhcp(hostIF string) {
	e.t.Helper()
	untouched := e.unchanged()
	router := e.router(hostIF)
	d := e.dnsmasq(router, "--dhcp-option=3,10.9.0.1", "--dhcp-option=121,10.50.0.0/16,10.9.0.5,0.0.0.0/0,10.9.0.1", "--dhcp-option=26,1400")
	e.container("web")
	web := e.guestOf("web")
	check := e.unchanged(web)

	e.quiet(hostIF, "web", "dhcp")
	addr := e.leased(web, "eth1")
	if !strings.HasPrefix(addr, "10.9.0.") {
		e.t.Fatalf("the address is %q", addr)
	}
	e.reaches(web, "10.9.0.1")
	e.reaches(router, addr)
	e.logs(d, "client provides name: web", "DHCPACK(eth1) "+addr)
	e.says("the routes", web.Run("ip", "route").Stdout, "default via 10.9.0.1 dev eth1", "10.50.0.0/16 via 10.9.0.5 dev eth1")
	if mtu := e.links(web)["eth1"].MTU; mtu != 1400 {
		e.t.Errorf("the MTU is %d, the server says 1400", mtu)
	}
	e.listsAddress("web", addr+"/24")

	e.oneKeeper(hostIF, web)
	if a := e.attach(hostIF, "web", "dhcp"); *a.Changed {
		e.t.Errorf("the same line again: %q", a.Steps)
	}
	e.says("the error", e.fails("conflict", hostIF, "web", "10.9.0.200/24").Error.Message, "dhcp")
	e.fails("conflict", hostIF, "web", "dhcp:hostname=other")
	e.quiet(hostIF, router.Word, "10.9.0.1/24")
	e.says("the error", e.fails("conflict", hostIF, router.Word, "dhcp").Error.Message, "10.9.0.1/24")

	e.quiet("detach", "web")
	e.logs(d, "DHCPRELEASE(eth1) "+addr)
	e.notKept()
	check("after detach")

	e.dies(hostIF, web)
	e.quiet("detach", router.Word)
	e.check(router.Kill())
	e.ok("gc")
	untouched("after the guests")
}

// listsAddress checks what list says about the address of a guest's only attachment.
func (m *machine) listsAddress(guest, addr string) {
	m.t.Helper()
	if l := m.list(guest); len(l) != 1 || !slices.Equal(l[0].Interface.Addresses, []string{addr}) {
		m.t.Errorf("list says %+v, the address is %s", l, addr)
	}
}

// oneKeeper gives the container a second interface: the same process keeps both
// leases, in little memory.
func (e *engine) oneKeeper(hostIF string, web *host.Guest) {
	e.t.Helper()
	pid := e.keeper()
	e.quiet(hostIF, "-i", "eth2", "web", "dhcp:default-route=no,client-id=second")
	if again := e.keeper(); again != pid {
		e.t.Errorf("another keeper, %d instead of %d", again, pid)
	}
	if e.leased(web, "eth1") == e.leased(web, "eth2") {
		e.t.Error("both interfaces have the same address")
	}
	mb := residentMB(e.t, pid)
	e.t.Logf("a keeper of two leases holds %.1f MB", mb)
	if mb >= 15 {
		e.t.Errorf("a keeper holds %.1f MB, should be below 15", mb)
	}
	e.quiet("detach", "web", "eth2")
	if again := e.keeper(); again != pid {
		e.t.Errorf("another keeper, %d instead of %d", again, pid)
	}
}

// dies kills the container: nothing of its lease is left.
func (e *engine) dies(hostIF string, web *host.Guest) {
	e.t.Helper()
	e.quiet(hostIF, "web", "dhcp")
	e.keeper()
	e.docker("kill", "web")
	e.notKept()
	// The kernel ends a namespace, and with it our link, after its own time.
	if hostIF != "ovsbr0" && !host.Poll(30*time.Second, func() bool {
		return !slices.ContainsFunc(e.list(), func(a attachment) bool { return a.Guest.Name == "web" && a.State == "complete" })
	}) {
		e.t.Errorf("still listed: %+v", e.list())
	}
	e.docker("rm", "web")
}

// server answers as short leases do.
type server struct {
	*host.DHCPServer
	asked atomic.Int64
}

// lends gives each client one address, for the time.
func (m *machine) lends(router *host.Guest, lease time.Duration, change ...dhcpv4.Modifier) *server {
	m.t.Helper()
	s := &server{}
	m.answer(s, router, func(r *dhcpv4.DHCPv4) [][]byte {
		s.asked.Add(1)
		return [][]byte{host.Reply(r, net.IP{10, 9, 0, 1}, net.IP{10, 9, 0, 77}, lease, change...)}
	})
	return s
}

func (m *machine) answer(s *server, router *host.Guest, with func(*dhcpv4.DHCPv4) [][]byte) {
	m.t.Helper()
	var err error
	s.DHCPServer, err = router.ServeDHCP("eth1", with)
	m.check(err)
	m.t.Cleanup(s.Close)
}

// A lease of a few seconds lives on, also after its keeper was killed, without a
// gap in a running ping; when the server goes, the address goes with the lease.
func TestDHCPStays(t *testing.T) {
	const lease = 10 * time.Second // a busy machine starts a keeper in this time
	everyNetwork(t, func(t *testing.T, m *machine, hostIF string) {
		router, g := m.router(hostIF), m.guest()
		check := m.unchanged(g)
		s := m.lends(router, lease)
		m.quiet(hostIF, g.Word, "dhcp")
		pings := make(chan host.Result, 1)
		go func() { pings <- router.Run("busybox", "ping", "-i", "0.5", "-w", "17", "-q", "10.9.0.77") }()

		// It is renewed after half of its time, and killed then: so it has all of it left.
		if !host.Poll(host.Patience, func() bool { return s.asked.Load() > 2 }) {
			t.Fatal("the lease is not renewed")
		}
		old := m.keeper()
		m.check(syscall.Kill(old, syscall.SIGKILL))
		again := func() bool { // not before the kernel has let go of the dead one's lock
			m.ok("gc")
			m.listsAddress(g.Word, "10.9.0.77/24")
			pids := m.keepers()
			return len(pids) == 1 && pids[0] != old
		}
		if !host.Poll(30*time.Second, again) {
			t.Fatalf("gc does not start the keeper again: %v", m.keepers())
		}
		if r := <-pings; r.Code != 0 || !strings.Contains(r.Stdout, " 0% packet loss") {
			t.Errorf("a gap in the ping: %v", r)
		}
		if !host.Poll(host.Patience, func() bool { return s.asked.Load() >= 5 }) {
			t.Errorf("the server was asked %d times: the lease was not renewed", s.asked.Load())
		}

		s.Close()
		if !host.Poll(lease+30*time.Second, func() bool { return m.leased(g, "eth1") == "" }) {
			t.Error("the address outlives its lease")
		}
		m.keeper()
		m.quiet("detach", g.Word)
		m.notKept()
		check("after detach without a server")
	})
}

// Servers that give nothing of use: it takes no longer than allowed, says so,
// and leaves nothing.
func TestDHCPFails(t *testing.T) {
	ours, bad := net.IP{10, 9, 0, 1}, net.IP{10, 9, 0, 77}
	reply := func(change ...dhcpv4.Modifier) func(*dhcpv4.DHCPv4) [][]byte {
		return func(r *dhcpv4.DHCPv4) [][]byte { return [][]byte{host.Reply(r, ours, bad, time.Minute, change...)} }
	}
	servers := []struct {
		name, codes, says string
		answer            func(*dhcpv4.DHCPv4) [][]byte
	}{
		{"nobody", "timeout", "no DHCP server answered", nil},
		{"silence", "timeout", "no DHCP server answered", func(*dhcpv4.DHCPv4) [][]byte { return nil }},
		{"garbage", "timeout", "no DHCP server answered", func(*dhcpv4.DHCPv4) [][]byte {
			return [][]byte{nil, {2}, slices.Repeat([]byte{0xff}, 300), slices.Repeat([]byte{2}, 1400)}
		}},
		{"refusal", "failed", "10.9.0.1 refuses: \"not here\"", func(r *dhcpv4.DHCPv4) [][]byte {
			if r.MessageType() == dhcpv4.MessageTypeDiscover {
				return reply()(r)
			}
			return reply(dhcpv4.WithMessageType(dhcpv4.MessageTypeNak), dhcpv4.WithOption(dhcpv4.OptMessage("not here")))(r)
		}},
		{"no address", "timeout", "no usable answer", reply(dhcpv4.WithYourIP(net.IPv4zero))},
		{"broadcast address", "timeout", "10.9.0.255", reply(dhcpv4.WithYourIP(net.IP{10, 9, 0, 255}))},
		{"for 0s", "timeout", "lease time", reply(dhcpv4.WithLeaseTime(0))},
	}
	everyNetwork(t, func(t *testing.T, m *machine, hostIF string) {
		router, g := m.router(hostIF), m.guest()
		check := m.unchanged(g)
		for _, s := range servers {
			if hostIF != "brtest" && s.name != "nobody" && s.name != "refusal" {
				continue // what is made of an answer does not depend on how it came
			}
			answering := &server{}
			if s.answer != nil {
				m.answer(answering, router, s.answer)
			}
			// Refusals end it by themselves, in some seconds; the rest by the time given.
			timeout := "1s"
			if s.codes == "failed" {
				timeout = "30s"
			}
			f := m.fails(s.codes, hostIF, g.Word, "dhcp:timeout="+timeout, "--timeout", "1m")
			if !strings.Contains(f.Error.Message, s.says) { // no time for the server to answer in
				f = m.fails(s.codes, hostIF, g.Word, "dhcp:timeout=20s", "--timeout", "1m")
			}
			m.says(s.name, f.Error.Message, s.says)
			if answering.DHCPServer != nil {
				answering.Close()
			}
			check("after " + s.name)
			m.notKept()
		}
		f := m.fails("timeout", hostIF, g.Word, "dhcp", "--timeout", "1s")
		m.says("the end of --timeout", f.Error.Message, "longer than --timeout")
		check("after --timeout")
	})
}

// A lease that cannot be kept goes back to its server: the keeper's socket cannot
// be made here.
func TestDHCPNotKept(t *testing.T) {
	m := newMachine(t)
	router, g := m.router("brtest"), m.guest()
	d := m.dnsmasq(router)
	m.quiet("brtest", g.Word, "dhcp")
	record, _, _ := strings.Cut(m.records(), ".json")
	m.quiet("detach", g.Word)
	m.notKept()
	check := m.unchanged(g)
	m.check(m.Run("sh", "-ec", "umask 077; mkdir -p "+record+".sock/in/the/way").Err())
	m.fails("failed", "brtest", g.Word, "dhcp")
	m.check(m.Run("rm", "-r", record+".sock", "/run/gopipework").Err())
	told := func() int { return strings.Count(d.Log(), "DHCPRELEASE(eth1)") }
	if !host.Poll(host.Patience, func() bool { return told() == 2 }) {
		t.Errorf("the server was told %d times, want 2:\n%s", told(), d.Log())
	}
	check("after a lease that could not be kept")
}
