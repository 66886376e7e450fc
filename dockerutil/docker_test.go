package dockerutil

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gopipework/gopipework/internal/fault"
)

var web = wordRef{Runtime: "docker", Name: "web"}

func TestContainer(t *testing.T) {
	for _, status := range []string{"running", "paused"} {
		t.Run(status, func(t *testing.T) {
			child := startGuest(t).Process.Pid
			f := testFinder(t)
			setCgroup(t, f, child, "12:pids:/docker/"+webID+"\n0::/docker/"+webID+"\n")
			e := startEngine(t, inTurn(object{PID: child, Status: status}))

			g, err := f.find(context.Background(), wordRef{Name: "web"})
			if err != nil {
				t.Fatal(err)
			}
			defer g.Close()
			if g.Runtime != "docker" || g.ID != webID || g.Name != "web" || g.PID != child || g.Path != "" {
				t.Errorf("got %+v", g)
			}
			if inode(g) != inodeOf(t, child) {
				t.Errorf("got inode %d, want %d", inode(g), inodeOf(t, child))
			}
			if err := g.Alive(); err != nil {
				t.Error(err)
			}
			// One round trip is a promise.
			if got, want := e.requests(), []string{"GET /v1.40/containers/web/json"}; !reflect.DeepEqual(got, want) {
				t.Errorf("asked %q, want %q", got, want)
			}
		})
	}
}

// An engine that is too new for the first request says which version it speaks.
func TestContainerOtherVersion(t *testing.T) {
	child := startGuest(t).Process.Pid
	f := testFinder(t)
	setCgroup(t, f, child, "0::/system.slice/docker-"+webID+".scope/init\n")
	engineFrom144 := func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/_ping":
			w.Header().Set("Api-Version", "1.47")
		case !strings.HasPrefix(r.URL.Path, "/v1.47/"):
			message(400, "client version 1.40 is too old. Minimum supported API version is 1.44")(w, r)
		default:
			object{PID: child}.ServeHTTP(w, r)
		}
	}
	e := startEngine(t, engineFrom144)
	g, err := f.find(context.Background(), web)
	if err != nil {
		t.Fatal(err)
	}
	g.Close()
	want := []string{"GET /v1.40/containers/web/json", "HEAD /_ping", "GET /v1.47/containers/web/json"}
	if got := e.requests(); !reflect.DeepEqual(got, want) {
		t.Errorf("asked %q, want %q", got, want)
	}

	e = startEngine(t, engineFrom144)
	t.Setenv("DOCKER_API_VERSION", "1.43")
	_, err = f.find(context.Background(), web)
	wantFault(t, err, fault.Runtime)
	if got := e.requests(); !reflect.DeepEqual(got, []string{"GET /v1.43/containers/web/json"}) {
		t.Errorf("with DOCKER_API_VERSION asked %q", got)
	}
}

// A Docker that is there and fails ends the search: a bare word must not come
// to mean a namespace because the engine has a bad day.
func TestDockerFails(t *testing.T) {
	hijack := func(text string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			conn, _, err := w.(http.Hijacker).Hijack()
			if err != nil {
				panic(err)
			}
			io.WriteString(conn, text)
			conn.Close()
		}
	}
	ok := "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
	raw := func(body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, body) }
	}
	hang := func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }
	flood := func(open string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			io.WriteString(w, open)
			for r.Context().Err() == nil {
				if _, err := io.WriteString(w, strings.Repeat("a", 1<<16)); err != nil {
					return
				}
			}
		}
	}
	tests := []struct {
		name    string
		handler http.HandlerFunc
		want    fault.Code
	}{
		{"500", message(500, "out of cheese"), fault.Runtime},
		{"500 empty", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) }, fault.Runtime},
		{"500 long", message(500, "%s", strings.Repeat("\x1b[31m", 1<<16)), fault.Runtime},
		{"403", message(403, "authorization denied by plugin"), fault.Runtime},
		{"400", message(400, "no"), fault.Runtime},
		{"garbage", raw("\x00\xff<html>"), fault.Runtime},
		{"empty", raw(""), fault.Runtime},
		{"null", raw("null"), fault.Runtime},
		{"other JSON", raw(`[1,2]`), fault.Runtime},
		{"other object", raw(`{"message":"hello"}`), fault.Runtime},
		{"two answers for one", raw(`{"Id":"` + webID + `","State":{"Pid":"one"}}`), fault.Runtime},
		{"half an answer", hijack(ok + "Content-Length: 1000\r\n\r\n{\"Id\":\"" + webID), fault.Runtime},
		{"closed at once", hijack(""), fault.Runtime},
		{"not HTTP", hijack("SSH-2.0-OpenSSH_9.2\r\n"), fault.Runtime},
		{"redirect", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://192.0.2.1/", http.StatusFound)
		}, fault.Runtime},
		{"endless string", flood(`{"Id":"`), fault.Runtime},
		{"endless header", hijack(ok + "X: " + strings.Repeat("a", 11<<20)), fault.Runtime},
		{"never answers", hang, fault.Timeout},
		{"never ends", func(w http.ResponseWriter, r *http.Request) {
			io.WriteString(w, `{"Id":"`+webID+`",`)
			w.(http.Flusher).Flush()
			hang(w, r)
		}, fault.Timeout},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := testFinder(t)
			if tt.want == fault.Timeout {
				f.bound = 100 * time.Millisecond
			}
			startEngine(t, tt.handler)
			start := time.Now()
			for _, r := range []wordRef{{Name: "web"}, web} {
				_, err := f.find(context.Background(), r)
				wantFault(t, err, tt.want)
				var e *fault.Error
				if errors.As(err, &e); strings.Contains(e.Hint, "netns:web") != (r.Runtime == "") {
					t.Errorf("%s: the hint is %q", r, e.Hint)
				}
			}
			if took := time.Since(start); took > 2*f.bound+30*time.Second {
				t.Errorf("took %v", took)
			}
		})
	}
}

