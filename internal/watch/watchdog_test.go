package watch

import (
	"context"
	"log/slog"
	"net"
	"path/filepath"
	"testing"
	"time"

	"github.com/gopipework/gopipework/attach"
	testhost "github.com/gopipework/gopipework/e2e/host"
	"github.com/gopipework/gopipework/internal/guests"
	"github.com/gopipework/gopipework/internal/reconcile"
	"github.com/gopipework/gopipework/internal/report"
	"golang.org/x/sys/unix"
)

// stuck is a source that keeps the loop when it hears of an event.
type stuck struct{ heard chan bool }

func (s stuck) Wanted(context.Context) ([]List, error)     { return nil, nil }
func (s stuck) Follow(ctx context.Context, _ func()) error { <-ctx.Done(); return nil }
func (s stuck) String() string                             { return "stuck" }
func (s stuck) Heard(guests.Event) bool                    { s.heard <- true; <-s.heard; return false }

// TestWatchdog: systemd does not hear that a watch is alive whose loop hangs.
func TestWatchdog(t *testing.T) {
	testhost.NeedRoot(t)
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
		Sources: []Source{s}, Host: reconcile.Host{Options: attach.Options{HostNS: testhost.NewNamespace(t)}}, Report: report.New(slog.New(slog.DiscardHandler)),
		Follow:  []func(context.Context, func(guests.Event)) error{func(_ context.Context, told func(guests.Event)) error { go told(guests.Event{}); return nil }},
		FindAll: func(context.Context, []string) (map[string]reconcile.Guest, []string) { return nil, nil },
	}
	go func() { ended <- w.Run(ctx) }()
	<-s.heard
	drain(t, l)
	_ = l.SetReadDeadline(time.Now().Add(300 * time.Millisecond))
	b := make([]byte, 100)
	if n, err := l.Read(b); err == nil {
		t.Errorf("it hangs, and systemd was told %q", b[:n])
	}
	s.heard <- true
	cancel()
	<-ended
}

// drain reads what was told before. It reads until there is no more, and not for some time: on
// a busy machine that may be over before the first read.
func drain(t *testing.T, l *net.UnixConn) {
	t.Helper()
	c, err := l.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	err = c.Read(func(fd uintptr) bool {
		for {
			if _, _, err := unix.Recvfrom(int(fd), make([]byte, 100), unix.MSG_DONTWAIT); err == unix.EAGAIN {
				return true
			} else if err != nil {
				t.Error(err)
				return true
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
}
