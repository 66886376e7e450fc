package kind

import (
	"context"
	"net"

	"github.com/gopipework/gopipework/internal/build"
	"github.com/gopipework/gopipework/internal/plan"
	"github.com/gopipework/gopipework/internal/spec"
)

// macvtapKind is a macvlan whose frames a program reads and writes through a character
// device, such as a virtual machine that runs in the guest. While no program has the
// device open, the guest's own network stack gets the frames.
type macvtapKind struct{ childKind }

var macvtap = macvtapKind{childKind{
	plain:    plain{build.Traits{Word: spec.KindMacvtap, Child: true, OnHost: true}},
	modes:    macvlan.modes,
	ethernet: true,
}}

// Look reads the card's sub-interface, and who else is there.
func (k macvtapKind) Look(_ context.Context, o *build.Observer, m *plan.Machine, s spec.Spec, f *build.Facts) {
	f.Tagged = tagged(o, k.Word, f.Base, s.VLAN)
	if f.Base == nil {
		return
	}
	if w := watch(o, s, *f); w.matters() {
		f.Stations = w.onCard(m, s, *f)
	}
}

func (k macvtapKind) settle(j *build.Job, _ *build.Draft) error { return k.settleMacvlan(j) }

func (macvtapKind) mac(j *build.Job) (net.HardwareAddr, bool) { return passthruMAC(j) }

func (macvtapKind) prober(*build.Job) (prober, string) {
	return nil, "the frames of a macvtap go to the program that has its character device open"
}

func (k macvtapKind) Join(j *build.Job, d *build.Draft) { k.joinParent(j, d, AddChild{}, func() {}) }
