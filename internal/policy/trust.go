package policy

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/gopipework/gopipework/internal/plainfile"
	"golang.org/x/sys/unix"
)

// readTrusted reads a file that nobody but root, or who runs this, can write or replace.
func readTrusted(name string) ([]byte, error) {
	name, err := filepath.Abs(name)
	if err != nil {
		return nil, err
	}
	if name, err = resolve(name); err != nil {
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
	return plainfile.Written(f, MaxFile)
}

// maxLinks is how many symbolic links there can be in a path (path_resolution(7)).
const maxLinks = 40

// resolve follows the symbolic links in an absolute path. It refuses each directory on the way
// that others can write to, and each link of theirs: whoever can change a link chooses the file.
func resolve(name string) (string, error) {
	at, rest := "/", append([]string{"."}, strings.Split(name, "/")...)
	for links := 0; len(rest) > 0; {
		next := filepath.Join(at, rest[0]) // at has no links, so ".." is its parent
		rest = rest[1:]
		var st unix.Stat_t
		if err := unix.Lstat(next, &st); err != nil {
			return "", &os.PathError{Op: "lstat", Path: next, Err: err}
		}
		switch st.Mode & unix.S_IFMT {
		case unix.S_IFDIR:
			if foreign(st) && !sticky(st) {
				return "", notTrusted(next)
			}
			at = next
		case unix.S_IFLNK:
			target, err := os.Readlink(next)
			if links++; err == nil && links > maxLinks {
				err = &os.PathError{Op: "open", Path: next, Err: unix.ELOOP}
			}
			if err == nil && !mine(st) {
				err = notTrusted(next)
			}
			if err != nil {
				return "", err
			}
			if filepath.IsAbs(target) {
				at = "/"
			}
			rest = append(strings.Split(target, "/"), rest...)
		default:
			at = next
		}
	}
	return at, nil
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
