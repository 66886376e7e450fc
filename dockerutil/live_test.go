package dockerutil

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/gopipework/gopipework/e2e/host"
	"github.com/gopipework/gopipework/e2e/program"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/guests"
)

// The tests in the live files ask real runtimes, which they start themselves.

func TestMain(m *testing.M) {
	host.Main()
	if socket := os.Getenv("GOPIPEWORK_TEST_ENGINE"); socket != "" {
		serveEngine(socket)
	}
	os.Exit(m.Run())
}

// need skips the test unless it is root's and the commands are there. Where
// GOPIPEWORK_REQUIRE names the feature, that is a failure.
func need(t *testing.T, feature string, commands ...string) {
	t.Helper()
	var missing []string
	if os.Geteuid() != 0 {
		missing = append(missing, "root")
	}
	for _, name := range commands {
		if (&finder{places: places{commands: commandDirs()}}).command(name) == "" {
			missing = append(missing, "the command "+name)
		}
	}
	if len(missing) > 0 {
		host.Lacking(t, feature, strings.Join(missing, ", "))
	}
	cleanEnv(t)
	t.Setenv("DOCKER_HOST", "unix:///nonexistent/sock")
	for _, name := range []string{"CONTAINER_HOST", "XDG_RUNTIME_DIR", "CONTAINERD_ADDRESS", "CONTAINERD_NAMESPACE"} {
		t.Setenv(name, "") // to have it back afterwards
		os.Unsetenv(name)  // podman takes an empty one for an address
	}
}

// liveFinder looks at no runtime's own places.
func liveFinder(t *testing.T) *finder {
	f := testFinder(t)
	f.settle = 300 * time.Millisecond
	f.commands = commandDirs()
	return f
}

// must runs a command and returns what it says.
func must(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := try(name, args...)
	if err != nil {
		t.Fatalf("%s %s: %v: %s", name, strings.Join(args, " "), err, out)
	}
	return out
}

func try(name string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	cmd := program.CommandContext(ctx, name, args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.WaitDelay = time.Second // what it leaves running may hold its output
	err := cmd.Run()
	if err != nil && !cmd.ProcessState.Success() {
		return stderr.String(), err
	}
	return strings.TrimSpace(stdout.String()), nil
}

// background starts a daemon, and ends it with the test. What it says is shown
// if the test fails.
func background(t *testing.T, name string, args ...string) *exec.Cmd {
	t.Helper()
	var said bytes.Buffer
	cmd := program.Command(name, args...)
	cmd.Stdout, cmd.Stderr = io.Discard, &said
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: 0}
	cmd.WaitDelay = time.Second
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		timer := time.AfterFunc(5*time.Second, func() { cmd.Process.Kill() })
		cmd.Wait()
		timer.Stop()
		if t.Failed() {
			t.Logf("%s said:\n%s", name, said.Bytes()[max(0, said.Len()-4096):])
		}
	})
	return cmd
}

func waitFor(t *testing.T, what string, is func() bool) {
	t.Helper()
	if !host.Poll(time.Minute, is) {
		t.Fatalf("no %s after a minute", what)
	}
}

// listens reports whether a connection to the socket is accepted. A socket has its
// file from bind(2) on, which is before listen(2).
func listens(socket string) bool {
	c, err := net.Dial("unix", socket)
	if err != nil {
		return false
	}
	c.Close()
	return true
}

// shortTemp is for sockets, whose path has at most 107 bytes (unix(7)).
func shortTemp(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "gp")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// groupOf is the control group for an engine whose directory that is. Containers of another
// run of these tests have the same names, and what pauses one would pause the other.
func groupOf(dir string) string { return "gopipework-" + filepath.Base(dir) }

// wordCase is a guest word and what is to come of it.
type wordCase struct {
	word string
	code fault.Code // "" for a guest
	want Guest      // Runtime, ID, Name, PID, Shares
	text string     // what the error or its hint has to say
}

