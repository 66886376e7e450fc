package dockerutil

import (
	"errors"
	"os"

	"github.com/gopipework/gopipework/internal/nsfs"
)

var (
	errNoNamespace = nsfs.ErrNoNamespace
	errNoName      = errors.New("no namespace of that name")
)

// isHost says whether ns is PID 1's network namespace or gopipework's own. That
// of PID 1 may be hidden (a container, hidepid); our own may not, or nothing
// could be told.
func isHost(ns *os.File) (bool, error) {
	guest, err := ns.Stat()
	if err != nil {
		return false, err
	}
	// Not /proc/self: that is the main thread, and a thread may have moved.
	own, err := os.Stat("/proc/thread-self/ns/net")
	if err != nil {
		return false, err
	}
	if os.SameFile(guest, own) {
		return true, nil
	}
	first, err := os.Stat("/proc/1/ns/net")
	return err == nil && os.SameFile(guest, first), nil
}
