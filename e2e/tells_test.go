//go:build linux

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gopipework/gopipework/e2e/host"
)

// watching is a machine with a file for the guests blue, which is there, and green.
func watching(t *testing.T) (m *machine, file string) {
	t.Helper()
	m = keeping(t)
	file = filepath.Join(m.Dir, "lab.yaml")
	m.check(os.WriteFile(file, []byte("attachments:\n  - brtest netns:blue 192.168.1.2/24\n  - brtest netns:green 192.168.1.3/24\n"), 0o600))
	return m, file
}

// turns waits until a list has the guests green and blue in these states.
func (m *machine) turns(blue, green string) (all map[string]attachment) {
	m.t.Helper()
	if !host.Poll(host.Patience, func() bool {
		all = map[string]attachment{}
		for _, a := range m.list() {
			all[a.Guest.Name] = a
		}
		return all["blue"].State == blue && all["green"].State == green
	}) {
		m.t.Fatalf("not %s and %s: %+v", blue, green, all)
	}
	return all
}

// shows waits until list prints each of these, and returns what it prints: one list may be
// done before watch, on a busy machine, has answered it.
func (m *machine) shows(parts ...string) (out string) {
	m.t.Helper()
	m.until(func() error {
		out = m.ok("list").Stdout
		for _, part := range parts {
			if !strings.Contains(out, part) {
				return fmt.Errorf("list does not print %q but\n%s", part, out)
			}
		}
		return nil
	})
	return out
}

// events waits until the command events has printed an event of each of these, in their
// order, to a file, and returns what is in it.
func (m *machine) events(file string, want ...string) (text string) {
	m.t.Helper()
	if !host.Poll(host.Patience, func() bool {
		b, _ := os.ReadFile(file)
		text = string(b)
		rest, found := text, true
		for _, w := range want {
			if _, rest, found = strings.Cut(rest, w); !found {
				return false
			}
		}
		return true
	}) {
		m.t.Fatalf("no %q in\n%s", want, text)
	}
	return text
}

// TestWatchTells: while watch runs, list says what is missing and why, events prints what
// happens, also over a restart, and Prometheus can count it. A watch that hangs or was
// killed holds up nobody.
func TestWatchTells(t *testing.T) {
	m, file := watching(t)
	none := m.fails("not_found", "events")
	m.says("events without a watch", none.Error.Message+none.Error.Hint, "no watch is running", "gopipework watch")

	log := filepath.Join(m.Dir, "log")
	start := func() *background {
		return m.begin(m.Command(context.Background(), "sh", "-c", "exec gopipework watch -f "+file+" --metrics :9105 2>>"+log))
	}
	watch := start()
	all := m.turns("complete", "pending")
	if g := all["green"]; g.Origin != "file:lab" || g.Host.Name != "brtest" || len(g.Interface.Addresses) != 1 || g.Pending == nil || g.Pending.Why != "pending" || g.Pending.Reason == "" || g.Pending.Line != "brtest netns:green 192.168.1.3/24" {
		t.Errorf("green is %+v, %+v", g, g.Pending)
	}
	m.shows("pending", "NOTE", "no namespace of that name")
	m.until(func() error {
		if hint := m.fails("not_found", "list", "netns:green").Error.Hint; !strings.Contains(hint, "watch attaches to it") {
			return fmt.Errorf("the hint is %q", hint)
		}
		return nil
	})
	if other := m.list("netns:blue"); len(other) != 1 {
		t.Errorf("the list of blue is %+v", other)
	}
	if r := m.gopipework("watch"); r.Code != 1 || !strings.Contains(r.Stderr, "another one runs") {
		t.Errorf("a second watch: %v", r)
	}

	told := filepath.Join(m.Dir, "events")
	reader := m.begin(m.Command(context.Background(), "sh", "-c", "exec gopipework events >"+told))
	m.events(told, `"kind":"watch","state":"up"`)
	m.sh("ip netns add green")
	m.check(watch.Process.Signal(syscall.SIGHUP))
	m.turns("complete", "complete")
	m.events(told, `"kind":"attached","guest":"netns:green","interface":"eth1"`, `"line":"brtest netns:green 192.168.1.3/24"`, `"took":`)
	metrics := m.sh("busybox wget -q -O - http://127.0.0.1:9105/metrics")
	m.says("the metrics", metrics, "gopipework_attachments{state=\"attached\"} 2\n", "gopipework_attachments{state=\"pending\"} 0\n",
		"gopipework_attachments_wanted 2\n", "gopipework_events_total{kind=\"attached\"} 2\n", "gopipework_build_info{version=\"")

	m.sh("ip netns exec green ip neighbour flush dev eth1; ip netns exec green ip link set eth1 arp off") // a guest's own doing
	m.check(watch.Process.Signal(syscall.SIGHUP))
	m.events(told, `"kind":"cut","guest":"netns:green","interface":"eth1"`, `ARP`)
	m.sh("ip netns exec green ip link set eth1 arp on")

	m.check(watch.Process.Signal(syscall.SIGSTOP))
	hangs := m.ok("list")
	m.within(host.Patience, hangs)
	m.says("a list while watch hangs", hangs.Stderr, "watch runs, and has not answered")
	m.says("what there is", hangs.Stdout, "netns:blue", "netns:green")

	m.check(watch.Process.Kill())
	watch.end(t)
	if r := m.ok("list"); r.Stderr != "" || strings.Contains(r.Stdout, "pending") {
		t.Errorf("after watch was killed: %v", r)
	}
	m.events(told, `"kind":"attached"`, `"kind":"watch","state":"down"`)
	m.sh("ip netns del green")
	watch = start()
	m.events(told, `"state":"down"`, `"kind":"watch","state":"up"`, `"kind":"pending"`)
	m.turns("complete", "pending")
	for _, b := range []*background{watch, reader} {
		m.check(b.Process.Signal(syscall.SIGTERM))
		if r := b.end(t); r.Code != 0 {
			t.Errorf("it was told to end, and says %v", r)
		}
	}
	for line := range strings.Lines(m.sh("cat " + told + " " + log)) {
		var v map[string]any
		if err := json.Unmarshal([]byte(line), &v); err != nil || v["time"] == nil {
			t.Errorf("%q: %v", line, err)
		}
	}
	m.says("the run directory", m.sh("[ -e /run/gopipework/watch.sock ] || echo gone"), "gone\n")
	m.ok("detach", "netns:blue")
}

