package finding

// The firewall of the host.
var (
	PreroutingDrop = &Kind{101, "prerouting-drop",
		"A chain of the host at the hook prerouting or postrouting drops the frames: iptables' table raw or mangle, or one of nftables.",
		"Such a chain comes before or after FORWARD, and an accept there does not undo its drop. Docker uses raw for addresses of its containers.",
		"Put an accept before the rule, or delete it."}
	InetDrop = &Kind{102, "inet-drop",
		"A chain of nftables' families ip, ip6 or inet at the hook forward drops frames bridged within the bridge.",
		"br_netfilter hands bridged frames to these families. An accept in one table does not undo the drop of another.",
		"Put an accept into the table that drops, or turn off net.bridge.bridge-nf-call-iptables if nothing needs it."}
	BridgeDrop = &Kind{103, "bridge-drop",
		"A rule of nftables' family bridge drops the frames.",
		"It stands in the way of whatever crosses the bridge.",
		"Put an accept before the rule, or delete it."}
	EbtablesDrop = &Kind{104, "ebtables-drop",
		"A rule of ebtables drops the frames.",
		"It stands in the way of whatever crosses the bridge, ARP too.",
		"Delete the rule, or set the policy of the chain to ACCEPT."}
	FirewalldDrop = &Kind{105, "firewalld-drop",
		"A chain of firewalld drops or rejects the frames.",
		"firewalld refuses to forward between interfaces that no zone lets through, and asks it of bridged frames too.",
		"Put the bridge into a zone that forwards, such as trusted."}
	UFWDrop = &Kind{106, "ufw-drop",
		"ufw's policy for routed packets, or a rule of its own, drops the frames.",
		"br_netfilter hands bridged frames to FORWARD, where ufw drops what is routed.",
		"Attach the guest again, which opens its path, or allow it with ufw route allow."}
	ForwardDrop = &Kind{107, "forward-drop",
		"The chain FORWARD of iptables drops frames bridged within the bridge.",
		"Docker sets its policy to DROP, and br_netfilter hands bridged frames to it, so that no bridge but Docker's own passes packets.",
		"Put an accept before the rule, or delete it. If it is the policy that drops, attach the guest again, which opens exactly its path."}
	DockerDrop = &Kind{108, "docker-drop",
		"A chain of Docker's drops the frames: its isolation of networks, or its rules for a bridge of its own.",
		"Docker's rules decide which containers may communicate over its bridges, and gopipework does not overrule them.",
		"Join the containers to one network of Docker's, or attach them to a bridge of their own."}
	FirewallUnseen = &Kind{109, "firewall-unseen",
		"A packet filter is in use whose rules cannot be read.",
		"It may drop the frames, and nothing here can tell.",
		"Install the program that lists it, such as iptables-legacy-save, or look yourself."}
)

