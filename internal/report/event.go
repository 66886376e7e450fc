// Package report tells what happens under watch: to a log, to metrics, and to whoever
// follows.
//
// Whatever watches calls [Reporter.Tell], and only that: what is logged, counted and
// printed by the command events is the same Event.
//
//	event.go     Event: one thing that happened
//	reporter.go  Reporter: what becomes of an Event, and what is wanted and not there
//	log.go       the log
//	serve.go     Server: the socket at which others ask
//	ask.go       those who ask
//	metrics.go   counts for Prometheus
//	systemd.go   what systemd is told
package report

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"
	"unicode"
	"unicode/utf16"
)

// Kind is what happened. The kinds are part of the promise of the command events: some are
// added, none is renamed.
type Kind string

// The kinds.
const (
	Attached Kind = "attached" // an attachment was made
	Changed  Kind = "changed"  // one that was there was changed in place
	Detached Kind = "detached" // one was detached, or its guest has gone and it was cleaned up
	Pending  Kind = "pending"  // one is wanted, and its guest does not run
	Failed   Kind = "failed"   // one could not be made, and is tried again
	Refused  Kind = "refused"  // one is not allowed, or makes no sense; it is not tried again until what asks for it changes
	Cut      Kind = "cut"      // one is there, and no packets pass
	Lease    Kind = "lease"    // a lease was acquired, renewed or lost: see State
	Engine   Kind = "engine"   // an engine's events are followed, or no longer: see State
	Source   Kind = "source"   // a file was read again, or cannot be read: see State
	Warning  Kind = "warning"  // anything else that somebody should know

	// Readers of events are told these two about what they read.
	Watch   Kind = "watch"   // it is being followed, or it has ended: see State
	Dropped Kind = "dropped" // the reader is too slow, and this is the last line
)

// Event is one thing that happened. What does not apply is empty. Its JSON is a line of the
// command events: fields are added, none is renamed.
type Event struct {
	Time   time.Time `json:"time"` // Tell sets it if it is zero
	Kind   Kind      `json:"kind"`
	Guest  string    `json:"guest,omitempty"`     // as on a command line: docker:web
	IfName string    `json:"interface,omitempty"` // in the guest
	Origin string    `json:"origin,omitempty"`    // who asks for it
	Line   string    `json:"line,omitempty"`      // what is asked for, as a person would type it
	Name   string    `json:"name,omitempty"`      // of an Engine, or the path of a Source
	State  string    `json:"state,omitempty"`     // see the States
	Reason string    `json:"reason,omitempty"`
	Hint   string    `json:"hint,omitempty"`
	// Failures is how often a Failed attachment has failed in a row, which Tell counts, and
	// Again when it is tried next.
	Failures int       `json:"failures,omitempty"`
	Again    time.Time `json:"again,omitzero"`
	// Took is how long it took to attach it or to change it, in seconds.
	Took Seconds `json:"took,omitempty"`
	// Address is what a Lease is for.
	Address string `json:"address,omitempty"`
}

// The States of a Lease, an Engine, a Source or a Watch. Up and Down of a Source: it can be
// read, or it cannot.
const (
	Acquired = "acquired"
	Renewed  = "renewed"
	Lost     = "lost"
	Released = "released"
	Up       = "up"
	Down     = "down"
)

// Seconds is a duration that is a number of seconds in JSON.
type Seconds float64

// encode returns an event as a line of JSON in which nothing can control a terminal.
func (e Event) encode() []byte {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(e) // an Event has nothing that JSON cannot hold
	var line bytes.Buffer
	for _, c := range b.String() {
		switch {
		case unicode.IsPrint(c) || c == '\n':
			line.WriteRune(c)
		case c > 0xffff:
			high, low := utf16.EncodeRune(c)
			fmt.Fprintf(&line, `\u%04x\u%04x`, high, low)
		default:
			fmt.Fprintf(&line, `\u%04x`, c)
		}
	}
	return line.Bytes()
}
