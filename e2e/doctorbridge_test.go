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
	{name: "port-locked", do: "bridge link set dev web0 locked on learning off; bridge fdb flush dev brtest brport web0"},
	{name: "port-no-flood", what: "of broadcasts", do: "bridge link set dev web0 bcast_flood off"},
	{name: "port-no-flood", what: "of unknown stations", do: "bridge link set dev web0 learning off flood off; bridge fdb flush dev brtest brport web0"},
	{name: "station-elsewhere", do: "bridge fdb replace $(ip -n db -br link show eth1 | awk '{print $3}') dev web0 master static"},
}
