package spawn

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"sync"

	"github.com/gopipework/gopipework/internal/fault"
	"golang.org/x/sys/unix"
)

// namespaceFD is the descriptor that the process has the first namespace on.
const namespaceFD = 3

// maxReport bounds what is read of a report.
const maxReport = 4096

// Starter is the run that started this process.
type Starter struct{ pipe *os.File }

// Begin is what the process does first. It returns the namespace that it was started
// for, and its starter, at the other end of pipe, which is its standard output.
func Begin(pipe *os.File) (ns *os.File, s *Starter, err error) {
	all, s, err := BeginIn(pipe, 1)
	if err != nil {
		return nil, nil, err
	}
	return all[0], s, nil
}

// BeginIn is Begin for a process that was started for so many namespaces.
func BeginIn(pipe *os.File, count int) (namespaces []*os.File, s *Starter, err error) {
	for fd := namespaceFD; fd < namespaceFD+count; fd++ {
		if kind, err := unix.IoctlRetInt(fd, unix.NS_GET_NSTYPE); err != nil || kind != unix.CLONE_NEWNET {
			return nil, nil, errors.New("it is started by gopipework itself")
		}
	}
	for fd := namespaceFD; fd < namespaceFD+count; fd++ {
		unix.CloseOnExec(fd)
		namespaces = append(namespaces, os.NewFile(uintptr(fd), "namespace"))
	}
	closeInherited()
	signal.Ignore(unix.SIGPIPE) // the starter may be gone, and we have to clean up
	return namespaces, &Starter{pipe}, nil
}

// Ready tells the starter that the process is ready, with a warning if there is one.
func (s *Starter) Ready(warning string) error { return s.report("", warning) }

// Refuse tells the starter why the process is not ready.
func (s *Starter) Refuse(err error) { _ = s.report(fault.CodeOf(err), err.Error()) }

func (s *Starter) report(code fault.Code, text string) error {
	text = strings.ReplaceAll(text, "\n", "; ")
	_, err := fmt.Fprintf(s.pipe, "%s\x00%s\n", code, text[:min(len(text), maxReport-100)])
	return err
}

// Close tells the starter that there is nothing more to say.
func (s *Starter) Close() { s.pipe.Close() }

// WhenGone calls f once the starter has closed its end of the pipe, or has ended. It
// watches until stop is called.
func (s *Starter) WhenGone(f func()) (stop func()) {
	const pause = 100 // ms: stop need not wait
	fd, stopped := int32(s.pipe.Fd()), make(chan struct{})
	go func() {
		for {
			n, _ := unix.Poll([]unix.PollFd{{Fd: fd}}, pause) // POLLERR comes unasked for
			select {
			case <-stopped:
				return
			default:
			}
			if n > 0 {
				f()
				return
			}
		}
	}()
	return sync.OnceFunc(func() { close(stopped) })
}

// closeInherited closes the descriptors that the process has inherited, except for
// the namespaces. A shell's descriptor, as from "exec 9>lock; flock 9", would
// otherwise hold its lock, or keep its pipe open, for as long as we live. This program
// opens all of its own descriptors with close-on-exec, which distinguishes them from
// inherited ones.
func closeInherited() {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return
	}
	for _, e := range entries {
		fd, err := strconv.Atoi(e.Name())
		if err != nil || fd < namespaceFD {
			continue
		}
		if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err == nil && flags&unix.FD_CLOEXEC == 0 {
			unix.Close(fd)
		}
	}
}
