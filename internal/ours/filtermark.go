package ours

import (
	"net"
	"strings"

	"github.com/gopipework/gopipework/internal/plan"
	"github.com/gopipework/gopipework/internal/rtnl"
)

// A port whose guest can send only from its own addresses is marked by an alternative name
// too, which outlives the rules: somebody may flush those of the whole host. The name also
// has the MAC address, for the guest can change that of its end.

const filterMark = plan.MarkWord + ":antispoof:"

// FilterMark returns the alternative name for a port.
func FilterMark(port string, mac net.HardwareAddr) string {
	return filterMark + port + ":" + mac.String()
}

// FilterMarkOf returns the mark of a port, and the MAC address that its guest can send from;
// "": it has none.
func FilterMarkOf(port *rtnl.Link) (mark string, mac net.HardwareAddr) {
	for _, alt := range port.AltNames {
		rest, is := strings.CutPrefix(alt, filterMark)
		if _, word, whole := strings.Cut(rest, ":"); is && whole {
			mac, _ = net.ParseMAC(word)
			return alt, mac
		}
	}
	return "", nil
}

// IsFiltered reports whether a port has that mark.
func IsFiltered(port *rtnl.Link) bool {
	mark, _ := FilterMarkOf(port)
	return mark != ""
}
