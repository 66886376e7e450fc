package cni

import (
	"io"
	"net"
	"net/netip"
	"slices"

	"github.com/containernetworking/cni/pkg/types"
	types100 "github.com/containernetworking/cni/pkg/types/100"
	"github.com/gopipework/gopipework/internal/ours"
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
		all := netip.PrefixFrom(netip.IPv4Unspecified(), 0)
		if gw.Is6() {
			all = netip.PrefixFrom(netip.IPv6Unspecified(), 0)
		}
		r.Routes = append(r.Routes, &types.Route{Dst: ipNet(all), GW: gw.AsSlice()})
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

func ipNet(p netip.Prefix) net.IPNet {
	return net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

// gatewayOf returns the gateway of an address's family; nil: there is none.
func gatewayOf(gateways []netip.Addr, p netip.Prefix) net.IP {
	i := slices.IndexFunc(gateways, func(gw netip.Addr) bool { return gw.Is4() == p.Addr().Is4() })
	if i < 0 {
		return nil
	}
	return gateways[i].AsSlice()
}

// AddressesIn returns the addresses that a result has for an interface of a guest, and the
// MAC address of that. There is no such interface if the latter is "".
func AddressesIn(r *Result, ifName string) (addrs []netip.Prefix, mac string) {
	at := slices.IndexFunc(r.Interfaces, func(i *types100.Interface) bool { return i.Sandbox != "" && i.Name == ifName })
	if at < 0 {
		return nil, ""
	}
	for _, ip := range r.IPs {
		if a, ok := netip.AddrFromSlice(ip.Address.IP); ok && ip.Interface != nil && *ip.Interface == at {
			bits, _ := ip.Address.Mask.Size()
			addrs = append(addrs, netip.PrefixFrom(a.Unmap(), bits))
		}
	}
	return addrs, r.Interfaces[at].Mac
}
