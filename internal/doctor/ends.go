package doctor

import (
	"net/netip"
	"os"
	"slices"

	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/guests"
	"github.com/gopipework/gopipework/internal/ours"
	"github.com/gopipework/gopipework/internal/passage"
	"github.com/gopipework/gopipework/internal/plan"
	"github.com/gopipework/gopipework/internal/rtnl"
)

// end is one end of a way: a link in a network namespace that can be entered.
type end struct {
	of   guests.GuestInfo
	k    plan.Kernel // of its namespace, read once
	ns   *os.File
	link *rtnl.Link
}

// openGuest opens the namespace of a guest.
func openGuest(g *guests.Guest) (*end, error) {
	c, err := rtnl.Open(g.Namespace)
	if err != nil {
		return nil, fault.Explain("enter the namespace of", g.Name, err)
	}
	return &end{of: g.GuestInfo, k: ours.Freeze(c), ns: g.Namespace}, nil
}

// with returns the same guest's end at another link.
func (e end) with(l *rtnl.Link) *end {
	e.link = l
	return &e
}

func (e *end) close() { e.k.Close() }

// word is what a person calls the end: "web eth1".
func (e *end) word() string {
	name := e.of.Name
	if name == "" {
		name = e.of.Word()
	}
	if e.link == nil {
		return name
	}
	return name + " " + e.link.Name
}

// command is the line that runs a command where the end is.
func (e *end) command(words string) string { return passage.Passage{Of: e.of}.Command(words) }

// addrs returns the addresses of the link, but for link-local ones.
func (e *end) addrs() ([]rtnl.Addr, error) {
	all, err := e.k.Addrs()
	return slices.DeleteFunc(all, func(a rtnl.Addr) bool {
		return a.Index != e.link.Index || a.Prefix.Addr().IsLinkLocalUnicast()
	}), err
}

// prefixes returns the same as prefixes; an error is none.
func (e *end) prefixes() (out []netip.Prefix) {
	all, _ := e.addrs()
	for _, a := range all {
		out = append(out, a.Prefix)
	}
	return out
}

// mark returns the mark of the attachment that the end is of, which stands on the host's
// end of a pair, or on a link that has none. ok is false for what is not ours.
func (w *walker) mark() (m plan.Mark, ok bool) {
	for _, l := range []*rtnl.Link{w.port, w.near.link} {
		if l != nil && plan.IsOurs(l) {
			if m, ok := plan.ParseMark(l.Alias); ok {
				return m, true
			}
		}
	}
	return m, false
}
