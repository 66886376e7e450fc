package lease

import (
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/gopipework/gopipework/internal/nsfs"
	"golang.org/x/sys/unix"
)

// watch notices when a guest ends, and when one of its links is deleted. It waits by Go's
// own poller, so that many of them need no thread.
type watch struct {
	gone  chan struct{} // closed when the guest has ended
	links chan struct{} // something was deleted: look

	guest  Guest
	end    *os.File      // its process, or the table of mounts
	events *os.File      // netlink socket
	stop   chan struct{} // closed by close
	once   sync.Once     // of gone
}

// newWatch begins to watch. The error is errGone if the guest's process is not in the
// namespace, or no longer.
func newWatch(in namespace, g Guest) (w *watch, err error) {
	w = &watch{gone: make(chan struct{}), links: make(chan struct{}, 1), guest: g, stop: make(chan struct{})}
	if w.end, err = g.lifeline(); err != nil {
		return nil, err
	}
	if err := in.Run(w.subscribe); err != nil {
		w.end.Close()
		return nil, err
	}
	go w.awaitEnd()
	go w.awaitLinks()
	if g.PID == 0 && !mountsTell(g.Path) {
		go w.lookAgain()
	}
	return w, nil
}

// lifeline opens what shows the guest's end.
func (g Guest) lifeline() (*os.File, error) {
	if g.PID != 0 {
		fd, err := unix.PidfdOpen(g.PID, unix.PIDFD_NONBLOCK)
		if errors.Is(err, unix.ESRCH) {
			return nil, errGone
		}
		if err != nil {
			return nil, os.NewSyscallError("pidfd_open", err)
		}
		process := os.NewFile(uintptr(fd), "pidfd")
		if !g.isAt(nsfs.OfProcess(g.PID)) {
			process.Close()
			return nil, errGone
		}
		return process, nil
	}
	mounts, err := os.OpenFile("/proc/self/mountinfo", os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err == nil && !g.isAt(g.Path) {
		mounts.Close()
		return nil, errGone
	}
	return mounts, err
}

// subscribe listens for what happens to links in the namespace of the thread.
//
//	ip monitor link
func (w *watch) subscribe() error {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	w.events = os.NewFile(uintptr(fd), "netlink")
	err = unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: unix.RTMGRP_LINK})
	if err != nil {
		w.events.Close()
	}
	return os.NewSyscallError("bind", err)
}

// close stops watching.
func (w *watch) close() {
	close(w.stop)
	w.end.Close()
	w.events.Close()
}

// awaitEnd waits for the guest's end. A mount or unmount anywhere is one more time to look
// at a name.
func (w *watch) awaitEnd() {
	ended := func(fd uintptr) bool {
		if w.guest.PID == 0 {
			return !w.guest.isAt(w.guest.Path)
		}
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
		return err == nil && n > 0
	}
	if await(w.end, ended) {
		w.tellGone()
	}
}

func (w *watch) tellGone() { w.once.Do(func() { close(w.gone) }) }

// await calls ready, and again each time that the kernel has something to tell about the
// file, until it says yes; or it says no when the file is closed.
func await(f *os.File, ready func(fd uintptr) bool) bool {
	c, err := f.SyscallConn()
	return err == nil && c.Read(ready) == nil
}

// look is how often the file of a namespace is looked at where no table shows its end.
const look = 500 * time.Millisecond

// mountsTell reports whether a change in our table of mounts tells that another file, or
// none, is at the path. It is not so for what is reached by way of a process or a link.
func mountsTell(path string) bool {
	real, err := filepath.EvalSymlinks(path)
	return err == nil && real == path && !strings.HasPrefix(path, "/proc/")
}

// lookAgain looks at the guest's file as often as nothing else shows its end.
func (w *watch) lookAgain() {
	t := time.NewTicker(look)
	defer t.Stop()
	for w.guest.isAt(w.guest.Path) {
		select {
		case <-w.stop:
			return
		case <-t.C:
		}
	}
	w.tellGone()
}

// calm is the pause after an event: a guest that changes links all day must
// not keep us busy.
const calm = 20 * time.Millisecond

// awaitLinks waits for links to be deleted.
func (w *watch) awaitLinks() {
	var deleted bool
	for await(w.events, func(fd uintptr) (heard bool) { heard, deleted = hear(int(fd)); return heard }) {
		if deleted {
			select {
			case w.links <- struct{}{}:
			default: // somebody is about to look
			}
		}
		time.Sleep(calm)
	}
}

// hear reads what has come, and says whether a link may have gone. Of each message it
// needs no more than the header.
func hear(fd int) (any, deleted bool) {
	var header [unix.SizeofNlMsghdr]byte
	for {
		n, _, err := unix.Recvfrom(fd, header[:], 0)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.ENOBUFS): // there was more than the socket could hold
		case err != nil:
			return any, deleted
		}
		const typeAt = 4 // of struct nlmsghdr
		any = true
		deleted = deleted || err != nil || n < len(header) || binary.NativeEndian.Uint16(header[typeAt:]) == unix.RTM_DELLINK
	}
}
