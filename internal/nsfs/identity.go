package nsfs

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Is reports whether the file at path is the namespace that is open as ns.
func Is(ns *os.File, path string) bool {
	open, err := ns.Stat()
	if err != nil {
		return false
	}
	named, err := os.Stat(path)
	return err == nil && os.SameFile(open, named)
}

// OfProcess returns the path of a process's network namespace.
func OfProcess(pid int) string { return fmt.Sprintf("/proc/%d/ns/net", pid) }

// Reopen opens a namespace once more. A child process must not get a copy of our
// descriptor: both would share one open file, so a lock on it (flock(2)) would be
// the child's as well, and would outlive us.
func Reopen(ns *os.File) (*os.File, error) {
	return os.Open(fmt.Sprintf("/proc/self/fd/%d", ns.Fd()))
}

// Cookie returns the number by which the kernel knows the network namespace of the
// calling thread. Unlike an inode number it is never given again while the machine
// runs. Since Linux 5.14; before: unix.ENOPROTOOPT.
func Cookie() (uint64, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, os.NewSyscallError("socket", err)
	}
	defer unix.Close(fd)
	c, err := unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_NETNS_COOKIE)
	return c, os.NewSyscallError("getsockopt", err)
}
