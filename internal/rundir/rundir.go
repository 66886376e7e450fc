// Package rundir keeps the few things that no kernel object can hold, as JSON
// files in a directory of root's, such as the settings of a lent network card.
// They are lost when the machine restarts, as are the kernel's objects.
package rundir

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/gopipework/gopipework/internal/plainfile"
	"golang.org/x/sys/unix"
)

// Path is where the files are.
const Path = "/run/gopipework"

// ErrForeign is in the error for a directory that somebody else may have made.
var ErrForeign = errors.New("it is not to be trusted")

// maxFile bounds what is read of one file.
const maxFile = 1 << 20

// Dir is the directory, held open. The names of its files hold no slash, so that
// none leads out of it.
type Dir struct {
	path string
	f    *os.File
}

// Open opens the directory at path. With make it is made if it is not there;
// otherwise its absence is an fs.ErrNotExist. One that belongs to somebody else,
// or that others may look into, is refused.
func Open(path string, make bool) (*Dir, error) {
	f, err := openDir(path)
	for try := 0; make && errors.Is(err, fs.ErrNotExist) && try < 100; try++ { // others may remove it in between
		if err := os.Mkdir(path, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, err
		}
		f, err = openDir(path)
	}
	if err != nil {
		return nil, err
	}
	return &Dir{path, f}, nil
}

// Put writes v to a file of the directory at path, which is made if it is not there.
func Put(path, name string, v any) error {
	return in(path, func(d *Dir) error { return d.Write(name, v) })
}

// Drop removes a file of the directory at path, and the directory if it is empty then.
func Drop(path, name string) error {
	return in(path, func(d *Dir) error { return d.Remove(name) })
}

func in(path string, do func(*Dir) error) error {
	d, err := Open(path, true)
	if err != nil {
		return err
	}
	defer d.Close()
	return do(d)
}

// View calls see with the directory at path, if there is one. If it is empty then, it
// is removed.
func View(path string, see func(*Dir) error) error {
	d, err := Open(path, false)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer d.Close()
	return see(d)
}

