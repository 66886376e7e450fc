//go:build linux

package bridge

import (
	"os"
	"testing"

	"github.com/gopipework/gopipework/e2e/host"
)

func TestMain(m *testing.M) {
	host.Main()
	os.Exit(m.Run())
}
