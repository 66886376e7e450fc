//go:build linux

package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gopipework/gopipework/e2e/host"
)

// A watched is a gopipework watch that runs on a machine, with what it has told.
type watched struct {
	*background
	m   *machine
	log string
}

// told is a line of the log, as far as the tests read it.
type told struct {
	Time   time.Time `json:"time"`
	Msg    string    `json:"msg"`
	Guest  string    `json:"guest"`
	Line   string    `json:"line"`
	Reason string    `json:"reason"`
}

// watch starts one. Its log is a file, which can be read meanwhile.
func (m *machine) watch(args ...string) *watched {
	m.t.Helper()
	f, err := os.CreateTemp(m.Dir, "watch-*.log")
	m.check(err)
	defer f.Close()
	script := `exec gopipework watch "$@" 2>"$0"`
	cmd := m.Command(context.Background(), "sh", append([]string{"-c", script, f.Name()}, args...)...)
	w := &watched{m.begin(cmd), m, f.Name()}
	m.t.Cleanup(func() {
		if m.t.Failed() {
			text, _ := os.ReadFile(w.log)
			m.t.Logf("%v:\n%s", args, text)
		}
	})
	return w
}

// lines are what it has told so far.
func (w *watched) lines() (all []told) {
	f, err := os.Open(w.log)
	w.m.check(err)
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		var one told
		if json.Unmarshal(s.Bytes(), &one) == nil {
			all = append(all, one)
		}
	}
	return all
}

// stop ends it as systemd does.
func (w *watched) stop(t *testing.T) {
	t.Helper()
	w.m.check(w.Process.Signal(syscall.SIGTERM))
	if r := w.end(t); r.Code != 0 {
		t.Errorf("watch ends with %v", r)
	}
}

// kill kills it.
func (w *watched) kill() {
	w.m.t.Helper()
	w.m.check(w.Process.Kill())
	<-w.ended
}

// settles polls until the attachments of a guest are complete, in the namespace that it has
// now, and as wanted: "eth1 192.168.1.2/24".
func (m *machine) settles(after, guest string, netns uint64, want ...string) {
	m.t.Helper()
	var is []string
	if !host.Poll(host.Patience, func() bool {
		is = nil
		for _, a := range m.list() {
			if a.Guest.Name == guest && a.Guest.Netns == netns && a.State == "complete" {
				is = append(is, a.Interface.Name+" "+strings.Join(a.Interface.Addresses, ","))
			}
		}
		slices.Sort(is)
		return slices.Equal(is, want)
	}) {
		m.t.Fatalf("after %s, %s has %q, want %q", after, guest, is, want)
	}
}

// port is the port of eth1 of a guest, with its index, and the MAC address of eth1.
func (m *machine) port(guest string) (port, mac string) {
	m.t.Helper()
	for _, a := range m.list() {
		if a.Guest.Name == guest && a.Interface.Name == "eth1" && a.Host.Port != "" {
			return strings.TrimSpace(m.sh("ip -o link show dev " + a.Host.Port + " | cut -d@ -f1")), a.Interface.MAC
		}
	}
	m.t.Fatalf("%s has no eth1", guest)
	return "", ""
}

// A container that is restarted, by itself, with its engine, or while nobody watches, has
// its interfaces again, under the same names and addresses, and while somebody watches the
// same port.
func TestWatchDocker(t *testing.T) {
	e := newEngine(t)
	e.sh("mount -t tmpfs state /var/lib")
	file := e.topology("lab", "brtest web 192.168.1.2/24")
	e.sh("printf 'links:\n- web:to-db 10.8.0.1/30 db:to-web 10.8.0.2/30\n' >>" + file)
	e.container("web", "--network", "none")
	e.container("db", "--network", "none")
	neighbour := e.guest()
	e.quiet("brtest", neighbour.Word, "192.168.1.9/24")
	e.quiet("brtest", "db", "192.168.1.3/24", "--keep")
	w := e.watch("-f", file)
	holds := func(after string) {
		t.Helper()
		e.settles(after, "web", e.guestOf("web").Inode(), "eth1 192.168.1.2/24", "to-db 10.8.0.1/30")
		e.settles(after, "db", e.guestOf("db").Inode(), "eth1 192.168.1.3/24", "to-web 10.8.0.2/30")
		e.check(neighbour.Run("busybox", "ping", "-c", "1", "-w", "10", "192.168.1.2").Err())
	}
	holds("the start")
	port, mac := e.port("web")
	samePort := func(after string, kept bool) {
		t.Helper()
		is, now := e.port("web")
		if kept && is != port || now != mac {
			t.Errorf("after %s, the port is %s and the MAC address %s; they were %s and %s", after, is, now, port, mac)
		}
		port = is
	}
	for range 3 {
		e.docker("restart", "-t", "0", "web", "db")
		holds("a restart of both")
		samePort("a restart of both", true)
	}
	w.kill()
	e.docker("restart", "-t", "0", "web")
	w = e.watch("-f", file)
	holds("a restart while nobody watched")
	samePort("a restart while nobody watched", false)
	e.check(e.daemon.Stop(syscall.SIGTERM))
	e.check(e.daemon.Start())
	e.docker("restart", "-t", "0", "web")
	holds("a restart of the engine")
	samePort("a restart of the engine", true)
	e.docker("rename", "web", "other")
	e.docker("run", "-d", "--name", "web", "--network", "none", host.Image, "sleep", "86400")
	e.settles("another container of that name", "web", e.guestOf("web").Inode(), "eth1 192.168.1.2/24", "to-db 10.8.0.1/30")
	e.docker("rm", "-f", "other", "web", "db")
	e.ok("detach", neighbour.Word)
	left := func() bool {
		return slices.ContainsFunc(e.list(), func(a attachment) bool { return a.State != "pending" }) || strings.Contains(e.do("ip -br link"), "brtest")
	}
	if !host.Poll(host.Patience, func() bool { return !left() }) {
		t.Errorf("something is left: %+v", e.list())
	}
	w.stop(t)
}

// Of two watches the second one does not run, and says who the first one is. A file that was
// left by a killed one is in nobody's way.
func TestWatchAlone(t *testing.T) {
	m := keeping(t)
	w := m.watch()
	running := func() bool {
		return strings.Contains(m.sh("cat /run/gopipework/watch.lock 2>&1 || true"), strconv.Itoa(w.Process.Pid))
	}
	if !host.Poll(host.Patience, running) {
		t.Fatal("the lock has another process")
	}
	r := m.gopipework("watch")
	if r.Code != 1 {
		t.Errorf("the second one: %v", r)
	}
	m.says("the error", r.Stderr, fmt.Sprintf("process %d", w.Process.Pid))
	w.kill()
	w = m.watch()
	if !host.Poll(host.Patience, running) {
		t.Error("after a kill no other runs")
	}
	w.stop(t)
	if left := m.sh("ls -A /run/gopipework 2>/dev/null || true"); left != "" {
		t.Errorf("left: %s", left)
	}
}
