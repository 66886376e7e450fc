package ours

import (
	"strings"

	"github.com/gopipework/gopipework/internal/plan"
	"github.com/gopipework/gopipework/internal/rtnl"
	"github.com/gopipework/gopipework/internal/spec"
)

// A bridge that an origin asks for, with an address or an uplink, is marked by an
// alternative name, and so is the uplink: either may be somebody else's, whose group and
// alias are not ours to change. The kernel keeps such names for as long as the link is
// there. An address is marked by the number of its protocol, [Protocol].

const (
	bridgeMark = plan.MarkWord + ":bridge:"
	uplinkMark = plan.MarkWord + ":uplink:"
)

// BridgeMark marks a bridge that an origin asks for. No name of a link has a colon.
type BridgeMark struct {
	Bridge string // its name when it was marked
	Origin spec.Origin
}

// String returns the mark as an alternative name.
func (m BridgeMark) String() string { return bridgeMark + m.Bridge + ":" + string(m.Origin) }

// BridgeMarkOf returns the mark of a Linux bridge.
func BridgeMarkOf(l *rtnl.Link) (m BridgeMark, ok bool) {
	for _, alt := range l.AltNames {
		rest, is := strings.CutPrefix(alt, bridgeMark)
		name, origin, whole := strings.Cut(rest, ":")
		if is && whole {
			return BridgeMark{name, spec.Origin(origin)}, true
		}
	}
	return BridgeMark{}, false
}

// Wanted reports whether an origin asks for a bridge, which stays then even if nothing is
// attached to it.
func Wanted(l *rtnl.Link) bool {
	_, marked := BridgeMarkOf(l)
	return marked
}

// UplinkMark marks an interface of the host that was made a port of a bridge.
type UplinkMark struct {
	Bridge string
	WasUp  bool // before; otherwise it is set down when it is returned
	Origin spec.Origin
}

const (
	wasUp   = "up"
	wasDown = "down"
)

// Was is the word for WasUp.
func (m UplinkMark) Was() string {
	if m.WasUp {
		return wasUp
	}
	return wasDown
}

// String returns the mark as an alternative name.
func (m UplinkMark) String() string {
	return uplinkMark + m.Bridge + ":" + m.Was() + ":" + string(m.Origin)
}

// UplinkMarkOf returns the mark of an uplink of a Linux bridge.
func UplinkMarkOf(l *rtnl.Link) (UplinkMark, bool) {
	for _, alt := range l.AltNames {
		rest, is := strings.CutPrefix(alt, uplinkMark)
		if f := strings.SplitN(rest, ":", 3); is && len(f) == 3 && (f[1] == wasUp || f[1] == wasDown) {
			return UplinkMark{Bridge: f[0], WasUp: f[1] == wasUp, Origin: spec.Origin(f[2])}, true
		}
	}
	return UplinkMark{}, false
}
