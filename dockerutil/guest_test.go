package dockerutil

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gopipework/gopipework/e2e/host"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/guests"
)

func TestProcess(t *testing.T) {
	child := startGuest(t)
	pid := child.Process.Pid
	g, err := Find(context.Background(), processRef(pid).String())
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	word := fmt.Sprintf("pid:%d", pid)
	if g.Runtime != "pid" || g.ID != fmt.Sprint(pid) || g.Name != word || g.PID != pid || g.Path != "" {
		t.Errorf("got %+v", g)
	}
	if inode(g) != inodeOf(t, pid) {
		t.Errorf("got inode %d, want %d", inode(g), inodeOf(t, pid))
	}
	for _, f := range []*os.File{g.Namespace, processOf(g).fd} {
		flags, err := unix.FcntlInt(f.Fd(), unix.F_GETFD, 0)
		if err != nil || flags&unix.FD_CLOEXEC == 0 {
			t.Errorf("%s: descriptor flags %#x, %v; want close-on-exec", f.Name(), flags, err)
		}
	}

	// Before kernel 6.11 the namespace is opened by its path.
	ns, err := processOf(g).netnsByPath()
	if err != nil {
		t.Fatal(err)
	}
	defer ns.Close()
	if a, b := stat(t, ns), stat(t, g.Namespace); !os.SameFile(a, b) {
		t.Error("the two ways to open a namespace find different ones")
	}

	if err := g.Alive(); err != nil {
		t.Error(err)
	}
	child.Process.Kill()
	waitEnded(t, g) // not reaped yet: a zombie has ended
	wantFault(t, g.Alive(), fault.Gone)
	if _, err := processOf(g).netns(); !errors.Is(err, errEnded) {
		t.Errorf("the namespace of a zombie: %v", err)
	}
	if _, err := processOf(g).netnsByPath(); !errors.Is(err, errEnded) {
		t.Errorf("the namespace of a zombie, by path: %v", err)
	}
	_, err = Find(context.Background(), processRef(pid).String())
	wantFault(t, err, fault.Gone)
	child.Wait()
	wantFault(t, g.Alive(), fault.Gone)
	_, err = Find(context.Background(), processRef(pid).String())
	wantFault(t, err, fault.NotFound)
	if inode(g) == 0 {
		t.Error("the descriptor does not hold the namespace")
	}
}

func stat(t *testing.T, f *os.File) os.FileInfo {
	t.Helper()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	return info
}

func waitEnded(t *testing.T, g *Guest) {
	t.Helper()
	if !host.Poll(30*time.Second, func() bool { return g.Alive() != nil }) {
		t.Fatal("the process does not end")
	}
}

func TestProcessStart(t *testing.T) {
	before := time.Now()
	p, err := openProcess(startGuest(t).Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	defer p.close()
	after := time.Now()
	start, err := p.started("/proc")
	if err != nil || start.Before(before.Add(-time.Second)) || start.After(after.Add(time.Second)) {
		t.Errorf("started %v, %v; want between %v and %v", start, err, before, after)
	}
	for offset, want := range map[time.Duration]bool{-time.Minute: false, 0: true, 5 * time.Second: true, time.Minute: false} {
		if got := p.startedAt(start.Add(offset), "/proc"); got != want {
			t.Errorf("startedAt(%v later) = %v", offset, got)
		}
	}
}

// A thread that is not its process's first has a number, and is no process.
func TestThread(t *testing.T) {
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil || len(tasks) < 2 {
		t.Fatal("a Go program has threads: ", err)
	}
	for _, task := range tasks {
		var tid int
		fmt.Sscan(task.Name(), &tid)
		_, err := Find(context.Background(), processRef(tid).String())
		if tid == os.Getpid() {
			wantFault(t, err, fault.Conflict)
		} else {
			wantFault(t, err, fault.NotFound)
		}
	}
}

func TestHostIsRefused(t *testing.T) {
	words := []string{fmt.Sprintf("pid:%d", os.Getpid()), "/proc/self/ns/net", "/proc/thread-self/ns/net"}
	if _, err := os.Stat("/proc/1/ns/net"); err == nil {
		words = append(words, "pid:1", "/proc/1/ns/net")
	}
	for _, word := range words {
		r, err := parseWord(word)
		if err != nil {
			t.Fatal(err)
		}
		_, err = Find(context.Background(), r.String())
		wantFault(t, err, fault.Conflict)
	}
}

func TestPath(t *testing.T) {
	pid := startGuest(t).Process.Pid
	path := fmt.Sprintf("/proc/%d/ns/net", pid)
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{path, link} {
		g, err := Find(context.Background(), wordRef{Runtime: RuntimePath, Name: p}.String())
		if err != nil {
			t.Fatal(err)
		}
		if g.Runtime != "path" || len(g.ID) != 12 || g.Name != p || g.Path != p || g.PID != 0 || inode(g) != inodeOf(t, pid) || g.Alive() != nil {
			t.Errorf("got %+v", g)
		}
		flags, err := unix.FcntlInt(g.Namespace.Fd(), unix.F_GETFD, 0)
		if err != nil || flags&unix.FD_CLOEXEC == 0 {
			t.Errorf("descriptor flags %#x, %v; want close-on-exec", flags, err)
		}
		g.Close()
	}
}

func TestPathIsNoNamespace(t *testing.T) {
	dir := t.TempDir()
	file, fifo := filepath.Join(dir, "file"), filepath.Join(dir, "fifo")
	writeFile(t, file, "")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/", dir, file, fifo, file + "/x", dir + "/none", "/dev/null", "/proc/self/ns/mnt", "/proc/self/ns/user"} {
		_, err := Find(context.Background(), wordRef{Runtime: RuntimePath, Name: path}.String())
		wantFault(t, err, fault.NotFound)
	}
}

