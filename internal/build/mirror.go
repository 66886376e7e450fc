package build

import (
	"github.com/gopipework/gopipework/bridge"
	"github.com/gopipework/gopipework/internal/rtnl"
	"github.com/gopipework/gopipework/internal/spec"
)

// Mirrors are what copies frames from port to port on the host; the zero Mirrors: it was not
// looked at.
type Mirrors struct {
	Links  []*rtnl.Link // the host's
	All    []Mirror     // ours
	Qdiscs []rtnl.Qdisc // of those links that filter what comes in or goes out
}

// Mirror copies the frames of one direction.
type Mirror struct {
	From, To string // ports; "" for one that has gone
	Way      spec.Way

	Filter rtnl.Mirror       // that does it, unless OVS
	OVS    *bridge.OVSMirror // that does it, perhaps with those of the other direction; nil: Filter does
}

// Filtering returns the kind of qdisc for what comes in or goes out by a link; "": none.
func (m Mirrors) Filtering(index int) string {
	for _, q := range m.Qdiscs {
		if q.Index == index {
			return q.Kind
		}
	}
	return ""
}
