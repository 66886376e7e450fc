//go:build linux

package e2e

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gopipework/gopipework/e2e/host"
)

// bound is how long a line may take that waits for Docker, on a machine however
// busy. That it gives up after five seconds is what its error says; here no daemon
// hangs up by itself, so a line without a bound of its own would not end.
const bound = time.Minute

func (m *machine) within(d time.Duration, r host.Result) {
	m.t.Helper()
	if r.Time > d {
		m.t.Errorf("took %v, more than %v:\n%v", r.Time, d, r)
	}
}

// A daemon that hangs, and one that is gone.
func TestDaemonHangs(t *testing.T) {
	e := newEngine(t)
	e.container("web")
	web := e.guestOf("web")
	check := e.unchanged(web)
	e.check(e.daemon.Signal(syscall.SIGSTOP))
	for _, line := range []string{"brtest web 192.168.1.2/24", "brtest docker:web 192.168.1.2/24", "detach web"} {
		r := e.gopipework(append([]string{"--json"}, strings.Fields(line)...)...)
		e.within(bound, r)
		f := e.failed("timeout|runtime", r)
		e.says(line, f.Error.Message, "no answer within 5s")
	}
	// What needs no daemon does not wait for one.
	pid := web.Word
	r := e.ok("brtest", pid, "192.168.1.2/24")
	e.within(bound, r)
	e.within(bound, e.ok("list"))
	e.ok("detach", pid)
	check("with a daemon that hangs")
	e.check(e.daemon.Signal(syscall.SIGCONT))
	e.quiet("brtest", "web", "192.168.1.2/24")
	e.quiet("detach", "web")
	check("after detach")
}

func TestDaemonDies(t *testing.T) {
	e := newEngine(t)
	e.container("web")
	web := e.guestOf("web")
	check := e.unchanged(web)
	e.quiet("brtest", "web", "192.168.1.2/24")
	e.check(e.daemon.Stop(syscall.SIGKILL))
	for _, word := range []string{"web", "docker:web"} {
		r := e.gopipework("--json", "brtest", word, "192.168.1.2/24")
		e.within(bound, r)
		if f := e.failed("runtime|not_found|timeout", r); word == "docker:web" && f.Error.Code == "not_found" {
			t.Errorf("whether there is such a container is not known: %+v", f.Error)
		}
	}
	// The kernel is the database: the mark is enough to list and to detach.
	if l := e.list(); len(l) != 1 || l[0].Guest.Name != "web" || l[0].State != "complete" {
		t.Errorf("list without a daemon: %+v", l)
	}
	e.ok("detach", web.Word)
	check("after detach without a daemon")
}

// Without a daemon a bare word may be a named namespace.
func TestNoDaemon(t *testing.T) {
	m := newMachine(t)
	blue := m.named("blue")
	check := m.unchanged(blue)
	m.quiet("br1", "blue", "10.0.0.2/24")
	m.quiet("detach", "blue")
	f := m.fails("not_found|runtime", "br1", "red", "10.0.0.2/24")
	m.says("the error", f.Error.Object+f.Error.Message, "red")
	m.fails("runtime", "br1", "docker:blue", "10.0.0.2/24")
	check("without a daemon")
}

