package attach

import (
	"github.com/gopipework/gopipework/internal/guests"
	"github.com/gopipework/gopipework/internal/ours"
)

// What there is. These types are internal packages'; here they have the names that an
// importer writes. Their JSON is the command's.
type (
	// GuestInfo is what is known of a guest: its Runtime, ID and Name, its PID if it
	// has one, and NetNS, the inode number of its network namespace.
	GuestInfo = guests.GuestInfo

	// Guest is a network namespace, held open: its GuestInfo, the open Namespace, and
	// Doubts, which are warnings. It is Alive, or returns an error of the code "gone".
	// Close it when done. dockerutil.Find returns one, and so does OpenGuest.
	Guest = guests.Guest

	// Attachment is one interface of ours in one guest: the Guest, the Interface there,
	// the Host's side, the State, and, where there are any, the Shaping, the Lease, and
	// what has Cut it off, a sentence each.
	Attachment = ours.Attachment

	// Interface is the guest's end: its Name, Kind, MAC, MTU, Addresses and Gateway.
	Interface = ours.Interface

	// Host is the other end: its Kind, the Name of the bridge, card or parent, the Port
	// where there is one, and the VLAN. Of a link between guests it is in the other one.
	Host = ours.Host

	// LeaseState is how the lease of an interface stands: its Source, the Server, for how
	// many Seconds, and what Trouble there is.
	LeaseState = ours.LeaseState

	// State says how far an attachment has come.
	State = ours.State
)

// The states. Half is one whose attach did not get to its end, orphan one
// whose guest cannot be found though every process can be seen, and parked one whose port
// waits for its guest to run again (see Parking).
const (
	Complete = ours.Complete
	Half     = ours.Half
	Orphan   = ours.Orphan
	Parked   = ours.Parked
)