// The guest and its interface.
var (
	InterfaceMissing = &Kind{201, "interface-missing",
		"The guest has no interface of that name.",
		"It was never attached, was detached, or went when the guest was restarted.",
		"Attach it."}
	InterfaceDown = &Kind{202, "interface-down",
		"The interface is down.",
		"The kernel sends and receives nothing by it, and deletes its routes.",
		"Set it up."}
	InterfaceRenamed = &Kind{203, "interface-renamed",
		"The guest has given the interface another name than the one it was attached under.",
		"Programs that look for the name do not find it; gopipework still does.",
		"Give it the old name again, or detach and attach it."}
	NoCarrier = &Kind{204, "no-carrier",
		"The interface has no carrier.",
		"The other end is down or the cable is out; what is sent is lost.",
		"Set the other end up, or plug in the cable."}
	AddressMissing = &Kind{205, "address-missing",
		"The interface has no address.",
		"Nothing can be sent from it by IP, and nobody finds it. An interface that was attached with 0/0 has none on purpose.",
		"Give it one."}
	AddressTentative = &Kind{206, "address-tentative",
		"An IPv6 address is tentative: duplicate address detection has not ended.",
		"The kernel does not use such an address.",
		"Wait a second; if it stays, look for the interface's carrier."}
	AddressDuplicate = &Kind{207, "address-duplicate",
		"Somebody else on the network has the same address.",
		"The kernel does not use an IPv6 address that is a duplicate; of an IPv4 address the two holders take turns to lose their packets.",
		"Give one of the two another address."}
	PrefixLength = &Kind{208, "prefix-length",
		"The prefix length differs from that of the neighbours.",
		"One of the two takes the other for a host beyond a router, and sends its packets there.",
		"Give both the same prefix length."}
	SubnetTwice = &Kind{209, "subnet-twice",
		"Another interface of the guest, on another network, is in the same subnet, and packets leave by that one.",
		"Answers take another way than the questions, and most networks drop them.",
		"Use another subnet, or delete the address of the other interface."}
	NoRoute = &Kind{210, "no-route",
		"The guest, or the host as the router between two, has no route to the address, or one that forbids it.",
		"The kernel refuses to send a packet there: network is unreachable.",
		"Give both addresses of one subnet, add a route, or delete the route or rule of the type blackhole, prohibit or unreachable."}
	OtherRoute = &Kind{211, "other-route",
		"The guest sends packets for the address by another interface, because of another route or rule.",
		"They do not reach a neighbour of this interface.",
		"Delete the rule or route that takes precedence."}
	GatewaySilent = &Kind{212, "gateway-silent",
		"The gateway does not answer.",
		"Nothing reaches what is beyond the network.",
		"Correct the gateway, or start the router."}
	IPv6Disabled = &Kind{213, "ipv6-disabled",
		"net.ipv6.conf.IFNAME.disable_ipv6 is 1.",
		"The interface has no IPv6, not even a link-local address. Docker sets this in its containers.",
		"Set it to 0, and add the address."}
	ReversePath = &Kind{214, "reverse-path",
		"The guest drops packets that come in by the interface, because its way back to the sender is another (rp_filter), or because of a rule of its own.",
		"A strict filter accepts a packet only by the interface that the answer would leave by.",
		"Set net.ipv4.conf.IFNAME.rp_filter to 2, or correct the routes."}
	ARPIgnore = &Kind{215, "arp-ignore",
		"net.ipv4.conf.*.arp_ignore keeps the guest from answering ARP requests: 8 always, and 2 for an address with the prefix length 32. Other values do no harm.",
		"No neighbour finds the guest.",
		"Set it to 0."}
	GuestFirewall = &Kind{216, "guest-firewall",
		"The guest's own firewall drops the packets.",
		"What its rules forbid is not for the host to allow.",
		"Change the rule in the guest."}
	MACTwice = &Kind{217, "mac-twice",
		"Two interfaces on one network have the same MAC address.",
		"The switch sends frames to whichever of them was heard last.",
		"Give one of them another MAC address."}
	LeaseOver = &Kind{218, "lease-over",
		"The DHCP lease of the interface is over, or nobody renews it.",
		"The server may give the address to somebody else.",
		"gopipework gc starts a keeper again that was killed. If the server is silent, start it; the keeper asks again by itself."}
	NoARP = &Kind{219, "no-arp",
		"The interface has ARP turned off.",
		"It neither asks for the MAC address of a neighbour nor tells its own.",
		"Turn it on."}
	InterfaceEnslaved = &Kind{220, "interface-enslaved",
		"The guest has made the interface a port of a bridge or bond of its own.",
		"What comes in goes there, and not to the addresses of the interface.",
		"Move the addresses to the bridge, or take the interface out of it."}
	GatewayElsewhere = &Kind{221, "gateway-elsewhere",
		"The guest's default route leads to a gateway that is in none of its networks, and nobody there has its address.",
		"Nothing reaches what is beyond the network.",
		"Correct the gateway, or the prefix length of the address."}
	NeighbourWrong = &Kind{222, "neighbour-wrong",
		"The neighbour table of the guest, or of the far end, has another MAC address than the neighbour has.",
		"Frames go to a station that is not there, or is another one. What was entered by hand is never asked for again.",
		"Delete the entry: the kernel asks anew."}
)

