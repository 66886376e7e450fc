package main

import (
	"errors"
	"slices"
	"testing"

	"github.com/gopipework/gopipework/internal/fault"
)

// TestNotUndone: what could not be undone is listed, whatever the errors are.
func TestNotUndone(t *testing.T) {
	full, busy := errors.New("brtest is full"), fault.New(fault.Failed, "detach", "eth1", "busy")
	busy.Residue = []string{"the lease"}
	for _, failed := range []error{full, fault.New(fault.Limit, "attach", "eth2", "%w", full)} {
		err := notUndone(notUndone(failed, busy, "eth1 of web"), busy, "eth0 of web")
		var f *fault.Error
		if !errors.As(err, &f) || f.Code != fault.Residue || !errors.Is(err, full) || !errors.Is(err, busy) ||
			!slices.Equal(f.Residue, []string{"eth0 of web", "the lease", "eth1 of web", "the lease"}) ||
			f.Hint != "still in force: eth0 of web; the lease; eth1 of web; the lease" {
			t.Errorf("%v, with the hint %q", err, fault.HintOf(err))
		}
	}
	if err := notUndone(full, busy, "eth1 of web"); err.Error() != "undo: detach eth1: busy (after: brtest is full)" {
		t.Error(err)
	}
}
