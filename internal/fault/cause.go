package fault

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"slices"

	"golang.org/x/sys/unix"
)

// CodeOfCause returns the code of an error that the kernel or a context gave as its
// reason, whatever wraps it; Failed for any other. ENODEV and the like are Failed: only
// the caller knows whether it is the guest that has gone.
func CodeOfCause(err error) Code {
	is := func(reasons ...error) bool {
		return slices.ContainsFunc(reasons, func(r error) bool { return errors.Is(err, r) })
	}
	switch {
	case is(context.Canceled):
		return Interrupted
	case is(fs.ErrPermission): // EPERM and EACCES
		return Permission
	case is(unix.EEXIST):
		return Conflict
	case is(unix.EXFULL, unix.ENOSPC, unix.EMFILE, unix.ENFILE):
		return Limit
	case is(errors.ErrUnsupported, unix.EPROTONOSUPPORT, unix.EAFNOSUPPORT): // the first is EOPNOTSUPP and ENOSYS
		return Unsupported
	case is(context.DeadlineExceeded, os.ErrDeadlineExceeded, unix.ETIMEDOUT, unix.EAGAIN):
		return Timeout
	}
	return Failed
}
