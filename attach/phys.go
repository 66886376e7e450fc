package attach

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"

	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/rtnl"
	"github.com/gopipework/gopipework/internal/shell"
	"golang.org/x/sys/unix"
)

// physPlug lends the guest a network card itself. It comes home on detach, as
// it was.
type physPlug struct{}

var _ plug = physPlug{}

// Card is what is known of a card that is asked for.
type Card struct {
	Loan  *Loan        // if it is lent, or was and has not been put in order; nil: it is not
	Home  *rtnl.Link   // of a Loan: the card, if it is back on the host
	Here  bool         // of a Loan: the card is what has IFNAME in this guest
	Addrs []rtnl.Addr  // the host's
	Route []rtnl.Route // the host's
	Users []user       // links that are on the card, and would go with a move
	Radio *int         // of a Wi-Fi card
}

func (physPlug) settle(b *builder) error {
	switch {
	case b.VLAN != "":
		return b.refuse(fault.Usage, "a card that is lent takes no VLAN").WithHint("vlan:%s lends one VLAN of it", b.HostIF.Name)
	case b.Mode != "":
		return b.refuse(fault.Usage, "a card that is lent has no mode")
	}
	loan := b.f.Card.Loan
	if loan == nil {
		return b.checkCard()
	}
	b.HostIF.Name = loan.Card.Name
	if !b.f.Card.Here && b.f.Card.Home == nil {
		return b.refuse(fault.Conflict, "it is lent to %s, as %s", loan.To.Name, loan.IfName).
			WithHint("gopipework detach %s %s; gopipework gc, if that guest has ended", loan.To.Word(), loan.IfName)
	}
	return nil
}

// checkCard refuses a card that somebody uses.
func (b *builder) checkCard() error {
	card := b.f.Base
	if card == nil {
		return b.noSuchInterface()
	}
	name := card.Name
	switch {
	case card.Loopback:
		return b.refuse(fault.Conflict, "%s is the loopback interface, and every namespace has its own", name)
	case len(b.f.Card.Users) > 0:
		return b.refuse(fault.Conflict, "%s is on it, and would be deleted if it moved", b.f.Card.Users[0].Name).
			WithHint("ip link del %s", b.f.Card.Users[0].Name)
	case isOurs(card):
		return b.refuse(fault.Conflict, "%s is an end of ours, and no card", name).WithHint("gopipework list")
	case b.ForcePhys:
		return nil
	}
	if why := b.cardUse(card); why != "" {
		return b.refuse(fault.Conflict, "%s %s", name, why).
			WithHint("--force-phys takes it all the same; what it has is there again when it comes home")
	}
	return nil
}

// cardUse says what the host uses the card for; "" for nothing.
func (b *builder) cardUse(card *rtnl.Link) string {
	if card.Slave != "" {
		return "is a port of a " + card.Slave
	}
	if p, ok := b.f.OVS.Port(card.Name); ok {
		return "is a port of the Open vSwitch bridge " + p.Bridge
	}
	for _, r := range b.f.Card.Route {
		if r.Default() && r.Index == card.Index {
			return "has the host's default route"
		}
	}
	for _, a := range b.f.Card.Addrs {
		if a.Index == card.Index && a.Scope == unix.RT_SCOPE_UNIVERSE {
			return "has the address " + a.Prefix.String()
		}
	}
	return ""
}

func (physPlug) free(b *builder) error { return nil }

func (physPlug) join(b *builder) {
	b.clear()
	b.add(lend{place: b.place, name: b.HostIF.Name, inner: b.names.inner, netns: b.f.Guest.netns(), radio: b.f.Card.Radio})
	if b.MAC != nil || b.MTU != 0 {
		b.add(setLink{place: b.place, name: b.names.inner, set: rtnl.Change{MAC: b.MAC, MTU: b.MTU}})
	}
	b.sysctls()
}

func (physPlug) keep(*builder) {}

func (physPlug) differ(b *builder, differ differ) {
	switch loan := b.f.Card.Loan; {
	case b.f.Card.Here && loan != nil:
	case b.f.Own != nil:
		differ("kind", "veth", KindPhys)
	default:
		differ("kind", b.f.Inner.Kind, KindPhys)
	}
}

// cardMAC is the address that the card has, or had at home.
func (b *builder) cardMAC() net.HardwareAddr {
	if b.f.Base != nil {
		return b.f.Base.MAC
	}
	mac, _ := net.ParseMAC(b.f.Card.Loan.Card.MAC)
	return mac
}

// lend moves a card into the guest, under its name there.
type lend struct {
	place        // the guest
	name         string
	inner, netns string
	radio        *int // of a Wi-Fi card, which moves with its radio alone
}

