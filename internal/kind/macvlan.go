package kind

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"slices"

	"github.com/gopipework/gopipework/internal/build"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/hostaccess"
	"github.com/gopipework/gopipework/internal/ours"
	"github.com/gopipework/gopipework/internal/plan"
	"github.com/gopipework/gopipework/internal/rtnl"
	"github.com/gopipework/gopipework/internal/spec"
)

// macvlanKind is a link with a MAC address of its own on a card of the host.
type macvlanKind struct{ childKind }

var macvlan = macvlanKind{childKind{
	plain:    plain{build.Traits{Word: spec.KindMacvlan, Child: true, OnHost: true, HostAccess: true}},
	modes:    []string{"bridge", "private", "vepa", "passthru"},
	ethernet: true,
}}

// claims whatever is on the host and of no other kind.
func (macvlanKind) claims(_ string, f build.Facts) bool { return f.Base != nil }

// Look reads the card's sub-interface, the host's way to macvlans on it, and who else is
// there.
func (k macvlanKind) Look(_ context.Context, o *build.Observer, m *plan.Machine, s spec.Spec, f *build.Facts) {
	f.Tagged = tagged(o, k.Word, f.Base, s.VLAN)
	if f.Base == nil {
		return
	}
	name, parent := f.Base.Name, f.Base
	switch sub := build.TaggedName(k.Word, f.Base, s.VLAN); {
	case f.Tagged != nil:
		name, parent = f.Tagged.Name, f.Tagged
	case sub != "":
		name, parent = sub, nil
	}
	f.Access = hostaccess.Access(&o.Looker, o.Host, name, parent)
	if w := watch(o, s, *f); w.matters() {
		f.Stations = w.onCard(m, s, *f)
	}
}

func (k macvlanKind) settle(j *build.Job, _ *build.Draft) error { return k.settleMacvlan(j) }

// settleMacvlan settles what macvlans and macvtaps have in common.
func (c childKind) settleMacvlan(j *build.Job) error {
	if err := c.checkParent(j, settleTag); err != nil {
		return err
	}
	if j.Mode == "passthru" {
		if err := c.refuseMAC(j); err != nil {
			return err
		}
	}
	return c.refuseLongFrames(j)
}

// macvlanProbe is one more macvlan on the card.
type macvlanProbe struct{}

func (macvlanKind) prober(j *build.Job) (prober, string) {
	if j.Mode != "bridge" {
		return nil, fmt.Sprintf("a macvlan of mode %s does not hear others on its card, and what is beyond the card cannot be tried from here", j.Mode)
	}
	return macvlanProbe{}, ""
}

func (macvlanProbe) join(_ context.Context, m *plan.Machine, s Verify, _ *rtnl.Link, k *rtnl.Conn, ns *os.File) error {
	on, err := m.Find(plan.OnHost, s.on)
	if err != nil {
		return fault.Explain("find", s.on, err)
	}
	err = m.Host().AddChild(rtnl.Child{Name: s.probe, Kind: string(spec.KindMacvlan), Mode: "bridge", Parent: on, NS: ns, MAC: s.mac[1], Group: plan.Group})
	return fault.Explain("make macvlan", s.probe, errors.Join(err, s.up(k, s.probe, quietly)))
}

func (macvlanProbe) leave(context.Context, *plan.Machine, Verify) error { return nil }

func (macvlanKind) mac(j *build.Job) (net.HardwareAddr, bool) { return passthruMAC(j) }

// passthruMAC is the parent's address in mode passthru, where another would change the
// parent's.
func passthruMAC(j *build.Job) (net.HardwareAddr, bool) {
	if j.Mode != "passthru" {
		return nil, false
	}
	return parentMAC(j), true
}

func (macvlanKind) RefuseConflicts(j *build.Job) error { return hostaccess.CheckName(j) }

func (k macvlanKind) Join(j *build.Job, d *build.Draft) {
	k.joinParent(j, d, AddChild{}, func() { hostaccess.PlanWay(j, d) })
}

func (k macvlanKind) Repair(j *build.Job, d *build.Draft) {
	k.repairParent(j, d, func() { hostaccess.PlanWay(j, d) })
}

func (k macvlanKind) Differ(j *build.Job, differ build.Differ) {
	k.childKind.Differ(j, differ)
	hostaccess.Differ(j, differ)
}

// Detached plans for the host's ways to what goes, and then for the sub-interfaces of
// cards that nothing is on any more.
func (macvlanKind) Detached(d build.Departure, r *build.Removal) {
	left := hostaccess.DetachWays(d, r)
	for _, index := range slices.Sorted(maps.Keys(d.There.Parents)) {
		parent := d.There.Parents[index]
		users := parent.Users
		for _, c := range d.Chosen {
			if c.Child != nil && c.Child.Peer == index {
				users--
			}
		}
		for _, p := range left {
			if p == index {
				users--
			}
		}
		if users == 0 {
			r.Links = append(r.Links, ours.DelLink{Name: parent.Name, Index: parent.Index})
		}
	}
}

// GC plans for the host's ways to nobody, and for sub-interfaces that nothing is on.
func (macvlanKind) GC(f build.GCFacts, r *build.Removal) {
	ends := map[int]bool{} // the host's own macvlans that go, by index
	for _, w := range f.Ways {
		steps, last := hostaccess.EndWay(w, nil)
		r.Steps = append(r.Steps, steps...)
		if last != nil {
			r.Links = append(r.Links, *last)
			ends[w.Index] = true
		}
	}
	for _, l := range f.Links {
		stays := func(u ours.User) bool {
			return !f.Going(u) && !(u.Netns == 0 && ends[u.Index] && u.PeerNS < 0)
		}
		if plan.IsOurs(l) && l.Kind == "vlan" && l.Master == 0 && !slices.ContainsFunc(f.Users[l.Index], stays) && !ours.InUse(l.Index, f.Addrs) {
			r.Links = append(r.Links, ours.DelLink{Name: l.Name, Index: l.Index})
		}
	}
}