// The bound holds for all questions together, not for each.
func TestBoundIsForAll(t *testing.T) {
	f := testFinder(t)
	f.bound, f.patience = time.Second, time.Hour
	startEngine(t, func(w http.ResponseWriter, r *http.Request) {
		time.Sleep(20 * time.Millisecond)
		object{Status: "restarting"}.ServeHTTP(w, r)
	})
	// Each answer comes in time: were that enough, there would be no end.
	err := soon(t, func() error {
		_, err := f.find(context.Background(), web)
		return err
	})
	wantFault(t, err, fault.Timeout)
}

func TestCalledOff(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	startEngine(t, func(_ http.ResponseWriter, r *http.Request) {
		cancel()
		<-r.Context().Done()
	})
	_, err := testFinder(t).find(ctx, web)
	wantFault(t, err, fault.Interrupted)
}

func TestNotRunning(t *testing.T) {
	tests := []struct {
		status string
		pid    int
		want   string
		hint   string
	}{
		{"created", 0, "never started", "docker start web"},
		{"exited", 0, "has exited, with code 3", "docker start web"},
		{"exited", 1, "has exited", "docker start web"}, // a stale PID is no PID
		{"dead", 0, "is dead", ""},
		{"removing", 0, "being removed", ""},
		{"restarting", 0, "keeps restarting", "docker logs web"},
		{"running", 0, `its state is "running"`, ""},
		{"\x1b[2J", 0, `its state is "\x1b[2J"`, ""},
	}
	for _, tt := range tests {
		t.Run(tt.status, func(t *testing.T) {
			startEngine(t, inTurn(object{Status: tt.status, PID: tt.pid}))
			_, err := testFinder(t).find(context.Background(), web)
			wantFault(t, err, fault.Gone)
			if !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "\x1b") {
				t.Errorf("got %q, want it to say %q", err, tt.want)
			}
			var e *fault.Error
			if errors.As(err, &e); !strings.HasPrefix(e.Hint, tt.hint) {
				t.Errorf("the hint is %q, want %q", e.Hint, tt.hint)
			}
		})
	}
}

func TestComesUp(t *testing.T) {
	child := startGuest(t).Process.Pid
	f := testFinder(t)
	f.patience = f.bound
	setCgroup(t, f, child, "0::/docker/"+webID+"\n")
	startEngine(t, inTurn(object{Status: "restarting"}, object{Status: "running"}, object{PID: child}))
	g, err := f.find(context.Background(), web)
	if err != nil {
		t.Fatal(err)
	}
	g.Close()
}

func TestNoContainer(t *testing.T) {
	startEngine(t, message(404, "No such container: web"))
	for word, want := range map[string]struct{ text, hint string }{
		"web":        {"no such container, and no namespace of that name in ", "docker ps"},
		"docker:web": {"no such container", "docker ps"},
		"1234":       {"no such container, and no namespace of that name in ", "to name a process, write pid:1234"},
	} {
		r, err := parseWord(word)
		if err != nil {
			t.Fatal(err)
		}
		_, err = testFinder(t).find(context.Background(), r)
		wantFault(t, err, fault.NotFound)
		var e *fault.Error
		if errors.As(err, &e); !strings.HasPrefix(err.Error(), `find guest "`+word+`": `+want.text) || !strings.HasPrefix(e.Hint, want.hint) {
			t.Errorf("%s: got %q, hint %q", word, err, e.Hint)
		}
	}
}