// openDir opens the directory and sees that it is ours alone.
func openDir(path string) (*os.File, error) {
	f, err := os.OpenFile(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	switch {
	case errors.Is(err, unix.ENOTDIR), errors.Is(err, unix.ELOOP):
		return nil, fmt.Errorf("%s is a link or no directory; remove it: %w", path, ErrForeign)
	case err != nil:
		return nil, err
	}
	var st unix.Stat_t
	if err = unix.Fstat(int(f.Fd()), &st); err == nil && (int(st.Uid) != os.Geteuid() || st.Mode&0o077 != 0) {
		err = fmt.Errorf("%s belongs to somebody else, or others may look into it; chmod 700 it, or remove it: %w", path, ErrForeign)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// Close closes the directory, and removes it if it is empty.
func (d *Dir) Close() {
	_ = unix.Rmdir(d.path)
	d.f.Close()
}

// Leave closes the directory after reading: it stays, even if it is empty.
func (d *Dir) Leave() { d.f.Close() }

// Names returns the names of the files that end in suffix, in order.
func (d *Dir) Names(suffix string) ([]string, error) {
	all, err := d.list()
	return slices.DeleteFunc(all, func(n string) bool { return !strings.HasSuffix(n, suffix) || strings.HasPrefix(n, ".") }), err
}

// list returns all names, in order: none, if somebody has removed the directory
// since we opened it, empty as it was.
func (d *Dir) list() ([]string, error) {
	fd, err := unix.Openat(int(d.f.Fd()), ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: d.path, Err: err}
	}
	f := os.NewFile(uintptr(fd), d.path)
	defer f.Close()
	all, err := f.Readdirnames(-1)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	slices.Sort(all)
	return all, err
}

// InProc returns a path of a file that is short, as a socket's must be, and leads
// there whatever becomes of the directory's own name. It holds until Close.
func (d *Dir) InProc(name string) string { return fmt.Sprintf("/proc/self/fd/%d/%s", d.f.Fd(), name) }

// Open opens a file as open(2) does. What is there and is no regular file is
// refused (plainfile.ErrNotRegular); nothing is waited for.
func (d *Dir) Open(name string, flag int) (*os.File, error) {
	return plainfile.OpenAt(int(d.f.Fd()), name, flag|unix.O_NOFOLLOW)
}

// ReadText reads a file of no more than most bytes.
func (d *Dir) ReadText(name string, most int64) ([]byte, error) {
	f, err := d.Open(name, unix.O_RDONLY)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return plainfile.Read(f, most)
}

// Read reads a file into v.
func (d *Dir) Read(name string, v any) error {
	b, err := d.ReadText(name, maxFile)
	if err != nil {
		return err
	}
	return json.Unmarshal(b, v)
}

// Write writes v to a file: wholly or not at all, also if we are killed. A reader sees
// either the old file or the new one.
func (d *Dir) Write(name string, v any) error {
	b, err := json.MarshalIndent(v, "", "\t")
	if err != nil {
		return err
	}
	const tries = 3 // somebody may remove the directory, empty as it is, between two steps
	for range tries {
		if err = d.back(); err == nil {
			err = d.write(name, append(b, '\n'), false)
		}
		if !errors.Is(err, fs.ErrNotExist) {
			break
		}
	}
	return err
}

// WriteDurable writes a file wholly or not at all, also if the power fails: once it
// returns, the file is on the disk. The directory has to be there still.
func (d *Dir) WriteDurable(name string, b []byte) error { return d.write(name, b, true) }

// Lock waits until no other process has the directory's lock. It is held until the
// directory is closed. If the process that had it has removed the directory, empty as it
// was, the directory is made again.
func (d *Dir) Lock(ctx context.Context) error {
	for {
		err := unix.Flock(int(d.f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err == nil && d.there():
			return nil
		case err == nil:
			if err := d.Reopen(); err != nil {
				return err
			}
			continue
		case !errors.Is(err, unix.EWOULDBLOCK):
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("another process has the lock of %s: %w", d.path, context.Cause(ctx))
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// write writes a file; with durable it waits for the disk.
func (d *Dir) write(name string, b []byte, durable bool) error {
	temporary := "." + name
	_ = d.unlink(temporary) // of a run that was killed, or somebody else's
	f, err := d.Open(temporary, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL)
	if err != nil {
		return err
	}
	_ = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) // see Torn
	if _, err = f.Write(b); err == nil && durable {
		err = f.Sync()
	}
	if err == nil {
		dir := int(d.f.Fd())
		err = unix.Renameat(dir, temporary, dir, name)
		if err != nil {
			err = &os.LinkError{Op: "rename", Old: temporary, New: name, Err: err}
		}
	}
	if err = errors.Join(err, f.Close()); err != nil {
		_ = d.unlink(temporary)
		return err
	}
	if durable {
		return d.Sync() // the name is the directory's
	}
	return nil
}

// Torn returns the names of files that a killed Write has left and that no other
// Write uses. A Write holds the lock of its file; if the file is removed before it has
// the lock, it starts again.
func (d *Dir) Torn() ([]string, error) {
	all, err := d.list()
	return slices.DeleteFunc(all, func(n string) bool { return !strings.HasPrefix(n, ".") || !d.torn(n) }), err
}

func (d *Dir) torn(name string) bool {
	f, err := d.Open(name, unix.O_RDONLY)
	if err != nil {
		return false
	}
	defer f.Close()
	return unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil
}

// RemoveTorn removes such a file, if it is one still.
func (d *Dir) RemoveTorn(name string) error {
	if !strings.HasPrefix(name, ".") || !d.torn(name) {
		return nil
	}
	if err := d.unlink(name); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// back makes the directory anew if somebody else has removed it, empty as it
// was, since we opened it.
func (d *Dir) back() error {
	if d.there() {
		return nil
	}
	return d.Reopen()
}

// there reports whether nobody has removed the directory since we opened it.
func (d *Dir) there() bool {
	var st unix.Stat_t
	return unix.Fstat(int(d.f.Fd()), &st) == nil && st.Nlink > 0
}

// Reopen opens the directory anew, which somebody may have removed and made
// again since.
func (d *Dir) Reopen() error {
	again, err := Open(d.path, true)
	if err == nil {
		d.f.Close()
		d.f = again.f
	}
	return err
}

// Sync waits until what has become of the names in the directory is on the disk.
func (d *Dir) Sync() error { return d.f.Sync() }

// Remove removes a file, and what a killed Write has left of it; that it is not
// there is no error.
func (d *Dir) Remove(name string) error {
	_ = d.unlink("." + name)
	if err := d.unlink(name); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func (d *Dir) unlink(name string) error {
	if err := unix.Unlinkat(int(d.f.Fd()), name, 0); err != nil {
		return &os.PathError{Op: "remove", Path: name, Err: err}
	}
	return nil
}
