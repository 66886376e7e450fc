package reconcile

import (
	"cmp"
	"errors"
	"slices"
	"strings"

	"github.com/gopipework/gopipework/attach"
	"github.com/gopipework/gopipework/internal/build"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/guests"
	"github.com/gopipework/gopipework/internal/ours"
	"github.com/gopipework/gopipework/internal/spec"
	"github.com/gopipework/gopipework/internal/topology"
)

// Action is what becomes of an attachment.
type Action string

// The actions.
const (
	Make    Action = "make"
	Change  Action = "change"
	Remove  Action = "remove"
	Pending Action = "pending" // its guest does not run
	Refused Action = "refused" // it cannot be made, and Err says why
)

// Wanted is what one origin asks for.
type Wanted struct {
	Origin  attach.Origin
	Entries []topology.Entry
	Guests  map[string]Guest // by the words that the entries have for them
}

// Guest is what was found for a word.
type Guest struct {
	attach.GuestInfo
	Err error // why there is none; nil: there is one
}

// Difference is what has to be done so that there is what is wanted.
type Difference struct {
	Items []Item // the removals, then the entries that differ, in their order
	Same  int    // entries that are as they should be
}

// Item is one entry, or one attachment that no entry asks for.
type Item struct {
	Action Action
	Origin attach.Origin       // that asks for it, or that does not any more
	Entry  topology.Entry      // the zero Entry: a removal
	There  []attach.Attachment // what there is of it; of a link, either end
	Bridge *attach.Bridge      // the same, of a bridge; nil: it is none, or nothing of it is there
	Beware []string            // warnings about what is going to be done to a bridge
	What   []build.Difference  // of a Change
	Reason string
	Again  bool  // a Change that detaches it and attaches it again
	Err    error // of Pending and Refused

	// Guest is what was found for the word of the entry's first guest, such as an ID: the
	// guest as on a command line. "": nothing was found.
	Guest string

	guests []uint64 // namespaces that it is in
	names  []string // of an entry: its interfaces there
	ask    bool     // what is there does not tell whether it differs
	pins   bool     // it is to be pinned once its bridge has the VXLAN that an entry gives it
	in     string   // of a Change in place: the word for the guest
	set    attach.SetSpec
}

// Ends are the attachments that an entry asks for: one, or the two of a link.
func Ends(e topology.Entry) []spec.Spec {
	switch {
	case e.Bridge != nil:
		return nil
	case e.Link != nil:
		return e.Link.Ends[:]
	}
	return []spec.Spec{*e.Attach}
}

// Words are the words for guests in the entries, each once.
func Words(entries []topology.Entry) (words []string) {
	seen := map[string]bool{}
	for _, e := range entries {
		for _, s := range Ends(e) {
			if !seen[s.Guest] {
				seen[s.Guest] = true
				words = append(words, s.Guest)
			}
		}
	}
	return words
}

// place is where an attachment is, whatever its guest is called.
type place struct {
	netns  uint64
	ifName string
}

// comparison is one run of Compare, for one origin.
type comparison struct {
	Wanted
	*shared
}

// shared is what the comparisons for several origins have in common.
type shared struct {
	there   map[place]attach.Attachment
	claimed map[place]topology.Pos
	origins []attach.Origin

	unasked map[string]bool // runtimes that could not be asked for a guest of an entry

	bridges      []attach.Bridge         // that are there
	takenBridges map[string]topology.Pos // by their names
}

// Compare holds what is wanted against what there is. It looks at nothing, and what it
// cannot know from there, Settle asks for. An interface that two entries ask for, by
// different words for one guest, is a conflict.
func Compare(w Wanted, there []attach.Attachment) (Difference, error) {
	return CompareAll([]Wanted{w}, there)
}

// CompareAll is Compare for what several origins want. What one of them does not ask for
// any more and another does is handed over.
func CompareAll(all []Wanted, there []attach.Attachment, bridges ...attach.Bridge) (Difference, error) {
	d, clash := compareAll(all, there, bridges)
	if clash != nil {
		return Difference{}, clash
	}
	return d, nil
}

// CompareEach is CompareAll where a conflict between two entries only refuses the second.
func CompareEach(all []Wanted, there []attach.Attachment, bridges ...attach.Bridge) Difference {
	d, _ := compareAll(all, there, bridges)
	return d
}

