package watch

import (
	"context"
	"errors"
	"log/slog"
	"testing"

	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/reconcile"
	"github.com/gopipework/gopipework/internal/report"
)

// busy is a source that cannot answer the first time.
type busy struct{ asked chan int }

func (b busy) Follow(ctx context.Context, _ func()) error { <-ctx.Done(); return nil }
func (b busy) String() string                             { return "busy" }

func (b busy) Wanted(context.Context) ([]List, error) {
	n := <-b.asked
	b.asked <- n + 1
	if n == 0 {
		return nil, fault.New(fault.Runtime, "list", "labels", "%w", errors.New("no answer"))
	}
	return nil, nil
}

// TestAskAgain: a source that could not answer is asked again, though nothing has happened.
func TestAskAgain(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	b := busy{make(chan int)}
	ended := make(chan error, 1)
	w := Watcher{
		Sources: []Source{b}, Report: report.New(slog.New(slog.DiscardHandler)),
		FindAll: func(context.Context, []string) (map[string]reconcile.Guest, []string) { return nil, nil },
	}
	go func() { ended <- w.Run(ctx) }()
	for n := range 2 { // the test's own deadline bounds it
		b.asked <- n
		if next := <-b.asked; next != n+1 {
			t.Errorf("asked %d times, want %d", next, n+1)
		}
	}
	cancel()
	<-ended
}
