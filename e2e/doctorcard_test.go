//go:build linux

package e2e

// cardFaults are those of links on a card.
var cardFaults = []fault{
	{name: "parent-down", set: twoOnCard, do: "ip link set nic0 down"},
	{name: "parent-down", what: "of the gateway", set: cardGateway, doctor: "netns:web", do: "ip link set nic0 down"},
	{name: "parent-down", what: "below a VLAN of the host", set: onVLANOfHost, doctor: "netns:web --to netns:db", do: "ip link set nic0 down", kernels: true},
	{name: "parent-down", what: "below a sub-interface of ours", set: onSubInterface, do: "ip link set nic0 down", kernels: true},
	{name: "parent-down", what: "of a VLAN of the guest", set: vlanInGuest, doctor: "netns:web --to 10.0.0.1", do: "ip link set nic0 down", kernels: true},
	{name: "parent-down", what: "of an ipvlan", set: ipvlans, do: "ip link set nic0 down", kernels: true},
	{name: "parent-no-carrier", set: twoOnCard, do: "ip link set wire down", mend: "ip link set wire up"},
	{name: "host-on-card", set: hostAccess, doctor: "netns:web --to 10.0.0.1", do: `ip link del $(ip -br link show type macvlan | sed -n 's/^\(gph[^@]*\).*/\1/p')`},
	{name: "host-on-card", what: "as the gateway", set: hostAccess, doctor: "netns:web", do: `ip link del $(ip -br link show type macvlan | sed -n 's/^\(gph[^@]*\).*/\1/p')`},
	{name: "host-on-card", what: "of a lease", set: leasedOnCard, doctor: "netns:web --to 10.9.0.254", do: "gopipework nic0 netns:web dhcp --replace"},
	{name: "mode-apart", set: twoOnCard, do: "ip -n web link set eth1 type macvlan mode private"},
	{name: "mode-apart", what: "of the far end", set: twoOnCard, do: "ip -n db link set eth1 type macvlan mode private"},
	{name: "mode-apart", what: "to an address", set: twoOnCard, doctor: "netns:web --to 10.0.0.3", do: "ip -n db link set eth1 type macvlan mode private", mend: "ip -n db link set eth1 type macvlan mode bridge"},
	{name: "mode-apart", what: "with vepa and no switch that reflects", set: twoOnCard, do: "ip -n web link set eth1 type macvlan mode vepa; ip -n db link set eth1 type macvlan mode vepa"},
	{name: "station-twice", set: twoCards, do: `ip -n web link set eth1 address $(ip netns exec db cat /sys/class/net/eth1/address)`},
	{name: "station-twice", what: "of the card", set: twoOnCard, doubt: true, do: `ip link set nic0 address $(ip netns exec web cat /sys/class/net/eth1/address)`},
	{name: "mtu-differs", what: "of an ipvlan", set: ipvlans, doubt: true, do: "ip -n web link set eth1 mtu 1600", kernels: true},
}

// nic0 is a card with a cable.
const nic0 = "ip link add nic0 type veth peer name wire; ip link set nic0 up; ip link set wire up\n"

// twoOnCard attaches web and db to nic0, by macvlans.
func twoOnCard(m *machine) { m.onCard("", "nic0") }

// onCard attaches web and db to a host interface, after commands that make it of nic0.
func (m *machine) onCard(commands string, hostIF ...string) {
	m.t.Helper()
	m.sh(nic0 + commands)
	for name, address := range map[string]string{"web": "10.0.0.2/24", "db": "10.0.0.3/24"} {
		m.named(name)
		m.ok(append(hostIF, "netns:"+name, address)...)
	}
}

// cardGateway attaches web to nic0, beyond which its gateway is.
func cardGateway(m *machine) {
	m.sh(nic0)
	m.named("web")
	m.named("lan")
	m.ok("brlan", "netns:lan", "10.0.0.1/24")
	m.sh("ip link set wire master brlan")
	m.ok("nic0", "netns:web", "10.0.0.2/24@10.0.0.1")
}

// onVLANOfHost attaches web and db to a VLAN that the host has on nic0.
func onVLANOfHost(m *machine) {
	m.onCard("ip link add link nic0 name tag5 type vlan id 5; ip link set tag5 up", "tag5")
}

// onSubInterface attaches web and db to VLAN 5 of nic0.
func onSubInterface(m *machine) {
	m.sh(nic0)
	for name, address := range map[string]string{"web": "10.0.0.2/24", "db": "10.0.0.3/24"} {
		m.named(name)
		m.ok("nic0", "netns:"+name, address, "@5")
	}
}

// vlanInGuest gives web VLAN 7 of nic0, and the other end of the wire an address there.
func vlanInGuest(m *machine) {
	m.sh(nic0 + "ip netns add lan; ip link set wire netns lan; ip -n lan link set wire up; ip -n lan link add link wire name v7 type vlan id 7; ip -n lan link set v7 up; ip -n lan address add 10.0.0.1/24 dev v7")
	m.named("web")
	m.ok("vlan:nic0", "netns:web", "10.0.0.2/24", "@7")
}

// ipvlans attaches web and db to nic0 by ipvlans.
func ipvlans(m *machine) { m.onCard("", "ipvlan:nic0") }

