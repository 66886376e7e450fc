package attach

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/plan"
	"github.com/gopipework/gopipework/internal/rtnl"
	"github.com/gopipework/gopipework/internal/shell"
	"golang.org/x/sys/unix"
)

// What list, detach and gc know of cards that are lent.

// lentIn returns the names, at home, of the cards that are lent to a namespace or
// have come home to it, whichever host of this machine lent them, by the index
// that they have among its links. They are nobody's to delete.
func lentIn(k plan.Reader, links []*rtnl.Link) (map[int]string, error) {
	all, _, err := readLoans("")
	if err != nil || len(all) == 0 {
		return nil, err
	}
	cookie, err := k.Cookie()
	if err != nil {
		return nil, err
	}
	lent := map[int]string{}
	for _, loan := range all {
		var l *rtnl.Link
		switch cookie {
		case loan.GuestNS:
			l = loan.away(k, links)
		case loan.HostNS:
			l = loan.home(k, links)
		}
		if l != nil {
			lent[l.Index] = loan.Card.Name
		}
	}
	return lent, nil
}

// deleteLink is the one door through which this package deletes links. It deletes
// only what was made here, and so no lent card, whatever its guest has set on it.
func deleteLink(k plan.Kernel, index int) error {
	l, err := k.LinkByIndex(index)
	if err != nil {
		return err
	}
	lent, err := lentIn(k, []*rtnl.Link{l})
	if err != nil {
		// Not %w: an errno of another object does not say that the link is absent.
		return fault.New(fault.Failed, "delete", l.Name, "it is not known whether it is lent: %v", err)
	}
	if name, is := lent[index]; is {
		return fault.New(fault.Conflict, "delete", name, "it is a lent card: gopipework detach brings it home")
	}
	return k.DelLink(index)
}

// Lent is a loan and where its card is.
type Lent struct {
	Loan
	Link  *rtnl.Link // the card, in a guest; nil: it is not there
	Moved bool       // that is another guest than it was lent to
	Home  *rtnl.Link // the card, on the host; nil: it is not there
	Taken *rtnl.Link // another link on the host that has its name; nil: none
}

// lentBy returns the loans of a host, and which cards are back there.
func lentBy(k plan.Kernel) (out []Lent, unread []string, err error) {
	all, bad, err := loans(k)
	for _, u := range bad {
		unread = append(unread, u.String())
	}
	if err != nil || len(all) == 0 {
		return nil, unread, err
	}
	links, err := k.Links()
	if err != nil {
		return nil, nil, fault.Explain("list", "links", err)
	}
	for _, loan := range all {
		l := Lent{Loan: loan, Home: loan.home(k, links)}
		l.Taken = named(slices.DeleteFunc(slices.Clone(links), func(other *rtnl.Link) bool { return other == l.Home }), loan.Card.Name)
		out = append(out, l)
	}
	return out, unread, nil
}

// lentTo returns those of the loans whose guest it is, with the cards that are
// there, and those whose cards another guest has moved there.
func lentTo(guest plan.Kernel, all []Lent) (here []Lent, err error) {
	if len(all) == 0 {
		return nil, nil
	}
	cookie, err := guest.Cookie()
	if err != nil {
		return nil, fault.Explain("read", "the guest's namespace", err)
	}
	links, err := guest.Links()
	if err != nil {
		return nil, fault.Explain("list links of", "the guest", err)
	}
	for _, l := range all {
		switch {
		case l.owed(): // it has been home, and if it is away again, nobody lent it
		case l.GuestNS == cookie:
			l.Link = l.away(guest, links)
		case l.Home == nil && cookie != l.HostNS:
			l.Link = l.elsewhere(guest, links)
			l.Moved = l.Link != nil
		}
		if l.GuestNS == cookie || l.Moved {
			here = append(here, l)
		}
	}
	return here, nil
}

// lentBefore returns those of the loans whose guest it was, before it had the
// namespace that it has now: a container that was started anew. here are those
// that lentTo has found.
func lentBefore(g GuestInfo, all, here []Lent) (before []Lent) {
	for _, l := range all {
		met := slices.ContainsFunc(here, func(h Lent) bool { return h.file() == l.file() })
		if !met && g.ID != "" && l.To.Runtime == g.Runtime && l.To.ID == g.ID {
			before = append(before, l)
		}
	}
	return before
}

// describe tells what a loan is. ns is the guest's namespace; nil: it was not
// found.
func (l Lent) describe(ns *namespace) (Attachment, error) {
	a := Attachment{Guest: l.To, Host: Host{Kind: string(KindPhys), Name: l.Card.Name}, State: Orphan}
	a.Interface = Interface{Name: l.IfName, Kind: string(KindPhys), MAC: l.Card.MAC, MTU: l.Card.MTU, Addresses: noAddrs, Gateway: noGateways}
	a.Guest.PID = 0
	if l.Home != nil {
		a.State = Half
	}
	if ns == nil || l.Link == nil {
		return a, nil
	}
	a.Guest.PID, a.Guest.NetNS = ns.pid, ns.inode
	err := ns.read(&a, l.Link.Index)
	if errors.Is(err, rtnl.ErrNotFound) {
		return a, nil // its guest has moved it on since: whoever wants it looks for it
	}
	a.Interface.Kind = string(KindPhys)
	a.State = Half
	if l.Complete {
		a.State = Complete
	}
	return a, err
}

// home plans for the card to come home from a guest.
func (l Lent) home(from plan.Place) plan.Step {
	return bringHome{Place: from, loan: l.Loan, now: l.Link, home: l.Home}
}

