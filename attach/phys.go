package attach

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/guests"
	"github.com/gopipework/gopipework/internal/plan"
	"github.com/gopipework/gopipework/internal/rtnl"
	"github.com/gopipework/gopipework/internal/shell"
	"golang.org/x/sys/unix"
)

// physKind lends the guest a network card itself. It comes home on detach, as
// it was.
type physKind struct{ traits }

var phys = physKind{traits{word: KindPhys, lent: true, upLate: true}}

// claims a Wi-Fi card, which cannot have macvlans: one address, one station.
func (physKind) claims(_ string, f Facts) bool {
	return f.Card.Radio != nil || f.Card.Loan != nil && f.Card.Loan.Hardware.Radio != nil
}

// Card is what is known of a card that is asked for.
type Card struct {
	Loan  *Loan        // if it is lent, or was and has not been put in order; nil: it is not
	Home  *rtnl.Link   // of a Loan: the card, if it is back on the host
	Here  bool         // of a Loan: the card is what has IFNAME in this guest
	Gone  bool         // of a Loan: there is no such card any more
	Where string       // of a Loan whose guest does not have the card: who does; "": not known
	Addrs []rtnl.Addr  // the host's
	Route []rtnl.Route // the host's
	Users []user       // links that are on the card, and would go with a move

	Nexthops []rtnl.Nexthop // the host's
	Qdiscs   []rtnl.Qdisc   // the host's

	Namesake *Loan // of another card of that name, which came home without all that it had; nil: there is none

	Unread string // what to say of a loan of the card whose file cannot be read; "": there is none
	Radio  *int   // of a Wi-Fi card
}

func (physKind) settle(j *job, d *draft) error {
	switch {
	case j.VLAN != "":
		return j.refuse(fault.Usage, "a card that is lent takes no VLAN").WithHint("vlan:%s lends one VLAN of it", j.HostIF.Name)
	case j.Mode != "":
		return j.refuse(fault.Usage, "a card that is lent has no mode")
	}
	loan := j.f.Card.Loan
	switch other := j.f.Card.Namesake; {
	case j.f.Card.Unread != "":
		return j.refuse(fault.Failed, "%s", j.f.Card.Unread)
	case other != nil:
		return j.refuse(fault.Conflict, "another card that was called %s came home without all that it had", other.Card.Name).
			WithHint("gopipework gc says what; when that card is as it should be, remove %s/%s", runDir, other.file())
	case loan == nil, j.f.Card.Gone:
		if err := j.checkCard(d); err != nil {
			return err
		}
		j.warnQueues(d, j.f.Base.Index, j.f.Base.Name)
		j.warnPrograms(d, j.f.Base.Name, j.f.Base.XDP)
		awaitCard(j)
		return nil
	}
	j.HostIF.Name = loan.Card.Name
	if loan.owed() && j.f.Card.Home != nil {
		j.HostIF.Name = j.f.Card.Home.Name
	}
	if j.f.Card.Where != "" {
		return j.refuse(fault.Conflict, "it is lent to %s, and %s", loan.To.Name, j.f.Card.Where)
	}
	if !j.f.Card.Here && j.f.Card.Home == nil {
		return j.isLent(loan)
	}
	awaitCard(j)
	return nil
}

// awaitCard has the carrier of the card waited for. A Wi-Fi card has none before
// somebody in the guest logs it in.
func awaitCard(j *job) {
	if loan := j.f.Card.Loan; j.f.Card.Radio == nil && (loan == nil || loan.Hardware.Radio == nil) {
		j.card = j.HostIF.Name
	}
}

// isLent is the error for a card that is away, with the way to get it home.
func (j *job) isLent(loan *Loan) error {
	return j.refuse(fault.Conflict, "it is lent to %s, as %s", loan.To.Name, loan.IfName).
		WithHint("gopipework detach %s %s; gopipework gc, if that guest has ended", loan.To.Word(), loan.IfName)
}

