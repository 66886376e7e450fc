package attach

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/rtnl"
	"github.com/gopipework/gopipework/internal/spec"
	"golang.org/x/sys/unix"
)

// checkSame holds what is asked against an attachment that is there and
// complete: nil if it is the same. A difference is refused, saying what is
// there.
func (j *job) checkSame() error {
	all, flags := j.differences()
	if len(all) == 0 {
		return nil
	}
	var is, asked []string
	for _, d := range all {
		is = append(is, d.what+" "+d.there)
		if len(all) > 1 { // which belongs to which
			d.asked = d.what + " " + d.asked
		}
		asked = append(asked, d.asked)
	}
	e := j.refuse(fault.Conflict, "%s is there already, with %s; asked for is %s",
		j.names.inner, strings.Join(is, ", "), strings.Join(asked, ", "))
	if set := strings.Join(flags, " "); len(flags) == 2*len(all) {
		return e.WithHint("gopipework set %s %s %s, or %s", j.Spec.Guest, j.names.inner, set, j.orDetach())
	}
	return e.WithHint("%s", j.orDetach())
}

// difference is something in which an attachment that is there is not as asked.
type difference struct{ what, there, asked string }

// differences returns all that there are, and the flags of set that end them,
// where there are any.
func (j *job) differences() (all []difference, flags []string) {
	differ := func(what string, there, want any) {
		all = append(all, difference{what, fmt.Sprint(there), fmt.Sprint(want)})
	}
	inner := j.f.Inner
	j.plug.differ(j, differ)
	if j.MAC != nil && !bytes.Equal(j.MAC, inner.MAC) {
		differ("MAC address", inner.MAC, j.MAC)
	}
	if j.MTU != 0 && j.MTU != inner.MTU {
		differ("MTU", inner.MTU, j.MTU)
		flags = append(flags, "--mtu", itoa(j.MTU))
	}
	line := j.From.Kind == FromLine && j.f.Lease == nil && j.f.Client == nil
	if there := addressesOf(inner, j.f.Addrs); line && !sameSet(there, j.Addrs) {
		differ("address", orNone(there), orNone(j.Addrs))
		flags = append(flags, "--addr", Spec{Addrs: j.Addrs}.AddressWord())
	}
	for _, s := range addressSources {
		s.differ(j, differ)
	}
	j.dnsDiffers(differ)
	if there := gatewaysOf(inner.Index, j.f.Routes); line && !sameSet(there, j.Gateways) {
		differ("gateway", orNone(there), orNone(j.Gateways))
	}
	j.routesDiffer(differ)
	j.repliesDiffer(differ)
	flags = append(flags, j.shapeDiffers(differ)...)
	return all, flags
}

// addressesOf returns the addresses that somebody set on a link: not those that
// a router's advertisement brought, and not the kernel's own link-local one.
func addressesOf(l *rtnl.Link, all []rtnl.Addr) []netip.Prefix {
	out := []netip.Prefix{}
	for _, a := range all {
		if a.Index == l.Index && a.Permanent() && !autoLinkLocal(a, l.MAC) {
			out = append(out, a.Prefix)
		}
	}
	return out
}

// addressesIn returns the addresses that a link has, but for the kernel's own
// link-local one: also those with an end, from a DHCP server or a router.
func addressesIn(l *rtnl.Link, all []rtnl.Addr) []netip.Prefix {
	out := []netip.Prefix{}
	for _, a := range all {
		if a.Index == l.Index && !autoLinkLocal(a, l.MAC) {
			out = append(out, a.Prefix)
		}
	}
	return out
}

// autoLinkLocal reports whether the kernel gave the address to the link by
// itself: fe80::/64 and an identifier made from the MAC address (RFC 4291,
// appendix A: ff:fe in its middle) or from a secret (RFC 7217).
func autoLinkLocal(a rtnl.Addr, mac net.HardwareAddr) bool {
	ip := a.Prefix.Addr()
	if !ip.Is6() || !ip.IsLinkLocalUnicast() || a.Prefix.Bits() != 64 {
		return false
	}
	b := ip.As16()
	return b[11] == 0xff && b[12] == 0xfe || a.Flags&unix.IFA_F_STABLE_PRIVACY != 0 || ownID(b, mac)
}

// ownID reports whether an interface identifier is made from a MAC address that
// several links share, as ipvlans do: a number tells them apart in the middle
// (addrconf_ifid_eui48).
func ownID(b [16]byte, mac net.HardwareAddr) bool {
	return len(mac) == 6 && bytes.Equal(b[8:11], mac[:3]) && bytes.Equal(b[13:], mac[3:])
}

// gatewaysOf returns the gateways of the default routes by a link that somebody
// set: a DHCP server and a router's advertisement bring others.
func gatewaysOf(index int, all []rtnl.Route) []netip.Addr {
	return gateways(index, all, func(r rtnl.Route) bool { return r.Set || r.Protocol == Protocol })
}

// gatewaysIn returns those of all default routes by a link, whoever brought them.
func gatewaysIn(index int, all []rtnl.Route) []netip.Addr {
	return gateways(index, all, func(r rtnl.Route) bool {
		return r.Set || r.Protocol == Protocol || r.Protocol == unix.RTPROT_DHCP || r.Protocol == unix.RTPROT_RA
	})
}

func gateways(index int, all []rtnl.Route, of func(rtnl.Route) bool) []netip.Addr {
	out := []netip.Addr{}
	for _, r := range all {
		if r.Default() && r.Index == index && r.Gateway.IsValid() && of(r) {
			out = append(out, r.Gateway)
		}
	}
	return out
}

func sameSet[T comparable](a, b []T) bool {
	return len(a) == len(b) && !slices.ContainsFunc(a, func(v T) bool { return !slices.Contains(b, v) })
}

func orNone[T interface{ String() string }](list []T) string {
	if len(list) == 0 {
		return "none"
	}
	return spec.Join(list)
}
