package reconcile

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/gopipework/gopipework/attach"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/shell"
	"github.com/gopipework/gopipework/internal/spec"
	"github.com/gopipework/gopipework/internal/topology"
)

// Back is how an item is undone. It is all words, so that another process can do it
// later, when the guests may have been restarted.
type Back struct {
	Origin attach.Origin `json:"origin"`          // of the item
	Ends   []End         `json:"ends"`            // the interfaces that it makes, or makes again
	Lines  []Line        `json:"lines,omitempty"` // what it detaches
	Set    *Setting      `json:"set,omitempty"`   // what it changes in place, as that was
	Bridge *BridgeBack   `json:"bridge,omitempty"`
	Done   bool          `json:"done"` // it was carried out; false: perhaps
}

// End is an interface of a guest.
type End struct {
	Guest  string `json:"guest"`
	NetNS  uint64 `json:"netns"` // of the guest, when the item was carried out
	IfName string `json:"interface"`
}

// Line is an attachment, or a link, that was there.
type Line struct {
	Words  []string      `json:"words"`
	Link   bool          `json:"link,omitempty"`
	Origin attach.Origin `json:"origin"`
	Ends   []End         `json:"ends"`
}

// Setting is what set is told to set something as it was.
type Setting struct {
	End
	Words attach.SetWords `json:"words"`
}

// Writer writes the words of a line for an attachment as it is listed, or of a link for
// its two ends.
type Writer func(ends ...attach.Attachment) ([]string, error)

// Back returns how the item is undone; false: it changes nothing. lost is what cannot
// be restored, a sentence each.
func (i Item) Back(write Writer) (b Back, lost []string, does bool) {
	b.Origin = i.Origin
	if i.OfBridge() {
		b.Bridge = i.bridgeBack()
		return b, nil, b.Bridge != nil
	}
	for n := range i.names {
		b.Ends = append(b.Ends, End{Ends(i.Entry)[n].Guest, i.guests[n], i.names[n]})
	}
	switch {
	case i.Action == Make:
		return b, nil, true
	case i.Action == Change && !i.Again && i.set.IfName == "":
		for _, a := range i.There {
			if a.Origin != i.Origin {
				lost = append(lost, fmt.Sprintf("%s belongs to %s from now on", named(a), i.Origin))
			}
		}
		return b, lost, false
	case i.Action == Change && !i.Again:
		b.Set, b.Ends = i.setting(), nil
		return b, nil, b.Set != nil
	case i.Action != Remove && i.Action != Change:
		return b, nil, false
	}
	for n := 0; n < len(i.There); n++ {
		ends := i.There[n : n+1]
		if n+1 < len(i.There) && Joined(i.There[n], i.There[n+1]) {
			ends = i.There[n : n+2]
			n++
		}
		l := Line{Link: ends[0].Host.Kind == string(attach.KindVeth), Origin: ends[0].Origin}
		for _, a := range ends {
			l.Ends = append(l.Ends, End{a.Guest.Word(), a.Guest.NetNS, a.Interface.Name})
			if _, rest := Asked(a); len(rest) > 0 {
				lost = append(lost, fmt.Sprintf("the %s of %s", strings.Join(rest, ", "), named(a)))
			}
		}
		var err error
		if l.Words, err = write(ends...); err != nil {
			lost = append(lost, fmt.Sprintf("%s: %v", named(ends[0]), err))
			continue
		}
		b.Lines = append(b.Lines, l)
	}
	return b, lost, true
}

// setting returns what sets back what a change in place sets.
func (i Item) setting() *Setting {
	n := slices.IndexFunc(Ends(i.Entry), func(s spec.Spec) bool { return s.Guest == i.in })
	if n < 0 || n >= len(i.There) {
		return nil
	}
	a := i.There[n]
	return &Setting{End{i.in, a.Guest.NetNS, i.set.IfName}, SetBack(i.set, a)}
}

