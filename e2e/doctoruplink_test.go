//go:build linux

package e2e

// uplinkFaults are those of a VXLAN to another host.
var uplinkFaults = []fault{
	{name: "vxlan-down", set: overVXLAN, doctor: toOtherHost, do: "ip link set vx100 down"},
	{name: "vxlan-down", what: "beside another", set: overVXLAN, doctor: toOtherHost,
		do: "ip link add vx9 type vxlan id 9 local 10.9.0.1 dstport 4789; ip link set vx9 up; ip link set vx100 down"},
	{name: "vtep-address", what: "down", set: overVXLAN, doctor: toOtherHost, do: "ip link set u0 down"},
	{name: "vtep-address", what: "without a carrier", set: overVXLAN, doctor: toOtherHost, do: "ip -n hostb link set u1 down", mend: "ip -n hostb link set u1 up"},
	{name: "vtep-address", what: "gone", set: overVXLAN, doctor: toOtherHost, do: "ip address add 10.9.0.3/24 dev u0; ip address del 10.9.0.1/24 dev u0", mend: "ip address add 10.9.0.1/24 dev u0"},
	{name: "vtep-port", set: overVXLAN, doctor: toOtherHost,
		do:   "ip link set vx100 down; dnsmasq --conf-file=/dev/null --no-resolv --no-hosts --user=root --group= --port=4789 --pid-file=/run/taker.pid",
		mend: "kill $(cat /run/taker.pid); while ss -Hnul sport = 4789 | grep -q .; do sleep 0.05; done; ip link set vx100 up"},
	{name: "vtep-mtu", set: overVXLAN, doctor: toOtherHost, do: "ip link set u0 mtu 1400", doubt: true},
	{name: "vtep-peer", what: "none", set: overVXLAN, doctor: toOtherHost, do: "bridge fdb del 00:00:00:00:00:00 dev vx100 dst 10.9.0.2; ip link set vx100 down; ip link set vx100 up",
		mend: "bridge fdb append 00:00:00:00:00:00 dev vx100 dst 10.9.0.2"},
	{name: "vtep-peer", what: "without a route", set: overVXLAN, doctor: toOtherHost, do: "ip route del 10.9.0.0/24 dev u0", mend: "ip route add 10.9.0.0/24 dev u0 src 10.9.0.1"},
	{name: "vtep-firewall", what: "on its output", set: overVXLAN, doctor: toOtherHost, do: "iptables -A OUTPUT -p udp --dport 4789 -j DROP", mend: "iptables -F OUTPUT"},
	{name: "vtep-firewall", what: "on its input", set: overVXLAN, doctor: toOtherHost, do: "iptables -A INPUT -p udp --dport 4789 -j DROP", mend: "iptables -F INPUT"},
	{name: "vtep-firewall", what: "of iptables-legacy", set: overVXLAN, doctor: toOtherHost, do: "iptables-legacy -A OUTPUT -p udp --dport 4789 -j DROP", mend: "iptables-legacy -F OUTPUT"},
	{name: "neighbour-wrong", what: "behind a VXLAN", set: overVXLAN, doctor: "netns:web --to 2001:db8::9",
		do: `mac=$(ip netns exec hostb cat /sys/class/net/brb/address); ip neighbour replace 2001:db8::9 lladdr $mac dev brtest extern_learn
			ip -n web neighbour replace 2001:db8::9 lladdr 02:00:00:00:00:99 dev eth1`},
	{name: "far-missing", what: "behind a VXLAN", set: overVXLAN, doctor: toOtherHost, do: "ip -n hostb address del 10.0.0.9/24 dev brb", mend: "ip -n hostb address add 10.0.0.9/24 dev brb"},
}

const toOtherHost = "netns:web --to 10.0.0.9"

// overVXLAN attaches web to a bridge that reaches another host, which has 10.0.0.9, by a VXLAN.
func overVXLAN(m *machine) {
	m.named("web")
	m.named("hostb")
	m.sh(`ip link add u0 type veth peer name u1 netns hostb; ip address add 10.9.0.1/24 dev u0; ip link set u0 up
		ip netns exec hostb sh -ec 'ip address add 10.9.0.2/24 dev u1; ip link set u1 up; ip link add brb type bridge; ip address add 10.0.0.9/24 dev brb; ip address add 2001:db8::9/64 dev brb nodad; ip link set brb up mtu 1450
			ip link add vx100 type vxlan id 100 local 10.9.0.2 dstport 4789; ip link set vx100 mtu 1450 master brb up; bridge fdb append 00:00:00:00:00:00 dev vx100 dst 10.9.0.1'`)
	m.ok("brtest", "netns:web", "10.0.0.2/24,2001:db8::2/64", "--nodad", "-l", "web0", "--uplink", "vxlan:100,local=10.9.0.1,peer=10.9.0.2")
}
