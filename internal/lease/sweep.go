package lease

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/nsfs"
	"golang.org/x/sys/unix"
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
	if !dryRun {
		s.dropPool()
	}
	return removed, explain(op, k.Dir, errors.Join(errs...))
}

// dropPool removes the lock of a pool that was killed.
func (s *store) dropPool() {
	f, err := s.Open(poolLock, unix.O_RDWR)
	if err != nil {
		return
	}
	defer f.Close()
	if unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil {
		_ = s.Remove(poolLock)
	}
}

// word is the word by which a user names the guest.
func (id identity) word() string {
	if id.PID != 0 {
		return "pid:" + strconv.Itoa(id.PID)
	}
	return id.Path
}

// abroad reports whether a keeper has to live in another namespace than ours: that
// of the host which has something that follows the leased address. A run there looks after the record.
func (r record) abroad(here uint64) bool {
	return slices.ContainsFunc(r.Interfaces, func(i Kept) bool { return i.abroad(here) })
}

func (k Kept) abroad(here uint64) bool {
	for _, a := range []*Access{k.Ask.Access, k.Ask.Neighbour} {
		if a != nil && a.Host != here {
			return true
		}
	}
	return false
}

// sweep looks after one guest.
func (k Keepers) sweep(ctx context.Context, s *store, cookie uint64, dryRun bool) (gone bool, err error) {
	if k.Pool != nil && k.Pool.keeps(cookie) {
		return false, nil
	}
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
			here, err := nsfs.Cookie()
			if dryRun || err == nil && r.abroad(here) {
				return false, nil
			}
			if err := k.Wake(ctx, g); err != nil {
				return false, fmt.Errorf("keep the leases of %s: %w", r.Guest.word(), err)
			}
			return false, nil
		}
		if errors.Is(err, errHidden) {
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
