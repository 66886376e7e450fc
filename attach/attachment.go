package attach

import (
	"net/netip"
	"os"
	"strconv"

	"github.com/gopipework/gopipework/internal/shell"
)

// GuestInfo is what is known of a guest. Its JSON names are part of the
// command's contract.
type GuestInfo struct {
	Runtime string `json:"runtime"`
	ID      string `json:"id"`
	Name    string `json:"name"`
	PID     int    `json:"pid"`   // 0 if it has no process that we can see
	NetNS   uint64 `json:"netns"` // inode number of its network namespace

	Path   string `json:"-"` // names the namespace of a guest without a PID
	Shares string `json:"-"` // the container whose namespace it is, if that is another

	Published bool `json:"-"` // its engine sends it what comes to ports of the host, from anywhere
	Joined    bool `json:"-"` // its engine may give it further interfaces, under the first ethN that it has not used itself
}

// command returns the line that runs a command in the guest's network.
func (g GuestInfo) command(words string) string {
	return "gopipework exec " + shell.Quote(g.Word()) + " -- " + words
}

// Word is a word of the command line that names the guest outright.
func (g GuestInfo) Word() string {
	switch g.Runtime {
	case "", "path":
		return g.Name
	case "pid":
		return "pid:" + g.ID
	}
	return g.Runtime + ":" + g.Name
}

// Guest is a network namespace, held open. From here on the descriptor is the
// guest: a PID that is used again redirects nothing.
type Guest struct {
	GuestInfo
	Namespace *os.File
	Alive     func() error // nil while the guest lives; asked before each step
}

// enter is the command prefix that runs a command in the guest's namespace.
func (g GuestInfo) enter() string {
	if g.PID != 0 {
		return "nsenter -t " + itoa(g.PID) + " -n "
	}
	return "nsenter --net=" + shell.Quote(g.Path) + " "
}

// netns is the guest as "ip link add ... netns" takes it.
func (g GuestInfo) netns() string {
	if g.PID != 0 {
		return itoa(g.PID)
	}
	return shell.Quote(g.Path)
}

// State says how far an attachment has come.
type State string

// The states. Half is one whose attach did not get to its end, orphan one
// whose guest cannot be found though every process can be seen.
const (
	Complete State = "complete"
	Half     State = "half"
	Orphan   State = "orphan"
)

// Attachment is one interface of ours in one guest, as the command's JSON
// output has it.
type Attachment struct {
	Guest     GuestInfo `json:"guest"`
	Interface Interface `json:"interface"`
	Host      Host      `json:"host"`
	State     State     `json:"state"`
	Hidden    bool      `json:"hidden,omitempty"`  // its guest cannot be seen from here: only the host's side is known
	Shaping   *Shaping  `json:"shaping,omitempty"` // nil: none

	Lease *LeaseState `json:"lease,omitempty"` // nil: no process of ours keeps one
	Cut   []string    `json:"cut,omitempty"`   // what drops its packets now, on the host or in the guest, a sentence each
}

// LeaseState is how the lease of an interface stands.
type LeaseState struct {
	Source  SourceKind `json:"source"`            // FromDHCP or FromDHCP6
	Server  string     `json:"server,omitempty"`  // "": it has none now
	Seconds int64      `json:"seconds,omitempty"` // until it ends, if nobody renews it; 0: it has none, or it does not end
	Trouble string     `json:"trouble,omitempty"` // what is wrong; "": nothing
}

// Interface is the guest's end.
type Interface struct {
	Name      string         `json:"name"`
	Kind      string         `json:"kind"` // as in "ip -d link"
	MAC       string         `json:"mac"`
	MTU       int            `json:"mtu"`
	Addresses []netip.Prefix `json:"addresses"`
	Gateway   []netip.Addr   `json:"gateway"`
}

// Host is the other end: on the host or, for a link between guests, in the
// other one.
type Host struct {
	Kind string `json:"kind"` // "bridge", ...
	Name string `json:"name"` // of the bridge, card or parent; "veth": the other guest
	Port string `json:"port"` // name of the other end, where there is one
	VLAN string `json:"vlan"`
}

func itoa(n int) string { return strconv.Itoa(n) }
