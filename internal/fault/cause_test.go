package fault

import (
	"context"
	"errors"
	"fmt"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

func TestCodeOfCause(t *testing.T) {
	for err, want := range map[error]Code{
		unix.EPERM: Permission, unix.EACCES: Permission, unix.EEXIST: Conflict, unix.ENOSPC: Limit,
		unix.EOPNOTSUPP: Unsupported, unix.ENOSYS: Unsupported, unix.EAFNOSUPPORT: Unsupported,
		unix.ETIMEDOUT: Timeout, context.DeadlineExceeded: Timeout, os.ErrDeadlineExceeded: Timeout,
		context.Canceled: Interrupted, unix.ENODEV: Failed, unix.EINVAL: Failed, errors.New("other"): Failed,
	} {
		if got := CodeOfCause(fmt.Errorf("do it: %w", os.NewSyscallError("ioctl", err))); got != want {
			t.Errorf("%v: %s, want %s", err, got, want)
		}
	}
}
