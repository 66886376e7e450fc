package kind

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/ours"
	"github.com/gopipework/gopipework/internal/plan"
	"github.com/gopipework/gopipework/internal/rtnl"
	"github.com/gopipework/gopipework/internal/shell"
	"golang.org/x/sys/unix"
)

// ReturnCard returns a card from a guest, or from where the end of that guest
// has left it, and makes it what it was.
type ReturnCard struct {
	plan.Place
	path  string // of the guest's namespace, if that is not the place's
	inode uint64
	loan  ours.Loan
	now   *rtnl.Link // in the guest; nil: it is not there
	home  *rtnl.Link // on the host; nil: it is not there yet
}

func (s ReturnCard) Do(_ context.Context, m *plan.Machine) error {
	from := ours.Away{Kernel: s.Kernel(m), NS: m.Guests[s.Side].Namespace}
	if s.path != "" {
		ns, err := ours.OpenSame(s.path, s.inode)
		if err == nil {
			defer ns.Close()
			var c *rtnl.Conn
			if c, err = rtnl.Open(ns); err == nil {
				defer c.Close()
				from = ours.Away{Kernel: c, NS: ns}
			}
		}
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return fault.Explain("enter", s.path, err)
		}
	}
	m.Forget(plan.OnHost, s.loan.Card.Name)
	missing, err := bringBack(m, from, s.loan)
	if missing != nil {
		m.FallShort(missing)
	}
	return err
}

func (s ReturnCard) Undo(context.Context, *plan.Machine) error { return nil }

func (ReturnCard) Nature() plan.Nature { return plan.Final }

func (s ReturnCard) String() string {
	now := rtnl.Link{Name: s.loan.Card.Name}
	var lines []string
	if s.loan.Owed() {
		for _, p := range s.loan.Missing {
			lines = append(lines, p.Command)
		}
		return strings.Join(lines, "\n")
	}
	switch {
	case s.home != nil:
		now = *s.home
	case s.loan.Hardware.Radio != nil:
		lines = append(lines, fmt.Sprintf("%siw phy#%d set netns $$", s.in(), *s.loan.Hardware.Radio))
	case s.now != nil:
		lines = append(lines, fmt.Sprintf("%sip link set dev %s netns $$ name %s", s.in(), shell.Quote(s.now.Name), shell.Quote(now.Name)))
	}
	lines = append(lines, s.loan.Card.Commands(&now)...)
	return strings.Join(lines, "\n")
}

func (s ReturnCard) in() string {
	if s.path != "" {
		return "nsenter --net=" + shell.Quote(s.path) + " "
	}
	return s.Enter
}

func awayAt(m *plan.Machine, at plan.Side) ours.Away {
	return ours.Away{Kernel: m.In(at), NS: m.Guests[at].Namespace}
}

// returnWhole is bringBack for a caller that cannot go on with a card of which
// something could not be restored.
func returnWhole(m *plan.Machine, from ours.Away, loan ours.Loan) error {
	missing, err := bringBack(m, from, loan)
	if err == nil && missing != nil {
		return missing
	}
	return err
}

// bringBack returns the card, wherever it is, and restores what it was like. The
// loan is over once the card is on the host and equal, or no longer exists. While parts
// are missing that may still come back, it stays, for these parts alone. The first
// error lists what is missing, whether it may come back or not.
func bringBack(m *plan.Machine, from ours.Away, loan ours.Loan) (missing *fault.Error, err error) {
	l, err := fetchCard(m, from, loan)
	switch {
	case err != nil:
		return nil, err
	case l == nil && loan.Owed(): // it was moved away, or deleted: gc finds out which
		return nil, nil
	case l == nil:
		return nil, loan.Forget()
	}
	parts, err := restoreCard(m, l, loan)
	if err != nil {
		e := fault.New(fault.Residue, "restore", loan.Card.Name, "it is on the host again, as %s, but not as it was: %w", l.Name, err)
		e.Residue = []string{l.Name}
		return nil, e.WithHint("gopipework gc tries again")
	}
	return settleLoan(m, loan, parts)
}

