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

// isHost reports whether ns is the network namespace of PID 1 or of this process. That of
// PID 1 may be hidden, by a container or by hidepid.
func isHost(ns *os.File) (bool, error) {
	guest, err := ns.Stat()
	if err != nil {
		return false, err
	}
	// Not /proc/self: that is the main thread, and this thread may be in another namespace.
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