// checkHome refuses to bring home a card whose name somebody has taken.
func (l Lent) checkHome() error {
	if l.Taken == nil || l.owed() {
		return nil
	}
	return nameTaken(l.Card.Name, l.Taken)
}

func nameTaken(name string, by *rtnl.Link) error {
	return fault.New(fault.Conflict, "bring home", name, "the host has another interface of that name by now: %s", describeKind(by)).
		WithHint("rename that: ip link set dev %s name NEW", by.Name)
}

// Stray is a loan whose guest no longer has the card.
type Stray struct {
	Lent
	path  string // of the namespace that the card is in, if it is still away
	inode uint64
	gone  bool // there is no such card any more
}

// stray judges a loan for gc. ns is the namespace in which the card was found; nil if
// it was not found.
func (o *gcObserver) stray(m *plan.Machine, l Lent, ns *namespace, f *GCFacts) {
	o.look("lent cards", func() error {
		if l.Home != nil {
			f.Strays = append(f.Strays, Stray{Lent: l})
			return nil
		}
		if ns == nil {
			t, err := trace(m.Host(), m.HostNS, l.Loan)
			defer t.close()
			switch {
			case err != nil:
				return err
			case t.gone:
				f.Strays = append(f.Strays, Stray{Lent: l, gone: true})
				return nil
			case l.owed(): // somebody has moved it away since it was home
				return nil
			case t.at == nil:
				f.Warnings = append(f.Warnings, l.lost(t).Error())
				return nil
			}
			ns, l.Link = t.at, t.link
		}
		switch {
		case l.Complete && ns.pid == 0 && hasLeft(l.To, ns) && !l.Moved, !l.Complete:
			if o.idle(ns) {
				f.Strays = append(f.Strays, Stray{Lent: l, path: ns.path, inode: ns.inode})
				o.goes(ns, l.Link.Index)
			}
		case l.Moved, hasLeft(l.To, ns):
			f.Warnings = append(f.Warnings, fmt.Sprintf("%s, which was lent to %s, is in the namespace of %s, as %s: gopipework detach %s %s brings it home",
				l.Card.Name, l.To.Name, ns.holder(), shell.Quote(l.Link.Name), ns.word(), l.IfName))
		}
		return nil
	})
}

// hasLeft reports whether the guest's own process has ended, or left the namespace,
// while others keep it. That is unknown for a guest without a process.
func hasLeft(g GuestInfo, ns *namespace) bool {
	if g.PID == 0 {
		return false
	}
	var st unix.Stat_t
	err := unix.Stat("/proc/"+itoa(g.PID)+"/ns/net", &st)
	return errors.Is(err, unix.ENOENT) || err == nil && st.Ino != g.NetNS
}

// end plans to bring the card home, or to forget the loan of one that is gone.
func (s Stray) end() plan.Step {
	if s.gone {
		return forgetLoan{s.Loan}
	}
	return bringHome{path: s.path, inode: s.inode, loan: s.Loan, now: s.Link, home: s.Home}
}

// forgetLoan strikes out the loan of a card that is no more.
type forgetLoan struct{ loan Loan }

func (s forgetLoan) Do(context.Context, *plan.Machine) error   { return s.loan.forget() }
func (s forgetLoan) Undo(context.Context, *plan.Machine) error { return s.loan.save() }
func (s forgetLoan) Left() string {
	return "the note in " + runDir + " of what " + s.loan.Card.Name + " was like"
}

func (forgetLoan) Nature() plan.Nature { return plan.Undoable }

func (s forgetLoan) String() string {
	return "# there is no " + s.loan.Card.Name + " any more, as it was lent to " + s.loan.To.Name + ": forget what it was like"
}

// WhereLent tells what has become of the cards that were lent to a guest which is
// not there any more, by a word of the command line that named it: "" if there
// is nothing to tell. It is advice for somebody who wanted one back.
func WhereLent(word string, opt Options) (where string) {
	_, _ = opt.in(func(hostNS *os.File) (Result, error) {
		where = whereLent(hostNS, word)
		return Result{}, nil
	})
	return where
}

func whereLent(hostNS *os.File, word string) string {
	k, err := rtnl.Open(hostNS)
	if err != nil {
		return ""
	}
	defer k.Close()
	all, _, err := lentBy(k)
	if err != nil {
		return ""
	}
	var lines []string
	for _, l := range all {
		if !answersTo(l.To, word) || l.Home != nil {
			continue
		}
		if t, err := trace(k, hostNS, l.Loan); err == nil && t.at != nil {
			lines = append(lines, fmt.Sprintf("%s keeps %s: gopipework detach %s %s", t.at.holder(), l.Card.Name, t.at.word(), l.IfName))
			t.close()
		}
	}
	return strings.Join(lines, "; ")
}

// answersTo reports whether a word of the command line means the guest.
func answersTo(g GuestInfo, word string) bool {
	_, bare, ok := strings.Cut(word, ":")
	if !ok {
		bare = word
	}
	return word == g.Word() || word == g.Name || bare == g.Name || g.ID != "" && strings.HasPrefix(bare, g.ID)
}

// unreadLoans returns a warning for each note about a lent card that cannot be read.
func unreadLoans(hostNS *os.File) []string {
	k, err := rtnl.Open(hostNS)
	if err != nil {
		return nil
	}
	defer k.Close()
	_, unread, _ := lentBy(k)
	return unread
}
