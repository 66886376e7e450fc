//go:build linux

package e2e

import (
	"strings"
	"testing"
)

// guestFaults are those of the guest's interface and routes.
var guestFaults = []fault{
	{name: "interface-down", do: "ip -n web link set eth1 down"},
	{name: "interface-down", what: "of the far end", do: "ip -n db link set eth1 down"},
	{name: "interface-down", what: "of a wire", set: wire, do: "ip -n web link set w0 down"},
	{name: "interface-missing", doctor: "netns:web eth1", do: "gopipework detach netns:web", mend: "gopipework brtest netns:web 10.0.0.2/24"},
	{name: "interface-renamed", doctor: "netns:web eth1", do: "ip -n web link set eth1 down; ip -n web link set eth1 name wan; ip -n web link set wan up"},
	{name: "interface-missing", what: "of the far end", do: "gopipework detach netns:db", mend: "gopipework brtest netns:db 10.0.0.3/24 -l db0"},
	{name: "interface-missing", what: "of the far end that is asked for", set: farWAN, doctor: "netns:web --to netns:db:wan", do: "gopipework detach netns:db wan", mend: "gopipework brtest -i wan netns:db 10.0.0.4/24"},
	{name: "interface-renamed", what: "to words of the shell's", doctor: "netns:web eth1", do: "ip -n web link set eth1 down; ip -n web link set eth1 name 'w;exit;'; ip -n web link set 'w;exit;' up"},
	{name: "interface-renamed", what: "that flows", do: "ip -n web link set eth1 down; ip -n web link set eth1 name wan; ip -n web link set wan up", doubt: true},
	{name: "interface-renamed", what: "on a kernel that renames no link that is up", doctor: "netns:web eth1", do: "ip -n web link set eth1 down; ip -n web link set eth1 name wan; ip -n web link set wan up", kernels: true},
	{name: "peer-down", do: "ip link set web0 down"},
	{name: "peer-down", what: "of a wire", set: wire, do: "ip -n db link set w0 down", mend: "ip -n db link set w0 up"},
	{name: "no-arp", do: "ip -n web link set eth1 arp off"},
	{name: "interface-enslaved", do: "ip -n web link add br0 type bridge; ip -n web link set eth1 master br0; ip -n web link set br0 up"},
	{name: "mac-twice", do: `ip -n web link set eth1 address $(ip netns exec db cat /sys/class/net/eth1/address)`},
	{name: "mac-twice", what: "of the bridge", do: `ip -n web link set eth1 address $(ip -br link show brtest | awk '{print $3}')`},
	{name: "address-missing", do: "ip -n web address del 10.0.0.2/24 dev eth1", mend: "ip -n web address add 10.0.0.2/24 dev eth1"},
	{name: "address-missing", what: "of the family", set: twoFamilies, doctor: "netns:web --to 2001:db8::3", do: "ip -n web address del 2001:db8::2/64 dev eth1", mend: "ip -n web address add 2001:db8::2/64 dev eth1 nodad"},
	{name: "address-tentative", set: twoFamilies, doctor: "netns:web --to 2001:db8::3", do: "ip -n web address del 2001:db8::2/64 dev eth1; ip netns exec web sysctl -qw net.ipv6.conf.eth1.dad_transmits=99; ip -n web address add 2001:db8::2/64 dev eth1"},
	{name: "address-duplicate", what: "of IPv6", set: twoFamilies, do: "ip -n web address del 2001:db8::2/64 dev eth1; ip -n db address add 2001:db8::2/64 dev eth1 nodad; ip -n web address add 2001:db8::2/64 dev eth1; sleep 3",
		mend: "ip -n db address del 2001:db8::2/64 dev eth1; ip -n web address del 2001:db8::2/64 dev eth1; ip -n web address add 2001:db8::2/64 dev eth1 nodad"},
	{name: "ipv6-disabled", set: twoFamilies, doctor: "netns:web --to 2001:db8::3", do: "ip netns exec web sysctl -qw net.ipv6.conf.eth1.disable_ipv6=1",
		mend: "ip netns exec web sysctl -qw net.ipv6.conf.eth1.disable_ipv6=0; ip -n web address add 2001:db8::2/64 dev eth1 nodad"},
	{name: "prefix-length", what: "that is too long", do: "ip -n web address add 10.0.0.2/31 dev eth1; ip -n web address del 10.0.0.2/24 dev eth1; ip -n db address del 10.0.0.3/24 dev eth1; ip -n db address add 10.0.0.5/24 dev eth1"},
	{name: "prefix-length", what: "of the far end", do: "ip -n db address del 10.0.0.3/24 dev eth1; ip -n db address add 10.0.0.5/30 dev eth1"},
	{name: "prefix-length", what: "of IPv6", set: twoFamilies, doctor: "netns:web --to 2001:db8::3", do: "ip -n web address del 2001:db8::2/64 dev eth1; ip -n web address add 2001:db8::9/126 dev eth1 nodad"},
	{name: "subnet-twice", doctor: "netns:web eth1 --to netns:db", do: "ip -n web link add d0 type veth peer name d1; ip -n web link set d0 up; ip -n web link set d1 up; ip -n web address add 10.0.0.9/24 dev d0; ip -n web route del 10.0.0.0/24 dev eth1; ip -n web route append 10.0.0.0/24 dev eth1 src 10.0.0.2",
		mend: "ip -n web link del d0"},
	{name: "no-route", do: "ip -n web route del 10.0.0.0/24 dev eth1"},
	{name: "prefix-length", what: "of an address alone", doctor: "netns:web", do: "ip -n web address del 10.0.0.2/24 dev eth1; ip -n web address add 10.0.0.2/32 dev eth1"},
	{name: "prefix-length", what: "of an address alone at the far end", do: "ip -n db address del 10.0.0.3/24 dev eth1; ip -n db address add 10.0.0.3/32 dev eth1"},
	{name: "no-route", what: "to beyond", doctor: "netns:web eth1 --to 10.9.0.1", set: routedBeyond, do: "ip -n web route del default", mend: "ip -n web route add default via 10.0.0.1"},
	{name: "other-route", do: "ip -n web link add d0 type veth peer name d1; ip -n web link set d0 up; ip -n web route add 10.0.0.0/25 dev d0"},
	{name: "other-route", what: "by a rule", do: "ip -n web link add d0 type veth peer name d1; ip -n web link set d0 up; ip -n web route add default dev d0 table 7; ip -n web rule add not fwmark 0xca6c lookup 7",
		mend: "ip -n web rule del lookup 7"},
	{name: "reverse-path", doctor: "netns:web eth2 --to netns:db", set: twiceOnBridge, do: "ip netns exec web sysctl -qw net.ipv4.conf.eth2.rp_filter=1"},
	{name: "reverse-path", what: "of all", doctor: "netns:web eth2 --to netns:db", set: twiceOnBridge, do: "ip netns exec web sysctl -qw net.ipv4.conf.all.rp_filter=1"},
	{name: "arp-ignore", do: "ip netns exec web sysctl -qw net.ipv4.conf.all.arp_ignore=8 net.ipv4.conf.eth1.arp_ignore=8"},
	{name: "arp-ignore", what: "of a single address", set: onLink, doctor: "netns:web", do: "ip netns exec web sysctl -qw net.ipv4.conf.eth1.arp_ignore=2"},
	{name: "gateway-elsewhere", set: behindHost, doctor: "netns:web", do: "ip -n web route replace default via 10.7.7.1 dev eth1 onlink", mend: "ip -n web route replace default via 10.0.0.1"},
	{name: "neighbour-wrong", do: "ip -n web neighbour replace 10.0.0.3 lladdr 02:00:00:00:00:09 dev eth1 nud permanent"},
	{name: "neighbour-wrong", what: "that is the host's", set: behindHost, doctor: "netns:web", do: "ip -n web neighbour replace 10.0.0.1 lladdr 02:00:00:00:00:09 dev eth1 nud permanent"},
	{name: "neighbour-wrong", what: "at the far end", do: "ip -n db neighbour replace 10.0.0.2 lladdr 02:00:00:00:00:09 dev eth1 nud permanent"},
	{name: "neighbour-wrong", what: "of IPv6", set: twoFamilies, doctor: "netns:web --to 2001:db8::3", do: "ip -n db neighbour replace 2001:db8::2 lladdr 02:00:00:00:00:09 dev eth1 nud permanent"},
	{name: "neighbour-wrong", what: "that another card has", do: "ip -n db link add d0 type veth peer name d1; ip -n web neighbour replace 10.0.0.3 lladdr $(ip -n db -br link show d0 | awk '{print $3}') dev eth1 nud permanent"},
	{name: "neighbour-wrong", what: "of a gateway, with a route", set: routedByHost, do: "ip -n web neighbour replace 10.0.0.1 lladdr 02:00:00:00:00:09 dev eth1 nud permanent"},
	{name: "neighbour-wrong", what: "of the far end's gateway", set: routedByHost, do: "ip -n db neighbour replace 10.1.0.1 lladdr 02:00:00:00:00:09 dev eth1 nud permanent"},
	{name: "neighbour-wrong", what: "at the host between them", set: routedByHost, do: "ip neighbour replace 10.1.0.2 lladdr 02:00:00:00:00:09 dev brlan nud permanent"},
	{name: "lease-over", set: leasedWeb, doctor: "netns:web", doubt: true,
		do: `for p in /proc/[0-9]*; do if [ "$(readlink $p/ns/mnt)" = "$(readlink /proc/self/ns/mnt)" ] && tr '\0' ' ' <$p/cmdline | grep -q '[-]-keep-leases'; then kill -9 ${p#/proc/}; fi; done; sleep 0.2`},
	{name: "guest-firewall", what: "that refuses to send", do: "ip netns exec web iptables -A OUTPUT -d 10.0.0.3 -j REJECT", mend: "ip netns exec web iptables -F"},
	{name: "forwarding-off", set: routedByHost, do: "sysctl -qw net.ipv4.ip_forward=0"},
	{name: "forwarding-off", what: "of one link", set: routedByHost, do: "sysctl -qw net.ipv4.conf.brtest.forwarding=0"},
	{name: "gateway-silent", what: "on the way to another network", set: routedByHost, do: "ip -n web route replace default via 10.0.0.9", mend: "ip -n web route replace default via 10.0.0.1"},
	{name: "no-route", what: "of the host", set: routedByHost, do: "ip address del 10.1.0.1/24 dev brlan", mend: "ip address add 10.1.0.1/24 dev brlan"},
	{name: "no-route", what: "that a route of the host forbids", set: routedByHost, do: "ip route add blackhole 10.1.0.2/32", mend: "ip route del blackhole 10.1.0.2/32"},
	{name: "no-route", what: "that a rule of the host forbids", set: routedByHost, do: "ip rule add iif brtest prohibit", mend: "ip rule del iif brtest prohibit"},
	{name: "no-route", what: "that a rule of the guest forbids", do: "ip -n web rule add to 10.0.0.3 prohibit", mend: "ip -n web rule del to 10.0.0.3 prohibit"},
	{name: "reverse-path", what: "of the host", set: routedByHost, do: "sysctl -qw net.ipv4.conf.all.rp_filter=1; ip route add 10.0.0.2/32 dev brlan", mend: "ip route del 10.0.0.2/32 dev brlan"},
	{name: "forward-drop", what: "of routed packets", set: routedByHost, do: "iptables -I DOCKER-USER -d 10.1.0.2 -j DROP"},
	{name: "far-missing", what: "of a pair with the host", set: hostPair, doctor: "netns:web --to 10.3.0.1", do: "ip address del 10.3.0.1/30 dev tap0", mend: "ip address add 10.3.0.1/30 dev tap0"},
	{name: "far-firewall", what: "that accepts pings alone", doubt: true, do: "ip netns exec db nft 'table ip u { chain f { type filter hook input priority 0; policy drop; icmp type echo-request accept; }; }'", mend: "ip netns exec db nft delete table ip u"},
	{name: "guest-firewall", do: "ip netns exec web iptables -A INPUT -j DROP", mend: "ip netns exec web iptables -F"},
}

