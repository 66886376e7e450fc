package fault

import (
	"errors"

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
	e := New(CodeOfCause(err), op, object, "%w", err)
	switch {
	case e.Code == Permission:
		e.Hint = "run it as root, with CAP_NET_ADMIN and CAP_SYS_ADMIN"
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

// IgnoreAbsent is Explain for an undo, to which what is absent is no error.
func IgnoreAbsent(op, object string, err error) error {
	if Absent(err) || CodeOf(err) == Gone {
		return nil
	}
	return Explain(op, object, err)
}
