package lease

import (
	"context"
	"errors"
	"slices"

	"github.com/gopipework/gopipework/internal/fault"
)

// Sweep takes away the files of guests that have ended, whose keepers were
// killed before, and starts keepers again that were killed while their guests
// live. It returns the names of the files' guests: with dryRun it only looks.
func (k Keepers) Sweep(ctx context.Context, dryRun bool) (removed []string, err error) {
	const op = "look for leases in"
	s, err := openStore(k.Dir)
	if err != nil {
		return nil, explain(op, k.Dir, err)
	}
	defer s.close()
	cookies, err := s.cookies()
	if err != nil {
		return nil, explain(op, k.Dir, err)
	}
	slices.Sort(cookies)
	var errs []error
	for _, c := range cookies {
		gone, err := k.sweep(ctx, s, c, dryRun)
		if gone {
			removed = append(removed, fileOf(c, ""))
		}
		errs = append(errs, err)
	}
	return removed, explain(op, k.Dir, errors.Join(errs...))
}

// sweep looks after one guest.
func (k Keepers) sweep(ctx context.Context, s *store, cookie uint64, dryRun bool) (gone bool, err error) {
	lock, err := s.lock(cookie)
	if errors.Is(err, errHeld) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer lock.Close()
	r, err := s.load(cookie)
	if err == nil {
		g, err := r.Guest.find()
		if err == nil {
			defer g.Namespace.Close()
			lock.Close() // the new keeper needs it
			if dryRun {
				return false, nil
			}
			return false, k.Wake(ctx, g)
		}
		if !errors.Is(err, errGone) {
			return false, fault.New(fault.Failed, "find the guest of", fileOf(cookie, ""), "%w", err)
		}
	}
	if !dryRun {
		s.remove(cookie)
	}
	return true, nil
}
