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

// Mark is what the alias of the host's end says. It is written last: a link of
// our group without it is half made, by a run that did not get to its end.
type Mark struct {
	Runtime string // "docker", "pid", "netns", "path"
	ID      string // at most 12 bytes
	IfName  string
	Name    string // the guest's; last, for it alone may hold anything
}

const (
	MarkWord = "gopipework"
	maxAlias = 255 // IFALIASZ without its terminating zero
)

// String returns the alias, at most 255 bytes.
func (m Mark) String() string {
	s := strings.Join([]string{MarkWord, m.Runtime + ":" + m.ID, m.IfName, m.Name}, " ")
	return s[:min(len(s), maxAlias)]
}

// ParseMark reads an alias.
func ParseMark(alias string) (Mark, bool) {
	f := strings.SplitN(alias, " ", 4)
	if len(f) != 4 || f[0] != MarkWord {
		return Mark{}, false
	}
	runtime, id, ok := strings.Cut(f[1], ":")
	if !ok || runtime == "" || spec.CheckName(f[2]) != "" {
		return Mark{}, false
	}
	return Mark{Runtime: runtime, ID: id, IfName: f[2], Name: f[3]}, true
}

// MarkOf is the mark of an interface of a guest.
func MarkOf(g guests.GuestInfo, inner string) Mark {
	return Mark{Runtime: g.Runtime, ID: g.ID, IfName: inner, Name: g.Name}
}

// Guest is what the mark says about the guest.
func (m Mark) Guest() guests.GuestInfo {
	return guests.GuestInfo{Runtime: m.Runtime, ID: m.ID, Name: m.Name}
}

// IsOurs reports whether a link was made here.
func IsOurs(l *rtnl.Link) bool { return l.Group == Group }

// Attached reports whether a link in a guest is that of an attachment: made here,
// or lent, which is told by the mark alone.
func Attached(l *rtnl.Link) bool {
	_, marked := ParseMark(l.Alias)
	return IsOurs(l) || marked
}
