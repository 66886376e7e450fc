package doctor

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/gopipework/gopipework/internal/finding"
	"github.com/gopipework/gopipework/internal/rtnl"
	"github.com/gopipework/gopipework/internal/shell"
	"github.com/gopipework/gopipework/internal/witness"
)

// wrongNeighbour finds that frames between the two ends go to a MAC address that is not the
// next one's, and the hop where they do: at either end, or at the host if it is the router
// between them.
func (w *walker) wrongNeighbour(f *far, a answer) (*finding.Finding, int) {
	if w.onLink(a.to) {
		if found := w.wrongEntry(w.near, a.to, f.station); found != nil || f.end == nil || f.link == nil {
			return found, w.hopOf("route")
		}
		return w.wrongEntry(f.end, a.from, w.near.link.MAC), f.hop
	}
	if found := w.wrongGateway(a.to); found != nil || f.end == nil || f.link == nil {
		return found, w.hopOf("route")
	}
	if found := w.from(f).wrongGateway(a.from); found != nil {
		return found, f.hop
	}
	found := w.wrongAtHost(a.from, w.near.link.MAC)
	if found == nil {
		found = w.wrongAtHost(a.to, f.station)
	}
	return found, w.hopOf("firewall", "bridge", "port")
}

// wrongAtHost is wrongEntry about the host's own entry for an address.
func (w *walker) wrongAtHost(addr netip.Addr, station net.HardwareAddr) *finding.Finding {
	by := w.hostSideOf(addr)
	if by == nil {
		return nil
	}
	return w.wrongEntry(w.host.with(by), addr, station)
}

// wrongGateway is wrongEntry about the guest's gateway to an address.
func (w *walker) wrongGateway(to netip.Addr) *finding.Finding {
	gw := w.gatewayTo(to)
	if !gw.IsValid() {
		return nil
	}
	return w.wrongEntry(w.near, gw, w.whoHas(gw).station)
}

// wrongEntry is the finding about the neighbour entry that an end has for an address, if that
// is neither the MAC address of the station that has it, nor of one that answers for it, nor the
// one that a routing daemon has entered; nil: there is no such entry, or nobody is known to have
// the address.
func (w *walker) wrongEntry(e *end, addr netip.Addr, station net.HardwareAddr) *finding.Finding {
	if !isEthernet(e.link) {
		return nil
	}
	entry, err := e.k.Neighbour(e.link.Index, addr)
	if err != nil || len(entry) == 0 || bytes.Equal(entry, station) {
		return nil
	}
	right := w.answering(e, addr)
	if len(station) > 0 {
		right = append([]net.HardwareAddr{station}, right...)
	}
	if len(right) == 0 && e == w.near && w.vxlan != nil { // those of other hosts
		told, _ := w.host.k.ToldNeighbours(w.on.Index)
		if i := slices.IndexFunc(told, func(n rtnl.FixedNeighbour) bool { return n.Addr == addr && len(n.MAC) > 0 }); i >= 0 {
			right = append(right, told[i].MAC)
		}
	}
	if len(right) == 0 || slices.ContainsFunc(right, func(m net.HardwareAddr) bool { return bytes.Equal(m, entry) }) {
		return nil
	}
	f := finding.NeighbourWrong.Surely("%s takes %s for the MAC address of %s, which has %s", e.word(), entry, addr, right[0]).
		MendedBy(e.command(fmt.Sprintf("ip neighbour del %s dev %s", addr, shell.Quote(e.link.Name))))
	return &f
}

// answering returns the MAC addresses of those who answer for an address on the link of an end:
// several, where one host has several links there.
func (w *walker) answering(e *end, addr netip.Addr) (all []net.HardwareAddr) {
	if !addr.Is4() {
		return nil
	}
	who, _ := witness.Ask(w.ctx, witness.Question{From: e.point(), MAC: e.link.MAC, Addr: addr, Patience: askPatience, Grace: doublesGrace})
	for _, h := range who {
		all = append(all, h.MAC)
	}
	return all
}
