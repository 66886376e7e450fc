package lease

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// namespaceFD is the descriptor that a keeper has its guest's namespace on.
const namespaceFD = 3

const readyLine = "ready"

// start starts a keeper for the guest, and waits until it listens or another
// one does. It outlives us, in a session of its own.
func (k Keepers) start(ctx context.Context, g Guest) error {
	ns, err := Reopen(g.Namespace)
	if err != nil {
		return err
	}
	defer ns.Close()
	cmd := exec.Command(k.Command[0], append(k.Command[1:len(k.Command):len(k.Command)], k.Dir, strconv.Itoa(g.PID), g.Path)...)
	cmd.ExtraFiles = []*os.File{ns}
	cmd.Dir = "/"
	cmd.Env = []string{"GOMAXPROCS=1", "GOGC=25"} // it sleeps nearly always
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	out, in, err := os.Pipe()
	if err != nil {
		return err
	}
	defer out.Close()
	cmd.Stdout = in
	err = cmd.Start()
	in.Close()
	if err != nil {
		return fmt.Errorf("start a keeper: %w", err)
	}
	go func() { _ = cmd.Wait() }() // while we live
	_ = out.SetReadDeadline(time.Now().Add(commandTime))
	stop := context.AfterFunc(ctx, func() { _ = out.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	line, err := bufio.NewReader(io.LimitReader(out, 4096)).ReadString('\n')
	switch line = strings.TrimSpace(line); {
	case line == readyLine:
		return nil
	case line == errGone.Error():
		return errGone
	case line != "":
		return errors.New(line)
	case ctx.Err() != nil:
		return context.Cause(ctx)
	}
	return fmt.Errorf("start a keeper: it ended at once: %w", err)
}

// Serve is the keeper process: what [Keepers] start. Its arguments are those
// after the word for it; ready, which is its standard output, tells who started
// it that it runs, or why not, and is closed then. It returns when nothing is
// kept any more, when the guest has ended, and when ctx ends; only then the
// record stays, and the next keeper goes on with it.
func Serve(ctx context.Context, args []string, ready io.WriteCloser, open OpenLinks) error {
	CloseInherited()
	debug.SetMemoryLimit(8 << 20) // it has little to remember
	err := serveArgs(ctx, args, func() { fmt.Fprintln(ready, readyLine); ready.Close() }, open)
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

// CloseInherited closes what a process that outlives its starter has from that
// without having asked for it, but for the namespace. A descriptor of a shell's,
// as of "exec 9>lock; flock 9", would hold its lock, or its pipe open, as long as
// we live. The descriptors of this program itself all close on exec, which tells
// them from those that came by one.
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

func serveArgs(ctx context.Context, args []string, ready func(), open OpenLinks) error {
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
	ready()
	debug.FreeOSMemory()
	return k.run(ctx)
}
