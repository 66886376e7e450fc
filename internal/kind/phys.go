package kind

import (
	"fmt"
	"net"
	"slices"
	"strings"

	"github.com/gopipework/gopipework/internal/build"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/guestnet"
	"github.com/gopipework/gopipework/internal/guests"
	"github.com/gopipework/gopipework/internal/ours"
	"github.com/gopipework/gopipework/internal/plan"
	"github.com/gopipework/gopipework/internal/rtnl"
	"github.com/gopipework/gopipework/internal/shell"
	"github.com/gopipework/gopipework/internal/spec"
	"golang.org/x/sys/unix"
)

// physKind lends the guest a network card itself. Detach returns it as it was.
type physKind struct{ plain }

var phys = physKind{plain{build.Traits{Word: spec.KindPhys, Lent: true, UpLate: true}}}

// claims a Wi-Fi card, which cannot have macvlans: one address, one station.
func (physKind) claims(_ string, f build.Facts) bool {
	return f.Card.Radio != nil || f.Card.Loan != nil && f.Card.Loan.Hardware.Radio != nil
}

func (physKind) settle(j *build.Job, d *build.Draft) error {
	switch {
	case j.VLAN != "":
		return j.Refuse(fault.Usage, "a lent card cannot have a VLAN").WithHint("vlan:%s lends one VLAN of it", j.HostIF.Name)
	case j.Mode != "":
		return j.Refuse(fault.Usage, "a lent card has no mode")
	}
	loan := j.There.Card.Loan
	switch other := j.There.Card.Namesake; {
	case j.There.Card.Unread != "":
		return j.Refuse(fault.Failed, "%s", j.There.Card.Unread)
	case other != nil:
		return j.Refuse(fault.Conflict, "another card that was called %s was returned, but not fully restored", other.Card.Name).
			WithHint("gopipework gc lists what is missing; once that card is as it should be, delete %s/%s", ours.RunDir, other.File())
	case loan == nil, j.There.Card.Gone:
		if err := checkCard(j, d); err != nil {
			return err
		}
		warnQueues(j, d, j.There.Base.Index, j.There.Base.Name)
		warnPrograms(j, d, j.There.Base.Name, j.There.Base.XDP)
		awaitCard(j)
		return nil
	}
	j.HostIF.Name = loan.Card.Name
	if loan.Owed() && j.There.Card.Home != nil {
		j.HostIF.Name = j.There.Card.Home.Name
	}
	if j.There.Card.Where != "" {
		return j.Refuse(fault.Conflict, "it is lent to %s, and %s", loan.To.Name, j.There.Card.Where)
	}
	if !j.There.Card.Here && j.There.Card.Home == nil {
		return isLent(j, loan)
	}
	awaitCard(j)
	return nil
}

// awaitCard has the carrier of the card waited for. A Wi-Fi card has none before
// somebody in the guest logs it in.
func awaitCard(j *build.Job) {
	if loan := j.There.Card.Loan; j.There.Card.Radio == nil && (loan == nil || loan.Hardware.Radio == nil) {
		j.Card = j.HostIF.Name
	}
}

// isLent is the error for a card that is away, with the way to get it home.
func isLent(j *build.Job, loan *ours.Loan) error {
	return j.Refuse(fault.Conflict, "it is lent to %s, as %s", loan.To.Name, loan.IfName).
		WithHint("gopipework detach %s %s; gopipework gc, if that guest has ended", loan.To.Word(), loan.IfName)
}

// checkCard refuses a card that somebody uses.
func checkCard(j *build.Job, d *build.Draft) error {
	card := j.There.Base
	if card == nil {
		return noSuchInterface(j)
	}
	name := card.Name
	switch {
	case isOVSBridge(j, name):
		return j.Refuse(fault.Conflict, "%s is an Open vSwitch bridge, and cannot be lent", name)
	case card.Loopback:
		return j.Refuse(fault.Conflict, "%s is the loopback interface, and every namespace has its own", name)
	case len(j.There.Card.Users) > 0:
		return cardCarries(j, j.There.Card.Users[0])
	case plan.IsOurs(card):
		return j.Refuse(fault.Conflict, "%s is an end of an attachment, not a card", name).WithHint("gopipework list")
	case j.ForcePhys:
		if lost := lostNexthops(j, card.Index); lost != nil {
			d.Warn("lending %s costs the host %s; these are not restored when the card is returned", name, strings.Join(lost, ", "))
		}
		return nil
	}
	if why := cardUse(j, card); why != "" {
		return j.Refuse(fault.Conflict, "%s %s", name, why).
			WithHint("--force-phys lends it anyway; what it has is restored when it is returned")
	}
	if lost := lostNexthops(j, card.Index); lost != nil {
		return j.Refuse(fault.Conflict, "the host uses it, and would lose: %s", strings.Join(lost, ", ")).
			WithHint("--force-phys lends it anyway; nexthop objects are not restored")
	}
	return nil
}

