package kind

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/gopipework/gopipework/bridge"
	"github.com/gopipework/gopipework/bridge/firewall"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/ours"
	"github.com/gopipework/gopipework/internal/plan"
	"golang.org/x/sys/unix"
)

// The steps of Linux bridges.

// AddBridge makes a bridge, sets it up, and marks it.
type AddBridge struct{ bridge.New }

func (s AddBridge) Do(_ context.Context, m *plan.Machine) error {
	i, err := s.Add(m.Host())
	if err == nil {
		m.Know(plan.OnHost, s.Name, i)
		return nil
	}
	if errors.Is(err, unix.EOPNOTSUPP) {
		return fault.New(fault.Unsupported, "make bridge", s.Name, "%w", err).
			WithHint("the kernel needs the module bridge (CONFIG_BRIDGE)")
	}
	err = fault.Explain("make bridge", s.Name, err)
	return residueOf(err, s)
}

// Undo leaves the bridge to whoever has come to use it meanwhile.
func (s AddBridge) Undo(_ context.Context, m *plan.Machine) error {
	i := m.Index(plan.OnHost, s.Name)
	if used, err := ours.IsUsed(m, i); err != nil || used {
		return err
	}
	return fault.IgnoreAbsent("delete bridge", s.Name, ours.DeleteLink(m.Host(), i))
}

func (AddBridge) Nature() plan.Nature { return plan.Shared }

func (s AddBridge) String() string { return strings.Join(s.Commands(), "\n") }

// AddRule lets frames through the host's firewall.
type AddRule struct{ firewall.Rule }

func (s AddRule) Do(ctx context.Context, m *plan.Machine) error {
	err := m.Host().Run(func() error { return s.Insert(ctx) })
	return plan.Interrupted(err, m, s)
}

// Undo leaves a rule for the whole bridge to others who have plugged in
// meanwhile.
func (s AddRule) Undo(ctx context.Context, m *plan.Machine) error {
	if s.Port == "" {
		if others, err := othersOn(m, s.Bridge); others || err != nil {
			return err
		}
	}
	return m.Host().Run(func() error { return s.Delete(ctx) })
}

func (AddRule) Nature() plan.Nature { return plan.Shared }

func (s AddRule) String() string { return s.InsertCommand() }

// othersOn reports whether a bridge has a port of ours. Ports that a plan has
// made are gone when it undoes what it did before them.
func othersOn(m *plan.Machine, name string) (bool, error) {
	l, err := m.Host().LinkByName(name)
	if err != nil {
		return false, ours.UnlessNotFound(err)
	}
	ports, err := m.Host().Ports(l.Index)
	return slices.ContainsFunc(ports, guestPort), fault.Explain("list ports of", name, err)
}

// DelRule deletes such a rule.
type DelRule struct{ firewall.Rule }

func (s DelRule) Do(ctx context.Context, m *plan.Machine) error {
	return m.Host().Run(func() error { return s.Delete(ctx) })
}

func (s DelRule) Undo(ctx context.Context, m *plan.Machine) error {
	return m.Host().Run(func() error { return s.Insert(ctx) })
}

func (DelRule) Nature() plan.Nature { return plan.Undoable }

func (s DelRule) String() string { return s.DeleteCommand() }

// AwaitForwarding waits until the bridge passes frames of the port on: a few
// milliseconds, or twice the forward delay if it runs STP. What is sent before
// is heard by nobody.
type AwaitForwarding struct{ port, bridge string }

func (s AwaitForwarding) Do(ctx context.Context, m *plan.Machine) error {
	return m.Await(ctx, plan.OnHost, func() (bool, error) {
		l, err := m.Host().LinkByIndex(m.Index(plan.OnHost, s.port))
		if err != nil {
			return false, fault.Explain("find", s.port, err)
		}
		if l.Master != m.Index(plan.OnHost, s.bridge) {
			return false, fault.New(fault.Gone, "wait for", s.port, "somebody removed it from %s", s.bridge)
		}
		return l.Forwarding, nil
	})
}

func (s AwaitForwarding) Undo(context.Context, *plan.Machine) error { return nil }

func (AwaitForwarding) Nature() plan.Nature { return plan.Passive }

func (s AwaitForwarding) String() string {
	return "# wait until " + s.bridge + " forwards on " + s.port
}
