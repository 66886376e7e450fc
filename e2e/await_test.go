//go:build linux

package e2e

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httputil"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gopipework/gopipework/e2e/host"
)

// awaits starts a line that has to wait, and returns when it does: it has read and written
// nothing for a second. One that polls never comes to that.
func (m *machine) awaits(args ...string) *background {
	m.t.Helper()
	return m.rests("gopipework", args...)
}

func (m *machine) rests(name string, args ...string) *background {
	m.t.Helper()
	b := m.begin(m.Command(context.Background(), name, args...))
	if !host.Poll(30*time.Second, func() bool {
		before := b.io()
		time.Sleep(time.Second)
		return before == b.io()
	}) {
		m.t.Errorf("%v does not come to rest", args)
	}
	select {
	case <-b.ended:
		m.t.Fatalf("it does not wait: %v", b.end(m.t.(*testing.T)))
	default:
	}
	return b
}

// io is how much a command has read and written so far.
func (b *background) io() string {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/io", b.Process.Pid))
	return string(text)
}

// done holds the end of a line that has waited against success, and returns its document.
func (b *background) done(t *testing.T) attachResult {
	t.Helper()
	r := b.end(t)
	if r.Code != 0 {
		t.Fatal(r)
	}
	return decode[attachResult](t, r)
}

// doneIn is done for a guest of this runtime.
func (b *background) doneIn(t *testing.T, runtime string) {
	t.Helper()
	if got := b.done(t).Attachment; got.Guest.Runtime != runtime {
		t.Errorf("attached: %+v", got)
	}
}

// However a container comes to run, or to its name, the line that waits for it attaches it.
func TestAwaitDocker(t *testing.T) {
	e := withDocker(t)
	run := func(name string) { e.container(name, "--network", "none") }
	for name, tt := range map[string]struct {
		word   string
		before func()
		begin  func()
	}{
		"is run":              {"late1", func() {}, func() { run("late1") }},
		"said outright":       {"docker:late2", func() {}, func() { run("late2") }},
		"was created":         {"late3", func() { e.docker("create", "--name", "late3", "--network", "none", host.Image, "sleep", "86400") }, func() { e.docker("start", "late3") }},
		"was stopped":         {"late4", func() { run("late4"); e.docker("kill", "late4") }, func() { e.docker("start", "late4") }},
		"is renamed":          {"late5", func() { run("other5") }, func() { e.docker("rename", "other5", "late5") }},
		"others start before": {"late6", func() {}, func() { run("late66"); run("alate6"); run("late6") }},
		"fails at first": {"late7", func() {}, func() {
			e.docker("run", "-d", "--name", "late7", "--restart", "always", "--network", "none", host.Image, "sh", "-c",
				`n=$(cat /n || echo 0); echo $((n+1)) >/n; [ $n -ge 4 ] && exec sleep 86400; exit 1`)
			// A busy machine may attach one that is about to fail, as it should.
			if !host.Poll(host.Patience, func() bool {
				return e.docker("inspect", "-f", "{{.RestartCount}} {{.State.Running}}", "late7") == "4 true"
			}) {
				e.t.Error("late7 does not come to stay")
			}
		}},
	} {
		t.Run(strings.ReplaceAll(name, " ", "-"), func(t *testing.T) {
			e := &engine{&machine{e.Host, t}, e.daemon}
			tt.before()
			b := e.awaits("--json", "--await", "5m", "brtest", tt.word, "192.168.1.2/24")
			tt.begin()
			got := b.done(t).Attachment
			if want := strings.TrimPrefix(tt.word, "docker:"); got.Guest.Name != want || got.State != "complete" {
				t.Errorf("attached: %+v", got)
			}
			e.quiet("--await", "5m", "brtest", tt.word, "192.168.1.2/24") // it runs already
			e.ok("detach", tt.word)
		})
	}
}

// link waits for both of its guests; with --dry-run the plan is that of the guest which has
// come to run.
func TestAwaitLink(t *testing.T) {
	e := withDocker(t)
	b := e.awaits("--await", "5m", "link", "one", "10.8.0.1/30", "two", "10.8.0.2/30")
	plan := e.awaits("--await", "5m", "--dry-run", "brtest", "-i", "eth2", "one", "192.168.1.2/24")
	e.container("two", "--network", "none")
	e.container("one", "--network", "none")
	if r := plan.end(t); r.Code != 0 || !strings.Contains(r.Stdout, "ip link add") || r.Stderr != "" {
		t.Errorf("the plan: %v", r)
	}
	if r := b.end(t); r.Code != 0 || r.Stdout+r.Stderr != "" {
		t.Errorf("link: %v", r)
	}
	e.reaches(e.guestOf("one"), "10.8.0.2")
	if l := e.list(); len(l) != 2 {
		t.Errorf("listed: %+v", l)
	}
	e.ok("detach", "one")
}

