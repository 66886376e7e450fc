package attach

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"slices"

	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/plan"
	"github.com/gopipework/gopipework/internal/rtnl"
)

// macvlanKind is a link with a MAC address of its own on a card of the host.
type macvlanKind struct{ childKind }

var macvlan = macvlanKind{childKind{
	traits:   traits{word: KindMacvlan, child: true, onHost: true, hostAccess: true},
	modes:    []string{"bridge", "private", "vepa", "passthru"},
	ethernet: true,
}}

// claims whatever is on the host and of no other kind.
func (macvlanKind) claims(_ string, f Facts) bool { return f.Base != nil }

func (k macvlanKind) settle(j *job, d *draft) error {
	if err := k.checkParent(j, settleTag); err != nil {
		return err
	}
	if j.Mode == "passthru" {
		if err := k.refuseMAC(j); err != nil {
			return err
		}
	}
	if err := k.refuseLongFrames(j); err != nil {
		return err
	}
	if j.HostAccess && j.Mode != "bridge" {
		return j.refuse(fault.Usage, "--host-access needs the mode bridge: in %s a macvlan hears no other on its parent", j.Mode).
			WithHint("--mode bridge")
	}
	return nil
}

// macvlanProbe is one more macvlan on the card.
type macvlanProbe struct{}

func (macvlanKind) prober(j *job) (prober, string) {
	if j.Mode != "bridge" {
		return nil, fmt.Sprintf("a macvlan of mode %s does not hear others on its card, and what is beyond the card cannot be tried from here", j.Mode)
	}
	return macvlanProbe{}, ""
}

func (macvlanProbe) join(_ context.Context, m *plan.Machine, s verify, _ *rtnl.Link, k *rtnl.Conn, ns *os.File) error {
	on, err := m.Find(plan.OnHost, s.on)
	if err != nil {
		return fault.Explain("find", s.on, err)
	}
	err = m.Host().AddChild(rtnl.Child{Name: s.probe, Kind: string(KindMacvlan), Mode: "bridge", Parent: on, NS: ns, MAC: s.mac[1], Group: plan.Group})
	return fault.Explain("make macvlan", s.probe, errors.Join(err, s.up(k, s.probe, quietly)))
}

func (macvlanProbe) leave(context.Context, *plan.Machine, verify) error { return nil }

// mac is the parent's in passthru mode, where another would change the parent's.
func (macvlanKind) mac(j *job) (net.HardwareAddr, bool) {
	if j.Mode != "passthru" {
		return nil, false
	}
	return j.parentMAC(), true
}

func (macvlanKind) refuseConflicts(j *job) error { return j.accessFree() }

func (k macvlanKind) join(j *job, d *draft) {
	k.joinParent(j, d, addChild{}, func() { j.hostAccess(d) })
}

func (k macvlanKind) repair(j *job, d *draft) {
	k.repairParent(j, d, func() { j.hostAccess(d) })
}

func (k macvlanKind) differ(j *job, differ differ) {
	k.childKind.differ(j, differ)
	j.accessDiffers(differ)
}

// detached plans for the host's ways to what goes, and then for the sub-interfaces of
// cards that nothing is on any more.
func (macvlanKind) detached(d departure, r *removal) {
	left := d.detachWays(r)
	for _, index := range slices.Sorted(maps.Keys(d.f.Parents)) {
		parent := d.f.Parents[index]
		users := parent.Users
		for _, c := range d.chosen {
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
			r.links = append(r.links, delLink{parent.Name, parent.Index})
		}
	}
}

// gc plans for the host's ways to nobody, and for sub-interfaces that nothing is on.
func (macvlanKind) gc(f GCFacts, r *removal) {
	ends := map[int]bool{} // the host's own macvlans that go, by index
	for _, w := range f.Ways {
		steps, last := w.end(nil)
		r.steps = append(r.steps, steps...)
		if last != nil {
			r.links = append(r.links, *last)
			ends[w.Index] = true
		}
	}
	for _, l := range f.Links {
		stays := func(u user) bool {
			return !f.going(u) && !(u.netns == 0 && ends[u.Index] && u.PeerNS < 0)
		}
		if plan.IsOurs(l) && l.Kind == "vlan" && !slices.ContainsFunc(f.Users[l.Index], stays) && !inUse(l.Index, f.Addrs) {
			r.links = append(r.links, delLink{l.Name, l.Index})
		}
	}
}