// twoFamilies is twoOnBridge with IPv6 too.
func twoFamilies(m *machine) {
	for name, address := range map[string]string{"web": "10.0.0.2/24,2001:db8::2/64", "db": "10.0.0.3/24,2001:db8::3/64"} {
		m.named(name)
		m.ok("brtest", "netns:"+name, address, "-l", name+"0", "--nodad")
	}
}

// hostPair connects web with the host.
func hostPair(m *machine) {
	m.named("web")
	m.named("db")
	m.ok("host:tap0", "netns:web", "10.3.0.2/30", "--host-addr", "10.3.0.1/30")
}

// TestGuestRefuses: doctor names the rule with which a guest refuses to send.
func TestGuestRefuses(t *testing.T) {
	m := newMachine(t)
	twoOnBridge(m)
	m.sh("ip netns exec web iptables -A OUTPUT -d 10.0.0.3 -j REJECT")
	_, _, text := m.doctor("netns:web --to netns:db")
	if !strings.Contains(text, "ip filter OUTPUT of web") {
		t.Errorf("doctor does not name the rule:\n%s", text)
	}
}

// TestMovedToAnother: what doctor prints, and --fix does, for a link that was moved to another
// guest is not about the guest that it was attached to.
func TestMovedToAnother(t *testing.T) {
	m := newMachine(t)
	twoOnBridge(m)
	m.named("lone")
	m.sh("ip -n web link set eth1 netns lone")
	d, code, text := m.doctor("netns:lone --fix")
	if mend := strings.Join(d.mend(), "\n"); code != 1 || !strings.Contains(mend, "netns:lone -- ip link set") || strings.Contains(mend, "netns:web") {
		t.Errorf("doctor exits with %d and prints %q:\n%s", code, mend, text)
	}
}

