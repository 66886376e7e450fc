package watch

import (
	"context"
	"errors"
	"os"
	"strconv"
	"strings"

	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/plainfile"
	"github.com/gopipework/gopipework/internal/rundir"
	"golang.org/x/sys/unix"
)

// lockFile is the file in the run directory whose lock a watch has. It has its process ID.
const lockFile = "watch.lock"

// Alone sees to it that no other watch runs as long as this one does. Two would undo what
// the other one does if they are asked for different things.
func Alone(ctx context.Context) (release func(), err error) {
	cannot := func(err error) error { return fault.New(fault.Failed, "lock", rundir.Path+"/"+lockFile, "%w", err) }
	d, err := rundir.Open(rundir.Path, true)
	if err != nil {
		return nil, cannot(err)
	}
	for ctx.Err() == nil {
		f, err := d.Open(lockFile, os.O_RDWR|os.O_CREATE)
		if errors.Is(err, os.ErrNotExist) { // somebody has removed the directory, empty as it was
			err = d.Reopen()
			if err == nil {
				continue
			}
		}
		if err != nil {
			d.Close()
			return nil, cannot(err)
		}
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		var st unix.Stat_t
		switch {
		case err != nil:
			text, _ := plainfile.Read(f, 32)
			f.Close()
			d.Close()
			if !errors.Is(err, unix.EWOULDBLOCK) {
				return nil, cannot(err)
			}
			return nil, fault.New(fault.Conflict, "run", "watch", "another one runs already, as process %s", strings.TrimSpace(string(text))).
				WithHint("a file in %s is followed by that one too; kill -HUP makes it read everything again", Directory)
		case unix.Fstat(int(f.Fd()), &st) == nil && st.Nlink == 0: // the one before has just ended
			f.Close()
			continue
		}
		f.Truncate(0)
		f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
		return func() {
			d.Remove(lockFile)
			f.Close()
			d.Close()
		}, nil
	}
	d.Close()
	return nil, context.Cause(ctx)
}
