package kind

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"strings"

	"github.com/gopipework/gopipework/bridge"
	"github.com/gopipework/gopipework/internal/build"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/guestnet"
	"github.com/gopipework/gopipework/internal/hostaccess"
	"github.com/gopipework/gopipework/internal/ours"
	"github.com/gopipework/gopipework/internal/plan"
	"github.com/gopipework/gopipework/internal/rtnl"
	"github.com/gopipework/gopipework/internal/source"
	"github.com/gopipework/gopipework/internal/spec"
)

// A Kind is all that is known of one kind of host interface. Each has a file of its
// own and a place in the registry. What is inside the guest, addresses and routes, is
// the same for all kinds.
type Kind interface {
	// features are what holds for every link of the kind.
	features() build.Traits
	// claims reports whether a HOSTIF that does not say its kind is of this one.
	claims(name string, f build.Facts) bool

	// Look reads what the kind must know of this machine.
	Look(context.Context, *build.Observer, *plan.Machine, spec.Spec, *build.Facts)
	// settle refuses what the kind cannot do, and decides what the words have
	// left open: the mode, the VLAN.
	settle(*build.Job, *build.Draft) error
	// RefuseConflicts refuses what would collide with something on the host.
	RefuseConflicts(*build.Job) error
	// Join plans the guest's link, from nothing or from what a killed run has
	// left, up to the moment when it can have addresses.
	Join(*build.Job, *build.Draft)
	// fits reports whether a parked pair's port is what is asked for.
	fits(spec.Spec, build.Facts) bool
	// Repair plans what may have to be mended on the host for an attachment that
	// is complete.
	Repair(*build.Job, *build.Draft)
	// TakeOver plans for an attachment that is complete to get another origin: mark
	// changes the mark on the link.
	TakeOver(j *build.Job, d *build.Draft, mark plan.ChangeMark)
	// Differ tells how what is there differs from what is asked for.
	Differ(*build.Job, build.Differ)

	// mac is the address that the guest's link has unless another is asked for; not ok:
	// a random one.
	mac(*build.Job) (mac net.HardwareAddr, ok bool)
	// prober plans how --verify joins what the guest has joined, or says why nothing
	// can be proven there.
	prober(*build.Job) (prober, string)
	// Detached plans for what stood on the host for attachments that go.
	Detached(build.Departure, *build.Removal)
	// GC plans for what of the kind nobody uses.
	GC(build.GCFacts, *build.Removal)
	// port returns the name of the host interface whose port a link of ours is, if the
	// link itself says so; "" otherwise.
	port(*rtnl.Link) string
	// SetVLAN plans another VLAN for an attachment that is there; the zero VLAN: none.
	SetVLAN(build.Change, *build.Draft, bridge.VLAN) error
	// SetIsolated plans for the port of an attachment that is there to be isolated, or not.
	SetIsolated(build.Change, *build.Draft, bool) error
	// SetAntispoof plans what the guest of an attachment that is there can send from.
	// readdress plans for its addresses to be changed, if they are.
	SetAntispoof(c build.Change, d *build.Draft, readdress func() error) error
}

// Registry has every kind. HOSTIF is of the first kind that claims it.
var Registry = []Kind{openVSwitch, linux, dummy, phys, ipoib, macvlan, macvtap, ipvlan, vlan, hostEnd, wireGuard}

// plain is a kind that has nothing of its own to do.
type plain struct{ build.Traits }

func (t plain) features() build.Traits                                                      { return t.Traits }
func (plain) Look(context.Context, *build.Observer, *plan.Machine, spec.Spec, *build.Facts) {}
func (plain) claims(string, build.Facts) bool                                               { return false }
func (plain) RefuseConflicts(*build.Job) error                                              { return nil }
func (plain) fits(spec.Spec, build.Facts) bool                                              { return false }
func (plain) port(*rtnl.Link) string                                                        { return "" }
func (plain) Detached(build.Departure, *build.Removal)                                      {}
func (plain) GC(build.GCFacts, *build.Removal)                                              {}
func (plain) Repair(*build.Job, *build.Draft)                                               {}
func (plain) TakeOver(_ *build.Job, d *build.Draft, mark plan.ChangeMark)                   { d.Add(mark) }
func (plain) mac(*build.Job) (net.HardwareAddr, bool)                                       { return nil, false }

