//go:build linux

package e2e

import (
	"context"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"github.com/gopipework/gopipework/e2e/host"
)

// Root without the capability that a packet socket, or a port of DHCPv6, takes is
// told which, with the exit code for it, and nothing has changed. With it no
// other is needed, for renewals neither.
func TestDHCPCapabilities(t *testing.T) {
	m := newMachine(t)
	need(t, "ipv6")
	router, g := m.router("brtest"), m.guest()
	check := m.unchanged(g)
	run := func(more string, args ...string) host.Result {
		caps := "-all,+net_admin,+sys_admin,+sys_ptrace" + more
		args = append([]string{"--inh-caps", caps, "--bounding-set", caps, "gopipework", "--json"}, args...)
		return host.Finish(m.Command(context.Background(), "setpriv", args...), args)
	}
	lines := map[string]string{
		"udhcpc-f":                "CAP_NET_RAW",
		"dhcp6":                   "CAP_NET_BIND_SERVICE",
		"dhcp":                    "CAP_NET_RAW",
		"10.9.0.2/24 --acd":       "CAP_NET_RAW",
		"10.9.0.2/24 --verify":    "CAP_NET_RAW",
		"dhcp --acd --timeout 9s": "CAP_NET_RAW",
	}
	for words, needs := range lines {
		f := m.failed("permission", run("", append([]string{"brtest", g.Word}, strings.Fields(words)...)...))
		if !strings.Contains(f.Error.Hint, needs) {
			t.Errorf("%s: the hint is %q, should name %s", words, f.Error.Hint, needs)
		}
		check("after " + words)
	}

	s := &server{}
	var discovers atomic.Int64
	m.answer(s, router, func(r *dhcpv4.DHCPv4) [][]byte {
		if r.MessageType() == dhcpv4.MessageTypeDiscover {
			discovers.Add(1)
		}
		s.asked.Add(1)
		return [][]byte{host.Reply(r, net.IP{10, 9, 0, 1}, net.IP{10, 9, 0, 77}, 12*time.Second)}
	})
	m.check(run(",+net_raw", "brtest", g.Word, "dhcp").Err())
	if !host.Poll(host.Patience, func() bool { return s.asked.Load() >= 4 }) || discovers.Load() != 1 {
		t.Errorf("the server was asked %d times, %d of them for a first lease: it is not renewed", s.asked.Load(), discovers.Load())
	}
	if a := m.leased(g, "eth1"); a != "10.9.0.77" {
		t.Errorf("the address after renewals is %q", a)
	}
	m.quiet("detach", g.Word)
	m.notKept()
	check("after a lease without other capabilities")
}

// A guest whose own firewall drops what asks for an address is told so, not that
// capabilities are missing.
func TestDHCP6Dropped(t *testing.T) {
	m := newMachine(t)
	need(t, "ipv6")
	_, g := m.router("brtest"), m.guest()
	m.check(g.Run("nft", "add table ip6 t; add chain ip6 t o { type filter hook output priority 0; }; add rule ip6 t o udp dport 547 drop").Err())
	check := m.unchanged(g)
	f := m.fails("failed", "brtest", g.Word, "dhcp6")
	m.says("the hint", f.Error.Hint, "firewall")
	check("after a drop")
}
