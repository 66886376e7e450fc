//go:build linux

package e2e

// firewallFaults are those of the host's firewall.
var firewallFaults = []fault{
	{name: "forward-drop", what: "of iptables", do: "iptables -F DOCKER-USER"},
	{name: "prerouting-drop", what: "in raw", do: "iptables -t raw -A PREROUTING -d 10.0.0.3 -j DROP"},
	{name: "inet-drop", do: `nft 'add table inet x; add chain inet x f { type filter hook forward priority 0; }; add rule inet x f ip daddr 10.0.0.0/24 drop'`},
}
