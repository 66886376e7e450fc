package attach

import (
	"context"
	"fmt"
	"net/netip"
	"os"

	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/lease"
	"github.com/gopipework/gopipework/internal/ours"
	"github.com/gopipework/gopipework/internal/source"
)

// Leases keeps the leases of all guests of this machine in this process, also those that
// other runs acquire meanwhile.
type Leases struct {
	pool *lease.Pool
	host *os.File
}

// LeaseEvent is what became of the lease of an interface.
type LeaseEvent struct {
	What    LeaseChange
	Guest   string // as on a command line; "": it is about no guest
	IfName  string // as the interface was called when it got its first lease
	Address netip.Prefix
	Err     error // why; nil if there is nothing to explain
}

// LeaseChange is one of the changes below.
type LeaseChange = lease.What

// What becomes of a lease.
const (
	LeaseTakenOver = lease.TakenOver // another process kept it, or was killed
	LeaseAcquired  = lease.Acquired
	LeaseRenewed   = lease.Renewed
	LeaseLost      = lease.Lost     // refused, or over: its address was withdrawn
	LeaseReleased  = lease.Released // because somebody asked for that
	LeaseEnded     = lease.Ended    // with its guest, or its interface
	LeaseTrouble   = lease.Trouble  // there is none, or no new one
)

// KeepLeases begins to keep all leases in this process, in place of the processes that do
// it now. Of opt it uses HostNS, and Keeper: the program that goes on after Close. told is
// told what becomes of them, and has to return soon; nil: nobody is. If another process
// keeps all leases already, the error has the code CodeConflict.
//
// If this process is killed, what it kept is as if it had been killed that keeps one lease:
// the addresses stay until their leases end, and any later run goes on with them.
func KeepLeases(opt Options, told func(LeaseEvent)) (*Leases, error) {
	path := "/proc/thread-self/ns/net"
	if opt.HostNS != nil {
		path = fmt.Sprintf("/proc/self/fd/%d", opt.HostNS.Fd())
	}
	own, err := os.Open(path)
	if err != nil {
		return nil, fault.New(fault.Failed, "open", "the host's network namespace", "%w", err)
	}
	after := ours.Keeper{Program: opt.Keeper}.Keepers()
	tell := func(e lease.Event) {
		if told != nil {
			told(leaseEvent(e))
		}
	}
	pool, err := lease.NewPool(lease.PoolOptions{After: after, Host: own, Open: source.OpenLinks(own), Tell: tell})
	if err != nil {
		own.Close()
		return nil, err
	}
	return &Leases{pool, own}, nil
}

func leaseEvent(e lease.Event) LeaseEvent {
	out := LeaseEvent{What: e.What, Guest: e.Guest, IfName: e.IfName, Err: e.Err}
	if e.Lease != nil {
		out.Address = e.Lease.Address
	}
	return out
}

// Len returns how many leases there are.
func (l *Leases) Len() int { return l.pool.Leases() }

// Close hands all leases over to processes of Options.Keeper; none is released. Without
// that program, or where the error says that it could not be done, the addresses stay
// until their leases end, or until a later run goes on with them.
func (l *Leases) Close(ctx context.Context) error {
	defer l.host.Close()
	return l.pool.Close(ctx)
}

// keeper is what keeps the leases after a run.
func (o Options) keeper() ours.Keeper {
	k := ours.Keeper{Program: o.Keeper}
	if o.Leases != nil {
		k.Leases = o.Leases.pool
	}
	return k
}
