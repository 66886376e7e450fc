package lease

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/gopipework/gopipework/internal/nsfs"
	"golang.org/x/sys/unix"
)

// Guest is a network namespace whose leases are kept, and how to see that it is still
// in use.
type Guest struct {
	Namespace *os.File
	PID       int    // its process, seen from here; 0 if it has none
	Path      string // the file of the namespace, where there is no process
	Word      string // what a user calls it; "": by its process or path
}

// identity is a Guest in the form in which it is recorded. The cookie alone says which
// namespace it is; the rest is how to find it again.
type identity struct {
	Cookie uint64 `json:"cookie"`
	PID    int    `json:"pid,omitempty"`
	PIDs   uint64 `json:"pids,omitempty"`  // inode of the PID namespace that has it; 0: not known
	Start  uint64 `json:"start,omitempty"` // of the process, in ticks since boot
	Path   string `json:"path,omitempty"`
}

var (
	errGone   = errors.New("the guest has ended")
	errHidden = errors.New("the guest's process cannot be seen from this PID namespace")
)

func (g Guest) identity() (identity, error) {
	in, err := enter(g.Namespace)
	if err != nil {
		return identity{}, err
	}
	defer in.End()
	id := identity{PID: g.PID, Path: g.Path}
	id.Cookie, err = in.cookie()
	if err != nil || g.PID == 0 {
		return id, err
	}
	id.PIDs = nsfs.PIDs()
	id.Start, err = started(g.PID)
	return id, err
}

// find opens the guest that was recorded; the error is errGone if it has ended, and errHidden
// if that cannot be told here. The caller closes the namespace.
func (id identity) find() (Guest, error) {
	if !nsfs.Counts(id.PIDs) {
		return Guest{}, errHidden
	}
	g := Guest{PID: id.PID, Path: id.Path}
	path := id.Path
	if id.PID != 0 {
		path = nsfs.OfProcess(id.PID)
	}
	var err error
	g.Namespace, err = openNamespace(path)
	if err != nil {
		return Guest{}, err
	}
	now, err := g.identity()
	if id.PIDs == 0 {
		now.PIDs = 0
	}
	if err == nil && now != id {
		err = errGone
	}
	if err != nil {
		g.Namespace.Close()
		return Guest{}, err
	}
	return g, nil
}

// openNamespace opens a namespace's file; errGone if there is none there.
func openNamespace(path string) (*os.File, error) {
	f, err := nsfs.Open(path, 0)
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ESRCH) || errors.Is(err, nsfs.ErrNoNamespace) {
		return nil, errGone // "ip netns delete" leaves a plain file for a moment
	}
	return f, err
}

// started is field 22 of proc_pid_stat(5). Field 2 is of the process's own
// choice and may hold anything; its last ')' ends it.
func started(pid int) (uint64, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, errGone
	}
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(fields) < 20 {
		return 0, fmt.Errorf("read start of process %d: stat is short", pid)
	}
	return strconv.ParseUint(fields[19], 10, 64)
}

// isAt reports whether the file at path is still the guest's namespace.
func (g Guest) isAt(path string) bool { return nsfs.Is(g.Namespace, path) }
