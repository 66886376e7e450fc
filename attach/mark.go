package attach

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"strings"

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
	markWord = "gopipework"
	maxAlias = 255 // IFALIASZ without its terminating zero
)

// String returns the alias, at most 255 bytes.
func (m Mark) String() string {
	s := strings.Join([]string{markWord, m.Runtime + ":" + m.ID, m.IfName, m.Name}, " ")
	return s[:min(len(s), maxAlias)]
}

// ParseMark reads an alias.
func ParseMark(alias string) (Mark, bool) {
	f := strings.SplitN(alias, " ", 4)
	if len(f) != 4 || f[0] != markWord {
		return Mark{}, false
	}
	runtime, id, ok := strings.Cut(f[1], ":")
	if !ok || runtime == "" || spec.CheckName(f[2]) != "" {
		return Mark{}, false
	}
	return Mark{Runtime: runtime, ID: id, IfName: f[2], Name: f[3]}, true
}

// bridgeMark is the alias of a bridge that we made.
const bridgeMark = markWord + " bridge"

// names are the names that an attachment will have.
type names struct {
	inner   string // inside the guest
	port    string // of the host's end
	alt     string // the host's end's alternative name; "" where none fits
	inbound string // of the ifb in the guest, where one is needed
}

// namesFor makes the names; base is what HOSTIF names, nil: nothing.
func namesFor(s Spec, g GuestInfo, base *rtnl.Link) names {
	n := names{inner: s.IfName, port: s.HostName}
	switch {
	case n.inner != "":
	default:
		n.inner = cmp.Or(traitsOf(settleKind(s.HostIF, Facts{Base: base})).ifName, "eth1")
	}
	if n.port == "" {
		n.port = portName(n.inner, g)
	}
	n.inbound = inboundName(n.inner)
	if alt := markWord + "." + g.Name + "." + n.inner; len(alt) <= spec.MaxAltName && !strings.ContainsAny(alt, "/: ") {
		n.alt = alt
	}
	return n
}

// portName is pipework's v<IFNAME>pl<PID> where there is a PID and it fits;
// otherwise v<IFNAME>, cut short, and a hash of the guest and the name.
func portName(inner string, g GuestInfo) string {
	if g.PID != 0 {
		if name := "v" + inner + "pl" + itoa(g.PID); len(name) <= spec.MaxLinkName {
			return name
		}
	}
	const hashLength = 7
	sum := sha256.Sum256([]byte(markOf(g, inner).String()))
	head := "v" + inner
	head = head[:min(len(head), spec.MaxLinkName-hashLength)]
	return head + hex.EncodeToString(sum[:])[:hashLength]
}

func markOf(g GuestInfo, inner string) Mark {
	return Mark{Runtime: g.Runtime, ID: g.ID, IfName: inner, Name: g.Name}
}