func TestNoDocker(t *testing.T) {
	dir, err := os.MkdirTemp("", "engine")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	stale := filepath.Join(dir, "stale") // what a killed daemon leaves
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: stale})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
	for path, reason := range map[string]string{
		filepath.Join(dir, "none"): "no such file or directory",
		stale:                      "connection refused",
	} {
		cleanEnv(t)
		t.Setenv("DOCKER_HOST", "unix://"+path)
		_, err := testFinder(t).find(context.Background(), web)
		wantFault(t, err, fault.Runtime)
		_, err = testFinder(t).find(context.Background(), wordRef{Name: "web"})
		wantFault(t, err, fault.NotFound)
		if want := "no Docker daemon listens at unix://" + path + ": " + reason; !strings.HasSuffix(err.Error(), want) {
			t.Errorf("got %q, want it to end in %q", err, want)
		}
	}
}

func TestUnreachable(t *testing.T) {
	cleanEnv(t)
	d, err := openDaemon(context.Background(), web)
	if err != nil {
		t.Fatal(err)
	}
	for errno, want := range map[syscall.Errno]fault.Code{
		syscall.EACCES:       fault.Permission,
		syscall.EAGAIN:       fault.Runtime, // the queue of a hung daemon is full
		syscall.EHOSTUNREACH: fault.Runtime,
	} {
		err := d.unreachable(&net.OpError{Op: "dial", Net: "unix", Err: os.NewSyscallError("connect", errno)})
		wantFault(t, err, want)
		if errors.Is(err, errNoDocker) {
			t.Errorf("%v counts as no Docker", errno)
		}
	}
}

func TestAmbiguous(t *testing.T) {
	for _, handler := range []http.HandlerFunc{
		message(500, "Multiple IDs found with provided prefix: a"), // 20.10
		message(400, "multiple IDs found with provided prefix: a"), // 28
	} {
		startEngine(t, handler)
		_, err := testFinder(t).find(context.Background(), wordRef{Name: "a"})
		wantFault(t, err, fault.Conflict)
	}
}

// TestShortID: a word that is a little of another container's ID does not stand for that, as
// "db" would for one of 256, and nothing that waits for db gives up because several begin so.
func TestShortID(t *testing.T) {
	child := startGuest(t).Process.Pid
	f := testFinder(t)
	setCgroup(t, f, child, "0::/system.slice/docker-"+webID+".scope/init\n")
	for _, tt := range []struct {
		word   string
		prefix int
		stands bool
	}{
		{"web", typedPrefix, true}, {webID, printedPrefix, true},
		{webID[:3], typedPrefix, false}, {webID[:4], typedPrefix, true},
		{webID[:11], printedPrefix, false}, {webID[:12], printedPrefix, true},
	} {
		startEngine(t, object{PID: child}.ServeHTTP)
		f.prefix = tt.prefix
		g, err := f.find(context.Background(), wordRef{Runtime: RuntimeDocker, Name: tt.word})
		if tt.stands {
			if err != nil {
				t.Errorf("%s: %v", tt.word, err)
				continue
			}
			g.Close()
			continue
		}
		wantFault(t, err, fault.NotFound)
		if hint := fault.HintOf(err); !strings.Contains(hint, "the ID of web starts with it") {
			t.Errorf("the hint about %s is %q", tt.word, hint)
		}
	}
	startEngine(t, message(400, "multiple IDs found with provided prefix: db"))
	_, err := f.find(context.Background(), wordRef{Runtime: RuntimeDocker, Name: "db"})
	wantFault(t, err, fault.NotFound)
	all := &census{ids: []string{webID}}
	if !all.lacks(webID[:11], printedPrefix) || all.lacks(webID[:12], printedPrefix) {
		t.Error("the count of all containers has another rule")
	}
}

// What Docker says decides which process is touched.
func TestImpossibleAnswers(t *testing.T) {
	for _, o := range []object{
		{PID: -1},
		{PID: 1 << 40},
		{PID: 1, ID: "abc"},
		{PID: 1, ID: strings.Repeat("A", 64)},
		{PID: 1, ID: webID + "0"},
		{PID: 1, ID: "../" + webID[3:]},
	} {
		startEngine(t, inTurn(o))
		_, err := testFinder(t).find(context.Background(), web)
		wantFault(t, err, fault.Runtime)
	}
}

func TestOddName(t *testing.T) {
	child := startGuest(t).Process.Pid
	f := testFinder(t)
	setCgroup(t, f, child, "0::/docker/"+webID+"\n")
	startEngine(t, inTurn(object{PID: child, Name: "/web\n\x1b[2J"}))
	g, err := f.find(context.Background(), web)
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	if g.Name != webID[:12] {
		t.Errorf("got name %q", g.Name)
	}
}

