package policy

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/gopipework/gopipework/internal/plainfile"
	"golang.org/x/sys/unix"
)

// readTrusted reads a file that nobody but root, or who runs this, can write or replace.
func readTrusted(name string) ([]byte, error) {
	name, err := filepath.EvalSymlinks(name) // whoever can change a link can choose the file
	if err != nil {
		return nil, err
	}
	if name, err = filepath.Abs(name); err != nil {
		return nil, err
	}
	f, err := plainfile.Open(name, unix.O_RDONLY)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return nil, err
	}
	if foreign(st) {
		return nil, notTrusted(name)
	}
	for dir := filepath.Dir(name); ; dir = filepath.Dir(dir) {
		if err := unix.Stat(dir, &st); err != nil {
			return nil, &os.PathError{Op: "stat", Path: dir, Err: err}
		}
		if foreign(st) && !sticky(st) {
			return nil, notTrusted(dir)
		}
		if dir == "/" {
			break
		}
	}
	return plainfile.Written(f, MaxFile)
}

// foreign reports whether somebody else can write to a file or directory.
func foreign(st unix.Stat_t) bool {
	return st.Mode&0o022 != 0 || !mine(st)
}

func mine(st unix.Stat_t) bool { return st.Uid == 0 || int(st.Uid) == os.Geteuid() }

// sticky reports whether it is a directory, such as /tmp, in which everybody may make files
// and nobody may rename those of others.
func sticky(st unix.Stat_t) bool { return st.Mode&unix.S_ISVTX != 0 && mine(st) }

func notTrusted(name string) error {
	return fmt.Errorf("others than root can write to %s: chown root, and chmod go-w", name)
}
