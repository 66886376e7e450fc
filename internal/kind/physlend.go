package kind

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/nsfs"
	"github.com/gopipework/gopipework/internal/ours"
	"github.com/gopipework/gopipework/internal/plan"
	"github.com/gopipework/gopipework/internal/rtnl"
	"github.com/gopipework/gopipework/internal/spec"
	"golang.org/x/sys/unix"
)

// Lend moves a card into the guest, under its name there.
type Lend struct {
	plan.Place   // the guest
	name         string
	inner, netns string
	radio        *int // of a Wi-Fi card, which moves with its radio alone
}

func (s Lend) Do(_ context.Context, m *plan.Machine) error {
	i, err := m.Find(plan.OnHost, s.name)
	if err != nil {
		return fault.Explain("find", s.name, err)
	}
	loan, err := newLoan(m, i, s)
	if err != nil {
		return err
	}
	owed, err := takeOver(m, &loan, i)
	if err == nil {
		err = loan.Save()
	}
	if err == nil && owed != nil && owed.File() != loan.File() {
		err = owed.Forget()
	}
	if err != nil {
		return err
	}
	if err = s.move(m, i); err == nil {
		loan.Index, err = arrived(m, loan, s)
	}
	if err == nil {
		m.Forget(plan.OnHost, s.name)
		m.Know(plan.InGuest, s.inner, loan.Index)
		err = loan.Save()
	}
	if err != nil {
		return plan.Half(err, returnWhole(m, awayAt(m, plan.InGuest), loan), s)
	}
	return nil
}

// newLoan looks at the card as it is now.
func newLoan(m *plan.Machine, index int, s Lend) (ours.Loan, error) {
	loan := ours.Loan{To: m.Guests[plan.InGuest].GuestInfo, PIDs: nsfs.PIDs(), IfName: s.inner}
	l, err := m.Host().LinkByIndex(index)
	if err == nil {
		err = ours.GiveID(m, plan.InGuest)
	}
	if err == nil {
		loan.Hardware = ours.HardwareOf(l)
		loan.Hardware.Node, _ = m.Host().Node(l) // where sysfs is out of reach, the rest has to do
		loan.Hardware.Radio = s.radio
		loan.Card, err = m.Host().Keep(index)
	}
	if err == nil {
		loan.HostNS, err = m.Host().Cookie()
	}
	if err == nil {
		loan.GuestNS, err = m.In(plan.InGuest).Cookie()
	}
	if errors.Is(err, unix.ENOPROTOOPT) {
		return loan, fault.New(fault.Unsupported, "lend", s.name, "on a kernel before 5.14 a lent card could not be found again")
	}
	return loan, fault.Explain("look at", s.name, err)
}

// takeOver counts in what could not be restored on the card after the loan before,
// and returns that loan; nil: everything was restored.
func takeOver(m *plan.Machine, loan *ours.Loan, index int) (*ours.Loan, error) {
	all, _, err := ours.Loans(m.Host())
	if err != nil || len(all) == 0 {
		return nil, err
	}
	links, err := m.Host().Links()
	if err != nil {
		return nil, fault.Explain("list", "links", err)
	}
	var owed *ours.Loan
	for _, l := range all {
		if home := l.Home(m.Host(), links); l.Owed() && home != nil && home.Index == index {
			owed = &l
			loan.Card = loan.Card.With(l.Missing)
		}
	}
	return owed, nil
}

// move does not give the card our group: whatever has that may be deleted by
// those who clean up.
func (s Lend) move(m *plan.Machine, index int) error {
	ns := m.Guests[plan.InGuest].Namespace
	if s.radio != nil {
		err := m.Host().MoveWiphy(*s.radio, ns)
		if errors.Is(err, unix.EOPNOTSUPP) {
			return fault.New(fault.Unsupported, "move radio of", s.name, "%w", err).
				WithHint("the driver of the card has to be able to change namespaces: iw phy%d info", *s.radio)
		}
		return fault.Explain("move radio of", s.name, err)
	}
	err := m.Host().MoveLink(index, rtnl.Move{NS: ns, Name: s.inner})
	if errors.Is(err, unix.EINVAL) {
		return fault.New(fault.Unsupported, "move", s.name, "the kernel does not let it leave its namespace").
			WithHint("macvlan:%s", s.name)
	}
	return fault.Explain("move", s.name, err)
}