func (s lend) do(_ context.Context, m *machine) error {
	i, err := m.find(end{host, s.name})
	if err != nil {
		return explain("find", s.name, err)
	}
	loan, err := m.newLoan(i, s)
	if err != nil {
		return err
	}
	if err := loan.save(); err != nil {
		return err
	}
	if err = s.move(m, i); err == nil {
		loan.Index, err = m.arrived(loan, s)
	}
	if err == nil {
		m.index[end{guest, s.inner}] = loan.Index
		err = loan.save()
	}
	if err != nil {
		return half(err, m.giveBack(m.sides[guest], loan), s)
	}
	return nil
}

// newLoan looks at the card as it is now.
func (m *machine) newLoan(index int, s lend) (Loan, error) {
	loan := Loan{To: m.guests[guest].GuestInfo, IfName: s.inner}
	l, err := m.sides[host].LinkByIndex(index)
	if err == nil {
		loan.Hardware = hardwareOf(l)
		loan.Hardware.Radio = s.radio
		loan.Card, err = m.sides[host].Keep(index)
	}
	if err == nil && l.Master != 0 && l.Slave != "openvswitch" { // which takes its ports back by itself
		var master *rtnl.Link
		if master, err = m.sides[host].LinkByIndex(l.Master); err == nil {
			loan.Master = master.Name
		}
	}
	if err == nil {
		loan.HostNS, err = m.sides[host].Cookie()
	}
	if err == nil {
		loan.GuestNS, err = m.sides[guest].Cookie()
	}
	if errors.Is(err, unix.ENOPROTOOPT) {
		return loan, fault.New(fault.Unsupported, "lend", s.name, "a card could not be found again on a kernel before 5.14")
	}
	return loan, explain("look at", s.name, err)
}

func (s lend) move(m *machine, index int) error {
	group := uint32(Group)
	ns := m.guests[guest].Namespace
	if s.radio != nil {
		err := m.sides[host].MoveWiphy(*s.radio, ns)
		if errors.Is(err, unix.EOPNOTSUPP) {
			return fault.New(fault.Unsupported, "move radio of", s.name, "%w", err).
				WithHint("the driver of the card has to be able to change namespaces: iw phy%d info", *s.radio)
		}
		return explain("move radio of", s.name, err)
	}
	err := m.sides[host].MoveLink(index, rtnl.Move{NS: ns, Name: s.inner, Group: &group})
	if errors.Is(err, unix.EINVAL) {
		return fault.New(fault.Unsupported, "move", s.name, "the kernel does not let it leave its namespace").
			WithHint("macvlan:%s", s.name)
	}
	return explain("move", s.name, err)
}

// arrived returns the index that the card has in the guest. A radio's
// interfaces keep their names when they move.
func (m *machine) arrived(loan Loan, s lend) (int, error) {
	links, err := m.sides[guest].Links()
	if err != nil {
		return 0, explain("list links of", m.guests[guest].Name, err)
	}
	l := loan.find(links)
	switch {
	case l == nil:
		return 0, fault.New(fault.Failed, "find", s.inner, "somebody in the guest moved it on")
	case l.Name == s.inner:
		return l.Index, nil
	}
	group := uint32(Group)
	return l.Index, explain("rename", l.Name, m.sides[guest].SetLink(l.Index, rtnl.Change{Name: s.inner, Group: &group}))
}

func (s lend) undo(_ context.Context, m *machine) error {
	loan, err := m.loanOf(s.name)
	if loan == nil {
		return err
	}
	return m.giveBack(m.sides[guest], *loan)
}

// loanOf returns the loan of a card; nil: there is none.
func (m *machine) loanOf(name string) (*Loan, error) {
	all, err := loans(m.sides[host])
	if i := slices.IndexFunc(all, func(l Loan) bool { return l.Card.Name == name }); i >= 0 {
		return &all[i], err
	}
	return nil, err
}

// completeLoan notes that the attach came to its end.
func (m *machine) completeLoan(name string) error {
	loan, err := m.loanOf(name)
	if err != nil || loan == nil {
		return err
	}
	loan.Complete = true
	return loan.save()
}

func (s lend) String() string {
	w := "# note in " + runDir + " what " + s.name + " is like\n"
	if s.radio == nil {
		return w + fmt.Sprintf("ip link set dev %s netns %s name %s group %d", s.name, s.netns, s.inner, Group)
	}
	return w + fmt.Sprintf("iw phy#%d set netns %s\n%sip link set dev %s name %s group %d", *s.radio, s.netns, s.enter, s.name, s.inner, Group)
}

// bringHome takes a card back from a guest, or from where the end of that guest
// has left it, and makes it what it was.
type bringHome struct {
	place
	path  string // of the guest's namespace, if that is not the place's
	inode uint64
	loan  Loan
	now   *rtnl.Link // in the guest; nil: it is not there
	home  *rtnl.Link // on the host; nil: it is not there yet
}

func (s bringHome) do(_ context.Context, m *machine) error {
	k := s.kernel(m)
	if s.path != "" {
		ns, err := openSame(s.path, s.inode)
		if err == nil {
			defer ns.Close()
			var c *rtnl.Conn
			if c, err = rtnl.Open(ns); err == nil {
				defer c.Close()
				k = c
			}
		}
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return explain("enter", s.path, err)
		}
	}
	delete(m.index, end{host, s.loan.Card.Name})
	return m.giveBack(k, s.loan)
}

