//go:build linux

package e2e

import (
	"net"
	"strings"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"github.com/gopipework/gopipework/e2e/host"
)

// beyond gives a router an address that no subnet of its neighbours holds, and
// has it speak to them from there by one of its interfaces.
func beyond(m *machine, router *host.Guest, dev string, pairs ...string) {
	m.t.Helper()
	for ; len(pairs) > 0; pairs = pairs[2:] {
		subnet, addr := pairs[0], pairs[1]
		address := []string{"address", "add", addr, "dev", "lo"}
		route := []string{"route", "replace", subnet, "dev", dev, "src", addr}
		if strings.Contains(subnet, ":") {
			address = append(address, "nodad")
			route = append(route, "metric", "1") // the kernel's own stays beside it, with 256
		}
		m.check(router.Run("ip", address...).Err())
		m.check(router.Run("ip", route...).Err())
	}
}

// fetch asks for the page on port, as a client beyond every subnet, and waits so many
// seconds for a connection.
func fetch(from *host.Guest, addr, port, seconds string) host.Result {
	return from.RunInput("GET / HTTP/1.0\r\n\r\n", "busybox", "nc", "-w", seconds, addr, port)
}

func (m *machine) answers(when string, from *host.Guest, addr, port string) {
	m.t.Helper()
	if r := fetch(from, addr, port, "20"); !strings.HasSuffix(r.Stdout, "\r\n\r\n"+host.Page) {
		m.t.Errorf("%s: %v", when, r)
	}
}

// A published port that clients beyond the host ask for, and a service on our
// own interface that others ask for, on every kind of network: with a gateway
// alone the port is cut off, with a warning; with source routing both answer.
func TestSourceRouting(t *testing.T) {
	e := newEngine(t)
	client := e.guest()
	e.check(e.Batch("link add ext0 type veth peer name eth0 netns "+strings.TrimPrefix(client.Word, "pid:"),
		"address add 10.99.0.1/24 dev ext0", "link set ext0 up"))
	e.check(client.Run("sh", "-ec", "ip address add 10.99.0.2/24 dev eth0; ip link set eth0 up; ip route add default via 10.99.0.1").Err())
	e.container("web", "-p", "8080:80", "box", "httpd", "-f", "-p", "80", "-h", "/www")
	e.listens(e.guestOf("web"), 80)

	t.Run("bridge", func(t *testing.T) { e.in(t).sourceRouting("brtest", client) })
	t.Run("macvlan", func(t *testing.T) {
		e := e.in(t)
		e.check(e.Batch("link add nic0 type veth peer name wire", "link set nic0 addrgenmode none up", "link set wire addrgenmode none up"))
		e.sourceRouting("nic0", client)
	})
	t.Run("ovs", func(t *testing.T) {
		need(t, "ovs")
		_, err := e.StartOVS()
		e.in(t).check(err)
		e.in(t).sourceRouting("ovsbr0", client)
	})
}

// in is the same engine in another test.
func (e *engine) in(t *testing.T) *engine { return &engine{&machine{e.Host, t}, e.daemon} }

func (e *engine) sourceRouting(hostIF string, client *host.Guest) {
	e.t.Helper()
	web, router := e.guestOf("web"), e.guest()
	e.quiet(hostIF, router.Word, "192.168.1.1/24")
	beyond(e.machine, router, "eth1", "192.168.1.0/24", "10.98.0.1")
	for _, filter := range []string{"0", "1"} {
		e.check(web.Run("sysctl", "-qw", "net/ipv4/conf/all/rp_filter="+filter, "net/ipv4/conf/default/rp_filter="+filter, "net/ipv4/conf/eth0/rp_filter="+filter).Err())
		check := e.unchanged(web)
		with := " (rp_filter " + filter + ")"
		e.answers("before"+with, client, "10.99.0.1", "8080")

		line := []string{hostIF, "web", "192.168.1.2/24@192.168.1.1"}
		e.says("the warning", strings.Join(e.attach(line...).Warnings, "\n"), "--source-routing", "eth0")
		if r := fetch(client, "10.99.0.1", "8080", "2"); r.Stdout != "" {
			e.t.Errorf("with a gateway alone the port still answers, and the warning is wrong: %v", r)
		}
		e.fails("conflict", append(line, "--source-routing")...)
		e.quiet("detach", "web")
		check("after detach" + with)

		for _, flags := range [][]string{{"--source-routing"}, {"--source-routing", "--default=keep"}} {
			with := " with " + strings.Join(flags, " ") + with
			e.quiet(append(line, flags...)...)
			e.quiet(append(line, flags...)...)
			e.answers("published port"+with, client, "10.99.0.1", "8080")
			e.answers("our interface"+with, router, "192.168.1.2", "80")
			e.fails("conflict", line...)
			e.quiet("detach", "web")
			check("after detach" + with)
		}
	}
	e.sourceRoutingLeased(hostIF, client, router)
	e.quiet("detach", router.Word)
	e.check(router.Kill())
}

