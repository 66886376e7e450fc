package dockerutil

import (
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// peerOf returns the process that listens at the other end of a unix socket (unix(7)).
func peerOf(conn net.Conn) (*unix.Ucred, error) {
	if bounded, is := conn.(*boundedConn); is {
		conn = bounded.Conn
	}
	socket, is := conn.(*net.UnixConn)
	if !is {
		return nil, errElsewhere
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return nil, err
	}
	var peer *unix.Ucred
	var peerErr error
	err = raw.Control(func(fd uintptr) {
		peer, peerErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	})
	return peer, errors.Join(err, peerErr)
}

// sameProcesses reports whether the listening process is in our PID namespace, so that the
// PIDs it gives are ours. For a process that cannot be seen from here the kernel gives
// the PID 0. A process in a PID namespace below ours can be seen, but is not in ours.
func sameProcesses(peer int) bool {
	if peer <= 0 {
		return false
	}
	theirs, err := os.Stat(fmt.Sprintf("/proc/%d/ns/pid", peer))
	if err != nil {
		return false
	}
	own, err := os.Stat("/proc/self/ns/pid")
	return err == nil && os.SameFile(own, theirs)
}

// apart reports whether the process at the other end of a unix socket is known to be in
// another network namespace. If we cannot see the process, we are in a container and it
// is outside; we then assume that it is in the machine's first network namespace.
func apart(conn net.Conn) bool {
	peer, err := peerOf(conn)
	if err != nil {
		return false
	}
	own, err := os.Stat("/proc/thread-self/ns/net")
	if err != nil {
		return false
	}
	if peer.Pid > 0 {
		theirs, err := os.Stat(fmt.Sprintf("/proc/%d/ns/net", peer.Pid))
		return err == nil && !os.SameFile(own, theirs)
	}
	return !firstNetwork(conn.(*net.UnixConn))
}

// firstNetwork reports whether we are in the network namespace that the kernel started
// with, whose cookie is 1. It returns true on a kernel before 5.14, which has no cookies.
func firstNetwork(conn *net.UnixConn) bool {
	first := true
	if raw, err := conn.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) {
			cookie, err := unix.GetsockoptUint64(int(fd), unix.SOL_SOCKET, unix.SO_NETNS_COOKIE)
			first = err != nil || cookie == 1
		})
	}
	return first
}

// passCredentials makes the kernel say who sent each message (unix(7)).
func passCredentials(_, _ string, c syscall.RawConn) error {
	var err error
	controlErr := c.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_PASSCRED, 1) })
	return errors.Join(controlErr, err)
}

// senderOf returns the process that sent a message, or 0 if it cannot be seen from our PID
// namespace.
func senderOf(control []byte) int {
	messages, err := unix.ParseSocketControlMessage(control)
	if err != nil {
		return 0
	}
	for _, m := range messages {
		if who, err := unix.ParseUnixCredentials(&m); err == nil {
			return int(who.Pid)
		}
	}
	return 0
}