func checkWords(t *testing.T, f *finder, cases []wordCase) {
	t.Helper()
	for _, tt := range cases {
		r, err := parseWord(tt.word)
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		g, err := f.find(context.Background(), r)
		took := time.Since(start)
		if tt.code != "" {
			if fault.CodeOf(err) != tt.code {
				t.Errorf("%s: got %v, want an error of code %s", tt.word, err, tt.code)
				continue
			}
			if said := fmt.Sprintf("%v (%s)", err, err.(*fault.Error).Hint); !strings.Contains(said, tt.text) {
				t.Errorf("%s: got %s, want it to say %q", tt.word, said, tt.text)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v (%s)", tt.word, err, err.(*fault.Error).Hint)
			continue
		}
		w := tt.want
		if g.Runtime != w.Runtime || g.ID != w.ID || g.Name != w.Name || g.PID != w.PID || g.Shares != w.Shares {
			t.Errorf("%s: got %+v, want %+v", tt.word, g, &w)
		}
		if inode(g) != inodeOf(t, w.PID) || g.Alive() != nil {
			t.Errorf("%s: namespace %d, alive: %v", tt.word, inode(g), g.Alive())
		}
		t.Logf("%s: %v", tt.word, took.Round(10*time.Microsecond))
		g.Close()
	}
}

// worked and counted take the results of a call that has to succeed.
func worked(t *testing.T) func(string, error) string { return checked[string](t) }
func counted(t *testing.T) func(int, error) int      { return checked[int](t) }

func checked[T any](t *testing.T) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// podmanFor sets up a podman of the test's own, for this program too.
func podmanFor(t *testing.T) (p *host.Podman, dir string) {
	t.Helper()
	need(t, "podman", "podman", "conmon", "busybox")
	dir = shortTemp(t)
	p, err := host.NewPodman(host.Machine{}, dir, groupOf(dir))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range p.Env {
		name, value, _ := strings.Cut(e, "=")
		t.Setenv(name, value)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return p, dir
}

func TestLivePodman(t *testing.T) {
	p, dir := podmanFor(t)
	start := func(verb string, args ...string) string {
		t.Helper()
		return worked(t)(p.Start(verb, args...))
	}
	web := start("run", "-d", "--network", "none", "--name", "web")
	joined := start("run", "-d", "--network", "container:web", "--name", "joined")
	start("run", "-d", "--network", "host", "--name", "onhost")
	start("create", "--network", "none", "--name", "fresh")
	start("run", "-d", "--network", "none", "--name", "gone")
	must(t, "podman", "kill", "gone")
	must(t, "podman", "wait", "gone")
	pid, joinedPID := counted(t)(p.PID("web")), counted(t)(p.PID("joined"))
	ambiguous := ""
	for seen := web[:1] + joined[:1]; ambiguous == ""; {
		id := start("create", "--network", "none")
		if strings.Contains(seen, id[:1]) {
			ambiguous = id[:1]
		}
		seen += id[:1]
	}

	cases := func(guest Guest) []wordCase {
		shares := Guest{GuestInfo: guests.GuestInfo{Runtime: "podman", ID: joined, Name: "joined", PID: joinedPID, Shares: web[:12]}}
		return []wordCase{
			{word: "podman:web", want: guest},
			{word: "web", want: guest},
			{word: "podman:" + web, want: guest},
			{word: "podman:" + web[:12], want: guest},
			{word: "podman:joined", want: shares},
			{word: "podman:onhost", code: fault.Conflict, text: "host's network namespace"},
			{word: "podman:fresh", code: fault.Gone, text: "podman start fresh"},
			{word: "fresh", code: fault.Gone, text: "podman start fresh"},
			{word: "podman:gone", code: fault.Gone, text: "has exited, with code 137"},
			{word: "podman:nosuch", code: fault.NotFound, text: "podman ps"},
			{word: "nosuch", code: fault.NotFound, text: "of podman"},
			{word: "podman:" + ambiguous, code: fault.Conflict, text: "starts like that"},
			{word: "docker:web", code: fault.Runtime},
		}
	}
	guest := Guest{GuestInfo: guests.GuestInfo{Runtime: "podman", ID: web, Name: "web", PID: pid}}
	t.Run("command", func(t *testing.T) {
		f := liveFinder(t)
		f.podmanOwn = dir + "/nosuch.sock"
		checkWords(t, f, cases(guest))
	})
	socket := dir + "/podman.sock"
	background(t, "podman", "system", "service", "--time", "0", "unix://"+socket)
	waitFor(t, "service at "+socket, func() bool { return listens(socket) })
	for name, where := range map[string]places{
		"socket":         {podmanOwn: socket},
		"other's socket": {podmanOwn: dir + "/nosuch.sock", podmanOther: socket},
		"CONTAINER_HOST": {podmanHost: "unix://" + socket},
	} {
		t.Run(name, func(t *testing.T) {
			f := liveFinder(t)
			f.places = where // and no command
			checkWords(t, f, cases(guest))
		})
	}
	t.Run("dies", func(t *testing.T) {
		f := liveFinder(t)
		f.podmanOwn = socket
		g, err := f.find(context.Background(), wordRef{Runtime: "podman", Name: "web"})
		if err != nil {
			t.Fatal(err)
		}
		defer g.Close()
		must(t, "podman", "pause", "web")
		checkWords(t, f, []wordCase{{word: "podman:web", want: guest}})
		must(t, "podman", "unpause", "web")
		must(t, "podman", "kill", "web")
		must(t, "podman", "wait", "web") // podman knows of its end
		waitEnded(t, g)
		wantFault(t, g.Alive(), fault.Gone)
		checkWords(t, f, []wordCase{{word: "podman:web", code: fault.Gone}})
	})
}

// The default directory is part of what a name means, so the test uses it, with
// names of its own.
func TestLiveLXC(t *testing.T) {
	need(t, "lxc", "lxc-create", "lxc-start", "lxc-info", "busybox")
	f := liveFinder(t)
	f.places = findPlaces()
	f.containerd, f.podmanOwn, f.cri, f.commands = "", "", nil, nil
	name := fmt.Sprintf("gopipework-test-%d", os.Getpid())
	l := host.NewLXC()
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	pid := counted(t)(l.Start(name))
	guest := Guest{GuestInfo: guests.GuestInfo{Runtime: "lxc", ID: name, Name: name, PID: pid}}
	checkWords(t, f, []wordCase{
		{word: "lxc:" + name, want: guest},
		{word: name, want: guest},
		{word: "lxc:" + name + "-none", code: fault.NotFound, text: "lxc-ls"},
		{word: name + "-none", code: fault.NotFound},
	})
	must(t, "lxc-freeze", "-n", name)
	checkWords(t, f, []wordCase{{word: "lxc:" + name, want: guest}})
	must(t, "lxc-unfreeze", "-n", name)

	g, err := f.find(context.Background(), wordRef{Runtime: "lxc", Name: name})
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	must(t, "lxc-stop", "-k", "-n", name)
	waitEnded(t, g)
	waitFor(t, "end", func() bool {
		state, _ := try("lxc-info", "-n", name, "-sH")
		return state == "STOPPED"
	})
	checkWords(t, f, []wordCase{
		{word: "lxc:" + name, code: fault.Gone, text: "lxc-start -n " + name},
		{word: name, code: fault.Gone, text: "lxc-start -n " + name},
	})
}

// containerdFor starts a containerd of the test's own.
func containerdFor(t *testing.T) (c *host.Containerd, ctr func(args ...string) string) {
	t.Helper()
	need(t, "containerd", "containerd", "ctr", "runc", "busybox")
	dir := shortTemp(t)
	c, err := host.NewContainerd(host.Machine{}, dir, groupOf(dir))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c, func(args ...string) string {
		t.Helper()
		return worked(t)(c.Ctr(args...))
	}
}

func TestLiveContainerd(t *testing.T) {
	c, ctr := containerdFor(t)
	f := liveFinder(t)
	f.places = places{containerd: c.Socket}
	run := func(namespace, id string, args ...string) int {
		t.Helper()
		return counted(t)(c.Run(namespace, id, args...))
	}
	guest := func(id, name string, pid int) Guest {
		return Guest{GuestInfo: guests.GuestInfo{Runtime: "containerd", ID: id, Name: name, PID: pid}}
	}
	web := guest("web", "web", run("default", "web"))
	blue := guest(webID, "blue", run("default", webID, "--label", "nerdctl/name=blue"))
	two := guest("two", "two", run("other", "two"))
	run("default", "two")
	whale := guest(otherID, otherID[:12], run("moby", otherID))
	run("default", "onhost", "--net-host")
	run("default", "gone")
	ctr("-n", "default", "tasks", "kill", "-s", "KILL", "gone")
	ctr("-n", "default", "containers", "create", "--rootfs", c.Rootfs(), "fresh", "/bin/sleep", "1")
	t.Cleanup(func() { ctr("-n", "default", "containers", "rm", "fresh") })
	waitFor(t, "end", func() bool { return strings.Contains(ctr("tasks", "ls"), "STOPPED") })
	checkWords(t, f, []wordCase{
		{word: "containerd:web", want: web},
		{word: "containerd:default/web", want: web},
		{word: "web", want: web},
		{word: "containerd:blue", want: blue},
		{word: "blue", want: blue},
		{word: "containerd:" + webID[:6], want: blue},
		{word: "containerd:other/two", want: two},
		{word: "containerd:two", code: fault.Conflict, text: "containerd:default/two or containerd:other/two"},
		{word: "two", code: fault.Conflict, text: "containerd:default/two or containerd:other/two"},
		{word: "containerd:we", code: fault.NotFound},
		{word: "containerd:other/web", code: fault.NotFound},
		{word: "containerd:nosuch/web", code: fault.NotFound},
		{word: "nosuch", code: fault.NotFound, text: "of containerd"},
		{word: "containerd:onhost", code: fault.Conflict, text: "host's network namespace"},
		{word: "containerd:gone", code: fault.Gone, text: "exited, with code 137"},
		{word: "containerd:fresh", code: fault.Gone, text: "ctr -n default tasks start -d fresh"},
		// Docker's own are Docker's, unless they are asked for.
		{word: "containerd:" + otherID, want: whale},
		{word: otherID, code: fault.NotFound},
	})
	ctr("tasks", "pause", "web")
	checkWords(t, f, []wordCase{{word: "containerd:web", want: web}})
	ctr("tasks", "resume", "web")
}

// containerd's CRI, asked to run a pod by the very calls that ask about it.
func TestLiveCRI(t *testing.T) {
	daemon, _ := containerdFor(t)
	group := groupOf(filepath.Dir(daemon.Socket)) + "-cri"
	if err := daemon.ImportPause(); err != nil {
		t.Fatal(err)
	}
	c := newCaller(context.Background(), daemon.Socket)
	defer c.close()
	call := func(method string, request []byte) protobuf {
		t.Helper()
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
		defer cancel()
		answer, err := c.call(ctx, "", "runtime.v1.RuntimeService/"+method, request)
		if err != nil {
			t.Fatalf("%s: %v", method, err)
		}
		return answer
	}
	sub := func(id protowire.Number, parts ...[]byte) []byte {
		return appendText(nil, id, string(slices.Concat(parts...)))
	}
	// PodSandboxConfig: 1 metadata{1 name, 2 uid, 3 namespace}, 8 linux{1 cgroup_parent,
	// 2 security_context{1 namespace_options{1 network}}}.
	pod := func(name string, network uint64) (id string, config []byte) {
		t.Helper()
		config = slices.Concat(
			sub(1, appendText(nil, 1, name), appendText(nil, 2, name), appendText(nil, 3, "test")),
			sub(8, appendText(nil, 1, "/"+group), sub(2, sub(1, appendNumber(nil, 1, network)))))
		id = call("RunPodSandbox", sub(1, config)).text(1)
		t.Cleanup(func() {
			call("StopPodSandbox", appendText(nil, 1, id))
			call("RemovePodSandbox", appendText(nil, 1, id))
		})
		return id, config
	}
	t.Cleanup(func() { host.RemoveCgroup(group) })
	podID, podConfig := pod("pod", 0)
	hostID, _ := pod("hostpod", 2)
	// ContainerConfig: 1 metadata{1 name}, 2 image{1 image}, 3 command.
	create := func(name string) string {
		t.Helper()
		config := slices.Concat(sub(1, appendText(nil, 1, name)), sub(2, appendText(nil, 1, host.PauseImage)))
		return call("CreateContainer", slices.Concat(appendText(nil, 1, podID), sub(2, config), sub(3, podConfig))).text(1)
	}
	web, fresh := create("web"), create("fresh")
	call("StartContainer", appendText(nil, 1, web))
	taskPID := func(id string) int {
		t.Helper()
		return counted(t)(daemon.PID("k8s.io", id))
	}
	f := liveFinder(t)
	f.places = places{cri: []string{"/nonexistent/sock", daemon.Socket}, containerd: daemon.Socket}
	inPod := Guest{GuestInfo: guests.GuestInfo{Runtime: "cri", ID: web, Name: "web", PID: taskPID(web), Shares: podID[:12]}}
	ofPod := Guest{GuestInfo: guests.GuestInfo{Runtime: "cri", ID: podID, Name: "pod", PID: taskPID(podID)}}
	cases := []wordCase{
		{word: "cri:" + web, want: inPod},
		{word: "cri:" + web[:13], want: inPod},
		{word: web[:13], want: inPod},
		{word: "cri:" + podID, want: ofPod},
		{word: podID[:12], want: ofPod},
		{word: "containerd:k8s.io/" + web, want: Guest{GuestInfo: guests.GuestInfo{Runtime: "containerd", ID: web, Name: web[:12], PID: inPod.PID}}},
		{word: "cri:" + hostID, code: fault.Conflict, text: "host's network namespace"},
		{word: "cri:" + fresh, code: fault.Gone, text: "not started yet"},
		{word: "cri:" + otherID, code: fault.NotFound, text: "no such pod"},
		{word: "cri:web", code: fault.NotFound},
		{word: "web", code: fault.NotFound},
	}
	checkWords(t, f, cases)
	call("StopContainer", appendText(nil, 1, web)) // 2 timeout: none
	checkWords(t, f, []wordCase{{word: "cri:" + web, code: fault.Gone, text: "exited, with code 137"}})
	call("StopPodSandbox", appendText(nil, 1, podID))
	checkWords(t, f, []wordCase{{word: "cri:" + podID, code: fault.Gone, text: "not ready"}})
}