// TestWatchAndSystemd: systemd is told when all has been tried once, that watch is alive, and
// when it is about to end.
func TestWatchAndSystemd(t *testing.T) {
	m, file := watching(t)
	path := filepath.Join(m.Dir, "notify")
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	m.check(err)
	defer l.Close()
	cmd := m.Command(context.Background(), "gopipework", "watch", "-f", file)
	cmd.Env = append(cmd.Env, "NOTIFY_SOCKET="+path, "WATCHDOG_USEC=200000")
	watch := m.begin(cmd)
	next := func() string {
		t.Helper()
		b := make([]byte, 4096)
		_ = l.SetReadDeadline(time.Now().Add(host.Patience))
		n, err := l.Read(b)
		m.check(err)
		return string(b[:n])
	}
	until := func(what string) (text string) {
		t.Helper()
		for text = next(); !strings.HasPrefix(text, what); text = next() {
			if !strings.HasPrefix(text, "WATCHDOG=1") && !strings.HasPrefix(text, "STATUS=") {
				t.Fatalf("systemd was told %q before %s", text, what)
			}
		}
		return text
	}
	m.says("ready", until("READY=1"), "STATUS=1 attached, 1 pending")
	m.turns("complete", "pending")
	until("WATCHDOG=1")
	m.check(watch.Process.Signal(syscall.SIGHUP))
	m.says("a reload", until("RELOADING=1"), "MONOTONIC_USEC=")
	until("READY=1")
	m.check(watch.Process.Signal(syscall.SIGTERM))
	until("STOPPING=1")
	if r := watch.end(t); r.Code != 0 {
		t.Errorf("it was told to end, and says %v", r)
	}
	m.ok("detach", "netns:blue")
}

// TestWatchBacksOff: what fails is undone, and the links that are deleted then are no reason to
// try it again before its time.
func TestWatchBacksOff(t *testing.T) {
	m := keeping(t)
	m.sh("ip netns add green")
	m.quiet("brtest", "netns:green", "fd00::2/64", "--timeout", "1m")
	file := filepath.Join(m.Dir, "lab.yaml")
	m.check(os.WriteFile(file, []byte("attachments: ['brtest blue fd00::2/64']\n"), 0o600)) // a duplicate
	watch := m.begin(m.Command(context.Background(), "gopipework", "watch", "-f", file))
	var first, third time.Time
	if !host.Poll(host.Patience, func() bool {
		for _, a := range m.list() {
			switch {
			case a.Pending == nil || a.Pending.Failures == 0:
			case a.Pending.Failures < 3:
				first = a.Pending.Since
			case third.IsZero():
				third = time.Now()
			}
		}
		return !third.IsZero()
	}) {
		t.Fatalf("it does not fail three times: %+v", m.list())
	}
	if between := third.Sub(first); between < 2*time.Second {
		t.Errorf("it was tried three times within %s: the second pause is 2 s", between)
	}
	m.check(watch.Process.Signal(syscall.SIGTERM))
	watch.end(t)
	m.ok("detach", "netns:green")
}
