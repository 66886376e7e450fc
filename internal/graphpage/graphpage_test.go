package graphpage

import (
	"bufio"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gopipework/gopipework/internal/graph"
)

// served is a page that a test serves, about a host that the test makes up.
type served struct {
	t       *testing.T
	addr    string
	told    func()       // something has changed
	guests  atomic.Int64 // how many there are
	looks   atomic.Int64 // how often the host was looked at
	reads   atomic.Int64 // how often its counters were read
	failing atomic.Bool
	end     func() error
}

func serve(t *testing.T) *served {
	t.Helper()
	s := &served{t: t}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.addr = l.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	following := make(chan struct{})
	p := Page{Host: "here", Look: s.look, Traffic: s.traffic, Follow: []func(context.Context, func()) error{
		func(_ context.Context, told func()) error { s.told = told; close(following); return nil },
	}}
	ended := make(chan error, 1)
	go func() { ended <- p.Serve(ctx, l) }()
	<-following
	s.end = func() error { cancel(); return <-ended }
	t.Cleanup(cancel)
	return s
}

func (s *served) look(context.Context) (Seen, error) {
	s.looks.Add(1)
	if s.failing.Load() {
		return Seen{}, errors.New("no kernel")
	}
	seen := Seen{Findings: map[string][]string{}}
	for n := range s.guests.Load() {
		id := "guest/" + strings.Repeat("x", int(n)+1)
		seen.Nodes = append(seen.Nodes, graph.Node{ID: id, Kind: graph.Guest, Name: "</script>\n\ndata: x"})
		seen.Findings[id] = []string{"cut"}
	}
	return seen, nil
}

func (s *served) traffic(_ context.Context, g graph.Graph) (map[string]graph.Counters, error) {
	n := uint64(s.reads.Add(1))
	all := map[string]graph.Counters{}
	for _, one := range g.Nodes {
		all[one.ID] = graph.Counters{Received: n * 1000, Sent: 5}
	}
	return all, nil
}

// get asks for a path, with some headers: names and values.
func (s *served) get(path string, headers ...string) *http.Response {
	s.t.Helper()
	return s.ask(http.MethodGet, path, headers...)
}

