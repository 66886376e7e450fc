// Package plainfile opens regular files, and refuses anything else in their place.
// Opening a FIFO would wait for its other end, and reading a device might never end. No
// more of a file is read than it should have.
package plainfile

import (
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

var (
	// ErrNotRegular is in the error for a FIFO, device, directory or socket.
	ErrNotRegular = errors.New("it is not a regular file")
	// ErrTooLarge is in the error for a file that is larger than it should be.
	ErrTooLarge = errors.New("it is too large")
	// ErrUnfinished is in the error for a file that somebody is still writing.
	ErrUnfinished = errors.New("somebody is writing it")
)

// Open opens a regular file. flag is that of open(2); a new file is for its
// owner alone.
func Open(path string, flag int) (*os.File, error) { return OpenAt(unix.AT_FDCWD, path, flag) }

// OpenAt opens a regular file by a name that starts from a directory (openat(2)).
func OpenAt(dir int, name string, flag int) (*os.File, error) {
	var fd int
	var err error
	for {
		fd, err = unix.Openat(dir, name, flag|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_CLOEXEC, 0o600)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	switch {
	case errors.Is(err, unix.ENXIO), errors.Is(err, unix.EISDIR): // of a FIFO that nobody reads, a socket, a directory
		return nil, &os.PathError{Op: "open", Path: name, Err: ErrNotRegular}
	case errors.Is(err, unix.ELOOP) && flag&unix.O_NOFOLLOW != 0:
		return nil, &os.PathError{Op: "open", Path: name, Err: fmt.Errorf("%w: %w", ErrNotRegular, err)}
	case err != nil:
		return nil, &os.PathError{Op: "open", Path: name, Err: err}
	}
	f := os.NewFile(uintptr(fd), name)
	var st unix.Stat_t
	if err = unix.Fstat(fd, &st); err == nil && st.Mode&unix.S_IFMT != unix.S_IFREG {
		err = ErrNotRegular
	}
	if err != nil {
		f.Close()
		return nil, &os.PathError{Op: "open", Path: name, Err: err}
	}
	return f, nil
}

// longestRead bounds a read of what is a regular file and yet has its readers wait for more,
// such as /proc/kmsg.
const longestRead = time.Second

// Read reads all of f, which should have no more than most bytes.
func Read(f *os.File, most int64) ([]byte, error) {
	if f.SetReadDeadline(time.Now().Add(longestRead)) == nil { // others need no limit, and have none
		defer f.SetReadDeadline(time.Time{})
	}
	b, err := io.ReadAll(io.LimitReader(f, most+1))
	if err == nil && int64(len(b)) > most {
		err = &os.PathError{Op: "read", Path: f.Name(), Err: ErrTooLarge}
	}
	return b, err
}

// ReadFile reads a regular file of no more than most bytes.
func ReadFile(path string, most int64) ([]byte, error) {
	f, err := Open(path, unix.O_RDONLY)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return Read(f, most)
}

// ReadWritten is ReadFile for a file that a person or a program may be writing: it waits a
// moment until they have finished, so that it does not return half of it.
func ReadWritten(path string, most int64) ([]byte, error) {
	f, err := Open(path, unix.O_RDONLY)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return Written(f, most)
}

// Written is Read for such a file.
func Written(f *os.File, most int64) ([]byte, error) {
	const tries, pause = 20, 10 * time.Millisecond
	var before, after unix.Stat_t
	for range tries {
		if _, err := f.Seek(0, io.SeekStart); err != nil {
			return nil, err
		}
		if err := unix.Fstat(int(f.Fd()), &before); err != nil {
			return nil, os.NewSyscallError("fstat", err)
		}
		begun := hasWriter(f)
		b, err := Read(f, most)
		if err != nil {
			return nil, err
		}
		if err := unix.Fstat(int(f.Fd()), &after); err != nil {
			return nil, os.NewSyscallError("fstat", err)
		}
		if !begun && !hasWriter(f) && before.Mtim == after.Mtim && before.Size == after.Size {
			return b, nil
		}
		time.Sleep(pause)
	}
	return nil, &os.PathError{Op: "read", Path: f.Name(), Err: ErrUnfinished}
}

// hasWriter reports whether the file is open for writing: the kernel gives no lease of it
// then (fcntl(2), F_SETLEASE). Where there are no leases, it has no writer.
func hasWriter(f *os.File) bool {
	_, err := unix.FcntlInt(f.Fd(), unix.F_SETLEASE, unix.F_RDLCK)
	if err == nil {
		_, _ = unix.FcntlInt(f.Fd(), unix.F_SETLEASE, unix.F_UNLCK)
	}
	return errors.Is(err, unix.EAGAIN)
}
