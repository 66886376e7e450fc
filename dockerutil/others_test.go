package dockerutil

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gopipework/gopipework/e2e/host"
	"github.com/gopipework/gopipework/e2e/program"
	"github.com/gopipework/gopipework/internal/fault"
)

// What runtimes say about a bare word decides whose guest it is.
func TestDecide(t *testing.T) {
	one, two := startGuest(t).Process.Pid, startGuest(t).Process.Pid
	r := wordRef{Name: "web"}
	says := func(runtime string, pid int) *reply {
		ref := wordRef{Runtime: runtime, Name: "web"}
		if pid == 0 {
			return &reply{ref: ref, err: ref.fault(fault.NotFound, "%w", errNoContainer)}
		}
		g, err := Find(context.Background(), processRef(pid).String())
		return &reply{ref, g, err}
	}
	fails := func(runtime string, code fault.Code, err error) *reply {
		ref := wordRef{Runtime: runtime, Name: "web"}
		return &reply{ref: ref, err: ref.fault(code, "%w", err).WithHint("look")}
	}
	sick := errors.New("sick")
	tests := []struct {
		name    string
		replies []*reply
		code    fault.Code // "" for a guest
		text    string
		failed  bool
	}{
		{"nobody is asked", nil, fault.NotFound, "no such container", false},
		{"nobody knows", []*reply{says("podman", 0), fails("lxc", fault.Runtime, errNoContainerd)}, fault.NotFound, "no such container", false},
		{"one knows", []*reply{says("podman", 0), says("lxc", one)}, "", "", false},
		{"two know", []*reply{says("podman", one), says("lxc", two)}, fault.Conflict, "podman:web or lxc:web", false},
		{"two know one guest", []*reply{says("podman", one), says("lxc", one)}, "", "", false},
		{"one runs, one does not", []*reply{says("podman", one), fails("lxc", fault.Gone, sick)}, fault.Conflict, "podman:web or lxc:web", false},
		{"one does not run", []*reply{says("podman", 0), fails("lxc", fault.Gone, sick)}, fault.Gone, "sick", false},
		{"one knows, one is sick", []*reply{says("podman", one), fails("lxc", fault.Timeout, sick)}, "", "", true},
		{"nobody knows, one is sick", []*reply{says("podman", 0), fails("lxc", fault.Timeout, sick)}, fault.NotFound, "", true},
		{"two know, one is sick", []*reply{says("podman", one), says("lxc", two), fails("cri", fault.Runtime, sick)}, fault.Conflict, "podman:web or lxc:web", true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			before := openFiles(t)
			g, failed, err := r.decide(tt.replies)
			if (failed != nil) != tt.failed {
				t.Errorf("failed: %v", failed)
			}
			if tt.code == "" {
				if err != nil {
					t.Fatal(err)
				}
				g.Close()
				return
			}
			wantFault(t, err, tt.code)
			var e *fault.Error
			if errors.As(err, &e); !strings.Contains(err.Error()+e.Hint, tt.text) {
				t.Errorf("got %v (%s), want it to say %q", err, e.Hint, tt.text)
			}
			if openFiles(t) > before {
				t.Error("guests that are not returned stay open")
			}
		})
	}
}

// A runtime that is not there is not connected to, and nothing is run for it.
func TestNothingElseHere(t *testing.T) {
	f := testFinder(t)
	f.commands, f.lxc, f.machines = []string{t.TempDir()}, t.TempDir(), t.TempDir()
	f.containerd, f.podmanOwn, f.cri = "/nonexistent/c", "/nonexistent/p", []string{"/nonexistent/c"}
	f.incus = []string{"/nonexistent/i"}
	for _, o := range others {
		if o.here(f, "web") || o.here(f, "0123") {
			t.Errorf("%s is taken to be there", o.runtime)
		}
		_, err := f.find(context.Background(), wordRef{Runtime: o.runtime, Name: "web"})
		if o.runtime == RuntimeLXC {
			wantFault(t, err, fault.NotFound) // LXC is a directory
			continue
		}
		wantFault(t, err, fault.Runtime)
		if !absent(err) {
			t.Errorf("%s: %v does not count as absence", o.runtime, err)
		}
	}
	f.lxc = "/nonexistent/lxc"
	_, err := f.find(context.Background(), wordRef{Runtime: "lxc", Name: "web"})
	wantFault(t, err, fault.Runtime)
}

