//go:build linux

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// firewallFaults are those of the host's firewall, and of the two guests' own.
var firewallFaults = []fault{
	{name: "forward-drop", what: "by Docker's policy", do: "iptables -F DOCKER-USER"},
	{name: "forward-drop", what: "by a rule in front of ours", do: "iptables -I DOCKER-USER -i brtest -j DROP"},
	{name: "forward-drop", what: "by iptables-legacy", do: "iptables-legacy -P FORWARD DROP"},
	{name: "forward-drop", what: "of ports that are not ours", set: twoForeign, do: "iptables -F DOCKER-USER", healed: keptByGC},
	{name: "forward-drop", what: "for IPv6", set: twoWithIPv6, do: "ip6tables -F DOCKER-USER"},
	{name: "prerouting-drop", what: "in raw", do: "iptables -t raw -A PREROUTING -d 10.0.0.3 -j DROP"},
	{name: "prerouting-drop", what: "in mangle", do: "iptables -t mangle -A FORWARD -i brtest -j DROP"},
	{name: "prerouting-drop", what: "at the port itself", do: `nft 'add table netdev x; add chain netdev x f { type filter hook ingress device web0 priority 0; }; add rule netdev x f ip daddr 10.0.0.3 drop'`},
	{name: "inet-drop", do: `nft 'add table inet x; add chain inet x f { type filter hook forward priority 0; }; add rule inet x f ip daddr 10.0.0.0/24 drop'`},
	{name: "inet-drop", what: "of the family ip", do: `nft 'add table ip x; add chain ip x f { type filter hook forward priority 0; policy drop; }'`},
	{name: "bridge-drop", what: "at the hook forward", do: `nft 'add table bridge x; add chain bridge x f { type filter hook forward priority 0; }; add rule bridge x f ether type ip drop'`},
	{name: "bridge-drop", what: "in a chain that is jumped to", do: `nft 'add table bridge x; add chain bridge x g; add chain bridge x f { type filter hook forward priority 0; }; add rule bridge x f jump g; add rule bridge x g ip daddr 10.0.0.3 drop'`},
	{name: "bridge-drop", what: "at the hook prerouting", do: `nft 'add table bridge x; add chain bridge x f { type filter hook prerouting priority -300; policy drop; }'`},
	{name: "ebtables-drop", do: "ebtables -A FORWARD -p IPv4 -j DROP"},
	{name: "ebtables-drop", what: "for ARP alone", do: "ebtables -A FORWARD -p ARP -j DROP"},
	{name: "bridge-drop", what: "for neighbour solicitations alone", set: twoWithIPv6, do: `nft 'add table bridge x; add chain bridge x f { type filter hook forward priority 0; }; add rule bridge x f icmpv6 type nd-neighbor-solicit drop'`},
	{name: "ebtables-drop", what: "by policy", do: "ebtables -P FORWARD DROP"},
	{name: "ufw-drop", set: twoWithUFW, do: "iptables -F DOCKER-USER"},
	{name: "firewalld-drop", do: "nft -f @firewalld@", mend: `nft 'insert rule inet firewalld filter_FORWARD iifname "brtest" oifname "brtest" accept'`, printed: true},
	{name: "inet-drop", what: "of all but pings", doubt: true, do: "nft 'table inet u { chain f { type filter hook forward priority 10; meta l4proto { tcp, udp } drop; }; }'"},
	{name: "bridge-drop", what: "of all but pings", doubt: true, do: "nft 'table bridge u { chain f { type filter hook forward priority 10; meta l4proto tcp drop; }; }'"},
	{name: "forward-drop", what: "of all but pings", doubt: true, do: "iptables -I DOCKER-USER -p udp -j DROP", mend: "iptables -D DOCKER-USER -p udp -j DROP"},
	{name: "docker-drop", what: "with its nftables backend", do: "nft -f - <<'END'\n" + dockerOnNFT + "END", mend: "nft delete table ip docker-bridges"},
	{name: "guest-firewall", what: "on its output", do: "ip netns exec web iptables -A OUTPUT -j DROP", mend: "ip netns exec web iptables -F"},
	{name: "guest-firewall", what: "on its input", do: "ip netns exec web nft 'add table ip x; add chain ip x f { type filter hook input priority 0; policy drop; }'", mend: "ip netns exec web nft delete table ip x"},
	{name: "guest-firewall", what: "by iptables-legacy", do: "ip netns exec web iptables-legacy -P INPUT DROP", mend: "ip netns exec web iptables-legacy -P INPUT ACCEPT"},
	{name: "far-firewall", do: "ip netns exec db iptables -A INPUT -j DROP", mend: "ip netns exec db iptables -F"},
	{name: "far-firewall", what: "that rejects", do: "ip netns exec db iptables -A INPUT -j REJECT", mend: "ip netns exec db iptables -F"},
	{name: "far-firewall", what: "for pings alone", do: "ip netns exec db iptables -A INPUT -p icmp -j DROP", mend: "ip netns exec db iptables -F", doubt: true},
	{name: "far-firewall", what: "of the host", set: behindHost, doctor: "netns:web", do: "iptables -A INPUT -i brtest -j DROP", mend: "iptables -F INPUT"},
}