// checkCard refuses a card that somebody uses.
func (j *job) checkCard(d *draft) error {
	card := j.f.Base
	if card == nil {
		return j.noSuchInterface()
	}
	name := card.Name
	switch {
	case j.isOVSBridge(name):
		return j.refuse(fault.Conflict, "%s is a bridge of Open vSwitch, and stays with it", name)
	case card.Loopback:
		return j.refuse(fault.Conflict, "%s is the loopback interface, and every namespace has its own", name)
	case len(j.f.Card.Users) > 0:
		return j.cardCarries(j.f.Card.Users[0])
	case plan.IsOurs(card):
		return j.refuse(fault.Conflict, "%s is an end of ours, and no card", name).WithHint("gopipework list")
	case j.ForcePhys:
		if lost := j.lostNexthops(card.Index); lost != nil {
			d.warn("lending %s costs the host %s; when the card comes home, its routes come back, but not these", name, strings.Join(lost, ", "))
		}
		return nil
	}
	if why := j.cardUse(card); why != "" {
		return j.refuse(fault.Conflict, "%s %s", name, why).
			WithHint("--force-phys takes it all the same; what it has is there again when it comes home")
	}
	if lost := j.lostNexthops(card.Index); lost != nil {
		return j.refuse(fault.Conflict, "the host uses it, and would lose: %s", strings.Join(lost, ", ")).
			WithHint("--force-phys takes it all the same; nexthop objects do not come back")
	}
	return nil
}

// cardCarries refuses a card that another link is on.
func (j *job) cardCarries(u user) error {
	e := j.refuse(fault.Conflict, "%s (%s) is on it, and would lose it if it moved", u.Name, u.where())
	if plan.Attached(u.Link) {
		return e.WithHint("detach the guests that use %s first: gopipework list", j.HostIF.Name)
	}
	return e.WithHint("ip link del dev %s, %s", u.Name, u.where())
}

func (j *job) isOVSBridge(name string) bool {
	_, is := j.f.OVS.Bridge(name)
	return is
}

// where says in which namespace a user is.
func (u user) where() string {
	if u.netns == 0 {
		return "on the host"
	}
	return fmt.Sprintf("in the namespace %d", u.netns)
}

// cardUse says what the host uses the card for; "" for nothing.
func (j *job) cardUse(card *rtnl.Link) string {
	if card.Slave != "" {
		return "is a port of a " + card.Slave
	}
	if p, ok := j.f.OVS.Port(card.Name); ok {
		return "is a port of the Open vSwitch bridge " + p.Bridge
	}
	for _, r := range j.f.Card.Route {
		if r.Default() && r.Index == card.Index {
			return "has the host's default route"
		}
	}
	for _, a := range j.f.Card.Addrs {
		if a.Index == card.Index && a.Scope == unix.RT_SCOPE_UNIVERSE {
			return "has the address " + a.Prefix.String()
		}
	}
	return ""
}

func (physKind) join(j *job, d *draft) {
	j.clear(d)
	if j.f.Card.Gone {
		d.add(forgetLoan{*j.f.Card.Loan})
	}
	d.add(lend{Place: j.Place, name: j.HostIF.Name, inner: j.names.inner, netns: guests.NetNSWord(j.f.Guest), radio: j.f.Card.Radio})
	if j.MAC != nil || j.MTU != 0 {
		d.add(plan.SetLink{Place: j.Place, Name: j.names.inner, Set: rtnl.Change{MAC: j.MAC, MTU: j.MTU}})
	}
	j.sysctls(d)
}

func (physKind) repair(j *job, d *draft) {
	if in := j.f.Inner; in.Up && !in.Carrier && j.f.Card.Radio == nil && j.f.Card.Loan.Hardware.Radio == nil {
		d.warn("%s: nothing can be heard on it", plan.NoCarrier(j.HostIF.Name))
	}
}

func (physKind) differ(j *job, differ differ) {
	switch loan := j.f.Card.Loan; {
	case j.f.Card.Here && loan != nil:
	case j.f.Own != nil:
		differ("kind", "veth", KindPhys)
	default:
		differ("kind", j.f.Inner.Kind, KindPhys)
	}
}

// mac is the address that the card has, or had at home.
func (physKind) mac(j *job) (net.HardwareAddr, bool) {
	if j.f.Base != nil {
		return j.f.Base.MAC, true
	}
	mac, _ := net.ParseMAC(j.f.Card.Loan.Card.MAC)
	return mac, true
}

// mayBeCard reports whether a whole card may be asked for: it is said; or a
// Wi-Fi card is, or nothing that is there, which may be one that is lent.
func mayBeCard(h HostIF, f Facts) bool {
	kind := settleKind(h, f)
	return kind == KindPhys || kind == KindAny // of which the latter may be a Wi-Fi card that is lent
}

// radio returns that of a Wi-Fi card; nil for any other.
func (o *observer) radio(l *rtnl.Link) (radio *int) {
	if l == nil || l.Kind != "" || l.Loopback {
		return nil
	}
	o.look("whether "+l.Name+" is a Wi-Fi card", func() error {
		phy, ok, err := o.host.Wiphy(l.Index)
		if ok {
			radio = &phy
		}
		return err
	})
	return radio
}