// SetBack returns the words that undo set; a is the attachment before the change.
func SetBack(set attach.SetSpec, a attach.Attachment) attach.SetWords {
	w := attach.SetWords{IfName: set.IfName, NoDAD: set.NoDAD, VLANFiltering: set.VLANFiltering, NoFirewall: set.NoFirewall}
	if set.HasAddrs {
		w.Address = nobody
		if len(a.Interface.Addresses) > 0 {
			w.Address = spec.Join(a.Interface.Addresses)
		}
	}
	if set.MTU != 0 {
		w.MTU = strconv.Itoa(a.Interface.MTU)
	}
	if set.VLAN != "" {
		w.VLAN = spec.OrNone(a.Host.VLAN)
	}
	if set.HasRoutes {
		w.Routes = []string{spec.None}
		if len(a.Interface.Routes) > 0 {
			w.Routes = spec.RouteWords(a.Interface.Routes)
		}
	}
	if set.HasDNS {
		w.DNS = spec.OrNone(a.Interface.DNS)
	}
	if set.SourceRouting != nil {
		w.SourceRouting = spec.OnOff(a.Interface.SourceRouting)
	}
	// It ends with the last address of IPv4, and other addresses alone do not bring it back.
	if on := slices.Contains(a.More, spec.HostAccess); set.HostAccess != nil || set.HasAddrs && on {
		w.HostAccess = spec.OnOff(on)
	}
	if set.Isolated != nil {
		w.Isolated = spec.OnOff(a.Host.Isolated)
	}
	if set.Antispoof != nil {
		w.Antispoof = spec.OnOff(a.Host.Antispoof)
	}
	if set.Carrier != nil {
		w.Carrier = spec.OnOff(!a.Interface.Pulled)
	}
	if set.Moves() && a.Host.Name != "" {
		w.To = attach.HostIF{Kind: attach.Kind(a.Host.Kind), Name: a.Host.Name}.String()
		w.ToUplink = a.Host.Uplink // which goes with the last guest of the bridge
	}
	was := spec.Shaping{}
	if a.Shaping != nil {
		was = *a.Shaping
	}
	fields := spec.ShapeFields(was)
	for n, f := range []struct {
		said bool
		word *string
	}{
		{set.Shape.RateIn != nil, &w.Shape.RateIn}, {set.Shape.RateOut != nil, &w.Shape.RateOut},
		{set.Shape.Loss != nil, &w.Shape.Loss}, {set.Shape.Delay != nil, &w.Shape.Delay}, {set.Shape.Jitter != nil, &w.Shape.Jitter},
	} {
		if f.said {
			*f.word = spec.OrNone(fields[n].Word)
		}
	}
	return w
}

// nobody is the word for no address at all.
const nobody = "0/0"

// setBack sets back what a change in place has set, after err has put an end to the rest of
// it. It returns err, with what became of that.
func (h Host) setBack(ctx context.Context, i Item, err error) error {
	s := i.setting()
	if s == nil {
		return err
	}
	h.Options.Step = nil
	back := i
	var serr error
	if back.set, serr = attach.ParseSet(i.in, s.Words); serr == nil {
		_, serr = h.setInPlace(context.WithoutCancel(ctx), back)
	}
	if serr != nil {
		return undone(err, "what was set stays set: "+serr.Error(), i.set.IfName+" of "+i.in)
	}
	return undone(err, "what was set is set back")
}

// Undo undoes items: it sets up bridges as they were, detaches what the items made, sets
// back what they changed, and attaches again what they detached, in this order. What has
// already been restored stays. lost is what could not be restored, a sentence each.
func (h Host) Undo(ctx context.Context, g topology.Grammar, all []Back) (lost []string) {
	failed := func(what string, err error) {
		if err != nil {
			lost = append(lost, what+": "+err.Error())
		}
	}
	// The uplink of a bridge first: the host may be cut off by it, and guests may have to be
	// waited for.
	for _, b := range slices.Backward(all) {
		if b.Bridge != nil {
			failed("set up bridge "+b.Bridge.Name+" as it was", h.bridgeAgain(ctx, b))
		}
	}
	for _, b := range slices.Backward(all) {
		for _, e := range b.Ends {
			failed("detach "+e.String(), h.takeOff(ctx, g, b, e))
		}
	}
	for _, b := range slices.Backward(all) {
		if b.Set != nil {
			failed("set "+b.Set.End.String(), h.setAgain(ctx, *b.Set))
		}
	}
	for _, b := range all {
		for _, l := range b.Lines {
			failed("attach "+shell.Line(l.Words), h.attachAgain(ctx, g, l))
		}
	}
	return lost
}

