package lease

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Kept is an interface whose lease is kept.
type Kept struct {
	Ask     Ask    `json:"ask"`
	Lease   *Lease `json:"lease"`             // nil: it has none now, and asks for one
	Trouble string `json:"trouble,omitempty"` // why there is none, or no new one
}

// record is the file of one guest: what a keeper needs to go on.
type record struct {
	Guest      identity `json:"guest"`
	Interfaces []Kept   `json:"interfaces"`
}

// store is the directory of the keepers. Each has three files there, named
// dhcp-COOKIE: .json, the record; .lock, which its keeper holds with flock(2);
// .sock, on which it listens.
//
// The directory goes when it is empty, and may do so under somebody who has just
// opened it; who finds it so opens it again.
type store struct {
	dir  string
	root *os.Root
	self *os.File // the directory itself, for the paths of sockets
}

const (
	filePrefix = "dhcp-"
	recordName = ".json"
	lockName   = ".lock"
	socketName = ".sock"
)

// openStore opens the directory, and makes it if it is not there. One that
// others could write to is refused.
func openStore(dir string) (*store, error) {
	f, err := makeDir(dir)
	if err != nil {
		return nil, err
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil || int(st.Uid) != os.Geteuid() || st.Mode&0o022 != 0 {
		f.Close()
		return nil, fmt.Errorf("open %s: others can write to it", dir)
	}
	root, err := os.OpenRoot(fmt.Sprintf("/proc/self/fd/%d", f.Fd()))
	if err != nil {
		f.Close()
		return nil, err
	}
	return &store{dir: dir, root: root, self: f}, nil
}

// makeDir opens a directory, and makes it if it is not there. Others may remove
// it in between.
func makeDir(dir string) (f *os.File, err error) {
	for range 100 {
		if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
			return nil, err
		}
		f, err = os.OpenFile(dir, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
		if !errors.Is(err, os.ErrNotExist) {
			return f, err
		}
	}
	return nil, err
}

// close closes the directory, and removes it if it is empty.
func (s *store) close() {
	_ = unix.Rmdir(s.dir)
	s.root.Close()
	s.self.Close()
}

// reopen opens the directory anew, which somebody may have removed and made
// again since.
func (s *store) reopen() error {
	now, err := openStore(s.dir)
	if err != nil {
		return err
	}
	s.root.Close()
	s.self.Close()
	*s = *now
	return nil
}

func fileOf(cookie uint64, kind string) string {
	return filePrefix + strconv.FormatUint(cookie, 16) + kind
}

var errHeld = errors.New("a keeper runs")

// lock makes us the one keeper of the guest, as long as the file is open; or
// it says errHeld.
func (s *store) lock(cookie uint64) (*os.File, error) {
	for {
		f, err := s.root.OpenFile(fileOf(cookie, lockName), os.O_CREATE|os.O_RDWR|unix.O_NOFOLLOW, 0o600)
		if errors.Is(err, os.ErrNotExist) {
			if err := s.reopen(); err != nil {
				return nil, err
			}
			continue
		}
		if err != nil {
			return nil, err
		}
		if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
			f.Close()
			if errors.Is(err, unix.EWOULDBLOCK) {
				return nil, errHeld
			}
			return nil, os.NewSyscallError("flock", err)
		}
		var st unix.Stat_t
		if err := unix.Fstat(int(f.Fd()), &st); err == nil && st.Nlink > 0 {
			return f, nil
		}
		f.Close() // its keeper ended, and removed it, before we had it
	}
}

// maxRecord is far more than the record of any guest.
const maxRecord = 1 << 20

// load reads a record; os.ErrNotExist if there is none.
func (s *store) load(cookie uint64) (record, error) {
	f, err := s.root.OpenFile(fileOf(cookie, recordName), os.O_RDONLY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return record{}, err
	}
	defer f.Close()
	var r record
	b, err := io.ReadAll(io.LimitReader(f, maxRecord))
	if err == nil {
		err = json.Unmarshal(b, &r)
	}
	if err == nil && r.Guest.Cookie != cookie {
		err = errors.New("it is another guest's")
	}
	if err != nil {
		return record{}, fmt.Errorf("read %s: %w", fileOf(cookie, recordName), err)
	}
	return r, nil
}

// save writes a record. Who reads at the same time sees the old or the new one.
// Only who holds the lock may call it.
func (s *store) save(r record) error {
	b, err := json.Marshal(r)
	if err != nil {
		return err
	}
	next := fileOf(r.Guest.Cookie, recordName+".new")
	_ = s.root.Remove(next) // of a keeper that was killed
	f, err := s.root.OpenFile(next, os.O_CREATE|os.O_EXCL|os.O_WRONLY|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return s.root.Rename(next, fileOf(r.Guest.Cookie, recordName))
}

// remove removes all files of a guest, the lock last. Only who holds the lock
// may call it.
func (s *store) remove(cookie uint64) {
	for _, kind := range []string{recordName + ".new", recordName, socketName, lockName} {
		_ = s.root.Remove(fileOf(cookie, kind))
	}
}

// cookies lists the guests that have a file.
func (s *store) cookies() ([]uint64, error) {
	entries, err := os.ReadDir(fmt.Sprintf("/proc/self/fd/%d", s.self.Fd()))
	if err != nil {
		return nil, err
	}
	var out []uint64
	seen := map[uint64]bool{}
	for _, e := range entries {
		name, ok := strings.CutPrefix(e.Name(), filePrefix)
		name, _, _ = strings.Cut(name, ".")
		if c, err := strconv.ParseUint(name, 16, 64); ok && err == nil && !seen[c] {
			seen[c] = true
			out = append(out, c)
		}
	}
	return out, nil
}

// socketPath is short, whatever the directory is called: sun_path has 108
// bytes (unix(7)).
func (s *store) socketPath(cookie uint64) *net.UnixAddr {
	return &net.UnixAddr{Net: "unix", Name: fmt.Sprintf("/proc/self/fd/%d/%s", s.self.Fd(), fileOf(cookie, socketName))}
}

func (s *store) listen(cookie uint64) (*net.UnixListener, error) {
	_ = s.root.Remove(fileOf(cookie, socketName)) // of a keeper that was killed
	l, err := net.ListenUnix("unix", s.socketPath(cookie))
	if err == nil {
		l.SetUnlinkOnClose(false) // remove does it, in its order
	}
	return l, err
}