// An engine that ends and starts again meanwhile, or is not there at first, not even the
// directory of its socket, is waited for as well.
func TestAwaitEngine(t *testing.T) {
	need(t, "root", "docker")
	t.Parallel()
	h := host.New(t)
	h.Path = bin
	h.Setenv("DOCKER_HOST", "unix://"+h.Dir+"/docker.sock")
	m := &machine{h, t}
	first := m.awaits("--json", "--await", "5m", "brtest", "web", "192.168.1.2/24")
	second := m.awaits("--json", "--await", "5m", "brtest", "docker:db", "192.168.1.3/24")
	d, err := h.StartEngine()
	m.check(err)
	e := &engine{m, d}
	e.container("web", "--network", "none")
	first.done(t)
	for i, s := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
		third := e.awaits("--json", "--await", "5m", "brtest", fmt.Sprint("late", i), "192.168.1.4/24")
		e.check(d.Stop(s))
		for _, b := range []*background{second, third} {
			select {
			case <-b.ended:
				t.Fatalf("it has given up: %v", b.end(t))
			default:
			}
		}
		e.check(d.Start())
		e.container(fmt.Sprint("late", i), "--network", "none")
		third.done(t)
		e.ok("detach", fmt.Sprint("late", i))
	}
	// Nothing is asked meanwhile, and an engine that hangs is asked again.
	words := []string{"never", "docker:never", "netns:never", "/run/never/ever", "machine:never"}
	var idle []*background
	for _, w := range words {
		idle = append(idle, e.awaits("--await", "1h", "brtest", w, "192.168.1.5/24"))
	}
	var before []string
	for _, b := range append(idle, second) {
		before = append(before, b.io())
	}
	time.Sleep(12 * time.Second)
	for i, b := range append(idle, second) {
		if after := b.io(); after != before[i] {
			t.Errorf("%v does something while nothing happens:\n%s%s", b.Args, before[i], after)
		}
	}
	e.check(d.Signal(syscall.SIGSTOP))
	hung := e.begin(e.Command(context.Background(), "gopipework", "--json", "--await", "5m", "brtest", "docker:hung", "192.168.1.6/24"))
	if r := e.gopipework("--await", "1s", "brtest", "docker:hung", "192.168.1.6/24"); r.Code != 1 || !strings.Contains(r.Stderr, "Docker at") {
		t.Errorf("with an engine that hangs: %v", r)
	}
	e.check(d.Signal(syscall.SIGCONT))
	e.container("hung", "--network", "none")
	hung.done(t)
	e.ok("detach", "hung")
	e.container("db", "--network", "none")
	second.done(t)
	e.ok("detach", "web")
	e.ok("detach", "db")
}

// A named namespace is waited for, by its name, a bare word or a path, from before there
// are any.
func TestAwaitNamed(t *testing.T) {
	m := newMachine(t)
	for name, word := range map[string]string{"blue": "netns:blue", "red": "red", "green": "/run/netns/green"} {
		b := m.awaits("--json", "--await", "5m", "brtest", word, "10.0.0.2/24")
		m.do("ip netns add other" + name)
		m.do("ip netns add " + name)
		if got := b.done(t).Attachment; got.State != "complete" {
			t.Errorf("%s: %+v", word, got)
		}
		m.ok("detach", word)
		m.do("ip netns del " + name)
	}
	m.do("ip netns add cyan")
	b := m.awaits("--json", "--await", "5m", "brtest", "/run/gplink/cyan", "10.0.0.2/24")
	m.do("mkdir /run/gplink")
	m.do("ln -s /run/netns/cyan /run/gplink/cyan")
	b.done(t)
	m.ok("detach", "netns:cyan")
}

// podman tells by its socket.
func TestAwaitPodman(t *testing.T) {
	need(t, "podman")
	m := newMachine(t)
	p, err := m.StartPodman()
	m.check(err)
	t.Cleanup(func() { m.check(p.Close()) })
	awaits := func(args ...string) *background { // podman's own command takes CONTAINER_HOST as well
		return m.rests("env", append([]string{"CONTAINER_HOST=unix://" + m.Dir + "/await/podman.sock", "gopipework", "--json", "--await", "5m", "brtest"}, args...)...)
	}
	b := awaits("podman:late", "192.168.1.2/24")
	bare := awaits("-i", "eth2", "late", "192.168.2.2/24")
	m.do("mkdir " + m.Dir + "/await")
	service := m.Command(context.Background(), "podman", "system", "service", "--time", "0", "unix://"+m.Dir+"/await/podman.sock")
	service.Env = append(service.Env, p.Env...)
	m.begin(service)
	_, err = p.Start("create", "--network", "none", "--name", "late")
	m.check(err)
	_, err = p.Podman("start", "late")
	m.check(err)
	for _, b := range []*background{b, bare} {
		b.doneIn(t, "podman")
	}
	m.ok("detach", "--all", "podman:late")
}