// restoreCard restores what a returned card lacks. Of one that was returned earlier
// it touches nothing else.
func restoreCard(m *plan.Machine, l *rtnl.Link, loan ours.Loan) ([]rtnl.Part, error) {
	if loan.Owed() {
		return m.Host().RestoreParts(l.Index, loan.Card, loan.Missing), nil
	}
	return m.Host().Restore(l.Index, loan.Card)
}

// settleLoan ends the loan of a returned card, or notes which parts are to be tried
// again.
func settleLoan(m *plan.Machine, loan ours.Loan, parts []rtnl.Part) (missing *fault.Error, err error) {
	name := loan.Card.Name
	loan.Missing = nil
	for _, p := range parts {
		if p.Taken {
			m.Warn(fmt.Sprintf("%s: %v; so it stays as it is", name, p.Err))
			continue
		}
		if missing == nil {
			missing = &fault.Error{Code: fault.Residue, Op: "restore", Object: name}
		}
		missing.Err = errors.Join(missing.Err, p.Err)
		missing.Residue = append(missing.Residue, p.Err.Error())
		if !p.Over {
			loan.Missing = append(loan.Missing, p)
		}
	}
	if loan.Owed() {
		err = loan.Save()
	} else {
		err = loan.Forget()
	}
	if err != nil || missing == nil {
		return nil, err
	}
	missing.Err = fmt.Errorf("it is on the host again, but %w", missing.Err)
	if loan.Owed() {
		return missing.WithHint("gopipework gc tries again, and leaves alone whatever somebody has changed by then; once %s is as it should be, delete %s",
			name, shell.Quote(ours.RunDir+"/"+loan.File())), nil
	}
	return missing.WithHint("gopipework does not try again: use those of the commands that still make sense"), nil
}

// FetchTimeout is how long we try to fetch a card. A guest can rename it, give it a
// name that the host uses, or move it on, at any instant and repeatedly. So we try
// again and again; at least a few times, however long one try takes, because on a
// busy machine it takes seconds to look through every namespace.
var FetchTimeout = 5 * time.Second

const (
	fetchTries = 3
	fetchPause = time.Millisecond
)

// fetchCard moves the card to the host if it is away, and returns it; nil if it no
// longer exists. One that was returned before is only looked for there: if it is away again,
// gopipework did not lend it.
func fetchCard(m *plan.Machine, from ours.Away, loan ours.Loan) (*rtnl.Link, error) {
	name := loan.Card.Name
	if loan.Owed() {
		links, err := m.Host().Links()
		if err != nil {
			return nil, fault.Explain("list", "links", err)
		}
		return loan.Home(m.Host(), links), nil
	}
	var last error
	deadline := time.Now().Add(FetchTimeout)
	for try := 1; ; try++ {
		l, err := lookForCard(m, from, loan)
		if l != nil || err != nil && !guestsDoing(err) {
			return l, fault.Explain("return", name, err)
		}
		if err == nil { // neither in the guest nor at home
			t, terr := ours.Trace(m.Host(), m.HostNS, loan)
			if terr != nil {
				return nil, terr
			}
			switch {
			case t.Gone:
				return nil, nil
			case t.At == nil:
				return nil, Lost(loan, t)
			}
			err = moveHome(m, ours.Away{Kernel: t.At.Links, NS: t.At.File}, t.Link, loan)
			t.Close()
		}
		if err != nil {
			last = err
		}
		if try >= fetchTries && time.Now().After(deadline) {
			return nil, fault.New(fault.Failed, "return", name, "somebody in %s keeps changing it: %w", loan.To.Name, cmp.Or(last, error(unix.EAGAIN))).
				WithHint("stop %s, then run gopipework detach %s %s again", loan.To.Name, loan.To.Word(), loan.IfName)
		}
		time.Sleep(fetchPause)
	}
}