// The link between the guest and the host.
var (
	PeerDown = &Kind{301, "peer-down",
		"The other end of the pair is down.",
		"The interface has no carrier, and nothing passes.",
		"Set it up; if set --carrier off has set it down, by set --carrier on."}
	PeerElsewhere = &Kind{302, "peer-elsewhere",
		"The other end of the pair is in a third network namespace.",
		"Frames go there, and not to the host's switch.",
		"Move it back, or detach and attach the guest."}
	MTUDiffers = &Kind{303, "mtu-differs",
		"The MTU differs along the way.",
		"Small packets pass and large ones are lost without a word: a switch does not fragment.",
		"Give every link on the way the same MTU."}
	ChecksumOffload = &Kind{304, "checksum-offload",
		"The guest leaves checksums to hardware, and its switch is an Open vSwitch bridge in user space.",
		"Nobody fills them in: a ping passes, and TCP does not.",
		"Turn off checksum offload of the interface."}
)

// A Linux bridge and its ports.
var (
	PortMissing = &Kind{401, "port-missing",
		"The host's end of the pair is in no bridge.",
		"Frames end there.",
		"Make it a port of the bridge."}
	PortBlocking = &Kind{402, "port-blocking",
		"The bridge's port is not forwarding.",
		"With the spanning tree protocol a new port listens and learns for twice the forward delay, 30 seconds; a port that is blocked or disabled stays so.",
		"Wait, turn the protocol off, or set the state of the port."}
	PortIsolated = &Kind{403, "port-isolated",
		"The bridge's port is isolated, and so is the other one.",
		"Nothing passes between two isolated ports.",
		"End the isolation of one of them."}
	PortLocked = &Kind{404, "port-locked",
		"The bridge's port is locked.",
		"It takes frames only from stations that somebody has entered.",
		"Unlock it, or enter the station."}
	PortNoFlood = &Kind{405, "port-no-flood",
		"Flooding is turned off on the bridge's port.",
		"Broadcasts, multicasts or frames for unknown stations do not reach the guest: nobody finds it.",
		"Turn flooding on."}
	VLANOnPort = &Kind{406, "vlan-on-port",
		"The two ports share no VLAN, or only with different tags, and the guests speak to each other without a router.",
		"A bridge with VLAN filtering passes a frame only to ports of its VLAN.",
		"Put the port into the VLAN."}
	VLANOnBridge = &Kind{407, "vlan-on-bridge",
		"The bridge filters VLANs, and is not itself in that of the port.",
		"The host's own address on the bridge is not reached.",
		"Put the bridge itself into the VLAN."}
	BridgeDown = &Kind{408, "bridge-down",
		"The bridge is down.",
		"It passes no frames.",
		"Set it up."}
	StationElsewhere = &Kind{409, "station-elsewhere",
		"The bridge has the MAC address on another port.",
		"Frames for it go there. An entry that somebody has made does not age.",
		"Delete the entry."}
	TableFull = &Kind{410, "table-full",
		"The bridge's table of MAC addresses is full.",
		"It learns nobody new, and floods frames for them to every port.",
		"Raise fdb_max_learned, or find who fills it."}
	StationMoves = &Kind{411, "station-moves",
		"The MAC address moves from port to port of the bridge.",
		"There is a loop, or two stations with one address, and frames go to either.",
		"Remove the loop, or give one of the two another address."}
	NoQuerier = &Kind{412, "no-querier",
		"The bridge snoops multicast, and nobody queries.",
		"Memberships end unseen, and IPv6 neighbours are not found any more.",
		"Turn snooping off, or the bridge's own querier on."}
	SourceFiltered = &Kind{413, "source-filtered",
		"The guest sends from an address that is not of its attachment.",
		"With --antispoof everything else that the guest sends is dropped at its port.",
		"Restore the address of the attachment in the guest. To let the guest use the other, change the attachment by set --addr, or turn the filter off by set --antispoof off."}
)

