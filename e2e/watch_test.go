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
	r = m.Run("unshare", "--pid", "--fork", "--mount-proc", "gopipework", "watch")
	m.says("the error in another PID namespace", r.Stderr, "another one runs already, in another PID namespace", "docker kill -s HUP CONTAINER")
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

// file writes a topology file, as an editor does: another one in its place.
func (m *machine) file(path string, lines ...string) {
	m.t.Helper()
	text := "name: lab\nattachments:\n"
	for _, l := range lines {
		text += "- " + l + "\n"
	}
	m.check(os.WriteFile(path+".new", []byte(text), 0o600))
	m.check(os.Rename(path+".new", path))
}

// has polls until a guest has what is wanted, in the namespace that its name leads to.
func (m *machine) has(after, name string, want ...string) {
	m.t.Helper()
	m.settles(after, name, m.inode(name), want...)
}

// inode is that of the namespace that a name leads to.
func (m *machine) inode(name string) uint64 {
	m.t.Helper()
	n, err := strconv.ParseUint(strings.TrimSpace(m.sh("stat -c %i /run/netns/"+name)), 10, 64)
	m.check(err)
	return n
}

// What a watched file asks for is there again after whatever deletes it, and what it no
// longer asks for goes. A typed line, and what another file asked for, is none of its business.
func TestWatchNamed(t *testing.T) {
	m := keeping(t)
	m.sh("ip netns add green")
	path := m.Dir + "/lab.yaml"
	const blue, green = "br1 netns:blue 10.0.0.1/24", "br1 netns:green 10.0.0.2/24"
	m.file(path, blue, green)
	m.quiet("br1", "netns:blue", "-i", "typed0", "10.1.0.1/24")
	m.ok("apply", "-f", m.topology("other", "br1 netns:blue -i other0 10.2.0.1/24"))
	others := []string{"other0 10.2.0.1/24", "typed0 10.1.0.1/24"}
	w := m.watch("-f", path)
	m.has("the start", "blue", append([]string{"eth1 10.0.0.1/24"}, others...)...)
	m.has("the start", "green", "eth1 10.0.0.2/24")

	index := m.sh("ip netns exec blue cat /sys/class/net/eth1/ifindex")
	m.file(path, "br1 netns:blue 10.0.0.7/24", green)
	m.has("a change of the file", "blue", append([]string{"eth1 10.0.0.7/24"}, others...)...)
	if now := m.sh("ip netns exec blue cat /sys/class/net/eth1/ifindex"); now != index {
		t.Error("another address is not a reason to attach it again")
	}
	m.file(path, green)
	m.has("an entry was removed", "blue", others...)
	m.file(path, blue, green)
	m.has("an entry was added", "blue", append([]string{"eth1 10.0.0.1/24"}, others...)...)

	m.sh("ip netns exec green ip link del eth1")
	m.has("somebody has deleted a link", "green", "eth1 10.0.0.2/24")
	m.sh("ip netns del green; ip netns add green")
	m.has("a restart", "green", "eth1 10.0.0.2/24")
	w.kill()
	m.sh("ip netns del green; ip netns add green; ip netns exec blue ip link del eth1")
	w = m.watch("-f", path)
	m.has("nobody watched", "green", "eth1 10.0.0.2/24")
	m.has("nobody watched", "blue", append([]string{"eth1 10.0.0.1/24"}, others...)...)

	// A file that makes no sense changes nothing, and neither does one that has gone.
	m.check(os.WriteFile(path, []byte("attachments:\n- br1 netns:green 10.0.0.2/33\n"), 0o600))
	w.tells("source", path+":2:")
	m.sh("ip netns del green; ip netns add green")
	m.has("its file makes no sense", "green", "eth1 10.0.0.2/24")
	m.check(os.Remove(path))
	w.tells("warning", "its file is gone, and what is attached for it stays")
	m.check(w.Process.Signal(syscall.SIGHUP))
	m.file(path, green)
	m.has("the file is there again", "blue", others...)
	w.stop(t)
	m.has("the end of watch", "green", "eth1 10.0.0.2/24")
}