// A PID that does not belong to the container is a daemon elsewhere, a death
// that Docker has not noticed, or an engine without cgroups.
func TestPIDOfAnother(t *testing.T) {
	now := time.Now().UTC().Format(time.RFC3339Nano)
	const before = "2020-01-01T00:00:00Z"
	child := startGuest(t).Process.Pid
	dead := startGuest(t)
	dead.Process.Kill()
	dead.Wait()
	none := dead.Process.Pid

	tests := []struct {
		name   string
		cgroup string
		said   []object
		want   fault.Code // "" for success
	}{
		{"another container's", "0::/docker/" + otherID, []object{{PID: child, Started: now}}, fault.Runtime},
		{"another container's, ours ended", "0::/docker/" + otherID,
			[]object{{PID: child, Started: now}, {PID: child, Started: now}, {Status: "exited"}}, fault.Gone},
		{"no process", "", []object{{PID: none, Started: now}}, fault.Runtime},
		{"no process, ours ended", "", []object{{PID: none, Started: now}, {Status: "exited"}}, fault.Gone},
		{"no process, ours restarted", "", []object{{PID: none, Started: now}, {PID: child, Started: now}}, fault.Gone},
		{"no cgroups", "0::/user.slice", []object{{PID: child, Started: now}}, ""},
		{"no cgroups, started at another time", "0::/user.slice", []object{{PID: child, Started: before}}, fault.Runtime},
		{"no cgroups, no time", "0::/", []object{{PID: child, Started: "yesterday"}}, fault.Runtime},
		{"no cgroups, restarted", "0::/", []object{{PID: child, Started: before}, {PID: child, Started: now}}, fault.Gone},
		{"no cgroups, ended", "0::/", []object{{PID: child, Started: now}, {Status: "exited"}}, fault.Gone},
		{"nested", "0::/docker/" + otherID + "/docker/" + webID, []object{{PID: child, Started: now}}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := testFinder(t)
			if tt.want == fault.Gone {
				f.settle = f.bound // however long the questions take
			}
			setCgroup(t, f, child, tt.cgroup+"\n")
			startEngine(t, inTurn(tt.said...))
			g, err := f.find(context.Background(), web)
			if tt.want != "" {
				wantFault(t, err, tt.want)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer g.Close()
			if g.PID != child || inode(g) != inodeOf(t, child) {
				t.Errorf("got %+v", g)
			}
		})
	}
}

func TestRemovedMeanwhile(t *testing.T) {
	child := startGuest(t).Process.Pid
	f := testFinder(t)
	setCgroup(t, f, child, "0::/docker/"+otherID+"\n")
	startEngine(t, func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.URL.Path, "/web/") {
			object{PID: child}.ServeHTTP(w, r)
			return
		}
		message(404, "No such container")(w, r)
	})
	_, err := f.find(context.Background(), wordRef{Name: "web"})
	wantFault(t, err, fault.Gone)
}

// Where Docker's processes cannot be seen its mount of the namespace is used,
// if it is a network namespace, and not the host's.
func TestSandbox(t *testing.T) {
	child := startGuest(t).Process.Pid
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	path := fmt.Sprintf("/proc/%d/ns/net", child)
	for sandbox, want := range map[string]fault.Code{
		path:                                   "",
		"/proc/self/ns/net":                    fault.Conflict,
		fmt.Sprintf("/proc/%d/ns/uts", child):  fault.Runtime,
		"/proc/self/ns/../ns/net":              fault.Runtime,
		"/run/docker/netns/nosuch":             fault.Runtime,
		fifo:                                   fault.Runtime,
		"web":                                  fault.Runtime,
		"":                                     fault.Runtime,
		"/etc/passwd":                          fault.Runtime,
		strings.Repeat("/a", 1<<20) + "\x1b[m": fault.Runtime,
	} {
		f := testFinder(t)
		setCgroup(t, f, child, "0::/docker/"+otherID+"\n")
		startEngine(t, inTurn(object{PID: child, Started: "2020-01-01T00:00:00Z", Sandbox: sandbox}))
		g, err := f.find(context.Background(), web)
		if want != "" {
			wantFault(t, err, want)
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", sandbox, err)
			continue
		}
		if g.PID != 0 || g.Path != path || g.ID != webID || g.Name != "web" || g.Alive() != nil {
			t.Errorf("got %+v", g)
		}
		g.Close()
	}
}

func TestContainerOnHost(t *testing.T) {
	f := testFinder(t)
	setCgroup(t, f, os.Getpid(), "0::/docker/"+webID+"\n")
	startEngine(t, inTurn(object{PID: os.Getpid()}))
	_, err := f.find(context.Background(), web)
	wantFault(t, err, fault.Conflict)

	// Seen from another namespace only Docker knows which one is the host's.
	child := startGuest(t).Process.Pid
	setCgroup(t, f, child, "0::/docker/"+webID+"\n")
	startEngine(t, inTurn(object{PID: child, Mode: "host"}))
	_, err = f.find(context.Background(), web)
	wantFault(t, err, fault.Conflict)
}