// compareAll also returns the first conflict between two entries.
func compareAll(all []Wanted, there []attach.Attachment, bridges []attach.Bridge) (d Difference, clash error) {
	both := &shared{there: map[place]attach.Attachment{}, claimed: map[place]topology.Pos{}, bridges: bridges, takenBridges: map[string]topology.Pos{}}
	for _, a := range there {
		if a.Guest.NetNS != 0 && a.State != attach.Orphan {
			both.there[place{a.Guest.NetNS, a.Interface.Name}] = a
		}
	}
	for _, w := range all {
		both.origins = append(both.origins, w.Origin)
	}
	isLabel := func(w Wanted) bool { return w.Origin == attach.OriginLabel }
	if n := slices.IndexFunc(all, isLabel); n >= 0 { // last: root may have asked for the same
		all = append(slices.DeleteFunc(slices.Clone(all), isLabel), all[n])
	}
	var items []Item
	unsure := false // a guest could not be looked for: what seems to be nobody's may be its
	both.unasked = unasked(all)
	for _, w := range all {
		c := comparison{w, both}
		for _, e := range w.Entries {
			i, err := c.entry(e)
			if err != nil {
				clash = cmp.Or(clash, err)
				i.Action, i.Err, i.Reason = Refused, err, err.Error()
			}
			unsure = unsure || i.Action == Refused && len(i.guests) == 0 && !i.OfBridge() && !certain(i.Err)
			if i.Action == "" {
				d.Same++
				continue
			}
			i.Origin = w.Origin
			items = append(items, i)
		}
	}
	for _, w := range all {
		if !unsure {
			d.Items = append(d.Items, (&comparison{w, both}).removals(there)...)
		}
		d.Items = append(d.Items, (&comparison{w, both}).bridgeRemovals()...)
	}
	d.Items = append(d.Items, items...)
	return d, clash
}

// unasked returns the runtimes that could not be asked for a guest that an entry waits for.
func unasked(all []Wanted) map[string]bool {
	runtimes := map[string]bool{}
	for _, w := range all {
		for _, g := range w.Guests {
			var u guests.Unasked
			if errors.As(g.Err, &u) {
				runtimes[u.Runtime] = true
			}
		}
	}
	return runtimes
}

// certain reports whether the error for a guest says what the guest is, such as one in the
// host's namespace, and not that nobody could tell.
func certain(err error) bool {
	code := fault.CodeOf(err)
	return code == fault.Conflict || code == fault.Usage || code == fault.Unsupported
}

// removals are the attachments of the origin that no entry asks for.
func (c *comparison) removals(there []attach.Attachment) (items []Item) {
	reason := goneFromFile
	switch {
	case c.Origin == attach.OriginKeep:
		reason = goneFromKept
	case c.Origin.IsService():
		reason = goneFromService
	case c.Origin == attach.OriginLabel:
		reason = goneFromLabels
	}
	gone := map[place]bool{}
	for _, a := range there {
		at := place{a.Guest.NetNS, a.Interface.Name}
		if _, found := c.there[at]; !found {
			continue // its guest is not to be found
		}
		if _, wanted := c.claimed[at]; wanted || gone[at] || a.Origin != c.Origin {
			continue
		}
		if c.unasked[a.Guest.Runtime] {
			continue // an entry may mean it, by a word that only the runtime knows
		}
		i := Item{Action: Remove, Origin: c.Origin, There: []attach.Attachment{a}, Reason: reason, guests: []uint64{a.Guest.NetNS}}
		if other, ok := c.otherEnd(a); ok { // it goes with this one
			if _, wanted := c.claimed[place{other.Guest.NetNS, other.Interface.Name}]; wanted {
				continue // the entry that asks for the other end makes the link again, or says why not
			}
			i.There, i.guests = append(i.There, other), append(i.guests, other.Guest.NetNS)
		}
		if c.awaited(i.There) {
			continue
		}
		if c.restarted(a) {
			i.Reason = leftBehind
		}
		for _, a := range i.There {
			gone[place{a.Guest.NetNS, a.Interface.Name}] = true
		}
		items = append(items, i)
	}
	return items
}

// Why an attachment is removed.
const (
	goneFromFile    = "gone from the file"
	goneFromKept    = "no longer kept"
	goneFromService = "the service no longer asks for it"
	leftBehind      = "left from before the guest was restarted"
	goneFromLabels  = "no label asks for it, or the policy no longer allows it"
)

