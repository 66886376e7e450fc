package main

// The rules of the interface:
//
//   - stdout carries results only, and is empty on a plain success.
//   - stderr carries "gopipework: VERB OBJECT: CAUSE", and where there is one
//     "gopipework: hint: WHAT TO DO"; warnings the same way.
//   - With --json stdout carries exactly one document, on success or failure.
//   - Text from a guest or an engine may contain anything, so every line passes through
//     clean before it reaches a terminal.

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/gopipework/gopipework/attach"
	"github.com/gopipework/gopipework/dockerutil"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/plainname"
)

// output prints for a command.
type output struct {
	stdout, stderr io.Writer
	json           bool
	format         string   // of list; "": a table
	provider       bool     // stdout is read by Docker Compose, which wants an error there too
	nested         bool     // the result has lines that begin with "+", and a step is part of one
	doubts         []string // warnings about the guests, repeated in the JSON document
	caught         func()   // see withSignals
	stands         string   // what has become of the changes, if a signal ends the command; "": nothing was changed
}

// keenWriter remembers the first error of a writer, so that a result that was cut short
// is not reported as a success.
type keenWriter struct {
	io.Writer
	err error
}

func (w *keenWriter) Write(b []byte) (n int, err error) {
	n, err = w.Writer.Write(b)
	w.err = cmp.Or(w.err, err)
	return n, err
}

// clean is a text as a terminal may get it.
func clean(s string) string { return plainname.Visible(s) }

// say prints a line on stderr.
func (o *output) say(format string, args ...any) {
	fmt.Fprintln(o.stderr, "gopipework: "+clean(fmt.Sprintf(format, args...)))
}

// step prints a step, in the way of the shell's -x.
func (o *output) step(s string) {
	sign := "+ "
	if o.nested {
		sign = "++ "
	}
	for line := range strings.Lines(s) {
		fmt.Fprintln(o.stderr, sign+clean(strings.TrimSuffix(line, "\n")))
	}
}

// doubt prints the warnings about a guest.
func (o *output) doubt(g *dockerutil.Guest) {
	for _, d := range g.Doubts {
		o.say("warning: %s", d)
	}
	o.doubts = append(o.doubts, g.Doubts...)
}

// print prints a line of the result on stdout.
func (o *output) print(line string) { fmt.Fprintln(o.stdout, clean(line)) }

// document prints the JSON document of a command.
func (o *output) document(v any) error {
	e := json.NewEncoder(o.stdout)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return unwritten(err)
	}
	return nil
}

// unwritten returns the error for a result that stdout did not take.
func unwritten(err error) *fault.Error {
	return fault.New(fault.Failed, "write", "the result", "%w", err)
}

// unreported returns the error for a result that stdout did not take after all was done:
// exit code 1 would say that it was undone.
func unreported(err error, steps []string) error {
	if f := (*fault.Error)(nil); errors.As(err, &f) {
		f.Code, f.Err, f.Residue = fault.Residue, fmt.Errorf("%w; what it reports is done", f.Err), steps
	}
	return err
}

// result prints what a run changed, or with dryRun would change. With one the document
// holds one attachment, otherwise a list of them.
func (o *output) result(r attach.Result, dryRun, one bool) error {
	if o.json {
		doc := map[string]any{"changed": r.Changed, "steps": orEmpty(r.Steps), "warnings": orEmpty(append(o.doubts, r.Warnings...))}
		if one {
			doc["attachment"] = r.Attachments[0]
		} else {
			doc["attachments"] = orEmpty(r.Attachments)
		}
		err := o.document(doc)
		if err != nil && r.Changed && !dryRun {
			err = unreported(err, r.Steps)
		}
		return err
	}
	o.warn(r.Warnings)
	if dryRun {
		for _, s := range r.Steps {
			o.print(s)
		}
	}
	return nil
}

func (o *output) warn(warnings []string) {
	for _, w := range warnings {
		o.say("warning: %s", w)
	}
}

// orEmpty returns an empty list for nil, so that JSON shows [] and not null.
func orEmpty[T any](list []T) []T { return append([]T{}, list...) }
