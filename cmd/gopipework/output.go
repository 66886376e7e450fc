package main

// The rules of the interface:
//
//   - stdout carries results only, and is empty on a plain success.
//   - stderr carries "gopipework: VERB OBJECT: CAUSE", and where there is one
//     "gopipework: hint: WHAT TO DO"; warnings the same way.
//   - With --json stdout carries exactly one document, on success or failure.
//   - What came from a guest or an engine may hold anything: every line passes
//     through clean before it reaches a terminal.

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"unicode"

	"github.com/gopipework/gopipework/attach"
	"github.com/gopipework/gopipework/dockerutil"
	"github.com/gopipework/gopipework/internal/fault"
)

// output is where a command prints.
type output struct {
	stdout, stderr io.Writer
	json           bool
	doubts         []string // warnings about guests
	warnings       []string // of what was met before the command's own work
}

// keenWriter remembers the first error of a writer: a result that is cut short must
// not look like one that is whole.
type keenWriter struct {
	io.Writer
	err error
}

func (w *keenWriter) Write(b []byte) (n int, err error) {
	n, err = w.Writer.Write(b)
	w.err = cmp.Or(w.err, err)
	return n, err
}

// errShown is a usage error for which the usage text was printed already.
var errShown = fault.New(fault.Usage, "read", "command line", "it is empty")

// clean escapes what could steer a terminal or forge a line: control and
// format characters, and bytes that are not UTF-8.
func clean(s string) string {
	var b strings.Builder
	for i, r := range s {
		switch {
		case r == unicode.ReplacementChar:
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case unicode.IsPrint(r):
			b.WriteRune(r)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return b.String()
}

func (o *output) say(format string, args ...any) {
	fmt.Fprintln(o.stderr, "gopipework: "+clean(fmt.Sprintf(format, args...)))
}

// doubt says what is doubtful about a guest; a document has it as well.
func (o *output) doubt(g *dockerutil.Guest) {
	for _, d := range g.Doubts {
		o.say("warning: %s", d)
	}
	o.doubts = append(o.doubts, g.Doubts...)
}

func (o *output) print(line string) { fmt.Fprintln(o.stdout, clean(line)) }

func (o *output) document(v any) error {
	e := json.NewEncoder(o.stdout)
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

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

// result prints what an attach or a detach did, or with dryRun would do. one
// is whether the document is about one attachment or several.
func (o *output) result(r attach.Result, dryRun, one bool) error {
	r.Warnings = append(o.warnings, r.Warnings...)
	if o.json {
		doc := map[string]any{"changed": r.Changed, "steps": orEmpty(r.Steps), "warnings": orEmpty(append(o.doubts, r.Warnings...))}
		if one {
			doc["attachment"] = r.Attachments[0]
		} else {
			doc["attachments"] = orEmpty(r.Attachments)
		}
		err := o.document(doc)
		if err != nil && r.Changed && !dryRun { // code 1 would say that it is undone
			return &fault.Error{Code: fault.Residue, Op: "write", Object: "the result", Err: fmt.Errorf("%w; what it tells of is done", err), Residue: r.Steps}
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

// orEmpty makes an empty list of none: in JSON that is [], not null.
func orEmpty[T any](list []T) []T { return append([]T{}, list...) }

// list prints attachments as a table, or nothing if there are none.
func (o *output) list(all []attach.Attachment, warnings []string) error {
	if o.json {
		doc := map[string]any{"attachments": orEmpty(all)}
		if len(warnings) > 0 {
			doc["warnings"] = warnings
		}
		return o.document(doc)
	}
	o.warn(warnings)
	if len(all) == 0 {
		return nil
	}
	w := tabwriter.NewWriter(o.stdout, 0, 0, 2, ' ', 0)
	shaped := slices.ContainsFunc(all, func(a attach.Attachment) bool { return a.Shaping != nil })
	head := "GUEST\tINTERFACE\tADDRESS\tGATEWAY\tHOST\tPORT\tSTATE"
	if shaped {
		head += "\tSHAPING"
	}
	noted := slices.ContainsFunc(all, func(a attach.Attachment) bool { return note(a) != "" })
	if noted {
		head += "\tNOTE"
	}
	fmt.Fprintln(w, head)
	for _, a := range all {
		row := []string{
			a.Guest.Word(), a.Interface.Name, join(a.Interface.Addresses), join(a.Interface.Gateway),
			hostWord(a.Host), a.Host.Port, string(a.State),
		}
		if a.Hidden {
			row[len(row)-1] = "not visible from here"
		}
		switch {
		case a.Shaping != nil:
			row = append(row, a.Shaping.String())
		case shaped:
			row = append(row, "")
		}
		if noted {
			row = append(row, note(a))
		}
		for i, cell := range row {
			if row[i] = clean(cell); cell == "" {
				row[i] = "-"
			}
		}
		fmt.Fprintln(w, strings.Join(row, "\t"))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	for _, a := range all {
		for _, why := range a.Cut {
			o.say("warning: %s of %s is cut off: %s", a.Interface.Name, a.Guest.Word(), why)
		}
	}
	return nil
}

// note is what is wrong with an attachment that is complete; "": nothing.
func note(a attach.Attachment) string {
	if a.Lease == nil || a.Lease.Trouble == "" {
		return ""
	}
	return "lease: " + a.Lease.Trouble
}

// hostWord is the host's side as a line has it: HOSTIF@VLAN.
func hostWord(h attach.Host) string {
	if h.VLAN == "" {
		return h.Name
	}
	return h.Name + "@" + h.VLAN
}

func join[T fmt.Stringer](list []T) string {
	words := make([]string, len(list))
	for i, v := range list {
		words[i] = v.String()
	}
	return strings.Join(words, ",")
}
