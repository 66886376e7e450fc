//go:build linux

package e2e

// firewallFaults are those of the host's firewall.
var firewallFaults = []fault{}
