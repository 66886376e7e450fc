package bridge

import "github.com/gopipework/gopipework/bridge/firewall"

// What package attach takes from the firewall by the name of the bridge.
type (
	Firewall   = firewall.Firewall
	Family     = firewall.Family
	Path       = firewall.Path
	Block      = firewall.Block
	Rule       = firewall.Rule
	Query      = firewall.Query
	GuestQuery = firewall.GuestQuery
	GuestBlock = firewall.GuestBlock
)

const (
	IPv4   = firewall.IPv4
	IPv6   = firewall.IPv6
	NFT    = firewall.NFT
	Legacy = firewall.Legacy
)

var (
	ObserveFirewall  = firewall.Observe
	ObserveFirewalls = firewall.ObserveAll
	ObserveRules     = firewall.ObserveRules
	ObserveGuest     = firewall.ObserveGuest
)
