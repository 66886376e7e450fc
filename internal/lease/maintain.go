package lease

import (
	"context"
	"errors"
	"net/netip"
	"time"

	"github.com/gopipework/gopipework/internal/fault"
)

// asker is what a maintainer needs of a client.
type asker interface {
	acquire(ctx context.Context) (Lease, error)
	extend(ctx context.Context, l Lease, to netip.Addr, wait time.Duration) (Lease, error)
	release(l Lease) error
}

var _ asker = (*client)(nil)

// maintainer keeps the lease of one interface whose lease is kept (RFC 2131, figure 5). It is one
// goroutine's.
type maintainer struct {
	asker asker
	link  Link
	clock Clock
	lease *Lease // nil: it has none, and asks for one
	// note is called with the lease after each change, and with why there is
	// none, or no new one.
	note func(*Lease, error)
}

// run keeps the lease until ctx ends: BOUND, then RENEWING from T1 on,
// REBINDING from T2 on, and from the start again if a server refuses or the
// lease ends. The address is there exactly as long as there is a lease.
func (k *maintainer) run(ctx context.Context) {
	if k.lease != nil {
		k.take(*k.lease)
	}
	for ctx.Err() == nil {
		if k.lease == nil {
			k.begin(ctx)
			continue
		}
		l := *k.lease
		if k.clock.Sleep(ctx, l.At+l.T1-k.clock.Now()) != nil {
			return
		}
		k.extend(ctx, l)
	}
}

const (
	roundTime    = time.Minute // of asking
	firstPause   = 10 * time.Second
	longestPause = 5 * time.Minute
)

// begin asks until there is a lease, with longer and longer pauses: a network
// without a server should not hear from us all day.
func (k *maintainer) begin(ctx context.Context) {
	for pause := firstPause; ; pause = min(2*pause, longestPause) {
		round, cancel := context.WithTimeoutCause(ctx, roundTime, errTimeUp)
		l, err := k.asker.acquire(round)
		cancel()
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			k.take(l)
			if k.lease != nil {
				return
			}
		} else {
			k.note(nil, err)
		}
		if k.clock.Sleep(ctx, vary(pause)) != nil {
			return
		}
	}
}

// movedWait is how long each question takes at most of a guest that may be on another network.
const movedWait = 5 * time.Second

// moved asks the servers of a network which may not be the one that the lease is of whether
// the guest may keep its address. A server that has another one for it does not answer that;
// so after a while it is asked for a new lease. moved reports whether that decided: if there
// is no server at all, the address stays.
func (k *maintainer) moved(ctx context.Context, l Lease) bool {
	got, err := k.asker.extend(ctx, l, everybody, movedWait)
	if errors.Is(err, errQuiet) {
		round, cancel := context.WithTimeoutCause(ctx, movedWait, errTimeUp)
		got, err = k.asker.acquire(round)
		cancel()
	}
	var no refusal
	switch {
	case ctx.Err() != nil:
	case err == nil:
		k.take(got)
	case errors.As(err, &no):
		k.lose(err)
	default:
		k.note(k.lease, err)
		return false
	}
	return true
}

// extend asks for more time until it is given, refused, or over.
func (k *maintainer) extend(ctx context.Context, l Lease) {
	if l.T2 == 0 && k.moved(ctx, l) {
		return
	}
	for {
		now := k.clock.Now()
		to, until := l.Server, l.At+l.T2
		if now >= until {
			to, until = everybody, l.Ends()
		}
		if now >= l.Ends() {
			k.lose(fault.New(fault.Timeout, "renew lease of", l.Address.String(), "it ended, and no server answered"))
			return
		}
		wait := min(between(until-now, l), until-now)
		got, err := k.asker.extend(ctx, l, to, wait)
		var no refusal
		switch {
		case ctx.Err() != nil:
			return
		case err == nil:
			k.take(got)
			return
		case errors.As(err, &no):
			k.lose(err)
			return
		case !errors.Is(err, errQuiet):
			k.note(k.lease, err) // it could not even be sent
		}
		if k.clock.Sleep(ctx, now+wait-k.clock.Now()) != nil {
			return
		}
	}
}

// between is the time from one request to the next: half of what is left, a
// minute at least (RFC 2131, section 4.4.5), or less in a short lease.
func between(left time.Duration, l Lease) time.Duration {
	return max(left/2, min(time.Minute, l.Time/10), 100*time.Millisecond)
}

// take gives the interface what the lease says. A new lease is taken whole or
// not at all; one that goes on is kept also where a route of it cannot be set
// now, for example because the guest has set the interface down.
func (k *maintainer) take(l Lease) {
	first := k.lease == nil
	err := l.Apply(k.link, k.lease, k.clock.Now())
	k.lease = &l
	if err != nil && (first || l.Left(k.clock.Now()) == 0) {
		if first {
			_ = k.asker.release(l) // nobody else can have it meanwhile, and we do not
		}
		k.lose(err)
		return
	}
	if err == nil {
		err = errors.Join(k.link.AddAsked(), k.link.SetAccess(l)) // the routes go with the last address of the interface
	}
	k.note(k.lease, err)
}

// lose deletes the address.
func (k *maintainer) lose(why error) {
	if k.lease != nil {
		why = errors.Join(why, k.lease.Withdraw(k.link))
	}
	k.lease = nil
	k.note(nil, why)
}

// release releases the lease, if there is one, and deletes the address.
// The server is told first: it is told from that address. That it cannot be
// told is no error, it will find out when the lease ends (RFC 2131, section 3.1).
func (k *maintainer) release() error {
	if k.lease == nil {
		return nil
	}
	_ = k.asker.release(*k.lease)
	err := k.lease.Withdraw(k.link)
	k.lease = nil
	return err
}