// guestsDoing reports whether an error can be that of a guest that changes the
// card while it is moved.
func guestsDoing(err error) bool {
	return fault.Absent(err) || errors.Is(err, unix.EEXIST) || errors.Is(err, unix.EBUSY)
}

// Lost is the error for a card that was not found, but that may still exist.
func Lost(l ours.Loan, t ours.Traced) error {
	if t.Maybe != "" {
		return fault.New(fault.Failed, "return", l.Card.Name, "it is neither on the host nor in %s; this may be it: %s", l.To.Name, t.Maybe).
			WithHint("move it to the host by hand, then gopipework gc restores it; if it no longer exists, delete %s/%s", ours.RunDir, l.File())
	}
	return fault.New(fault.Failed, "return", l.Card.Name, "it is in no namespace that can be found").
		WithHint("once it is on the host again, gopipework gc restores it")
}

// lookForCard returns the card if it is on the host, and moves it there if it is in the guest that
// it was lent to; nil if it is in neither place.
func lookForCard(m *plan.Machine, from ours.Away, loan ours.Loan) (*rtnl.Link, error) {
	if from.Kernel != nil {
		links, err := from.Links()
		if err != nil {
			return nil, err
		}
		if l := loan.Away(from, links); l != nil {
			is, err := ours.Genuine(m.Host(), from, l, m.HostNS, loan)
			if err == nil && is {
				err = moveHome(m, from, l, loan)
			}
			if err != nil {
				return nil, err
			}
		}
	}
	links, err := m.Host().Links()
	if err != nil {
		return nil, err
	}
	return loan.Home(m.Host(), links), nil
}

// moveHome moves the card. It first drops the alternative names that the guest has
// given it, because one that the host uses too would make the move fail.
func moveHome(m *plan.Machine, from ours.Away, l *rtnl.Link, loan ours.Loan) error {
	for _, name := range l.AltNames {
		if err := from.DelAltName(l.Index, name); err != nil && !fault.Absent(err) {
			return err
		}
	}
	if radio := loan.Hardware.Radio; radio != nil {
		return from.MoveWiphy(*radio, m.HostNS)
	}
	links, err := m.Host().Links()
	if err != nil {
		return err
	}
	if other := ours.Named(links, loan.Card.Name); other != nil {
		return ours.NameTaken(loan.Card.Name, other)
	}
	to := rtnl.Move{NS: m.HostNS, Name: loan.Card.Name, Group: &loan.Card.Group, Index: loan.Card.Index}
	err = from.MoveLink(l.Index, to)
	if errors.Is(err, unix.EBUSY) { // somebody has its index by now
		to.Index = 0
		err = from.MoveLink(l.Index, to)
	}
	return err
}

// HomeStep returns the card from a guest that has it.
func HomeStep(l ours.Lent, from plan.Place) plan.Step {
	return ReturnCard{Place: from, loan: l.Loan, now: l.Link, home: l.Home}
}

// strayStep returns a card whose guest has died, or forgets the loan of a card that
// is gone.
func strayStep(s ours.Stray) plan.Step {
	if s.Gone {
		return ForgetLoan{s.Loan}
	}
	return ReturnCard{path: s.Path, inode: s.Inode, loan: s.Loan, now: s.Link, home: s.Home}
}

// ForgetLoan strikes out the loan of a card that is no more.
type ForgetLoan struct{ loan ours.Loan }

func (s ForgetLoan) Do(context.Context, *plan.Machine) error { return s.loan.Forget() }

func (s ForgetLoan) Undo(context.Context, *plan.Machine) error { return s.loan.Save() }

func (s ForgetLoan) Left() string {
	return "the file in " + ours.RunDir + " with the settings of " + s.loan.Card.Name
}

func (ForgetLoan) Nature() plan.Nature { return plan.Undoable }

func (s ForgetLoan) String() string {
	return "# there is no " + s.loan.Card.Name + " any more, as it was lent to " + s.loan.To.Name + ": forget what it was like"
}
