package hostclient

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/gopipework/gopipework/internal/nsfs"
	"github.com/gopipework/gopipework/internal/plainfile"
	"golang.org/x/sys/unix"
)

// pidDir is where pid files are; /var/run is the same directory.
var pidDir = "/run"

// usualName is that of the interface whose pid file does not name it.
const usualName = "eth1"

// pidFiles are the paths that the client's pid file may have: that of pipework, or if
// another guest's client has that, one that is nobody else's. No name of a guest
// or an interface has a '~'.
func (r Run) pidFiles() []string {
	name := r.Ask.Client + "." + strings.ReplaceAll(r.Guest, "/", "_")
	if r.IfName != usualName {
		name += "." + r.IfName
	}
	sum := sha256.Sum256([]byte(strconv.Itoa(r.PID) + "\x00" + r.Path + "\x00" + r.IfName))
	path := filepath.Join(pidDir, name)
	return []string{path + ".pid", path + "~" + hex.EncodeToString(sum[:4]) + ".pid"}
}

// same says whether two runs are for one interface of one guest.
func (r Run) same(o Run) bool {
	return r.PID == o.PID && r.Path == o.Path && r.Index == o.Index && r.Ask.Client == o.Ask.Client
}

var errTaken = errors.New("another process has the pid file")

// claim makes and locks the pid file of a run. It skips a name that another guest's
// client has, and fails if the name belongs to a client that nobody looks after, as
// pipework starts them.
func (r Run) claim() (f *os.File, err error) {
	for _, path := range r.pidFiles() {
		if f, err = claim(path, r.Ask.Client); err == nil {
			r.sign(f)
			return f, nil
		}
		if holder, ok := holderOf(path); !ok || holder.same(r) {
			return nil, err
		}
	}
	return nil, err
}

// claim makes the pid file and locks it. One that is there and unlocked is
// somebody else's while the process that it names is such a client.
func claim(path, client string) (*os.File, error) {
	for {
		f, err := plainfile.Open(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW)
		if err != nil {
			return nil, err
		}
		if locked(f) || alive(readPID(f), client) || !lock(f) {
			f.Close()
			return nil, fmt.Errorf("%s: %w", path, errTaken)
		}
		if is(f, path) {
			return f, nil
		}
		f.Close() // its holder ended and removed the file before we had the lock
	}
}

func is(f *os.File, path string) bool {
	var locked, named unix.Stat_t
	return unix.Fstat(int(f.Fd()), &locked) == nil && unix.Stat(path, &named) == nil && locked.Ino == named.Ino && locked.Dev == named.Dev
}

// The lock of a pid file is one of an open file (F_OFD_SETLK, fcntl(2)): whether
// it is held can be asked without taking it, so that reading a file, which may be
// another program's, keeps nobody from locking it.
func lock(f *os.File) bool {
	l := unix.Flock_t{Type: unix.F_WRLCK}
	return unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &l) == nil
}

func locked(f *os.File) bool {
	l := unix.Flock_t{Type: unix.F_WRLCK}
	return unix.FcntlFlock(f.Fd(), unix.F_OFD_GETLK, &l) == nil && l.Type != unix.F_UNLCK
}

// signature is the attribute of a pid file that says whose it is, also when the
// process that looked after the client was killed.
const signature = "trusted.gopipework.client"

// sign writes it. On a file system that has no attributes a file that
// stays is just not known to be ours.
func (r Run) sign(f *os.File) {
	if b, err := json.Marshal(r); err == nil {
		_ = unix.Fsetxattr(int(f.Fd()), signature, b, 0)
	}
}

func signed(f *os.File) (r Run, ok bool) {
	b := make([]byte, 4096)
	n, err := unix.Fgetxattr(int(f.Fd()), signature, b)
	return r, err == nil && json.Unmarshal(b[:n], &r) == nil
}

// abandoned opens a pid file of ours whose client has lost the process that looked
// after it.
func abandoned(path string) (f *os.File, r Run, ok bool) {
	f, err := plainfile.Open(path, os.O_RDWR|unix.O_NOFOLLOW)
	if err != nil {
		return nil, r, false
	}
	if r, ok = signed(f); !ok || locked(f) {
		f.Close()
		return nil, r, false
	}
	return f, r, true
}

