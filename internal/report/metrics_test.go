package report

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// TestMetrics: Prometheus' own parser reads the metrics, and they say what was told.
func TestMetrics(t *testing.T) {
	r := quiet()
	r.Version = `v1 "x\y` + "\n"
	r.Wanted("keep", []string{"a", "b", "c", "d"})
	for range 3 {
		r.Tell(Event{Kind: Failed, Origin: "keep", Line: "a", Reason: "busy"})
	}
	r.Tell(Event{Kind: Pending, Origin: "keep", Line: "b"})
	r.Tell(Event{Kind: Attached, Origin: "keep", Line: "c", Took: 0.02})
	r.Tell(Event{Kind: Attached, Origin: "keep", Line: "d", Took: 60})
	r.Tell(Event{Kind: Engine, Name: "docker", State: Up})
	r.Tell(Event{Kind: Engine, Name: "podman", State: Up})
	r.Tell(Event{Kind: Engine, Name: "podman", State: Down})
	r.Read("/dir", []Event{{Kind: Source, Name: "/dir", State: Up}, {Kind: Source, Name: "/dir/a", State: Down}, {Kind: Source, Name: "/dir/b", State: Up}})
	r.Read("/dir", []Event{{Kind: Source, Name: "/dir", State: Up}, {Kind: Source, Name: "/dir/a", State: Down}})
	r.Leases(7)
	r.Reconciled(time.Second)
	at, end, err := r.ServeMetrics("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer end()
	resp, err := http.Get("http://" + at.String() + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if format := expfmt.ResponseFormat(resp.Header); !strings.HasPrefix(string(format), "text/plain") {
		t.Errorf("the header says %q", resp.Header)
	}
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]float64{}
	for name, f := range families {
		if f.GetHelp() == "" || strings.HasSuffix(name, "_total") != (f.GetType().String() == "COUNTER") {
			t.Errorf("%s: %s, %q", name, f.GetType(), f.GetHelp())
		}
		for _, m := range f.GetMetric() {
			key := strings.TrimPrefix(name, "gopipework_")
			for _, l := range m.GetLabel() {
				key += " " + l.GetValue()
			}
			values[key] = m.GetGauge().GetValue() + m.GetCounter().GetValue()
			if h := m.GetHistogram(); h != nil {
				values[key+" count"], values[key+" sum"] = float64(h.GetSampleCount()), h.GetSampleSum()
				for _, b := range h.GetBucket() {
					if b.GetUpperBound() == .025 {
						values[key+" .025"] = float64(b.GetCumulativeCount())
					}
				}
			}
		}
	}
	for key, want := range map[string]float64{
		"build_info " + r.Version: 1, "attachments_wanted": 4, "attachments attached": 2, "attachments pending": 1,
		"attachments failed": 1, "attachments refused": 0, "events_total failed": 3, "events_total attached": 2,
		"events_total source": 5, "source_up /dir": 1, "source_up /dir/a": 0, "leases": 7, "engine_up docker": 1, "engine_up podman": 0, "attach_duration_seconds count": 2,
		"attach_duration_seconds sum": 60.02, "attach_duration_seconds .025": 1, "reconcile_duration_seconds count": 1,
	} {
		if got, ok := values[key]; !ok || got != want {
			t.Errorf("%s is %v (%v), want %v", key, got, ok, want)
		}
	}
	if up, ok := values["source_up /dir/b"]; ok {
		t.Errorf("a file that has gone is %v", up)
	}
}

// TestMetricsOnly: nothing else is served.
func TestMetricsOnly(t *testing.T) {
	at, end, err := quiet().ServeMetrics(":0")
	if err != nil {
		t.Fatal(err)
	}
	defer end()
	for _, path := range []string{"/", "/debug/pprof/", "/metrics/x"} {
		resp, err := http.Get("http://" + at.String() + path)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != http.StatusNotFound {
			t.Errorf("%s: %s %s", path, resp.Status, body)
		}
	}
}
