//go:build linux

package e2e

// farFaults are those of whom packets are for.
var farFaults = []fault{
	{name: "address-duplicate", what: "of IPv4", do: "ip netns add x; gopipework brtest netns:x 10.0.0.9/24; ip -n x address add 10.0.0.2/24 dev eth1", mend: "ip -n x address del 10.0.0.2/24 dev eth1"},
	{name: "bridge-no-address", set: behindHost, doctor: "netns:web", do: "ip address del 10.0.0.1/24 dev brtest"},
	{name: "gateway-silent", set: behindRouter, doctor: "netns:web", do: "ip -n lan address del 10.0.0.1/24 dev eth1", mend: "ip -n lan address add 10.0.0.1/24 dev eth1"},
	{name: "uplink-missing", set: behindRouter, doctor: "netns:web --to 10.0.0.1", do: "ip link set nic0 nomaster", mend: "ip link set nic0 master brtest"},
	{name: "far-missing", set: behindRouter, doctor: "netns:web --to 10.0.0.1", do: "gopipework detach netns:lan", mend: "gopipework brlan netns:lan 10.0.0.1/24"},
}

// behindHost attaches web to a bridge whose own address is its gateway.
func behindHost(m *machine) {
	m.named("web")
	m.ok("brtest", "netns:web", "10.0.0.2/24@10.0.0.1")
	m.sh("ip address add 10.0.0.1/24 dev brtest")
}

// behindRouter attaches web to a bridge whose uplink leads to another bridge, where its
// gateway is.
func behindRouter(m *machine) {
	m.named("web")
	m.named("lan")
	m.sh("ip link add nic0 type veth peer name wire; ip link set nic0 up; ip link set wire up")
	m.ok("brlan", "netns:lan", "10.0.0.1/24")
	m.ok("brtest", "netns:web", "10.0.0.2/24@10.0.0.1")
	m.sh("ip link set wire master brlan; ip link set nic0 master brtest")
}