// routedByHost attaches web and db to two bridges, between which the host is the router.
func routedByHost(m *machine) {
	m.named("web")
	m.named("db")
	m.ok("brtest", "netns:web", "10.0.0.2/24@10.0.0.1", "-l", "web0")
	m.ok("brlan", "netns:db", "10.1.0.2/24@10.1.0.1", "-l", "db0")
	m.sh(`ip address add 10.0.0.1/24 dev brtest; ip address add 10.1.0.1/24 dev brlan; sysctl -qw net.ipv4.ip_forward=1
		iptables -I DOCKER-USER -s 10.0.0.0/24 -d 10.1.0.0/24 -j ACCEPT; iptables -I DOCKER-USER -s 10.1.0.0/24 -d 10.0.0.0/24 -j ACCEPT`)
}

// farWAN is twoOnBridge with one more interface at the far end.
func farWAN(m *machine) {
	twoOnBridge(m)
	m.ok("brtest", "-i", "wan", "netns:db", "10.0.0.4/24")
}

// wire connects web and db with each other.
func wire(m *machine) {
	m.named("web")
	m.named("db")
	m.ok("link", "netns:web:w0", "10.0.0.2/24", "netns:db:w0", "10.0.0.3/24")
}

// twiceOnBridge is twoOnBridge with two interfaces of web, which by itself does no harm.
func twiceOnBridge(m *machine) {
	twoOnBridge(m)
	m.sh("ip netns exec web sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.all.arp_ignore=1") // each answers for itself
	m.ok("brtest", "-i", "eth2", "netns:web", "10.0.0.4/24")
	m.sh("ip netns exec web sysctl -qw net.ipv4.conf.eth2.rp_filter=0 net.ipv4.conf.eth1.rp_filter=0")
}

