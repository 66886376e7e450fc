// Package fault is the one shape of an error that reaches a user: which kind
// it is, what was being done to what, why it could not be, and what to do.
//
// Every package of gopipework returns these; only cmd/gopipework turns one
// into text, JSON and an exit code.
package fault

import (
	"errors"
	"fmt"
	"strconv"
)

// Code is the kind of an error, as it stands in the JSON output. The codes and
// their exit codes are part of the command's contract.
type Code string

// The codes. The comment gives what a caller may conclude from each.
const (
	Failed      Code = "failed"      // the kernel or a tool refused
	Conflict    Code = "conflict"    // it contradicts what is there
	Limit       Code = "limit"       // something is full
	Timeout     Code = "timeout"     // something did not answer in time
	Runtime     Code = "runtime"     // the container engine failed
	Usage       Code = "usage"       // the words make no sense
	Invalid     Code = "invalid"     // a file makes no sense
	NotFound    Code = "not_found"   // no such guest or host interface
	Gone        Code = "gone"        // it is not running, or it died meanwhile
	Permission  Code = "permission"  // root, or capabilities, are needed
	Residue     Code = "residue"     // failed, and not all of it could be undone
	Unsupported Code = "unsupported" // this kernel or host lacks the feature
	Interrupted Code = "interrupted" // a signal asked us to stop
)

// Error is an error a user can act on. It reads "OP OBJECT: ERR".
type Error struct {
	Code    Code
	Op      string   // verb phrase, lower case: "add veth"
	Object  string   // what it was done to, as the user wrote it; may be empty
	Err     error    // the cause
	Hint    string   // what to do about it; may be empty
	Residue []string // what could not be undone, each as a person would name it
}

// Error returns "OP OBJECT: CAUSE", without the hint.
func (e *Error) Error() string {
	s := e.Op
	if e.Object != "" {
		s += " " + e.Object
	}
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// New returns an Error whose cause is the formatted text; %w wraps as in
// fmt.Errorf.
func New(code Code, op, object, format string, args ...any) *Error {
	return &Error{Code: code, Op: op, Object: object, Err: fmt.Errorf(format, args...)}
}

// BadWord returns a usage error about a word of the command line, quoted; ""
// where it is about none in particular.
func BadWord(op, word, format string, args ...any) *Error {
	if word != "" {
		word = strconv.Quote(word)
	}
	return New(Usage, op, word, format, args...)
}

// WithHint sets the hint and returns e.
func (e *Error) WithHint(format string, args ...any) *Error {
	e.Hint = fmt.Sprintf(format, args...)
	return e
}

// HintOf returns the hint of the first *Error in err's chain, "" if there is none.
func HintOf(err error) string {
	var e *Error
	if errors.As(err, &e) {
		return e.Hint
	}
	return ""
}

// CodeOf returns the code of the first *Error in err's chain, Failed for any
// other error, and "" for nil.
func CodeOf(err error) Code {
	if err == nil {
		return ""
	}
	var e *Error
	if errors.As(err, &e) {
		return e.Code
	}
	return Failed
}