// sourceRoutingLeased is the same with an address, and a default route, from a server.
func (e *engine) sourceRoutingLeased(hostIF string, client, router *host.Guest) {
	e.t.Helper()
	check := e.unchanged(e.guestOf("web"))
	s := &server{}
	e.answer(s, router, func(r *dhcpv4.DHCPv4) [][]byte {
		return [][]byte{host.Reply(r, net.IP{192, 168, 1, 1}, net.IP{192, 168, 1, 2}, time.Hour, dhcpv4.WithRouter(net.IP{192, 168, 1, 1}))}
	})
	e.says("the warning with a lease", strings.Join(e.attach(hostIF, "web", "dhcp").Warnings, "\n"), "--source-routing", "eth0")
	if r := fetch(client, "10.99.0.1", "8080", "2"); r.Stdout != "" {
		e.t.Errorf("with a server's default route alone the port still answers, and the warning is wrong: %v", r)
	}
	e.quiet("detach", "web")
	check("after a lease")
	e.quiet(hostIF, "web", "dhcp", "--source-routing")
	e.answers("published port with a lease", client, "10.99.0.1", "8080")
	e.answers("our interface with a lease", router, "192.168.1.2", "80")
	e.quiet("detach", "web")
	e.notKept()
	s.Close()
	check("after a lease with source routing")
}

// Both families, without an engine: each neighbour is answered by the way it
// came, from addresses that only a default route leads to.
func TestSourceRoutingBothFamilies(t *testing.T) {
	m := newMachine(t)
	need(t, "ipv6")
	g, old, router := m.guest(), m.guest(), m.guest()
	m.check(m.Batch("link add eth0 netns " + strings.TrimPrefix(g.Word, "pid:") + " type veth peer name eth0 netns " + strings.TrimPrefix(old.Word, "pid:")))
	m.check(old.Run("sh", "-ec", "ip link set eth0 up; ip address add 172.17.0.1/16 dev eth0; ip address add fd00:17::1/64 dev eth0 nodad").Err())
	m.check(g.Run("sh", "-ec", `ip link set eth0 up; ip address add 172.17.0.2/16 dev eth0; ip address add fd00:17::2/64 dev eth0 nodad
		ip route add default via 172.17.0.1; ip -6 route add default via fd00:17::1`).Err())
	beyond(m, old, "eth0", "172.17.0.0/16", "10.97.0.1", "fd00:17::/64", "fd00:97::1")
	m.quiet("brtest", router.Word, "192.168.1.1/24,fd00:1::1/64")
	beyond(m, router, "eth1", "192.168.1.0/24", "10.98.0.1", "fd00:1::/64", "fd00:98::1")
	check := m.unchanged(g)

	line := []string{"brtest", g.Word, "192.168.1.2/24,fd00:1::2/64@192.168.1.1,fd00:1::1", "--route", "10.5.0.0/16,via 192.168.1.1"}
	m.quiet(line...)
	m.cut(old, "172.17.0.2")
	m.cut(old, "fd00:17::2")
	m.reaches(router, "192.168.1.2")
	m.reaches(router, "fd00:1::2")
	m.quiet("detach", g.Word)
	check("after detach")

	line = append(line, "--source-routing")
	for _, place := range []string{"--default=front", "--default=keep"} {
		m.quiet(append(line, place)...)
		for _, n := range []struct {
			from *host.Guest
			to   []string
		}{{old, []string{"172.17.0.2", "fd00:17::2"}}, {router, []string{"192.168.1.2", "fd00:1::2"}}} {
			for _, addr := range n.to {
				m.reaches(n.from, addr)
			}
		}
		if a := m.attach(append(line, place)...); *a.Changed {
			t.Errorf("the same line with %s changed something: %q", place, a.Steps)
		}
		m.quiet("detach", g.Word)
		check("after detach with " + place)
	}
}