// twoForeign plugs web and db into a bridge as somebody else would.
func twoForeign(m *machine) {
	m.sh("ip link add brtest type bridge; ip link set brtest up; iptables -I DOCKER-USER -i brtest -j ACCEPT")
	for name, address := range map[string]string{"web": "10.0.0.2/24", "db": "10.0.0.3/24"} {
		m.named(name)
		m.sh(fmt.Sprintf("ip link add %s0 type veth peer name eth1 netns %[1]s; ip link set %[1]s0 master brtest up; ip -n %[1]s address add %[2]s dev eth1; ip -n %[1]s link set eth1 up", name, address))
	}
}

// keptByGC looks whether what a person typed is left alone.
func keptByGC(m *machine) error {
	m.ok("gc")
	m.well("after gc", "netns:web --to netns:db")
	return nil
}

// dockerOnNFT are the rules of an engine of 2026 with --firewall-backend=nftables, for a network
// whose containers may not communicate.
const dockerOnNFT = `table ip docker-bridges {
	map filter-forward-in-jumps { type ifname : verdict; elements = { "docker0" : jump filter-forward-in__docker0, "brtest" : jump filter-forward-in__brtest }; }
	chain filter-forward-in__docker0 { ct state established,related counter accept; iifname "docker0" counter accept; counter drop; }
	chain filter-forward-in__brtest { ct state established,related counter accept; iifname "brtest" counter drop comment "ICC"; counter drop; }
	chain filter-FORWARD { type filter hook forward priority filter; policy accept; oifname vmap @filter-forward-in-jumps; }
}
`

// firewalldRules is the file with the rules of firewalld's defaults, which stands for
// @firewalld@ in a row.
func firewalldRules(m *machine) string {
	dir, err := os.Getwd()
	m.check(err)
	return filepath.Join(dir, "../bridge/firewall/testdata/firewalld.nft")
}

// twoWithIPv6 attaches web and db to brtest, with addresses of IPv6 alone.
func twoWithIPv6(m *machine) {
	for n, name := range []string{"web", "db"} {
		m.named(name)
		m.ok("brtest", "netns:"+name, fmt.Sprintf("2001:db8::%d/64", n+2), "-l", name+"0", "--nodad")
	}
}

// twoWithUFW attaches web and db on a host with the rules of ufw's defaults.
func twoWithUFW(m *machine) {
	m.sh(`iptables -N ufw-before-forward; iptables -N ufw-reject-forward
		iptables -A FORWARD -j ufw-before-forward; iptables -A FORWARD -j ufw-reject-forward
		iptables -A ufw-before-forward -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
		iptables -A ufw-reject-forward -j REJECT`)
	twoOnBridge(m)
}

// TestDockerUserDrop: what the user forbids between two containers in Docker's own network is
// not said to be Docker's doing, and the printed commands allow that alone.
func TestDockerUserDrop(t *testing.T) {
	e := withDocker(t)
	t.Cleanup(func() { e.docker("rm", "-f", "web", "db") })
	for _, name := range []string{"web", "db"} {
		e.container(name)
	}
	e.well("between two containers", "web --to db")
	e.sh("iptables -I DOCKER-USER -i docker0 -p icmp -j DROP; iptables -I DOCKER-USER -i docker0 -p udp -j DROP")
	t.Cleanup(func() { e.sh("iptables -F DOCKER-USER; iptables -A DOCKER-USER -j RETURN") })
	d, code, text := e.doctor("web --to db")
	if code != 1 || !slices.Equal(d.found(), []string{"forward-drop"}) || len(d.mend()) != 2 {
		t.Errorf("doctor exits with %d, finds %v and prints %v:\n%s", code, d.found(), d.mend(), text)
	}
	for _, command := range d.mend() {
		e.sh(command)
	}
	e.well("with the printed commands", "web --to db")
}

// TestDockerDrop: on a network of Docker's whose containers may not communicate, doctor says
// that it is Docker's rule, and prints no command.
func TestDockerDrop(t *testing.T) {
	e := withDocker(t)
	e.docker("network", "create", "-o", "com.docker.network.bridge.enable_icc=false", "apart")
	t.Cleanup(func() {
		e.docker("rm", "-f", "web", "db")
		e.docker("network", "rm", "apart")
	})
	for _, name := range []string{"web", "db"} {
		e.container(name, "--network", "apart")
	}
	d, code, text := e.doctor("web --to db")
	if code != 1 || !slices.Equal(d.found(), []string{"docker-drop"}) || d.mend() != nil {
		t.Errorf("doctor exits with %d, finds %v and prints %v:\n%s", code, d.found(), d.mend(), text)
	}
}
