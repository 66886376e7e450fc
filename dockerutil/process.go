package dockerutil

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

var (
	errNoProcess = errors.New("no such process")
	errThread    = errors.New("this is a thread, not a process")
	errEnded     = errors.New("it has ended")
)

// process is a process held by a pidfd. Unlike its number a pidfd never comes
// to mean another one (pidfd_open(2)).
type process struct {
	pid int
	fd  *os.File
}

// openProcess takes hold of process pid. A pidfd is always close-on-exec.
func openProcess(pid int) (*process, error) {
	fd, err := unix.PidfdOpen(pid, 0)
	switch {
	case err == nil:
		return &process{pid: pid, fd: os.NewFile(uintptr(fd), fmt.Sprintf("pidfd:%d", pid))}, nil
	case errors.Is(err, unix.ESRCH):
		return nil, errNoProcess
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.ENOENT):
		// A number that a thread has which is not its process's first:
		// EINVAL, and ENOENT on newer kernels.
		return nil, errThread
	}
	return nil, os.NewSyscallError("pidfd_open", err)
}

// close lets go of the process. It does nothing for nil.
func (p *process) close() error {
	if p == nil {
		return nil
	}
	return p.fd.Close()
}

// alive returns nil, or errEnded. A pidfd polls readable from the moment that
// the process has ended, reaped or not; kill(pid, 0) would still find a zombie.
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

// pidfdGetNetNamespace is PIDFD_GET_NET_NAMESPACE, _IO(0xFF, 4) of
// linux/pidfd.h. What _IO adds to the two bytes differs between architectures;
// NS_GET_NSTYPE, _IO(0xB7, 3), carries the same.
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

// netnsByPath opens the namespace by the number, and then sees that the number
// still meant this process: while a process lives no other one has its PID.
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

// kinship says what a process's cgroup tells about its container.
type kinship int

const (
	stranger kinship = iota // it is another container's, or there is no process
	silent                  // the path names no container
	ours                    // the path holds the container's ID
)

// containerID is compiled when it is first needed: the count makes it large,
// and a run that asks for another guest should not pay for it.
var containerID = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`[0-9a-f]{64}`) })

// kinTo says whether p belongs to container c. Every engine whose IDs have 64
// digits puts the full ID into the cgroup's path (/docker/ID, docker-ID.scope,
// libpod-ID.scope), under each cgroup driver and version; engines without cgroups
// put nothing there. A name of a person's choice proves nothing either way.
func (p *process) kinTo(c *found, proc string) (kinship, error) {
	path, err := os.ReadFile(fmt.Sprintf("%s/%d/cgroup", proc, p.pid))
	if ended := p.alive(); ended != nil {
		return stranger, nil // what was read may be another's
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
	case containerID().Match(path):
		return stranger, nil
	}
	return silent, nil
}

// inUnit says whether a cgroup's path is in a unit of systemd's. One line of
// several is enough: on cgroup v1 only systemd's own hierarchy has units.
func inUnit(cgroups, unit string) kinship {
	for line := range strings.Lines(cgroups) {
		_, path, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "/")
		if slices.Contains(strings.Split(path, "/"), unit) {
			return ours
		}
	}
	return stranger
}

// isID says whether s is the full ID of an engine that makes up its own.
func isID(s string) bool { return len(s) == 64 && strings.Trim(s, "0123456789abcdef") == "" }

// startedAt says whether p was started about when its engine says so. Engines
// note the time after the process has been made and set up, hence the margin
// before it.
func (p *process) startedAt(when time.Time, proc string) bool {
	start, err := p.started(proc)
	return err == nil && start.After(when.Add(-30*time.Second)) && start.Before(when.Add(2*time.Second))
}

// started returns when p was made: field 22 of proc_pid_stat(5), in hundredths
// of a second since boot. Field 2, the name, is p's own choice and may hold
// anything; its last ')' ends it.
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
