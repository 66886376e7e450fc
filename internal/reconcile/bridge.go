package reconcile

import (
	"cmp"
	"context"
	"net/netip"
	"slices"
	"strconv"

	"github.com/gopipework/gopipework/attach"
	"github.com/gopipework/gopipework/internal/build"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/spec"
	"github.com/gopipework/gopipework/internal/topology"
)

// What the host has on bridges: addresses of its own, and an uplink.

// bridgeWord begins the line of such an entry.
const bridgeWord = "bridge"

// bridgeEntry returns what a file says about a bridge as an entry.
func bridgeEntry(b topology.Bridge) topology.Entry {
	s := attach.BridgeSpec{Name: b.Name, Addrs: b.Address, MTU: b.MTU, Uplink: b.Uplink, Force: b.Force, VLANFiltering: b.VLANFiltering}
	words := []string{bridgeWord, b.Name}
	if len(s.Addrs) > 0 {
		words = append(words, address, spec.Join(s.Addrs))
	}
	if s.Uplink != "" {
		words = append(words, spec.Uplink, s.Uplink)
	}
	if s.MTU != 0 {
		words = append(words, "mtu", strconv.Itoa(s.MTU))
	}
	for _, f := range []struct {
		word string
		said bool
	}{{"force", s.Force}, {"vlan-filtering", s.VLANFiltering}} {
		if f.said {
			words = append(words, f.word)
		}
	}
	return topology.Entry{Pos: b.Pos, Words: words, Bridge: &s}
}

// OfBridge reports whether the item is about what the host has on a bridge.
func (i Item) OfBridge() bool { return i.Entry.Bridge != nil || i.Bridge != nil }

// BridgeName is the name of the bridge that the item is about; "": it is about none.
func (i Item) BridgeName() string {
	switch {
	case i.Entry.Bridge != nil:
		return i.Entry.Bridge.Name
	case i.Bridge != nil:
		return i.Bridge.Name
	}
	return ""
}

// bridgeThere returns the bridge of a name that an origin asks for already; nil: none does.
func (c *comparison) bridgeThere(name string) *attach.Bridge {
	n := slices.IndexFunc(c.bridges, func(b attach.Bridge) bool { return b.Name == name })
	if n < 0 {
		return nil
	}
	return &c.bridges[n]
}

// bridge says what becomes of an entry about a bridge.
func (c *comparison) bridge(e topology.Entry) (Item, error) {
	s := e.Bridge
	if first, taken := c.takenBridges[s.Name]; taken {
		return Item{Entry: e}, fault.New(fault.Conflict, "read", e.Pos.String(), "what the host has on bridge %s is asked for at %s already", s.Name, first).
			WithHint("leave out its address and uplink in one of them")
	}
	c.takenBridges[s.Name] = e.Pos
	i := Item{Entry: e, Bridge: c.bridgeThere(s.Name)}
	switch b := i.Bridge; {
	case b == nil:
		i.Action, i.Reason = Make, "it is not there"
	case b.Origin != c.Origin && !slices.Contains(c.origins, b.Origin):
		i.Action, i.Err = Refused, fault.New(fault.Conflict, "set up bridge", s.Name, "it belongs to %s", b.Origin).
			WithHint("leave out its address and uplink, or take them out there")
		i.Reason = i.Err.Error()
	case b.Origin != c.Origin: // the removal comes first
		i.Action, i.Reason, i.Bridge = Make, "it belonged to "+string(b.Origin), nil
	case b.Kind == "":
		i.Action, i.Reason = Make, "somebody has deleted it"
	default:
		i.Action, i.ask, i.What = Change, true, bridgeDiffers(*s, *b)
	}
	return i, nil
}

// bridgeDiffers tells how a bridge is not as asked, from what a list tells about it. An
// address that somebody else set stays.
func bridgeDiffers(s attach.BridgeSpec, b attach.Bridge) (what []build.Difference) {
	add := func(name, there, asked string) {
		what = append(what, build.Difference{What: name, There: spec.OrNone(there), Asked: spec.OrNone(asked)})
	}
	missing := slices.ContainsFunc(s.Addrs, func(p netip.Prefix) bool { return !slices.Contains(b.Addresses, p) })
	extra := slices.ContainsFunc(b.Own, func(p netip.Prefix) bool { return !slices.Contains(s.Addrs, p) })
	if missing || extra {
		there := slices.DeleteFunc(slices.Clone(b.Addresses), func(p netip.Prefix) bool { return !slices.Contains(s.Addrs, p) && !slices.Contains(b.Own, p) })
		add(address, spec.Join(there), spec.Join(s.Addrs))
	}
	if s.MTU != 0 && b.Made && b.Kind == attach.KindBridge && s.MTU != b.MTU {
		add(mtu, strconv.Itoa(b.MTU), strconv.Itoa(s.MTU))
	}
	if b.Uplink != "" && b.Uplink != s.Uplink {
		add(spec.Uplink, b.Uplink, s.Uplink)
	}
	return what
}

