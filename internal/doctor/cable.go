package doctor

import (
	"github.com/gopipework/gopipework/internal/finding"
	"github.com/gopipework/gopipework/internal/ours"
	"github.com/gopipework/gopipework/internal/plan"
	"github.com/gopipework/gopipework/internal/shell"
)

// cablePulled finds a cable that set --carrier off has pulled, at this end of a link between
// two guests or at the other end of a pair. That was intended, so nothing but the command
// that plugs it in ends it.
func (w *walker) cablePulled(e *end) []finding.Finding {
	mend := func(guest, ifName string) string {
		return "gopipework set " + shell.Line([]string{guest, ifName}) + " --carrier on"
	}
	l, other := e.link, w.port
	if w.leap == toGuest {
		other, _ = e.k.LinkIn(l.PeerNS, l.Peer)
	}
	switch {
	case ours.Pulled(other):
		return []finding.Finding{finding.PeerDown.Surely("the cable of %s of %s is pulled: set --carrier off has set %s, its other end, down", l.Name, e.of.Name, other.Name).
			MendedBy(mend(e.of.Word(), l.Name))}
	case ours.Pulled(l) && other != nil:
		f := finding.InterfaceDown.Surely("%s of %s is down: set --carrier off has pulled the cable of %s, its other end", l.Name, e.of.Name, other.Name)
		if m, ok := plan.ParseMark(other.Alias); ok {
			f = f.MendedBy(mend(m.Guest().Word(), other.Name))
		}
		return []finding.Finding{f}
	}
	return nil
}
