// Package nsfs opens network namespaces by their paths, and runs code in them.
package nsfs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// ErrNoNamespace is in the error for a file that is something else.
var ErrNoNamespace = errors.New("not a network namespace")

// Starved reports whether an error says that this process, or the machine, has run out
// of descriptors or memory. It tells nothing about what was to be opened.
func Starved(err error) bool {
	return errors.Is(err, unix.EMFILE) || errors.Is(err, unix.ENFILE) || errors.Is(err, unix.ENOMEM)
}

// New makes a network namespace, which lives as long as the file is open.
func New() (ns *os.File, err error) {
	done := make(chan struct{})
	Go(func() { // the thread ends with it
		defer close(done)
		if err = unix.Unshare(unix.CLONE_NEWNET); err == nil {
			ns, err = os.Open(ownNS)
		}
	})
	<-done
	return ns, err
}

// Open opens the network namespace at path. The file is first taken hold
// of with O_PATH, which has no side effects, and opened only when it is a
// namespace: a word must not block on a FIFO or start a watchdog. flags are
// added for that first step.
func Open(path string, flags int) (*os.File, error) {
	probe, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC|flags, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	defer unix.Close(probe)
	var st unix.Statfs_t
	if err := unix.Fstatfs(probe, &st); err != nil {
		return nil, &fs.PathError{Op: "statfs", Path: path, Err: err}
	}
	if uint32(st.Type) != unix.NSFS_MAGIC {
		return nil, fmt.Errorf("%s: %w", path, ErrNoNamespace)
	}
	fd, err := unix.Open(fmt.Sprintf("/proc/self/fd/%d", probe), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	ns := os.NewFile(uintptr(fd), path)
	// All kinds of namespaces live in nsfs; ioctl_nsfs(2) tells them apart.
	kind, err := unix.IoctlRetInt(fd, unix.NS_GET_NSTYPE)
	if err != nil || kind != unix.CLONE_NEWNET {
		ns.Close()
		return nil, fmt.Errorf("%s: %w", path, ErrNoNamespace)
	}
	return ns, nil
}
