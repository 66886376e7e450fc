//go:build linux

package e2e

import (
	"strings"
	"syscall"
	"testing"

	"github.com/gopipework/gopipework/e2e/host"
)

// TestSetTo: a guest that is moved to another bridge reaches who is there, by the same
// interface, and what we had made of the old bridge goes with the last port.
func TestSetTo(t *testing.T) {
	for _, tt := range []struct{ name, from, to, vlan, flag string }{
		{"bridge to bridge", "br1", "br2", "", "--antispoof"},
		{"bridge to Open vSwitch", "br1", "ovs2", "20", ""},
		{"Open vSwitch to bridge", "ovs1", "br2", "", "--isolated"},
		{"Open vSwitch to Open vSwitch", "ovs1", "ovs2", "20", "--isolated"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := newMachine(t)
			if strings.Contains(tt.from+tt.to, "ovs") {
				withOVS(t, m)
			}
			web := m.named("web")
			m.named("here")
			m.named("there")
			check := m.unchanged()
			tag := func(line ...string) []string {
				if tt.vlan != "" {
					line = append(line, "@"+tt.vlan)
				}
				return line
			}
			// Both networks have a 10.0.0.1: another station, of which web must not keep
			// the old one's MAC address.
			m.quiet(tt.from, "netns:here", "10.0.0.1/24")
			m.quiet(tag(tt.to, "netns:there", "10.0.0.1/24")...)
			line := []string{"netns:web", "10.0.0.2/24,2001:db8::2/64", "--route", "10.9.0.0/16,via 10.0.0.1"}
			if tt.flag != "" {
				line = append(line, tt.flag)
			}
			m.quiet(append([]string{tt.from}, line...)...)
			m.reaches(web, "10.0.0.1")
			inside := func() string {
				return web.Run("ip", "-d", "address", "show", "dev", "eth1").Stdout + web.Run("ip", "route").Stdout + web.Run("ip", "-6", "route").Stdout
			}
			before := inside()
			set := []string{"set", "netns:web", "eth1", "--to", tt.to}
			if tt.vlan != "" {
				set = append(set, "--vlan", tt.vlan)
			}
			m.ok(set...)
			if now := inside(); now != before {
				t.Errorf("inside it was\n%s, and is\n%s", before, now)
			}
			m.reaches(web, "10.0.0.1")
			m.says("the list", m.ok("list", "web", "--json").Stdout, `"name":"`+tt.to+`"`, `"vlan":"`+tt.vlan+`"`, `"state":"complete"`, strings.TrimPrefix(tt.flag, "--"))
			if r := m.ok(append(set, "--json")...); !strings.Contains(r.Stdout, `"changed":false`) {
				t.Errorf("twice: %v", r)
			}
			f := m.fails("conflict", append([]string{tt.from}, line...)...)
			m.says("the line for the old bridge", f.Error.Message+f.Error.Hint, "bridge "+tt.to, "gopipework set netns:web eth1 --to "+tt.from)

			move := append([]string{"set", "netns:here", "eth1"}, set[3:]...)
			f = m.fails("conflict", move...)
			m.says("an address that somebody there has", f.Error.Message, "has 10.0.0.1 already")
			m.says("what was moved there", m.ok("list", "here", "--json").Stdout, `"name":"`+tt.from+`"`)
			m.ok(append(move, "--addr", "10.0.0.3/24")...)
			m.reaches(web, "10.0.0.3")
			if links := m.do("ip -o link"); strings.Contains(links, tt.from) {
				t.Errorf("the bridge without ports is there:\n%s", links)
			}
			for _, guest := range []string{"netns:web", "netns:here", "netns:there"} {
				m.quiet("detach", guest)
			}
			check("after detach")
		})
	}
}

// TestSetToFor: the old bridge, which went with its last port, is there again when the time is
// over, and the port is in it.
func TestSetToFor(t *testing.T) {
	m := newMachine(t)
	m.named("web")
	m.quiet("br1", "netns:web", "10.0.0.2/24")
	before := m.ok("list", "web", "--json").Stdout
	b := m.begin(m.Command(t.Context(), "gopipework", "set", "netns:web", "eth1", "--to", "br2", "--for", "1h"))
	if !host.Poll(host.Patience, func() bool { return strings.Contains(m.ok("list", "web", "--json").Stdout, `"name":"br2"`) }) {
		t.Fatalf("it was not moved: %v", b.end(t))
	}
	m.check(b.Process.Signal(syscall.SIGINT))
	b.end(t)
	if now := m.ok("list", "web", "--json").Stdout; now != before {
		t.Errorf("it was %s, and is %s", before, now)
	}
}

// TestSetToRefused: what cannot be moved, and where to.
func TestSetToRefused(t *testing.T) {
	m := newMachine(t)
	m.card("nic0")
	m.named("web")
	m.quiet("nic0", "netns:web", "10.0.0.2/24")
	f := m.fails("usage", "set", "netns:web", "eth1", "--to", "br2")
	m.says("a macvlan", f.Error.Message+f.Error.Hint, "of the kind macvlan", "gopipework detach netns:web eth1")
	m.quiet("br1", "-i", "eth2", "netns:web", "10.0.1.2/24")
	for word, says := range map[string]string{"nic0": "of the kind macvlan", "bridge:nic0": "is not a bridge", "dummy": "of the kind dummy"} {
		if r := m.Run("gopipework", "set", "netns:web", "eth2", "--to", word); r.Code == 0 || !strings.Contains(r.Stderr, says) {
			t.Errorf("to %s: %v", word, r)
		}
	}
	m.fails("not_found", "set", "netns:web", "eth2", "--to", "lan7")
	m.fails("usage", "set", "netns:web", "eth2", "--no-firewall")
}

// TestSetToLease: a guest that is moved to a network whose server does not know its leased
// address gets one of that network.
func TestSetToLease(t *testing.T) {
	m := newMachine(t)
	old, web := m.router("br1"), m.named("web")
	m.dnsmasq(old)
	m.quiet("br1", "netns:web", "dhcp")
	if addr := m.leased(web, "eth1"); !strings.HasPrefix(addr, "10.9.0.") {
		t.Fatalf("the address is %q", addr)
	}
	other := m.guest()
	m.quiet("br2", other.Word, "10.8.0.1/24")
	d, err := other.StartDnsmasq("eth1", "10.8.0.10,10.8.0.99,255.255.255.0,2m", "--dhcp-authoritative")
	m.check(err)
	t.Cleanup(func() { _ = d.Stop() })
	m.ok("set", "netns:web", "eth1", "--to", "br2")
	if !host.Poll(host.Patience, func() bool { return strings.HasPrefix(m.leased(web, "eth1"), "10.8.0.") }) {
		t.Errorf("the address is %q\n%s", m.leased(web, "eth1"), d.Log())
	}
	m.reaches(web, "10.8.0.1")
	m.quiet("detach", "netns:web")
}
