package main

import (
	"errors"
	"strconv"
	"syscall"

	"github.com/gopipework/gopipework/internal/fault"
)

// errShown is a usage error for which the usage text was printed already.
var errShown = fault.New(fault.Usage, "read", "command line", "it is empty")

// fail prints an error; nil is none.
func (o *output) fail(err error) {
	if err == nil || errors.Is(err, errShown) && !o.json {
		return
	}
	f := describe(err)
	if o.json {
		o.document(map[string]any{"error": f})
	}
	o.say("%s", err)
	if f.Hint != "" {
		o.say("hint: %s", f.Hint)
	}
}

// failure is an error as the JSON output has it.
type failure struct {
	Code    fault.Code `json:"code"`
	Op      string     `json:"op"`
	Object  string     `json:"object"`
	Message string     `json:"message"`
	Hint    string     `json:"hint"`
	Residue []string   `json:"residue"`
}

func describe(err error) failure {
	out := failure{Code: fault.Failed, Message: err.Error(), Residue: []string{}}
	var f *fault.Error
	if errors.As(err, &f) {
		out.Code, out.Op, out.Object, out.Hint = f.Code, f.Op, f.Object, f.Hint
		if word, err := strconv.Unquote(f.Object); err == nil {
			out.Object = word // as it was given
		}
		out.Residue = append(out.Residue, f.Residue...)
	}
	return out
}

// interrupted is why a context ended: a signal, whose exit code is the shell's.
type interrupted struct{ signal syscall.Signal }

func (i interrupted) Error() string { return i.signal.String() }

// exitCodes is the contract's table; what is not in it is 1.
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
	switch {
	case err == nil:
		return 0
	case fault.CodeOf(err) != fault.Residue && errors.As(err, &i):
		return 128 + int(i.signal)
	}
	if code, ok := exitCodes[fault.CodeOf(err)]; ok {
		return code
	}
	return 1
}
