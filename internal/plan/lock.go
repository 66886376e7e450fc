package plan

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/nsfs"
	"github.com/gopipework/gopipework/internal/plainfile"
	"github.com/gopipework/gopipework/internal/rtnl"
	"golang.org/x/sys/unix"
)

// Lock is the lock of a namespace. It excludes other processes, whatever they see
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
// another host's namespace, which takes privileges. FlockPatience bounds the wait
// for it.
//
// A user of the host, and root in a container that shares the host's network, can
// take the address too. Neither can be a run of gopipework, which has to be root and
// to have capabilities that such a container lacks. So a run that finds the address
// taken for some time looks who has it, and if that cannot be a run, it passes by: it
// locks the namespace's place in LockFile instead, which only root on the host can
// open. So that no other run takes the address meanwhile and works as well,
// each side looks at the other's lock once it has its own: a run that takes the
// address locks its place in the file as well, if there is a file, and a run that
// passes by looks whether the address still belongs to the socket it has judged. Two
// runs that each have a /run of their own see different files; while somebody squats,
// only the flock keeps them apart.
type Lock struct {
	host    Kernel // in whose namespace the address is
	NS      *os.File
	held    bool
	bound   bool // to the address
	socket  int
	file    *os.File // its place is locked, for bound or instead of it
	flocked bool
	run     rtnl.UnixSocket // has the address, and may be a run
	leave   func()          // ends its turn among the runs of this process; nil: it is not its turn
}

// LockFile is there once somebody has squatted on an address.
var LockFile = "/run/gopipework.lock"

// A lock is asked for again and again rather than waited for, so that the wait
// can end when the context does. The pauses grow from lockPause to
// maxLockPause.
const (
	lockPause    = time.Millisecond
	maxLockPause = 16 * time.Millisecond
)

// suspicion is how long a lock may be held until we look whether a run holds it.
const suspicion = 100 * time.Millisecond

// FlockPatience is how long a guest can delay us by holding its own flock.
var FlockPatience = time.Second

// Acquire takes the lock of a namespace.
func Acquire(ctx context.Context, host Kernel, ns *os.File, what string) (*Lock, error) {
	l := &Lock{host: host, NS: ns}
	return l, l.Acquire(ctx, what)
}

// AcquireIdle takes the lock of a namespace, or returns EWOULDBLOCK if a run of this
// host has it.
func AcquireIdle(ctx context.Context, host Kernel, ns *os.File) (*Lock, error) {
	l := &Lock{host: host, NS: ns}
	return l, l.tryPatiently(ctx)
}

// turns has the runs of this process that want a lock, in the order in which they asked
// for it; it is the first one's turn, which a closed channel says. Runs that ask for a lock
// again and again get it in no order: among many some would wait for all others.
var turns = struct {
	sync.Mutex
	of map[turnKey][]chan struct{}
}{of: map[turnKey][]chan struct{}{}}

// turnKey tells locks apart: by the namespace that the address is in, and the one that is
// locked.
type turnKey struct{ host, inode uint64 }

// queue waits until no run of this process that asked before wants the lock.
func (l *Lock) queue(ctx context.Context, what string) error {
	host, _ := l.host.Cookie() // 0 for all hosts, if the kernel does not tell
	key, turn := turnKey{host, inode(l.NS)}, make(chan struct{})
	turns.Lock()
	turns.of[key] = append(turns.of[key], turn)
	if len(turns.of[key]) == 1 {
		close(turn)
	}
	turns.Unlock()
	l.leave = func() {
		turns.Lock()
		defer turns.Unlock()
		waiting := turns.of[key]
		at := slices.Index(waiting, turn)
		switch waiting = slices.Delete(waiting, at, at+1); {
		case len(waiting) == 0:
			delete(turns.of, key)
			return
		case at == 0:
			close(waiting[0])
		}
		turns.of[key] = waiting
	}
	select {
	case <-turn:
		return nil
	case <-ctx.Done():
		return l.tooLong(ctx, what)
	}
}

// tooLong is the error for a lock that was not had until ctx was done.
func (l *Lock) tooLong(ctx context.Context, what string) error {
	if cause := context.Cause(ctx); cause != context.DeadlineExceeded {
		return cause
	}
	return fault.New(fault.Timeout, "lock", what, "another process has held the lock of its namespace all the time").
		WithHint("see who: ss -xap | grep %s", l.address())
}

// Acquire takes the lock again after it was released.
func (l *Lock) Acquire(ctx context.Context, what string) error {
	err := l.queue(ctx, what)
	if err == nil {
		err = l.acquire(ctx, what)
	}
	if err != nil {
		l.Release()
	}
	return err
}

func (l *Lock) acquire(ctx context.Context, what string) error {
	wait := suspicion
	look := time.Now().Add(wait)
	err := l.wait(ctx, what, func() error {
		err := l.bind()
		if errors.Is(err, unix.EWOULDBLOCK) && time.Now().After(look) {
			err = l.passBy()
			wait *= 2
			look = time.Now().Add(wait)
		}
		return err
	})
	if err != nil {
		return err
	}
	short, cancel := context.WithTimeout(ctx, FlockPatience)
	defer cancel()
	if err := l.wait(short, what, l.flock); err != nil && ctx.Err() != nil {
		return err
	}
	return nil
}

// wait calls try until it returns something other than EWOULDBLOCK.
func (l *Lock) wait(ctx context.Context, what string, try func() error) error {
	for pause := lockPause; ; pause = min(2*pause, maxLockPause) {
		err := try()
		switch {
		case err == nil:
			return nil
		case errors.Is(err, unix.EINTR):
			continue
		case !errors.Is(err, unix.EWOULDBLOCK):
			return fault.Explain("lock", what, err)
		}
		select {
		case <-ctx.Done():
			return l.tooLong(ctx, what)
		case <-time.After(pause):
		}
	}
}

