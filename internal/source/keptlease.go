package source

import (
	"cmp"
	"context"
	"errors"
	"os"
	"strings"

	"github.com/gopipework/gopipework/internal/build"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/guestnet"
	"github.com/gopipework/gopipework/internal/guests"
	"github.com/gopipework/gopipework/internal/lease"
	"github.com/gopipework/gopipework/internal/ours"
	"github.com/gopipework/gopipework/internal/plan"
	"github.com/gopipework/gopipework/internal/spec"
)

// What holds for the leases of either protocol: a process of ours keeps them as long as
// the guest lives (internal/lease).

// KeepLeases is that process. Its arguments are those after ours.KeeperWord; ready
// tells who started it that it runs.
func KeepLeases(ctx context.Context, args []string, ready *os.File) error {
	hostNS, err := os.Open("/proc/thread-self/ns/net") // before any thread of ours enters the guest's
	if err != nil {
		return fault.New(fault.Failed, "open", "this process's network namespace", "%w", err)
	}
	defer hostNS.Close()
	return lease.Serve(ctx, args, ready, OpenLinks(hostNS))
}

// leaseGuest is the guest as a keeper knows it.
func leaseGuest(g guests.Guest) lease.Guest {
	return lease.Guest{Namespace: g.Namespace, PID: g.PID, Path: g.Path, Word: g.Word()}
}

// KeptLeases returns what is kept for a guest.
func KeptLeases(g guests.Guest) ([]lease.Kept, error) {
	return ours.Keepers().List(leaseGuest(g))
}

// LeaseState is how the lease of an interface stands, for telling alone: what
// cannot be read is left out.
func LeaseState(k plan.Kernel, index int) *ours.LeaseState {
	if _, err := os.Stat(ours.RunDir); err != nil {
		return nil
	}
	cookie, err := k.Cookie()
	if err != nil {
		return nil
	}
	all, _ := ours.Keepers().Look(cookie)
	kept := KeptFor(all, index)
	if kept == nil {
		return nil
	}
	s := &ours.LeaseState{Source: sourceOf(kept.Ask), Trouble: kept.Trouble, ACD: kept.Ask.ACD, Keep: kept.Ask.Behind, Metric: kept.Ask.Metric}
	if s.Source == spec.FromDHCP {
		s.Options = kept.Options()
	}
	if l := kept.Lease; l != nil {
		s.Server = l.Server.String()
		if left := l.Left(lease.Now()); left != lease.Forever {
			s.Seconds = int64(left.Seconds())
		}
	} else {
		s.Trouble, s.Routes = cmp.Or(s.Trouble, "there is none yet"), guestnet.LeaseRoutes(kept.Ask)
	}
	if kept.Unkept {
		s.Trouble = "its keeper was killed; gopipework gc starts it again"
	}
	return s
}

// KeptFor returns what is kept for an interface of the guest; nil: nothing.
func KeptFor(all []lease.Kept, index int) *lease.Kept {
	for i := range all {
		if all[i].Ask.Index == index {
			return &all[i]
		}
	}
	return nil
}

// IdentityOf is the guest as a DHCP server knows it.
func IdentityOf(g guests.GuestInfo) lease.Identity {
	return lease.Identity{Runtime: g.Runtime, ID: g.ID, Name: g.Name}
}

// leased is a source whose leases a keeper of ours keeps.
type leased struct{}

func (leased) keeps(in build.Inside) string {
	if in.Lease == nil {
		return ""
	}
	return "its address is leased by DHCP"
}

func (leased) Clear(j *build.Job, d *build.Draft) {
	if l := j.There.Lease; l != nil {
		d.Add(ReleaseLease{j.Place, j.Names.Inner, l.Ask.Index})
	}
}

func (leased) Detach(d build.Departure, c build.Pair, r *build.Removal) {
	if kept := KeptFor(d.There.Leases, c.Index()); kept != nil {
		r.First = append(r.First, ReleaseLease{d.Place, c.Interface.Name, kept.Ask.Index})
	}
}

// sourceOf is what has given a lease that is kept.
func sourceOf(a lease.Ask) spec.SourceKind {
	if a.Kind == lease.DHCPv6 {
		return spec.FromDHCP6
	}
	return spec.FromDHCP
}

// keepLease configures the interface as a lease says, and has a keeper keep it. If that
// fails it releases the lease, while the interface still has the address to send the
// release from. A server that cannot be told finds out when the lease ends; nothing
// is left here.
func keepLease(ctx context.Context, p plan.Place, m *plan.Machine, ask lease.Ask, l *lease.Lease, access *leaseAccess, s plan.Step) error {
	g, link := m.Guests[p.Side], leaseLink{p.Kernel(m), ask, m.Host(), nil}
	err := l.Apply(link, nil, lease.Now())
	if err == nil && access != nil {
		err = access.set(ctx, m, link, *l)
	}
	if err == nil {
		err = fromHost(m, func() error { return ours.KeeperOf(m).Keepers().Keep(ctx, leaseGuest(g), ask, *l) })
	}
	if err == nil {
		return nil
	}
	_ = lease.Release(g.Namespace, ask, *l)
	left := l.Withdraw(link)
	if access != nil {
		left = errors.Join(left, access.withdraw(m))
	}
	return plan.Half(m.Cause(ctx, err), left, s)
}

// fromHost calls do in the host's namespace, where the keepers live that it starts.
func fromHost(m *plan.Machine, do func() error) error { return m.Host().Run(do) }

// releaseOf releases the lease of an interface that an earlier step has made.
func releaseOf(ctx context.Context, p plan.Place, m *plan.Machine, inner string) error {
	return ReleaseLease{p, inner, p.Index(m, inner)}.Do(ctx, m)
}

// ReleaseLease releases a lease. It cannot be undone: a client that asks again may
// get another address.
type ReleaseLease struct {
	plan.Place
	inner string
	index int
}

func (s ReleaseLease) Do(ctx context.Context, m *plan.Machine) error {
	err := fromHost(m, func() error {
		_, err := ours.KeeperOf(m).Keepers().Release(ctx, leaseGuest(m.Guests[s.Side]), s.index)
		return err
	})
	return fault.IgnoreAbsent("release lease of", s.inner, err)
}

func (s ReleaseLease) Undo(context.Context, *plan.Machine) error { return nil }

func (s ReleaseLease) Left() string {
	return "the lease of " + s.inner + ", which a DHCP server granted"
}

func (ReleaseLease) Nature() plan.Nature { return plan.Final }

func (s ReleaseLease) String() string {
	return "# give the lease of " + s.inner + " back to its DHCP server"
}

// WakeKeepers starts the keepers again that were killed while their guests
// live, and removes what those of dead guests have left. That one of them cannot
// be started is a warning: the run that notices may have to do with another
// guest.
func WakeKeepers(ctx context.Context, by ours.Keeper) (warnings []string) {
	if _, err := os.Stat(ours.RunDir); err != nil {
		return nil // nothing was ever kept
	}
	if _, err := by.Keepers().Sweep(ctx, false); err != nil && ctx.Err() == nil {
		warnings = append(warnings, strings.ReplaceAll(err.Error(), "\n", "; "))
	}
	return warnings
}
