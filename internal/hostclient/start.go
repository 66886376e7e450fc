package hostclient

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/spawn"
	"golang.org/x/sys/unix"
)

// Word is what makes this program the process that looks after a client, as its
// first argument.
const Word = "--mind-client"

// Run is a client for one interface.
type Run struct {
	Ask      Ask
	Guest    string // its name, for the pid file
	PID      int    // of the guest; 0 if it has none
	Path     string // of its namespace, where there is no process
	Hostname string // "" sends none
	IfName   string
	Index    int
}

// FirstLease is how long the first lease may take.
const FirstLease = 25 * time.Second

// endTime bounds how long a client has to release its lease.
const endTime = 5 * time.Second

// Installed returns an error that names the package of a client that is not.
func (a Ask) Installed() error {
	_, err := exec.LookPath(a.Client)
	if err == nil {
		return nil
	}
	return fault.New(fault.Unsupported, "run", a.Client, "this host does not have it").
		WithHint("install the package %s; dhcp is built in", clients[a.Client].pkg)
}

// Start runs the client in the namespace, and returns when it has a lease, that
// the interface has been given; with a warning if not all of it was taken. On an
// error nothing of it runs. self is this program.
func Start(ctx context.Context, self string, r Run, ns *os.File) (warning string, err error) {
	text, err := json.Marshal(r)
	if err != nil {
		return "", err
	}
	p := spawn.Program{
		Command:   []string{self, Word, string(text)},
		Env:       []string{"PATH=" + os.Getenv("PATH")},
		Namespace: ns,
		Within:    FirstLease + endTime,
	}
	minder, err := p.Start(ctx)
	if minder == nil {
		return "", err
	}
	defer minder.Close()
	if err == nil {
		return minder.Report.Text, nil
	}
	minder.End(2 * endTime)
	var no spawn.Report
	switch {
	case errors.As(err, &no):
		return "", &fault.Error{Code: no.Code, Op: "run", Object: r.Ask.Client, Err: errors.New(strings.TrimPrefix(no.Text, "run "+r.Ask.Client+": "))}
	case ctx.Err() != nil:
		return "", err
	}
	return "", fault.New(fault.Failed, "run", r.Ask.Client, "%w", err)
}

// End has the client release its lease, and returns when it has ended. One
// that has ended is no error.
func (r Running) End() error {
	fd, err := unix.PidfdOpen(r.minder, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	if err != nil {
		return os.NewSyscallError("pidfd_open", err)
	}
	defer unix.Close(fd)
	now, ok := minded(r.minder)
	if !ok || !now.same(r.Run) {
		return nil // the number is another process's by now
	}
	for _, s := range []unix.Signal{unix.SIGTERM, unix.SIGKILL} {
		if err := unix.PidfdSendSignal(fd, s, nil, 0); err != nil {
			if errors.Is(err, unix.ESRCH) {
				return nil
			}
			return os.NewSyscallError("pidfd_send_signal", err)
		}
		if exited(fd, 3*endTime) {
			return nil
		}
	}
	return fmt.Errorf("it does not end: %w", os.ErrDeadlineExceeded)
}

func exited(pidfd int, within time.Duration) bool {
	for until := time.Now().Add(within); ; {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}, max(0, int(time.Until(until).Milliseconds())))
		if !errors.Is(err, unix.EINTR) {
			return n > 0
		}
	}
}
