package lease

import (
	"context"
	"time"

	"golang.org/x/sys/unix"
)

// Clock is time since boot, and sleep. Leases run on while a machine is
// suspended, and do not care what date somebody sets.
type Clock interface {
	Now() time.Duration
	// Sleep returns after d, or earlier with the cause of ctx's end.
	Sleep(ctx context.Context, d time.Duration) error
}

// Now is the time since boot, for [Lease.Apply] and [Lease.Left].
func Now() time.Duration { return bootClock{}.Now() }

// bootClock is CLOCK_BOOTTIME.
type bootClock struct{}

var _ Clock = bootClock{}

func (bootClock) Now() time.Duration {
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts) // there since 2.6.39, and the pointer is good
	return time.Duration(ts.Nano())
}

// glance is how long a sleep is at most before the clock is read again: Go's
// timers stand still while the machine is suspended.
const glance = time.Minute

func (c bootClock) Sleep(ctx context.Context, d time.Duration) error {
	for end := c.Now() + d; ; {
		left := end - c.Now()
		if left <= 0 {
			return context.Cause(ctx)
		}
		t := time.NewTimer(min(left, glance))
		select {
		case <-ctx.Done():
			t.Stop()
			return context.Cause(ctx)
		case <-t.C:
		}
	}
}