func (t plain) prober(*build.Job) (prober, string) {
	return nil, fmt.Sprintf("with the kind %s the other end is beyond the card, and cannot be tried from this host", t.Word)
}

func (t plain) SetVLAN(c build.Change, _ *build.Draft, _ bridge.VLAN) error {
	return c.Refuse(fault.Usage, "the VLAN of a %s cannot be changed", t.Word).WithHint("detach it, and attach it again")
}

func (t plain) SetIsolated(c build.Change, _ *build.Draft, _ bool) error {
	return c.Refuse(fault.Usage, "%s", notIsolated(t.Word)).WithHint("leave --isolated out")
}

func (t plain) SetAntispoof(c build.Change, _ *build.Draft, readdress func() error) error {
	if c.Antispoof != nil {
		return c.Refuse(fault.Usage, "%s", notFiltered(t.Word)).WithHint("leave --antispoof out")
	}
	return readdress()
}

// KindOf returns the kind of a word; nil for KindAny.
func KindOf(word spec.Kind) Kind {
	if word == spec.KindVeth {
		return GuestPair
	}
	for _, k := range Registry {
		if k.features().Word == word {
			return k
		}
	}
	return nil
}

// Words returns the words of all kinds.
func Words() (words []spec.Kind) {
	for _, k := range Registry {
		words = append(words, k.features().Word)
	}
	return words
}

// OfPort returns the kind whose port a link of the host is, as the link itself says,
// and the name of the host interface; "": the link does not say it.
func OfPort(l *rtnl.Link) (word spec.Kind, name string) {
	for _, k := range Registry {
		if name := k.port(l); name != "" {
			return k.features().Word, name
		}
	}
	return "", ""
}

// TraitsOf returns the traits of the kind of that word, or of links that "ip -d link"
// calls so; none if there is no such kind.
func TraitsOf(word spec.Kind) build.Traits {
	if k := KindOf(word); k != nil {
		return k.features()
	}
	return build.Traits{}
}

// SettleKind says what HOSTIF is, or can become.
func SettleKind(h spec.HostIF, f build.Facts) spec.Kind {
	if h.Kind != spec.KindAny {
		return h.Kind
	}
	for _, k := range Registry {
		if k.claims(h.Name, f) {
			return k.features().Word
		}
	}
	return spec.KindAny
}

// Find reads what tells which kind a HOSTIF is: whether it may be a network card that is
// lent, or an Open vSwitch bridge.
func Find(ctx context.Context, o *build.Observer, m *plan.Machine, h spec.HostIF, f *build.Facts) {
	f.Card.Radio = radio(o, f.Base)
	if mayBeCard(h, *f) {
		lookAtCard(o, m, h, f)
	}
	if mayBeOVS(h, *f) {
		f.OVS = o.OVS(ctx, o.Host)
		o.Look("the host's namespace", func() (err error) { f.HostID, err = HostID(o.Host); return err })
	}
}

// toMake reports whether HOSTIF is the name of something that is to be made, and
// begins like that.
func toMake(prefix, name string, f build.Facts) bool {
	return f.Base == nil && strings.HasPrefix(name, prefix)
}

// Settle finds the kind, and lets it settle the rest.
func Settle(j *build.Job, d *build.Draft) error {
	j.Kind = SettleKind(j.HostIF, j.There)
	if j.Kind == spec.KindAny {
		return noSuchInterface(j)
	}
	k := KindOf(j.Kind)
	j.Traits = k.features()
	idle(j, d)
	if err := checkMade(j); err != nil {
		return err
	}
	if err := k.settle(j, d); err != nil {
		return err
	}
	j.Inherited, j.Inherits = k.mac(j)
	if j.HostAddr.IsValid() && !j.Traits.HostAddr {
		return j.Refuse(fault.Usage, "--host-addr is for a host's end of its own, and this is of the kind %s", j.Kind).WithHint("leave --host-addr out")
	}
	if j.HostAccess {
		if err := hostaccess.CheckKind(j); err != nil {
			return err
		}
	}
	if j.Isolated && !j.Traits.Isolates {
		return j.Refuse(fault.Usage, "%s", notIsolated(j.Kind)).WithHint("leave --isolated out")
	}
	if err := settleUplink(j); err != nil {
		return err
	}
	if err := checkAntispoof(j); err != nil {
		return err
	}
	if err := checkVerify(j); err != nil {
		return err
	}
	if err := checkMirrors(j); err != nil {
		return err
	}
	return guestnet.CheckACD(j)
}

