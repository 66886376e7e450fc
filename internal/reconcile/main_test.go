package reconcile

import (
	"os"
	"testing"

	testhost "github.com/gopipework/gopipework/e2e/host"
)

func TestMain(m *testing.M) {
	testhost.Main()
	os.Exit(m.Run())
}