// bridgeRemovals are the bridges of the origin that no entry asks for.
func (c *comparison) bridgeRemovals() (items []Item) {
	for _, b := range c.bridges {
		if pos, taken := c.takenBridges[b.Name]; b.Origin != c.Origin || taken && c.asks(b.Name, pos) {
			continue
		}
		reason := goneFromFile
		if c.Origin == attach.OriginKeep {
			reason = goneFromKept
		}
		items = append(items, Item{Action: Remove, Origin: c.Origin, Bridge: &b, Reason: reason})
	}
	return items
}

// getsVXLAN reports whether an entry gives the bridge of an attachment a VXLAN, and the
// attachment is to be pinned then.
func (c *comparison) getsVXLAN(a attach.Attachment) bool {
	return a.Host.Kind == string(attach.KindBridge) && a.Host.VLAN == "" && a.Host.Uplink == "" &&
		slices.ContainsFunc(c.Entries, func(e topology.Entry) bool {
			return e.Bridge != nil && e.Bridge.Name == a.Host.Name && spec.IsVXLAN(e.Bridge.Uplink)
		})
}

// asks reports whether it is this origin that asks for a bridge at the place.
func (c *comparison) asks(name string, pos topology.Pos) bool {
	return slices.ContainsFunc(c.Entries, func(e topology.Entry) bool { return e.Bridge != nil && e.Bridge.Name == name && e.Pos == pos })
}

// settleBridge asks what would be done about a bridge, and whether it can be.
func (h Host) settleBridge(ctx context.Context, i *Item) {
	r, err := h.bridge(ctx, *i)
	i.Beware = r.Warnings
	switch {
	case err != nil && ctx.Err() == nil:
		i.Action, i.Err, i.Reason = Refused, err, err.Error()
	case len(i.What) > 0 || err != nil || i.Action == Make:
	case !r.Changed:
		i.Action = "" // it is as asked
	case i.Bridge.Uplink == "" && i.Entry.Bridge.Uplink != "":
		i.What = append(i.What, build.Difference{What: spec.Uplink, There: spec.None, Asked: i.Entry.Bridge.Uplink})
	default:
		i.Reason = "something of it is missing: " + r.Steps[0]
	}
}

// cutsOff reports whether what is about to be done to a bridge can cut off the host: an
// uplink goes, or is taken by force.
func (i Item) cutsOff() bool {
	switch {
	case !i.OfBridge() || i.Action != Make && i.Action != Change:
		return false
	case i.Entry.Bridge.Force && len(i.Beware) > 0:
		return true
	}
	return slices.ContainsFunc(i.What, func(d build.Difference) bool { return d.What == spec.Uplink && d.There != spec.None })
}

// bridge makes a bridge as its entry asks, or removes what the host has on it.
func (h Host) bridge(ctx context.Context, i Item) (attach.Result, error) {
	h.Options.Origin = cmp.Or(i.Origin, h.Options.Origin)
	if i.Action == Remove {
		return attach.RemoveBridge(ctx, i.Bridge.Name, h.Options)
	}
	return attach.EnsureBridge(ctx, *i.Entry.Bridge, h.Options)
}

// BridgeBack is what the host had on a bridge.
type BridgeBack struct {
	Name string             `json:"name"`
	Was  *attach.BridgeSpec `json:"was,omitempty"` // nil: nothing that was set for the origin
}

// bridgeBack returns what there was before the item; nil: it changes nothing.
func (i Item) bridgeBack() *BridgeBack {
	switch b := i.Bridge; {
	case i.Action != Make && i.Action != Change && i.Action != Remove:
		return nil
	case b == nil || b.Kind == "":
		return &BridgeBack{Name: i.BridgeName()}
	default:
		was := attach.BridgeSpec{Name: b.Name, Addrs: b.Own, Uplink: b.Uplink, Force: true}
		if b.Made && b.Kind == attach.KindBridge {
			was.MTU = b.MTU
		}
		was.VLANFiltering = i.Entry.Bridge != nil && i.Entry.Bridge.VLANFiltering
		return &BridgeBack{b.Name, &was}
	}
}

// bridgeAgain sets up a bridge as it was.
func (h Host) bridgeAgain(ctx context.Context, b Back) (err error) {
	h.Options.Origin = b.Origin
	if b.Bridge.Was == nil {
		_, err = attach.RemoveBridge(ctx, b.Bridge.Name, h.Options)
	} else {
		_, err = attach.EnsureBridge(ctx, *b.Bridge.Was, h.Options)
	}
	return err
}
