package plan

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/gopipework/gopipework/internal/fault"
)

// Step is one change, or one wait. It is plain data, made by attach. A step that
// prints nothing but a comment, and changes something, is also [Worded].
type Step interface {
	// Do carries it out, wholly or not at all.
	Do(ctx context.Context, m *Machine) error
	// Undo undoes it. What is gone already is undone.
	Undo(ctx context.Context, m *Machine) error
	// Nature says what it means to undo it.
	Nature() Nature
	// String is the same as the command or commands, a line each, that a
	// person would type in a root shell; a comment where there is none.
	String() string
}

// Nature is what a plan must know about a step before it undoes it.
type Nature int

const (
	// Undoable: Undo undoes it, or it goes with a link that an earlier step
	// has made.
	Undoable Nature = iota
	// Shared is undoable, but others may rely on it by then: Undo needs the host's
	// lock, and leaves alone what they use.
	Shared
	// Final: there is no way back.
	Final
	// Passive: it waits or looks, and changes nothing that stays.
	Passive
)

// Worded is a step that says in words what is still there if it could not be done,
// or undone, because no command that it prints says so.
type Worded interface{ Left() string }

// asksOthers is a step that waits for somebody else on the network; whom says what
// to look for there.
type asksOthers interface{ Whom() string }

// Remains says what is left of steps: of each in its own words and in its commands,
// or, if it has neither, in the comment that it prints.
func Remains(steps []Step) []string {
	said := []string{}
	for _, s := range steps {
		words, comments := []string{}, []string{}
		if w, ok := s.(Worded); ok {
			words = append(words, w.Left())
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

// Half is what a step returns that failed in the middle and has cleaned up
// after itself: err, or if that failed too, what is left.
func Half(err, cleaning error, s Step) error {
	if cleaning == nil {
		return err
	}
	return WithResidue(err, cleaning, []Step{s})
}

// Interrupted is Half for a step that runs a command. A command that was ended in the
// middle may have done its work, so the step is undone; nil if err is.
func Interrupted(err error, m *Machine, s Step) error {
	if err == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), UndoTimeout)
	defer cancel()
	return Half(err, s.Undo(ctx, m), s)
}

// WithResidue returns the error for an undo that failed after err: why it failed,
// and what is left, including what err itself lists.
func WithResidue(err, why error, left []Step) error {
	e := &fault.Error{Code: fault.Residue, Op: "undo", Err: fmt.Errorf("%w (after: %w)", why, err)}
	e.Residue = Remains(left)
	if inner := (*fault.Error)(nil); errors.As(err, &inner) {
		e.Residue = append(e.Residue, inner.Residue...)
	}
	return e.WithHint("still in force: %s", strings.Join(e.Residue, "; "))
}