// arrived returns the index that the card has in the guest. A radio's
// interfaces keep their names when they move.
func arrived(m *plan.Machine, loan ours.Loan, s Lend) (int, error) {
	links, err := m.In(plan.InGuest).Links()
	if err != nil {
		return 0, fault.Explain("list links of", m.Guests[plan.InGuest].Name, err)
	}
	l := loan.Away(m.In(plan.InGuest), links)
	switch {
	case l == nil:
		return 0, fault.New(fault.Failed, "find", s.inner, "somebody in the guest moved it on")
	case l.Name == s.inner:
		return l.Index, nil
	}
	return l.Index, fault.Explain("rename", l.Name, m.In(plan.InGuest).SetLink(l.Index, rtnl.Change{Name: s.inner}))
}

func (s Lend) Undo(_ context.Context, m *plan.Machine) error {
	loan, err := loanOf(m, s.name)
	if loan == nil {
		return err
	}
	return returnWhole(m, awayAt(m, plan.InGuest), *loan)
}

// loanOf returns the loan of a card; nil: there is none.
func loanOf(m *plan.Machine, name string) (*ours.Loan, error) {
	all, _, err := ours.Loans(m.Host())
	if i := slices.IndexFunc(all, func(l ours.Loan) bool { return l.Card.Name == name }); i >= 0 {
		return &all[i], err
	}
	return nil, err
}

func (Lend) Nature() plan.Nature { return plan.Undoable }

func (s Lend) String() string {
	w := "# note in " + ours.RunDir + " what " + s.name + " is like: without it detach does not know the card\n"
	if s.radio == nil {
		return w + fmt.Sprintf("ip link set dev %s netns %s name %s", s.name, s.netns, s.inner)
	}
	return w + fmt.Sprintf("iw phy#%d set netns %s\n%sip link set dev %s name %s", *s.radio, s.netns, s.Enter, s.name, s.inner)
}

// MarkLent marks a card in the guest, and notes in its loan, where the guest cannot
// change it, that the attach came to its end.
type MarkLent struct {
	plan.SetMark
	Card string // its name on the host
}

func (s MarkLent) Do(ctx context.Context, m *plan.Machine) error {
	if err := s.SetMark.Do(ctx, m); err != nil {
		return err
	}
	loan, err := loanOf(m, s.Card)
	if err != nil || loan == nil {
		return err
	}
	loan.Complete = true
	if s.Origin.Claims() {
		loan.Origin = s.Origin
	}
	return loan.Save()
}

func (s MarkLent) Undo(context.Context, *plan.Machine) error { return nil }

func (MarkLent) Nature() plan.Nature { return plan.Undoable }

func (s MarkLent) String() string { return s.SetMark.String() }

// ChangeLentMark gives the attachment of a lent card another origin. It is the loan that
// says it: the guest can change the mark on the card.
type ChangeLentMark struct {
	plan.ChangeMark
	card string      // its name on the host
	was  spec.Origin // as the loan has it
}

func (s ChangeLentMark) Do(ctx context.Context, m *plan.Machine) error {
	if err := s.ChangeMark.Do(ctx, m); err != nil {
		return err
	}
	if err := s.note(m, s.Origin); err != nil {
		return plan.Half(err, s.ChangeMark.Undo(ctx, m), s)
	}
	return nil
}

func (s ChangeLentMark) Undo(ctx context.Context, m *plan.Machine) error {
	return errors.Join(s.note(m, s.was), s.ChangeMark.Undo(ctx, m))
}

func (s ChangeLentMark) note(m *plan.Machine, o spec.Origin) error {
	loan, err := loanOf(m, s.card)
	if err != nil || loan == nil {
		return err
	}
	loan.Origin = o
	return loan.Save()
}

func (ChangeLentMark) Nature() plan.Nature { return plan.Undoable }