// cardCarries refuses a card that another link is on.
func cardCarries(j *build.Job, u ours.User) error {
	e := j.Refuse(fault.Conflict, "%s (%s) is on it, and would lose it", u.Name, where(u))
	if plan.Attached(u.Link) {
		return e.WithHint("detach the guests that use %s first: gopipework list", j.HostIF.Name)
	}
	return e.WithHint("ip link del dev %s, %s", u.Name, where(u))
}

func isOVSBridge(j *build.Job, name string) bool {
	_, is := j.There.OVS.Bridge(name)
	return is
}

// where says in which namespace a user is.
func where(u ours.User) string {
	if u.Netns == 0 {
		return "on the host"
	}
	return fmt.Sprintf("in the namespace %d", u.Netns)
}

// cardUse says what the host uses the card for; "" for nothing.
func cardUse(j *build.Job, card *rtnl.Link) string {
	if card.Slave != "" {
		return "is a port of a " + card.Slave
	}
	if p, ok := j.There.OVS.Port(card.Name); ok {
		return "is a port of the Open vSwitch bridge " + p.Bridge
	}
	for _, r := range j.There.Card.Route {
		if r.Default() && r.Index == card.Index {
			return "has the host's default route"
		}
	}
	for _, a := range j.There.Card.Addrs {
		if a.Index == card.Index && a.Scope == unix.RT_SCOPE_UNIVERSE {
			return "has the address " + a.Prefix.String()
		}
	}
	return ""
}

func (physKind) Join(j *build.Job, d *build.Draft) {
	PlanClearing(j, d)
	if j.There.Card.Gone {
		d.Add(ForgetLoan{*j.There.Card.Loan})
	}
	d.Add(Lend{Place: j.Place, name: j.HostIF.Name, inner: j.Names.Inner, netns: guests.NetNSWord(j.There.Guest), radio: j.There.Card.Radio})
	if j.MAC != nil || j.MTU != 0 {
		d.Add(plan.SetLink{Place: j.Place, Name: j.Names.Inner, Set: rtnl.Change{MAC: j.MAC, MTU: j.MTU}})
	}
	guestnet.PlanBeforeUp(j, d)
}

func (physKind) Repair(j *build.Job, d *build.Draft) {
	if in := j.There.Inner; in.Up && !in.Carrier && j.There.Card.Radio == nil && j.There.Card.Loan.Hardware.Radio == nil {
		d.Warn("%s: nothing can be heard on it", plan.NoCarrier(j.HostIF.Name))
	}
}

func (physKind) TakeOver(j *build.Job, d *build.Draft, mark plan.ChangeMark) {
	d.Add(ChangeLentMark{ChangeMark: mark, card: j.There.Card.Loan.Card.Name, was: j.There.Card.Loan.Origin})
}

func (physKind) Differ(j *build.Job, differ build.Differ) {
	switch loan := j.There.Card.Loan; {
	case j.There.Card.Here && loan != nil:
	case j.There.Own != nil:
		differ("kind", "veth", spec.KindPhys)
	default:
		differ("kind", j.There.Inner.Kind, spec.KindPhys)
	}
}

// mac is the address that the card has, or had at home.
func (physKind) mac(j *build.Job) (net.HardwareAddr, bool) {
	if j.There.Base != nil {
		return j.There.Base.MAC, true
	}
	mac, _ := net.ParseMAC(j.There.Card.Loan.Card.MAC)
	return mac, true
}

// mayBeCard reports whether a whole card may be asked for: it is said; or a
// Wi-Fi card is, or nothing that is there, which may be one that is lent.
func mayBeCard(h spec.HostIF, f build.Facts) bool {
	kind := SettleKind(h, f)
	return kind == spec.KindPhys || kind == spec.KindAny // of which the latter may be a Wi-Fi card that is lent
}

