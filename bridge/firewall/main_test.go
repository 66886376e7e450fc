//go:build linux

package firewall

import (
	"os"
	"testing"
	"time"

	"github.com/gopipework/gopipework/e2e/host"
	"github.com/gopipework/gopipework/internal/hosttool"
)

func TestMain(m *testing.M) {
	if os.Getenv(traceChild) != "" {
		holdTrace()
	}
	host.Main()
	hosttool.Timeout = time.Minute // how long a busy machine takes proves nothing
	os.Exit(m.Run())
}
