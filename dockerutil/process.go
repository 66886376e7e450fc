package dockerutil

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gopipework/gopipework/internal/lazyregexp"
	"golang.org/x/sys/unix"
)

var (
	errNoProcess = errors.New("no such process")
	errThread    = errors.New("this is a thread, not a process")
	errEnded     = errors.New("it has ended")
)

// process is a process held by a pidfd. A PID can be reused, but a pidfd always means the
// same process (pidfd_open(2)).
type process struct {
	pid int
	fd  *os.File
}

// openProcess opens a pidfd of process pid. A pidfd is always close-on-exec.
func openProcess(pid int) (*process, error) {
	fd, err := unix.PidfdOpen(pid, 0)
	switch {
	case err == nil:
		return &process{pid: pid, fd: os.NewFile(uintptr(fd), fmt.Sprintf("pidfd:%d", pid))}, nil
	case errors.Is(err, unix.ESRCH):
		return nil, errNoProcess
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.ENOENT):
		// It is the ID of a thread that is not the first one of its process. Newer
		// kernels say ENOENT, older ones EINVAL.
		return nil, errThread
	}
	return nil, os.NewSyscallError("pidfd_open", err)
}

// close closes the pidfd. It does nothing for nil.
func (p *process) close() error {
	if p == nil {
		return nil
	}
	return p.fd.Close()
}

// alive returns errEnded if the process has ended, else nil. A pidfd polls readable as soon
// as the process has ended, even if nobody has reaped it. kill(pid, 0) would still find
// the zombie.
func (p *process) alive() error {
	fds := []unix.PollFd{{Fd: int32(p.fd.Fd()), Events: unix.POLLIN}}
	for {
		n, err := unix.Poll(fds, 0)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return os.NewSyscallError("poll", err)
		case n == 0:
			return nil
		case fds[0].Revents&unix.POLLNVAL != 0:
			return os.ErrClosed
		}
		return errEnded
	}
}

// pidfdGetNetNamespace is PIDFD_GET_NET_NAMESPACE, _IO(0xFF, 4) of linux/pidfd.h. What _IO
// adds to the two bytes differs between architectures, and is taken from NS_GET_NSTYPE,
// which is _IO(0xB7, 3).
const pidfdGetNetNamespace = unix.NS_GET_NSTYPE - 0xB703 + 0xFF04

// netns opens the process's network namespace.
func (p *process) netns() (*os.File, error) {
	fd, err := unix.IoctlRetInt(int(p.fd.Fd()), pidfdGetNetNamespace)
	switch {
	case err == nil:
		// The kernel makes the descriptor close-on-exec (fs/nsfs.c).
		return os.NewFile(uintptr(fd), fmt.Sprintf("/proc/%d/ns/net", p.pid)), nil
	case errors.Is(err, unix.ESRCH):
		return nil, errEnded
	case errors.Is(err, unix.ENOTTY), errors.Is(err, unix.EINVAL):
		return p.netnsByPath() // before kernel 6.11
	}
	return nil, fmt.Errorf("open namespace of process %d: %w", p.pid, err)
}

// netnsByPath opens the namespace by the PID, and then checks that the process is still
// alive. While it lives, no other process can have its PID.
func (p *process) netnsByPath() (*os.File, error) {
	ns, openErr := os.Open(fmt.Sprintf("/proc/%d/ns/net", p.pid))
	if err := p.alive(); err != nil {
		if openErr == nil {
			ns.Close()
		}
		return nil, err
	}
	return ns, openErr
}

// kinship is what the path of a process's cgroup says about a container.
type kinship int

const (
	stranger kinship = iota // the process is another container's, or has ended
	silent                  // the path contains no ID
	ours                    // the path contains the container's ID
)

// containerID is compiled when it is first used. The count makes it large, and most runs do
// not need it.
var containerID = lazyregexp.Regexp{Expr: `[0-9a-f]{64}`}

// kinTo tells whether p belongs to container c. Every engine whose IDs have 64 digits puts
// the full ID into the path of the cgroup (/docker/ID, docker-ID.scope,
// libpod-ID.scope), with every cgroup driver and version. Engines that use no cgroups put
// nothing there. A name that a user chose proves nothing, whether it is there or not.
func (p *process) kinTo(c *found, proc string) (kinship, error) {
	path, err := os.ReadFile(fmt.Sprintf("%s/%d/cgroup", proc, p.pid))
	if ended := p.alive(); ended != nil {
		return stranger, nil // the file may have been that of another process
	}
	switch {
	case err != nil:
		return stranger, err
	case c.unit != "":
		return inUnit(string(path), c.unit), nil
	case !isID(c.id):
		return silent, nil
	case bytes.Contains(path, []byte(c.id)):
		return ours, nil
	case containerID.Get().Match(path):
		return stranger, nil
	}
	return silent, nil
}

// inUnit tells whether a process is in a unit of systemd. One of the lines is enough: on
// cgroup v1 only systemd's own hierarchy has units.
func inUnit(cgroups, unit string) kinship {
	for line := range strings.Lines(cgroups) {
		_, path, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "/")
		if slices.Contains(strings.Split(path, "/"), unit) {
			return ours
		}
	}
	return stranger
}

// isID reports whether s is a full ID, as engines generate them.
func isID(s string) bool { return len(s) == 64 && strings.Trim(s, "0123456789abcdef") == "" }

// startedAt reports whether p started at about the time that its engine says. Engines note
// the time when the process has been created and set up, hence the margin before it.
func (p *process) startedAt(when time.Time, proc string) bool {
	start, err := p.started(proc)
	return err == nil && start.After(when.Add(-30*time.Second)) && start.Before(when.Add(2*time.Second))
}

// started returns when p was created: field 22 of proc_pid_stat(5), in hundredths of a
// second since boot. Field 2, the name, is chosen by p and may contain anything, so the
// fields are counted from the last ')', which ends it.
func (p *process) started(proc string) (time.Time, error) {
	stat, err := os.ReadFile(fmt.Sprintf("%s/%d/stat", proc, p.pid))
	if err != nil {
		return time.Time{}, err
	}
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(fields) < 20 {
		return time.Time{}, fmt.Errorf("read start of process %d: stat is short", p.pid)
	}
	ticks, err := strconv.ParseInt(fields[19], 10, 64)
	if err != nil {
		return time.Time{}, err
	}
	var sinceBoot unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &sinceBoot); err != nil {
		return time.Time{}, os.NewSyscallError("clock_gettime", err)
	}
	boot := time.Now().Add(-time.Duration(sinceBoot.Nano()))
	return boot.Add(time.Duration(ticks) * 10 * time.Millisecond), p.alive()
}
