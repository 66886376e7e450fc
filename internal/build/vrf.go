package build

import "github.com/gopipework/gopipework/internal/rtnl"

// VRF is a VRF of ours in a guest.
type VRF struct {
	*rtnl.Link
	Ports []*rtnl.Link
}
