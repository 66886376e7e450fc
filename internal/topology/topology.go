package topology

import (
	"net/netip"

	"github.com/gopipework/gopipework/internal/spec"
	"github.com/gopipework/gopipework/internal/yamlfile"
)

// File is what a topology file says.
type File struct {
	Name    string // "name:", or the file's name without its directory and ending
	NameAt  Pos    // of "name:"; the zero Pos, if the file does not say it
	Path    string
	Bridges []Bridge
	Entries []Entry // the attachments, then the links, each in the order of the file
}

// Places in a file, and what is wrong there.
type (
	Pos      = yamlfile.Pos
	Problem  = yamlfile.Problem
	Problems = yamlfile.Problems
)

// Entry is one attachment, one link between two guests, or what the host is to have on a
// bridge.
type Entry struct {
	Pos   Pos
	Words []string // the line as it would be typed, with its flags and without "attach" or "link"

	// One of them is set. A file's entries are attachments and links; those of its bridges
	// that ask for something are made of them (reconcile.Entries).
	Attach *spec.Spec
	Link   *spec.LinkSpec
	Bridge *spec.BridgeSpec
}

// Bridge is a bridge of the host that is wanted.
type Bridge struct {
	Pos           Pos
	Name          string
	Address       []netip.Prefix // the host's own on it, such as 192.168.1.1/24
	MTU           int            // 0: not said
	Uplink        string         // interface of the host that is to be a port of it, such as eth1 or eth0.10, or a VXLAN, as --uplink has it; "": none
	Force         bool           // take the uplink although it has a global address or a default route
	VLANFiltering bool
}

// Grammar is what reads a typed line. It is the command's, which hands it over.
type Grammar struct {
	// Attach reads the words and flags of a line as typed after "gopipework attach".
	Attach func(words []string) (spec.Spec, error)
	// Link reads those after "gopipework link".
	Link func(words []string) (spec.LinkSpec, error)
	// AttachFlags and LinkFlags are the long flags that a map may have as keys.
	AttachFlags, LinkFlags []Flag
}

// Flag is a flag of a line that a map may have as a key.
type Flag struct {
	Name  string // the key: the long flag's name, without its dashes
	Typed string // as it is typed, "--mtu" or "-i"
	Usage string
	Bool  bool // takes no value
	Many  bool // may be repeated: in a map, a list
}
