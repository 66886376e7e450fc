// Package source knows the sources of addresses other than the command line: DHCP,
// DHCPv6, router advertisements, DHCP clients of the host. Each has a file of its own
// and a place in the registry.
//
//	addresssource.go   what a source is, and the registry
//	dhcp.go, dhcp6.go  a DHCP server, asked by us
//	slaac.go           router advertisements
//	hostclient.go      a DHCP client of the host
//	keptlease.go       a lease of either protocol, and the process that keeps it
//	rebind.go          the question on another network whether it may be kept
//	leaselink.go       what a lease sets on an interface
//	changelease.go     another thing to set, from now on
//	leasereplies.go    source routing for its address
//	leaseaccess.go     the host's way to its address
//	leaseneighbour.go  its address as a neighbour of the bridge
package source