// tryPatiently takes the lock, or returns EWOULDBLOCK if a run of this host has it. It
// waits for the flock as long as acquire does, because a run that works from another
// host's namespace may hold it only to look.
func (l *Lock) tryPatiently(ctx context.Context) error {
	err := l.bind()
	if errors.Is(err, unix.EWOULDBLOCK) {
		err = l.passBy()
	}
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, FlockPatience)
	defer cancel()
	if err = l.wait(ctx, "", l.flock); err != nil {
		l.unlock()
	}
	return err
}

// address is the abstract name.
func (l *Lock) address() string { return LockAddress(l.NS) }

// LockAddress is the abstract name that the lock of a namespace is.
func LockAddress(ns *os.File) string {
	return "@gopipework/lock/" + strconv.FormatUint(inode(ns), 10)
}

func inode(ns *os.File) uint64 {
	var st unix.Stat_t
	_ = unix.Fstat(int(ns.Fd()), &st)
	return st.Ino
}

func (l *Lock) bind() error {
	err := l.host.Run(func() (err error) {
		l.socket, err = unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		return os.NewSyscallError("socket", err)
	})
	if err != nil {
		return err
	}
	err = unix.Bind(l.socket, &unix.SockaddrUnix{Name: l.address()})
	if err != nil {
		unix.Close(l.socket)
		if errors.Is(err, unix.EADDRINUSE) {
			return unix.EWOULDBLOCK
		}
		return os.NewSyscallError("bind", err)
	}
	l.held, l.bound = true, true
	if err = l.lockPlace(0); err != nil && !noPlace(err) {
		l.unlock()
		return err
	}
	return nil
}

// noPlace reports whether LockFile is missing or unusable, so that nobody can have passed by.
func noPlace(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, plainfile.ErrNotRegular) ||
		errors.Is(err, fs.ErrPermission) || errors.Is(err, unix.EROFS)
}

// passBy takes the lock although its address is taken, if those who have it cannot be
// a run of gopipework; otherwise it returns EWOULDBLOCK.
func (l *Lock) passBy() error {
	s, err := l.host.AbstractSocket(l.address())
	if err != nil || s == l.run { // nobody any more, or this kernel does not tell
		return unix.EWOULDBLOCK
	}
	if mayBeRun(s) {
		l.run = s
		return unix.EWOULDBLOCK
	}
	if err := l.lockPlace(os.O_CREATE); err != nil {
		return unix.EWOULDBLOCK // by a run, or nothing can be written here
	}
	l.held = true
	if again, err := l.host.AbstractSocket(l.address()); err != nil || again != s {
		l.unlock()
		return unix.EWOULDBLOCK
	}
	return nil
}

// lockPlace locks the byte of LockFile that the namespace's inode is the offset of.
func (l *Lock) lockPlace(flag int) error {
	f, err := plainfile.Open(LockFile, os.O_RDWR|unix.O_NOFOLLOW|flag)
	if err != nil {
		return err
	}
	place := unix.Flock_t{Type: unix.F_WRLCK, Start: int64(inode(l.NS)), Len: 1}
	if err := unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &place); err != nil {
		f.Close()
		return err
	}
	l.file = f
	return nil
}

// mayBeRun reports whether the owner of a socket may be a run of gopipework. A run
// belongs to the user that we are, and has CAP_NET_ADMIN and CAP_SYS_ADMIN where we
// have them. If we see nobody who has the socket, only the user counts.
func mayBeRun(s rtnl.UnixSocket) bool {
	if int(s.UID) != os.Geteuid() {
		return false
	}
	link := fmt.Sprintf("socket:[%d]", s.Inode)
	unseen := true
	pids, _ := nsfs.Processes()
	for _, pid := range pids {
		fds := "/proc/" + strconv.Itoa(pid) + "/fd"
		entries, _ := os.ReadDir(fds)
		for _, e := range entries {
			if to, err := os.Readlink(fds + "/" + e.Name()); err == nil && to == link {
				if mayRun(pid) {
					return true
				}
				unseen = false
				break
			}
		}
	}
	return unseen
}

// mayRun reports whether a process has what a run needs. What cannot be read of it
// does not count against it.
func mayRun(pid int) bool {
	const needs = 1<<unix.CAP_NET_ADMIN | 1<<unix.CAP_SYS_ADMIN
	dir := "/proc/" + strconv.Itoa(pid)
	own, err1 := os.Readlink("/proc/self/ns/user")
	its, err2 := os.Readlink(dir + "/ns/user")
	if err1 == nil && err2 == nil && own != its {
		return false
	}
	status, err := os.ReadFile(dir + "/status")
	if err != nil {
		return true
	}
	_, rest, _ := strings.Cut(string(status), "\nCapEff:")
	word, _, _ := strings.Cut(strings.TrimSpace(rest), "\n")
	caps, err := strconv.ParseUint(word, 16, 64)
	return err != nil || caps&needs == needs
}

func (l *Lock) flock() error {
	err := unix.Flock(int(l.NS.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	l.flocked = err == nil
	return err
}

// Release releases the lock; one that is not held stays so.
func (l *Lock) Release() {
	l.unlock()
	if l.leave != nil {
		l.leave()
		l.leave = nil
	}
}

// unlock is Release for one whose turn it stays.
func (l *Lock) unlock() {
	if l.flocked {
		unix.Flock(int(l.NS.Fd()), unix.LOCK_UN)
		l.flocked = false
	}
	if l.file != nil {
		l.file.Close()
		l.file = nil
	}
	if l.bound {
		unix.Close(l.socket)
		l.bound = false
	}
	l.held = false
}