// A thing that listens where a daemon should, and does not behave like one.
func TestDaemonAnswersRubbish(t *testing.T) {
	m := newMachine(t)
	stranger := m.guest() // a live process that is no container
	const id = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	inspect := func(pid int, running bool) string {
		return fmt.Sprintf(`{"Id":%q,"Name":"/web","State":{"Status":"running","Running":%v,"Pid":%d},"HostConfig":{"NetworkMode":"bridge"},"Config":{},"NetworkSettings":{}}`, id, running, pid)
	}
	answer := func(status, kind, body string) func(net.Conn) {
		return func(c net.Conn) {
			b := make([]byte, 64<<10)
			for {
				n, err := c.Read(b)
				if err != nil {
					return
				}
				text := body
				if bytes.Contains(b[:n], []byte("/_ping")) {
					text = "OK"
				}
				fmt.Fprintf(c, "HTTP/1.1 %s\r\nContent-Type: %s\r\nApi-Version: 1.44\r\nOstype: linux\r\nContent-Length: %d\r\n\r\n%s", status, kind, len(text), text)
			}
		}
	}
	const js = "application/json"
	for name, serve := range map[string]func(net.Conn){
		"never answers":       func(c net.Conn) { io.Copy(io.Discard, c) },
		"hangs up":            func(c net.Conn) {},
		"not HTTP":            func(c net.Conn) { fmt.Fprint(c, "SSH-2.0-OpenSSH_9.2\r\n\x1b[31m\r\n") },
		"half an answer":      func(c net.Conn) { fmt.Fprint(c, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"Id\":") },
		"no JSON":             answer("200 OK", "text/html", "<html>hello</html>"),
		"empty JSON":          answer("200 OK", js, "{}"),
		"other JSON":          answer("200 OK", js, `[{"Id":1,"State":"yes"}]`),
		"server error":        answer("500 Internal Server Error", js, `{"message":"\u001b[31mboom\nboom"}`),
		"not allowed":         answer("403 Forbidden", js, `{"message":"authorization denied by plugin"}`),
		"too new":             answer("400 Bad Request", js, `{"message":"client version 1.44 is too new. Maximum supported API version is 1.12"}`),
		"running without PID": answer("200 OK", js, inspect(0, true)),
		"PID 1":               answer("200 OK", js, inspect(1, true)),
		"negative PID":        answer("200 OK", js, inspect(-1, true)),
		"PID of nobody":       answer("200 OK", js, inspect(4194304, true)),
		"daemon elsewhere":    answer("200 OK", js, inspect(stranger.PID, true)),
		"without end": func(c net.Conn) {
			fmt.Fprint(c, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n{\"Id\":\"")
			for {
				if _, err := c.Write(bytes.Repeat([]byte("a"), 64<<10)); err != nil {
					return
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			m := &machine{m.Host, t}
			check := m.unchanged(stranger)
			socket := m.Dir + "/fake.sock"
			l, err := net.Listen("unix", socket)
			m.check(err)
			defer l.Close()
			go func() {
				for {
					c, err := l.Accept()
					if err != nil {
						return
					}
					go func() { defer c.Close(); serve(c) }()
				}
			}()
			m.Setenv("DOCKER_HOST", "unix://"+socket)
			r, memory, err := m.Peak("gopipework", "--json", "br1", "docker:web", "10.0.0.2/24")
			m.check(err)
			m.within(bound, r)
			f := m.failed("runtime|timeout|not_found|gone|conflict|failed|permission", r)
			t.Logf("%+v", f.Error)
			if strings.ContainsRune(r.Stderr, '\x1b') {
				t.Errorf("hands the daemon's escape sequences on: %q", r.Stderr)
			}
			if lines := strings.Count(r.Stderr, "\n"); lines > 2 {
				t.Errorf("more than an error and a hint: %q", r.Stderr)
			}
			if memory > 64<<10 {
				t.Errorf("used %d KiB of memory", memory)
			}
			check("after a daemon that answers rubbish")
		})
	}
	t.Run("a file", func(t *testing.T) {
		m := &machine{m.Host, t}
		m.check(os.WriteFile(m.Dir+"/file.sock", nil, 0o600))
		m.Setenv("DOCKER_HOST", "unix://"+m.Dir+"/file.sock")
		m.within(bound, m.gopipework("br1", "docker:web", "10.0.0.2/24"))
		m.fails("runtime", "br1", "docker:web", "10.0.0.2/24")
	})
	t.Run("a bad DOCKER_HOST", func(t *testing.T) {
		m := &machine{m.Host, t}
		m.Setenv("DOCKER_HOST", "nonsense")
		m.fails("runtime|usage", "br1", "docker:web", "10.0.0.2/24")
	})
}

// The container dies while the attach waits for IPv6: the message says so, and
// nothing is left.
func TestGuestDies(t *testing.T) {
	e := withDocker(t)
	for _, delay := range []time.Duration{100, 300, 600, 900} {
		e.container("web")
		cmd := e.Command(context.Background(), "gopipework", "--json", "brtest", "web", "fd00:1::2/64")
		began := time.Now()
		var r host.Result
		done := make(chan struct{})
		go func() { defer close(done); r = host.Finish(cmd, []string{"gopipework brtest web fd00:1::2/64"}) }()
		// It has found the guest, and works on it.
		host.Poll(host.Patience, func() bool {
			select {
			case <-done:
				return true
			default:
				return len(ours(e.links(e))) > 0
			}
		})
		time.Sleep(delay * time.Millisecond)
		e.docker("rm", "-f", "web")
		<-done
		t.Logf("killed %v after its first link: exit %d after %v %s", delay*time.Millisecond, r.Code, time.Since(began), r.Stderr)
		if r.Code != 0 {
			e.failed("gone", r)
		}
		// The kernel ends the namespace in its own time, which a busy machine stretches.
		if !host.Poll(host.Patience, func() bool {
			if r.Code == 0 {
				e.ok("gc") // it had already succeeded, and then the guest died
			}
			return len(e.ourRules("iptables-save")) == 0 && len(ours(e.links(e))) == 0
		}) {
			t.Errorf("left: %q %v", e.ourRules("iptables-save"), ours(e.links(e)))
		}
	}
}

// ours are the links that carry our group.
func ours(links map[string]host.Link) (names []string) {
	for n, l := range links {
		if l.Group == "26480" {
			names = append(names, n)
		}
	}
	return names
}
