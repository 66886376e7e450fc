package plan

import (
	"context"

	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/rtnl"
	"github.com/gopipework/gopipework/internal/shell"
)

// SetMark is the last step: it makes the attachment complete. It is on the host's
// end, or, where there is none, on the guest's link.
type SetMark struct {
	Place
	Inner string
	Port  string // "" where the host has no end
	Mark
}

func (s SetMark) Do(_ context.Context, m *Machine) error {
	l, err := s.Kernel(m).LinkByIndex(s.Index(m, s.Inner))
	if err != nil {
		return fault.Explain("find", s.Inner, err)
	}
	if l.Name != s.Inner || !l.Up {
		return fault.New(fault.Failed, "verify", s.Inner, "somebody in the guest renamed it or set it down")
	}
	alias := rtnl.Change{Alias: s.Mark.String()}
	if s.Port == "" {
		return fault.Explain("mark", s.Inner, s.Kernel(m).SetLink(l.Index, alias))
	}
	return fault.Explain("mark", s.Port, m.Host().SetLink(m.Index(OnHost, s.Port), alias))
}

func (s SetMark) Undo(context.Context, *Machine) error { return nil }

func (SetMark) Nature() Nature { return Undoable }

func (s SetMark) String() string {
	if s.Port == "" {
		return s.Enter + "ip link set dev " + s.Inner + " alias " + shell.Quote(s.Mark.String())
	}
	return "ip link set dev " + s.Port + " alias " + shell.Quote(s.Mark.String())
}

// ChangeMark gives an attachment that is complete another origin.
type ChangeMark struct {
	Place
	Link string // that has the mark
	Mark
	Was string // the alias before; undo sets it to that
}

func (s ChangeMark) Do(_ context.Context, m *Machine) error { return s.set(m, s.Mark.String()) }

func (s ChangeMark) Undo(_ context.Context, m *Machine) error {
	return fault.IgnoreAbsent("mark", s.Link, s.set(m, s.Was))
}

func (s ChangeMark) set(m *Machine, alias string) error {
	i, err := m.Find(s.Side, s.Link)
	if err != nil {
		return fault.Explain("find", s.Link, err)
	}
	return fault.Explain("mark", s.Link, s.Kernel(m).SetLink(i, rtnl.Change{Alias: alias, NoAlias: alias == ""}))
}

func (ChangeMark) Nature() Nature { return Undoable }

func (s ChangeMark) String() string {
	return s.Enter + "ip link set dev " + s.Link + " alias " + shell.Quote(s.Mark.String())
}
