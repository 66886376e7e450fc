//go:build linux

package firewall

import (
	"os"
	"testing"

	"github.com/gopipework/gopipework/e2e/host"
)

func TestMain(m *testing.M) {
	host.Main()
	os.Exit(m.Run())
}