// Open vSwitch.
var (
	OVSPortGone = &Kind{501, "ovs-port-gone",
		"The port is in no Open vSwitch bridge.",
		"Frames end there.",
		"Attach the guest again."}
	OVSPortDead = &Kind{502, "ovs-port-dead",
		"Open vSwitch has the port, and cannot use its interface, or passes no frames by it.",
		"The interface went without a word to ovs-vswitchd, or is somewhere else, or somebody has changed the state of the port.",
		"Delete the port, and attach the guest again."}
	OVSTag = &Kind{503, "ovs-tag",
		"The two ports are in different VLANs of Open vSwitch, and the guests speak to each other without a router.",
		"Frames pass only within a VLAN.",
		"Give the port the other's tag."}
	OVSSecure = &Kind{504, "ovs-secure",
		"The bridge is in fail mode secure, and no controller is connected.",
		"Without flows from a controller it passes nothing.",
		"Start the controller, or set the fail mode to standalone."}
	OVSFlow = &Kind{505, "ovs-flow",
		"A flow of Open vSwitch drops the frames.",
		"Flows decide what the bridge does with every frame.",
		"Change or delete the flow."}
	OVSSilent = &Kind{506, "ovs-silent",
		"Open vSwitch does not answer.",
		"Without ovs-vswitchd nothing new passes its bridges.",
		"Start it."}
)

// Links on a card.
var (
	ParentDown = &Kind{601, "parent-down",
		"The card that the link is on is down.",
		"Nothing passes, not even to another guest on the card.",
		"Set it up."}
	ParentNoCarrier = &Kind{602, "parent-no-carrier",
		"The card that the link is on has no carrier.",
		"The kernel takes the carrier of every link on the card away too, so that not even two guests on it reach each other.",
		"Plug in the cable, or look at the switch."}
	HostOnCard = &Kind{603, "host-on-card",
		"The host speaks to a macvlan or ipvlan on its own card.",
		"What the host and the links on its card send goes to the wire, and not to each other.",
		"Attach the guest with --host-access, or use a bridge."}
	ParentWireless = &Kind{604, "parent-wireless",
		"The card that the macvlan is on is wireless.",
		"An access point takes frames only from the MAC address that has joined it.",
		"Use an ipvlan."}
	ModeApart = &Kind{605, "mode-apart",
		"The mode of the macvlan or ipvlan keeps the two guests apart.",
		"With private they never reach each other, and with vepa only through a switch that sends frames back.",
		"Attach them with the mode bridge."}
	StationTwice = &Kind{606, "station-twice",
		"Two macvlans on cards of one network have the same MAC address, or a macvlan and its card.",
		"The switch sends frames to whichever was heard last. The kernel refuses two macvlans of one address on one card, but hands what is for a card to the macvlan that has its address.",
		"Give one of them another MAC address."}
)

// What is beyond the switch.
var (
	UplinkMissing = &Kind{701, "uplink-missing",
		"The bridge has no uplink, and the address is not behind it.",
		"What is beyond the host is not reached.",
		"Make the card a port of the bridge, or give the bridge an uplink in a topology file."}
	FarSilent = &Kind{702, "far-silent",
		"The far end does not answer, though the frames left for it.",
		"It is off, has another address, or drops what it gets.",
		"Look there."}
	FarFirewall = &Kind{703, "far-firewall",
		"The far guest's own firewall drops the packets.",
		"What its rules forbid is not for the host to allow.",
		"Change the rule there."}
	BridgeNoAddress = &Kind{704, "bridge-no-address",
		"The host has no address in the guest's subnet on the bridge.",
		"The guest cannot use the host as its gateway, nor reach it.",
		"Give the bridge an address."}
	FarMissing = &Kind{705, "far-missing",
		"Nobody on this host has the address, and nobody on the network answers for it.",
		"There is nothing to reach.",
		"Correct the address, or attach who is to have it."}
	ForwardingOff = &Kind{706, "forwarding-off",
		"The host is the router between the two, and forwards no packets.",
		"Linux forwards packets between its links only if the sysctl of the family is 1.",
		"Set net.ipv4.ip_forward, or net.ipv6.conf.all.forwarding, to 1."}
)

