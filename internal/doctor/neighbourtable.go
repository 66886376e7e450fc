package doctor

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/gopipework/gopipework/internal/finding"
	"github.com/gopipework/gopipework/internal/shell"
	"github.com/gopipework/gopipework/internal/witness"
)

// wrongNeighbour finds that one of the two ends sends what is for the other to a MAC address
// that the other does not have, and the hop that this belongs to.
func (w *walker) wrongNeighbour(f *far, a answer) (*finding.Finding, int) {
	if !isEthernet(w.near.link) || !w.onLink(a.to) {
		return nil, 0
	}
	theirs := []net.HardwareAddr{f.station}
	for _, h := range a.holders { // one that answers for another is right, too
		theirs = append(theirs, h.MAC)
	}
	if f.end != nil {
		theirs = append(theirs, f.end.stations()...)
	}
	if found := w.near.wrongAbout(a.to, theirs); found != nil {
		return found, w.hopOf("route")
	}
	if f.end == nil || f.link == nil || !isEthernet(f.link) {
		return nil, 0
	}
	return f.end.wrongAbout(a.from, append(w.near.stations(), w.answering(f, a)...)), f.hop
}

// stations returns the MAC addresses where an end is: Linux answers for an address by any of
// them.
func (e *end) stations() (all []net.HardwareAddr) {
	links, _ := e.k.Links()
	for _, l := range links {
		all = append(all, l.MAC)
	}
	return all
}

// answering returns the MAC addresses of those who answer at a far end for the guest's address.
func (w *walker) answering(f *far, a answer) (all []net.HardwareAddr) {
	if !a.from.Is4() {
		return nil
	}
	who, _ := witness.Ask(w.ctx, witness.Question{From: f.end.point(), MAC: f.link.MAC, Addr: a.from, Patience: askPatience, Grace: doublesGrace})
	for _, h := range who {
		all = append(all, h.MAC)
	}
	return all
}

// wrongAbout is the finding about the entry that an end has for a neighbour, if it is none of
// the MAC addresses that the neighbour has; nil: it is, or there is no entry, or nobody knows
// better.
func (e *end) wrongAbout(addr netip.Addr, theirs []net.HardwareAddr) *finding.Finding {
	has, err := e.k.Neighbour(e.link.Index, addr)
	theirs = slices.DeleteFunc(theirs, func(m net.HardwareAddr) bool { return len(m) == 0 })
	if err != nil || len(has) == 0 || len(theirs) == 0 || slices.ContainsFunc(theirs, func(m net.HardwareAddr) bool { return bytes.Equal(m, has) }) {
		return nil
	}
	f := finding.NeighbourWrong.Surely("%s takes %s for the MAC address of %s, which has %s", e.word(), has, addr, theirs[0]).
		MendedBy(e.command(fmt.Sprintf("ip neighbour del %s dev %s", addr, shell.Quote(e.link.Name))))
	return &f
}
