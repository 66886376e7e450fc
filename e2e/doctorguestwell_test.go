//go:build linux

package e2e

import (
	"slices"
	"testing"
)

// guestWells are guests of odd shape from which packets flow.
var guestWells = []well{
	{"a bridge in the guest, which has the address", `
		gopipework brtest netns:web 10.0.0.2/24; gopipework brtest netns:db 10.0.0.3/24
		ip -n web link add br0 type bridge; ip -n web address del 10.0.0.2/24 dev eth1; ip -n web link set eth1 master br0; ip -n web link set br0 up; ip -n web address add 10.0.0.2/24 dev br0`,
		"netns:web\nnetns:web --to netns:db\nnetns:db --to netns:web", false},
	{"rules of a VPN", `
		gopipework brtest netns:web 10.0.0.2/24; gopipework brtest netns:db 10.0.0.3/24
		ip -n web link add wg0 type veth peer name wg1; ip -n web link set wg0 up; ip -n web link set wg1 up; ip -n web address add 10.8.0.2/32 dev wg0
		ip -n web route add default dev wg0 table 51820; ip -n web rule add not fwmark 0xca6c table 51820; ip -n web rule add table main suppress_prefixlength 0`,
		"netns:web eth1\nnetns:web --to netns:db", false},
	{"arp_ignore of 1 and 2", `
		gopipework brtest netns:web 10.0.0.2/24; gopipework brtest netns:db 10.0.0.3/24
		ip netns exec web sysctl -qw net.ipv4.conf.all.arp_ignore=1; ip netns exec db sysctl -qw net.ipv4.conf.eth1.arp_ignore=2`,
		"netns:web\nnetns:web --to netns:db\nnetns:db --to netns:web", false},
	{"a strict rp_filter", `
		gopipework brtest netns:web 10.0.0.2/24@10.0.0.1; gopipework brlan -i lan0 netns:web 10.1.0.2/24; gopipework brlan netns:db 10.1.0.3/24
		ip address add 10.0.0.1/24 dev brtest; ip netns exec web sysctl -qw net.ipv4.conf.all.rp_filter=1`,
		"netns:web\nnetns:web --to netns:db", false},
	{"IPv6 turned off", `
		gopipework brtest netns:web 10.0.0.2/24; gopipework brtest netns:db 10.0.0.3/24
		ip netns exec web sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1`,
		"netns:web\nnetns:web --to netns:db", false},
	{"IPv6 alone, and no ARP answered", `
		gopipework brtest netns:web 2001:db8::2/64 --nodad; gopipework brtest netns:db 2001:db8::3/64 --nodad
		ip netns exec web sysctl -qw net.ipv4.conf.all.arp_ignore=8`,
		"netns:web\nnetns:web --to netns:db", false},
	{"IPv6 whose duplicates are looked for", `
		gopipework brtest netns:web 10.0.0.2/24; gopipework brtest netns:db 10.0.0.3/24
		ip -n web address add 2001:db8::2/64 dev eth1; ip -n db address add 2001:db8::3/64 dev eth1 nodad`,
		"netns:web\nnetns:web --to 2001:db8::3", false},
	{"no link of gopipework's", `
		ip link add br9 type bridge; ip link set br9 up; ip address add 10.0.0.1/24 dev br9
		ip link add v0 type veth peer name eth0 netns web; ip link set v0 master br9 up; ip -n web link set eth0 up
		ip -n web address add 10.0.0.2/24 dev eth0; ip -n web route add default via 10.0.0.1`,
		"netns:web\nnetns:web --to 10.0.0.1", false},
	{"an address of the host on no bridge", `
		gopipework brtest netns:web 10.0.0.2/24@10.0.0.1; ip address add 10.0.0.1/24 dev brtest
		ip link add nic0 type veth peer name wire; ip link set nic0 up; ip link set wire up; ip address add 10.7.0.1/24 dev nic0; ip address add 10.9.0.1/32 dev lo`,
		"netns:web --to 10.7.0.1\nnetns:web --to 10.9.0.1", false},
	{"links of its own that nobody uses", `
		gopipework brtest netns:web 10.0.0.2/24; gopipework brtest netns:db 10.0.0.3/24
		ip -n web link add s0 type veth peer name s1; ip -n web link add s2 type veth peer name s3; ip -n web link set s2 up; ip -n web link set s3 up`,
		"netns:web", false},
	{"addresses of its own", `
		gopipework brtest netns:web 10.0.0.2/24; gopipework brtest netns:db 10.0.0.3/24; ip -n web link set lo up; ip -n web address add 10.0.0.7/24 dev eth1`,
		"netns:db --to 10.0.0.7", false},
	{"answers by the interface of the question", `
		gopipework brtest netns:web 10.0.0.2/24@10.0.0.1; ip address add 10.0.0.1/24 dev brtest; gopipework brlan -i lan0 netns:web 10.1.0.2/24@10.1.0.1 --source-routing; ip address add 10.1.0.1/24 dev brlan
		sysctl -qw net.ipv4.ip_forward=1; gopipework brfar netns:db 10.2.0.2/24@10.2.0.1; ip address add 10.2.0.1/24 dev brfar; iptables -I DOCKER-USER -j ACCEPT
		ip netns exec web sysctl -qw net.ipv4.conf.all.rp_filter=1`,
		"netns:web lan0 --to netns:db\nnetns:db --to netns:web:lan0\nnetns:web eth1 --to 10.2.0.1", false},
	{"a gateway on no network", `
		gopipework brtest netns:web 10.0.0.2/32; ip address add 10.7.7.1/24 dev brtest; ip route add 10.0.0.2 dev brtest; ip -n web route add default via 10.7.7.1 dev eth1 onlink`,
		"netns:web\nnetns:web --to 10.7.7.1", false},
	{"addresses without a route to their subnet", `
		gopipework brtest netns:web 10.0.0.2/32@10.0.0.1; ip address add 10.0.0.1/24 dev brtest
		ip -n web address add 10.0.0.5/24 dev eth1 noprefixroute`,
		"netns:web", false},
	{"two subnets on one bridge", `
		gopipework brtest netns:web 10.0.0.2/24; gopipework brtest netns:db 10.0.1.3/24; gopipework brtest -i eth2 netns:db 10.0.0.3/24
		ip netns exec db sysctl -qw net.ipv4.conf.all.arp_ignore=1`,
		"netns:web\nnetns:web --to netns:db:eth2\nnetns:db", false},
	{"a VRF in the guest", `
		gopipework brtest netns:web 10.0.0.2/24; gopipework brtest netns:db 10.0.0.3/24
		ip -n web link add red type vrf table 10; ip -n web link set red up; ip -n web link set eth1 master red`,
		"netns:web\nnetns:web --to netns:db\nnetns:db --to netns:web", true},
	{"a bond in the guest", `
		gopipework brtest netns:web 0/0; gopipework brtest -i eth2 netns:web 0/0; gopipework brtest netns:db 10.0.0.3/24
		ip -n web link add bond0 type bond mode active-backup; for l in eth1 eth2; do ip -n web link set $l down; ip -n web link set $l master bond0; done
		ip -n web link set bond0 up; ip -n web address add 10.0.0.2/24 dev bond0; sleep 1`,
		"netns:web\nnetns:web --to netns:db\nnetns:db --to netns:web", true},
}

// TestNoCarrier: doctor names a link without a carrier; no link that this kernel has loses
// one without the other end's going down, so it has none from the start.
func TestNoCarrier(t *testing.T) {
	m := newMachine(t)
	twoOnBridge(m)
	m.sh("ip -n web tuntap add dev tap0 mode tap; ip -n web address add 10.5.0.2/24 dev tap0; ip -n web link set tap0 up")
	if d, code, text := m.doctor("netns:web tap0"); code != 1 || !slices.Equal(d.found(), []string{"no-carrier"}) {
		t.Errorf("doctor exits with %d and finds %v:\n%s", code, d.found(), text)
	}
	m.well("of the other interface", "netns:web eth1")
}
