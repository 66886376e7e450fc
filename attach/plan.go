package attach

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/gopipework/gopipework/internal/fault"
)

// Step is one change, or one wait. It is plain data, made by Build; the set of
// steps is closed (steps.go).
type Step interface {
	// do carries it out, wholly or not at all.
	do(ctx context.Context, m *machine) error
	// undo takes it back. What is gone already is taken back.
	undo(ctx context.Context, m *machine) error
	// String is the same as the command or commands, a line each, that a
	// person would type in a root shell; a comment where there is none.
	String() string
}

// Plan is what an attach or detach will do, in order.
type Plan struct {
	Attachments []Attachment // what will be there, or will be gone
	Steps       []Step
	Warnings    []string
	Wait        time.Duration // how long the bridge will keep us waiting

	routed []netip.Prefix // subnets that a route of the guest's goes before, as Warnings say
}

// Commands returns the steps as a person would type them, a line each.
func (p Plan) Commands() []string {
	lines := []string{}
	for _, s := range p.Steps {
		lines = append(lines, strings.Split(s.String(), "\n")...)
	}
	return lines
}

// worded is a step that prints as a comment, because no command does the same. If
// it could not be done, or undone, left says in words what is still there.
type worded interface{ left() string }

// remains says what is left of steps, in commands or else in words.
func remains(steps []Step) []string {
	said := []string{}
	for _, s := range steps {
		if w, ok := s.(worded); ok {
			said = append(said, w.left())
		}
		for line := range strings.SplitSeq(s.String(), "\n") {
			if line != "" && !strings.HasPrefix(line, "#") {
				said = append(said, line)
			}
		}
	}
	return said
}

// undoTimeout bounds taking back; it is not ended by a signal.
const undoTimeout = 10 * time.Second

// shared is a step whose effect others may rely on by the time it is undone. Its
// undo needs the host's lock.
type shared interface{ shared() }

// apply carries the plan out. On any error it takes back what it did, in
// reverse; what could not be taken back is named in the error.
func (p Plan) apply(ctx context.Context, m *machine, tell func(string)) error {
	for i, s := range p.Steps {
		err := m.check(ctx)
		if err == nil {
			tell(s.String())
			m.doing = s
			err = s.do(ctx, m)
		}
		if err != nil {
			return m.takeBack(p.Steps[:i], m.cause(ctx, err))
		}
	}
	if err := m.check(ctx); err != nil {
		return m.takeBack(p.Steps, err)
	}
	for _, one := range m.missing { // and is lent anew: it is counted in then
		m.warn(one.Error())
	}
	return nil
}

// cause returns why a step failed: the guest's death, or the end of ctx, shows
// as whatever the kernel happened to refuse. A step that nobody answered may
// have asked on a card without a carrier. What a step has left behind is said in
// any case.
func (m *machine) cause(ctx context.Context, err error) error {
	why := m.check(ctx)
	var unanswered *fault.Error
	switch {
	case fault.CodeOf(err) == fault.Residue, errors.Is(err, errTooLong), errors.Is(err, errNoCarrier):
		return err
	case fault.CodeOf(err) == fault.Timeout && errors.As(err, &unanswered):
		dead := m.withoutCarrier()
		switch {
		case why == nil && dead == "":
			return err
		case why == nil:
			return fault.New(fault.Timeout, unanswered.Op, unanswered.Object, "%s %w: %w", dead, errNoCarrier, unanswered.Err)
		case errors.Is(why, errTooLong) && dead == "":
			op, object := m.task()
			return fault.New(fault.Timeout, op, object, "%w: %w", errTooLong, err).WithHint("%s", unanswered.Hint)
		}
	case why == nil:
		return err
	}
	return why
}

// takeBack undoes the steps in reverse. It returns err, with what is left if an undo
// fails.
func (m *machine) takeBack(done []Step, err error) error {
	ctx, cancel := context.WithTimeout(context.Background(), undoTimeout)
	defer cancel()
	var locking error
	if len(done) > 0 && !m.hostLock.held {
		locking = m.hostLock.acquire(ctx, "host")
	}
	var left []Step
	var causes []error
	for i := len(done) - 1; i >= 0; i-- {
		uerr := locking
		if _, isShared := done[i].(shared); !isShared || locking == nil {
			uerr = done[i].undo(ctx, m)
		}
		if uerr != nil {
			left = append(left, done[i])
			causes = append(causes, uerr)
		}
	}
	if len(left) == 0 {
		return err
	}
	return withResidue(err, errors.Join(causes...), left)
}

// withResidue returns the error for an undo that failed after err: why it failed,
// and what is left, including what err itself lists.
func withResidue(err, why error, left []Step) error {
	e := &fault.Error{Code: fault.Residue, Op: "undo", Err: fmt.Errorf("%w (after: %w)", why, err)}
	e.Residue = remains(left)
	if inner := (*fault.Error)(nil); errors.As(err, &inner) {
		e.Residue = append(e.Residue, inner.Residue...)
	}
	return e.WithHint("still in force: %s", strings.Join(e.Residue, "; "))
}

// changes reports whether a step changes anything that stays.
func changes(s Step) bool {
	_, only := s.(verify)
	return !only
}

// deletes reports whether there is no way back from a step.
func deletes(s Step) bool {
	switch s.(type) {
	case delLink, delInner, delHalf, bringHome, releaseLease, endClient:
		return true
	}
	return false
}

// remove carries out a plan that takes things away. Until the first link is
// deleted it can be undone, and is; from there on there is no way back, and it
// goes on to its end. The same plan, made again, does what was not done.
func (p Plan) remove(ctx context.Context, m *machine, tell func(string)) error {
	for i, s := range p.Steps {
		if deletes(s) {
			ctx = context.WithoutCancel(ctx)
		}
		err := context.Cause(ctx)
		if err == nil {
			tell(s.String())
			m.doing = s
			err = s.do(ctx, m)
		}
		if err == nil {
			continue
		}
		if !slices.ContainsFunc(p.Steps[:i], deletes) {
			return m.takeBack(p.Steps[:i], m.cause(ctx, err))
		}
		op, object := m.task()
		e := &fault.Error{Code: fault.Residue, Op: op, Object: object, Err: err, Residue: remains(p.Steps[i:])}
		return e.WithHint("not yet done: %s", strings.Join(e.Residue, "; "))
	}
	return m.incomplete()
}

// incomplete returns the error for cards that are home and have not got back
// everything; nil: there are none. No plan ends at one.
func (m *machine) incomplete() error {
	switch len(m.missing) {
	case 0:
		return nil
	case 1:
		return m.missing[0]
	}
	e := &fault.Error{Code: fault.Residue, Op: "put in order", Object: "lent cards"}
	var hints []string
	for _, one := range m.missing {
		e.Err = errors.Join(e.Err, one)
		e.Residue = append(e.Residue, one.Residue...)
		hints = append(hints, one.Hint)
	}
	return e.WithHint("%s", strings.Join(hints, "; "))
}
