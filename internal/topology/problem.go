package topology

import (
	"fmt"
	"slices"

	"github.com/gopipework/gopipework/internal/fault"
)

// maxProblems is how many problems of one file are told. Whoever mends a file wants a
// screenful; a file of something else altogether is not to fill a log.
const maxProblems = 20

// Problem is one thing that is wrong with a file.
type Problem struct {
	Pos
	Err error
}

func (p *Problem) Error() string { return p.Pos.String() + ": " + p.Err.Error() }

// Unwrap returns what is wrong, without its place.
func (p *Problem) Unwrap() error { return p.Err }

// Hint says what to do about it; "": that goes without saying.
func (p *Problem) Hint() string { return fault.HintOf(p.Err) }

// Problems are what is wrong with a file, in the order of their places, and at least one.
// It is in the error of Read.
type Problems struct {
	List []*Problem
	More int // how many are not in the list
}

// Error returns the first problem, and how many more there are.
func (p *Problems) Error() string {
	text := p.List[0].Error()
	if more := len(p.List) - 1 + p.More; more > 0 {
		text += fmt.Sprintf(" (and %d more)", more)
	}
	return text
}

// invalid returns the error for a file with problems, or nil if there are none.
func invalid(path string, found []*Problem) error {
	if len(found) == 0 {
		return nil
	}
	slices.SortStableFunc(found, func(a, b *Problem) int { return a.compare(b.Pos) })
	p := &Problems{List: found[:min(len(found), maxProblems)]}
	p.More = len(found) - len(p.List)
	return &fault.Error{Code: fault.Invalid, Op: "read", Object: path, Err: p, Hint: p.List[0].Hint()}
}
