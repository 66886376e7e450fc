package report

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/gopipework/gopipework/internal/tcplisten"
)

// metrics are what is counted for Prometheus alone.
type metrics struct {
	events     map[string]int // by kind
	engines    map[string]int // 1: its events are followed
	leases     int
	cut        int // attachments whose packets are dropped
	reconciles timing
	attaches   timing
}

// bounds are those of the histograms' buckets, in seconds.
var bounds = [...]float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30}

// timing is a histogram of durations.
type timing struct {
	within [len(bounds)]int // how many took no longer than each bound
	count  int
	sum    float64
}

func (t *timing) add(seconds float64) {
	for n, bound := range bounds {
		if seconds <= bound {
			t.within[n]++
		}
	}
	t.count++
	t.sum += seconds
}

// count counts an event, however often it has been told. The caller must hold r.mu.
func (r *Reporter) count(e Event) {
	r.metrics.events[string(e.Kind)]++
	switch {
	case e.Kind == Engine && e.State == Down:
		r.metrics.engines[e.Name] = 0
	case e.Kind == Engine:
		r.metrics.engines[e.Name] = 1
	case e.Kind == Attached && e.Took > 0:
		r.metrics.attaches.add(float64(e.Took))
	}
}

// states returns how many attachments are in each state. The caller must hold r.mu.
func (r *Reporter) states() map[string]int {
	n := map[string]int{string(Pending): 0, string(Failed): 0, string(Refused): 0}
	for _, e := range r.missing {
		n[string(e.Kind)]++
	}
	n[string(Attached)] = r.asked() - len(r.missing)
	return n
}

// sourcesUp returns for each source, and for each file of one, 1 if it could be read last, or
// else 0. The caller must hold r.mu.
func (r *Reporter) sourcesUp() map[string]int {
	up := map[string]int{}
	for _, e := range r.read() {
		if _, known := up[e.Name]; !known {
			up[e.Name] = 1
		}
		if e.State == Down {
			up[e.Name] = 0
		}
	}
	return up
}

// asked returns how many attachments are asked for. The caller must hold r.mu.
func (r *Reporter) asked() (n int) {
	for _, lines := range r.wanted {
		n += len(lines)
	}
	return n
}

// write writes all metrics in the Prometheus text format.
func (r *Reporter) write(w io.Writer) {
	r.mu.Lock()
	defer r.mu.Unlock()
	head := func(name, kind, help string) {
		fmt.Fprintf(w, "# HELP gopipework_%s %s\n# TYPE gopipework_%[1]s %[3]s\n", name, help, kind)
	}
	one := func(name, kind, help string, value int) {
		head(name, kind, help)
		fmt.Fprintf(w, "gopipework_%s %d\n", name, value)
	}
	quote := strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`).Replace // the format knows no other escapes
	by := func(name, kind, help, label string, values map[string]int) {
		head(name, kind, help)
		for _, key := range slices.Sorted(maps.Keys(values)) {
			fmt.Fprintf(w, "gopipework_%s{%s=\"%s\"} %d\n", name, label, quote(key), values[key])
		}
	}
	histogram := func(name, help string, t timing) {
		head(name, "histogram", help)
		for n, bound := range bounds {
			fmt.Fprintf(w, "gopipework_%s_bucket{le=\"%g\"} %d\n", name, bound, t.within[n])
		}
		fmt.Fprintf(w, "gopipework_%s_bucket{le=\"+Inf\"} %d\ngopipework_%[1]s_sum %[3]g\ngopipework_%[1]s_count %[2]d\n", name, t.count, t.sum)
	}
	by("build_info", "gauge", "The version that runs.", "version", map[string]int{r.Version: 1})
	one("attachments_wanted", "gauge", "Attachments that are asked for.", r.asked())
	by("attachments", "gauge", "Attachments that are asked for, by state: attached, pending (the guest does not run), failed or refused.", "state", r.states())
	one("attachments_cut", "gauge", "Attachments that are there and have their packets dropped.", r.metrics.cut)
	by("events_total", "counter", "Events, by kind. Each failure counts.", "kind", r.metrics.events)
	histogram("attach_duration_seconds", "How long an attach took.", r.metrics.attaches)
	histogram("reconcile_duration_seconds", "How long it took to compare all that is wanted with all that there is.", r.metrics.reconciles)
	one("leases", "gauge", "DHCP leases that are maintained.", r.metrics.leases)
	by("engine_up", "gauge", "Whether the events of an engine are followed.", "engine", r.metrics.engines)
	by("source_up", "gauge", "Whether what asks for attachments, such as a file, could be read when it was last looked at.", "source", r.sourcesUp())
}

// ServeMetrics serves the metrics over HTTP, until close is called. Without a host in addr,
// only this host can read them.
func (r *Reporter) ServeMetrics(addr string) (at net.Addr, close func(), err error) {
	l, err := tcplisten.Listen("--metrics", addr, "--metrics :9105, or to let others read them --metrics 0.0.0.0:9105")
	if err != nil {
		return nil, nil, err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, _ *http.Request) {
		var b bytes.Buffer // nobody holds the lock while it is sent
		r.write(&b)
		w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
		_, _ = w.Write(b.Bytes())
	})
	const patience = 10 * time.Second
	s := http.Server{Handler: mux, ReadTimeout: patience, WriteTimeout: patience, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 1 << 14}
	go func() { _ = s.Serve(l) }()
	return l.Addr(), func() { _ = s.Close() }, nil
}
