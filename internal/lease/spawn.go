package lease

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/gopipework/gopipework/internal/nsfs"
	"golang.org/x/sys/unix"
)

// namespaceFD is the descriptor that a keeper has its guest's namespace on.
const namespaceFD = 3

const readyLine = "ready"

// start starts a keeper for the guest, and waits until it listens or another
// one does. It outlives us, in a session of its own; but without a lease to keep
// it ends when starter is closed, as it is when we are killed.
func (k Keepers) start(ctx context.Context, g Guest) (starter io.Closer, err error) {
	if len(k.Command) == 0 {
		return nil, errors.New("no program is named that could keep them")
	}
	ns, err := nsfs.Reopen(g.Namespace)
	if err != nil {
		return nil, err
	}
	defer ns.Close()
	cmd := exec.Command(k.Command[0], append(k.Command[1:len(k.Command):len(k.Command)], k.Dir, strconv.Itoa(g.PID), g.Path)...)
	cmd.ExtraFiles = []*os.File{ns}
	cmd.Dir = "/"
	cmd.Env = []string{"GOMAXPROCS=1", "GOGC=25"} // it sleeps nearly always
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	out, in, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			out.Close()
		}
	}()
	cmd.Stdout = in
	err = cmd.Start()
	in.Close()
	if err != nil {
		return nil, fmt.Errorf("start a keeper: %w", err)
	}
	go func() { _ = cmd.Wait() }() // while we live
	_ = out.SetReadDeadline(time.Now().Add(commandTime))
	stop := context.AfterFunc(ctx, func() { _ = out.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	line, err := bufio.NewReader(io.LimitReader(out, 4096)).ReadString('\n')
	switch line = strings.TrimSpace(line); {
	case line == readyLine:
		return out, nil
	case line == errGone.Error():
		return nil, errGone
	case line != "":
		return nil, errors.New(line)
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	}
	return nil, fmt.Errorf("start a keeper: it ended at once: %w", err)
}

// Serve is the keeper process: what [Keepers] start. Its arguments are those
// after the word for it; ready, which is its standard output, a pipe, tells who
// started it that it runs, or why not. It returns when nothing is kept any more,
// when nothing is kept yet and nobody reads ready, when the guest has ended, and
// when ctx ends; only then the record stays, and the next keeper goes on with it.
func Serve(ctx context.Context, args []string, ready *os.File, open OpenLinks) error {
	CloseInherited()
	signal.Ignore(unix.SIGPIPE)   // of the process that started it: the files have to go
	debug.SetMemoryLimit(8 << 20) // it has little to remember
	err := serveArgs(ctx, args, ready, open)
	switch {
	case errors.Is(err, errHeld):
		fmt.Fprintln(ready, readyLine)
		err = nil
	case err != nil:
		fmt.Fprintln(ready, strings.ReplaceAll(err.Error(), "\n", "; "))
	}
	ready.Close()
	return explain("keep leases of", "the guest", err)
}

// CloseInherited closes the descriptors that a process which outlives its starter
// has inherited from it, except for the namespace. A shell's descriptor, as from
// "exec 9>lock; flock 9", would otherwise hold its lock, or keep its pipe open, for as
// long as we live. This program opens all of its own descriptors with close-on-exec,
// which distinguishes them from inherited ones.
func CloseInherited() {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return
	}
	for _, e := range entries {
		fd, err := strconv.Atoi(e.Name())
		if err != nil || fd <= namespaceFD {
			continue
		}
		if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err == nil && flags&unix.FD_CLOEXEC == 0 {
			unix.Close(fd)
		}
	}
}

// WhenUnread calls f once nobody reads a pipe any more, because the process at its
// other end has closed it or has ended. It watches until stop is called.
func WhenUnread(pipe *os.File, f func()) (stop func()) {
	const pause = 100 // ms: stop need not wait
	fd, stopped := int32(pipe.Fd()), make(chan struct{})
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

func serveArgs(ctx context.Context, args []string, ready *os.File, open OpenLinks) error {
	if len(args) != 3 {
		return errors.New("a keeper is started by gopipework itself")
	}
	pid, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	ns := os.NewFile(namespaceFD, "namespace")
	syscall.CloseOnExec(namespaceFD)
	defer ns.Close()
	k, err := newKeeper(args[0], Guest{Namespace: ns, PID: pid, Path: args[2]}, open)
	if err != nil {
		return err
	}
	fmt.Fprintln(ready, readyLine)
	stop := WhenUnread(ready, func() {
		ready.Close()
		k.endIfIdle()
	})
	defer stop()
	debug.FreeOSMemory()
	return k.run(ctx)
}
