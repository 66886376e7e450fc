package attach

import (
	"context"
	"errors"
	"os"
	"time"

	"github.com/gopipework/gopipework/internal/fault"
	"golang.org/x/sys/unix"
)

// lock is the lock of a namespace. It excludes other processes, whatever they see
// of the file system, needs no file, and dies with its holder.
//
// It is an address: a unix socket in the host's network namespace, bound to an
// abstract name (unix(7)) that is made from the inode of the locked namespace. We
// hold that namespace open, so its inode is not used again. A guest, being in
// another network namespace, cannot take the address. flock(2) on the namespace
// alone would not do: any process in a guest can open its own namespace, and hold
// that lock for ever.
//
// We take the flock as well. It excludes a run that works on the same guest from
// another host's namespace, which takes privileges. flockPatience bounds the wait
// for it.
type lock struct {
	host    kernel // in whose namespace the address is
	ns      *os.File
	socket  int
	held    bool
	flocked bool
}

// A lock is asked for again and again rather than waited for, so that the wait
// can end when the context does. The pauses grow from lockPause to
// maxLockPause.
const (
	lockPause    = time.Millisecond
	maxLockPause = 16 * time.Millisecond
)

// flockPatience is how long a guest can delay us by holding its own flock.
const flockPatience = time.Second

// acquire takes the lock of a namespace.
func acquire(ctx context.Context, host kernel, ns *os.File, what string) (*lock, error) {
	l := &lock{host: host, ns: ns}
	return l, l.acquire(ctx, what)
}

func (l *lock) acquire(ctx context.Context, what string) error {
	err := l.wait(ctx, what, l.bind)
	if err != nil {
		return err
	}
	short, cancel := context.WithTimeout(ctx, flockPatience)
	defer cancel()
	if err := l.wait(short, what, l.flock); err != nil && ctx.Err() != nil {
		l.release()
		return err
	}
	return nil
}

// wait calls try until it returns something other than EWOULDBLOCK.
func (l *lock) wait(ctx context.Context, what string, try func() error) error {
	for pause := lockPause; ; pause = min(2*pause, maxLockPause) {
		err := try()
		switch {
		case err == nil:
			return nil
		case errors.Is(err, unix.EINTR):
			continue
		case !errors.Is(err, unix.EWOULDBLOCK):
			return explain("lock", what, err)
		}
		select {
		case <-ctx.Done():
			if cause := context.Cause(ctx); cause != context.DeadlineExceeded {
				return cause
			}
			return fault.New(fault.Timeout, "lock", what, "another process has held the lock of its namespace all the time").
				WithHint("see who: ss -xap | grep %s", l.address())
		case <-time.After(pause):
		}
	}
}

// tryPatiently takes the lock, or returns EWOULDBLOCK if a run of this host has it. It
// waits for the flock as long as acquire does, because a run that works from another
// host's namespace may hold it only to look.
func (l *lock) tryPatiently(ctx context.Context) error {
	err := l.bind()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, flockPatience)
	defer cancel()
	if err = l.wait(ctx, "", l.flock); err != nil {
		l.release()
	}
	return err
}

// address is the abstract name.
func (l *lock) address() string {
	var st unix.Stat_t
	_ = unix.Fstat(int(l.ns.Fd()), &st)
	return "@gopipework/lock/" + itoa(int(st.Ino))
}

func (l *lock) bind() error {
	err := l.host.Run(func() (err error) {
		l.socket, err = unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		return os.NewSyscallError("socket", err)
	})
	if err != nil {
		return err
	}
	err = unix.Bind(l.socket, &unix.SockaddrUnix{Name: l.address()})
	if l.held = err == nil; !l.held {
		unix.Close(l.socket)
	}
	if errors.Is(err, unix.EADDRINUSE) {
		return unix.EWOULDBLOCK
	}
	return os.NewSyscallError("bind", err)
}

func (l *lock) flock() error {
	err := unix.Flock(int(l.ns.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	l.flocked = err == nil
	return err
}

// release gives it back; a lock that is not held stays so.
func (l *lock) release() {
	if l.flocked {
		unix.Flock(int(l.ns.Fd()), unix.LOCK_UN)
		l.flocked = false
	}
	if l.held {
		unix.Close(l.socket)
		l.held = false
	}
}
