package ours

import (
	"context"
	"errors"

	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/plan"
	"github.com/gopipework/gopipework/internal/rtnl"
	"golang.org/x/sys/unix"
)

// The steps that change a link which may be somebody else's, and change it back.

// AddMark marks a link by an alternative name.
type AddMark struct {
	plan.Place
	Link, Mark string
}

func (s AddMark) Do(_ context.Context, m *plan.Machine) error {
	i, err := m.Find(s.Side, s.Link)
	if err == nil {
		err = s.Kernel(m).AddAltName(i, s.Mark)
	}
	if errors.Is(err, unix.EOPNOTSUPP) {
		return fault.New(fault.Unsupported, "mark", s.Link, "%w", err).WithHint("the kernel needs alternative names of interfaces, which Linux has since 5.5")
	}
	return fault.Explain("mark", s.Link, err)
}

func (s AddMark) Undo(_ context.Context, m *plan.Machine) error {
	i, err := m.Find(s.Side, s.Link)
	if err == nil {
		err = s.Kernel(m).DelAltName(i, s.Mark)
	}
	return fault.IgnoreAbsent("unmark", s.Link, err)
}

func (AddMark) Nature() plan.Nature { return plan.Undoable }

func (s AddMark) String() string {
	return s.Enter + "ip link property add dev " + s.Link + " altname " + s.Mark
}

// DelMark deletes the mark.
type DelMark AddMark

func (s DelMark) Do(ctx context.Context, m *plan.Machine) error   { return AddMark(s).Undo(ctx, m) }
func (s DelMark) Undo(ctx context.Context, m *plan.Machine) error { return AddMark(s).Do(ctx, m) }

func (DelMark) Nature() plan.Nature { return plan.Undoable }

func (s DelMark) String() string {
	return s.Enter + "ip link property del dev " + s.Link + " altname " + s.Mark
}

// SetUp sets up a link that was down.
type SetUp struct {
	plan.Place
	Link string
}

func (s SetUp) set(m *plan.Machine, ch rtnl.Change) error {
	i, err := m.Find(s.Side, s.Link)
	if err == nil {
		err = s.Kernel(m).SetLink(i, ch)
	}
	return err
}

func (s SetUp) Do(_ context.Context, m *plan.Machine) error {
	return fault.Explain("set up", s.Link, s.set(m, rtnl.Change{Up: true}))
}

func (s SetUp) Undo(_ context.Context, m *plan.Machine) error {
	return fault.IgnoreAbsent("set down", s.Link, s.set(m, rtnl.Change{Down: true}))
}

func (SetUp) Nature() plan.Nature { return plan.Undoable }

func (s SetUp) String() string { return s.Enter + "ip link set dev " + s.Link + " up" }

// SetDown sets down a link that was up.
type SetDown SetUp

func (s SetDown) Do(ctx context.Context, m *plan.Machine) error   { return SetUp(s).Undo(ctx, m) }
func (s SetDown) Undo(ctx context.Context, m *plan.Machine) error { return SetUp(s).Do(ctx, m) }

func (SetDown) Nature() plan.Nature { return plan.Undoable }

func (s SetDown) String() string { return s.Enter + "ip link set dev " + s.Link + " down" }
