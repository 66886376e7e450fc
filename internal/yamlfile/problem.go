package yamlfile

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/gopipework/gopipework/internal/fault"
)

// maxProblems is how many problems of one file are told. Whoever mends a file wants a
// screenful; a file of something else altogether is not to fill a log.
const maxProblems = 20

// Pos is a place in a file; lines and columns begin with 1. The zero Pos is no place.
type Pos struct {
	File         string
	Line, Column int
}

// String returns the place as compilers write it, file:line:column, and editors go to it.
// What is in no file has only the name of where it is.
func (p Pos) String() string {
	if p.Line == 0 {
		return p.File
	}
	return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Column)
}

// compare says which of two places of a file is first.
func (p Pos) compare(q Pos) int {
	return cmp.Or(cmp.Compare(p.Line, q.Line), cmp.Compare(p.Column, q.Column))
}

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
// It is in the error of Invalid.
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

// Invalid returns the error for a file with problems, or nil if there are none.
func Invalid(path string, found []*Problem) error {
	if len(found) == 0 {
		return nil
	}
	slices.SortStableFunc(found, func(a, b *Problem) int { return a.compare(b.Pos) })
	p := &Problems{List: found[:min(len(found), maxProblems)]}
	p.More = len(found) - len(p.List)
	return &fault.Error{Code: fault.Invalid, Op: "read", Object: path, Err: p, Hint: p.List[0].Hint()}
}
