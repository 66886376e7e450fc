package attach

import (
	"net"

	"github.com/gopipework/gopipework/internal/fault"
)

// vlanKind is the sub-interface of a card for a VLAN, given to one guest.
type vlanKind struct{ childKind }

var vlan = vlanKind{childKind{traits: traits{word: KindVLAN, child: true, onHost: true}, ports: true}}

func (k vlanKind) settle(j *job, d *draft) error {
	if err := k.checkParent(j, k.tag); err != nil {
		return err
	}
	return k.refuseLongFrames(j)
}

func (vlanKind) tag(j *job) error {
	if j.VLAN == "" {
		return j.refuse(fault.Usage, "vlan: needs a tag").WithHint("gopipework vlan:%s %s ADDRESS @10", j.HostIF.Name, j.Spec.Guest)
	}
	return parseTag(j)
}

func (vlanKind) mac(j *job) (net.HardwareAddr, bool) { return j.parentMAC(), true }

// refuseConflicts refuses a VLAN that the host has: its card can have one link for it.
func (vlanKind) refuseConflicts(j *job) error {
	t := j.f.Tagged
	if !isTagged(t, j.f.Base, j.tag) {
		return nil
	}
	return j.refuse(fault.Conflict, "VLAN %d of %s is there already, as %s of the host, and a card can have only one", j.tag, j.f.Base.Name, t.Name).
		WithHint("phys:%s lends it, macvlan:%s makes a macvlan on it", t.Name, t.Name)
}

func (k vlanKind) join(j *job, d *draft) { k.joinParent(j, d, addChild{vlan: j.tag}, func() {}) }

func (k vlanKind) differ(j *job, differ differ) {
	k.childKind.differ(j, differ)
	if inner := j.f.Inner; Kind(inner.Kind) == k.word && inner.VLAN != j.tag {
		differ("VLAN", inner.VLAN, j.tag)
	}
}
