// Package rundir keeps the few things that no kernel object can hold, as JSON
// files in a directory of root's: what a borrowed network card was like, for
// one. They are gone when the machine starts anew, as is the kernel's memory.
package rundir

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Path is where the files are.
const Path = "/run/gopipework"

// ErrForeign is in the error for a directory that somebody else may have made.
var ErrForeign = errors.New("it is not to be trusted")

// maxFile bounds what is read of one file.
const maxFile = 1 << 20

// Dir is the directory, held open: no name in it leads out of it.
type Dir struct{ root *os.Root }

// Open opens the directory at path. With make it is made if it is not there;
// otherwise its absence is an fs.ErrNotExist. One that others may write to, or
// that is not a directory of ours, is refused.
func Open(path string, make bool) (*Dir, error) {
	root, err := os.OpenRoot(path)
	for try := 0; make && errors.Is(err, fs.ErrNotExist) && try < 100; try++ { // others may remove it in between
		if err := os.Mkdir(path, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, err
		}
		root, err = os.OpenRoot(path)
	}
	if err != nil {
		return nil, err
	}
	if err := check(root, path); err != nil {
		root.Close()
		return nil, err
	}
	return &Dir{root}, nil
}

// check sees that the path is no link, and the directory ours alone.
func check(root *os.Root, path string) error {
	var named, opened unix.Stat_t
	f, err := root.Open(".")
	if err != nil {
		return err
	}
	defer f.Close()
	if err := errors.Join(unix.Lstat(path, &named), unix.Fstat(int(f.Fd()), &opened)); err != nil {
		return err
	}
	switch {
	case named.Ino != opened.Ino || named.Dev != opened.Dev:
		return fmt.Errorf("%s is a link; remove it: %w", path, ErrForeign)
	case int(opened.Uid) != os.Geteuid() || opened.Mode&0o077 != 0:
		return fmt.Errorf("%s belongs to somebody else, or others may look into it; chmod 700 it, or remove it: %w", path, ErrForeign)
	}
	return nil
}

// Close closes the directory, and removes it if it is empty.
func (d *Dir) Close() {
	_ = unix.Rmdir(d.root.Name())
	d.root.Close()
}

// Names returns the names of the files that end in suffix, in order.
func (d *Dir) Names(suffix string) ([]string, error) {
	f, err := d.root.Open(".")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	all, err := f.Readdirnames(-1)
	slices.Sort(all)
	return slices.DeleteFunc(all, func(n string) bool { return !strings.HasSuffix(n, suffix) || strings.HasPrefix(n, ".") }), err
}

// Read reads a file into v.
func (d *Dir) Read(name string, v any) error {
	f, err := d.root.OpenFile(name, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxFile))
	if err != nil {
		return err
	}
	return json.Unmarshal(b, v)
}

// Write writes v to a file: wholly or not at all, also if we are killed.
func (d *Dir) Write(name string, v any) error {
	b, err := json.MarshalIndent(v, "", "\t")
	if err != nil {
		return err
	}
	const tries = 3 // somebody may remove the directory, empty as it is, between two steps
	for range tries {
		if err = d.back(); err == nil {
			err = d.write(name, append(b, '\n'))
		}
		if !errors.Is(err, fs.ErrNotExist) {
			break
		}
	}
	return err
}

func (d *Dir) write(name string, b []byte) error {
	temporary := "." + name // what a killed run has left of it is written over
	f, err := d.root.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_TRUNC|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err = errors.Join(err, f.Close()); err == nil {
		err = d.root.Rename(temporary, name)
	}
	if err != nil {
		_ = d.root.Remove(temporary)
	}
	return err
}

// back makes the directory anew if somebody else has removed it, empty as it
// was, since we opened it.
func (d *Dir) back() error {
	f, err := d.root.Open(".")
	if err == nil {
		var st unix.Stat_t
		err = unix.Fstat(int(f.Fd()), &st)
		f.Close()
		if err == nil && st.Nlink > 0 {
			return nil
		}
	}
	again, err := Open(d.root.Name(), true)
	if err == nil {
		d.root.Close()
		d.root = again.root
	}
	return err
}

// Remove removes a file; that it is not there is no error.
func (d *Dir) Remove(name string) error {
	if err := d.root.Remove(name); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