func (s bringHome) undo(context.Context, *machine) error { return nil }

func (s bringHome) String() string {
	now := rtnl.Link{Name: s.loan.Card.Name}
	var lines []string
	switch {
	case s.home != nil:
		now = *s.home
	case s.loan.Hardware.Radio != nil:
		lines = append(lines, fmt.Sprintf("%siw phy#%d set netns $$", s.in(), *s.loan.Hardware.Radio))
	case s.now != nil:
		lines = append(lines, fmt.Sprintf("%sip link set dev %s netns $$ name %s", s.in(), shell.Quote(s.now.Name), shell.Quote(now.Name)))
	}
	lines = append(lines, s.loan.Card.Commands(&now)...)
	if s.loan.Master != "" {
		lines = append(lines, "ip link set dev "+shell.Quote(s.loan.Card.Name)+" master "+shell.Quote(s.loan.Master))
	}
	return strings.Join(lines, "\n")
}

func (s bringHome) in() string {
	if s.path != "" {
		return "nsenter --net=" + shell.Quote(s.path) + " "
	}
	return s.enter
}

// giveBack moves the card home from the guest, if it is there, and makes it
// what it was. away is the guest's side; nil: there is none.
func (m *machine) giveBack(away kernel, loan Loan) error {
	name := loan.Card.Name
	if away != nil {
		links, err := away.Links()
		if err != nil {
			return explain("look for", name, err)
		}
		if l := loan.find(links); l != nil {
			if err := moveHome(away, l, loan, m.hostNS); err != nil {
				return err
			}
		}
	}
	links, err := m.sides[host].Links()
	if err != nil {
		return explain("look for", name, err)
	}
	l := loan.find(links)
	if l == nil {
		return fault.New(fault.Failed, "bring home", name, "it is neither on the host nor in the guest: somebody moved it on").
			WithHint("when it is back on the host, gopipework gc puts it in order")
	}
	if err := m.sides[host].Restore(l.Index, loan.Card); err != nil {
		return explain("put in order", name, err)
	}
	if err := m.rejoin(l.Index, loan.Master); err != nil {
		return explain("plug "+name+" into", loan.Master, err)
	}
	return loan.forget()
}

// rejoin makes a card a port again of what it was one of.
func (m *machine) rejoin(index int, master string) error {
	if master == "" {
		return nil
	}
	l, err := m.sides[host].LinkByName(master)
	if err != nil {
		return unlessNotFound(err) // it has gone meanwhile
	}
	return m.sides[host].SetLink(index, rtnl.Change{Master: l.Index})
}

func moveHome(away kernel, l *rtnl.Link, loan Loan, hostNS *os.File) error {
	var err error
	if radio := loan.Hardware.Radio; radio != nil {
		err = away.MoveWiphy(*radio, hostNS)
	} else {
		err = away.MoveLink(l.Index, rtnl.Move{NS: hostNS, Name: loan.Card.Name})
	}
	return explain("move home", loan.Card.Name, err)
}

// mayBeCard reports whether a whole card may be asked for: it is said; or a
// Wi-Fi card is, or nothing that is there, which may be one that is lent.
func mayBeCard(h HostIF, f Facts) bool {
	return h.Kind == KindPhys || h.Kind == KindAny && (f.Card.Radio != nil || f.Base == nil)
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
func (o *observer) card(m *machine, h HostIF, f *Facts) {
	o.look("lent cards", func() error {
		all, err := loans(o.host)
		if err != nil {
			return err
		}
		i := slices.IndexFunc(all, func(l Loan) bool { return l.answers(h.Name) || f.Base != nil && l.answers(f.Base.Name) })
		if i < 0 {
			return nil
		}
		f.Card.Loan = &all[i]
		return o.whereIs(f)
	})
	if f.Card.Loan != nil || f.Base == nil {
		return
	}
	o.look("the host's addresses", func() (err error) { f.Card.Addrs, err = o.host.Addrs(); return err })
	o.look("the host's routes", func() (err error) { f.Card.Route, err = o.host.Routes(); return err })
	o.look("what is on "+f.Base.Name, func() (err error) {
		all, err := childrenOf(o.host, f.Base.Index, m.hostNS, nil)
		f.Card.Users = slices.DeleteFunc(all, func(u user) bool { return u.Kind == "veth" })
		return err
	})
}

// whereIs looks for a lent card: in this guest, or back on the host.
func (o *observer) whereIs(f *Facts) error {
	loan := f.Card.Loan
	cookie, err := o.guest.Cookie()
	if err != nil {
		return err
	}
	if cookie == loan.GuestNS && f.Inner != nil {
		l := loan.find(f.Links)
		f.Card.Here = l != nil && l.Index == f.Inner.Index
	}
	links, err := o.host.Links()
	f.Card.Home = loan.find(links)
	return err
}
