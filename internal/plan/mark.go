package plan

import (
	"strings"

	"github.com/gopipework/gopipework/internal/guests"
	"github.com/gopipework/gopipework/internal/rtnl"
	"github.com/gopipework/gopipework/internal/spec"
)

// Group is the device group that every link of ours is made with, on both
// ends: it is ours from its first instant. 0x6770 is "gp".
const Group = 0x6770

// Mark is what the alias of the host's end says:
//
//	gopipework docker:0123456789ab eth1 web
//	gopipework/file:lab docker:0123456789ab eth1 web
//
// It is written last: a link of our group without it is half made, by a run that did not
// get to its end.
type Mark struct {
	Origin  spec.Origin // who asked for it; OriginLine is not written
	Runtime string      // "docker", "pid", "netns", "path", "cni"
	ID      string      // at most 12 bytes
	IfName  string
	Name    string // the guest's; last, for it alone may hold anything, and be cut short
}

const (
	MarkWord = "gopipework"
	parked   = MarkWord + "-parked" // in place of MarkWord, in the alias of a parked port
	maxAlias = 255                  // IFALIASZ without its terminating zero
)

// String returns the alias, at most 255 bytes.
func (m Mark) String() string { return m.alias(MarkWord) }

// Parked returns the alias that the port has while its guest is away. It is no mark:
// whoever does not know it takes the pair for half made.
func (m Mark) Parked() string { return m.alias(parked) }

func (m Mark) alias(word string) string {
	if m.Origin.Claims() {
		word += "/" + string(m.Origin)
	}
	s := strings.Join([]string{word, m.Runtime + ":" + m.ID, m.IfName, m.Name}, " ")
	return s[:min(len(s), maxAlias)]
}

// ParseMark reads an alias.
func ParseMark(alias string) (Mark, bool) { return parseMark(MarkWord, alias) }

// ParseParked reads the alias of a port whose guest is away: the mark that it had.
func ParseParked(alias string) (Mark, bool) { return parseMark(parked, alias) }

func parseMark(want, alias string) (Mark, bool) {
	f := strings.SplitN(alias, " ", 4)
	if len(f) != 4 {
		return Mark{}, false
	}
	word, from, named := strings.Cut(f[0], "/")
	origin, err := spec.ParseOrigin(from)
	if word != want || err != nil || named && from == "" {
		return Mark{}, false
	}
	runtime, id, ok := strings.Cut(f[1], ":")
	if !ok || runtime == "" || spec.CheckName(f[2]) != "" {
		return Mark{}, false
	}
	return Mark{Origin: origin, Runtime: runtime, ID: id, IfName: f[2], Name: f[3]}, true
}

// MarkOf is the mark of an interface of a guest that a typed line asked for.
func MarkOf(g guests.GuestInfo, inner string) Mark {
	return Mark{Origin: spec.OriginLine, Runtime: g.Runtime, ID: g.ID, IfName: inner, Name: g.Name}
}

// Guest is what the mark says about the guest.
func (m Mark) Guest() guests.GuestInfo {
	return guests.GuestInfo{Runtime: m.Runtime, ID: m.ID, Name: m.Name}
}

// Names reports whether the mark is that of an interface of the guest, whoever asked for
// it. A mark has no room for the whole of a long name.
func (m Mark) Names(g guests.GuestInfo) bool {
	whole := MarkOf(g, m.IfName)
	whole.Origin = m.Origin
	return whole.String() == m.String()
}

// IsOurs reports whether a link was made here.
func IsOurs(l *rtnl.Link) bool { return l.Group == Group }

// Attached reports whether a link in a guest is that of an attachment: made here,
// or lent, which is told by the mark alone.
func Attached(l *rtnl.Link) bool {
	_, marked := ParseMark(l.Alias)
	return IsOurs(l) || marked
}
