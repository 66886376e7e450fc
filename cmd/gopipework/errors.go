package main

// Every error is printed here, and becomes an exit code here. The rules are those of
// output.go.

import (
	"cmp"
	"errors"
	"strconv"
	"syscall"

	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/topology"
)

// errShown is the usage error of an empty command line. It is not printed, because the
// usage text has been.
var errShown = fault.New(fault.Usage, "read", "command line", "it is empty")

// errDiffers is what diff exits with if there is a difference. It has been printed.
var errDiffers = errors.New("there is a difference")

// reported is an error that the document of its command tells.
type reported struct{ error }

func (r reported) Unwrap() error { return r.error }

// fail prints an error, unless it is nil.
func (o *output) fail(err error) {
	if err == nil || errors.Is(err, errShown) && !o.json || errors.Is(err, errDiffers) || errors.Is(err, errRefused) || errors.Is(err, errBroken) || errors.Is(err, errUnseen) {
		return
	}
	f := describe(err)
	if f.Code == fault.Interrupted && f.Hint == "" {
		f.Hint = cmp.Or(o.stands, "nothing was changed")
	}
	if o.provider {
		text := err.Error()
		if f.Hint != "" {
			text += "\nhint: " + f.Hint
		}
		o.tellCompose("error", "%s", text)
		o.json = false
	}
	if !errors.As(err, new(reported)) && o.json {
		o.document(map[string]any{"error": f})
	}
	var p *topology.Problems
	if errors.As(err, &p) && f.Code == fault.Invalid {
		o.problems(p)
		return
	}
	o.say("%s", err)
	if f.Hint != "" {
		o.say("hint: %s", f.Hint)
	}
}

// problems prints what is wrong with a file, each with its place and its hint.
func (o *output) problems(p *topology.Problems) {
	for _, one := range p.List {
		o.say("%s", one)
		if hint := one.Hint(); hint != "" {
			o.say("hint: %s", hint)
		}
	}
	if p.More > 0 {
		o.say("%s: %d more problems", p.List[0].File, p.More)
	}
}

// failure is an error in JSON. Its field names are a promise to users.
type failure struct {
	Code    fault.Code `json:"code"`
	Op      string     `json:"op"`
	Object  string     `json:"object"`
	Message string     `json:"message"`
	Hint    string     `json:"hint"`
	Residue []string   `json:"residue"`

	Problems []problem `json:"problems,omitempty"` // of a file
}

// problem is one thing that is wrong with a file, in JSON.
type problem struct {
	File    string `json:"file"`
	Line    int    `json:"line"`
	Column  int    `json:"column"`
	Message string `json:"message"`
	Hint    string `json:"hint"`
}

func describe(err error) failure {
	out := failure{Code: fault.Failed, Message: err.Error(), Residue: []string{}}
	var f *fault.Error
	if errors.As(err, &f) {
		out.Code, out.Op, out.Object, out.Hint = f.Code, f.Op, f.Object, f.Hint
		if word, err := strconv.Unquote(f.Object); err == nil {
			out.Object = word // as the user wrote it
		}
		out.Residue = append(out.Residue, f.Residue...)
	}
	var p *topology.Problems
	if errors.As(err, &p) && out.Code == fault.Invalid {
		out.Message = p.Error() // each place has the file's name
		for _, one := range p.List {
			out.Problems = append(out.Problems, problem{one.File, one.Line, one.Column, one.Err.Error(), one.Hint()})
		}
	}
	return out
}

// interrupted is the cause of a context that a signal ended. The exit code is the one
// that a shell reports for a process killed by that signal.
type interrupted struct{ signal syscall.Signal }

func (i interrupted) Error() string { return i.signal.String() }

// exitCodes are a promise to users. A code that is not listed exits with 1.
var exitCodes = map[fault.Code]int{
	fault.Usage:       2,
	fault.NotFound:    3,
	fault.Gone:        3,
	fault.Permission:  4,
	fault.Residue:     5,
	fault.Unsupported: 6,
}

func exitCode(err error) int {
	var i interrupted
	var n notRun
	switch {
	case err == nil:
		return 0
	case errors.As(err, &n):
		return n.exitCode()
	case errors.Is(err, errDiffers):
		return 2
	case fault.CodeOf(err) != fault.Residue && errors.As(err, &i):
		return 128 + int(i.signal)
	}
	if code, ok := exitCodes[fault.CodeOf(err)]; ok {
		return code
	}
	return 1
}
