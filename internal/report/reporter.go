package report

import (
	"cmp"
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"
)

// Reporter is told what happens. Its methods may be called at any time, also side by side;
// none of them blocks on a reader.
type Reporter struct {
	Version string // of this program, for the metrics

	log *slog.Logger

	mu      sync.Mutex
	said    map[subject]Event          // the last trouble that each has, until it is over
	missing map[subject]Event          // what is wanted and not there, and why
	wanted  map[string]map[string]bool // the lines that each origin asks for
	sources map[string][]Event         // of each source, how it and its files could be read last
	readers map[*reader]bool
	recent  [][]byte // the last events, as readers get them
	ended   bool     // no reader joins any more
	metrics metrics
	manager manager
}

// subject is what an event is about.
type subject struct{ origin, line, guest, ifName, name, warning string }

// about returns the subject of an event. An entry is one, whatever is known of its guest by
// now; of warnings there may be several about one guest.
func about(e Event) subject {
	switch {
	case e.Kind == Cut:
		return subject{guest: e.Guest, ifName: e.IfName, warning: string(Cut)}
	case e.Kind == Warning:
		return subject{origin: e.Origin, line: e.Line, guest: e.Guest, ifName: e.IfName, name: e.Name, warning: withoutNumbers(e.Reason)}
	case e.Line != "":
		return subject{origin: e.Origin, line: e.Line}
	}
	return subject{origin: e.Origin, guest: e.Guest, ifName: e.IfName, name: e.Name}
}

// maxSaid bounds how many troubles are remembered. Beyond, some are told again.
const maxSaid = 100_000

// New returns a Reporter that writes to log.
func New(log *slog.Logger) *Reporter {
	return &Reporter{
		log: log, said: map[subject]Event{}, missing: map[subject]Event{}, wanted: map[string]map[string]bool{},
		sources: map[string][]Event{}, readers: map[*reader]bool{},
		metrics: metrics{events: map[string]int{}, engines: map[string]int{}},
	}
}

// Tell is called for each thing that happened. A trouble that is told again with the same
// reason is counted, and neither logged nor passed on again.
func (r *Reporter) Tell(e Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if e.Time.IsZero() {
		e.Time = time.Now()
	}
	r.count(e)
	if e.Kind == Failed && e.Line != "" {
		e.Failures = 1
		if last := r.missing[subject{origin: e.Origin, line: e.Line}]; last.Kind == Failed {
			e.Failures += last.Failures
		}
	}
	if r.note(e) {
		return
	}
	r.pass(e)
	r.log.LogAttrs(context.Background(), level(e), string(e.Kind), attrs(e)...)
}

// note remembers what there is of the subject of an event, and reports whether that has been
// said before. The caller must hold r.mu.
func (r *Reporter) note(e Event) (again bool) {
	s := about(e)
	if e.Line != "" {
		if m := e; e.absent() {
			if first, ok := r.missing[s]; ok {
				m.Time = first.Time
			}
			r.missing[s] = m
		} else if !troubling(e) {
			delete(r.missing, s)
		}
	}
	if !troubling(e) {
		delete(r.said, s)
		return false
	}
	if len(r.said) >= maxSaid {
		clear(r.said)
	}
	last, known := r.said[s]
	r.said[s] = e
	return known && last.Kind == e.Kind && last.State == e.State && sameReason(last.Reason, e.Reason)
}

// sameReason reports whether two reasons are one. Numbers in them do not count: they may be a
// time or a process ID that another program has put there.
func sameReason(a, b string) bool { return a == b || withoutNumbers(a) == withoutNumbers(b) }

func withoutNumbers(s string) string {
	return strings.Map(func(c rune) rune {
		if c >= '0' && c <= '9' {
			return -1
		}
		return c
	}, s)
}

// absent reports whether an event says that something is wanted and not there.
func (e Event) absent() bool { return e.Kind == Pending || e.Kind == Failed || e.Kind == Refused }

// troubling reports whether an event says how something stands, and not that something was
// done. Such an event may be told each time somebody looks.
func troubling(e Event) bool {
	switch e.Kind {
	case Cut, Engine, Source, Warning:
		return true
	}
	return e.absent()
}

// Wanted is called with all the lines that an origin asks for now: after each time that its
// source was read, and with none if it asks for nothing any more. What is known about other
// lines of it is dropped.
func (r *Reporter) Wanted(origin string, lines []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	asked := map[string]bool{}
	for _, l := range lines {
		asked[l] = true
	}
	if r.wanted[origin] = asked; len(asked) == 0 {
		delete(r.wanted, origin)
	}
	r.forget(func(s subject, _ Event) bool { return s.origin == origin && !asked[s.line] })
}

// Read is called each time that a source was read, with an event of the kind Source for it and
// for each file that it has now.
func (r *Reporter) Read(source string, all []Event) {
	r.mu.Lock()
	for _, e := range r.sources[source] { // one that has gone may come again
		if !slices.ContainsFunc(all, func(now Event) bool { return now.Name == e.Name }) {
			delete(r.said, about(e))
		}
	}
	r.sources[source] = all
	r.mu.Unlock()
	for _, e := range all {
		r.Tell(e)
	}
}

// read returns the last event of each source and of each file of one. The caller must hold
// r.mu.
func (r *Reporter) read() (all []Event) {
	for _, s := range r.sources {
		all = append(all, s...)
	}
	return all
}

// Entry is something that an origin asks for.
type Entry struct{ Origin, Line string }

// Compared is called with all entries that are not as they are wanted, each time that was
// looked at. Any other is missing no longer: somebody may have attached it by hand.
func (r *Reporter) Compared(differ []Entry) {
	r.mu.Lock()
	defer r.mu.Unlock()
	still := map[subject]bool{}
	for _, e := range differ {
		still[subject{origin: e.Origin, line: e.Line}] = true
	}
	r.forget(func(s subject, e Event) bool { return !still[s] && e.absent() })
}

// Cuts is called with the events of all attachments that are there and cut off, each time that
// was looked at. Any other is no longer.
func (r *Reporter) Cuts(all []Event) {
	r.mu.Lock()
	still := map[subject]bool{}
	for _, e := range all {
		still[about(e)] = true
	}
	for s, e := range r.said {
		if e.Kind == Cut && !still[s] {
			delete(r.said, s)
		}
	}
	r.metrics.cut = len(all)
	r.mu.Unlock()
	for _, e := range all {
		r.Tell(e)
	}
}

// forget drops what is known of the entries for which gone is true. The caller must hold
// r.mu.
func (r *Reporter) forget(gone func(subject, Event) bool) {
	for _, m := range []map[subject]Event{r.missing, r.said} {
		for s, e := range m {
			if s.line != "" && gone(s, e) {
				delete(m, s)
			}
		}
	}
}

// Missing returns what is wanted and not there, with the reasons: the last event about each,
// with the Time since when it is so; and the last event of each Source that is Down: what it
// asks for is not known.
func (r *Reporter) Missing() []Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := make([]Event, 0, len(r.missing))
	for _, e := range r.missing {
		all = append(all, e)
	}
	for _, e := range r.read() {
		if e.State == Down {
			all = append(all, e)
		}
	}
	slices.SortFunc(all, func(a, b Event) int {
		return cmp.Or(cmp.Compare(a.Origin, b.Origin), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Name, b.Name))
	})
	return all
}

// Leases is called with the number of leases that are maintained, when it changes.
func (r *Reporter) Leases(n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.metrics.leases = n
}

// Reconciled is called each time that all there is has been compared with what is wanted.
func (r *Reporter) Reconciled(took time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.metrics.reconciles.add(took.Seconds())
}
