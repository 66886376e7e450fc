package attach

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	testhost "github.com/gopipework/gopipework/e2e/host"
	"github.com/gopipework/gopipework/internal/hosttool"
	"github.com/gopipework/gopipework/internal/ours"
	"github.com/gopipework/gopipework/internal/plan"
)

// ownNS is the namespace that the tests are run in. Later on the first thread,
// which /proc/self stands for, may be in another.
var ownNS *os.File

func TestMain(m *testing.M) {
	testhost.Main() // the holder of a test host is this program
	var err error
	if ownNS, err = os.Open("/proc/thread-self/ns/net"); err != nil {
		panic(err)
	}
	// How long a busy machine takes proves nothing.
	bound, plan.UndoTimeout, hosttool.Timeout = 2*time.Minute, time.Minute, time.Minute
	os.Exit(inOwnRunDir(m))
}

// inOwnRunDir runs the tests in a run directory of their own, so that none writes into
// the machine's, and fails if one leaves a note there: a card that it did not return.
func inOwnRunDir(m *testing.M) int {
	dir, err := os.MkdirTemp("", "attach")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	ours.RunDir = filepath.Join(dir, "run")
	code := m.Run()
	var left []os.DirEntry
	if !testhost.Poll(30*time.Second, func() bool { left, _ = os.ReadDir(ours.RunDir); return len(left) == 0 }) {
		fmt.Fprintf(os.Stderr, "tests have left notes in the run directory: %v\n", left)
		return 1
	}
	return code
}
