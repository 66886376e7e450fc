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

// FilteredPort returns the name that a port had when it got its mark; "": it is no mark.
func FilteredPort(mark string) string {
	rest, _ := strings.CutPrefix(mark, filterMark)
	port, _, _ := strings.Cut(rest, ":")
	return port
}

// OnlyFilterHalf reports whether an attachment is complete, but for its source filter.
func OnlyFilterHalf(a Attachment) bool {
	return a.State == Half && a.Host.Antispoof && a.Origin != ""
}