// tells polls until it has told something of that kind, and returns it.
func (w *watched) tells(kind, part string) (one told) {
	w.m.t.Helper()
	if !host.Poll(host.Patience, func() bool {
		all := w.lines()
		n := slices.IndexFunc(all, func(l told) bool { return l.Msg == kind && strings.Contains(l.Reason, part) })
		if n >= 0 {
			one = all[n]
		}
		return n >= 0
	}) {
		w.m.t.Fatalf("no %s has %q", kind, part)
	}
	return one
}

// A guest for which something hangs or fails holds up nobody. It is tried again, and the
// reason is told once.
func TestWatchHangs(t *testing.T) {
	m := keeping(t)
	m.sh("ip netns add green; ip netns add red; ip netns exec red ip link add eth1 type bridge")
	path := m.Dir + "/lab.yaml"
	m.file(path, "br1 netns:blue dhcp", "br1 netns:red 10.0.0.3/24", "br1 netns:green 10.0.0.2/24", "br1 netns:late 10.0.0.4/24")
	w := m.watch("-f", path, "--timeout", "1h")
	m.has("the start", "green", "eth1 10.0.0.2/24")
	for range 3 {
		m.sh("ip netns del green; ip netns add green")
		m.has("a restart beside one that hangs", "green", "eth1 10.0.0.2/24")
	}
	w.tells("failed", "eth1")
	m.sh("ip netns add late")
	m.has("a start beside one that hangs", "late", "eth1 10.0.0.4/24")
	failures := 0
	if !host.Poll(host.Patience, func() bool {
		for _, a := range m.list() {
			if a.Guest.Name == "red" && a.Pending != nil {
				failures = a.Pending.Failures
			}
		}
		return failures >= 3
	}) {
		t.Errorf("it has failed %d times", failures)
	}
	failed := slices.DeleteFunc(w.lines(), func(l told) bool { return l.Msg != "failed" })
	if len(failed) != 1 {
		t.Errorf("a failure is told once, and not: %+v", failed)
	}
	m.sh("ip netns exec red ip link del eth1")
	m.has("the obstacle has gone", "red", "eth1 10.0.0.3/24")
	w.stop(t)
}

// held waits until watch holds a guest's namespace, and has not only opened it for a look.
// file is what the namespace is called in a list of open files.
func (m *machine) held(file string) {
	m.t.Helper()
	seen := 0
	if !host.Poll(host.Patience, func() bool {
		time.Sleep(100 * time.Millisecond)
		if seen++; !strings.Contains(m.sh("ls -l /proc/$(head -n 1 /run/gopipework/watch.lock)/fd 2>/dev/null || true"), file) {
			seen = 0
		}
		return seen == 5
	}) {
		m.t.Fatalf("watch does not hold %s", file)
	}
}

// A lent card is returned when its guest is killed, under its name and with its addresses,
// whoever has lent it; also that of a namespace that loses its name.
func TestWatchReturnsCard(t *testing.T) {
	m := keeping(t)
	m.sh(`ip link add nic0 type veth peer name wire; ip link set wire up
ip link set nic0 up; ip address add 10.9.1.1/24 dev nic0; ip route add 10.77.0.0/16 via 10.9.1.9`)
	card := func() string {
		return m.sh("ip -br address show nic0 2>/dev/null | grep -o 10.9.1.1/24 || true; ip route show 10.77.0.0/16 || true")
	}
	before := card()
	g := m.guest()
	w := m.watch()
	w.tells("source", "")
	for word, tt := range map[string]struct {
		file string // as the namespace is called in a list of open files
		end  func()
	}{
		g.Word: {fmt.Sprintf("net:[%d]", g.Inode()), func() { m.check(g.Kill()) }},
		"blue": {"/run/netns/blue", func() { m.sh("ip netns del blue") }},
	} {
		m.quiet("phys:nic0", "-i", "lan0", word, "10.9.0.2/24", "--force-phys")
		m.held(tt.file)
		tt.end()
		began := time.Now()
		if !host.Poll(host.Patience, func() bool { return card() == before }) {
			t.Fatalf("the card of %s is not as it was:\n%s\n%s", word, before, card())
		}
		t.Logf("the card of %s is returned after %v", word, time.Since(began))
		if !host.Poll(host.Patience, func() bool { return len(m.list()) == 0 }) {
			t.Errorf("left: %+v", m.list())
		}
	}
	w.stop(t)
}
