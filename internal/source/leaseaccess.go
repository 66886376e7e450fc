package source

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strconv"

	"github.com/gopipework/gopipework/internal/build"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/hostaccess"
	"github.com/gopipework/gopipework/internal/lease"
	"github.com/gopipework/gopipework/internal/ours"
	"github.com/gopipework/gopipework/internal/plan"
	"github.com/gopipework/gopipework/internal/rtnl"
	"github.com/gopipework/gopipework/internal/spec"
)

// The host's way to an address that a DHCP server gives. The attach sees to the
// host's own macvlan; the host's route comes and goes with the lease, so whoever
// applies that sets it. A keeper lives in the network namespace of the host for
// this reason. It makes no macvlan: only a run that holds the host's lock may.

// accessFor returns what a keeper must know to keep the host's way to a guest on
// the parent.
func accessFor(k plan.Kernel, parent int) (*lease.Access, error) {
	cookie, err := k.Cookie()
	if err != nil {
		return nil, fault.Explain("number", "the host's namespace", err)
	}
	return &lease.Access{Host: cookie, Parent: parent}, nil
}

// onHost calls do with the host's side. ok is false if the namespace that is open
// is another host's: the run that started this keeper was there.
func (l leaseLink) onHost(follows *lease.Access, do func(plan.Kernel) error) (ok bool, err error) {
	k := l.host
	if k == nil {
		c, err := rtnl.Open(l.hostNS)
		if err != nil {
			return true, err
		}
		defer c.Close()
		k = c
	}
	cookie, err := k.Cookie()
	if err != nil || cookie != follows.Host {
		return false, err
	}
	return true, do(k)
}

func (l leaseLink) SetAccess(got lease.Lease) error {
	return errors.Join(l.addAccess(got), l.setNeighbour(got.Address.Addr()))
}

// addAccess adds the host's route to the leased address.
func (l leaseLink) addAccess(got lease.Lease) error {
	if l.ask.Access == nil {
		return nil
	}
	a := got.Address.Addr()
	op, object := "add the host's route to", a.String()
	ok, err := l.onHost(l.ask.Access, func(k plan.Kernel) error {
		way, err := hostaccess.On(k, l.ask.Access.Parent)
		if err == nil && way == nil {
			return fault.New(fault.Conflict, op, object, "somebody has deleted the host's own macvlan").
				WithHint("the same line again makes it")
		}
		if err != nil {
			return err
		}
		source, err := parentSource(k, l.ask.Access.Parent, a)
		if err != nil {
			return err
		}
		return plan.EnsureRoute(k, rtnl.Route{Dst: netip.PrefixFrom(a, a.BitLen()), Source: source, Index: way.Index, Protocol: ours.Protocol})
	})
	if err == nil && !ok {
		err = errElsewhere
	}
	return fault.Explain(op, object, err)
}

// errElsewhere is why a keeper can do nothing on the host.
var errElsewhere = errors.New("the process that keeps the lease was started in another network namespace than the host's")

// delAccess deletes the host's route to an address that has gone.
func (l leaseLink) delAccess(a netip.Addr) error {
	if l.ask.Access == nil {
		return nil
	}
	_, err := l.onHost(l.ask.Access, func(k plan.Kernel) error {
		way, err := hostaccess.On(k, l.ask.Access.Parent)
		if err != nil || way == nil {
			return err
		}
		routes, err := ours.RoutesBy(k, way.Index)
		for _, r := range routes {
			if r.Dst.Addr() == a && err == nil {
				err = fault.IgnoreAbsent("delete route to", r.Dst.String(), k.DelRoute(r))
			}
		}
		return err
	})
	return fault.Explain("delete the host's route to", a.String(), err)
}

// leaseAccess is what a step that gets a lease does for the host's way.
type leaseAccess struct {
	macvlan hostaccess.AddAccess
	there   bool // the macvlan, when it was looked at: no earlier step makes it
}

// set sets the host's way to a leased address. It makes the macvlan if it has gone
// while the server took its time: without a route by it, a detach of another guest
// takes it for unused.
func (a leaseAccess) set(ctx context.Context, m *plan.Machine, link leaseLink, l lease.Lease) error {
	if err := m.HostLock.Acquire(ctx, "host"); err != nil {
		return err
	}
	defer m.HostLock.Release()
	way, err := hostaccess.On(m.Host(), link.ask.Access.Parent)
	if err == nil && way == nil {
		err = a.macvlan.Do(ctx, m)
	}
	if err == nil {
		err = link.SetAccess(l)
	}
	if err != nil {
		return err
	}
	source, err := parentSource(m.Host(), link.ask.Access.Parent, l.Address.Addr())
	if err == nil && !source.IsValid() {
		m.Warn(hostaccess.NoSourceWarning(a.macvlan.Parent, l.Address.Addr()))
	}
	return nil
}

// parentSource is hostaccess.SourceFor by the addresses that a parent has now.
func parentSource(k plan.Kernel, parent int, to netip.Addr) (netip.Addr, error) {
	all, err := k.Addrs()
	return hostaccess.SourceFor(slices.DeleteFunc(all, func(a rtnl.Addr) bool { return a.Index != parent }), to), err
}

// unset deletes the macvlan if set made it, no earlier step undoes that, and nobody
// else has come to use it. The caller must hold the host's lock.
func (a leaseAccess) unset(ctx context.Context, m *plan.Machine) error {
	if !m.Knows(plan.OnHost, a.macvlan.Name) || !a.there {
		return nil
	}
	return a.macvlan.Undo(ctx, m)
}

// withdraw is unset for a run that does not hold the host's lock.
func (a leaseAccess) withdraw(m *plan.Machine) error {
	ctx, cancel := context.WithTimeout(context.Background(), plan.UndoTimeout)
	defer cancel()
	if err := m.HostLock.Acquire(ctx, "host"); err != nil {
		return err
	}
	defer m.HostLock.Release()
	return a.unset(ctx, m)
}

// words print the route, whose address is not known yet.
func (a leaseAccess) words() string {
	return "# ip route add ADDRESS/32 dev " + a.macvlan.Name + " protocol " + strconv.Itoa(ours.Protocol)
}

// leaseAccessFor returns nil if the host is not to reach the leased address.
func leaseAccessFor(j *build.Job) *leaseAccess {
	if !j.HostAccess || j.From.Kind != spec.FromDHCP {
		return nil
	}
	a := &leaseAccess{macvlan: hostaccess.AddAccess{Name: hostaccess.AccessName(hostaccess.ParentOf(j)), Parent: hostaccess.ParentOf(j)}}
	if l := j.There.Access.Link; l != nil {
		a.macvlan.Name, a.there = l.Name, true
	}
	return a
}
