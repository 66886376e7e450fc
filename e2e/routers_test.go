//go:build linux

package e2e

import (
	"strings"
	"testing"
	"time"

	"github.com/gopipework/gopipework/e2e/host"
)

// way is how the guest reaches an address beyond its networks.
func (m *machine) way(g *host.Guest) string {
	m.t.Helper()
	r := g.Run("ip", "-6", "route", "get", "2001:db8:99::1")
	m.check(r.Err())
	return r.Stdout
}

// What the line says stays the default route, and the source, when a router comes that
// calls itself preferable: on the same network, and on another of the guest's.
func TestRouterAndGateway(t *testing.T) {
	m := newMachine(t)
	router, other, g := m.guest(), m.guest(), m.guest()
	m.quiet("brtest", router.Word, "2001:db8:20::1/64")
	m.quiet("br2", other.Word, "2001:db8:30::1/64")
	m.quiet("brtest", g.Word, "2001:db8:20::5/64@2001:db8:20::9")
	holds := func(when string) {
		t.Helper()
		m.says("the default route "+when, m.way(g), "via 2001:db8:20::9 dev eth1", "src 2001:db8:20::5")
	}
	holds("before a router speaks")
	for r, on := range map[*host.Guest]string{router: "2001:db8:20::/64", other: "2001:db8:30::/64"} {
		d, err := r.StartRadvd("eth1", on, "AdvDefaultPreference high")
		m.check(err)
		t.Cleanup(func() { _ = d.Stop() })
	}
	// The line with slaac proves that the router on br2 is heard; a guest that
	// listens on brtest, that the one there is.
	m.quiet("br2", "-i", "eth2", g.Word, "slaac")
	listener := m.guest()
	m.quiet("brtest", listener.Word, "slaac")
	holds("beside a router on another interface")
	m.says("the other way", g.Run("ip", "-6", "route", "show", "default").Stdout, "dev eth2", "metric 1024")
	if addrs := g.Run("ip", "-6", "-o", "address", "show", "dev", "eth1", "scope", "global").Stdout; strings.Count(addrs, "\n") != 1 {
		t.Errorf("a router has given eth1 an address:\n%s", addrs)
	}
	m.quiet("brtest", g.Word, "2001:db8:20::5/64@2001:db8:20::9") // twice is once

	// Without a gateway a router is welcome, but its address is not the source.
	m.quiet("detach", g.Word, "eth1")
	m.quiet("detach", g.Word, "eth2")
	m.quiet("brtest", g.Word, "2001:db8:20::5/64")
	if !host.Poll(30*time.Second, func() bool {
		return strings.Contains(g.Run("ip", "-6", "route", "show", "default").Stdout, "proto ra")
	}) {
		t.Error("a line without a gateway takes no router")
	}
	m.says("the default route by a router", m.way(g), "dev eth1", "src 2001:db8:20::5")
}

// slaac and dhcp6 turn on what they need, whatever a guest has turned off on its
// new interfaces.
func TestDeafGuest(t *testing.T) {
	m := newMachine(t)
	router, d := m.router6("brtest")
	defer func() { _ = d.Stop() }()
	r, err := router.StartRadvd("eth1", "fd00:9::/64")
	m.check(err)
	t.Cleanup(func() { _ = r.Stop() })
	for _, off := range []string{"autoconf=0", "accept_ra=0 accept_ra_pinfo=0 accept_ra_defrtr=0 forwarding=1", "addr_gen_mode=1 router_solicitations=0"} {
		g := m.guest()
		for _, sysctl := range strings.Fields(off) {
			m.check(g.Run("sysctl", "-qw", "net.ipv6.conf.default."+sysctl).Err())
		}
		m.quiet("brtest", g.Word, "slaac")
		m.says("the default route with "+off, g.Run("ip", "-6", "route", "show", "default").Stdout, "dev eth1")
		m.quiet("brtest", g.Word, "slaac") // twice is once
		m.quiet("detach", g.Word)
		m.quiet("brtest", g.Word, "dhcp6")
		if !host.Poll(30*time.Second, func() bool {
			return strings.Contains(g.Run("ip", "-6", "route", "show", "default").Stdout, "dev eth1")
		}) {
			t.Errorf("dhcp6 with %s: no default route", off)
		}
		m.quiet("detach", g.Word)
	}
}