// Left reports whether a client was run for the interface whose looker-after was
// killed, as Ask says.
func (r Run) Left() bool {
	for _, path := range r.pidFiles() {
		if f, was, ok := abandoned(path); ok {
			f.Close()
			if was.same(r) && was.Ask.Equal(r.Ask) {
				return true
			}
		}
	}
	return false
}

// Sweep removes the pid files of clients whose looker-after was killed. The
// client has ended with it.
func Sweep() error {
	paths, err := pidPaths()
	for _, path := range paths {
		f, _, ok := abandoned(path)
		if !ok {
			continue
		}
		if lock(f) && is(f, path) {
			err = errors.Join(err, os.Remove(path))
		}
		f.Close()
	}
	return err
}

// alive reports whether a process is a running client, and not one that has ended and
// that its parent has yet to reap.
func alive(pid int, client string) bool {
	return pid > 0 && nsfs.Command(pid) == client && state(pid) != "Z"
}

// readPID returns the number in a pid file, 0 if there is none.
func readPID(f *os.File) int {
	var b [32]byte
	n, _ := f.ReadAt(b[:], 0)
	pid, _ := strconv.Atoi(strings.TrimSpace(string(b[:n])))
	return pid
}

func writePID(f *os.File, pid int) error {
	if err := f.Truncate(0); err != nil {
		return err
	}
	_, err := f.WriteAt([]byte(strconv.Itoa(pid)+"\n"), 0)
	return err
}

// Running is a client that stays, and the process that looks after it.
type Running struct {
	Run
	pid, minder int // processes
}

// In reports whether the client runs in a network namespace.
func (r Running) In(ns *os.File) bool { return nsfs.Is(ns, nsfs.OfProcess(r.pid)) }

// pidPaths are the files that may be pid files of clients.
func pidPaths() (all []string, err error) {
	for _, name := range slices.Sorted(maps.Keys(clients)) {
		paths, err := filepath.Glob(filepath.Join(pidDir, name+".*.pid"))
		if err != nil {
			return nil, err
		}
		all = append(all, paths...)
	}
	return all, nil
}

// All returns the clients that run, in whatever namespace.
func All() ([]Running, error) { return find(func(Running) bool { return true }) }

// Find returns the clients that run in a network namespace.
func Find(ns *os.File) ([]Running, error) { return find(func(r Running) bool { return r.In(ns) }) }

func find(matters func(Running) bool) ([]Running, error) {
	var all []Running
	paths, err := pidPaths()
	for _, path := range paths {
		if r, ok := running(path, matters); ok {
			all = append(all, r)
		}
	}
	return all, err
}

// running reads one pid file. Only one that is locked is believed, and only if
// the parent of the process that it names says that it is its own. What cannot be
// read is none of ours.
func running(path string, matters func(Running) bool) (r Running, ok bool) {
	pid, held := readHeld(path)
	if r.pid = pid; !held || !matters(r) {
		return r, false
	}
	r.minder = parent(pid)
	r.Run, ok = minded(r.minder)
	return r, ok && slices.Contains(r.pidFiles(), path)
}

// holderOf returns the client that a locked pid file names. One that is locked
// and tells nothing yet is another guest's, for each is worked on by one run at a
// time.
func holderOf(path string) (r Run, held bool) {
	pid, held := readHeld(path)
	if held {
		r, _ = minded(parent(pid))
	}
	return r, held
}

// readHeld reads a pid file that is locked.
func readHeld(path string) (pid int, held bool) {
	f, err := plainfile.Open(path, os.O_RDONLY|unix.O_NOFOLLOW)
	if err != nil {
		return 0, false
	}
	defer f.Close()
	return readPID(f), locked(f)
}

// parent and state are fields 4 and 3 of proc_pid_stat(5), 0 and "" if there is no
// such process.
func parent(pid int) int {
	n, _ := strconv.Atoi(stat(pid, 1))
	return n
}

func state(pid int) string { return stat(pid, 0) }

func stat(pid, field int) string {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return ""
	}
	fields := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	if len(fields) <= field {
		return ""
	}
	return fields[field]
}

// minded returns what a process looks after, by its command line.
func minded(pid int) (r Run, ok bool) {
	line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil {
		return r, false
	}
	words := strings.Split(string(line), "\x00")
	i := slices.Index(words, Word)
	return r, i == 1 && len(words) > 2 && json.Unmarshal([]byte(words[2]), &r) == nil
}
