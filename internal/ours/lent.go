package ours

import (
	"errors"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/guests"
	"github.com/gopipework/gopipework/internal/nsfs"
	"github.com/gopipework/gopipework/internal/plan"
	"github.com/gopipework/gopipework/internal/rtnl"
	"golang.org/x/sys/unix"
)

// What list, detach and gc know of cards that are lent.

// LentIn returns the names, at home, of the cards that are lent to a namespace or
// have been returned to it, whichever host of this machine lent them, by the index
// that they have among its links. They are nobody's to delete.
func LentIn(k plan.Reader, links []*rtnl.Link) (map[int]string, error) {
	all, _, err := ReadLoans("")
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
			l = loan.Away(k, links)
		case loan.HostNS:
			l = loan.Home(k, links)
		}
		if l != nil {
			lent[l.Index] = loan.Card.Name
		}
	}
	return lent, nil
}

// DeleteLink is the one door through which this package deletes links. It deletes
// only what was made here, and so no lent card, whatever its guest has set on it.
func DeleteLink(k plan.Kernel, index int) error {
	l, err := k.LinkByIndex(index)
	if err != nil {
		return err
	}
	lent, err := LentIn(k, []*rtnl.Link{l})
	if err != nil {
		// Not %w: an errno of another object does not say that the link is absent.
		return fault.New(fault.Failed, "delete", l.Name, "cannot tell whether it is lent: %v", err)
	}
	if name, is := lent[index]; is {
		return fault.New(fault.Conflict, "delete", name, "it is a lent card: gopipework detach returns it")
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

// LentBy returns the loans of a host, and which cards are back there.
func LentBy(k plan.Kernel) (out []Lent, unread []string, err error) {
	all, bad, err := Loans(k)
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
		l := Lent{Loan: loan, Home: loan.Home(k, links)}
		l.Taken = Named(slices.DeleteFunc(slices.Clone(links), func(other *rtnl.Link) bool { return other == l.Home }), loan.Card.Name)
		out = append(out, l)
	}
	return out, unread, nil
}

// LentTo returns those of the loans whose guest it is, with the cards that are
// there, and those whose cards another guest has moved there.
func LentTo(guest plan.Kernel, all []Lent) (here []Lent, err error) {
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
		case l.Owed(): // it was returned, and if it is away again, nobody lent it
		case l.GuestNS == cookie:
			l.Link = l.Away(guest, links)
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

// LentBefore returns those of the loans whose guest it was, before it had the
// namespace that it has now: a container that was started anew. here are those
// that LentTo has found.
func LentBefore(g guests.GuestInfo, all, here []Lent) (before []Lent) {
	for _, l := range all {
		met := slices.ContainsFunc(here, func(h Lent) bool { return h.File() == l.File() })
		if !met && g.ID != "" && l.To.Runtime == g.Runtime && l.To.ID == g.ID {
			before = append(before, l)
		}
	}
	return before
}

// CheckHome refuses to return a card whose name somebody has taken.
func (l Lent) CheckHome() error {
	if l.Taken == nil || l.Owed() {
		return nil
	}
	return NameTaken(l.Card.Name, l.Taken)
}

func NameTaken(name string, by *rtnl.Link) error {
	return fault.New(fault.Conflict, "return", name, "the host has another interface of that name by now: %s", DescribeKind(by)).
		WithHint("rename it: ip link set dev %s name NEW", by.Name)
}

// Stray is a loan whose guest no longer has the card.
type Stray struct {
	Lent
	Path  string // of the namespace that the card is in, if it is still away
	Inode uint64
	Gone  bool // there is no such card any more
}

// HasLeft reports whether the guest's own process has ended, or left the namespace,
// while others keep it. That is unknown for a guest without a process, or with one of another
// PID namespace.
func (l Loan) HasLeft(ns *Namespace) bool {
	g := l.To
	if g.PID == 0 || !nsfs.Counts(l.PIDs) {
		return false
	}
	var st unix.Stat_t
	err := unix.Stat("/proc/"+strconv.Itoa(g.PID)+"/ns/net", &st)
	return errors.Is(err, unix.ENOENT) || err == nil && st.Ino != g.NetNS
}

// AnswersTo reports whether a word of the command line means the guest, of whose ID a mark
// has only the beginning.
func AnswersTo(g guests.GuestInfo, word string) bool {
	runtime, rest, ok := strings.Cut(word, ":")
	if !ok {
		runtime, rest = g.Runtime, word
	}
	switch {
	case word == g.Word() || word == g.Name:
		return true
	case runtime != g.Runtime:
		return false
	}
	return rest == g.Name || rest == g.ID || g.ID != g.Name && samePart(g.ID, rest)
}

// samePart reports whether both are the ID of one container, or a beginning of it that is
// long enough for a word of the command line.
func samePart(a, b string) bool {
	isID := func(s string) bool { return len(s) >= 4 && strings.Trim(s, "0123456789abcdef") == "" }
	return isID(a) && isID(b) && (strings.HasPrefix(a, b) || strings.HasPrefix(b, a))
}

// UnreadLoans returns a warning for each note about a lent card that cannot be read.
func UnreadLoans(hostNS *os.File) []string {
	k, err := rtnl.Open(hostNS)
	if err != nil {
		return nil
	}
	defer k.Close()
	_, unread, _ := LentBy(k)
	return unread
}
