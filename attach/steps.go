package attach

import (
	"context"

	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/plan"
)

// The steps that every kind of link needs. Those of one kind are in its file.

// delLink deletes a link of ours on the host, and its other end with it.
type delLink struct {
	name  string
	index int // what had the name when it was looked at
}

// do looks once more: the rules that went before have taken their time.
func (s delLink) Do(_ context.Context, m *plan.Machine) error {
	l, err := m.Host().LinkByIndex(s.index)
	if err != nil {
		return fault.IgnoreAbsent("delete", s.name, err)
	}
	if l.Group != plan.Group || l.Name != s.name {
		return fault.New(fault.Conflict, "delete", s.name, "somebody has renamed it or taken it over")
	}
	if l.Kind != "veth" { // made for others, some of whom may not be ours
		if used, err := isUsed(m, l.Index); err != nil || used {
			return err
		}
	}
	m.Forget(plan.OnHost, s.name)
	return fault.IgnoreAbsent("delete", s.name, deleteLink(m.Host(), l.Index))
}

func (s delLink) Undo(context.Context, *plan.Machine) error { return nil }

func (delLink) Nature() plan.Nature { return plan.Final }

func (s delLink) String() string { return "ip link del dev " + s.name }

// delInner deletes a link of ours in a guest that has no end on the host.
type delInner struct {
	plan.Place
	name  string
	index int // what had the name when it was looked at
}

func (s delInner) Do(_ context.Context, m *plan.Machine) error {
	return fault.IgnoreAbsent("delete", s.name, deleteLink(s.Kernel(m), s.index))
}

func (s delInner) Undo(context.Context, *plan.Machine) error { return nil }

func (delInner) Nature() plan.Nature { return plan.Final }

func (s delInner) String() string { return s.Enter + "ip link del dev " + s.name }

// dropHalf deletes what was made in a guest but is not there under its name:
// the guest has renamed it in the instant since.
func dropHalf(m *plan.Machine, at plan.Side, kind string, parent int) error {
	links, err := m.In(at).Links()
	if err != nil {
		return err
	}
	for _, l := range links {
		if plan.IsOurs(l) && l.Kind == kind && l.Alias == "" && (parent == 0 || l.Peer == parent) {
			if err := deleteLink(m.In(at), l.Index); !fault.Absent(err) && err != nil {
				return err
			}
		}
	}
	return nil
}