// checkMade refuses to make something under a name that no interface can have. The words
// alone do not tell: what is there can have a longer, alternative name, or be named by
// its MAC address. Without a kind before it, such a word can only mean what is there.
func checkMade(j *build.Job) error {
	if !j.Traits.Makes || j.There.Base != nil {
		return nil
	}
	switch why := spec.CheckName(j.HostIF.Name); {
	case why != "" && j.HostIF.Kind == spec.KindAny:
		return noSuchInterface(j)
	case why != "":
		return j.Refuse(fault.Usage, "there is no such interface on this host, and none can be made with that name: %s", why).
			WithHint("choose another name: %s:NAME", j.Kind)
	}
	return nil
}

// sourceName is what gives the guest its addresses, for an error.
func sourceName(s spec.Source) string { return cmp.Or(s.Ask.Client, string(s.Kind)) }

// idle warns of words that have no meaning for the kind.
func idle(j *build.Job, d *build.Draft) {
	for _, w := range []struct {
		flag  string
		given bool
	}{
		{"-l", j.HostName != "" && !j.Traits.Pair},
		{"--force-phys", j.ForcePhys && !j.Traits.Lent},
		{"--vlan-filtering", j.VLANFiltering && !j.Traits.Filters},
	} {
		if w.given {
			d.Warn("%s has no effect on the kind %s", w.flag, j.Kind)
		}
	}
}

func noSuchInterface(j *build.Job) error {
	if mac, ok := strings.CutPrefix(j.HostIF.Name, spec.MACWord); ok {
		return j.Refuse(fault.NotFound, "there is no network card with the address %s on this host", mac).WithHint("ip link")
	}
	if loan := j.There.Card.Loan; loan != nil && !j.There.Card.Gone {
		return isLent(j, loan)
	}
	if len(j.HostIF.Name) > spec.MaxLinkName {
		return j.Refuse(fault.NotFound, "there is no interface with the alternative name %s on this host", j.HostIF.Name).
			WithHint("the kernel allows at most %d bytes in an interface's own name", spec.MaxLinkName)
	}
	e := j.Refuse(fault.NotFound, "there is no interface %s on this host", j.HostIF.Name)
	if j.HostIF.Kind == spec.KindAny {
		e.WithHint("bridge:%s creates a bridge of that name", j.HostIF.Name)
	}
	return e
}

// PlanClearing deletes what a killed run has left under the name.
func PlanClearing(j *build.Job, d *build.Draft) {
	defer guestnet.ClearReplies(j, d) // when the links have gone
	for _, s := range source.AddressSources {
		s.Clear(j, d)
	}
	port := j.Names.Port
	if j.There.Own != nil {
		port = j.There.Own.Name
	}
	if p, ok := j.There.OVS.Port(port); ok && p.Mark != "" && !j.Takes() {
		d.Add(DelOVSPort{p}) // its link may have gone long ago
	}
	switch {
	case j.There.Card.Here:
		d.Add(ReturnCard{Place: j.Place, loan: *j.There.Card.Loan, now: j.There.Inner})
		return
	case j.There.Card.Home != nil:
		d.Add(ReturnCard{Place: j.Place, loan: *j.There.Card.Loan, home: j.There.Card.Home})
	}
	guestnet.ClearInbound(j, d)
	switch {
	case j.There.Own != nil:
		d.Add(ours.DelLink{Name: j.There.Own.Name, Index: j.There.Own.Index})
	case j.There.Inner != nil:
		d.Add(ours.DelInner{Place: j.Place, Name: j.There.Inner.Name, Index: j.There.Inner.Index})
	case halfPort(j):
		d.Add(ours.DelLink{Name: j.There.Port.Name, Index: j.There.Port.Index})
	}
}
