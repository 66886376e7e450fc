package watch

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"

	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/nsfs"
	"github.com/gopipework/gopipework/internal/plainfile"
	"github.com/gopipework/gopipework/internal/rundir"
	"golang.org/x/sys/unix"
)

// lockFile is the file in the run directory whose lock a watch has. It has its process ID, and
// the PID namespace in which this counts.
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
			text, _ := plainfile.Read(f, 64)
			f.Close()
			d.Close()
			if !errors.Is(err, unix.EWOULDBLOCK) {
				return nil, cannot(err)
			}
			as, hup := where(string(text))
			return nil, fault.New(fault.Conflict, "run", "watch", "another one runs already%s", as).
				WithHint("a file in %s is followed by that one too; %s makes it read everything again", Directory, hup)
		case unix.Fstat(int(f.Fd()), &st) == nil && st.Nlink == 0: // the one before has just ended
			f.Close()
			continue
		}
		f.Truncate(0)
		f.WriteAt(fmt.Appendf(nil, "%d\n%d\n", os.Getpid(), nsfs.PIDs()), 0)
		return func() {
			d.Remove(lockFile)
			f.Close()
			d.Close()
		}, nil
	}
	d.Close()
	return nil, context.Cause(ctx)
}

// where says which process has written a lock file, and how it gets a SIGHUP.
func where(text string) (as, hup string) {
	var pid int
	var pids uint64
	fmt.Sscan(text, &pid, &pids)
	switch {
	case pid == 0: // it is about to
		return "", "SIGHUP"
	case !nsfs.Counts(pids):
		return ", in another PID namespace, such as that of a container", "SIGHUP (docker kill -s HUP CONTAINER)"
	}
	return ", as process " + strconv.Itoa(pid), "kill -HUP " + strconv.Itoa(pid)
}
