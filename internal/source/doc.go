// Package source knows the sources of addresses other than the command line: DHCP,
// DHCPv6, router advertisements, DHCP clients of the host. Each has a file of its own
// and a place in the registry.
package source