// A command that does what podman would not.
func TestPodmanCommandFails(t *testing.T) {
	tests := []struct {
		name, script string
		want         fault.Code
	}{
		{"silent", "exit 0", fault.Runtime},
		{"rubbish", "echo hello", fault.Runtime},
		{"two", `echo '[{"Id":"a"},{"Id":"b"}]'`, fault.Runtime},
		{"impossible", `echo '[{"Id":"` + webID + `","State":{"Running":true,"Pid":-1}}]'`, fault.Runtime},
		{"refuses", `echo "Error: out of \"cheese\"" >&2; exit 125`, fault.Runtime},
		{"killed", "kill -9 $$", fault.Runtime},
		{"endless", "exec cat /dev/zero", fault.Runtime},
		{"endless complaint", "cat /dev/zero >&2", fault.Timeout},
		{"hangs", "sleep 60", fault.Timeout},
		{"leaves a child", "sleep 60 & exit 0", fault.Runtime},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := testFinder(t)
			if tt.want == fault.Timeout {
				f.bound = 300 * time.Millisecond
			}
			dir := t.TempDir()
			f.commands = []string{dir}
			writeFile(t, dir+"/podman", "#!/bin/sh\n"+tt.script+"\n")
			if err := os.Chmod(dir+"/podman", 0o755); err != nil {
				t.Fatal(err)
			}
			start := time.Now()
			_, err := f.find(context.Background(), wordRef{Runtime: "podman", Name: "web"})
			wantFault(t, err, tt.want)
			if took := time.Since(start); took > f.bound+30*time.Second {
				t.Errorf("took %v", took)
			}
		})
	}
}

func TestCommandsOfPathOnly(t *testing.T) {
	t.Setenv("PATH", ".:bin:/usr/games")
	for _, dir := range commandDirs() {
		if !filepath.IsAbs(dir) {
			t.Errorf("%q is a directory of commands", dir)
		}
	}
}

// startGRPC serves handler as a gRPC server would be: HTTP/2, without TLS.
func startGRPC(t *testing.T, handler http.HandlerFunc) string {
	t.Helper()
	socket := filepath.Join(shortTemp(t), "sock")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	var h2c http.Protocols
	h2c.SetUnencryptedHTTP2(true)
	server := &http.Server{Handler: handler, Protocols: &h2c}
	go server.Serve(l)
	t.Cleanup(func() { server.Close() })
	return socket
}

func TestGRPCFails(t *testing.T) {
	frame := func(body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/grpc")
			w.Header().Set("Trailer", "Grpc-Status")
			io.WriteString(w, body)
			w.Header().Set("Grpc-Status", "0")
		}
	}
	status := func(code int, text string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Grpc-Status", fmt.Sprint(code))
			w.Header().Set("Grpc-Message", text)
		}
	}
	tests := []struct {
		name            string
		handler         http.HandlerFunc
		containerd, cri fault.Code
	}{
		{"empty", frame(""), fault.Runtime, fault.Runtime},
		{"short", frame("\x00\x00\x00\x00\x09a"), fault.Runtime, fault.Runtime},
		{"compressed", frame("\x01\x00\x00\x00\x00"), fault.Runtime, fault.Runtime},
		{"no protobuf", frame("\x00\x00\x00\x00\x02\x0a\x09"), fault.Runtime, fault.Runtime},
		{"no namespaces, no ID", frame("\x00\x00\x00\x00\x00"), fault.NotFound, fault.Runtime},
		{"endless", func(w http.ResponseWriter, _ *http.Request) {
			for {
				if _, err := w.Write(make([]byte, 1<<16)); err != nil {
					return
				}
			}
		}, fault.Runtime, fault.Runtime},
		{"no status", func(http.ResponseWriter, *http.Request) {}, fault.Runtime, fault.Runtime},
		{"404", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(404) }, fault.Runtime, fault.Runtime},
		{"unimplemented", status(12, "unknown service"), fault.Runtime, fault.Runtime},
		{"not found", status(5, "no%20such"), fault.Runtime, fault.NotFound},
		{"sick", status(13, strings.Repeat("%1b", 1<<12)), fault.Runtime, fault.Runtime},
		{"ambiguous", status(2, "Multiple IDs found with provided prefix: 01"), fault.Runtime, fault.Conflict},
		{"hangs", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, fault.Timeout, fault.Timeout},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := testFinder(t)
			socket := startGRPC(t, tt.handler)
			f.containerd, f.cri = socket, []string{socket}
			if tt.containerd == fault.Timeout {
				f.bound = 100 * time.Millisecond
			}
			for runtime, want := range map[string]fault.Code{"containerd": tt.containerd, "cri": tt.cri} {
				_, err := f.find(context.Background(), wordRef{Runtime: runtime, Name: "0123"})
				wantFault(t, err, want)
				if got := absent(err); got != (tt.name == "unimplemented" && runtime == "cri") {
					t.Errorf("%s: %v: absent is %v", runtime, err, got)
				}
			}
		})
	}
}

