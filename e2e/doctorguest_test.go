//go:build linux

package e2e

// guestFaults are those of the guest's interface and routes.
var guestFaults = []fault{
	{name: "interface-down", do: "ip -n web link set eth1 down"},
	{name: "no-arp", do: "ip -n web link set eth1 arp off"},
}