// What never comes is said when the time is over. What cannot be waited for is refused at
// once; so is what waiting does not mend. A signal ends the wait.
func TestAwaitNot(t *testing.T) {
	e := withDocker(t)
	check := e.unchanged()
	e.docker("create", "--name", "idle", host.Image, "true")
	waits := map[string]*background{}
	missing := map[string]string{
		"never": "no such container", "docker:never": "no such container", "netns:never": "no namespace of that name", "idle": "never started", "/run/never": "no such file",
	}
	for word := range missing { // long enough for one look on a busy machine
		waits[word] = e.begin(e.Command(context.Background(), "gopipework", "--json", "--await", "10s", "brtest", word, "192.168.1.2/24"))
	}
	for word, want := range missing {
		f := e.failed("timeout", waits[word].end(t))
		if f.Error.Object != word || f.Error.Op != "wait for guest" || f.Error.Hint == "" {
			t.Errorf("%s: %+v", word, f.Error)
		}
		e.says(word, f.Error.Message, "it does not run yet", want)
	}
	for _, word := range []string{"lxc:a", "containerd:a", "containerd:k8s.io/a", "cri:a", "incus:a"} {
		if f := e.fails("unsupported", "--await", "1h", "brtest", word, "192.168.1.2/24"); f.Error.Hint == "" {
			t.Errorf("%s: %+v", word, f.Error)
		}
	}
	for _, line := range []string{
		"--await 1h brtest pid:1 192.168.1.2/24", "--await 1h brtest /proc/1/ns/net 192.168.1.2/24", "--await 1h brtest a/b 192.168.1.2/24",
		"--await 0s brtest web 192.168.1.2/24", "--await -1s brtest web 192.168.1.2/24", "--await soon brtest web 192.168.1.2/24",
		"--await 1h brtest web 192.168.1.300/24", "--await 1h --timeout 0s brtest web 192.168.1.2/24", "detach --await 1h web",
	} {
		e.fails("usage", strings.Fields(line)...)
	}
	e.container("onhost", "--network", "host")
	e.fails("conflict", "--await", "1h", "brtest", "onhost", "192.168.1.2/24")
	for s, code := range map[syscall.Signal]int{syscall.SIGINT: 130, syscall.SIGTERM: 143} {
		b := e.awaits("--json", "--await", "1h", "brtest", "never", "192.168.1.2/24")
		e.check(b.Process.Signal(s))
		if r := b.end(t); r.Code != code || !strings.Contains(r.Stdout, `"interrupted"`) {
			t.Errorf("%v: %v, want %d", s, r, code)
		}
	}
	e.docker("rm", "-f", "idle", "onhost")
	check("after no wait that came to its end")
}

// A proxy before Docker that does not let anybody follow its events is told from an engine
// that is not there.
func TestAwaitProxy(t *testing.T) {
	e := withDocker(t)
	socket := e.Dir + "/proxy.sock"
	l, err := net.Listen("unix", socket)
	e.check(err)
	defer l.Close()
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) { r.Out.URL.Scheme, r.Out.URL.Host = "http", "docker" },
		Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", e.daemon.Socket)
		}},
	}
	go http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/events") {
			http.Error(w, "Forbidden", http.StatusForbidden)
			return
		}
		proxy.ServeHTTP(w, r)
	}))
	line := []string{"DOCKER_HOST=unix://" + socket, "gopipework", "--json", "--await", "1h", "brtest", "docker:web", "192.168.1.2/24"}
	f := e.failed("runtime", e.Host.Run("env", line...))
	e.says("the error", f.Error.Message+f.Error.Hint, "events", "proxy")
	e.container("web", "--network", "none")
	if r := e.Host.Run("env", line...); r.Code != 0 {
		t.Errorf("a container that runs: %v", r)
	}
	e.ok("detach", "web")
}

// systemd-machined tells by the files of its machines.
func TestAwaitMachine(t *testing.T) {
	need(t, "machine")
	m := newMachine(t)
	d, err := m.StartMachined()
	m.check(err)
	t.Cleanup(d.Close)
	b := m.awaits("--json", "--await", "5m", "brtest", "machine:late", "192.168.1.2/24")
	bare := m.awaits("--json", "--await", "5m", "brtest", "-i", "eth2", "late", "192.168.2.2/24")
	_, err = d.Spawn("late")
	m.check(err)
	for _, b := range []*background{b, bare} {
		b.doneIn(t, "machine")
	}
	m.ok("detach", "--all", "machine:late")
}
