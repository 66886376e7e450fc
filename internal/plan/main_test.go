package plan

import (
	"os"
	"testing"

	testhost "github.com/gopipework/gopipework/e2e/host"
)

func TestMain(m *testing.M) {
	testhost.Main() // what squats on the address of a lock is this program
	if os.Getenv("GOPIPEWORK_TEST_LOCK") != "" {
		holdLock()
		return
	}
	os.Exit(m.Run())
}