// hostAccess attaches web to nic0, whose own address is its gateway.
func hostAccess(m *machine) {
	m.sh(nic0 + "ip address add 10.0.0.1/24 dev nic0")
	m.named("web")
	m.ok("nic0", "netns:web", "10.0.0.2/24@10.0.0.1", "--host-access")
}

// leasedOnCard attaches web to nic0 by a lease, with the host let in.
func leasedOnCard(m *machine) {
	m.dnsmasq(m.cardTo())
	m.named("web")
	m.ok("nic0", "netns:web", "dhcp", "--host-access")
}

// twoCards attaches web and db to a card each, of one network.
func twoCards(m *machine) {
	m.sh(nic0 + `ip link add nic1 type veth peer name wire1; ip link set nic1 up; ip link set wire1 up
		ip link add lan type bridge; ip link set lan up; ip link set wire master lan; ip link set wire1 master lan
		iptables -P FORWARD ACCEPT; sysctl -qw net.bridge.bridge-nf-call-iptables=0 2>/dev/null || true`)
	for name, words := range map[string][2]string{"web": {"nic0", "10.0.0.2/24"}, "db": {"nic1", "10.0.0.3/24"}} {
		m.named(name)
		m.ok(words[0], "netns:"+name, words[1])
	}
}

// cardWells are hosts of odd shape on which packets flow by links on cards.
var cardWells = []well{
	{"macvlans", nic0 + `
		gopipework nic0 netns:web 10.0.0.2/24; gopipework nic0 netns:db 10.0.0.3/24`,
		"netns:web\nnetns:web --to netns:db\nnetns:web --to 10.0.0.3\nnetns:db --passive", false},
	{"private on purpose", nic0 + `
		ip link add link nic0 netns web name m0 type macvlan mode private; ip -n web link set m0 up; ip -n web address add 10.0.0.2/24 dev m0`,
		"netns:web --passive", false},
	{"vepa, and a switch that sends back", nic0 + `
		ip link add lan type bridge; ip link set lan up; ip link set wire master lan; bridge link set dev wire hairpin on
		iptables -P FORWARD ACCEPT; sysctl -qw net.bridge.bridge-nf-call-iptables=0 || true
		gopipework nic0 netns:web 10.0.0.2/24 --mode vepa; gopipework nic0 netns:db 10.0.0.3/24 --mode vepa`,
		"netns:web --to netns:db", false},
	{"passthru", nic0 + `
		ip netns add lan; ip link set wire netns lan; ip -n lan link set wire up; ip -n lan address add 10.0.0.9/24 dev wire
		gopipework nic0 netns:web 10.0.0.2/24 --mode passthru`,
		"netns:web --to 10.0.0.9", false},
	{"macvlans on a bridge", `ip link add lan type bridge; ip link set lan up` + "\n" + nic0 + `ip link set nic0 master lan
		gopipework macvlan:lan netns:web 10.0.0.2/24; gopipework macvlan:lan netns:db 10.0.0.3/24`,
		"netns:web --to netns:db", false},
	{"the host has a macvlan of its own", nic0 + `
		ip link add link nic0 name own type macvlan mode bridge; ip link set own up; ip address add 10.0.0.1/24 dev own
		gopipework nic0 netns:web 10.0.0.2/24@10.0.0.1`,
		"netns:web\nnetns:web --to 10.0.0.1", false},
	{"the host is let in", nic0 + `
		ip address add 10.0.0.1/24 dev nic0
		gopipework nic0 netns:web 10.0.0.2/24@10.0.0.1 --host-access`,
		"netns:web\nnetns:web --to 10.0.0.1", false},
	{"a lent card", nic0 + `
		ip netns add lan; ip link set wire netns lan; ip -n lan link set wire up; ip -n lan address add 10.0.0.9/24 dev wire
		gopipework phys:nic0 netns:web 10.0.0.2/24`,
		"netns:web --to 10.0.0.9", false},
	{"ipvlan l3", nic0 + `
		gopipework ipvlan:nic0 netns:web 10.0.0.2/24 --mode l3; gopipework ipvlan:nic0 netns:db 10.0.0.3/24 --mode l3`,
		"netns:web --to netns:db", true},
	{"ipvlan l3s", nic0 + `
		gopipework ipvlan:nic0 netns:web 10.0.0.2/24 --mode l3s; gopipework ipvlan:nic0 netns:db 10.0.0.3/24 --mode l3s`,
		"netns:web --to netns:db", true},
	{"ipvlan l2", nic0 + `
		gopipework ipvlan:nic0 netns:web 10.0.0.2/24; gopipework ipvlan:nic0 netns:db 10.0.0.3/24`,
		"netns:web --to netns:db", true},
	{"a VLAN on a port of a bridge", `ip link add br0 type bridge; ip link set br0 up` + "\n" + nic0 + `ip link set nic0 master br0
		ip netns add lan; ip link set wire netns lan; ip -n lan link set wire up; ip -n lan link add link wire name v7 type vlan id 7; ip -n lan link set v7 up; ip -n lan address add 10.0.0.1/24 dev v7
		gopipework vlan:nic0 netns:web 10.0.0.2/24 @7`,
		"netns:web --to 10.0.0.1", true},
}
