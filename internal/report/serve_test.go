package report

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gopipework/gopipework/internal/fault"
)

// soon bounds every wait of these tests.
const soon = time.Minute

// quiet returns a Reporter whose log nobody reads.
func quiet() *Reporter { return New(slog.New(slog.DiscardHandler)) }

// serving returns the Server of a Reporter.
func serving(t *testing.T, r *Reporter, dir string) *Server {
	t.Helper()
	s, err := r.serveIn(dir)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// following follows the watch in dir, and returns what it is told.
func following(t *testing.T, dir string) (<-chan Event, <-chan error) {
	events, ended := make(chan Event, 10*queueLength), make(chan error, 1)
	go func() {
		ended <- followIn(t.Context(), dir, func(line []byte) error {
			var e Event
			err := json.Unmarshal(line, &e)
			events <- e
			return err
		})
	}()
	return events, ended
}

// expect waits for the next event, which must be of that kind.
func expect(t *testing.T, events <-chan Event, kind Kind, state string) Event {
	t.Helper()
	select {
	case e := <-events:
		if e.Kind != kind || e.State != state {
			t.Fatalf("the event is %+v, want %s %s", e, kind, state)
		}
		return e
	case <-time.After(soon):
		t.Fatalf("waited for %s %s without success", kind, state)
	}
	return Event{}
}

// TestFollow: several readers are told all events in their order, over a restart of the
// watch. What the new one did before they were back is told too.
func TestFollow(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "run")
	r := quiet()
	r.Tell(Event{Kind: Attached, Guest: "docker:old"}) // before anybody follows
	s := serving(t, r, dir)
	var all []<-chan Event
	for range 5 {
		events, _ := following(t, dir)
		expect(t, events, Watch, Up)
		all = append(all, events)
	}
	evil := "no\x1b[2J\u202e\U000e0001"
	for n := range 100 {
		r.Tell(Event{Kind: Attached, Guest: strconv.Itoa(n), Reason: evil})
	}
	for _, events := range all {
		for n := range 100 {
			if e := expect(t, events, Attached, ""); e.Guest != strconv.Itoa(n) || e.Reason != evil || e.Time.IsZero() {
				t.Fatalf("event %d is %+v", n, e)
			}
		}
	}
	s.Close()
	for _, events := range all {
		expect(t, events, Watch, Down)
	}
	r = quiet()
	r.Tell(Event{Kind: Attached, Guest: "docker:new"})
	defer serving(t, r, dir).Close()
	for _, events := range all {
		expect(t, events, Watch, Up)
		if e := expect(t, events, Attached, ""); e.Guest != "docker:new" {
			t.Errorf("after the restart: %+v", e)
		}
	}
}

// TestEncode: a line of events does not control the terminal that it is printed on.
func TestEncode(t *testing.T) {
	line := string(Event{Kind: Failed, Reason: "a<b\x1b\u009b\u202e\U000e0001ä\n"}.encode())
	if strings.ContainsAny(line, "\x1b\u009b\u202e\U000e0001") || !strings.Contains(line, "a<b") || !strings.Contains(line, "ä") || strings.Count(line, "\n") != 1 {
		t.Errorf("%q", line)
	}
}

