// Package rtnl is the one door to the kernel's network configuration: every
// rtnetlink message gopipework sends is made here, and nothing else imports a
// netlink library to change links, addresses or routes.
//
//	conn.go       Conn: rtnetlink in one network namespace, usable from any thread
//	socket.go     a netlink socket that blocks
//	link.go       links: what they are, making and deleting them
//	change.go     changing them
//	parse.go      reading the kernel's link messages
//	namespace.go  ids of other namespaces, and the links there
//	move.go       moving a link to another namespace
//	keep.go       what a link's configuration was, and making it so again
//	keptpart.go   the parts of that which are restored one by one, and what is missing;
//	              each kind has a file: keepaddr.go, keepaltname.go, keepmaster.go,
//	              keepneigh.go, keepoffload.go, keepport.go, keeproute.go, keepsysctl.go,
//	              keeptoken.go, keepxdp.go
//	routetext.go  a route as an ip command
//	attrs.go      messages that are kept and sent again
//	vlan.go       VLANs of bridge ports
//	vxlan.go      links that send frames to other hosts, and what is entered for that
//	station.go    the MAC addresses that a bridge knows
//	inet.go       addresses and routes
//	addrsin.go    the addresses of a link in another namespace
//	neigh.go      entries for neighbours
//	nexthop.go    nexthop objects
//	lookup.go     which way a packet would go
//	rule.go       rules, and routes of every table
//	learned.go    what IPv6 has learned from the errors of routers
//	event.go      waiting for the kernel to say that something changed
//	counters.go   how many bytes have passed
//	unsure.go     whether a request was carried out whose answer did not arrive
//	node.go       a link's directory in sysfs, by which it is known again
//	unixsocket.go abstract unix sockets
//	sysctl.go     net.* sysctls of the namespace
//	ethtool.go    checksum offload
//	qdisc.go      queueing disciplines, and what comes in sent by another link
//	mirror.go     copies of frames, sent by another link
//	wiphy.go      Wi-Fi radios
//	wireguard.go  keys and peers of WireGuard tunnels
//
// It decides nothing: no names, no defaults, no policy. Errors are the
// kernel's own (a [syscall.Errno], with the kernel's text where it gives one);
// the caller knows what was being done, and says so.
package rtnl
