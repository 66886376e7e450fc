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

// Step is one change, or one wait. It is plain data, made by Build. A step that
// prints nothing but a comment, and changes something, is also [worded].
type Step interface {
	// do carries it out, wholly or not at all.
	do(ctx context.Context, m *machine) error
	// undo takes it back. What is gone already is taken back.
	undo(ctx context.Context, m *machine) error
	// nature says what taking it back means.
	nature() nature
	// String is the same as the command or commands, a line each, that a
	// person would type in a root shell; a comment where there is none.
	String() string
}

// nature is what a plan must know of a step before it takes it back.
type nature int

const (
	// undoable: undo takes it back, or it goes with a link that an earlier step
	// has made.
	undoable nature = iota
	// shared is undoable, but others may rely on it by then: undo needs the host's
	// lock, and leaves alone what they use.
	shared
	// final: there is no way back.
	final
	// passive: it waits or looks, and changes nothing that stays.
	passive
)

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

// worded is a step that says in words what is still there if it could not be done,
// or undone, because no command that it prints says so.
type worded interface{ left() string }

// asksOthers is a step that waits for somebody else on the network; whom says what
// to look for there.
type asksOthers interface{ whom() string }

// remains says what is left of steps: of each in its own words and in its commands,
// or, if it has neither, in the comment that it prints.
func remains(steps []Step) []string {
	said := []string{}
	for _, s := range steps {
		words, comments := []string{}, []string{}
		if w, ok := s.(worded); ok {
			words = append(words, w.left())
		}
		for line := range strings.SplitSeq(s.String(), "\n") {
			if comment, is := strings.CutPrefix(line, "#"); is {
				comments = append(comments, strings.TrimSpace(comment))
			} else if line != "" {
				words = append(words, line)
			}
		}
		if len(words) == 0 {
			words = comments
		}
		said = append(said, words...)
	}
	return said
}

// undoTimeout bounds taking back; it is not ended by a signal.
const undoTimeout = 10 * time.Second

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
	for _, one := range m.shortfalls { // the plan has gone past it, and is whole
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
		if done[i].nature() != shared || locking == nil {
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
func changes(s Step) bool { return s.nature() != passive }

// isFinal reports whether there is no way back from a step.
func isFinal(s Step) bool { return s.nature() == final }

// remove carries out a plan that takes things away. Until the first final step
// is done it can be undone, and is; from there on there is no way back, and it
// goes on to its end. The same plan, made again, does what was not done.
func (p Plan) remove(ctx context.Context, m *machine, tell func(string)) error {
	for i, s := range p.Steps {
		if isFinal(s) {
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
		if !slices.ContainsFunc(p.Steps[:i], isFinal) {
			return m.takeBack(p.Steps[:i], m.cause(ctx, err))
		}
		op, object := m.task()
		e := &fault.Error{Code: fault.Residue, Op: op, Object: object, Err: err, Residue: remains(p.Steps[i:])}
		return e.WithHint("not yet done: %s", strings.Join(e.Residue, "; "))
	}
	return m.shortfall()
}

// shortfall returns the error for what steps have not done wholly; nil: there is
// nothing.
func (m *machine) shortfall() error {
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
