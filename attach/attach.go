package attach

import (
	"context"
	"net/netip"
	"os"
	"slices"
	"time"

	"github.com/gopipework/gopipework/internal/plan"
)

// DefaultTimeout bounds a run that gives no other bound.
const DefaultTimeout = 30 * time.Second

// bound returns ctx with the run's deadline, whose cause is
// context.DeadlineExceeded. extend moves it, unless the user has set it.
func (o Options) bound(ctx context.Context) (_ context.Context, extend func(time.Duration), cancel func()) {
	d := o.Timeout
	if d == 0 {
		d = DefaultTimeout
	}
	ctx, end := context.WithCancelCause(ctx)
	timer := time.AfterFunc(d, func() { end(context.DeadlineExceeded) })
	extend = func(more time.Duration) {
		if o.Timeout == 0 && more > 0 {
			timer.Reset(DefaultTimeout + more)
		}
	}
	return ctx, extend, func() { timer.Stop(); end(nil) }
}

func (o Options) tell(step string) {
	if o.Step != nil {
		o.Step(step)
	}
}

// Plan is what a run will do, in order.
type Plan struct {
	plan.Plan
	Attachments []Attachment // what will be there, or will be gone

	routed []netip.Prefix // subnets that a route of the guest's goes before, as Warnings say
}

// result is what the plan came to; more are warnings of its steps.
func (p Plan) result(more ...string) Result {
	return Result{Attachments: p.Attachments, Changed: p.Changes(), Steps: p.Commands(), Warnings: append(slices.Clip(p.Warnings), more...)}
}

// runAttach carries out Attach; hostNS is the namespace that has, or gets, the bridge.
func runAttach(ctx context.Context, s Spec, g Guest, hostNS *os.File, opt Options) (Result, error) {
	ctx, extend, cancel := opt.bound(ctx)
	defer cancel()
	m, err := plan.Open(ctx, hostNS, g)
	if err != nil {
		return Result{}, err
	}
	defer m.Close()
	m.Remember(keeperKey{}, opt.Keeper)
	f, err := observe(ctx, m, s)
	if err != nil {
		return Result{}, m.Cause(ctx, err)
	}
	p, err := Build(s, f)
	if err != nil || opt.DryRun {
		return p.result(), err
	}
	extend(p.Wait)
	if k := Kind(p.Attachments[0].Host.Kind); !traitsOf(k).pair {
		m.Card = p.Attachments[0].Host.Name
	}
	if err := p.Apply(ctx, m, opt.tell); err != nil {
		return Result{}, err
	}
	warnObstacles(ctx, m, plan.InGuest, p.Attachments[0], p.routed)
	if s.From.Kind != FromLine {
		p.Attachments[0].given(m.In(plan.InGuest))
	}
	return p.result(m.Warnings...), nil
}

// given fills in the addresses that a server or a router has given. They are
// for telling alone, so that they could not be read is no failure.
func (a *Attachment) given(k plan.Kernel) {
	l, err := k.LinkByName(a.Interface.Name)
	if err != nil {
		return
	}
	kind := a.Interface.Kind
	_ = (&namespace{links: k}).read(a, l.Index)
	a.Interface.Kind = kind
}
