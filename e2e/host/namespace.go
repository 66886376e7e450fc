package host

import (
	"fmt"
	"os"
	"testing"

	"github.com/gopipework/gopipework/internal/nsfs"
	"golang.org/x/sys/unix"
)

// NewNamespace returns a new network namespace, which lives as long as the file is
// open, that is until the test ends.
//
//	unshare --net
func NewNamespace(t testing.TB) *os.File {
	t.Helper()
	var ns *os.File
	made := nsfs.Stay()
	defer made.End()
	err := made.Run(func() error {
		err := unix.Unshare(unix.CLONE_NEWNET)
		if err == nil {
			ns, err = os.Open("/proc/thread-self/ns/net")
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ns.Close() })
	return ns
}

// Reopened is a namespace again, as another process would have it.
func Reopened(t testing.TB, ns *os.File) *os.File {
	t.Helper()
	f, err := os.Open(fmt.Sprintf("/proc/self/fd/%d", ns.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}
