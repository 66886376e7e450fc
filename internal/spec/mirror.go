package spec

import (
	"strings"

	"github.com/gopipework/gopipework/internal/fault"
)

// Mirror is an interface of another guest whose frames are copied to the new one.
type Mirror struct {
	Guest  string // the word that names the guest
	IfName string
	Way    Way
}

// Way says which frames of an interface are copied, as its guest sees them.
type Way = string

// The ways.
const (
	Both Way = "both"
	In   Way = "in"  // those that it receives
	Out  Way = "out" // those that it sends
)

// MirrorOf is the name of a difference in --mirror.
const MirrorOf = "mirror"

// Includes reports whether the frames of one way are copied.
func (m Mirror) Includes(way Way) bool { return m.Way == Both || m.Way == way }

// String returns the word that parses to m.
func (m Mirror) String() string {
	word := m.Guest + ":" + m.IfName
	if m.Way != Both {
		word += "," + m.Way
	}
	return word
}

// ParseMirror reads GUEST:IFNAME[,in|out|both].
func ParseMirror(word string) (Mirror, error) {
	const op = "read --mirror"
	source, way, _ := strings.Cut(word, ",")
	m := Mirror{Way: way}
	switch m.Way {
	case "":
		m.Way = Both
	case Both, In, Out:
	default:
		return m, fault.BadWord(op, word, "%q is none of in, out and both", way)
	}
	at := strings.LastIndex(source, ":")
	if at <= 0 {
		return m, fault.BadWord(op, word, "it names no interface of a guest").WithHint("GUEST:IFNAME, such as web:eth1")
	}
	m.Guest, m.IfName = source[:at], source[at+1:]
	if why := CheckName(m.IfName); why != "" {
		return m, fault.BadWord(op, word, "the interface: %s", why)
	}
	return m, nil
}

// parseMirrors reads the words of a line for a guest.
func parseMirrors(words []string, guest string) (all []Mirror, err error) {
	seen := map[string]bool{}
	for _, word := range words {
		m, err := ParseMirror(word)
		if err != nil {
			return nil, err
		}
		switch source := m.Guest + ":" + m.IfName; {
		case m.Guest == guest:
			return nil, fault.BadWord("read --mirror", word, "a guest is not mirrored into itself").WithHint("gopipework capture shows the packets of an interface")
		case seen[source]:
			return nil, fault.BadWord("read --mirror", word, "%s is given twice", source)
		default:
			seen[source] = true
		}
		all = append(all, m)
	}
	return all, nil
}
