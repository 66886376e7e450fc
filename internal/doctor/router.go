package doctor

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/gopipework/gopipework/internal/finding"
	"github.com/gopipework/gopipework/internal/passage"
	"github.com/gopipework/gopipework/internal/rtnl"
	"github.com/gopipework/gopipework/internal/shell"
	"golang.org/x/sys/unix"
)

// notRouted finds why packets between the two ends do not pass the host, which is the router
// between them, and the hop where they end; nil: it is not, or it passes them.
func (w *walker) notRouted(f *far, a answer) (*finding.Finding, int) {
	if w.leap != toBridge && w.leap != toHost || w.onLink(a.to) || f.ns == w.hostNS {
		return nil, 0
	}
	if gw := w.gatewayTo(a.to); gw.IsValid() && w.hostInterfaceWith(gw) == nil {
		if w.whoHas(gw).link != nil || len(w.answering(w.near, gw)) > 0 || !gw.Is4() {
			return nil, 0 // another one is the router
		}
		found := finding.GatewaySilent.Surely("nobody answers for the gateway %s of %s", gw, w.near.of.Name)
		return &found, w.hopOf("route")
	}
	in, out := w.on, w.hostSideOf(a.to)
	if w.leap == toHost {
		in = w.port
	}
	found := w.notForwarded(a, in, out)
	if found == nil {
		found = w.hostDrops(in, a.from, a.to)
	}
	if found == nil && out != nil {
		found = w.hostDrops(out, a.to, a.from)
	}
	return found, w.hopOf("firewall", "port")
}

// direct reports whether the guest sends what is for a far end straight to it, and not to a
// gateway.
func (w *walker) direct(f *far) bool {
	return slices.ContainsFunc(f.addrs, func(to netip.Addr) bool {
		way, err := w.near.k.Way(rtnl.Lookup{From: w.source(to), To: to, Out: w.near.inVRF()})
		return err == nil && way.Index == w.near.link.Index && !way.Gateway.IsValid()
	})
}

// beyondGateway reports whether a probe was sent to a gateway other than the host, and was
// lost behind it. out is the furthest place that it was seen at, and back the nearest that its
// answer was; last is that of the far end.
func (w *walker) beyondGateway(a answer, out, back, last int) bool {
	gw := w.gatewayTo(a.to)
	if w.onLink(a.to) || out < 0 || !gw.IsValid() || w.hostInterfaceWith(gw) != nil {
		return false
	}
	if gw.Is4() && len(w.answering(w.near, gw)) == 0 {
		return false
	}
	return out < last || 0 < back && back <= last
}

// gatewayWord is the gateway to an address, with the guest that has it.
func (w *walker) gatewayWord(to netip.Addr) string {
	gw := w.gatewayTo(to)
	if f := w.whoHas(gw); f.link != nil {
		return fmt.Sprintf("%s (%s)", gw, f.name)
	}
	return gw.String()
}

// notForwarded finds that the host forwards no packets of one of the two links.
func (w *walker) notForwarded(a answer, links ...*rtnl.Link) *finding.Finding {
	family, general := "ipv4", "ipv4/ip_forward"
	if a.to.Is6() {
		family, general = "ipv6", "ipv6/conf/all/forwarding"
	}
	paths := []string{general}
	for _, l := range links {
		if l != nil && family == "ipv4" { // IPv6 has one for all that counts
			paths = append(paths, "ipv4/conf/"+l.Name+"/forwarding")
		}
	}
	values, err := w.host.k.Sysctls(paths...)
	for _, path := range paths {
		if err == nil && values[path] == "0" {
			found := finding.ForwardingOff.Surely("the host routes no packets from %s to %s, as net/%s is 0", a.from, a.to, path).
				MendedBy("sysctl -w " + shell.Quote("net/"+path+"=1"))
			return &found
		}
	}
	return nil
}

// hostDrops asks the host what it does with a packet that comes in by a link.
func (w *walker) hostDrops(in *rtnl.Link, from, to netip.Addr) *finding.Finding {
	_, err := w.host.k.Way(rtnl.Lookup{From: from, To: to, In: in.Index})
	if err == nil || !passage.NoWay(err) {
		return nil
	}
	var found finding.Finding
	switch {
	case errors.Is(err, unix.EXDEV), errors.Is(err, unix.EINVAL) && w.filtersPath(in, from):
		found = finding.ReversePath.Surely("the host drops packets from %s that come in by %s, because its way back is another (net.ipv4.conf.*.rp_filter)", from, in.Name)
	case errors.Is(err, unix.EACCES):
		found = finding.NoRoute.Surely("a route or rule of the host prohibits packets from %s to %s", from, to)
	case errors.Is(err, unix.EINVAL):
		found = finding.NoRoute.Surely("the host drops packets from %s to %s: by a route or rule of the type blackhole, or because it takes %s for a wrong source", from, to, from)
	default:
		found = finding.NoRoute.Surely("the host has no route for packets from %s to %s", from, to)
	}
	found = found.SeenBy(fmt.Sprintf("ip route get %s from %s iif %s: %v", to, from, shell.Quote(in.Name), err))
	return &found
}

// anySource is no address in particular, of the family of another one.
func anySource(to netip.Addr) netip.Addr {
	if to.Is6() {
		return netip.IPv6Unspecified()
	}
	return netip.IPv4Unspecified()
}

// filtersPath reports whether the host takes packets from an address by one link only, and by
// another one than this (ip-sysctl.rst of the kernel, rp_filter).
func (w *walker) filtersPath(in *rtnl.Link, from netip.Addr) bool {
	all, own := "ipv4/conf/all/rp_filter", "ipv4/conf/"+in.Name+"/rp_filter"
	values, err := w.host.k.Sysctls(all, own)
	by := w.hostSideOf(from)
	return err == nil && from.Is4() && max(values[all], values[own]) == "1" && (by == nil || by.Index != in.Index)
}

// hostSideOf returns the link of the host that an address is behind without a router, or nil.
func (w *walker) hostSideOf(addr netip.Addr) *rtnl.Link {
	way, err := w.host.k.Way(rtnl.Lookup{From: anySource(addr), To: addr})
	if err != nil || way.Local || way.Gateway.IsValid() {
		return nil
	}
	l, _ := w.host.k.LinkByIndex(way.Index)
	return l
}
