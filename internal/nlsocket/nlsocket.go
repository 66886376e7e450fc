// Package nlsocket opens sockets to the kernel's netlink that block, with a time
// limit, and reads what it answers.
//
// The sockets of the netlink library are watched by Go's poller, which a request then
// wakes twice: it takes longer than the kernel, which has the answer ready when the
// request returns.
package nlsocket

import (
	"errors"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// receiveSize is that of the buffer for an answer. The kernel fills up to 32 KiB of a
// dump into one message (af_netlink.c, netlink_recvmsg), if it is asked with a buffer
// of that size.
const receiveSize = 64 << 10

var buffers = sync.Pool{New: func() any { return new([receiveSize]byte) }}

// Open opens a socket in the network namespace that the calling thread is in. Sending and
// receiving return EAGAIN after the time limit.
func Open(protocol int, limit time.Duration) (fd int, err error) {
	fd, err = unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, protocol)
	if err != nil {
		return -1, os.NewSyscallError("socket", err)
	}
	tv := unix.NsecToTimeval(limit.Nanoseconds())
	err = errors.Join(
		unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &tv),
		unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv))
	if err != nil {
		unix.Close(fd)
		return -1, os.NewSyscallError("setsockopt", err)
	}
	return fd, nil
}

// Receive returns what the kernel sends next.
func Receive(fd, flags int) ([]syscall.NetlinkMessage, error) {
	buf := buffers.Get().(*[receiveSize]byte)
	defer buffers.Put(buf)
	for {
		n, from, err := unix.Recvfrom(fd, buf[:], flags)
		if errors.Is(err, unix.EINTR) { // a signal of Go's scheduler
			continue
		}
		if err != nil {
			return nil, err
		}
		if sa, ok := from.(*unix.SockaddrNetlink); !ok || sa.Pid != 0 {
			continue // not the kernel
		}
		return syscall.ParseNetlinkMessage(slices.Clone(buf[:n]))
	}
}