// mountNetNS does what "ip netns add" does: it makes a namespace and mounts it
// on an empty file.
func mountNetNS(t *testing.T, path string) *exec.Cmd {
	t.Helper()
	host.NeedRoot(t) // it mounts a namespace
	child := startGuest(t)
	writeFile(t, path, "")
	if err := unix.Mount(fmt.Sprintf("/proc/%d/ns/net", child.Process.Pid), path, "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Unmount(path, unix.MNT_DETACH) })
	return child
}

func TestNamed(t *testing.T) {
	f := testFinder(t)
	path := f.named[0] + "/blue"
	pid := mountNetNS(t, path).Process.Pid
	startEngine(t, message(404, "No such container: blue"))
	for _, r := range []wordRef{{Runtime: "netns", Name: "blue"}, {Name: "blue"}} {
		g, err := f.find(context.Background(), r)
		if err != nil {
			t.Fatal(err)
		}
		if g.Runtime != "netns" || g.ID != "blue" || g.Name != "blue" || g.Path != path || g.PID != 0 || inode(g) != inodeOf(t, pid) {
			t.Errorf("got %+v", g)
		}
		g.Close()
	}

	// Docker asked first, and not there; and there, but out of order.
	t.Setenv("DOCKER_HOST", "unix:///nonexistent/sock")
	g, err := f.find(context.Background(), wordRef{Name: "blue"})
	if err != nil {
		t.Fatal(err)
	}
	g.Close()
	startEngine(t, message(500, "out of order"))
	_, err = f.find(context.Background(), wordRef{Name: "blue"})
	wantFault(t, err, fault.Runtime)
}

func TestNamedSecondDirectory(t *testing.T) {
	f := testFinder(t)
	f.named = append(f.named, filepath.Join(t.TempDir(), "var"))
	mountNetNS(t, f.named[1]+"/blue")
	g, err := f.find(context.Background(), wordRef{Runtime: "netns", Name: "blue"})
	if err != nil {
		t.Fatal(err)
	}
	g.Close()
}

// What "ip netns del" leaves when the mount is gone and the file is not, and a
// link, as pipework made them: neither is a name.
func TestNamedFiles(t *testing.T) {
	f := testFinder(t)
	writeFile(t, f.named[0]+"/file", "")
	if err := os.Symlink(fmt.Sprintf("/proc/%d/ns/net", startGuest(t).Process.Pid), f.named[0]+"/link"); err != nil {
		t.Fatal(err)
	}
	startEngine(t, message(404, "No such container"))
	for _, name := range []string{"file", "link"} {
		for _, r := range []wordRef{{Runtime: "netns", Name: name}, {Name: name}} {
			_, err := f.find(context.Background(), r)
			wantFault(t, err, fault.NotFound)
			if !errors.Is(err, errNoNamespace) {
				t.Errorf("%s: got %v", r, err)
			}
		}
	}
	_, err := f.find(context.Background(), wordRef{Runtime: "netns", Name: "none"})
	wantFault(t, err, fault.NotFound)
	if !strings.Contains(err.Error(), "no namespace of that name in "+f.named[0]) {
		t.Errorf("got %v", err)
	}
}

// Nothing stays open: not after success and Close, and not after a refusal.
func TestNoDescriptorLeaks(t *testing.T) {
	child := startGuest(t).Process.Pid
	f := testFinder(t)
	setCgroup(t, f, child, "0::/docker/"+webID+"\n")
	startEngine(t, inTurn(object{PID: child}))
	refs := []wordRef{
		web,
		processRef(child),
		processRef(os.Getpid()),
		{Runtime: RuntimePath, Name: fmt.Sprintf("/proc/%d/ns/net", child)},
		{Runtime: RuntimePath, Name: "/proc/self/ns/net"},
		{Runtime: RuntimePath, Name: "/proc/self/ns/mnt"},
		{Runtime: RuntimeNetNS, Name: "none"},
	}
	round := func() {
		for _, r := range refs {
			if g, err := f.find(context.Background(), r); err == nil {
				g.Close()
			}
		}
	}
	round() // opens what the Go runtime keeps
	before := openFiles(t)
	for range 100 {
		round()
	}
	// The fake engine closes its ends of the connections when it sees ours go.
	if !host.Poll(30*time.Second, func() bool { return openFiles(t) <= before }) {
		t.Fatalf("%d descriptors before, %d after", before, openFiles(t))
	}
}

func openFiles(t *testing.T) int {
	t.Helper()
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(fds)
}

// processOf returns the process that the guest's namespace belongs to.
func processOf(g *Guest) *process { return guests.OwnerOf(g).(owner).process }

// inode returns that of the guest's namespace, or 0 once the guest is closed.
func inode(g *Guest) uint64 {
	var st unix.Stat_t
	if unix.Fstat(int(g.Namespace.Fd()), &st) != nil {
		return 0
	}
	return st.Ino
}
