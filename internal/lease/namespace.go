package lease

import (
	"fmt"
	"net"
	"os"

	"github.com/gopipework/gopipework/internal/nsfs"
	"golang.org/x/sys/unix"
)

// namespace is a thread inside a guest's network namespace. It is never given
// back to the Go scheduler, so no other goroutine can find itself there.
type namespace struct{ work chan func() }

// enter starts the thread. The file stays the caller's.
func enter(ns *os.File) (*namespace, error) {
	n := &namespace{work: make(chan func())}
	ready := make(chan error)
	nsfs.Go(func() {
		err := os.NewSyscallError("setns", unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET))
		ready <- err
		if err != nil {
			return
		}
		for f := range n.work {
			f()
		}
	})
	if err := <-ready; err != nil {
		return nil, fmt.Errorf("enter namespace: %w", err)
	}
	return n, nil
}

// leave ends the thread.
func (n *namespace) leave() { close(n.work) }

// run calls f inside, and waits for it.
func (n *namespace) run(f func() error) error {
	done := make(chan error)
	n.work <- func() { done <- f() }
	return <-done
}

// link finds an interface by its number.
func (n *namespace) link(index int) (link *net.Interface, err error) {
	err = n.run(func() error {
		link, err = net.InterfaceByIndex(index)
		return err
	})
	return link, err
}

// soNetnsCookie is SO_NETNS_COOKIE (asm-generic/socket.h), kernel 5.14.
const soNetnsCookie = 71

// cookie is the namespace's own number. Unlike its inode's it never comes to
// mean another one until the machine boots.
func (n *namespace) cookie() (c uint64, err error) {
	err = n.run(func() error {
		c, err = cookieHere()
		return err
	})
	return c, err
}

// cookieHere is that of the namespace the calling thread is in: this process's own,
// for a goroutine that has not entered another.
func cookieHere() (uint64, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, os.NewSyscallError("socket", err)
	}
	defer unix.Close(fd)
	c, err := unix.GetsockoptUint64(fd, unix.SOL_SOCKET, soNetnsCookie)
	return c, os.NewSyscallError("getsockopt", err)
}

// Reopen opens a namespace once more. A descriptor that a process of its own
// gets must not be a copy of the caller's: a lock on that (flock(2)) would be its
// own too, and outlive the caller.
func Reopen(ns *os.File) (*os.File, error) {
	return os.Open(fmt.Sprintf("/proc/self/fd/%d", ns.Fd()))
}