// card looks at a card that is asked for as a whole.
func (o *observer) card(m *plan.Machine, h HostIF, f *Facts) {
	o.look("lent cards", func() error {
		all, unread, err := loans(o.host)
		if err != nil {
			return err
		}
		links, err := o.host.Links()
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
			home := l.home(o.host, links)
			if f.Base != nil && l.owed() && l.Card.Name == name && (home == nil || home.Index != f.Base.Index) {
				f.Card.Namesake = &l
			}
		}
		i := slices.IndexFunc(all, func(l Loan) bool {
			home := l.home(o.host, links)
			return l.means(name, home) || f.Base == nil && l.answers(name) && (home != nil || !l.owed())
		})
		if i < 0 {
			return nil
		}
		f.Card.Loan = &all[i]
		return o.whereIs(m, links, f)
	})
	if f.Card.Loan != nil && !f.Card.Gone || f.Base == nil {
		return
	}
	o.look("the host's addresses", func() (err error) { f.Card.Addrs, err = o.host.Addrs(); return err })
	o.look("the host's routes", func() (err error) { f.Card.Route, err = o.host.Routes(); return err })
	o.look("the host's nexthop objects", func() (err error) { f.Card.Nexthops, err = o.host.Nexthops(); return err })
	o.look("the host's queueing disciplines", func() (err error) { f.Card.Qdiscs, err = o.host.Qdiscs(); return err })
	o.look("what is on "+f.Base.Name, func() (err error) {
		all, err := childrenOf(o.host, f.Base.Index, m.HostNS, nil)
		f.Card.Users = slices.DeleteFunc(all, func(u user) bool { return paired(u.Kind) })
		return err
	})
}

// whereIs looks for a lent card: in this guest, back on the host, or anywhere.
func (o *observer) whereIs(m *plan.Machine, hosts []*rtnl.Link, f *Facts) error {
	loan := f.Card.Loan
	cookie, err := o.guest.Cookie()
	if err != nil {
		return err
	}
	f.Card.Home = loan.home(o.host, hosts)
	if cookie == loan.GuestNS && f.Inner != nil && !loan.owed() {
		l := loan.away(o.guest, f.Links)
		f.Card.Here = l != nil && l.Index == f.Inner.Index
	}
	if f.Card.Here || f.Card.Home != nil {
		return nil
	}
	t, err := trace(o.host, m.HostNS, *loan)
	defer t.close()
	switch {
	case err != nil:
		return err
	case t.gone:
		f.Card.Gone = true
	case t.at == nil:
		f.Card.Where = loan.lost(t).Error()
	case t.link.Name != loan.IfName || hasLeft(loan.To, t.at):
		f.Card.Where = fmt.Sprintf("in the namespace of %s, as %s: gopipework detach %s %s",
			t.at.holder(), shell.Quote(t.link.Name), t.at.word(), loan.IfName)
	}
	return nil
}

// gc plans for cards to come home that are lent to nobody any more.
func (physKind) gc(f GCFacts, r *removal) {
	for _, s := range f.Strays { // last: they are not the kernel's alone to give back
		if err := s.checkHome(); err != nil {
			r.warn("%v", err)
			continue
		}
		r.last = append(r.last, s.end())
	}
}

// carrierPatience is how long a card that has just been set up may take to find
// its partner: most have done so after three seconds.
const carrierPatience = 5 * time.Second

// awaitCarrier waits until a card that was set up has a carrier. Without one it
// goes on: the cable may be plugged in later.
type awaitCarrier struct {
	plan.Place
	link string
	card string // the name that it has on the host
}

func (s awaitCarrier) Do(ctx context.Context, m *plan.Machine) error {
	patience := time.Now().Add(carrierPatience)
	return m.Await(ctx, s.Side, func() (bool, error) {
		i, err := m.Find(s.Side, s.link)
		if err != nil {
			return false, fault.Explain("find", s.link, err)
		}
		l, err := s.Kernel(m).LinkByIndex(i)
		if err != nil {
			return false, fault.Explain("find", s.link, err)
		}
		if !l.Carrier && time.Now().After(patience) {
			m.Warn(plan.NoCarrier(s.card) + ": nothing can be heard on it")
			return true, nil
		}
		return l.Carrier, nil
	})
}

func (s awaitCarrier) Undo(context.Context, *plan.Machine) error { return nil }

func (awaitCarrier) Nature() plan.Nature { return plan.Passive }

func (s awaitCarrier) String() string { return "# wait until " + s.card + " has a carrier" }
