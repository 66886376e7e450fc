package lease

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"

	"github.com/gopipework/gopipework/internal/rundir"
	"golang.org/x/sys/unix"
)

// Kept is an interface whose lease is kept.
type Kept struct {
	Guest   string `json:"guest,omitempty"` // for telling alone; "": it is not known
	Ask     Ask    `json:"ask"`
	Lease   *Lease `json:"lease"`             // nil: it has none now, and asks for one
	Trouble string `json:"trouble,omitempty"` // why there is none, or no new one

	Unkept bool `json:"-"` // no keeper runs
}

// Options returns the options that it was asked for with. A client ID that was given cannot
// be told from one that was made of the guest, and is left out.
func (k Kept) Options() Options {
	a := k.Ask
	o := Options{Request: a.Request, NoDefaultRoute: a.NoDefaultRoute, LeaseTime: a.LeaseTime, Bits: a.Bits}
	if a.Hostname != toHostname(k.Guest) {
		o.Hostname = a.Hostname
	}
	if a.VendorClass != vendorClass {
		o.VendorClass = a.VendorClass
	}
	return o
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
// The directory is removed when it is empty, perhaps while another process has it open.
// A process that finds it removed opens it again.
type store struct{ *rundir.Dir }

const (
	filePrefix = "dhcp-"
	recordName = ".json"
	lockName   = ".lock"
	socketName = ".sock"
)

// openStore opens the directory, and makes it if it is not there.
func openStore(dir string) (*store, error) {
	d, err := rundir.Open(dir, true)
	if err != nil {
		return nil, err
	}
	return &store{d}, nil
}

// lookStore opens the directory to read only: os.ErrNotExist if it is not there.
// It ends with Leave, which leaves the directory as it is.
func lookStore(dir string) (*store, error) {
	d, err := rundir.Open(dir, false)
	if err != nil {
		return nil, err
	}
	return &store{d}, nil
}

func fileOf(cookie uint64, kind string) string {
	return filePrefix + strconv.FormatUint(cookie, 16) + kind
}

var errHeld = errors.New("a keeper runs")

// lock makes us the one keeper of the guest, as long as the file is open; or
// it says errHeld.
func (s *store) lock(cookie uint64) (*os.File, error) { return s.lockFile(fileOf(cookie, lockName)) }

// lockFile locks a file of the directory; or it says errHeld.
func (s *store) lockFile(name string) (*os.File, error) {
	for {
		f, err := s.Open(name, unix.O_CREAT|unix.O_RDWR)
		if errors.Is(err, os.ErrNotExist) {
			if err := s.Reopen(); err != nil {
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
		f.Close() // its keeper ended and removed the file before we had the lock
	}
}

// load reads a record; os.ErrNotExist if there is none.
func (s *store) load(cookie uint64) (record, error) {
	var r record
	err := s.Read(fileOf(cookie, recordName), &r)
	if errors.Is(err, os.ErrNotExist) {
		return record{}, err
	}
	if err == nil && r.Guest.Cookie != cookie {
		err = errors.New("it is another guest's")
	}
	if err != nil {
		return record{}, fmt.Errorf("read %s: %w", fileOf(cookie, recordName), err)
	}
	return r, nil
}

// save writes a record. The caller must hold the lock.
func (s *store) save(r record) error { return s.Write(fileOf(r.Guest.Cookie, recordName), r) }

// remove removes all files of a guest, the lock last. The caller must hold the lock.
func (s *store) remove(cookie uint64) {
	for _, kind := range []string{recordName, socketName, lockName} {
		_ = s.Remove(fileOf(cookie, kind))
	}
}

// cookies lists the guests that have a file.
func (s *store) cookies() ([]uint64, error) {
	names, err := s.Names("")
	if err != nil {
		return nil, err
	}
	var out []uint64
	seen := map[uint64]bool{}
	for _, name := range names {
		name, ok := strings.CutPrefix(name, filePrefix)
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
	return &net.UnixAddr{Net: "unix", Name: s.InProc(fileOf(cookie, socketName))}
}

func (s *store) listen(cookie uint64) (*net.UnixListener, error) {
	_ = s.Remove(fileOf(cookie, socketName)) // of a keeper that was killed
	l, err := net.ListenUnix("unix", s.socketPath(cookie))
	if err == nil {
		l.SetUnlinkOnClose(false) // remove does it, in its order
	}
	return l, err
}
