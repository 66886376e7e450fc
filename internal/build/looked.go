package build

import (
	"net"
	"net/netip"
	"slices"

	"github.com/gopipework/gopipework/bridge"
	"github.com/gopipework/gopipework/bridge/firewall"
	"github.com/gopipework/gopipework/internal/guests"
	"github.com/gopipework/gopipework/internal/hostclient"
	"github.com/gopipework/gopipework/internal/lease"
	"github.com/gopipework/gopipework/internal/ours"
	"github.com/gopipework/gopipework/internal/plan"
	"github.com/gopipework/gopipework/internal/rtnl"
	"github.com/gopipework/gopipework/internal/spec"
)

// Card is what is known of a card that is asked for.
type Card struct {
	Loan  *ours.Loan   // if it is lent, or was and has not been put in order; nil: it is not
	Home  *rtnl.Link   // of a Loan: the card, if it is back on the host
	Here  bool         // of a Loan: the card is what has IFNAME in this guest
	Gone  bool         // of a Loan: there is no such card any more
	Where string       // of a Loan whose guest does not have the card: who does; "": not known
	Addrs []rtnl.Addr  // the host's
	Route []rtnl.Route // the host's
	Users []ours.User  // links that are on the card, and would go with a move

	Nexthops []rtnl.Nexthop // the host's
	Qdiscs   []rtnl.Qdisc   // the host's

	Namesake *ours.Loan // of another card of that name, which was returned without all that it had; nil: there is none

	Unread string // what to say about a loan of the card whose file cannot be read; "": there is none
	Radio  *int   // of a Wi-Fi card
}

// Access is what there is of the host's way to guests on a parent.
type Access struct {
	Link   *rtnl.Link   // the host's own macvlan; nil: none
	Named  *rtnl.Link   // what has its name; nil: nothing
	Addrs  []rtnl.Addr  // of the parent
	Routes []rtnl.Route // by Link
	Host   uint64       // cookie of the host's namespace; looked at only where a lease may be to follow
}

// Way is the host's own macvlan on a parent, and who needs it.
type Way struct {
	*rtnl.Link
	Routes []rtnl.Route
	Needed []netip.Addr // those of links on the parent, but for links that go
	Wanted bool         // by a lease of a link on the parent that stays, also while it has no address
	Host   uint64       // cookie of the host's namespace
	Dark   bool         // there are links on it whose addresses are not known (yet)
}

// Station is somebody else on the bridge or card.
type Station struct {
	Who   string // for a message, as its subject
	Guest string // the word for it by its mark; "": it has none
	MAC   net.HardwareAddr
	Addrs []netip.Addr
	VLAN  int    // on a switch that looks at them: the one whose frames it takes without a tag; 0: none
	Mode  string // of an ipvlan
}

// Shaped is what shapes a guest's link now.
type Shaped struct {
	Out     []rtnl.Qdisc // of the link
	In      []rtnl.Qdisc // of the host's end, or of Inbound
	Inbound *rtnl.Link   // the ifb that what comes in is sent through; nil: none
	Taken   bool         // somebody else does something with what comes in
}

// ResolvNote is of one guest: what was in its file before it was written for an
// interface, and what then. It is in /run/gopipework until that is restored.
type ResolvNote struct {
	GuestNS uint64 `json:"guest"`     // cookie of its namespace
	PID     int    `json:"pid"`       // its process, whose file it was
	PIDs    uint64 `json:"pids"`      // inode of the PID namespace that has it; 0: not known
	IfName  string `json:"interface"` // whose attach wrote it
	Index   int    `json:"index"`     // of that, in the guest
	Asked   string `json:"asked"`     // the word after --dns
	Before  []byte `json:"before"`
	After   []byte `json:"after"`
}

// Routing is what source routing there is in a guest, and what tells whom it
// is for.
type Routing struct {
	Links  []*rtnl.Link
	Addrs  []rtnl.Addr
	Rules  []rtnl.Rule
	Tables []rtnl.Route // of other tables than main
	Leased map[int]int  // the tables of leases that are kept, by the interface's index
}

// DetachFacts are what planning a detach must know.
type DetachFacts struct {
	Guest   guests.GuestInfo
	Ours    []Pair       // what is ours between the host and this guest
	Foreign []*rtnl.Link // the guest's other links
	Left    []*rtnl.Link // ifbs of ours that nothing is sent to
	VRFs    []VRF
	Bridges map[int]Switch
	OVS     bridge.OVS           // looked at only if a pair is in it
	Mirrors Mirrors              // looked at only if a pair was made for one
	InUse   map[string]bool      // its bridges that somebody has given an address
	Leases  []lease.Kept         // of the guest's interfaces
	Clients []hostclient.Running // DHCP clients of the host that run for them
	Resolv  *ResolvNote          // what was written into its resolv.conf; nil: nothing
	Parents map[int]Parent       // VLAN sub-interfaces of ours that a child is on
	GuestNS int                  // id of the guest's namespace in the host's
	Routing Routing              // in the guest
	Ways    []Way                // of the host to macvlans, without this guest
	HostNS  int                  // id of the host's namespace in the guest's

	ResolvChanged bool // by somebody else since

	Emptied  Emptied  // looked at only if nothing is left of what is chosen, or all of it is chosen
	Warnings []string // of what could not be looked at
}

