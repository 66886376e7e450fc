package lease

import (
	"context"
	"errors"
	"time"
)

// insistence is asking until a server gives a lease.
type insistence struct {
	clock    Clock
	once     func(ctx context.Context, wait time.Duration) (Lease, error)
	conflict func(error) bool // reports that somebody else has the address
	bad      *error           // the reason the last unusable answer was rejected
}

// acquire asks with longer and longer waits until once gives a lease, servers
// refuse what they offer again and again, or give what others have, or ctx ends.
func (i insistence) acquire(ctx context.Context) (Lease, error) {
	wait := firstWait
	for naks, conflicts := 0, 0; ; {
		l, err := i.once(ctx, wait)
		var no refusal
		switch {
		case err == nil:
			return l, nil
		case i.conflict(err):
			if conflicts++; conflicts == mostConflicts {
				return Lease{}, err
			}
			*i.bad = err
			err = i.clock.Sleep(ctx, vary(wait))
		case errors.As(err, &no):
			if naks++; naks == mostNAKs {
				return Lease{}, err
			}
			*i.bad = err
			err = i.clock.Sleep(ctx, vary(wait))
		case errors.Is(err, errQuiet):
			err = nil
		}
		if timeUp(err) && *i.bad != nil {
			return Lease{}, unusableAnswers{*i.bad}
		}
		if err != nil {
			return Lease{}, err
		}
		wait = min(2*wait, longestWait)
	}
}
