// Package source knows where addresses come from that are not on the line: DHCP,
// DHCPv6, router advertisements, DHCP clients of the host. Each has a file of its own
// and a place in the registry.
package source
