//go:build linux

package e2e

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gopipework/gopipework/e2e/host"
)

// A router that advertises a prefix, and a guest with IPv6 off, as Docker has it:
// the address and the default route come on our interface alone.
func TestSLAAC(t *testing.T) {
	everyNetwork(t, func(t *testing.T, m *machine, hostIF string) {
		need(t, "ipv6")
		router, g := m.guest(), m.guest()
		m.check(g.Run("sh", "-ec", "echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6; echo 1 > /proc/sys/net/ipv6/conf/default/disable_ipv6; echo 1 > /proc/sys/net/ipv6/conf/all/forwarding").Err())
		m.check(router.Run("sysctl", "-qw", "net.ipv6.conf.all.forwarding=1").Err())
		m.quiet(hostIF, router.Word, "fd00:9::1/64")
		check := m.unchanged(g)

		f := m.fails("timeout", hostIF, g.Word, "slaac", "--timeout", "1s")
		m.says("without a router", f.Error.Message, "longer than --timeout")
		check("without a router")

		r, err := router.StartRadvd("eth1", "fd00:9::/64")
		m.check(err)
		t.Cleanup(func() { _ = r.Stop() })
		m.quiet(hostIF, g.Word, "slaac")
		addr := globalAddr(m, g)
		if !strings.HasPrefix(addr, "fd00:9::") || addr == "fd00:9::1" {
			t.Fatalf("the address is %q", addr)
		}
		m.reaches(router, addr)
		m.reaches(g, "fd00:9::1")
		m.says("the default route", g.Run("ip", "-6", "route").Stdout, "default via fe80::")
		m.says("what is on elsewhere", g.Run("sh", "-c", "cd /proc/sys/net/ipv6/conf; grep . */disable_ipv6").Stdout,
			"lo/disable_ipv6:1", "eth1/disable_ipv6:0", "all/disable_ipv6:1")
		if l := m.list(g.Word); len(l) != 1 || !slices.Contains(l[0].Interface.Addresses, addr+"/64") {
			t.Errorf("list says %+v, the address is %s", l, addr)
		}

		// What a guest says about routers is not for the host.
		for _, family := range []string{"addr", "route"} {
			if out := m.do("ip -6 " + family); strings.Contains(out, "fd00:9") || strings.Contains(out, "default") {
				t.Errorf("the host has listened to the router, too:\n%s", out)
			}
		}

		if a := m.attach(hostIF, g.Word, "slaac"); *a.Changed {
			t.Errorf("the same line again: %q", a.Steps)
		}
		m.fails("conflict", hostIF, g.Word, "fd00:9::77/64")
		m.fails("conflict", hostIF, g.Word, "dhcp")
		m.fails("conflict", hostIF, router.Word, "slaac")
		m.fails("usage", hostIF, g.Word, "slaac:x")
		m.quiet("detach", g.Word)
		check("after detach")

		// A guest that does not ask hears the router too, as the kernel has it.
		other := m.guest()
		line := []string{hostIF, other.Word, "fd00:9::88/64"}
		m.quiet(line...)
		if !host.Poll(30*time.Second, func() bool { return strings.Contains(other.Run("ip", "-6", "route").Stdout, "default via fe80::") }) {
			t.Error("a guest that does not ask does not hear the router")
		}
		if a := m.attach(line...); *a.Changed {
			t.Errorf("the same line again, after an advertisement: %q", a.Steps)
		}
		m.quiet("detach", other.Word)
	})
}

// globalAddr is the IPv6 address of eth1 that is not link-local.
func globalAddr(m *machine, g *host.Guest) string {
	m.t.Helper()
	for _, a := range m.links(g)["eth1"].Addrs {
		if a.Family == "inet6" && a.Scope == "global" {
			return a.Local
		}
	}
	return ""
}

// TestSLAACOptions: temporary addresses, and a route that a router gives beside the default one.
func TestSLAACOptions(t *testing.T) {
	m := newMachine(t)
	need(t, "ipv6")
	router, web := m.guest(), m.named("web")
	m.quiet("brtest", router.Word, "fd00:9::1/64")
	r, err := router.StartRadvd("eth1", "fd00:9::/64", "route fd00:77::/64 { }")
	m.check(err)
	t.Cleanup(func() { _ = r.Stop() })
	line := []string{"brtest", "netns:web", "slaac:route-info=64,privacy=prefer"}
	m.quiet(line...)
	m.says("the addresses", web.Run("ip", "-6", "address", "show", "dev", "eth1").Stdout, "temporary")
	if !host.Poll(host.Patience, func() bool { return strings.Contains(web.Run("ip", "-6", "route").Stdout, "fd00:77::/64 via fe80::") }) {
		t.Errorf("the routes are\n%s", web.Run("ip", "-6", "route").Stdout)
	}
	if a := m.attach(line...); *a.Changed {
		t.Errorf("the same line again: %q", a.Steps)
	}
}
