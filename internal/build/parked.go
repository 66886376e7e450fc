package build

import (
	"net/netip"

	"github.com/gopipework/gopipework/internal/guests"
	"github.com/gopipework/gopipework/internal/plan"
	"github.com/gopipework/gopipework/internal/rtnl"
)

// Parked is a pair whose guest is away. The guest's end waits in a namespace of nobody's,
// and the port has stayed where it was.
type Parked struct {
	Fits bool // the port is what is asked for

	Port   *rtnl.Link
	On     *rtnl.Link // its bridge; nil: none
	VLANs  []rtnl.PortVLAN
	Queues []rtnl.Qdisc
	Addrs  []netip.Prefix // of the port

	Name  string // of the guest's end
	Enter string // how a person's command gets to it
}

// ParkFacts are what planning to park must know about a guest that has ended.
type ParkFacts struct {
	Guest guests.GuestInfo
	Pairs []Parking
	To    string // the path of the namespace that the guest's ends are to wait in
}

// Parking is a pair that may be parked.
type Parking struct {
	plan.Mark
	Port  *rtnl.Link
	Inner *rtnl.Link
}

// Takes reports whether the interface is to be that of a parked pair.
func (j *Job) Takes() bool { return j.There.Parked != nil && j.There.Parked.Fits }