// Pair is one of ours, described and by its end on the host; or, where it has
// none, by the guest's link; or by the loan of a card.
type Pair struct {
	ours.Attachment
	Port  *rtnl.Link
	Child *rtnl.Link
	Lent  *ours.Lent

	Inbound *rtnl.Link // the ifb that what comes in is sent through; nil: none
}

// Index is that of the guest's end.
func (p Pair) Index() int {
	switch {
	case p.Child != nil:
		return p.Child.Index
	case p.Port != nil:
		return p.Port.Peer
	case p.Lent.Link != nil:
		return p.Lent.Link.Index
	}
	return 0
}

// Parent is a VLAN sub-interface that we made as a parent.
type Parent struct {
	*rtnl.Link
	Users int // links on it, in any namespace
}

// Switch is a bridge that such a pair is plugged into.
type Switch struct {
	*rtnl.Link
	Ports    []*rtnl.Link
	InUse    bool // somebody has given the bridge an address
	Firewall firewall.Firewall
	VLANs    map[int]string // of its ports that have any but the default, by index
	Uplink   Uplink
}

// Emptied is what we made on the host and nothing uses any more. An attach makes
// such a thing and puts it to use under one hold of the host's lock, so none of it
// is about to be used.
type Emptied struct {
	Ways       []Way              // of the host to macvlans
	VXLANs     []*rtnl.Link       // uplinks of bridges
	Links      []*rtnl.Link       // bridges and VLAN sub-interfaces
	OVS        []bridge.OVSBridge // bridges
	Unfiltered []string           // names of bridges that filter VLANs for no port of ours
}

// GCFacts are what planning a clean-up must know.
type GCFacts struct {
	Links       []*rtnl.Link            // the host's
	VLANs       map[int][]rtnl.PortVLAN // of its bridge ports; looked at only if it matters
	Addrs       []rtnl.Addr
	Rules       []firewall.Rule         // ours, of any bridge
	Pins        []rtnl.FixedNeighbour   // ours, of any bridge
	Static      []rtnl.Station          // of the bridges that have some, that do not age
	Filtered    []string                // ports that our source filters are for
	Abandoned   map[int]ours.Attachment // half-made pairs that nobody works on, by their end's index
	Inside      []HalfInside            // half-made links that are in a guest alone, and that nobody works on
	Left        []LeftInside            // ifbs and VRFs in guests that nobody works on
	OVS         bridge.OVS
	Mirrors     Mirrors
	HostID      string       // of this host, as in hostKey
	Strays      []ours.Stray // cards that are lent to nobody any more
	Warnings    []string
	Users       map[int][]ours.User // links on our VLAN sub-interfaces, by the index of those
	Ways        []Way               // of the host to macvlans
	Resolvs     []ResolvNote        // of resolv.confs of guests that have ended
	LeaveCables bool                // those that are pulled stay so
	Torn        []string            // files in /run/gopipework that a killed run was writing
	Replies     []plan.Step         // source routing that stands for nothing, in guests that nobody works on
}

// Going reports whether a user is a half-made link that is about to go.
func (f GCFacts) Going(u ours.User) bool {
	return slices.ContainsFunc(f.Inside, func(h HalfInside) bool { return h.Guest.NetNS == u.Netns && h.Index == u.Index })
}

func (f GCFacts) Named(name string) *rtnl.Link {
	if i := slices.IndexFunc(f.Links, func(l *rtnl.Link) bool { return l.Name == name }); i >= 0 {
		return f.Links[i]
	}
	return nil
}

// LeftInside is an ifb of ours in a guest that nothing is sent to, or only what comes in by
// a link that goes; or a VRF of ours that nothing is in, or only a link that goes.
type LeftInside struct {
	Path  string // of the guest's namespace
	Inode uint64
	Name  string
	Index int
}

// HalfInside is a link of ours that a killed run has left in a guest.
type HalfInside struct {
	ours.Attachment
	Path  string // of the guest's namespace
	Index int
}

// SetFacts are what planning a change must know.
type SetFacts struct {
	Inside
	Found  *Pair       // the attachment; nil: there is none of that name
	Origin spec.Origin // who asks; "": a typed line

	On        *rtnl.Link // what it is on: the bridge, the card, the VLAN of a card; nil: nothing
	OtherEnd  *rtnl.Link // of a link between two guests; nil: no link, or it cannot be seen
	Cable     *Cable     // looked at only for the carrier; nil: there is none
	Access    Access     // the host's way to it; looked at only for a macvlan, for that and for addresses
	OwnOn     *rtnl.Link // the Linux bridge of the host's end; nil: none
	PortVLANs []rtnl.PortVLAN
	Filter    *firewall.SourceFilter // of the host's end; nil: none
	Stations  []Station              // who else is on that bridge; looked at only for a new filter
	Switch    Switch                 // that bridge, as a detach sees it
	Sysctls   map[string]string      // of the interface, by path; looked at only for addresses
	To        *Facts                 // of an attach to the bridge that the port is moved to; nil: it is not moved
	Detach    DetachFacts
}

// Cable is the other end of a guest's pair. While it is down, the guest's end has no carrier.
type Cable struct {
	plan.Place
	End   *rtnl.Link
	Loses string // what the kernel would delete with its going down; "": nothing
	Keeps string // how that can be avoided
}

// Needed is a sysctl of an interface.
type Needed struct{ Path, Value string }
