package lease

import (
	"encoding/binary"
	"errors"
	"os"
	"time"

	"github.com/gopipework/gopipework/internal/nsfs"
	"golang.org/x/sys/unix"
)

// watch notices when a guest ends, and when one of its links is deleted.
type watch struct {
	gone  chan struct{} // closed when the guest has ended
	links chan struct{} // something was deleted: look

	guest   Guest
	process int // pidfd, -1 if there is none
	events  int // netlink socket
	stop    [2]int
}

// look is how often the file of a guest without a process is looked at: the
// kernel tells nobody when a name is unmounted.
const look = 500 * time.Millisecond

// newWatch begins to watch. The error is errGone if the guest's process is not in the
// namespace, or no longer.
func newWatch(in namespace, g Guest) (*watch, error) {
	w := &watch{gone: make(chan struct{}), links: make(chan struct{}, 1), guest: g, process: -1}
	if g.PID != 0 {
		fd, err := unix.PidfdOpen(g.PID, 0)
		if errors.Is(err, unix.ESRCH) || err == nil && !g.isAt(nsfs.OfProcess(g.PID)) {
			err = errGone
		}
		if err != nil {
			if fd >= 0 {
				unix.Close(fd)
			}
			return nil, err
		}
		w.process = fd
	} else if !g.isAt(g.Path) {
		return nil, errGone
	}
	err := in.Run(w.subscribe)
	if err == nil {
		err = os.NewSyscallError("pipe2", unix.Pipe2(w.stop[:], unix.O_CLOEXEC))
	}
	if err != nil {
		w.closeAll()
		return nil, err
	}
	go w.run()
	return w, nil
}

// subscribe listens for what happens to links in the namespace of the thread.
//
//	ip monitor link
func (w *watch) subscribe() (err error) {
	w.events, err = unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	return os.NewSyscallError("bind", unix.Bind(w.events, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: unix.RTMGRP_LINK}))
}

// close stops watching.
func (w *watch) close() { unix.Close(w.stop[1]) }

func (w *watch) closeAll() {
	for _, fd := range []int{w.process, w.events, w.stop[0]} {
		if fd > 0 {
			unix.Close(fd)
		}
	}
}

// calm is the pause after an event: a guest that changes links all day must
// not keep us busy.
const calm = 20 * time.Millisecond

func (w *watch) run() {
	defer w.closeAll()
	wait := -1
	if w.process < 0 {
		wait = int(look.Milliseconds())
	}
	for {
		fds := []unix.PollFd{
			{Fd: int32(w.stop[0]), Events: unix.POLLIN}, {Fd: int32(w.events), Events: unix.POLLIN}, {Fd: int32(w.process), Events: unix.POLLIN},
		}
		n, err := unix.Poll(fds, wait)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil, fds[0].Revents != 0:
			return
		case fds[2].Revents != 0, n == 0 && !w.guest.isAt(w.guest.Path):
			close(w.gone)
			return
		case fds[1].Revents != 0:
			if w.deleted() {
				select {
				case w.links <- struct{}{}:
				default: // somebody is about to look
				}
			}
			time.Sleep(calm)
			if w.process < 0 && !w.guest.isAt(w.guest.Path) {
				close(w.gone)
				return
			}
		}
	}
}

// deleted reads what has come, and says whether a link may have gone.
func (w *watch) deleted() (yes bool) {
	var buf [8192]byte
	for {
		n, _, err := unix.Recvfrom(w.events, buf[:], 0)
		switch {
		case errors.Is(err, unix.ENOBUFS):
			yes = true // there was more than the socket could hold
			continue
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return yes
		}
		const typeAt = 4 // of struct nlmsghdr
		if n < unix.SizeofNlMsghdr || binary.NativeEndian.Uint16(buf[typeAt:]) == unix.RTM_DELLINK {
			yes = true
		}
	}
}
