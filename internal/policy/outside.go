package policy

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/gopipework/gopipework/bridge"
	"github.com/gopipework/gopipework/internal/hostaddr"
	"github.com/gopipework/gopipework/internal/spec"
)

// outside returns what of a request the entry does not allow; "": it allows all of it.
func (e Entry) outside(r Request) string {
	for _, ask := range []func(Request) string{e.to, e.flags, e.mac, e.addresses, e.source, e.vlan, e.gateways, e.routes} {
		if why := ask(r); why != "" {
			return why
		}
	}
	return ""
}

// to holds the host interface against the list. The words are compared, kind and all:
// phys:eth0 is not eth0, and a name that only leads to an interface of the list, such as an
// alternative one, is not in it.
func (e Entry) to(r Request) string {
	if word := r.Spec.HostIF.String(); !slices.Contains(e.To, word) {
		return fmt.Sprintf("the host interface %s is not %s", Quote(word), oneOf(e.To))
	}
	return ""
}

func (e Entry) flags(r Request) string {
	for _, f := range r.Flags {
		switch why, refused := never()[f]; {
		case refused:
			return fmt.Sprintf("%s: %s", dashed(f), why)
		case slices.Contains(free, f):
		case !slices.Contains(grantable, f), !slices.Contains(e.Options, f):
			return fmt.Sprintf("the option %s is not in its options (%s)", dashed(f), optionList(e.Options))
		}
	}
	if r.Spec.Mode == "passthru" {
		return "--mode passthru takes the whole card"
	}
	return ""
}

func (e Entry) mac(r Request) string {
	if r.Spec.MAC != nil && !slices.Contains(e.Options, optionMAC) {
		return fmt.Sprintf("the MAC address %s: %s is not in its options (%s)", r.Spec.MAC, optionMAC, optionList(e.Options))
	}
	return ""
}

// addresses holds the addresses against the prefixes. One with a wider mask reaches further
// than its prefix does, so it is outside.
func (e Entry) addresses(r Request) string {
	if r.Spec.From.Kind != spec.FromLine {
		return ""
	}
	if len(r.Spec.Addrs) == 0 && !slices.Contains(e.Words, wordNone) {
		return fmt.Sprintf("an interface without an address: %s is not in its addresses", wordNone)
	}
	for _, a := range r.Spec.Addrs {
		in := e.prefixOf(a.Addr())
		switch {
		case !in.IsValid():
			return fmt.Sprintf("the address %s is in none of %s", a, e.allAddresses())
		case a.Bits() < in.Bits():
			return fmt.Sprintf("the address %s has a wider mask than %s", a, in)
		}
		if why := hostaddr.NotHost(in, a.Addr()); why != "" {
			return fmt.Sprintf("the address %s is %s in %s", a, why, in)
		}
	}
	return ""
}

// prefixOf returns the widest prefix of the entry that an address is in.
func (e Entry) prefixOf(a netip.Addr) (in netip.Prefix) {
	for _, p := range e.Addresses {
		if p.Contains(a) && (!in.IsValid() || p.Bits() < in.Bits()) {
			in = p
		}
	}
	return in
}

func (e Entry) allAddresses() string {
	var all []string
	for _, p := range e.Addresses {
		all = append(all, p.String())
	}
	return oneOf(append(all, e.Words...))
}

// source judges what stands in place of an address.
func (e Entry) source(r Request) string {
	from := r.Spec.From
	if from.Kind == spec.FromLine {
		return ""
	}
	if from.Kind == spec.FromClient {
		return fmt.Sprintf("%s is a program of the host, with options that could harm it; dhcp needs none", Quote(from.Ask.Client))
	}
	if word := string(from.Kind); !slices.Contains(e.Words, word) {
		return fmt.Sprintf("%s is not in its addresses (%s)", word, e.allAddresses())
	}
	rest := from.DHCP
	rest.NoDefaultRoute = false
	if said := rest.String(); said != "" {
		return fmt.Sprintf("%s with options: of %s, only default-route=no is allowed", from.Kind, Quote(said))
	}
	return ""
}

// vlan judges the word after @. A guest that leaves it out is in whatever VLAN the bridge
// puts its ports, so an entry with VLANs has to allow that too.
func (e Entry) vlan(r Request) string {
	word := r.Spec.VLAN
	if word == "" {
		if len(e.VLANs) > 0 && !e.NoVLAN {
			return fmt.Sprintf("no VLAN: it has to be in %s", e.allVLANs())
		}
		return ""
	}
	v, err := bridge.ParseVLAN(word)
	if err != nil { // a partition key of IPoIB, in hex
		return fmt.Sprintf("the VLAN %s is not a number or range", Quote(word))
	}
	asked := v.Tagged
	if v.PVID != 0 {
		asked = append([]bridge.TagRange{{First: v.PVID, Last: v.PVID}}, asked...)
	}
	for _, a := range asked {
		in := func(o bridge.TagRange) bool { return o.First <= a.First && a.Last <= o.Last }
		if !slices.ContainsFunc(e.VLANs, in) {
			return fmt.Sprintf("the VLAN %s is not in its vlans (%s)", tagWord(a), e.allVLANs())
		}
	}
	return ""
}

func (e Entry) allVLANs() string {
	var all []string
	for _, r := range e.VLANs {
		all = append(all, tagWord(r))
	}
	if e.NoVLAN {
		all = append(all, wordNone)
	}
	return optionList(all)
}

func tagWord(r bridge.TagRange) string {
	if r.First == r.Last {
		return strconv.Itoa(r.First)
	}
	return fmt.Sprintf("%d-%d", r.First, r.Last)
}

// gateways judges what could replace the guest's default route.
func (e Entry) gateways(r Request) string {
	s := r.Spec
	if e.Gateways {
		for _, gw := range s.Gateways {
			if !e.reaches(gw) {
				return fmt.Sprintf("the gateway %s is in none of %s", gw, e.allAddresses())
			}
		}
		return ""
	}
	switch {
	case len(s.Gateways) > 0:
		return fmt.Sprintf("the gateway %s: gateways is not true", s.Gateways[0])
	case s.From.Kind == spec.FromDHCP && !s.From.DHCP.NoDefaultRoute && !s.Keep:
		return "a lease can replace the default route, and gateways is not true; dhcp:default-route=no or --default keep leaves the guest's own in place"
	case s.From.HearsRouters():
		return fmt.Sprintf("routers that answer %s can replace the default route, and gateways is not true", s.From.Kind)
	}
	return ""
}

// reaches reports whether a gateway is in the entry's networks, or means the same on every
// link.
func (e Entry) reaches(gw netip.Addr) bool { return e.prefixOf(gw).IsValid() || !spec.Routable(gw) }

// routes judges the routes beside the default one. Two of them can do what it does.
func (e Entry) routes(r Request) string {
	for _, route := range r.Spec.Routes {
		in := e.prefixOf(route.Dst.Addr())
		switch {
		case route.Via.IsValid() && !e.reaches(route.Via):
			return fmt.Sprintf("the gateway %s of a route is in none of %s", route.Via, e.allAddresses())
		case e.Gateways:
		case !in.IsValid() || route.Dst.Bits() < in.Bits():
			return fmt.Sprintf("the route to %s leads out of %s, and gateways is not true", route.Dst, e.allAddresses())
		}
	}
	return ""
}

// oneOf lists what there is to choose from.
func oneOf(words []string) string {
	const most = 8
	if len(words) > most {
		words = append(slices.Clone(words[:most]), "...")
	}
	return optionList(words)
}

func dashed(flag string) string {
	return strings.Repeat("-", min(2, len(flag))) + flag
}
