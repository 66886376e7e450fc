//go:build linux

package e2e

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gopipework/gopipework/e2e/host"
)

// servesGraph starts graph --serve and, when it listens, one who follows its events.
// Returned are the server, and the file that the events are written to.
func (m *machine) servesGraph(args ...string) (server *background, events string) {
	m.t.Helper()
	server = m.begin(m.Command(context.Background(), "gopipework", append([]string{"graph", "--serve", ":8080"}, args...)...))
	m.until(func() error {
		return m.Host.Run("busybox", "wget", "-q", "-O", "/dev/null", "http://127.0.0.1:8080/").Err()
	})
	events = filepath.Join(m.Dir, "events")
	m.begin(m.Command(context.Background(), "busybox", "wget", "-q", "-O", events, "http://127.0.0.1:8080/events"))
	m.shown(events, "event: graph")
	return server, events
}

// shown waits until the last graph in a file of events has all of that, and returns how long
// that took.
func (m *machine) shown(events string, want ...string) time.Duration {
	m.t.Helper()
	start, last := time.Now(), ""
	if !host.Poll(host.Patience, func() bool {
		b, _ := os.ReadFile(events)
		last = string(b[max(0, strings.LastIndex(string(b), "event: graph")):])
		for _, w := range want {
			if !strings.Contains(last, w) {
				return false
			}
		}
		return true
	}) {
		m.t.Fatalf("no %q in\n%s", want, last)
	}
	return time.Since(start)
}

// TestGraphServe: what is attached while somebody follows is told within a second, and so
// is what cuts it off. Other sites' names are refused, and the end is clean.
func TestGraphServe(t *testing.T) {
	m := newMachine(t)
	m.sh("ip netns add blue; ip netns add green; ip netns add late")
	m.quiet("brtest", "netns:blue", "192.168.1.1/24")
	server, events := m.servesGraph()
	m.shown(events, "host/brtest", "192.168.1.1/24", `"findings":{}`)

	soonest := time.Hour // a busy machine may be late once
	for _, guest := range []string{"green", "late"} {
		m.quiet("brtest", "netns:"+guest, "192.168.1.2"+map[string]string{"green": "1", "late": "2"}[guest]+"/24")
		soonest = min(soonest, m.shown(events, guest, "192.168.1.2"))
	}
	if soonest > time.Second {
		t.Errorf("a guest is shown after %s", soonest)
	}
	soonest = time.Hour
	for range 2 {
		m.sh("nft 'add table bridge x; add chain bridge x forward { type filter hook forward priority 0; policy drop; }'")
		soonest = min(soonest, m.shown(events, `"findings":{"`, `bridge x forward`))
		m.sh("nft delete table bridge x")
		soonest = min(soonest, m.shown(events, `"findings":{}`))
	}
	if soonest > time.Second {
		t.Errorf("a finding is shown after %s", soonest)
	}

	m.sh("ip netns exec blue ping -q -c 100 -i 0.02 -s 1000 192.168.1.21")
	if b, _ := os.ReadFile(events); !strings.Contains(string(b), `event: traffic`+"\n"+`data: {"host/`) {
		t.Errorf("no traffic was told:\n%s", b)
	}
	if r := m.Host.Run("busybox", "wget", "-q", "-O", "-", "--header", "Host: rebinding.example", "http://127.0.0.1:8080/"); r.Code == 0 {
		t.Errorf("under another name: %v", r)
	}

	m.check(server.Process.Signal(syscall.SIGTERM))
	if r := server.end(t); r.Code != 0 || r.Stdout != "http://127.0.0.1:8080/\n" || r.Stderr != "" {
		t.Errorf("it was told to end, and says %v", r)
	}
	for _, guest := range []string{"blue", "green", "late"} {
		m.quiet("detach", "netns:"+guest)
	}
}

// TestGraphServeOne: only what a guest is connected to is shown, and an address that others
// can reach is warned about.
func TestGraphServeOne(t *testing.T) {
	m := newMachine(t)
	m.sh("ip netns add blue; ip netns add green")
	m.quiet("brtest", "netns:blue", "192.168.1.1/24")
	m.quiet("brtest", "netns:green", "192.168.1.2/24")
	server, events := m.servesGraph("netns:blue")
	m.shown(events, "192.168.1.1/24")
	if b, _ := os.ReadFile(events); strings.Contains(string(b), "192.168.1.2/24") {
		t.Errorf("another guest is shown:\n%s", b)
	}
	m.says("a port that is taken", m.fails("failed", "graph", "--serve", "127.0.0.1:8080").Error.Message, "address already in use")
	m.check(server.Process.Signal(syscall.SIGINT))
	if r := server.end(t); r.Code != 0 {
		t.Errorf("it was interrupted, and says %v", r)
	}
	open := m.begin(m.Command(context.Background(), "gopipework", "graph", "--serve", "0.0.0.0:8080"))
	m.until(func() error {
		return m.Host.Run("busybox", "wget", "-q", "-O", "/dev/null", "http://127.0.0.1:8080/").Err()
	})
	m.check(open.Process.Signal(syscall.SIGTERM))
	m.says("the warning", open.end(t).Stderr, "warning: everybody who can reach")
	m.quiet("detach", "netns:blue")
	m.quiet("detach", "netns:green")
}