// String returns the end as "IFNAME of GUEST".
func (e End) String() string { return e.IfName + " of " + e.Guest }

// find returns the guest of an end, and the attachment there, if there is one. A number of a
// process can be another's by now.
func (h Host) find(ctx context.Context, e End) (*attach.Guest, *attach.Attachment, error) {
	g, err := h.Find(ctx, e.Guest)
	if err != nil {
		return nil, nil, err
	}
	if g.Runtime == "pid" && g.NetNS != e.NetNS {
		g.Close()
		return nil, nil, fault.New(fault.Gone, "enter", e.Guest, "its network namespace is not there any more")
	}
	r, err := attach.List(ctx, g, attach.Options{HostNS: h.Options.HostNS})
	if err != nil {
		g.Close()
		return nil, nil, err
	}
	for n := range r.Attachments {
		if a := &r.Attachments[n]; a.Guest.NetNS == g.NetNS && a.Interface.Name == e.IfName {
			return g, a, nil
		}
	}
	return g, nil, nil
}

// takeOff detaches what an item has made, if it is there: with its guest, it has gone.
func (h Host) takeOff(ctx context.Context, g topology.Grammar, b Back, e End) error {
	guest, there, err := h.find(ctx, e)
	if code := fault.CodeOf(err); code == fault.NotFound || code == fault.Gone {
		return nil
	}
	if err != nil {
		return err
	}
	defer guest.Close()
	if there == nil || there.Origin != b.Origin && there.State == attach.Complete || !b.Done && b.asBefore(g, e, *there) {
		return nil
	}
	_, err = attach.Detach(ctx, attach.Selection{IfName: e.IfName}, guest, h.Options)
	return err
}

// asBefore reports whether what is there is what was there before the item.
func (b Back) asBefore(g topology.Grammar, e End, there attach.Attachment) bool {
	return slices.ContainsFunc(b.Lines, func(l Line) bool {
		specs, err := l.specs(g)
		for n, s := range specs {
			if err == nil && l.Ends[n].IfName == e.IfName && l.Ends[n].NetNS == there.Guest.NetNS && l.Origin == there.Origin {
				what, _ := differ(s, there)
				return len(what) == 0
			}
		}
		return false
	})
}

// specs reads a line.
func (l Line) specs(g topology.Grammar) ([]attach.Spec, error) {
	if l.Link {
		s, err := g.Link(l.Words)
		return s.Ends[:], err
	}
	s, err := g.Attach(l.Words)
	return []attach.Spec{s}, err
}

// setAgain sets what was changed in place.
func (h Host) setAgain(ctx context.Context, s Setting) error {
	set, err := attach.ParseSet(s.Guest, s.Words)
	if err != nil {
		return err
	}
	guest, there, err := h.find(ctx, s.End)
	if err != nil {
		return err
	}
	defer guest.Close()
	if there == nil {
		return fault.New(fault.NotFound, "set", s.End.String(), "there is no such attachment")
	}
	h.Options.Origin = there.Origin
	_, err = attach.Set(ctx, set, guest, h.Options)
	return err
}

// attachAgain attaches what was detached, unless it is there.
func (h Host) attachAgain(ctx context.Context, g topology.Grammar, l Line) error {
	specs, err := l.specs(g)
	if err != nil {
		return err
	}
	h.Options.Origin = l.Origin
	var guests []*attach.Guest
	defer func() { closeAll(guests) }()
	for _, e := range l.Ends {
		guest, _, err := h.find(ctx, e)
		if err != nil {
			return err
		}
		guests = append(guests, guest)
	}
	if l.Link {
		_, err = attach.Link(ctx, attach.LinkSpec{Ends: [2]attach.Spec(specs)}, guests[0], guests[1], h.Options)
	} else {
		_, err = attach.Attach(ctx, specs[0], guests[0], h.Options)
	}
	return err
}
