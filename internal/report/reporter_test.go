package report

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"
)

// logged returns the message and the reason of each line of a log.
func logged(t *testing.T, log *bytes.Buffer) (lines []string) {
	t.Helper()
	for l := range bytes.Lines(log.Bytes()) {
		var line struct{ Level, Msg, Line, Reason string }
		if err := json.Unmarshal(l, &line); err != nil {
			t.Fatalf("%q: %v", l, err)
		}
		lines = append(lines, strings.Join([]string{line.Level, line.Msg, line.Line, line.Reason}, "|"))
	}
	log.Reset()
	return lines
}

// TestTellOnce: a trouble is logged once for each reason, and again after it was over.
func TestTellOnce(t *testing.T) {
	var log bytes.Buffer
	r := New(Log(&log, JSON))
	fails := func(reason string) Event {
		return Event{Kind: Failed, Origin: "keep", Line: "br1 web 10.0.0.1/24", Reason: reason}
	}
	r.Tell(fails("busy"))
	r.Tell(fails("busy"))
	r.Tell(fails("full at 10:59, as process 17"))
	r.Tell(fails("full at 11:01, as process 4711"))
	r.Tell(Event{Kind: Failed, Origin: "file:lab", Line: "br1 web 10.0.0.1/24", Reason: "full"})
	r.Tell(Event{Kind: Attached, Origin: "keep", Line: "br1 web 10.0.0.1/24", Guest: "docker:web", IfName: "eth1"})
	r.Tell(fails("full"))
	want := []string{
		"WARN|failed|br1 web 10.0.0.1/24|busy", "WARN|failed|br1 web 10.0.0.1/24|full at 10:59, as process 17", "WARN|failed|br1 web 10.0.0.1/24|full",
		"INFO|attached|br1 web 10.0.0.1/24|", "WARN|failed|br1 web 10.0.0.1/24|full",
	}
	if got := logged(t, &log); !slices.Equal(got, want) {
		t.Errorf("\n got %q\nwant %q", got, want)
	}
}

// TestWarnTwice: of several warnings about one guest each is logged once, in whatever order
// they come again.
func TestWarnTwice(t *testing.T) {
	var log bytes.Buffer
	r := New(Log(&log, JSON))
	for range 3 {
		r.Tell(Event{Kind: Warning, Guest: "docker:web", Reason: "slow"})
		r.Tell(Event{Kind: Warning, Guest: "docker:web", Reason: "late"})
	}
	if got := logged(t, &log); len(got) != 2 {
		t.Errorf("logged %q", got)
	}
}

// TestCuts: an attachment that is cut off is told once, and again after it was not.
func TestCuts(t *testing.T) {
	var log bytes.Buffer
	r := New(Log(&log, JSON))
	cut := func(guest string) Event {
		return Event{Kind: Cut, Guest: guest, IfName: "eth1", Origin: "keep", Reason: "a rule drops it"}
	}
	r.Cuts([]Event{cut("docker:web"), cut("docker:db")})
	r.Cuts([]Event{cut("docker:web")})
	r.Cuts([]Event{cut("docker:web"), cut("docker:db")})
	if got := logged(t, &log); len(got) != 3 || r.metrics.cut != 2 {
		t.Errorf("logged %q, and counts %d", got, r.metrics.cut)
	}
}

// TestMissing: what is missing is what was last heard of each line that is asked for.
func TestMissing(t *testing.T) {
	var log bytes.Buffer
	r := New(Log(&log, JSON))
	r.Wanted("keep", []string{"a", "b", "c"})
	r.Wanted("file:lab", []string{"a"})
	for _, e := range []Event{
		{Kind: Pending, Origin: "keep", Line: "a", Reason: "not running"},
		{Kind: Pending, Origin: "keep", Line: "b", Reason: "not running"},
		{Kind: Failed, Origin: "keep", Line: "b", Reason: "busy"},
		{Kind: Pending, Origin: "keep", Line: "c", Reason: "not running"},
		{Kind: Attached, Origin: "keep", Line: "c"},
		{Kind: Pending, Origin: "file:lab", Line: "a", Reason: "not running"},
	} {
		r.Tell(e)
	}
	missing := func() (all []string) {
		for _, e := range r.Missing() {
			all = append(all, e.Origin+" "+e.Line+" "+string(e.Kind))
		}
		return all
	}
	if got, want := missing(), []string{"file:lab a pending", "keep a pending", "keep b failed"}; !slices.Equal(got, want) {
		t.Errorf("missing %q, want %q", got, want)
	}
	r.Wanted("keep", []string{"b"})
	r.Wanted("file:lab", nil)
	if got, want := missing(), []string{"keep b failed"}; !slices.Equal(got, want) {
		t.Errorf("missing %q, want %q", got, want)
	}
	log.Reset()
	r.Compared([]Entry{{"keep", "a"}})
	if got := missing(); len(got) != 0 {
		t.Errorf("missing %q, though somebody has attached it", got)
	}
	r.Wanted("keep", []string{"a", "b"})
	r.Tell(Event{Kind: Pending, Origin: "keep", Line: "a", Reason: "not running"})
	if got := logged(t, &log); len(got) != 1 {
		t.Errorf("a line that came back was logged as %q", got)
	}
}

// TestRead: what cannot be read is missing until it can be, or has gone; one that comes back is
// told again.
func TestRead(t *testing.T) {
	var log bytes.Buffer
	r := New(Log(&log, JSON))
	up, broken := Event{Kind: Source, Name: "/dir", State: Up}, Event{Kind: Source, Name: "/dir/a", State: Down, Reason: "no YAML"}
	for _, read := range [][]Event{{up, broken}, {up, broken}, {up}, {up, broken}} {
		r.Read("/dir", read)
		if got := r.Missing(); len(got) != len(read)-1 {
			t.Errorf("of %v %v is missing", read, got)
		}
	}
	if got := logged(t, &log); len(got) != 3 {
		t.Errorf("logged %q", got)
	}
}

// TestLogText: what a container says cannot forge a line of the log or control a terminal.
func TestLogText(t *testing.T) {
	for _, format := range []Format{Text, JSON} {
		var log bytes.Buffer
		New(Log(&log, format)).Tell(Event{Kind: Refused, Line: "br1\n\x1b[2J web", Reason: "no entry\r\nlevel=INFO", Again: time.Now()})
		if s := log.String(); strings.Count(s, "\n") != 1 || strings.ContainsAny(s, "\x1b\r") {
			t.Errorf("%s: %q", format, s)
		}
		if f := FormatFor(&log); f != JSON {
			t.Errorf("a log that is not a terminal is written as %s", f)
		}
	}
}