// awaited reports whether an entry that waits for its guest asks for one of them: that is
// not gone from the file. The guest may well run, as a container does whose engine is down.
func (c *comparison) awaited(there []attach.Attachment) bool {
	return slices.ContainsFunc(c.Entries, func(e topology.Entry) bool {
		ends := Ends(e)
		if !slices.ContainsFunc(ends, func(s spec.Spec) bool { return c.Guests[s.Guest].Err != nil }) {
			return false
		}
		return slices.ContainsFunc(ends, func(s spec.Spec) bool {
			g, ifName := c.Guests[s.Guest], c.placeOf(s).ifName
			return slices.ContainsFunc(there, func(a attach.Attachment) bool {
				return a.Interface.Name == ifName && (g.Err == nil && g.NetNS == a.Guest.NetNS || g.Err != nil && Means(s.Guest, a.Guest))
			})
		})
	})
}

// Means reports whether a word that no guest was found for is one for the guest of an
// attachment: its name or its ID, with or without what runs it.
func Means(word string, g attach.GuestInfo) bool {
	if g.ByPath() || g.Runtime == "pid" {
		return word == g.Word()
	}
	word = strings.TrimPrefix(word, g.Runtime+":")
	const shortest = 3 // of an ID that somebody types
	return word == g.Name || len(word) >= shortest && g.ID != "" && (strings.HasPrefix(g.ID, word) || strings.HasPrefix(word, g.ID))
}

// restarted reports whether an entry asks for an attachment, whose guest has another
// namespace by now.
func (c *comparison) restarted(a attach.Attachment) bool {
	return slices.ContainsFunc(c.Entries, func(e topology.Entry) bool {
		return slices.ContainsFunc(Ends(e), func(s spec.Spec) bool {
			g := c.Guests[s.Guest]
			return g.Err == nil && g.Word() == a.Guest.Word() && c.placeOf(s).ifName == a.Interface.Name
		})
	})
}

// otherEnd returns the other attachment of a link between two guests.
func (c *comparison) otherEnd(a attach.Attachment) (attach.Attachment, bool) {
	if a.Host.Kind != string(attach.KindVeth) {
		return attach.Attachment{}, false
	}
	for _, b := range c.there {
		if Joined(a, b) {
			return b, true
		}
	}
	return attach.Attachment{}, false
}

// Joined reports whether two attachments are the ends of one link.
func Joined(a, b attach.Attachment) bool {
	points := func(from, to attach.Attachment) bool {
		return from.Host.Kind == string(attach.KindVeth) && from.Host.Name == to.Guest.Word() && from.Host.Port == to.Interface.Name
	}
	return a.Guest.NetNS != b.Guest.NetNS && points(a, b) && points(b, a)
}

// entry says what becomes of one. Its zero Action: nothing, it is as it should be.
func (c *comparison) entry(e topology.Entry) (Item, error) {
	if e.Bridge != nil {
		return c.bridge(e)
	}
	i := Item{Entry: e}
	ends := Ends(e)
	for _, s := range ends {
		g := c.Guests[s.Guest]
		switch code := fault.CodeOf(g.Err); {
		case g.Err == nil:
			continue
		case code == fault.NotFound || code == fault.Gone:
			return Item{Action: Pending, Entry: e, Err: g.Err, Reason: cause(g.Err)}, nil
		}
		return Item{Action: Refused, Entry: e, Err: g.Err, Reason: g.Err.Error()}, nil
	}
	var half, unfiltered bool
	for _, s := range ends {
		at := c.placeOf(s)
		i.guests, i.names = append(i.guests, at.netns), append(i.names, at.ifName)
		i.Guest = cmp.Or(i.Guest, c.Guests[s.Guest].Word())
		if first, taken := c.claimed[at]; taken {
			return i, fault.New(fault.Conflict, "read", e.Pos.String(), "%s of %s is asked for at %s already, under another word for the same guest", at.ifName, s.Guest, first).
				WithHint("give one of them another name with -i, or leave it out")
		}
		c.claimed[at] = e.Pos
		if a, ok := c.there[at]; ok {
			lacks := ours.OnlyFilterHalf(a)
			half, unfiltered = half || a.State == attach.Half && !lacks, unfiltered || lacks
			i.There = append(i.There, a)
		}
	}
	switch {
	case len(i.There) == 0:
		i.Action, i.Reason = Make, c.absent(ends)
	case half:
		i.Action, i.Reason = Make, "a killed run left it half made"
	default:
		c.compare(&i, ends)
	}
	if unfiltered && i.Action != Refused && len(i.What) == 0 {
		i.Action, i.ask, i.Reason = Make, false, "the rules of --antispoof are gone"
	}
	if i.Action == Refused && c.Origin == attach.OriginLabel { // it holds back nobody who gives it up
		for _, s := range ends {
			delete(c.claimed, c.placeOf(s))
		}
	}
	return i, nil
}

