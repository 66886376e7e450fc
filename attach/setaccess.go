package attach

import (
	"github.com/gopipework/gopipework/internal/build"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/hostaccess"
	"github.com/gopipework/gopipework/internal/lease"
	"github.com/gopipework/gopipework/internal/plan"
	"github.com/gopipework/gopipework/internal/source"
)

// observeAccess looks at the host's way to a macvlan.
func observeAccess(o *build.Looker, m *plan.Machine, s SetSpec, f *build.SetFacts) {
	if s.HostAccess == nil && !s.HasAddrs || f.On == nil || f.Found.Host.Kind != string(KindMacvlan) {
		return
	}
	f.Access = hostaccess.Access(o, m.Host(), f.On.Name, f.On)
	if f.Lease != nil {
		o.Look("the host's namespace", func() (err error) { f.Access.Host, err = m.Host().Cookie(); return err })
	}
}

// setAccess plans for the host's way to be turned on or off, or to follow other addresses. All
// of it comes before the addresses: a wait for those lets the host's lock go. The keeper of
// a lease learns of it before the host's route to the leased address goes. What is planned
// after this sees the lease as it is kept then, and whether the host has a way.
func setAccess(c *build.Change, d *build.Draft) error {
	if c.HostAccess == nil && !c.HasAddrs {
		return nil
	}
	j := wanted(*c)
	switch on := hostaccess.IsOn(j); {
	case c.HostAccess != nil:
		j.HostAccess = *c.HostAccess
		if err := checkAccess(*c, j); err != nil {
			return err
		}
	case on && j.From.Kind == FromLine:
		j.HostAccess = len(j.AddrsOf(false)) > 0
	default:
		return nil
	}
	c.HostAccess, j.HostIF.Name = &j.HostAccess, c.There.On.Name
	if err := hostaccess.CheckName(j); err != nil {
		return err
	}
	if j.From.Kind != FromDHCP {
		hostaccess.PlanWay(j, d)
		hostaccess.PlanLeaving(j, d, c.There.Detach)
		return nil
	}
	told, kept := *j, *j.There.Lease
	kept.Ask.Access = nil
	if j.HostAccess {
		kept.Ask.Access = &lease.Access{Host: c.There.Access.Host, Parent: c.There.On.Index}
	}
	j.There.Lease, c.There.Lease, c.Job.There.Lease = &kept, &kept, &kept
	hostaccess.PlanWay(j, d)
	source.PlanChange(&told, d, &kept.Ask)
	hostaccess.PlanLeaving(j, d, c.There.Detach)
	return nil
}

// checkAccess refuses what an attach would refuse.
func checkAccess(c build.Change, j *build.Job) error {
	j.Mode = c.There.Inner.Mode
	if err := hostaccess.CheckKind(j); err != nil {
		return err
	}
	if c.There.On == nil {
		return c.Refuse(fault.Conflict, "the card that it is on is not one of the host's")
	}
	return j.CheckHostAccess()
}