// leasedWeb attaches web with a lease.
func leasedWeb(m *machine) {
	m.dnsmasq(m.router("brtest"))
	m.named("web")
	m.ok("brtest", "netns:web", "dhcp")
}

// onLink attaches web with a single address to a bridge whose own is its gateway.
func onLink(m *machine) {
	m.named("web")
	m.ok("brtest", "netns:web", "10.0.0.2/32@10.0.0.1")
	m.sh("ip address add 10.0.0.1/24 dev brtest")
}

// routedBeyond attaches web to a bridge whose own address is its gateway, to an address
// of the host beyond it.
func routedBeyond(m *machine) {
	behindHost(m)
	m.sh("ip address add 10.9.0.1/32 dev lo")
}

// TestFixInGuest: doctor --fix mends what is the interface's own, of an attachment of ours alone.
func TestFixInGuest(t *testing.T) {
	m := newMachine(t)
	twiceOnBridge(m)
	fix := func(do string, words ...string) {
		t.Helper()
		m.sh(do)
		if r := m.gopipework(append([]string{"doctor", "--fix"}, words...)...); r.Code != 0 || !strings.Contains(r.Stdout+r.Stderr, "nsenter ") {
			t.Errorf("after %q: %v", do, r)
		}
		m.well("after "+do, strings.Join(words, " "))
	}
	fix("ip -n web link set eth2 down", "netns:web", "eth2", "--to", "netns:db")
	fix("ip netns exec web sysctl -qw net.ipv4.conf.eth2.rp_filter=1", "netns:web", "eth2", "--to", "netns:db")
	fix("ip netns exec web sysctl -qw net.ipv4.conf.eth1.arp_ignore=8", "netns:web", "eth1", "--to", "netns:db")
	m.ok("detach", "netns:web", "eth2")
	fix("ip -n web route del 10.0.0.0/24 dev eth1", "netns:web", "--to", "netns:db")
	m.sh("ip netns exec db sysctl -qw net.ipv4.conf.eth1.arp_ignore=8")
	if r := m.gopipework("doctor", "--fix", "netns:web", "--to", "netns:db"); r.Code != 1 || strings.Contains(r.Stdout+r.Stderr, "nsenter") {
		t.Errorf("of the far end: %v", r)
	}
}