// The VXLAN by which a bridge reaches other hosts.
var (
	VXLANDown = &Kind{801, "vxlan-down",
		"The VXLAN of the bridge is down.",
		"No frames pass between this host and the others.",
		"Set it up, or attach again with --uplink."}
	VTEPAddress = &Kind{802, "vtep-address",
		"The address that the other hosts send to is not on this host, or its interface is down or has no carrier.",
		"What the other hosts send does not arrive.",
		"Add the address, set its interface up, or plug in the cable."}
	VTEPPort = &Kind{803, "vtep-port",
		"Another program has the UDP port of the VXLAN.",
		"The kernel cannot set the VXLAN up.",
		"End the program, or attach with another port on all hosts."}
	VTEPMTU = &Kind{804, "vtep-mtu",
		"The network between the hosts takes only shorter packets than the VXLAN sends.",
		"Longer packets are sent in fragments, or lost, while pings pass.",
		"Raise the MTU of that network, or lower those of the VXLAN, the bridge and its guests on all hosts."}
	VTEPPeer = &Kind{805, "vtep-peer",
		"The VXLAN knows no other host, or there is no route to one.",
		"Frames for guests of other hosts go nowhere.",
		"Name the others by peer=, or let FRR do it, with the lines of gopipework evpn-config. Add a route."}
	VTEPFirewall = &Kind{806, "vtep-firewall",
		"This host's firewall drops the packets of the VXLAN.",
		"Frames for guests of other hosts, or theirs for this host's guests, are lost.",
		"Let the rule admit the VXLAN's UDP port, in INPUT from the other hosts and in OUTPUT to them."}
)

// Unseen is about whatever could not be read.
var Unseen = &Kind{901, "unseen",
	"Something on the way could not be read.",
	"Whether it stops packets is not known.",
	"Look at the error: a missing program, capability or feature of the kernel."}

// Lost is about a probe that ends where nothing that is known explains it.
var Lost = &Kind{902, "lost",
	"A probe is seen at one place on the way and not at the next, and nothing that is known explains it.",
	"Something between the two drops it: a program at the hook tc or XDP, or a feature of the kernel that doctor does not know.",
	"Look at what is between the two: tc filter show, ip -d link show, bpftool net."}

// All has every kind, in the order of the numbers.
var All = []*Kind{
	PreroutingDrop, InetDrop, BridgeDrop, EbtablesDrop, FirewalldDrop, UFWDrop, ForwardDrop, DockerDrop, FirewallUnseen,
	InterfaceMissing, InterfaceDown, InterfaceRenamed, NoCarrier, AddressMissing, AddressTentative, AddressDuplicate, PrefixLength,
	SubnetTwice, NoRoute, OtherRoute, GatewaySilent, IPv6Disabled, ReversePath, ARPIgnore, GuestFirewall, MACTwice, LeaseOver, NoARP, InterfaceEnslaved, GatewayElsewhere, NeighbourWrong,
	PeerDown, PeerElsewhere, MTUDiffers, ChecksumOffload,
	PortMissing, PortBlocking, PortIsolated, PortLocked, PortNoFlood, VLANOnPort, VLANOnBridge, BridgeDown, StationElsewhere, TableFull, StationMoves, NoQuerier, SourceFiltered,
	OVSPortGone, OVSPortDead, OVSTag, OVSSecure, OVSFlow, OVSSilent,
	ParentDown, ParentNoCarrier, HostOnCard, ParentWireless, ModeApart, StationTwice,
	UplinkMissing, FarSilent, FarFirewall, BridgeNoAddress, FarMissing, ForwardingOff,
	VXLANDown, VTEPAddress, VTEPPort, VTEPMTU, VTEPPeer, VTEPFirewall,
	Unseen, Lost,
}
