package cni

import (
	"io"
	"net"
	"net/netip"
	"slices"

	"github.com/containernetworking/cni/pkg/types"
	types100 "github.com/containernetworking/cni/pkg/types/100"
	"github.com/gopipework/gopipework/internal/ours"
	"github.com/gopipework/gopipework/internal/spec"
)

// Result is what the caller is told of a success.
type Result = types100.Result

// Write answers the caller with r, in the version that it speaks.
func (c Config) Write(w io.Writer, r *Result) error {
	if !c.DNS.IsEmpty() {
		r.DNS = c.DNS
	}
	r.CNIVersion = types100.ImplementedSpecVersion
	spoken, err := r.GetAsVersion(c.CNIVersion)
	if err != nil {
		return err
	}
	return spoken.PrintTo(w)
}

// AddTo adds what was attached to what the plugin before this one has answered; nil: there
// is none. The guest's network namespace is at the path.
func AddTo(r *Result, a ours.Attachment, path string) *Result {
	if r == nil {
		r = &Result{}
	}
	if a.Host.Port != "" {
		r.Interfaces = append(r.Interfaces, &types100.Interface{Name: a.Host.Port})
	}
	in := a.Interface
	r.Interfaces = append(r.Interfaces, &types100.Interface{Name: in.Name, Mac: in.MAC, Mtu: in.MTU, Sandbox: path})
	at := len(r.Interfaces) - 1
	for _, p := range in.Addresses {
		r.IPs = append(r.IPs, &types100.IPConfig{Interface: &at, Address: ipNet(p), Gateway: gatewayOf(in.Gateway, p)})
	}
	for _, gw := range in.Gateway {
		r.Routes = append(r.Routes, &types.Route{Dst: ipNet(spec.DefaultRoute(gw.Is6())), GW: gw.AsSlice()})
	}
	for _, route := range in.Routes {
		t := &types.Route{Dst: ipNet(route.Dst), Priority: route.Metric}
		if route.Via.IsValid() {
			t.GW = route.Via.AsSlice()
		}
		if route.Table != 0 {
			t.Table = &route.Table
		}
		r.Routes = append(r.Routes, t)
	}
	return r
}

// Credit adds to r what only the plugin that gave out the addresses knows of them: gateways
// that no default route goes by, and name servers. given nil: there is no such plugin.
func Credit(r, given *Result) *Result {
	if given == nil {
		return r
	}
	for _, ip := range r.IPs {
		i := slices.IndexFunc(given.IPs, func(g *types100.IPConfig) bool { return prefixOf(g.Address) == prefixOf(ip.Address) })
		if i >= 0 && ip.Gateway == nil {
			ip.Gateway = given.IPs[i].Gateway
		}
	}
	if !given.DNS.IsEmpty() {
		r.DNS = given.DNS
	}
	return r
}

// Lacks returns what an earlier result has for an interface of a guest that there has not;
// "": nothing.
func Lacks(there, earlier *Result, ifName string) string {
	at := interfaceOf(earlier, ifName)
	if at < 0 {
		return ""
	}
	if was, is := earlier.Interfaces[at].Mac, there.Interfaces[interfaceOf(there, ifName)].Mac; was != "" && was != is {
		return "the MAC address " + was
	}
	var nets, others []netip.Prefix
	for _, ip := range earlier.IPs {
		p := prefixOf(ip.Address)
		if ip.Interface == nil || *ip.Interface != at {
			others = append(others, p)
			continue
		}
		nets = append(nets, p)
		if !slices.ContainsFunc(there.IPs, func(t *types100.IPConfig) bool { return prefixOf(t.Address) == p }) {
			return "the address " + p.String()
		}
	}
	for _, r := range earlier.Routes {
		gw := addrOf(r.GW)
		reaches := func(p netip.Prefix) bool { return gw.IsValid() && p.Contains(gw) }
		its := slices.ContainsFunc(nets, reaches) && !slices.ContainsFunc(others, reaches) // a result does not say whose it is
		same := func(t *types.Route) bool { return prefixOf(t.Dst) == prefixOf(r.Dst) && addrOf(t.GW) == gw }
		if its && !slices.ContainsFunc(there.Routes, same) {
			return "the route to " + prefixOf(r.Dst).String()
		}
	}
	return ""
}

// Beside returns the names of the interfaces that a result has in the guest beside the one that
// the caller asks for; r nil: none.
func Beside(r *Result, ifName string) (names []string) {
	if r == nil {
		return nil
	}
	for _, i := range r.Interfaces {
		if i.Sandbox != "" && i.Name != ifName && !slices.Contains(names, i.Name) {
			names = append(names, i.Name)
		}
	}
	return names
}

// interfaceOf returns the place of a guest's interface in a result; -1: it has none.
func interfaceOf(r *Result, ifName string) int {
	return slices.IndexFunc(r.Interfaces, func(i *types100.Interface) bool { return i.Sandbox != "" && i.Name == ifName })
}

// gatewayOf returns the gateway of an address's family; nil: there is none.
func gatewayOf(gateways []netip.Addr, p netip.Prefix) net.IP {
	i := slices.IndexFunc(gateways, func(gw netip.Addr) bool { return gw.Is4() == p.Addr().Is4() })
	if i < 0 {
		return nil
	}
	return gateways[i].AsSlice()
}

func ipNet(p netip.Prefix) net.IPNet {
	return net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

func prefixOf(n net.IPNet) netip.Prefix {
	bits, _ := n.Mask.Size()
	return netip.PrefixFrom(addrOf(n.IP), bits)
}

// addrOf returns the zero Addr for nil.
func addrOf(ip net.IP) netip.Addr {
	a, _ := netip.AddrFromSlice(ip)
	return a.Unmap()
}
