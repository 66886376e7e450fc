package plan

import (
	"context"
	"errors"
	"time"

	"github.com/gopipework/gopipework/internal/fault"
)

// Glance is how long a wait sleeps at most before it looks again, also at
// whether the guest still lives.
const Glance = 50 * time.Millisecond

// Await looks whenever something changes on the side, until done says so, or
// somebody has changed the links that it waits for. It lets the host's lock go:
// everything of the host's is in place by then, and others need not wait for us.
// The guest's stays.
func (m *Machine) Await(ctx context.Context, s Side, done func() (bool, error)) error {
	m.HostLock.Release()
	if ok, err := done(); ok || err != nil {
		return err // mostly it is so at once, and to listen takes a socket
	}
	ev, err := m.In(s).Watch()
	if err != nil {
		return fault.Explain("watch", "links", err)
	}
	defer ev.Close()
	for {
		ok, err := done()
		if ok || err != nil {
			return err
		}
		if err := m.stillThere(ctx); err != nil {
			return err
		}
		if err := ev.Wait(Glance); err != nil {
			return fault.Explain("watch", "links", err)
		}
	}
}

var ErrNoCarrier = errors.New("has no carrier")

// NoCarrier is what to say about a card that has no carrier.
func NoCarrier(name string) string { return name + " " + ErrNoCarrier.Error() }

// WhileAlive returns a context that ends when there is no reason to go on.
func (m *Machine) WhileAlive(ctx context.Context) (context.Context, func()) {
	ctx, end := context.WithCancelCause(ctx)
	tick := time.NewTicker(Glance)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				if err := m.stillThere(ctx); err != nil {
					end(err)
				}
			}
		}
	}()
	return ctx, func() { end(nil); <-ended }
}
