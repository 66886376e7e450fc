package attach

import (
	"context"
	"fmt"
	"slices"

	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/rtnl"
)

// What list, detach and gc know of cards that are lent.

// Lent is a loan and where its card is.
type Lent struct {
	Loan
	Link  *rtnl.Link // the card, in the guest; nil: it is not there
	Home  *rtnl.Link // the card, on the host; nil: it is not there
	Taken *rtnl.Link // another link on the host that has its name; nil: none
}

// lentBy returns the loans of a host, and which cards are back there.
func lentBy(k kernel) ([]Lent, error) {
	all, err := loans(k)
	if err != nil || len(all) == 0 {
		return nil, err
	}
	links, err := k.Links()
	if err != nil {
		return nil, explain("list", "links", err)
	}
	var out []Lent
	for _, loan := range all {
		l := Lent{Loan: loan, Home: loan.find(links)}
		for _, other := range links {
			if other != l.Home && (other.Name == loan.Card.Name || slices.Contains(other.AltNames, loan.Card.Name)) {
				l.Taken = other
			}
		}
		out = append(out, l)
	}
	return out, nil
}

// lentTo returns those of the loans whose guest it is, with the cards that are
// there.
func lentTo(guest kernel, all []Lent) (here []Lent, err error) {
	if len(all) == 0 {
		return nil, nil
	}
	cookie, err := guest.Cookie()
	if err != nil {
		return nil, explain("read", "the guest's namespace", err)
	}
	links, err := guest.Links()
	if err != nil {
		return nil, explain("list links of", "the guest", err)
	}
	for _, l := range all {
		if l.GuestNS == cookie {
			l.Link = l.find(links)
			here = append(here, l)
		}
	}
	return here, nil
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
	a.Interface.Kind = string(KindPhys)
	a.State = Half
	if l.Complete {
		a.State = Complete
	}
	return a, err
}

// home plans for the card to come home from a guest.
func (l Lent) home(from place) Step {
	return bringHome{place: from, loan: l.Loan, now: l.Link, home: l.Home}
}

// checkHome refuses to bring home a card whose name somebody has taken.
func (l Lent) checkHome() error {
	if l.Taken == nil {
		return nil
	}
	return fault.New(fault.Conflict, "bring home", l.Card.Name, "the host has another interface of that name by now: %s", describeKind(l.Taken)).
		WithHint("rename that: ip link set dev %s name NEW", l.Card.Name)
}

// strayLoans looks at the loans of a host whose guests have gone, or were never
// reached. held are those of guests that were found.
func (o *gcObserver) strayLoans(k kernel, all, held []Lent, f *GCFacts) {
	for _, l := range all {
		isHeld := slices.ContainsFunc(held, func(h Lent) bool { return h.file() == l.file() })
		switch {
		case isHeld && l.Home == nil:
		case l.Home == nil && o.hidden(k, l):
		case l.Home != nil, l.Hardware.Kind != "":
			f.Strays = append(f.Strays, Stray{Lent: l})
		default:
			f.Warnings = append(f.Warnings, fmt.Sprintf("%s was lent to %s, and is in no namespace that can be found", l.Card.Name, l.To.Name))
		}
	}
}

// hidden reports whether a card is in a namespace that only a descriptor, or a
// file somewhere, holds: every guest with a card has an id on the host.
func (o *gcObserver) hidden(k kernel, l Lent) (found bool) {
	o.look("lent cards", func() error {
		ids, err := k.NamespaceIDs()
		for _, id := range ids {
			links, err := k.LinksIn(id)
			if err == nil && l.find(links) != nil {
				found = true
			}
		}
		return err
	})
	return found
}

// Stray is a loan whose guest has no use of the card any more.
type Stray struct {
	Lent
	path  string // of the guest's namespace, if the card is still there
	inode uint64
}

// end plans for the card to come home; a virtual one has gone with its guest.
func (s Stray) end() Step {
	if s.Link == nil && s.Home == nil {
		return forgetLoan{s.Loan}
	}
	return bringHome{path: s.path, inode: s.inode, loan: s.Loan, now: s.Link, home: s.Home}
}

// forgetLoan strikes out the loan of a card that is no more.
type forgetLoan struct{ loan Loan }

func (s forgetLoan) do(context.Context, *machine) error   { return s.loan.forget() }
func (s forgetLoan) undo(context.Context, *machine) error { return s.loan.save() }
func (s forgetLoan) left() string {
	return "the note in " + runDir + " of what " + s.loan.Card.Name + " was like"
}

func (s forgetLoan) String() string {
	return "# " + s.loan.Card.Name + " has gone with " + s.loan.To.Name + ": forget what it was like"
}
