package ours

import (
	"net/netip"

	"github.com/gopipework/gopipework/internal/guests"
	"github.com/gopipework/gopipework/internal/lease"
	"github.com/gopipework/gopipework/internal/spec"
)

// State says how far an attachment has come.
type State string

// The states. Half is one whose attach did not get to its end, orphan one
// whose guest cannot be found though every process can be seen, and parked one whose port
// waits for its guest to run again.
const (
	Complete State = "complete"
	Half     State = "half"
	Orphan   State = "orphan"
	Parked   State = "parked"

	Foreign State = "foreign" // no attachment, but an interface whose carrier was set
)

// Attachment is one interface of ours in one guest, as the command's JSON
// output has it.
type Attachment struct {
	Guest     guests.GuestInfo `json:"guest"`
	Interface Interface        `json:"interface"`
	Host      Host             `json:"host"`
	State     State            `json:"state"`
	Origin    spec.Origin      `json:"origin,omitempty"`  // who asked for it; "": that is not known, as of one that is half made
	Hidden    bool             `json:"hidden,omitempty"`  // its guest cannot be seen from here: only the host's side is known
	Shaping   *spec.Shaping    `json:"shaping,omitempty"` // nil: none
	Mirrors   []string         `json:"mirrors,omitempty"` // what is copied to it, as --mirror has it

	Lease    *LeaseState `json:"lease,omitempty"` // nil: no process of ours keeps one
	More     []string    `json:"-"`               // what there is to it that nothing else here shows, such as "routes"; only a list tells it, and a set about host access
	Unpinned bool        `json:"-"`               // it is on a bridge with an uplink, and not all of it is pinned there; only a list tells it
	Cut      []string    `json:"cut,omitempty"`   // what drops its packets now, on the host or in the guest, a sentence each
}

// LeaseState is how the lease of an interface stands.
type LeaseState struct {
	Source  spec.SourceKind `json:"source"`            // FromDHCP or FromDHCP6
	Server  string          `json:"server,omitempty"`  // "": it has none now
	Seconds int64           `json:"seconds,omitempty"` // until it ends, if nobody renews it; 0: it has none, or it does not end
	Trouble string          `json:"trouble,omitempty"` // what is wrong; "": nothing

	Options lease.Options `json:"-"` // that it was asked for with, but for a client ID
	ACD     bool          `json:"-"`
	Routes  []spec.Route  `json:"-"` // that come with the next one; nil: it has one
	Keep    bool          `json:"-"` // the server's default route goes behind the guest's own
	Metric  int           `json:"-"` // of that; 0: whatever puts it in its place
}

// Interface is the guest's end.
type Interface struct {
	Name      string         `json:"name"`
	Kind      string         `json:"kind"` // as in "ip -d link"
	MAC       string         `json:"mac"`
	MTU       int            `json:"mtu"`
	Carrier   *bool          `json:"carrier,omitempty"`     // nil: not known
	Pulled    bool           `json:"carrier_off,omitempty"` // set --carrier off has taken the carrier
	Addresses []netip.Prefix `json:"addresses"`
	Gateway   []netip.Addr   `json:"gateway"`
	DNS       string         `json:"dns,omitempty"` // name servers that were written for it, as --dns has them; an attach, a set and a list tell them

	SourceRouting bool `json:"source_routing,omitempty"` // replies from its addresses leave by it; an attach, a set and a list tell it

	Routes []spec.Route `json:"routes,omitempty"` // others by it that were asked for; each is a word of --route
	VRF    *spec.VRF    `json:"vrf,omitempty"`    // nil: it is in none
}

// Host is the other end: on the host or, for a link between guests, in the
// other one.
type Host struct {
	Kind string `json:"kind"` // "bridge", ...
	Name string `json:"name"` // of the bridge, card or parent; "veth": the other guest
	Port string `json:"port"` // name of the other end, where there is one
	VLAN string `json:"vlan"`

	Isolated bool   `json:"isolated,omitempty"` // nothing passes between its port and others that are isolated
	Uplink   string `json:"uplink,omitempty"`   // by which the bridge reaches other hosts, as --uplink has it; "": it has none of ours

	Antispoof bool `json:"antispoof,omitempty"` // the guest can send only from the addresses of the attachment
}
