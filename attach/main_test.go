package attach

import (
	"os"
	"testing"

	testhost "github.com/gopipework/gopipework/e2e/host"
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
	os.Exit(m.Run())
}
