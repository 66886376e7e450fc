package plan

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/gopipework/gopipework/internal/fault"
)

// Plan is what a run will do, in order.
type Plan struct {
	Steps    []Step
	Warnings []string
	Wait     time.Duration // how long the bridge will keep us waiting
}

// Commands returns the steps as a person would type them, a line each.
func (p Plan) Commands() []string {
	lines := []string{}
	for _, s := range p.Steps {
		lines = append(lines, strings.Split(s.String(), "\n")...)
	}
	return lines
}

// UndoTimeout bounds the undoing of a plan, which no signal ends.
var UndoTimeout = 10 * time.Second

// Apply carries the plan out. On any error it undoes what it did, in
// reverse; what could not be undone is named in the error.
func (p Plan) Apply(ctx context.Context, m *Machine, tell func(string)) error {
	for i, s := range p.Steps {
		err := m.check(ctx)
		if err == nil {
			tell(s.String())
			m.doing = s
			err = s.Do(ctx, m)
		}
		if err != nil {
			return m.undo(p.Steps[:i], m.Cause(ctx, err))
		}
	}
	if err := m.check(ctx); err != nil {
		return m.undo(p.Steps, err)
	}
	for _, one := range m.shortfalls { // the plan has gone past it, and is whole
		m.Warn(one.Error())
	}
	return nil
}

// Cause returns why a step failed: the guest's death, or the end of ctx, shows
// as whatever the kernel happened to refuse. A step that nobody answered may
// have asked on a card without a carrier. What a step has left behind is said in
// any case.
func (m *Machine) Cause(ctx context.Context, err error) error {
	why := m.check(ctx)
	var unanswered *fault.Error
	switch {
	case fault.CodeOf(err) == fault.Residue, errors.Is(err, errTooLong), errors.Is(err, ErrNoCarrier):
		return err
	case fault.CodeOf(err) == fault.Timeout && errors.As(err, &unanswered):
		dead := m.WithoutCarrier()
		switch {
		case why == nil && dead == "":
			return err
		case why == nil:
			return fault.New(fault.Timeout, unanswered.Op, unanswered.Object, "%s %w: %w", dead, ErrNoCarrier, unanswered.Err)
		case errors.Is(why, errTooLong) && dead == "":
			op, object := m.task()
			return fault.New(fault.Timeout, op, object, "%w: %w", errTooLong, err).WithHint("%s", unanswered.Hint)
		}
	case why == nil:
		return err
	}
	return why
}

// undo undoes the steps in reverse. It returns err, with what is left if an undo
// fails.
func (m *Machine) undo(done []Step, err error) error {
	ctx, cancel := context.WithTimeout(context.Background(), UndoTimeout)
	defer cancel()
	var locking error
	if len(done) > 0 && !m.HostLock.held {
		locking = m.HostLock.Acquire(ctx, "host")
	}
	var left []Step
	var causes []error
	for i := len(done) - 1; i >= 0; i-- {
		uerr := locking
		if done[i].Nature() != Shared || locking == nil {
			uerr = done[i].Undo(ctx, m)
		}
		if uerr != nil {
			left = append(left, done[i])
			causes = append(causes, uerr)
		}
	}
	if len(left) == 0 {
		return err
	}
	return WithResidue(err, errors.Join(causes...), left)
}

// Changes reports whether it changes anything that stays.
func (p Plan) Changes() bool {
	return slices.ContainsFunc(p.Steps, func(s Step) bool { return s.Nature() != Passive })
}

// isFinal reports whether there is no way back from a step.
func isFinal(s Step) bool { return s.Nature() == Final }

// Remove carries out a plan that deletes. Until the first final step
// is done it can be undone, and is; from there on there is no way back, and it
// goes on to its end. The same plan, made again, does what was not done.
func (p Plan) Remove(ctx context.Context, m *Machine, tell func(string)) error {
	for i, s := range p.Steps {
		if isFinal(s) {
			ctx = context.WithoutCancel(ctx)
		}
		err := context.Cause(ctx)
		if err == nil {
			tell(s.String())
			m.doing = s
			err = s.Do(ctx, m)
		}
		if err == nil {
			continue
		}
		if !slices.ContainsFunc(p.Steps[:i], isFinal) {
			return m.undo(p.Steps[:i], m.Cause(ctx, err))
		}
		op, object := m.task()
		e := &fault.Error{Code: fault.Residue, Op: op, Object: object, Err: err, Residue: Remains(p.Steps[i:])}
		return e.WithHint("not yet done: %s", strings.Join(e.Residue, "; "))
	}
	return m.shortfall()
}

// shortfall returns the error for what steps have not done wholly; nil: there is
// nothing.
func (m *Machine) shortfall() error {
	switch len(m.shortfalls) {
	case 0:
		return nil
	case 1:
		return m.shortfalls[0]
	}
	e := &fault.Error{Code: fault.Residue, Op: m.shortfalls[0].Op}
	var objects, hints []string
	for _, one := range m.shortfalls {
		objects = append(objects, one.Object)
		e.Err = errors.Join(e.Err, one)
		e.Residue = append(e.Residue, one.Residue...)
		hints = append(hints, one.Hint)
	}
	e.Object = strings.Join(objects, ", ")
	return e.WithHint("%s", strings.Join(hints, "; "))
}
