package main

// What is wanted and not there, which only a running watch knows.

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gopipework/gopipework/attach"
	"github.com/gopipework/gopipework/internal/reconcile"
	"github.com/gopipework/gopipework/internal/report"
	"github.com/gopipework/gopipework/internal/shell"
	"github.com/gopipework/gopipework/internal/spec"
)

// absent is the state of an attachment that is wanted and not there.
const absent attach.State = "pending"

// listed is a row of a list.
type listed struct {
	attach.Attachment
	Pending *missing `json:"pending,omitempty"` // nil: there is nothing to be done about it
}

// missing is what watch knows about an attachment that is not as it is wanted. Its JSON is
// a promise.
type missing struct {
	Why      report.Kind `json:"why"` // pending, failed or refused
	Reason   string      `json:"reason"`
	Hint     string      `json:"hint,omitempty"`
	Line     string      `json:"line"`               // what is wanted, as it would be typed
	Since    time.Time   `json:"since"`              // the first time in a row that it was not there
	Failures int         `json:"failures,omitempty"` // in a row
	Again    time.Time   `json:"again,omitzero"`     // when it is tried next
}

func newMissing(e report.Event) *missing {
	return &missing{e.Kind, e.Reason, e.Hint, e.Line, e.Time, e.Failures, e.Again}
}

// String says why it is not there, and when it is tried again.
func (m missing) String() string {
	switch m.Why {
	case report.Pending:
		return m.Reason
	case report.Failed:
		s := "failed"
		if m.Failures > 1 {
			s += " " + strconv.Itoa(m.Failures) + " times"
		}
		if !m.Again.IsZero() {
			s += ", tried again at " + m.Again.Local().Format(time.TimeOnly)
		}
		return s + ": " + m.Reason
	}
	return string(m.Why) + ": " + m.Reason
}

// answer is what watch says is missing.
type answer struct {
	events []report.Event
	unread []report.Event // of what cannot be read and may ask for more
	err    error
}

func newAnswer(events []report.Event, err error) answer {
	a := answer{err: err}
	for _, e := range events {
		if e.Kind == report.Source {
			a.unread = append(a.unread, e)
			continue
		}
		a.events = append(a.events, e)
	}
	return a
}

// warnings say what the answer does not tell.
func (a answer) warnings() (all []string) {
	if a.err != nil {
		all = append(all, "what is pending is not listed: "+a.err.Error())
	}
	for _, e := range a.unread {
		all = append(all, "what watch cannot read may ask for more: "+e.Reason)
	}
	return all
}

// patience is how long a list waits for a watch that hangs.
const patience = 100 * time.Millisecond

// askWatch asks what is missing, while the caller looks at what there is. If no watch runs,
// nothing is missing.
func askWatch(ctx context.Context) <-chan answer {
	said := make(chan answer, 1)
	go func() {
		ctx, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		events, err := report.AskMissing(ctx)
		switch {
		case errors.Is(err, report.ErrNoWatch):
			err = nil
		case errors.Is(err, os.ErrDeadlineExceeded) || ctx.Err() != nil:
			err = fmt.Errorf("watch runs, and has not answered within %s", patience)
		}
		said <- newAnswer(events, err)
	}()
	return said
}

// rows returns the rows of a list: what there is, and after it what is missing. With a guest
// it is that of the guest.
func (a answer) rows(there []attach.Attachment, g *attach.Guest) (rows []listed) {
	for _, t := range there {
		rows = append(rows, listed{Attachment: t})
	}
	if len(a.events) == 0 {
		return rows
	}
	read := grammar()
	for _, e := range a.events {
		if bridgeOf(e) != "" {
			continue
		}
		m := newMissing(e)
		n := slices.IndexFunc(rows, func(r listed) bool {
			return r.State != absent && r.Guest.Word() == e.Guest && r.Interface.Name == e.IfName
		})
		if n >= 0 { // it is there, and not as it is wanted
			rows[n].Pending = m
			continue
		}
		for _, s := range specs(e, read.Attach, read.Link) {
			parked := slices.IndexFunc(rows, func(r listed) bool {
				return r.State == attach.Parked && reconcile.Means(s.Guest, r.Guest) && cmp.Or(s.IfName, spec.UsualIfName) == r.Interface.Name
			})
			switch {
			case parked >= 0:
				rows[parked].Pending = m
			case g == nil || reconcile.Means(s.Guest, g.GuestInfo):
				rows = append(rows, listed{wanted(s, attach.Origin(e.Origin)), m})
			}
		}
	}
	return rows
}

