// Package notify tells what the kernel tells about files and mounts: that a file comes to
// be, changes or goes, and that something is mounted.
package notify

import (
	"context"
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// sentry waits for a descriptor on which the kernel tells events, or for its end.
//
// Neither descriptor is one of package os, whose poller would ask them too: a table of
// mounts tells each change once.
type sentry struct {
	fd   int
	end  int   // an eventfd
	tell int16 // what poll(2) returns for fd when there is an event
}

// newSentry takes over fd.
func newSentry(fd int, tell int16) (*sentry, error) {
	end, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
	if err != nil {
		unix.Close(fd)
		return nil, os.NewSyscallError("eventfd", err)
	}
	return &sentry{fd, end, tell}, nil
}

// follow calls event for each, until ctx is done, and closes the sentry.
func (s *sentry) follow(ctx context.Context, event func()) {
	ended := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(ended)
		unix.Write(s.end, binary.NativeEndian.AppendUint64(nil, 1))
	})
	defer func() {
		if !stop() {
			<-ended
		}
		unix.Close(s.fd)
		unix.Close(s.end)
	}()
	for ctx.Err() == nil {
		p := []unix.PollFd{{Fd: int32(s.fd), Events: s.tell}, {Fd: int32(s.end), Events: unix.POLLIN}}
		if _, err := unix.Poll(p, -1); err != nil && err != unix.EINTR {
			return
		}
		if p[0].Revents != 0 {
			event()
		}
	}
}

// Mounts tells when something is mounted or unmounted in our mount namespace
// (proc_pid_mounts(5)). To mount a namespace on a file changes nothing that inotify sees.
type Mounts struct{ s *sentry }

// NewMounts begins to listen.
func NewMounts() (*Mounts, error) {
	const path = "/proc/self/mountinfo"
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	s, err := newSentry(fd, unix.POLLPRI)
	return &Mounts{s}, err
}

// Follow calls ring for each change since NewMounts, until ctx is done. Call it once.
func (m *Mounts) Follow(ctx context.Context, ring func()) { m.s.follow(ctx, ring) }

// Path tells what becomes of one path, whichever of the directories that lead to it are
// there (inotify(7)).
type Path struct {
	s      *sentry
	path   string
	events uint32 // of the directory that holds the file, by which it is told
	any    bool   // the path is a directory, and what becomes of its files is told too
	dir    int    // the watch of the last directory on the way that is there
	name   string // what comes after that
}

// What is asked of each directory on the way.
const onTheWay = unix.IN_CREATE | unix.IN_MOVED_TO | unix.IN_ATTRIB | unix.IN_DELETE_SELF | unix.IN_MOVE_SELF | unix.IN_ONLYDIR

// What is asked of a directory in which files may change and go.
const inFiles = onTheWay | unix.IN_CLOSE_WRITE | unix.IN_DELETE | unix.IN_MOVED_FROM

// NewAppearance tells when a file may have come to be, or has changed its owner or mode.
func NewAppearance(path string) (*Path, error) { return newPath(Path{path: path, events: onTheWay}) }

// NewFile tells also when a file may have been written or removed.
func NewFile(path string) (*Path, error) { return newPath(Path{path: path, events: inFiles}) }

// NewDirectory tells when a file in a directory may have come to be, changed or gone.
func NewDirectory(path string) (*Path, error) {
	return newPath(Path{path: path + "/.", events: inFiles, any: true})
}

func newPath(p Path) (*Path, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, os.NewSyscallError("inotify_init", err)
	}
	if p.s, err = newSentry(fd, unix.POLLIN); err != nil {
		return nil, err
	}
	p.aim()
	return &p, nil
}

// aim watches the last directory on the way to the file that is there. It comes from the
// top, and leaves a directory only when it watches the next: what comes to be meanwhile is
// told.
func (p *Path) aim() {
	before, dir := p.dir, "/"
	for name := range strings.SplitSeq(strings.TrimPrefix(p.path, "/"), "/") {
		wd, err := unix.InotifyAddWatch(p.s.fd, dir, p.events)
		if err != nil {
			return
		}
		if before != 0 && before != wd {
			unix.InotifyRmWatch(p.s.fd, uint32(before))
		}
		before, p.dir, p.name = wd, wd, name
		dir = filepath.Join(dir, name)
	}
}

// told reads the events, and reports whether one of them matters.
func (p *Path) told() (matters bool) {
	const lost = unix.IN_DELETE_SELF | unix.IN_MOVE_SELF | unix.IN_UNMOUNT | unix.IN_Q_OVERFLOW
	b := make([]byte, 64<<10)
	n, err := unix.Read(p.s.fd, b)
	if err != nil {
		return false
	}
	for b = b[:n]; len(b) >= unix.SizeofInotifyEvent; {
		wd, mask := int(int32(binary.NativeEndian.Uint32(b))), binary.NativeEndian.Uint32(b[4:])
		size := unix.SizeofInotifyEvent + int(binary.NativeEndian.Uint32(b[12:]))
		name := unix.ByteSliceToString(b[unix.SizeofInotifyEvent:size])
		matters = matters || mask&lost != 0 || wd == p.dir && (name == p.name || p.any && p.name == ".")
		b = b[size:]
	}
	return matters
}

// Follow calls ring for each change since the Path was made, until ctx is done. Call it
// once.
func (p *Path) Follow(ctx context.Context, ring func()) {
	p.s.follow(ctx, func() {
		if p.told() {
			p.aim()
			ring()
		}
	})
}