func (s *served) ask(method, path string, headers ...string) *http.Response {
	s.t.Helper()
	r, err := http.NewRequestWithContext(s.t.Context(), method, "http://"+s.addr+path, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	r.Header.Set("Accept-Encoding", "identity")
	for h := range slices.Chunk(headers, 2) {
		if r.Header.Set(h[0], h[1]); h[0] == "Host" {
			r.Host = h[1]
		}
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { resp.Body.Close() })
	return resp
}

// follow returns the events of a stream, as they come.
func (s *served) follow() <-chan event {
	s.t.Helper()
	body := s.get("/events").Body
	events := make(chan event, 100)
	go func() {
		defer close(events)
		var e event
		for lines := bufio.NewScanner(body); lines.Scan(); {
			name, value, _ := strings.Cut(lines.Text(), ": ")
			switch name {
			case "event":
				e.name = value
			case "data":
				e.data = value
				events <- e
			}
		}
	}()
	return events
}

type event struct{ name, data string }

// next returns the next event of that name.
func (s *served) next(events <-chan event, name string) string {
	s.t.Helper()
	late := time.After(10 * time.Second)
	for {
		select {
		case e, ok := <-events:
			if !ok {
				s.t.Fatalf("the stream has ended, and %s was awaited", name)
			}
			if e.name == name {
				return e.data
			}
		case <-late:
			s.t.Fatalf("no %s has come", name)
		}
	}
}

// TestFiles: each file of the page is served, compressed or not, the same bytes.
func TestFiles(t *testing.T) {
	s := serve(t)
	for _, path := range []string{"/", "/page.html", "/page.css", "/page.js", "/layout.js", "/look.js", "/details.js", "/vendor.js", "/licences.txt"} {
		plain := s.get(path)
		text, _ := io.ReadAll(plain.Body)
		if plain.StatusCode != http.StatusOK || len(text) < 300 || plain.Header.Get("Content-Encoding") != "" {
			t.Errorf("%s: %s, %d bytes, %v", path, plain.Status, len(text), plain.Header)
		}
		packed := s.get(path, "Accept-Encoding", "gzip")
		z, err := gzip.NewReader(packed.Body)
		if err != nil || packed.Header.Get("Content-Encoding") != "gzip" {
			t.Errorf("%s: %v, %v", path, err, packed.Header)
			continue
		}
		if again, err := io.ReadAll(z); err != nil || string(again) != string(text) {
			t.Errorf("%s: compressed it is another one: %v", path, err)
		}
		if kind := plain.Header.Get("Content-Type"); !strings.HasSuffix(kind, "; charset=utf-8") || strings.HasSuffix(path, ".js") != strings.HasPrefix(kind, "text/javascript") {
			t.Errorf("%s: it is %s", path, kind)
		}
	}
}

// TestNothingFromElsewhere: the page names no other site, and has nothing in it that its own
// policy refuses.
func TestNothingFromElsewhere(t *testing.T) {
	for _, name := range fileNames {
		b, err := files.ReadFile("page/" + name)
		if err != nil || name == "licences.txt" { // compressed: bundled from what is in the lock
			continue
		}
		text := strings.ReplaceAll(string(b), "http://www.w3.org/2000/svg", "")
		for _, bad := range []string{"http:", "https:", "//cdn", "innerHTML", "eval(", "onclick=", "style=", "<style", "localStorage"} {
			if strings.Contains(text, bad) {
				t.Errorf("%s has %q in it", name, bad)
			}
		}
	}
}

// TestGuard: what no reader of the page sends is refused, and every answer has the headers
// that keep other sites out.
func TestGuard(t *testing.T) {
	s := serve(t)
	for _, c := range []struct {
		method string
		path   string
		header []string
		want   int
	}{
		{"GET", "/", nil, 200},
		{"GET", "/", []string{"Host", "localhost:99"}, 200}, // a tunnel
		{"GET", "/", []string{"Host", "[::1]:8080"}, 200},
		{"GET", "/", []string{"Host", "192.168.1.5"}, 200},
		{"GET", "/", []string{"Host", "rebinding.example"}, 421},
		{"GET", "/", []string{"Host", "127.0.0.1.rebinding.example:8080"}, 421},
		{"GET", "/", []string{"Host", "localhost.rebinding.example"}, 421},
		{"GET", "/events", []string{"Host", "rebinding.example"}, 421},
		{"POST", "/", nil, 405},
		{"HEAD", "/events", nil, 405},
		{"OPTIONS", "/events", []string{"Origin", "http://other.example"}, 405},
		{"GET", "/events", []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "cors"}, 403},
		{"GET", "/page.js", []string{"Sec-Fetch-Site", "same-site", "Sec-Fetch-Mode", "no-cors"}, 403},
		{"GET", "/", []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate"}, 200}, // a link
		{"GET", "/page.js", []string{"Sec-Fetch-Site", "same-origin", "Sec-Fetch-Mode", "cors"}, 200},
		{"GET", "/page/page.html", nil, 404},
		{"GET", "/../graphpage.go", nil, 404},
		{"GET", "/vendor.js.gz", nil, 404},
	} {
		resp := s.ask(c.method, c.path, c.header...)
		if resp.StatusCode != c.want {
			t.Errorf("%s %s %v: %s, want %d", c.method, c.path, c.header, resp.Status, c.want)
		}
		h := resp.Header
		if h.Get("Content-Security-Policy") != policy || h.Get("X-Content-Type-Options") != "nosniff" || h.Get("X-Frame-Options") != "DENY" ||
			h.Get("Cross-Origin-Resource-Policy") != "same-origin" || h.Get("Cache-Control") != "no-store" {
			t.Errorf("%s %s: headers %v", c.method, c.path, h)
		}
		for name := range h {
			if strings.HasPrefix(name, "Access-Control-") {
				t.Errorf("%s %s: %s", c.method, c.path, name)
			}
		}
	}
}

// TestStream: a reader gets what is there, and what changes, within a second; what a name
// has in it cannot end a message.
func TestStream(t *testing.T) {
	s := serve(t)
	s.guests.Store(1)
	events := s.follow()
	var seen struct {
		Host     string
		Nodes    []graph.Node
		Findings map[string][]string
	}
	if err := json.Unmarshal([]byte(s.next(events, "graph")), &seen); err != nil {
		t.Fatal(err)
	}
	if seen.Host != "here" || len(seen.Nodes) != 1 || seen.Nodes[0].Name != "</script>\n\ndata: x" || seen.Findings["guest/x"] == nil {
		t.Errorf("seen: %+v", seen)
	}
	s.guests.Store(2)
	at := time.Now()
	s.told()
	if text := s.next(events, "graph"); !strings.Contains(text, "guest/xx") || time.Since(at) > time.Second {
		t.Errorf("after %s: %s", time.Since(at), text)
	}
	var rates map[string][2]uint64
	for len(rates) == 0 {
		if err := json.Unmarshal([]byte(s.next(events, "traffic")), &rates); err != nil {
			t.Fatal(err)
		}
	}
	if r := rates["guest/x"]; r[0] < 500 || r[0] > 2000 || r[1] != 0 {
		t.Errorf("of 1000 bytes a second: %v", rates)
	}
}

// TestTrouble: that the host cannot be looked at is told, and that it can be again.
func TestTrouble(t *testing.T) {
	s := serve(t)
	s.failing.Store(true)
	events := s.follow()
	if text := s.next(events, "trouble"); text != `"no kernel"` {
		t.Errorf("trouble: %s", text)
	}
	s.failing.Store(false)
	s.told()
	if text := s.next(events, "trouble"); text != `""` {
		t.Errorf("trouble: %s", text)
	}
}

// TestCalm: however much happens, the host is looked at a few times a second; a graph that
// has not changed is not told again; and while nobody follows, nothing is read.
func TestCalm(t *testing.T) {
	s := serve(t)
	time.Sleep(1500 * time.Millisecond)
	s.told()
	time.Sleep(2 * settle)
	if s.looks.Load() > 0 || s.reads.Load() > 0 {
		t.Errorf("nobody follows: %d looks, %d reads", s.looks.Load(), s.reads.Load())
	}
	events := s.follow()
	s.next(events, "graph")
	for begin := time.Now(); time.Since(begin) < 2*time.Second; time.Sleep(time.Millisecond) {
		s.told()
	}
	if n := s.looks.Load(); n < 4 || n > 10 {
		t.Errorf("%d looks in two seconds", n)
	}
	time.Sleep(apart)
	for len(events) > 0 {
		if e := <-events; e.name == "graph" {
			t.Errorf("told again: %s", e.data)
		}
	}
}

// TestEnd: the server ends though somebody follows, and is deaf then.
func TestEnd(t *testing.T) {
	s := serve(t)
	events := s.follow()
	s.next(events, "graph")
	if err := s.end(); err != nil {
		t.Error(err)
	}
	for range events { // it is closed
	}
	if c, err := net.Dial("tcp", s.addr); err == nil {
		c.Close()
		t.Error("it still listens")
	}
}

// TestTooMany: no more follow than there is room for.
func TestTooMany(t *testing.T) {
	s := serve(t)
	for range maxReaders {
		if resp := s.get("/events"); resp.StatusCode != http.StatusOK {
			t.Fatal(resp.Status)
		}
	}
	if resp := s.get("/events"); resp.StatusCode != http.StatusServiceUnavailable {
		t.Error(resp.Status)
	}
}
