package lease

import (
	"fmt"
	"runtime/debug"
)

// broken is the error of a panic: a fault of ours, perhaps over what one server has sent.
// It must not end a process that keeps the leases of others.
type broken struct {
	cause any
	stack string
}

func (e broken) Error() string {
	return fmt.Sprintf("a fault in gopipework, which goes on: %v", e.cause)
}

// guard calls f, and returns its panic as an error.
func guard(f func() error) (err error) {
	defer func() {
		if cause := recover(); cause != nil {
			err = broken{cause, string(debug.Stack())}
		}
	}()
	return f()
}
