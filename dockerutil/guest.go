package dockerutil

import (
	"errors"

	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/guests"
)

// Guest is an open network namespace, and what is known about its owner. It is the same
// type as attach.Guest. Close it after use.
type Guest = guests.Guest

// owner is the process that a guest's namespace belongs to.
type owner struct {
	*process
	guest string
}

var _ guests.Owner = owner{}

// Alive returns nil while the process lives, and fault.Gone once it has ended.
func (o owner) Alive() error {
	err := o.alive()
	if err == nil {
		return nil
	}
	code := fault.Failed
	if errors.Is(err, errEnded) {
		code = fault.Gone
	}
	return fault.New(code, "reach guest", `"`+o.guest+`"`, "process %d: %w", o.pid, err)
}

// Close closes the pidfd.
func (o owner) Close() error { return o.close() }
