package nsfs

import (
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// Thread is a thread of this process that stays in one network namespace. It is
// never returned to the Go scheduler, so no other goroutine can find itself in the
// wrong namespace, whatever fails.
type Thread struct {
	work  chan func()   // nil: it is the caller's own
	ended chan struct{} // closed when nothing more is to be run
}

// Enter starts a thread in the network namespace ns, whose file stays the caller's.
func Enter(ns *os.File) (*Thread, error) {
	t := Stay()
	err := t.Run(func() error { return os.NewSyscallError("setns", unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET)) })
	if err != nil {
		t.End()
		return nil, fmt.Errorf("enter namespace: %w", err)
	}
	return t, nil
}

// Stay starts a thread in the network namespace that this process is in. That needs
// no privilege and no /proc.
func Stay() *Thread {
	t := &Thread{work: make(chan func()), ended: make(chan struct{})}
	Go(func() {
		for {
			select {
			case f := <-t.work:
				f()
			case <-t.ended:
				return
			}
		}
	})
	return t
}

// Move takes the calling goroutine's own thread, as [Go] gives it one, into the network
// namespace ns. The Thread is for that goroutine alone.
func Move(ns *os.File) (*Thread, error) {
	if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
		return nil, fmt.Errorf("enter namespace: %w", os.NewSyscallError("setns", err))
	}
	return &Thread{}, nil
}

// Run calls f on the thread and waits for it. Two calls do not overlap. If the thread
// ends before it gets to f, that is an os.ErrClosed.
func (t *Thread) Run(f func() error) error {
	if t.work == nil {
		return f()
	}
	done := make(chan error)
	select {
	case t.work <- func() { done <- f() }:
		return <-done
	case <-t.ended:
		return fmt.Errorf("run in namespace: %w", os.ErrClosed)
	}
}

// End ends the thread, as soon as it has nothing to run.
func (t *Thread) End() {
	if t.work != nil {
		close(t.ended)
	}
}

// Go runs f in a goroutine of its own, on a thread that ends with it, so f may leave
// the thread in another namespace. The first thread of a process never ends: the Go
// runtime would keep it, and with it the namespace, for as long as the process lives.
func Go(f func()) {
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() != unix.Getpid() {
			f()
			return
		}
		// As long as we hold the first thread, the next goroutine gets another.
		locked := make(chan struct{})
		go func() {
			runtime.LockOSThread()
			close(locked)
			f()
		}()
		<-locked
		runtime.UnlockOSThread()
	}()
}