// CRI-O can keep a pod as a namespace without a process.
func TestPodWithoutProcess(t *testing.T) {
	child := startGuest(t).Process.Pid
	path := fmt.Sprintf("/proc/%d/ns/net", child)
	status := appendText(nil, 1, webID)
	info := `{"runtimeSpec":{"linux":{"namespaces":[{"type":"network","path":"` + path + `"}]}}}`
	body := appendText(nil, 1, string(status))
	body = appendText(body, 2, string(appendText(appendText(nil, 1, "info"), 2, info)))
	f := testFinder(t)
	f.cri = []string{startGRPC(t, func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/ContainerStatus") {
			w.Header().Set("Grpc-Status", "5")
			return
		}
		w.Header().Set("Trailer", "Grpc-Status")
		w.Write(append([]byte{0, 0, 0, 0, byte(len(body))}, body...))
		w.Header().Set("Grpc-Status", "0")
	})}
	g, err := f.find(context.Background(), wordRef{Runtime: "cri", Name: "0123"})
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	if g.Runtime != "cri" || g.ID != webID || g.PID != 0 || g.Path != path || inode(g) != inodeOf(t, child) {
		t.Errorf("got %+v", g)
	}
}

func FuzzProtobuf(f *testing.F) {
	f.Add(appendNumber(appendText(nil, 1, "web"), 2, 1<<40))
	f.Add([]byte{0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01})
	f.Add([]byte{0x09, 1, 2})
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := parseProtobuf(b)
		if err != nil {
			return
		}
		size := 0
		for _, field := range m {
			size += len(field.bytes)
			m.text(field.id)
			m.number(field.id)
			m.in(field.id)
			m.all(field.id)
			m.entry(field.id, "x")
		}
		if size > len(b) {
			t.Errorf("%d bytes out of %d", size, len(b))
		}
	})
}

func TestProtobufRoundTrip(t *testing.T) {
	m, err := parseProtobuf(appendText(appendNumber(appendText(nil, 1, "web"), 1000, 1<<63), 3, ""))
	if err != nil || m.text(1) != "web" || m.number(1000) != 1<<63 || m.text(3) != "" || len(m) != 3 {
		t.Errorf("got %v, %v", m, err)
	}
}

// serveLXC listens in place of a container's monitor, as user uid, and answers
// each command with what say returns.
func serveLXC(t *testing.T, socket string, uid int, say func(command byte) []byte) {
	t.Helper()
	listening := make(chan net.Listener)
	failed := make(chan error, 1)
	go func() {
		if uid != os.Geteuid() {
			// Credentials are a thread's; this one is never unlocked.
			runtime.LockOSThread()
			if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, ^uintptr(0), uintptr(uid), ^uintptr(0)); errno != 0 {
				failed <- errno
				return
			}
		}
		l, err := net.Listen("unix", "@"+socket)
		if err != nil {
			failed <- err
			return
		}
		listening <- l
	}()
	var l net.Listener
	select {
	case l = <-listening:
	case err := <-failed:
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			request := make([]byte, 16)
			if _, err := io.ReadFull(conn, request); err == nil {
				conn.Write(say(request[0]))
			}
			conn.Close()
		}
	}()
}

func lxcAnswer(value int) []byte {
	return append(make([]byte, 8), byte(value), byte(value>>8), byte(value>>16), 0, 0, 0, 0, 0)
}

func TestLXCMonitorFails(t *testing.T) {
	for name, answer := range map[string][]byte{
		"closes":  nil,
		"short":   {0, 0, 0, 0},
		"refuses": append([]byte{0xf3, 0xff, 0xff, 0xff}, make([]byte, 12)...), // -EACCES
		"too big": bytes.Repeat([]byte{0x7f}, 16),
	} {
		t.Run(name, func(t *testing.T) {
			f := testFinder(t)
			f.lxc = t.TempDir()
			serveLXC(t, lxcSocket(f.lxc, "web"), os.Geteuid(), func(byte) []byte { return answer })
			_, err := f.find(context.Background(), wordRef{Runtime: "lxc", Name: "web"})
			want := fault.Runtime
			if name == "refuses" {
				want = fault.Permission
			}
			wantFault(t, err, want)
		})
	}
}

