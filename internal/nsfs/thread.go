package nsfs

import (
	"fmt"
	"os"
	"runtime"
	"sync"

	"golang.org/x/sys/unix"
)

// Thread is a thread of this process that stays in one network namespace. One that we
// have moved there is never returned to the Go scheduler, so no other goroutine can find
// itself in the wrong namespace, whatever fails.
type Thread struct {
	work  chan func()   // nil: it is the caller's own
	ended chan struct{} // closed when nothing more is to be run
	home  *home         // not nil: what is run is mostly run on the caller's
	brief *brief        // not nil: it is started for each call
}

// home is the namespace that callers are in themselves.
type home struct {
	mu   sync.Mutex // one call at a time
	ns   *os.File   // nil: it has ended
	away *Thread    // for callers that are elsewhere; nil: there was none yet
}

// ownNS is the namespace of whichever thread looks at it.
const ownNS = "/proc/thread-self/ns/net"

// In is Enter for a namespace that the caller may be in already: then it starts no
// thread, and what is run is run on the caller's own, which is quicker than to go to
// another and back. It takes the same privilege.
func In(ns *os.File) (*Thread, error) {
	if !Is(ns, ownNS) {
		return Enter(ns)
	}
	if err := enter(ns); err != nil {
		return nil, err
	}
	own, err := Reopen(ns)
	if err != nil {
		return nil, fmt.Errorf("enter namespace: %w", err)
	}
	return &Thread{home: &home{ns: own}}, nil
}

// enter moves the calling thread.
func enter(ns *os.File) error {
	if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("enter namespace: %w", os.NewSyscallError("setns", err))
	}
	return nil
}

// run looks for each call whether the thread that it comes on is in the namespace: a
// function that runs in another one may call as well.
func (h *home) run(f func() error) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	switch {
	case h.ns == nil:
		return errEnded
	case Is(h.ns, ownNS):
		return f()
	case h.away == nil:
		var err error
		if h.away, err = Enter(h.ns); err != nil {
			return err
		}
	}
	return h.away.Run(f)
}

func (h *home) end() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.away != nil {
		h.away.End()
	}
	h.ns.Close() // nil: nothing
	h.ns, h.away = nil, nil
}

// brief is a thread that is there only while something runs on it.
type brief struct {
	mu sync.Mutex // one call at a time
	ns *os.File   // nil: it has ended
}

// EnterBriefly is Enter for what is seldom run: between two calls there is no thread,
// which takes memory, only an open file.
func EnterBriefly(ns *os.File) (*Thread, error) {
	own, err := Reopen(ns)
	if err != nil {
		return nil, fmt.Errorf("enter namespace: %w", err)
	}
	return &Thread{brief: &brief{ns: own}}, nil
}

func (b *brief) run(f func() error) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ns == nil {
		return errEnded
	}
	done := make(chan error, 1)
	Go(func() {
		err := enter(b.ns)
		if err == nil {
			err = f()
		}
		done <- err
	})
	return <-done
}

func (b *brief) end() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.ns.Close() // nil: nothing
	b.ns = nil
}

var errEnded = fmt.Errorf("run in namespace: %w", os.ErrClosed)

// Enter starts a thread in the network namespace ns, whose file stays the caller's.
func Enter(ns *os.File) (*Thread, error) {
	t := Stay()
	if err := t.Run(func() error { return enter(ns) }); err != nil {
		t.End()
		return nil, err
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
	if err := enter(ns); err != nil {
		return nil, err
	}
	return &Thread{}, nil
}

// Run calls f on the thread and waits for it. Two calls do not overlap. If the thread
// ends before it gets to f, that is an os.ErrClosed.
func (t *Thread) Run(f func() error) error {
	switch {
	case t.home != nil:
		return t.home.run(f)
	case t.brief != nil:
		return t.brief.run(f)
	case t.work == nil:
		return f()
	}
	done := make(chan error)
	select {
	case t.work <- func() { done <- f() }:
		return <-done
	case <-t.ended:
		return errEnded
	}
}

// End ends the thread, as soon as it has nothing to run.
func (t *Thread) End() {
	switch {
	case t.home != nil:
		t.home.end()
	case t.brief != nil:
		t.brief.end()
	case t.work != nil:
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
