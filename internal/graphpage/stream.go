package graphpage

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/gopipework/gopipework/internal/graph"
)

// How often the host is looked at while somebody follows.
const (
	settle  = 50 * time.Millisecond  // after a change; more of them follow, as a rule
	apart   = 250 * time.Millisecond // between two looks, however much happens
	share   = 4                      // as many times as long as a look has taken,
	longest = 500 * time.Millisecond // but no longer
	second  = time.Second            // between two reads of counters; and looks, at least
	unasked = 20                     // as many times as long, though nothing was told
)

// maxReaders bounds how many follow at the same time.
const maxReaders = 64

// stream looks at the host when something may have changed, and tells its readers.
type stream struct {
	page    Page
	changed chan struct{}

	mu      sync.Mutex // for what is below
	readers map[*reader]bool
	last    []byte // the latest graph, as JSON; nil: there is none
}

// reader is one who follows. A message that was not sent yet is replaced by a later one of
// its kind, so a slow reader misses what is outdated.
type reader struct {
	ready chan struct{}
	mu    sync.Mutex
	next  [messageKinds][]byte
}

// The kinds of message, in the order in which they are sent.
const (
	messageTrouble = iota // what keeps the host from being looked at, as a JSON string
	messageGraph          // what is there
	messageTraffic        // bytes a second by node: received, sent
	messageKinds
)

var messages = [messageKinds]string{"trouble", "graph", "traffic"}

func newStream(p Page) *stream {
	return &stream{page: p, changed: make(chan struct{}, 1), readers: map[*reader]bool{}}
}

// change tells that something may have changed. It does not wait.
func (s *stream) change() {
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

// run looks and tells until ctx is done.
func (s *stream) run(ctx context.Context) {
	tick := time.NewTicker(second)
	defer tick.Stop()
	var due <-chan time.Time // of the next look; nil: nothing has changed
	var soonest, latest time.Time
	var seen graph.Graph
	var rates rates
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.changed:
			if due == nil {
				due = time.After(max(settle, time.Until(soonest)))
			}
		case <-due:
			due = nil
			if !s.watched() {
				continue
			}
			began := time.Now()
			seen = s.look(ctx, seen)
			took := time.Since(began)
			soonest, latest = time.Now().Add(max(apart, min(share*took, longest))), time.Now().Add(unasked*took)
		case <-tick.C:
			switch {
			case !s.watched():
				continue
			case time.Now().After(latest):
				s.change() // for what nobody tells, such as a rule of iptables-legacy
			}
			s.traffic(ctx, seen, &rates)
		}
	}
}

// look looks at the host, tells what is there unless that is what was told before, and
// returns it.
func (s *stream) look(ctx context.Context, before graph.Graph) graph.Graph {
	seen, err := s.page.Look(ctx)
	if ctx.Err() != nil {
		return before
	}
	if err != nil {
		s.tell(messageTrouble, encode(err.Error()))
		return before
	}
	if seen.Findings == nil {
		seen.Findings = map[string][]string{}
	}
	message := encode(struct {
		Host    string `json:"host"`
		Version string `json:"version"`
		Seen
	}{s.page.Host, s.page.Version, seen})
	s.mu.Lock()
	same := bytes.Equal(message, s.last)
	s.last = message
	s.mu.Unlock()
	if !same {
		s.tell(messageGraph, message)
	}
	s.tell(messageTrouble, encode(""))
	return seen.Graph
}

// traffic reads counters, and tells what has passed since they were read before.
func (s *stream) traffic(ctx context.Context, seen graph.Graph, r *rates) {
	all, err := s.page.Traffic(ctx, seen)
	if err != nil {
		all = nil // it is told with the next graph, if the host cannot be read at all
	}
	s.tell(messageTraffic, encode(r.since(all, time.Now())))
}

// rates makes rates of counters.
type rates struct {
	at   time.Time
	last map[string]graph.Counters
}

// since returns bytes a second, received and sent, of each node by which any have passed.
func (r *rates) since(all map[string]graph.Counters, now time.Time) map[string][2]uint64 {
	out := map[string][2]uint64{}
	took := now.Sub(r.at)
	for id, c := range all {
		was, ok := r.last[id]
		if !ok || took > 3*second || c.Received < was.Received || c.Sent < was.Sent {
			continue // nobody looked in between, or it is another link of that name
		}
		rate := func(bytes uint64) uint64 { return uint64(float64(bytes) / took.Seconds()) }
		if one := [2]uint64{rate(c.Received - was.Received), rate(c.Sent - was.Sent)}; one != [2]uint64{} {
			out[id] = one
		}
	}
	r.at, r.last = now, all
	return out
}

func encode(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		b, _ = json.Marshal(err.Error()) // of a value that is data throughout
	}
	return b
}

func (s *stream) watched() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.readers) > 0
}

// tell gives a message to all readers. Nothing waits for one.
func (s *stream) tell(kind int, message []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for r := range s.readers {
		r.tell(kind, message)
	}
}

func (r *reader) tell(kind int, message []byte) {
	r.mu.Lock()
	r.next[kind] = message
	r.mu.Unlock()
	select {
	case r.ready <- struct{}{}:
	default:
	}
}

// join adds a reader, who gets what is there at once, and has the host looked at. nil:
// there are too many.
func (s *stream) join() *reader {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.readers) >= maxReaders {
		return nil
	}
	r := &reader{ready: make(chan struct{}, 1)}
	s.readers[r] = true
	if s.last != nil {
		r.tell(messageGraph, s.last)
	}
	s.change()
	return r
}

func (s *stream) leave(r *reader) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.readers, r)
}

// serve sends events until the reader goes, or the server ends.
func (s *stream) serve(w http.ResponseWriter, r *http.Request) {
	one := s.join()
	if one == nil {
		http.Error(w, "Too many pages follow already.", http.StatusServiceUnavailable)
		return
	}
	defer s.leave(one)
	w.Header().Set("Content-Type", "text/event-stream")
	out := http.NewResponseController(w)
	const again = "retry: 1000\n\n" // milliseconds until a browser that was cut off comes back
	if !send(w, out, again) {
		return
	}
	for {
		select {
		case <-r.Context().Done():
			return
		case <-one.ready:
			if !send(w, out, one.take()) {
				return
			}
		}
	}
}

// take returns what is to be sent.
func (r *reader) take() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var b bytes.Buffer
	for kind, message := range r.next {
		if message != nil {
			fmt.Fprintf(&b, "event: %s\ndata: %s\n\n", messages[kind], message)
		}
	}
	r.next = [messageKinds][]byte{}
	return b.String()
}

// send reports whether the text was sent, in time.
func send(w http.ResponseWriter, out *http.ResponseController, text string) bool {
	const patience = 10 * time.Second
	if out.SetWriteDeadline(time.Now().Add(patience)) != nil {
		return false
	}
	_, err := w.Write([]byte(text))
	return err == nil && out.Flush() == nil
}
