package hostbridge

import (
	"cmp"
	"net/netip"
	"slices"

	"github.com/gopipework/gopipework/bridge"
	"github.com/gopipework/gopipework/internal/build"
	"github.com/gopipework/gopipework/internal/ours"
	"github.com/gopipework/gopipework/internal/plan"
	"github.com/gopipework/gopipework/internal/spec"
)

// Bridge is a bridge of the host that an origin asks for, as the command's JSON output has
// it.
type Bridge struct {
	Name      string         `json:"name"`
	Kind      spec.Kind      `json:"kind"` // "bridge" or "ovs"; "": somebody deleted it, and its uplink is still marked
	Origin    spec.Origin    `json:"origin"`
	Made      bool           `json:"made"`             // by gopipework, which deletes it when nothing uses it any more
	MTU       int            `json:"mtu"`              // bytes
	Addresses []netip.Prefix `json:"addresses"`        // the host's on it, whoever set them
	Uplink    string         `json:"uplink,omitempty"` // that was made a port of it for the origin: an interface, or the word for a VXLAN; "": none

	Own []netip.Prefix `json:"-"` // those of the addresses that were set for the origin
}

// List returns the bridges of a host that origins ask for, by name.
func List(f Facts) []Bridge {
	found := map[string]*Bridge{}
	at := func(name string, o spec.Origin) *Bridge {
		if found[name] == nil {
			found[name] = &Bridge{Name: name, Origin: o, Addresses: []netip.Prefix{}}
		}
		return found[name]
	}
	describe := func(b *Bridge, k spec.Kind, made bool) {
		b.Kind, b.Made = k, made
		l := f.named(b.Name)
		if l == nil {
			return
		}
		b.MTU = l.MTU
		for _, a := range f.addrsOf(l) {
			b.Addresses = append(b.Addresses, a.Prefix)
			if a.Proto == ours.Protocol {
				b.Own = append(b.Own, a.Prefix)
			}
		}
	}
	for _, l := range f.Links {
		if m, ok := ours.BridgeMarkOf(l); ok && l.Kind == "bridge" {
			describe(at(l.Name, m.Origin), spec.KindBridge, plan.IsOurs(l))
		}
	}
	for _, br := range f.OVS.Bridges {
		if br.Origin != "" {
			describe(at(br.Name, spec.Origin(br.Origin)), spec.KindOVS, br.Ours)
		}
	}
	for _, l := range f.Links {
		if m, ok := ours.UplinkMarkOf(l); ok {
			at(f.current(m.Bridge), m.Origin).Uplink = cmp.Or(build.Uplink{Link: l, Flood: f.Peers[l.Index]}.VXLAN().String(), l.Name)
		}
	}
	for _, p := range ovsUplinks(f.OVS, "") {
		at(p.Bridge, spec.Origin(p.IDs[originKey])).Uplink = p.Name
	}
	var all []Bridge
	for _, b := range found {
		all = append(all, *b)
	}
	slices.SortFunc(all, func(a, b Bridge) int { return cmp.Compare(a.Name, b.Name) })
	return all
}

// current returns the name that a bridge has now that was marked under another.
func (f Facts) current(marked string) string {
	for _, l := range f.Links {
		if m, ok := ours.BridgeMarkOf(l); ok && m.Bridge == marked {
			return l.Name
		}
	}
	return marked
}

// The external_ids of an uplink that is a port of an Open vSwitch bridge.
const (
	originKey = "gopipework.origin"
	wasKey    = "gopipework.was"
)

// uplinkWord is the mark of such a port.
const uplinkWord = plan.MarkWord + " uplink"

// ovsUplinks returns the uplinks of ours of an Open vSwitch bridge; for "", of all.
func ovsUplinks(o bridge.OVS, of string) (ports []bridge.OVSPort) {
	for _, p := range o.OurPorts() {
		if p.Mark == uplinkWord && (of == "" || p.Bridge == of) {
			ports = append(ports, p)
		}
	}
	return ports
}