// cause is why a guest is not found, without the words for what was done.
func cause(err error) string {
	if f := (*fault.Error)(nil); errors.As(err, &f) && f.Err != nil {
		return f.Err.Error()
	}
	return err.Error()
}

// placeOf is where an entry's interface is to be. The name of one that has none in the
// entry depends on its kind, which may have to be looked up.
func (c *comparison) placeOf(s spec.Spec) place {
	at := place{c.Guests[s.Guest].NetNS, s.IfName}
	if at.ifName != "" {
		return at
	}
	const infiniband = "ib0"
	a, ok := c.there[place{at.netns, infiniband}]
	if s.HostIF.Kind == attach.KindIPoIB || ok && s.HostIF.Kind == attach.KindAny && a.Host.Kind == string(attach.KindIPoIB) && a.Host.Name == s.HostIF.Name {
		at.ifName = infiniband
	} else {
		at.ifName = spec.UsualIfName
	}
	return at
}

// absent says why there is nothing of an entry.
func (c *comparison) absent(ends []spec.Spec) string {
	for _, a := range c.there {
		for _, s := range ends {
			g := c.Guests[s.Guest]
			if a.Origin == c.Origin && a.Guest.NetNS != g.NetNS && a.Guest.Word() == g.Word() && a.Interface.Name == c.placeOf(s).ifName {
				return "the guest was restarted"
			}
		}
	}
	return "it is not there"
}

// compare holds an entry against what is there of it.
func (c *comparison) compare(i *Item, ends []spec.Spec) {
	for _, a := range i.There {
		if c.Origin != attach.OriginLabel && slices.Contains(c.origins, a.Origin) {
			continue // who has it may have no use for it now, and otherwise the two clash
		}
		if a.Origin != c.Origin && !c.Origin.Takes(a.Origin) {
			i.Action, i.Err = Refused, fault.New(fault.Conflict, "attach", a.Guest.Name, "%s exists already, and belongs to %s", a.Interface.Name, a.Origin).
				WithHint("gopipework detach %s %s", a.Guest.Word(), a.Interface.Name)
			i.Reason = i.Err.Error()
			return
		}
	}
	if i.Entry.Link != nil && (len(i.There) < 2 || !Joined(i.There[0], i.There[1])) {
		i.Action, i.Again = Change, true
		i.What = []build.Difference{{What: "link", There: "to another guest", Asked: ends[0].Guest + " and " + ends[1].Guest}}
		return
	}
	for n, s := range ends {
		what, ask := differ(s, i.There[n])
		if n == 1 && len(what) > 0 && len(i.What) > 0 {
			i.Again = true // both ends: there is no one change
		}
		if len(what) > 0 && !i.Again {
			i.inPlace(s, i.There[n], what)
		}
		i.pins = i.pins || c.getsVXLAN(i.There[n])
		i.What, i.ask = append(i.What, what...), i.ask || ask || i.pins
	}
	foreign := func(a attach.Attachment) bool { return a.Origin != c.Origin }
	if n := slices.IndexFunc(i.There, foreign); n >= 0 { // one end alone, if a run was killed
		i.What = append(i.What, build.Difference{What: originWord, There: string(i.There[n].Origin), Asked: string(c.Origin)})
	}
	if len(i.What) > 0 || i.ask {
		i.Action = Change
	}
	if slices.ContainsFunc(i.There, func(a attach.Attachment) bool { return foreign(a) && !c.Origin.Takes(a.Origin) }) {
		i.Again, i.ask, i.set = true, false, attach.SetSpec{}
	}
}

// Pulled reports whether the item changes an attachment whose cable somebody has pulled. Watch
// lets it be until the cable is plugged in: no line says anything about that.
func (i Item) Pulled() bool {
	return i.Action == Change && slices.ContainsFunc(i.There, func(a attach.Attachment) bool { return a.Interface.Pulled })
}

// inPlace decides how to end the difference: by a set or, if a set cannot change all of it,
// by attaching again.
func (i *Item) inPlace(s spec.Spec, a attach.Attachment, what []build.Difference) {
	i.in, i.set, i.Again = s.Guest, attach.SetSpec{}, false
	set, ok := setFor(s, a, what)
	if i.Again = !ok; ok {
		i.set = set
	}
}

// Count returns how many items there are of an action.
func (d Difference) Count(action Action) (n int) {
	for _, i := range d.Items {
		if i.Action == action {
			n++
		}
	}
	return n
}

// Disturbs reports whether something that is there goes, if only for a moment.
func (d Difference) Disturbs() bool {
	return slices.ContainsFunc(d.Items, func(i Item) bool { return i.Action == Remove || i.Action == Change && i.Again || i.cutsOff() })
}
