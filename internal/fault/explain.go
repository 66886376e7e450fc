package fault

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// Explain turns the kernel's refusal into an error a user can act on.
func Explain(op, object string, err error) error {
	var f *Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &f):
		return err
	}
	e := New(Failed, op, object, "%w", err)
	switch {
	case errors.Is(err, os.ErrPermission): // EPERM and EACCES
		e.Code = Permission
		e.Hint = "run it as root, with CAP_NET_ADMIN and CAP_SYS_ADMIN"
	case errors.Is(err, unix.EEXIST):
		e.Code = Conflict
	case errors.Is(err, unix.EXFULL), errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EMFILE), errors.Is(err, unix.ENFILE):
		e.Code = Limit
	case errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.EPROTONOSUPPORT), errors.Is(err, unix.EAFNOSUPPORT):
		e.Code = Unsupported
	case errors.Is(err, unix.ETIMEDOUT), errors.Is(err, unix.EAGAIN):
		e.Code = Timeout
	case errors.Is(err, unix.ENODEV), errors.Is(err, unix.ENXIO):
		e.Code = Gone
		e.Err = errors.New("somebody deleted or moved it meanwhile")
	}
	return e
}

// Absent reports whether an undo found that there is nothing left to undo.
func Absent(err error) bool {
	for _, e := range []error{unix.ENODEV, unix.ENXIO, unix.EADDRNOTAVAIL, unix.ESRCH, unix.ENOENT} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

func IgnoreAbsent(op, object string, err error) error {
	if Absent(err) || CodeOf(err) == Gone {
		return nil
	}
	return Explain(op, object, err)
}
