package watch

import (
	"context"
	"log/slog"
	"net"
	"path/filepath"
	"testing"
	"time"

	"github.com/gopipework/gopipework/internal/reconcile"
	"github.com/gopipework/gopipework/internal/report"
)

// stuck is a source that does not answer.
type stuck struct{ asked chan bool }

func (s stuck) Wanted(ctx context.Context) ([]List, error) {
	close(s.asked)
	<-ctx.Done()
	return nil, ctx.Err()
}

func (s stuck) Follow(ctx context.Context, _ func()) error { <-ctx.Done(); return nil }
func (s stuck) String() string                             { return "stuck" }

// TestWatchdog: systemd does not hear that a watch is alive whose loop hangs.
func TestWatchdog(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	t.Setenv("NOTIFY_SOCKET", path)
	t.Setenv("WATCHDOG_USEC", "20000")
	ctx, cancel := context.WithCancel(t.Context())
	s := stuck{make(chan bool)}
	ended := make(chan error, 1)
	w := Watcher{
		Sources: []Source{s}, Report: report.New(slog.New(slog.DiscardHandler)),
		FindAll: func(context.Context, []string) (map[string]reconcile.Guest, []string) { return nil, nil },
	}
	go func() { ended <- w.Run(ctx) }()
	<-s.asked
	_ = l.SetReadDeadline(time.Now().Add(300 * time.Millisecond))
	b := make([]byte, 100)
	if n, err := l.Read(b); err == nil {
		t.Errorf("it hangs, and systemd was told %q", b[:n])
	}
	cancel()
	<-ended
}