// radio returns that of a Wi-Fi card; nil for any other.
func radio(o *build.Observer, l *rtnl.Link) (radio *int) {
	if l == nil || l.Kind != "" || l.Loopback {
		return nil
	}
	o.Look("whether "+l.Name+" is a Wi-Fi card", func() error {
		phy, ok, err := o.Host.Wiphy(l.Index)
		if ok {
			radio = &phy
		}
		return err
	})
	return radio
}

// lookAtCard looks at a card that is asked for as a whole.
func lookAtCard(o *build.Observer, m *plan.Machine, h spec.HostIF, f *build.Facts) {
	o.Look("lent cards", func() error {
		all, unread, err := ours.Loans(o.Host)
		if err != nil {
			return err
		}
		links, err := o.Host.Links()
		if err != nil {
			return err
		}
		name := h.Name
		if f.Base != nil {
			name = f.Base.Name
		}
		for _, u := range unread {
			if u.Card == name {
				f.Card.Unread = u.String()
			}
		}
		for _, l := range all {
			home := l.Home(o.Host, links)
			if f.Base != nil && l.Owed() && l.Card.Name == name && (home == nil || home.Index != f.Base.Index) {
				f.Card.Namesake = &l
			}
		}
		i := slices.IndexFunc(all, func(l ours.Loan) bool {
			home := l.Home(o.Host, links)
			return l.Means(name, home) || f.Base == nil && l.Answers(name) && (home != nil || !l.Owed())
		})
		if i < 0 {
			return nil
		}
		f.Card.Loan = &all[i]
		return whereIs(o, m, links, f)
	})
	if f.Card.Loan != nil && !f.Card.Gone || f.Base == nil {
		return
	}
	o.Look("the host's addresses", func() (err error) { f.Card.Addrs, err = o.Host.Addrs(); return err })
	o.Look("the host's routes", func() (err error) { f.Card.Route, err = o.Host.Routes(); return err })
	o.Look("the host's nexthop objects", func() (err error) { f.Card.Nexthops, err = o.Host.Nexthops(); return err })
	o.Look("the host's queueing disciplines", func() (err error) { f.Card.Qdiscs, err = o.Host.Qdiscs(); return err })
	o.Look("what is on "+f.Base.Name, func() (err error) {
		all, err := ours.ChildrenOf(o.Host, f.Base.Index, m.HostNS, nil)
		f.Card.Users = slices.DeleteFunc(all, func(u ours.User) bool { return ours.Paired(u.Kind) })
		return err
	})
}

// whereIs looks for a lent card: in this guest, back on the host, or anywhere.
func whereIs(o *build.Observer, m *plan.Machine, hosts []*rtnl.Link, f *build.Facts) error {
	loan := f.Card.Loan
	cookie, err := o.Guest.Cookie()
	if err != nil {
		return err
	}
	f.Card.Home = loan.Home(o.Host, hosts)
	if cookie == loan.GuestNS && f.Inner != nil && !loan.Owed() {
		l := loan.Away(o.Guest, f.Links)
		f.Card.Here = l != nil && l.Index == f.Inner.Index
	}
	if f.Card.Here || f.Card.Home != nil {
		return nil
	}
	t, err := ours.Trace(o.Host, m.HostNS, *loan)
	if err != nil {
		t.Close()
		return err
	}
	defer t.Close()
	switch {
	case t.Gone:
		f.Card.Gone = true
	case t.At == nil:
		f.Card.Where = Lost(*loan, t).Error()
	case t.Link.Name != loan.IfName || loan.HasLeft(t.At):
		f.Card.Where = fmt.Sprintf("in the namespace of %s, as %s: gopipework detach %s %s",
			t.At.Holder(), shell.Quote(t.Link.Name), t.At.Word(), loan.IfName)
	}
	return nil
}

// GC plans for cards to be returned that are lent to nobody any more.
func (physKind) GC(f build.GCFacts, r *build.Removal) {
	for _, s := range f.Strays { // last: they are not the kernel's alone to return
		if err := s.CheckHome(); err != nil {
			r.Warn("%v", err)
			continue
		}
		r.Last = append(r.Last, strayStep(s))
	}
}