// TestSlowReader: a reader that does not read is dropped, with a last line that says so
// after those that it was told in time, and nobody has waited for it.
func TestSlowReader(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "run")
	r := quiet()
	s := serving(t, r, dir)
	defer s.Close()
	c, err := ask(t.Context(), dir, askEvents)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	in := bufio.NewReader(c)
	if _, err := in.ReadBytes('\n'); err != nil { // it follows
		t.Fatal(err)
	}
	events, _ := following(t, dir) // a good reader beside it
	expect(t, events, Watch, Up)
	const told = 3 * queueLength
	for n := range told {
		r.Tell(Event{Kind: Warning, Guest: strconv.Itoa(n), Reason: strings.Repeat("x", 1000)})
		expect(t, events, Warning, "")
	}
	r.mu.Lock()
	if n := len(r.readers); n != 1 {
		t.Errorf("%d readers are left, want the good one", n)
	}
	r.mu.Unlock()
	_ = c.SetReadDeadline(time.Now().Add(soon))
	for n := 0; ; n++ {
		line, err := in.ReadBytes('\n')
		var e Event
		if err = errors.Join(err, json.Unmarshal(line, &e)); err != nil {
			t.Fatalf("after %d lines: %v", n, err)
		}
		if e.Kind == Dropped {
			if n < queueLength || n >= told || e.Reason == "" {
				t.Errorf("after %d lines: %+v", n, e)
			}
			break
		}
		if e.Guest != strconv.Itoa(n) {
			t.Fatalf("line %d is %+v", n, e)
		}
	}
	if _, err := in.ReadByte(); err != io.EOF {
		t.Errorf("after the last line: %v", err)
	}
}

// TestDroppedFollower: Follow ends with an error that says why.
func TestDroppedFollower(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "run")
	r := quiet()
	defer serving(t, r, dir).Close()
	held := make(chan bool)
	var once sync.Once
	ended := make(chan error, 1)
	go func() {
		ended <- followIn(t.Context(), dir, func([]byte) error {
			once.Do(func() { held <- true; <-held })
			return nil
		})
	}()
	<-held
	for range 3 * queueLength {
		r.Tell(Event{Kind: Attached, Reason: strings.Repeat("x", 1000)})
	}
	held <- true
	if err := <-ended; fault.CodeOf(err) != fault.Limit || fault.HintOf(err) == "" {
		t.Errorf("it ends with %v", err)
	}
}

// TestSocket: only root can reach the socket, it goes with the watch, and that of a killed
// watch is no obstacle.
func TestSocket(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "run")
	s := serving(t, quiet(), dir)
	socket := filepath.Join(dir, socketName)
	if i, err := os.Stat(socket); err != nil || i.Mode().Perm() != 0o600 {
		t.Errorf("the socket: %v, %v", i, err)
	}
	s.Close()
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the run directory, empty as it is: %v", err)
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close() // as of a killed one
	if _, err := askMissingIn(t.Context(), dir); !errors.Is(err, ErrNoWatch) {
		t.Errorf("ask a killed watch: %v", err)
	}
	defer serving(t, quiet(), dir).Close()
	if all, err := askMissingIn(t.Context(), dir); err != nil || len(all) != 0 {
		t.Errorf("ask its successor: %v, %v", all, err)
	}
}

// TestAskMissing: what is missing is answered; without a watch that is said at once, and
// one that hangs is waited for no longer than the caller wants.
func TestAskMissing(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "run")
	if _, err := askMissingIn(t.Context(), dir); !errors.Is(err, ErrNoWatch) {
		t.Errorf("without a watch: %v", err)
	}
	if err := followIn(t.Context(), dir, nil); fault.CodeOf(err) != fault.NotFound || !errors.Is(err, ErrNoWatch) || fault.HintOf(err) == "" {
		t.Errorf("follow without a watch: %v", err)
	}
	r := quiet()
	s := serving(t, r, dir)
	defer s.Close()
	at := time.Now().Round(0)
	for range 3 {
		r.Tell(Event{Kind: Failed, Origin: "keep", Line: "br1 web 10.0.0.1/24", Reason: "busy", Hint: "wait", Again: at})
	}
	all, err := askMissingIn(t.Context(), dir)
	if err != nil || len(all) != 1 || all[0].Failures != 3 || !all[0].Again.Equal(at) || all[0].Hint != "wait" {
		t.Errorf("%+v, %v", all, err)
	}
	r.mu.Lock() // it hangs
	defer r.mu.Unlock()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := askMissingIn(ctx, dir); err == nil || errors.Is(err, ErrNoWatch) {
		t.Errorf("ask one that hangs: %v", err)
	}
}
