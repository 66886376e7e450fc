package lease

import (
	"context"
	"errors"
	"time"
)

// awaiting is waiting for the answer to one question. M is a message of the protocol.
type awaiting[M any] struct {
	clock Clock
	// next returns the next message, and whether it answers the question; errQuiet if
	// none comes in time.
	next func(ctx context.Context, wait time.Duration) (m M, ours bool, err error)
	// judge takes an answer as a lease or leaves it. Its error is a refusal, or says
	// why the answer is unusable.
	judge func(M) (l Lease, take bool, err error)
	bad   *error // the reason the last unusable answer was rejected
}

// await returns the first answer that judge takes, or a refusal, or errQuiet after
// wait. An unusable answer does not end it: another server may have a better one.
func (a awaiting[M]) await(ctx context.Context, wait time.Duration) (Lease, error) {
	for end := a.clock.Now() + wait; ; {
		left := end - a.clock.Now()
		if left <= 0 {
			return Lease{}, errQuiet
		}
		m, ours, err := a.next(ctx, left)
		if err != nil {
			return Lease{}, err
		}
		if !ours {
			continue
		}
		l, take, err := a.judge(m)
		var no refusal
		switch {
		case take:
			return l, nil
		case errors.As(err, &no):
			return Lease{}, err
		case err != nil:
			*a.bad = err
		}
	}
}
