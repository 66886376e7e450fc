// Package lazyregexp has regular expressions that are compiled when they are first used:
// what is compiled at the start costs every run, of whatever command.
package lazyregexp

import (
	"regexp"
	"sync"
)

// Regexp is an expression. A variable of a package is a literal of it.
type Regexp struct {
	Expr string

	once sync.Once
	re   *regexp.Regexp
}

// Get returns the expression, compiled. It panics if it cannot be, as [regexp.MustCompile].
func (r *Regexp) Get() *regexp.Regexp {
	r.once.Do(func() { r.re = regexp.MustCompile(r.Expr) })
	return r.re
}
