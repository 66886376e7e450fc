package attach

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gopipework/gopipework/internal/ours"
	"golang.org/x/sys/unix"
)

// isMount reports whether something is mounted at the path, as an engine mounts a namespace.
func isMount(path string) bool {
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	return err == nil && strings.Contains(string(mounts), " "+path+" ")
}

// TestNamesOfNothing: what has the name of a namespace and is none is passed by,
// also if it becomes that between two looks. Nothing is opened that could wait.
func TestNamesOfNothing(t *testing.T) {
	needRoot(t)
	ns := newNamespace(t)
	dir := t.TempDir()
	was := ours.NamedNamespaces
	ours.NamedNamespaces = []string{dir}
	t.Cleanup(func() { ours.NamedNamespaces = was })
	good := "/proc/self/fd/" + strconv.Itoa(int(ns.Fd()))
	path := func(name string) string { return filepath.Join(dir, name) }
	if err := errors.Join(unix.Mkfifo(path("fifo"), 0o600), os.Symlink("/dev/zero", path("device")), os.Symlink("/proc/self/ns/uts", path("uts")),
		os.Mkdir(path("directory"), 0o700), os.WriteFile(path("file"), nil, 0o600), os.Symlink("nowhere", path("link")),
		os.Symlink(good, path("good"))); err != nil {
		t.Fatal(err)
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(ns.Fd()), &st); err != nil {
		t.Fatal(err)
	}
	seen := func() (found bool) {
		ours.WalkNamespaces(nil, nil, func(n *ours.Namespace) (keep, more bool) {
			found = found || n.Inode == st.Ino
			if n.PID == 0 && n.Inode != st.Ino && !isMount(n.Path) {
				t.Errorf("%s is taken for a namespace", n.Path)
			}
			return false, true
		})
		return found
	}
	done := make(chan bool)
	go func() {
		if !seen() {
			t.Error("the namespace among them was not found")
		}
		// Now a FIFO and the namespace take turns under one name.
		stop := make(chan struct{})
		turned := make(chan struct{})
		go func() {
			defer close(turned)
			for {
				select {
				case <-stop:
					return
				default:
				}
				_ = unix.Mkfifo(path(".fifo"), 0o600)
				_ = os.Rename(path(".fifo"), path("good"))
				_ = os.Symlink(good, path(".good"))
				_ = os.Rename(path(".good"), path("good"))
			}
		}()
		for end := time.Now().Add(500 * time.Millisecond); time.Now().Before(end); {
			seen()
		}
		close(stop)
		<-turned
		done <- true
	}()
	select {
	case <-done:
	case <-time.After(2 * time.Minute):
		t.Fatal("it hangs")
	}
}
