package kind

import (
	"context"
	"net"

	"github.com/gopipework/gopipework/internal/build"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/plan"
	"github.com/gopipework/gopipework/internal/spec"
)

// vlanKind is the sub-interface of a card for a VLAN, given to one guest.
type vlanKind struct{ childKind }

var vlan = vlanKind{childKind{plain: plain{build.Traits{Word: spec.KindVLAN, Child: true, OnHost: true}}, ports: true}}

// Look reads what the host has for the VLAN.
func (k vlanKind) Look(_ context.Context, o *build.Observer, _ *plan.Machine, s spec.Spec, f *build.Facts) {
	f.Tagged = tagged(o, k.Word, f.Base, s.VLAN)
}

func (k vlanKind) settle(j *build.Job, d *build.Draft) error {
	if err := k.checkParent(j, k.tag); err != nil {
		return err
	}
	return k.refuseLongFrames(j)
}

func (vlanKind) tag(j *build.Job) error {
	if j.VLAN == "" {
		return j.Refuse(fault.Usage, "vlan: needs a tag").WithHint("gopipework vlan:%s %s ADDRESS @10", j.HostIF.Name, j.Spec.Guest)
	}
	return parseTag(j)
}

func (vlanKind) mac(j *build.Job) (net.HardwareAddr, bool) { return parentMAC(j), true }

// RefuseConflicts refuses a VLAN that the host has: its card can have one link for it.
func (vlanKind) RefuseConflicts(j *build.Job) error {
	t := j.There.Tagged
	if !isTagged(t, j.There.Base, j.Tag) {
		return nil
	}
	return j.Refuse(fault.Conflict, "VLAN %d of %s exists already, as the host's %s, and a card can have each VLAN only once", j.Tag, j.There.Base.Name, t.Name).
		WithHint("phys:%s lends it, macvlan:%s makes a macvlan on it", t.Name, t.Name)
}

func (k vlanKind) Join(j *build.Job, d *build.Draft) {
	k.joinParent(j, d, AddChild{vlan: j.Tag}, func() {})
}

func (k vlanKind) Differ(j *build.Job, differ build.Differ) {
	k.childKind.Differ(j, differ)
	if inner := j.There.Inner; spec.Kind(inner.Kind) == k.Word && inner.VLAN != j.Tag {
		differ("VLAN", inner.VLAN, j.Tag)
	}
}
