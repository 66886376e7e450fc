package attach

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/rtnl"
	"github.com/gopipework/gopipework/internal/shell"
)

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
	from := away{s.kernel(m), m.guests[s.side].Namespace}
	if s.path != "" {
		ns, err := openSame(s.path, s.inode)
		if err == nil {
			defer ns.Close()
			var c *rtnl.Conn
			if c, err = rtnl.Open(ns); err == nil {
				defer c.Close()
				from = away{c, ns}
			}
		}
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return explain("enter", s.path, err)
		}
	}
	delete(m.index, end{host, s.loan.Card.Name})
	return m.giveBack(from, s.loan)
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

// away is where a card is lent to: nothing, if there is no guest any more.
type away struct {
	kernel
	ns *os.File
}

func (m *machine) awayAt(at side) away { return away{m.sides[at], m.guests[at].Namespace} }

// giveBack moves the card home, if it is still away, and makes it what it was.
// Once it is home, what could not be given back of its addresses and routes is
// named, and the loan is over.
func (m *machine) giveBack(from away, loan Loan) error {
	name := loan.Card.Name
	moving := m.moveHome(from, loan)
	links, err := m.sides[host].Links()
	if err != nil {
		return explain("look for", name, errors.Join(moving, err))
	}
	l := loan.find(links)
	switch {
	case l != nil:
	case moving != nil:
		return moving
	case loan.Hardware.Kind != "":
		return loan.forget() // somebody has deleted it: a virtual card is no loss
	default:
		return fault.New(fault.Failed, "bring home", name, "it is neither on the host nor in the guest: somebody moved it on").
			WithHint("when it is back on the host, gopipework gc puts it in order")
	}
	left, err := m.sides[host].Restore(l.Index, loan.Card)
	if err != nil {
		e := fault.New(fault.Residue, "put in order", name, "it is on the host, as %s: %w", l.Name, err)
		e.Residue = []string{l.Name}
		return e.WithHint("gopipework gc tries again")
	}
	left = append(left, explain("plug "+name+" into", loan.Master, m.rejoin(l.Index, loan)))
	if err := loan.forget(); err != nil {
		return err
	}
	return notGivenBack(name, left)
}

// notGivenBack is the error for what a card has not got back.
func notGivenBack(name string, left []error) error {
	if err := errors.Join(left...); err == nil {
		return nil
	}
	e := fault.New(fault.Residue, "put in order", name, "it is home, but %w", errors.Join(left...))
	for _, err := range left {
		if err != nil {
			e.Residue = append(e.Residue, err.Error())
		}
	}
	return e
}

// moveHome moves the card from the guest, if it is there. Its alternative names
// there are the guest's, and one that the host has would be in the way.
func (m *machine) moveHome(from away, loan Loan) error {
	if from.kernel == nil {
		return nil
	}
	links, err := from.Links()
	if err != nil {
		return explain("look for", loan.Card.Name, err)
	}
	l := loan.find(links)
	if l == nil {
		return nil
	}
	if is, err := m.sameVeth(from, l, loan); !is {
		return explain("look for the other end of", loan.Card.Name, err)
	}
	for _, name := range l.AltNames {
		if err := from.DelAltName(l.Index, name); err != nil {
			return ignoreAbsent("take the name "+name+" from", l.Name, err)
		}
	}
	if radio := loan.Hardware.Radio; radio != nil {
		err = from.MoveWiphy(*radio, m.hostNS)
	} else {
		err = from.MoveLink(l.Index, rtnl.Move{NS: m.hostNS, Name: loan.Card.Name})
	}
	return explain("move home", loan.Card.Name, err)
}

// sameVeth reports whether the peer of a link, or its parent, is still the one
// that the card has. A guest can delete a lent veth and make one of its own with
// the same numbers, whose other end would then be in the guest; what is outside
// the guest it cannot forge.
func (m *machine) sameVeth(from away, l *rtnl.Link, loan Loan) (bool, error) {
	if l.Peer == 0 {
		return true, nil
	}
	if loan.Hardware.PeerNS < 0 { // it was on the host
		id, err := from.NamespaceID(m.hostNS)
		return err == nil && id >= 0 && l.PeerNS == id, err
	}
	peer, err := m.sides[host].LinkIn(loan.Hardware.PeerNS, l.Peer)
	if err != nil {
		return false, unlessNotFound(err)
	}
	return peer.Kind == l.Kind && peer.Peer == l.Index, nil
}

// rejoin makes a card a port again of what it was one of. A bond takes only
// cards that are down.
func (m *machine) rejoin(index int, loan Loan) error {
	if loan.Master == "" {
		return nil
	}
	k := m.sides[host]
	l, err := k.LinkByName(loan.Master)
	if err != nil {
		return unlessNotFound(err) // it has gone meanwhile
	}
	if l.Kind == "bridge" {
		return k.SetLink(index, rtnl.Change{Master: l.Index})
	}
	err = errors.Join(k.SetLink(index, rtnl.Change{Down: true}), k.SetLink(index, rtnl.Change{Master: l.Index}))
	if loan.Card.Up {
		err = errors.Join(err, k.SetLink(index, rtnl.Change{Up: true}))
	}
	return err
}
