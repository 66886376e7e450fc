package dockerutil

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/gopipework/gopipework/e2e/host"
	"github.com/gopipework/gopipework/internal/fault"

	"github.com/gopipework/gopipework/e2e/program"
)

// The ID of the container that the fake engine knows as web, and another.
var (
	webID   = strings.Repeat("0123456789abcdef", 4)
	otherID = strings.Repeat("fedcba9876543210", 4)
)

// testFinder is a finder that is quick, and that finds no named namespaces.
func testFinder(t *testing.T) *finder {
	t.Helper()
	return &finder{
		bound:    30 * time.Second, // nothing here needs it all, not even on a busy machine
		patience: 200 * time.Millisecond,
		pause:    5 * time.Millisecond,
		settle:   30 * time.Millisecond,
		proc:     "/proc",
		named:    []string{filepath.Join(t.TempDir(), "netns")},
	}
}

// setCgroup makes f read text as the cgroup of pid.
func setCgroup(t *testing.T, f *finder, pid int, text string) {
	t.Helper()
	f.proc = t.TempDir()
	writeFile(t, fmt.Sprintf("%s/%d/cgroup", f.proc, pid), text)
	if stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid)); err == nil {
		writeFile(t, fmt.Sprintf("%s/%d/stat", f.proc, pid), string(stat))
	}
}

func wantFault(t *testing.T, err error, code fault.Code) {
	t.Helper()
	var e *fault.Error
	if !errors.As(err, &e) {
		t.Fatalf("got %v, want an error of code %s", err, code)
	}
	if e.Code != code {
		t.Errorf("got code %s (%v), want %s", e.Code, err, code)
	}
	if len(e.Error()) > 600 {
		t.Errorf("the error has %d bytes", len(e.Error()))
	}
}

// startGuest starts a process in a network namespace of its own, which as
// anybody but root takes a user namespace.
func startGuest(t *testing.T) *exec.Cmd {
	t.Helper()
	cmd := program.Command("sleep", "1000")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	if os.Geteuid() != 0 {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{HostID: os.Geteuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{HostID: os.Getegid(), Size: 1}}
	}
	if err := cmd.Start(); err != nil {
		if os.Geteuid() != 0 && errors.Is(err, os.ErrPermission) {
			host.Lacking(t, "root", "needs root, or a kernel that lets users make namespaces")
		}
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	return cmd
}

// engine is a Docker on a unix socket that says what a test wants it to say.
type engine struct {
	mu    sync.Mutex
	asked []string // "METHOD path", in order
}

// startEngine serves handler and points DOCKER_HOST at it.
func startEngine(t *testing.T, handler http.HandlerFunc) *engine {
	t.Helper()
	cleanEnv(t)
	// Not t.TempDir: a socket's path has at most 107 bytes (unix(7)).
	dir, err := os.MkdirTemp("", "engine")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	socket := filepath.Join(dir, "sock")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	e := &engine{}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		e.mu.Lock()
		e.asked = append(e.asked, r.Method+" "+r.URL.Path)
		e.mu.Unlock()
		handler(w, r)
	})}
	go server.Serve(listener)
	t.Cleanup(func() { server.Close() })
	t.Setenv("DOCKER_HOST", "unix://"+socket)
	return e
}

func (e *engine) requests() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return append([]string(nil), e.asked...)
}

// object is an inspect answer; fields that a test does not set are plausible.
type object struct {
	ID, Name, Status, Started, Sandbox, Mode string
	PID                                      int
}

func (o object) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	def := func(s, otherwise string) string {
		if s == "" {
			return otherwise
		}
		return s
	}
	status := def(o.Status, "running")
	answer(w, http.StatusOK, map[string]any{
		"Id":   def(o.ID, webID),
		"Name": def(o.Name, "/web"),
		"State": map[string]any{
			"Status": status, "Pid": o.PID, "ExitCode": 3,
			"Running":    status == "running" || status == "paused" || status == "restarting",
			"Restarting": status == "restarting", "Paused": status == "paused",
			"StartedAt": def(o.Started, time.Now().UTC().Format(time.RFC3339Nano)),
		},
		"HostConfig":      map[string]any{"NetworkMode": def(o.Mode, "default")},
		"NetworkSettings": map[string]any{"SandboxKey": o.Sandbox},
	})
}

// answer writes what Docker's own API would.
func answer(w http.ResponseWriter, code int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Api-Version", "1.47")
	w.WriteHeader(code)
	json.NewEncoder(w).Encode(body)
}

func message(code int, format string, args ...any) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		answer(w, code, map[string]string{"message": fmt.Sprintf(format, args...)})
	}
}

// inTurn answers each inspect with the next of the objects, and with the last
// one from then on.
func inTurn(objects ...object) http.HandlerFunc {
	var mu sync.Mutex
	return func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		o := objects[0]
		if len(objects) > 1 {
			objects = objects[1:]
		}
		mu.Unlock()
		o.ServeHTTP(w, r)
	}
}

func processRef(pid int) wordRef { return wordRef{Runtime: RuntimePID, PID: pid} }

// inodeOf reads the number in "net:[4026531833]".
func inodeOf(t *testing.T, pid int) uint64 {
	t.Helper()
	link, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/net", pid))
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.ParseUint(strings.Trim(link, "net:[]"), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}
