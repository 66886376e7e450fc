package plan

import (
	"context"

	"github.com/gopipework/gopipework/internal/fault"
)

// DelRoute deletes a route by a guest's interface.
type DelRoute struct{ AddRoute }

func (s DelRoute) Do(ctx context.Context, m *Machine) error { return s.AddRoute.Undo(ctx, m) }

func (s DelRoute) Undo(_ context.Context, m *Machine) error {
	return s.explain(EnsureRoute(s.Kernel(m), s.Route(m)))
}

func (s DelRoute) String() string {
	return s.Enter + IPCommand(s.Dst.Addr().Is6()) + "route del " + s.Words()
}

// ReplaceRoute puts a route in the place of another with the same destination, metric and
// table: no packet misses one of them.
type ReplaceRoute struct {
	AddRoute
	Was AddRoute
}

func (s ReplaceRoute) Do(_ context.Context, m *Machine) error {
	return s.explain(s.Kernel(m).ReplaceRoute(s.Route(m)))
}

func (s ReplaceRoute) Undo(_ context.Context, m *Machine) error {
	return fault.Explain("replace route", s.Was.Words(), s.Kernel(m).ReplaceRoute(s.Was.Route(m)))
}

func (s ReplaceRoute) String() string {
	return s.Enter + IPCommand(s.Dst.Addr().Is6()) + "route replace " + s.Words()
}
