package hostclient

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// pidDir is where pid files are; /var/run is the same directory.
var pidDir = "/run"

// usualName is that of the interface whose pid file does not name it.
const usualName = "eth1"

// pidFile is the path that tells of the client.
func (r Run) pidFile() string {
	name := r.Ask.Client + "." + strings.ReplaceAll(r.Guest, "/", "_")
	if r.IfName != usualName {
		name += "." + r.IfName
	}
	return filepath.Join(pidDir, name+".pid")
}

var errTaken = errors.New("another process has the pid file")

// claim makes the pid file and locks it. One that is there and unlocked is
// somebody else's while the process that it names is such a client.
func claim(path, client string) (*os.File, error) {
	for {
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0o600)
		if err != nil {
			return nil, err
		}
		taken := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) != nil
		if pid := readPID(f); !taken && pid > 0 && command(pid) == client {
			taken = true
		}
		if taken {
			f.Close()
			return nil, fmt.Errorf("%s: %w", path, errTaken)
		}
		var locked, named unix.Stat_t
		if unix.Fstat(int(f.Fd()), &locked) == nil && unix.Stat(path, &named) == nil && locked.Ino == named.Ino {
			return f, nil
		}
		f.Close() // its holder ended, and removed it, before we had it
	}
}

// command is the name of a process (proc_pid_comm(5)); "" if there is none.
func command(pid int) string {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	return strings.TrimSpace(string(b))
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

// A Running is a client that stays, and who looks after it.
type Running struct {
	Run
	minder int // process
}

// Find returns the clients that run in a network namespace.
func Find(ns *os.File) ([]Running, error) {
	var all []Running
	for _, name := range slices.Sorted(maps.Keys(clients)) {
		paths, err := filepath.Glob(filepath.Join(pidDir, name+".*.pid"))
		if err != nil {
			return nil, err
		}
		for _, path := range paths {
			r, ok, err := running(path, ns)
			if err != nil {
				return nil, err
			}
			if ok {
				all = append(all, r)
			}
		}
	}
	return all, nil
}

// running reads one pid file. Only one that is locked is believed, and only if
// the parent of the process that it names says that it is its own.
func running(path string, ns *os.File) (r Running, ok bool, err error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ELOOP) {
		return r, false, nil
	}
	if err != nil {
		return r, false, err
	}
	defer f.Close()
	if unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB) == nil {
		return r, false, nil // nobody looks after it: another's, or killed
	}
	pid := readPID(f)
	var here, there unix.Stat_t
	if pid <= 0 || unix.Fstat(int(ns.Fd()), &here) != nil ||
		unix.Stat(fmt.Sprintf("/proc/%d/ns/net", pid), &there) != nil || here.Ino != there.Ino || here.Dev != there.Dev {
		return r, false, nil
	}
	r.minder = parent(pid)
	r.Run, ok = minded(r.minder)
	return r, ok && r.pidFile() == path, nil
}

// parent is field 4 of proc_pid_stat(5), 0 if there is no such process.
func parent(pid int) int {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(fields) < 2 {
		return 0
	}
	n, _ := strconv.Atoi(fields[1])
	return n
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