// listedBridge is a row of a list of bridges.
type listedBridge struct {
	attach.Bridge
	Pending *missing `json:"pending,omitempty"` // nil: there is nothing to be done about it
}

// bridgesFor returns the rows for bridges: those that there are, and what is missing of
// them. A list of one guest has none.
func (a answer) bridgesFor(there []attach.Bridge, g *attach.Guest) (rows []listedBridge) {
	if g != nil {
		return nil
	}
	for _, b := range there {
		rows = append(rows, listedBridge{Bridge: b})
	}
	for _, e := range a.events {
		name := bridgeOf(e)
		if name == "" {
			continue
		}
		n := slices.IndexFunc(rows, func(r listedBridge) bool { return r.Name == name })
		if n < 0 {
			n = len(rows)
			rows = append(rows, listedBridge{Bridge: attach.Bridge{Name: name, Origin: attach.Origin(e.Origin), Addresses: []netip.Prefix{}}})
		}
		rows[n].Pending = newMissing(e)
	}
	return rows
}

// bridgeOf returns the bridge that an event is about; "": it is about an attachment, and so
// about a guest.
func bridgeOf(e report.Event) string {
	words := strings.Fields(e.Line)
	if e.Guest != "" || len(words) < 2 || words[0] != "bridge" {
		return ""
	}
	return words[1]
}

// specs reads what is wanted from the line of an event. A line that cannot be read, such as
// that of a label, is one for the guest that the event names.
func specs(e report.Event, attachLine func([]string) (attach.Spec, error), linkLine func([]string) (attach.LinkSpec, error)) []attach.Spec {
	unread := []attach.Spec{{Guest: e.Guest, IfName: e.IfName}}
	words, err := shell.Words(e.Line)
	if err != nil {
		return unread
	}
	if len(words) > 0 && words[0] == "link" {
		if s, err := linkLine(words[1:]); err == nil {
			return s.Ends[:]
		}
	}
	if s, err := attachLine(words); err == nil {
		return []attach.Spec{s}
	}
	return unread
}

// wanted returns the attachment that a line asks for, as far as the line tells.
func wanted(s attach.Spec, origin attach.Origin) (a attach.Attachment) {
	a.Guest.Name = s.Guest
	if runtime, name, ok := strings.Cut(s.Guest, ":"); ok && !strings.HasPrefix(s.Guest, "/") {
		a.Guest.Runtime, a.Guest.Name = runtime, name
	}
	if a.Guest.Runtime == "pid" {
		a.Guest.ID, a.Guest.Name = a.Guest.Name, s.Guest
	}
	if a.Interface.Name = s.IfName; s.IfName == "" && s.HostIF != (attach.HostIF{}) {
		a.Interface.Name = spec.UsualIfName
	}
	if s.MAC != nil {
		a.Interface.MAC = s.MAC.String()
	}
	a.Interface.MTU = s.MTU
	a.Interface.Addresses, a.Interface.Gateway = orEmpty(s.Addrs), orEmpty(s.Gateways)
	a.Host = attach.Host{Kind: string(s.HostIF.Kind), Name: s.HostIF.Name, Port: s.HostName, VLAN: s.VLAN}
	a.State, a.Origin = absent, origin
	return a
}

// awaits reports whether watch waits for the guest that a word names.
func awaits(ctx context.Context, word string) bool {
	_, name, _ := strings.Cut(":"+word, ":")
	a := <-askWatch(ctx)
	for _, r := range a.rows(nil, nil) {
		if r.Guest.Word() == word || r.Guest.Name == name {
			return true
		}
	}
	return false
}
