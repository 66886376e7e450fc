package kind

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/gopipework/gopipework/bridge"
	"github.com/gopipework/gopipework/internal/build"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/plan"
	"github.com/gopipework/gopipework/internal/rtnl"
	"github.com/gopipework/gopipework/internal/spec"
	"golang.org/x/sys/unix"
)

// AddMirror sends copies of the frames of one port out by another.
type AddMirror struct {
	From, to string
	Ways     []spec.Way
	qdisc    bool // there is no clsact yet
}

func (s AddMirror) Do(ctx context.Context, m *plan.Machine) error {
	from, err := m.Find(plan.OnHost, s.From)
	if err != nil {
		return fault.Explain("find", s.From, err)
	}
	to, err := m.Find(plan.OnHost, s.to)
	if err != nil {
		return fault.Explain("find", s.to, err)
	}
	for _, way := range s.Ways {
		if err := m.Host().AddMirror(rtnl.Mirror{Index: from, Egress: way == spec.In, To: to, Handle: plan.Group}); err != nil {
			return plan.Half(s.explain(err), s.Undo(context.WithoutCancel(ctx), m), s)
		}
	}
	return nil
}

func (s AddMirror) explain(err error) error {
	switch {
	case errors.Is(err, unix.EEXIST):
		return fault.New(fault.Conflict, "mirror", s.From, "%s", ingressTaken(s.From)).WithHint("tc qdisc show dev %s", s.From)
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.EOPNOTSUPP):
		return fault.New(fault.Unsupported, "mirror", s.From, "the kernel lacks the filters that copy frames: %w", err).
			WithHint("the kernel needs the modules sch_ingress, cls_matchall and act_mirred (CONFIG_NET_SCH_INGRESS, CONFIG_NET_CLS_MATCHALL, CONFIG_NET_ACT_MIRRED)")
	}
	return fault.Explain("mirror", s.From, err)
}

// Undo deletes the filters that are there.
func (s AddMirror) Undo(_ context.Context, m *plan.Machine) error {
	from, err := m.Find(plan.OnHost, s.From)
	if err != nil {
		return fault.IgnoreAbsent("find", s.From, err)
	}
	to, err := m.Find(plan.OnHost, s.to)
	if err != nil {
		return fault.IgnoreAbsent("find", s.to, err)
	}
	all, err := m.Host().Mirrors(plan.Group)
	for _, f := range all {
		if f.Index == from && f.To == to && slices.Contains(s.Ways, wayOf(f.Egress)) {
			err = errors.Join(err, m.Host().DelMirror(f))
		}
	}
	return fault.IgnoreAbsent("end the mirror of", s.From, err)
}

func (AddMirror) Nature() plan.Nature { return plan.Undoable }

func (s AddMirror) String() string {
	var lines []string
	if s.qdisc {
		lines = append(lines, "tc qdisc add dev "+s.From+" clsact")
	}
	for _, way := range s.Ways {
		lines = append(lines, fmt.Sprintf("tc filter add dev %s %s handle %#x matchall action mirred egress mirror dev %s continue", s.From, hook(way), plan.Group, s.to))
	}
	return strings.Join(lines, "\n")
}

// hook is where the host's end sees such frames.
func hook(way spec.Way) string {
	if way == spec.In {
		return "egress"
	}
	return "ingress"
}

// DelMirror deletes such a filter, and the clsact with the last one.
type DelMirror struct {
	build.Mirror
	last bool
}

func (s DelMirror) Do(_ context.Context, m *plan.Machine) error {
	return fault.IgnoreAbsent("end the mirror of", s.From, m.Host().DelMirror(s.Filter))
}

func (s DelMirror) Undo(_ context.Context, m *plan.Machine) error {
	if s.To == "" {
		return nil
	}
	again := s.Filter
	again.Pref = 0
	return fault.IgnoreAbsent("mirror", s.From, m.Host().AddMirror(again))
}

func (DelMirror) Nature() plan.Nature { return plan.Undoable }

func (s DelMirror) String() string {
	line := fmt.Sprintf("tc filter del dev %s %s pref %d handle %#x matchall", s.From, hook(s.Way), s.Filter.Pref, plan.Group)
	if s.last {
		line += "\ntc qdisc del dev " + s.From + " clsact"
	}
	return line
}

// AddOVSMirror does the same in Open vSwitch.
type AddOVSMirror struct{ bridge.OVSMirror }

func (s AddOVSMirror) Do(ctx context.Context, m *plan.Machine) error {
	err := m.Host().Run(func() error { return s.Add(ctx) })
	return plan.Interrupted(err, m, s)
}

func (s AddOVSMirror) Undo(ctx context.Context, m *plan.Machine) error {
	return m.Host().Run(func() error { return s.Delete(ctx) })
}

func (AddOVSMirror) Nature() plan.Nature { return plan.Undoable }

func (s AddOVSMirror) String() string { return s.AddCommand() }

// DelOVSMirror deletes it.
type DelOVSMirror struct{ bridge.OVSMirror }

func (s DelOVSMirror) Do(ctx context.Context, m *plan.Machine) error {
	return AddOVSMirror(s).Undo(ctx, m)
}

func (s DelOVSMirror) Undo(ctx context.Context, m *plan.Machine) error {
	if s.From == "" || s.To == "" {
		return nil
	}
	return AddOVSMirror(s).Do(ctx, m)
}

func (DelOVSMirror) Nature() plan.Nature { return plan.Undoable }

func (s DelOVSMirror) String() string { return s.DeleteCommand() }
