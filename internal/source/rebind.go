package source

import (
	"context"

	"github.com/gopipework/gopipework/internal/build"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/ours"
	"github.com/gopipework/gopipework/internal/plan"
)

// A guest that is moved to another network (set --to) keeps a lease that was granted on the
// old one.

// PlanRebind plans for the servers of the new network to be asked whether the guest may keep
// its leased address.
func PlanRebind(j *build.Job, d *build.Draft) {
	switch l, client := j.There.Lease, j.There.Client; {
	case l != nil && l.Lease != nil:
		d.Add(Rebind{Place: j.Place, inner: j.Names.Inner})
	case client != nil:
		d.Warn("%s keeps the address of %s, and asks the new network only when it renews the lease", client.Ask.Client, j.Names.Inner)
	}
}

// Rebind has the keeper ask every server, at once, to extend the lease (RFC 2131, section
// 4.4.5; RFC 8415, section 18.2.5). One that does not know the address refuses it, and the
// keeper asks for another. If nobody answers, the address stays until the lease ends.
type Rebind struct {
	plan.Place
	inner string
}

func (s Rebind) Do(ctx context.Context, m *plan.Machine) error {
	g := m.Guests[s.Side]
	return fault.Explain("rebind lease of", s.inner, fromHost(m, func() error {
		keepers := ours.KeeperOf(m).Keepers()
		all, err := keepers.List(leaseGuest(g))
		kept := KeptFor(all, s.Index(m, s.inner))
		if err != nil || kept == nil || kept.Lease == nil {
			return err
		}
		l := *kept.Lease
		l.T1, l.T2 = 0, 0
		return keepers.Keep(ctx, leaseGuest(g), kept.Ask, l)
	}))
}

// Undo asks the servers of the old network.
func (s Rebind) Undo(ctx context.Context, m *plan.Machine) error { return s.Do(ctx, m) }

func (Rebind) Nature() plan.Nature { return plan.Undoable }

func (s Rebind) Left() string { return "the lease of " + s.inner + ", which is asked for anew" }

func (s Rebind) String() string {
	return "# ask the DHCP servers of the new network whether " + s.inner + " may keep its address"
}
