package lease

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/gopipework/gopipework/internal/fault"
	"golang.org/x/sys/unix"
)

// Link is the interface that a lease is for.
type Link interface {
	// SetAddr adds the address, or gives it new lifetimes if it is there. The
	// kernel deletes it after valid; Forever means never.
	//
	//	ip address replace PREFIX brd + dev NAME valid_lft S preferred_lft S
	SetAddr(p netip.Prefix, valid, preferred time.Duration) error
	// DelAddr deletes the address; one that is gone is no error.
	DelAddr(p netip.Prefix) error
	// AddRoute adds the route; one that is there is no error. Whether a default
	// route goes in front of another is the Link's to know.
	AddRoute(r Route) error
	// DelRoute deletes the route; one that is gone is no error.
	DelRoute(r Route) error
	// AddAsked adds the routes of [Ask.Routes]; those that are there are no error.
	AddAsked() error
	// SetReplies has replies from the lease's address looked up in [Ask.Table], if
	// there is one, and gives that table the routes of the lease and the Ask; no
	// others of ours stay in it. DelAddr deletes it all.
	SetReplies(l Lease) error
	// SetAccess has the host reach the lease's address, and the bridge know it, if the
	// Ask says so. DelAddr undoes that too.
	SetAccess(l Lease) error
	// LowerMTU sets the interface's MTU if it is larger: the other end of the
	// link would not take more than it was made for.
	LowerMTU(bytes int) error
	// DAD says how far duplicate address detection is with an IPv6 address that
	// was set (RFC 4862, section 5.4).
	DAD(p netip.Prefix) (DAD, error)
}

// DAD is a state of duplicate address detection.
type DAD int

// The states. An address with an end is gone when somebody else has it.
const (
	Tentative DAD = iota
	Settled
	Taken
)

// Apply gives the interface what the lease says, with what is left of its time
// at now, since boot. It may be called again, with the lease that was there
// before as old (nil: none), and then changes only what differs.
//
// The address and, by it, the routes go by themselves when the lease ends,
// whoever else has died by then. A route that the kernel cannot have is noted in
// LeftOut: the lease is good without.
func (l *Lease) Apply(link Link, old *Lease, now time.Duration) error {
	left := l.Left(now)
	if left == 0 {
		return fault.New(fault.Timeout, "take address", l.Address.String(), "its lease has ended")
	}
	if old != nil && old.Address != l.Address {
		// First: an address of the same subnet would be a secondary one, and go
		// with the first.
		if err := old.Withdraw(link); err != nil {
			return err
		}
	}
	if err := link.SetAddr(l.Address, left, l.preferredLeft(now)); err != nil {
		return fault.New(fault.Failed, "set address", l.Address.String(), "%w", err)
	}
	for _, r := range l.Routes {
		err := link.AddRoute(r)
		if Impossible(err) {
			l.leaveOut(fmt.Sprintf("a route to %s by %s: %s", r.Dst, r.Gateway, err))
			continue
		}
		if err != nil {
			return fault.New(fault.Failed, "add route", r.Dst.String(), "%w", err)
		}
	}
	if old != nil && old.Address == l.Address {
		for _, r := range old.Routes {
			if slices.Contains(l.Routes, r) {
				continue
			}
			if err := link.DelRoute(r); err != nil {
				return fault.New(fault.Failed, "delete route", r.Dst.String(), "%w", err)
			}
		}
	}
	if err := link.SetReplies(*l); err != nil {
		return err
	}
	if l.MTU == 0 {
		return nil
	}
	if err := link.LowerMTU(l.MTU); err != nil {
		return fault.New(fault.Failed, "set MTU of", l.Address.String(), "%w", err)
	}
	return nil
}

// Impossible reports whether the kernel refused a route for what it is: its gateway
// may be an address of the guest's own, or in none of its subnets.
func Impossible(err error) bool {
	return errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENETUNREACH) || errors.Is(err, unix.EHOSTUNREACH)
}

func (l *Lease) leaveOut(what string) {
	if !slices.Contains(l.LeftOut, what) && len(l.LeftOut) < 2*mostLeftOut {
		l.LeftOut = append(slices.Clip(l.LeftOut), what)
	}
}

// Warning tells a user what of the server's answer was not taken; "" if all was.
func (l Lease) Warning() string {
	if len(l.LeftOut) == 0 {
		return ""
	}
	return "what the DHCP server " + l.Server.String() + " offered was used without " + strings.Join(l.LeftOut, "; ")
}

// Withdraw deletes the address, and with it the routes, whose source it is.
// An MTU that was lowered stays so.
func (l Lease) Withdraw(link Link) error {
	if err := link.DelAddr(l.Address); err != nil {
		return fault.New(fault.Failed, "delete address", l.Address.String(), "%w", err)
	}
	return nil
}

// Left is what the lease has of its time, in whole seconds, as the kernel
// counts: up to the next one, or there would be a gap before a late renewal. It
// is 0 when the lease has ended, and Forever when it does not.
func (l Lease) Left(now time.Duration) time.Duration { return l.left(l.Time, now) }

// preferredLeft is how long new connections may still begin from the address.
func (l Lease) preferredLeft(now time.Duration) time.Duration {
	if l.Preferred == 0 {
		return l.Left(now)
	}
	return l.left(l.Preferred, now)
}

func (l Lease) left(of, now time.Duration) time.Duration {
	if of == Forever {
		return Forever
	}
	d := l.At + of - now
	if d <= 0 {
		return 0
	}
	return (d + time.Second - 1).Truncate(time.Second)
}