// The name of a monitor's socket can be taken by anybody, and is not believed.
func TestLXCSquatter(t *testing.T) {
	host.NeedRoot(t) // it listens as another user
	child := startGuest(t).Process.Pid
	say := func(command byte) []byte {
		if command == lxcGetState {
			return lxcAnswer(2)
		}
		return lxcAnswer(child)
	}
	f := testFinder(t)
	f.lxc = t.TempDir() + strings.Repeat("/long", 20) // its sockets have hashed names
	serveLXC(t, lxcSocket(f.lxc, "web"), 65534, say)
	_, err := f.find(context.Background(), wordRef{Runtime: "lxc", Name: "web"})
	wantFault(t, err, fault.Runtime)
	if !errors.Is(err, errForeign) {
		t.Errorf("got %v", err)
	}
	serveLXC(t, lxcSocket(f.lxc, "own"), 0, say)
	g, err := f.find(context.Background(), wordRef{Runtime: "lxc", Name: "own"})
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	if g.PID != child || inode(g) != inodeOf(t, child) {
		t.Errorf("got %+v", g)
	}
}

// A runtime that fails keeps nobody else's guest from being found, and is named;
// where nobody else has it, it might.
func TestOneFailsOthersAreFound(t *testing.T) {
	cleanEnv(t)
	t.Setenv("DOCKER_HOST", "unix:///nonexistent/sock")
	child := startGuest(t).Process.Pid
	for name, script := range map[string]string{"refuses": "echo out of cheese >&2; exit 125", "hangs": "sleep 60", "rubbish": "echo {"} {
		t.Run(name, func(t *testing.T) {
			f := testFinder(t)
			f.lxc = t.TempDir()
			dir := t.TempDir()
			f.commands = []string{dir}
			writeFile(t, dir+"/podman", "#!/bin/sh\n"+script+"\n")
			if err := os.Chmod(dir+"/podman", 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.Mkdir(f.lxc+"/web", 0o700); err != nil {
				t.Fatal(err)
			}
			serveLXC(t, lxcSocket(f.lxc, "web"), os.Geteuid(), func(command byte) []byte {
				if command == lxcGetState {
					return lxcAnswer(2)
				}
				return lxcAnswer(child)
			})
			if name == "hangs" {
				f.bound = time.Second
			}
			g, err := f.find(context.Background(), wordRef{Name: "web"})
			for err != nil && f.bound < 30*time.Second { // it was not enough for the one that answers
				f.bound *= 2
				g, err = f.find(context.Background(), wordRef{Name: "web"})
			}
			if err != nil {
				t.Fatal(err)
			}
			defer g.Close()
			if g.Runtime != RuntimeLXC || len(g.Doubts) != 1 || !strings.Contains(g.Doubts[0], "lxc:web") || !strings.Contains(g.Doubts[0], "podman") {
				t.Errorf("got %s, doubts %q", g.Runtime, g.Doubts)
			}
			_, err = f.find(context.Background(), wordRef{Name: "other"})
			var e *fault.Error
			if !errors.As(err, &e) || e.Code != fault.Runtime && e.Code != fault.Timeout || !strings.Contains(e.Hint, "only one of them") {
				t.Errorf("nobody has it: %v", err)
			}
			// Called off while one hangs: that is what is said.
			ctx, cancel := context.WithCancel(context.Background())
			cancel()
			_, err = f.find(ctx, wordRef{Name: "other"})
			wantFault(t, err, fault.Interrupted)
		})
	}
}

// Who listens in another network than ours is said, for every guest of it.
func TestRuntimeElsewhere(t *testing.T) {
	host.NeedRoot(t)
	child := startGuest(t)
	f := testFinder(t)
	setCgroup(t, f, child.Process.Pid, "0::/docker/"+webID+"\n")
	startEngine(t, inTurn(object{PID: child.Process.Pid}))
	g, err := f.find(context.Background(), web)
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	if len(g.Doubts) != 0 {
		t.Errorf("an engine in our own network: %q", g.Doubts)
	}

	socket := filepath.Join(shortTemp(t), "sock")
	engine := program.Command(os.Args[0])
	engine.Env = append(os.Environ(), "GOPIPEWORK_TEST_ENGINE="+socket, fmt.Sprintf("GOPIPEWORK_TEST_PID=%d", child.Process.Pid))
	engine.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	out, err := engine.StdoutPipe()
	if err == nil {
		err = engine.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { engine.Process.Kill(); engine.Wait() })
	if _, err := io.ReadFull(out, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	t.Setenv("DOCKER_HOST", "unix://"+socket)
	other, err := f.find(context.Background(), web)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if len(other.Doubts) != 1 || !strings.Contains(other.Doubts[0], "--network host") {
		t.Errorf("an engine in another network: %q", other.Doubts)
	}
}

// serveEngine is a process that plays an engine in another network.
func serveEngine(socket string) {
	l, err := net.Listen("unix", socket)
	if err != nil {
		panic(err)
	}
	pid, err := strconv.Atoi(os.Getenv("GOPIPEWORK_TEST_PID"))
	if err != nil {
		panic(err)
	}
	os.Stdout.WriteString(".")
	panic(http.Serve(l, object{PID: pid}))
}
