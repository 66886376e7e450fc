package attach

import (
	"context"
	"os"
	"slices"
	"time"

	"github.com/gopipework/gopipework/internal/build"
	"github.com/gopipework/gopipework/internal/guests"
	"github.com/gopipework/gopipework/internal/kind"
	"github.com/gopipework/gopipework/internal/ours"
	"github.com/gopipework/gopipework/internal/passage"
	"github.com/gopipework/gopipework/internal/plan"
)

// DefaultTimeout bounds a run that gives no other bound.
const DefaultTimeout = 30 * time.Second

// bound is DefaultTimeout, except in tests.
var bound = DefaultTimeout

// bound returns ctx with the run's deadline, whose cause is
// context.DeadlineExceeded. extend moves it, unless the user has set it.
func (o Options) bound(ctx context.Context) (_ context.Context, extend func(time.Duration), cancel func()) {
	d := o.Timeout
	if d == 0 {
		d = bound
	}
	ctx, end := context.WithCancelCause(ctx)
	timer := time.AfterFunc(d, func() { end(context.DeadlineExceeded) })
	extend = func(more time.Duration) {
		if o.Timeout == 0 && more > 0 {
			timer.Reset(bound + more)
		}
	}
	return ctx, extend, func() { timer.Stop(); end(nil) }
}

func (o Options) tell(step string) {
	if o.Step != nil {
		o.Step(step)
	}
}

// result is what the plan came to; more are warnings of its steps.
func result(p build.Plan, more ...string) Result {
	return Result{Attachments: p.Attachments, Changed: p.Changes(), Steps: p.Commands(), Warnings: append(slices.Clip(p.Warnings), more...)}
}

// runAttach carries out Attach; hostNS is the namespace that has, or gets, the bridge.
func runAttach(ctx context.Context, s Spec, g guests.Guest, hostNS *os.File, opt Options) (Result, error) {
	ctx, extend, cancel := opt.bound(ctx)
	defer cancel()
	s, tunnel, err := kind.ReadTunnel(ctx, s)
	if err != nil {
		return Result{}, err
	}
	m, err := plan.Open(ctx, hostNS, g)
	if err != nil {
		return Result{}, err
	}
	defer m.Close()
	m.Remember(ours.KeeperKey{}, opt.keeper())
	if opt.Parking != nil {
		m.Remember(kind.ParkingKey{}, opt.Parking.place)
		m.Remember(parkingKey{}, opt.Parking)
	}
	f, err := observe(ctx, m, s, opt.Ahead)
	if err != nil {
		return Result{}, m.Cause(ctx, err)
	}
	f.Origin, f.Fresh, f.Alone, f.Tunnel = opt.Origin, opt.Fresh, opt.Alone, tunnel
	if s.NamedMAC || opt.Origin.Claims() {
		f.Machine = machine()
	}
	p, err := planAttach(s, f)
	if err != nil || opt.DryRun {
		return result(p), err
	}
	extend(p.Wait)
	if b := f.Base; b != nil && b.Kind == "bridge" {
		m.Know(plan.OnHost, b.Name, b.Index) // no step need look for it again
	}
	if k := Kind(p.Attachments[0].Host.Kind); !kind.TraitsOf(k).Pair {
		m.Card = p.Attachments[0].Host.Name
	}
	if err := p.Apply(ctx, m, opt.tell); err != nil {
		return Result{}, err
	}
	if f.Parked != nil { // it has been taken, or deleted
		opt.Parking.forget(f.Parked.Port.Index)
	}
	passage.WarnObstacles(ctx, m, plan.InGuest, p.Attachments[0], p.Routed)
	if s.From.Kind != FromLine {
		given(&p.Attachments[0], m.In(plan.InGuest))
	}
	return result(p, m.Warnings...), nil
}

// given fills in the addresses that a server or a router has given. They are
// for telling alone, so that they could not be read is no failure.
func given(a *Attachment, k plan.Kernel) {
	l, err := k.LinkByName(a.Interface.Name)
	if err != nil {
		return
	}
	kind := a.Interface.Kind
	_ = read((&ours.Namespace{Links: k}), a, l.Index)
	a.Interface.Kind = kind
}
