package ours

import (
	"context"

	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/plan"
)

// The steps that every kind of link needs. Those of one kind are in its file.

// DelLink deletes a link of ours on the host, and its other end with it.
type DelLink struct {
	Name  string
	Index int // what had the name when it was looked at
}

// Do looks once more: the rules that went before have taken their time.
func (s DelLink) Do(_ context.Context, m *plan.Machine) error {
	l, err := m.Host().LinkByIndex(s.Index)
	if err != nil {
		return fault.IgnoreAbsent("delete", s.Name, err)
	}
	if l.Group != plan.Group || l.Name != s.Name {
		return fault.New(fault.Conflict, "delete", s.Name, "somebody has renamed it or taken it over")
	}
	if l.Kind != "veth" { // made for others, some of whom may not be ours
		if used, err := IsUsed(m, l.Index); err != nil || used {
			return err
		}
	}
	m.Forget(plan.OnHost, s.Name)
	return fault.IgnoreAbsent("delete", s.Name, DeleteLink(m.Host(), l.Index))
}

func (s DelLink) Undo(context.Context, *plan.Machine) error { return nil }

func (DelLink) Nature() plan.Nature { return plan.Final }

func (s DelLink) String() string { return "ip link del dev " + s.Name }

// DelInner deletes a link of ours in a guest that has no end on the host.
type DelInner struct {
	plan.Place
	Name  string
	Index int // what had the name when it was looked at
}

func (s DelInner) Do(_ context.Context, m *plan.Machine) error {
	return fault.IgnoreAbsent("delete", s.Name, DeleteLink(s.Kernel(m), s.Index))
}

func (s DelInner) Undo(context.Context, *plan.Machine) error { return nil }

func (DelInner) Nature() plan.Nature { return plan.Final }

func (s DelInner) String() string { return s.Enter + "ip link del dev " + s.Name }

// DropNamed deletes a link of ours on the host that a step has made, by its name: the
// step may not know its index.
func DropNamed(m *plan.Machine, kind, name string) error {
	l, err := m.Host().LinkByName(name)
	if err == nil && plan.IsOurs(l) {
		err = DeleteLink(m.Host(), l.Index)
	}
	return fault.IgnoreAbsent("delete "+kind, name, err)
}

// DropHalf deletes what was made in a guest but is not there under its name:
// the guest has renamed it in the instant since.
func DropHalf(m *plan.Machine, at plan.Side, kind string, parent int) error {
	links, err := m.In(at).Links()
	if err != nil {
		return err
	}
	for _, l := range links {
		if plan.IsOurs(l) && l.Kind == kind && l.Alias == "" && (parent == 0 || l.Peer == parent) {
			if err := DeleteLink(m.In(at), l.Index); !fault.Absent(err) && err != nil {
				return err
			}
		}
	}
	return nil
}
