package ours

import (
	"strings"

	"github.com/gopipework/gopipework/internal/plan"
	"github.com/gopipework/gopipework/internal/rtnl"
)

// The cable of a guest's interface is a pair of links. It is pulled by setting the other end
// down, which is marked by an alternative name: the pair may be somebody else's, whose alias
// is not ours to change.

const cableMark = plan.MarkWord + ":cable:"

// CableMark returns the mark of an end of a pair, by its name, as an alternative name.
func CableMark(end string) string { return cableMark + end }

// CableMarkOf returns the mark of an end of a pair; "": it has none.
func CableMarkOf(end *rtnl.Link) string {
	for _, alt := range end.AltNames {
		if strings.HasPrefix(alt, cableMark) {
			return alt
		}
	}
	return ""
}

// Pulled reports whether the cable is pulled at this end. If somebody has set the end up
// since, it is not.
func Pulled(end *rtnl.Link) bool { return end != nil && !end.Up && CableMarkOf(end) != "" }
