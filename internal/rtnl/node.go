package rtnl

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Node returns the inode of the link's directory in sysfs. A device keeps it for life,
// whatever its name, index, address and namespace, and no other device can take it.
// The error is ErrNotFound if the link is gone or has been renamed.
//
//	stat --format %i /sys/class/net/NAME/
func (c *Conn) Node(l *Link) (node uint64, err error) {
	err = c.Run(func() error {
		node, err = readNode(l)
		return err
	})
	return node, err
}

// readNode mounts a sysfs of its own, of the thread's namespace and without a
// place in the tree: that at /sys is of the namespace of whoever mounted it.
func readNode(l *Link) (uint64, error) {
	fs, err := unix.Fsopen("sysfs", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return 0, os.NewSyscallError("fsopen sysfs", err)
	}
	defer unix.Close(fs)
	if err := unix.FsconfigCreate(fs); err != nil {
		return 0, os.NewSyscallError("fsconfig sysfs", err)
	}
	root, err := unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, unix.MOUNT_ATTR_RDONLY)
	if err != nil {
		return 0, os.NewSyscallError("fsmount sysfs", err)
	}
	defer unix.Close(root)
	dir, err := unix.Openat(root, "class/net/"+l.Name, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0, ErrNotFound
	}
	defer unix.Close(dir)
	var st unix.Stat_t
	if err := unix.Fstat(dir, &st); err != nil {
		return 0, os.NewSyscallError("fstat", err)
	}
	fd, err := unix.Openat(dir, "ifindex", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0, ErrNotFound
	}
	f := os.NewFile(uintptr(fd), "ifindex")
	defer f.Close()
	b, err := io.ReadAll(f)
	if err != nil {
		return 0, ErrNotFound
	}
	index, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		return 0, fmt.Errorf("read ifindex of %s: %w", l.Name, err)
	}
	if index != l.Index {
		return 0, ErrNotFound // another link has got the name since
	}
	return st.Ino, nil
}
