//go:build linux

package e2e

import (
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"github.com/gopipework/gopipework/e2e/host"
)

// Servers that say something odd beside a good address: it is taken, and what is
// left out is named. Servers that leave out what is needed are refused, and a
// word on the line says it for them.
func TestDHCPForgives(t *testing.T) {
	m := newMachine(t)
	router, g := m.router("brtest"), m.guest()
	check := m.unchanged(g)
	option := func(code uint8, b ...byte) dhcpv4.Modifier {
		return dhcpv4.WithGeneric(dhcpv4.GenericOptionCode(code), b)
	}
	for _, s := range []struct {
		name   string
		change []dhcpv4.Modifier
		warns  string // "": of nothing
		routes string // by the guest's interface, beside the subnet's; "": none
		needs  string // an option, without which it is refused
	}{
		{"router 0.0.0.0", []dhcpv4.Modifier{option(3, 0, 0, 0, 0)}, "", "", ""},
		{"router 0.0.0.0 and one", []dhcpv4.Modifier{option(3, 0, 0, 0, 0, 10, 9, 0, 1)}, "", "default via 10.9.0.1", ""},
		{"we are the router", []dhcpv4.Modifier{option(3, 10, 9, 0, 77)}, "our own address", "", ""},
		{"a bad route among good ones", []dhcpv4.Modifier{option(121, 8, 239, 10, 9, 0, 1, 8, 20, 10, 9, 0, 1)}, "no router forwards", "20.0.0.0/8 via 10.9.0.1", ""},
		{"routes cut short", []dhcpv4.Modifier{option(121, 8, 20, 10, 9, 0, 1, 24, 10)}, "end in the middle", "20.0.0.0/8 via 10.9.0.1", ""},
		{"68 years", []dhcpv4.Modifier{dhcpv4.WithLeaseTime(0x7fffffff)}, "", "", ""},
		{"no lease time", []dhcpv4.Modifier{dhcpv4.WithoutOption(dhcpv4.OptionIPAddressLeaseTime)}, "", "", "lease=1h"},
		{"no mask", []dhcpv4.Modifier{dhcpv4.WithoutOption(dhcpv4.OptionSubnetMask)}, "", "", "prefix=24"},
		{"mask of half the net", []dhcpv4.Modifier{option(1, 128, 0, 0, 0)}, "", "", "prefix=24"},
	} {
		server := m.lends(router, time.Hour, s.change...)
		word := "dhcp"
		if s.needs != "" {
			f := m.fails("timeout", "brtest", g.Word, "dhcp:timeout=1s")
			if !strings.Contains(f.Error.Hint, "dhcp:"+s.needs) { // no time for the server to answer in
				f = m.fails("timeout", "brtest", g.Word, "dhcp:timeout=20s")
			}
			m.says("the hint of "+s.name, f.Error.Hint, "dhcp:"+s.needs)
			check("after " + s.name)
			word += ":" + s.needs
		}
		server.asked.Store(0)
		r := m.ok("brtest", g.Word, word)
		if s.warns == "" && r.Stderr != "" || !strings.Contains(r.Stderr, s.warns) {
			t.Errorf("%s: says %q, should warn of %q", s.name, r.Stderr, s.warns)
		}
		if a := m.leased(g, "eth1"); a != "10.9.0.77" {
			t.Errorf("%s: has %q", s.name, a)
		}
		m.check(g.Run("busybox", "ping", "-c", "1", "-W", "10", "10.9.0.1").Err())
		routes := strings.TrimSpace(g.Run("ip", "route", "show", "proto", "dhcp").Stdout)
		if !strings.HasPrefix(routes, s.routes) || s.routes == "" && routes != "" {
			t.Errorf("%s: routes %q, want %q", s.name, routes, s.routes)
		}
		m.quiet("brtest", g.Word, word) // twice is once
		m.quiet("detach", g.Word)
		m.notKept()
		if n := server.asked.Load(); n > 12 {
			t.Errorf("%s: the server was asked %d times", s.name, n)
		}
		server.Close()
		check("after " + s.name)
	}
}

// A renewal that says something odd does not cost a running guest its address.
func TestDHCPForgivesRenewal(t *testing.T) {
	m := newMachine(t)
	router, g := m.router("brtest"), m.guest()
	s := &server{}
	m.answer(s, router, func(r *dhcpv4.DHCPv4) [][]byte {
		change := []dhcpv4.Modifier{dhcpv4.WithRouter(net.IP{10, 9, 0, 1})}
		if r.MessageType() == dhcpv4.MessageTypeRequest && !r.ClientIPAddr.IsUnspecified() {
			s.asked.Add(1)
			change = []dhcpv4.Modifier{dhcpv4.WithRouter(net.IP{10, 9, 0, 77}), dhcpv4.WithoutOption(dhcpv4.OptionSubnetMask)}
		}
		return [][]byte{host.Reply(r, net.IP{10, 9, 0, 1}, net.IP{10, 9, 0, 77}, 12*time.Second, change...)}
	})
	m.quiet("brtest", g.Word, "dhcp")
	for end := time.Now().Add(host.Patience); s.asked.Load() < 2; time.Sleep(100 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("only %d renewals", s.asked.Load())
		}
		if a := m.leased(g, "eth1"); a != "10.9.0.77" {
			t.Fatalf("has %q after %d renewals", a, s.asked.Load())
		}
	}
	m.ok("detach", g.Word)
}

// A container that is made again, under the MAC address that the line chose, is
// the same client to its server.
func TestDHCPByMAC(t *testing.T) {
	m := newMachine(t)
	router := m.guest()
	m.quiet("brtest", router.Word, "10.9.0.1/24")
	var last atomic.Value // a client that is in a hurry says it more than once
	s := &server{}
	m.answer(s, router, func(r *dhcpv4.DHCPv4) [][]byte {
		if r.MessageType() == dhcpv4.MessageTypeDiscover {
			last.Store(string(r.Options.Get(dhcpv4.OptionClientIdentifier)))
		}
		return [][]byte{host.Reply(r, net.IP{10, 9, 0, 1}, net.IP{10, 9, 0, 77}, time.Hour)}
	})
	id := func(words ...string) string {
		g := m.guest()
		line := append([]string{"brtest", g.Word}, words...)
		m.quiet(line...)
		m.quiet(line...)
		m.quiet("detach", g.Word)
		return last.Swap("").(string)
	}
	byMAC, again, plain, text := id("dhcp", "U:web"), id("dhcp", "U:web"), id("dhcp"), id("dhcp:client-id=x", "U:web")
	if byMAC != again || byMAC[0] != 1 || len(byMAC) != 7 || plain == byMAC || text != "\x00x" {
		t.Errorf("client identifiers %x, again %x; without a MAC address %x, with one on the line %x", byMAC, again, plain, text)
	}
}
