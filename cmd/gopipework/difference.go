package main

import (
	"fmt"
	"io"
	"os"
	"time"

	"github.com/gopipework/gopipework/attach"
	"github.com/gopipework/gopipework/internal/reconcile"
	"golang.org/x/sys/unix"
)

// A difference in JSON. Its field names are a promise to users.
type (
	change struct {
		Action      string              `json:"action"` // make, change, remove, pending, refused
		Line        string              `json:"line"`   // as it would be typed
		At          *place              `json:"at,omitempty"`
		Differences []differing         `json:"differences"`
		Reason      string              `json:"reason"`
		Again       bool                `json:"again"` // detached and attached again
		Attachments []attach.Attachment `json:"attachments"`
		Bridge      *attach.Bridge      `json:"bridge,omitempty"` // of an entry about a bridge: what there is of it
		Done        bool                `json:"done"`
		Steps       []string            `json:"steps"`
		Error       *failure            `json:"error,omitempty"`
	}
	place struct {
		File   string `json:"file"`
		Line   int    `json:"line"`
		Column int    `json:"column"`
	}
	differing struct {
		What  string `json:"what"`
		There string `json:"there"`
		Asked string `json:"asked"`
	}
)

func changeOf(i reconcile.Item, o reconcile.Outcome) change {
	c := change{
		Action: string(i.Action), Line: i.Line(), Reason: i.Reason, Again: i.Again,
		Attachments: orEmpty(i.There), Bridge: i.Bridge, Done: o.Tried && o.Err == nil, Steps: orEmpty(o.Steps), Differences: []differing{},
	}
	if i.Action != reconcile.Remove {
		c.At = &place{i.Entry.Pos.File, i.Entry.Pos.Line, i.Entry.Pos.Column}
	}
	for _, d := range i.What {
		c.Differences = append(c.Differences, differing(d))
	}
	if o.Err != nil {
		f := describe(o.Err)
		c.Error = &f
	}
	return c
}

// document is the JSON document of a run.
func (r *reconciliation) document() map[string]any {
	doc := map[string]any{
		"name": r.name(), "changes": orEmpty(r.all()), "changed": r.changed, "same": r.difference.Same,
		"pending": r.difference.Count(reconcile.Pending), "failed": len(r.failed), "warnings": orEmpty(append(r.allWarnings(), r.later...)),
	}
	if !r.until.IsZero() {
		doc["confirm_until"] = r.until.Format(time.RFC3339)
	}
	return doc
}

// all are the changes in the order of the difference, also those whose turn did not come.
func (r *reconciliation) all() (changes []change) {
	made := map[string]change{}
	for _, c := range r.changes {
		made[c.key()] = c
	}
	for _, i := range r.difference.Items {
		c := changeOf(i, reconcile.Outcome{Err: i.Err})
		if m, ok := made[c.key()]; ok {
			c = m
		}
		changes = append(changes, c)
	}
	return changes
}

// key tells a change from the others.
func (c change) key() string { return fmt.Sprint(c.Line, c.At) }

// progress is a line on a terminal that tells how far a long run has come.
type progress struct {
	to        io.Writer // nil: no line
	done, all int
}

// progress returns one for that many items, if they fill more than the screen.
func (o *output) progress(items int) *progress {
	f, ok := o.stderr.(*os.File)
	if !ok || o.json {
		return &progress{}
	}
	size, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ)
	if err != nil || items <= int(size.Row) {
		return &progress{}
	}
	return &progress{to: f, all: items}
}

// clear makes room for another line.
func (p *progress) clear() {
	if p.to != nil {
		fmt.Fprint(p.to, "\r\x1b[K")
	}
}

// step counts one more.
func (p *progress) step() {
	if p.done++; p.to != nil {
		fmt.Fprintf(p.to, "%d of %d", p.done, p.all)
	}
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}
