package topology

import (
	"cmp"
	"fmt"
	"net/netip"

	"github.com/gopipework/gopipework/internal/spec"
)

// File is what a topology file says.
type File struct {
	Name    string // "name:", or the file's name without its directory and ending
	Path    string
	Bridges []Bridge
	Entries []Entry // the attachments, then the links, each in the order of the file
}

// Pos is a place in a file; lines and columns begin with 1. The zero Pos is no place.
type Pos struct {
	File         string
	Line, Column int
}

// String returns the place as compilers write it, file:line:column, and editors go to it.
func (p Pos) String() string { return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Column) }

// compare says which of two places of a file is first.
func (p Pos) compare(q Pos) int {
	return cmp.Or(cmp.Compare(p.Line, q.Line), cmp.Compare(p.Column, q.Column))
}

// Entry is one attachment, or one link between two guests, that is wanted.
type Entry struct {
	Pos   Pos
	Words []string // the line as it would be typed, with its flags and without "attach" or "link"

	// One of the two is set.
	Attach *spec.Spec
	Link   *spec.LinkSpec
}

// Bridge is a bridge of the host that is wanted.
type Bridge struct {
	Pos           Pos
	Name          string
	Address       []netip.Prefix // the host's own on it, such as 192.168.1.1/24
	MTU           int            // 0: not said
	Uplink        string         // interface of the host that is to be a port of it, such as eth1 or eth0.10; "": none
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
