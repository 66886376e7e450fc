//go:build linux

package e2e

// bridgeFaults are those of the pair, and of Linux bridges.
var bridgeFaults = []fault{
	{name: "peer-down", do: "ip link set web0 down"},
	{name: "bridge-down", do: "ip link set brtest down"},
	{name: "port-missing", do: "ip link set web0 nomaster"},
	{name: "port-blocking", what: "by hand", do: "bridge link set dev web0 state 0"},
	{name: "port-blocking", what: "of the far end", do: "bridge link set dev db0 state 0"},
	{name: "port-isolated", do: "bridge link set dev web0 isolated on; bridge link set dev db0 isolated on"},
	{name: "source-filtered", what: "another MAC address", set: twoFiltered, do: "ip -n web link set eth1 address 02:00:00:00:00:99"},
	{name: "source-filtered", what: "another address", set: twoFiltered, do: "ip -n web address del 10.0.0.2/24 dev eth1; ip -n web address add 10.0.0.4/24 dev eth1"},
	{name: "source-filtered", what: "another address first", set: twoFiltered, do: "ip -n web address del 10.0.0.2/24 dev eth1; ip -n web address add 10.0.0.4/24 dev eth1; ip -n web address add 10.0.0.2/24 dev eth1"},
	{name: "source-filtered", what: "one address more", set: twoFiltered, doubt: true, do: "ip -n web address add 10.0.0.4/24 dev eth1"},
	{name: "source-filtered", what: "of the far end", set: twoFiltered, doctor: "netns:db --to netns:web", do: "ip -n web link set eth1 address 02:00:00:00:00:99"},
	{name: "port-locked", do: "bridge link set dev web0 locked on learning off; bridge fdb flush dev brtest brport web0"},
	{name: "port-no-flood", what: "of broadcasts", do: "bridge link set dev web0 bcast_flood off"},
	{name: "port-no-flood", what: "of unknown stations", do: "bridge link set dev web0 learning off flood off; bridge fdb flush dev brtest brport web0"},
	{name: "station-elsewhere", do: "bridge fdb replace $(ip -n db -br link show eth1 | awk '{print $3}') dev web0 master static sticky"},
	{name: "port-blocking", what: "by the spanning tree protocol", do: "ip link set brtest type bridge stp_state 1; ip link set web0 nomaster; ip link set web0 master brtest"},
	{name: "peer-elsewhere", do: "ip netns add third; ip link set web0 netns third", mend: "gopipework detach netns:web || true; gopipework brtest netns:web 10.0.0.2/24 -l web0"},
	{name: "mtu-differs", what: "at the port", do: "ip link set web0 mtu 1300"},
	{name: "mtu-differs", what: "at the other end", do: "ip -n db link set eth1 mtu 1300", mend: "ip -n db link set eth1 mtu 1500", doubt: true},
	{name: "mtu-differs", what: "in between", set: twoBridges, do: "ip link set nic0 mtu 1300", mend: "ip link set nic0 mtu 1500"},
	{name: "no-querier", set: twoWithIPv6, do: `ip address add fe80::1/64 dev brtest nodad; ip link set brtest type bridge mcast_query_response_interval 10; ip link set brtest type bridge mcast_startup_query_interval 100000 mcast_query_interval 100000 mcast_querier 1; sleep 1
		bridge mdb show dev brtest | awk '/db0/ { print $6 }' | while read group; do bridge mdb del dev brtest port db0 grp $group; done; ip -n web neigh flush dev eth1`},
	{name: "station-moves", set: twinBehindUplink, do: `mac=$(ip -n db -br link show eth1 | awk '{print $3}'); ip -n twin link set eth1 address $mac; ip -n twin neigh add 10.0.0.99 lladdr 02:00:00:00:00:99 dev eth1
		nice -n -20 ip netns exec twin ping -q -i 0.01 10.0.0.99 >/dev/null 2>&1 & echo $! >$HOME/ping; until bridge fdb show brport nic0 | grep -q "^$mac "; do sleep 0.01; done`,
		mend: "kill $(cat $HOME/ping); ip -n twin link set eth1 down; bridge fdb flush dev brtest brport nic0", doubt: true},
	{name: "vlan-on-port", set: twoInVLAN, do: "bridge vlan del dev db0 vid 10; bridge vlan add dev db0 vid 20 pvid untagged", kernels: true},
	{name: "vlan-on-port", what: "in none", set: twoInVLAN, do: "bridge vlan del dev web0 vid 10", mend: "bridge vlan add dev web0 vid 10 pvid untagged", printed: true, kernels: true},
	{name: "vlan-on-bridge", set: hostInVLAN, doctor: "netns:web", do: "bridge vlan del dev brtest vid 10 self", kernels: true},
}

// twoFiltered attaches web, which can send only from its own addresses, and db.
func twoFiltered(m *machine) {
	twoOnBridge(m)
	m.ok("set", "netns:web", "eth1", "--antispoof", "on")
}

// twoInVLAN attaches web and db to a VLAN of brtest.
func twoInVLAN(m *machine) {
	for name, address := range map[string]string{"web": "10.0.0.2/24", "db": "10.0.0.3/24"} {
		m.named(name)
		m.ok("brtest", "netns:"+name, address, "@10", "-l", name+"0")
	}
}

// hostInVLAN attaches web to a VLAN of brtest in which the bridge itself is its gateway.
func hostInVLAN(m *machine) {
	m.named("web")
	m.ok("brtest", "netns:web", "10.0.0.2/24@10.0.0.1", "@10", "-l", "web0")
	m.sh("bridge vlan add dev brtest vid 10 pvid untagged self; ip address add 10.0.0.1/24 dev brtest")
}

// twinBehindUplink attaches web and db, and twin to a bridge at the other end of an uplink.
func twinBehindUplink(m *machine) {
	twoOnBridge(m)
	m.named("twin")
	m.sh("ip link add nic0 type veth peer name wire; ip link set nic0 up; ip link set wire up")
	m.ok("brlan", "netns:twin", "10.0.0.4/24")
	m.sh("ip link set wire master brlan; ip link set nic0 master brtest")
}

// twoBridges attaches web and db to two bridges with a cable between them.
func twoBridges(m *machine) {
	m.named("web")
	m.named("db")
	m.ok("brtest", "netns:web", "10.0.0.2/24")
	m.ok("brlan", "netns:db", "10.0.0.3/24")
	m.sh("ip link add nic0 type veth peer name wire; ip link set wire master brlan up; ip link set nic0 master brtest up")
}
