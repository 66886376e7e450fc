package lease

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/nsfs"
)

// Sweep deletes the files of guests that have ended, whose keepers were
// killed before, and starts keepers again that were killed while their guests
// live, unless they belong to another host. It returns the names of the files'
// guests. With dryRun it only looks.
func (k Keepers) Sweep(ctx context.Context, dryRun bool) (removed []string, err error) {
	const op = "look for leases in"
	s, err := openStore(k.Dir)
	if err != nil {
		return nil, explain(op, k.Dir, err)
	}
	defer s.Close()
	ctx, cancel := context.WithTimeout(ctx, commandTime) // for all of them
	defer cancel()
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

// word is the word by which a user names the guest.
func (id identity) word() string {
	if id.PID != 0 {
		return "pid:" + strconv.Itoa(id.PID)
	}
	return id.Path
}

// abroad reports whether a keeper has to live in another namespace than ours: that
// of the host which reaches the leased address. A run there looks after the record.
func (r record) abroad() bool {
	here, err := nsfs.Cookie()
	for _, i := range r.Interfaces {
		if a := i.Ask.Access; a != nil && err == nil && a.Host != here {
			return true
		}
	}
	return false
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
			if dryRun || r.abroad() {
				return false, nil
			}
			if err := k.Wake(ctx, g); err != nil {
				return false, fmt.Errorf("keep the leases of %s: %w", r.Guest.word(), err)
			}
			return false, nil
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
