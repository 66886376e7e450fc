package kind

import (
	"context"
	"net"

	"github.com/gopipework/gopipework/internal/build"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/plan"
	"github.com/gopipework/gopipework/internal/spec"
)

// ipvlanKind is a link on a card of the host, whose MAC address it shares.
type ipvlanKind struct{ childKind }

var ipvlan = ipvlanKind{childKind{
	plain: plain{build.Traits{
		Word: spec.KindIPvlan, Child: true, OnHost: true, UpLate: true, LongFrames: true, SharedMAC: true,
		// ipvlan_addr_lookup: to which of them a reply belongs is told by the
		// address that it is for, and a reply to a probe is for none.
		NoProbe: "an ipvlan has its parent's MAC address, and the parent alone hears the answers to a probe",
	}},
	modes:    []string{"l2", "l3", "l3s"},
	ethernet: true,
}}

// Look reads the card's sub-interface, and who else is there: all ipvlans of a card have
// one mode.
func (k ipvlanKind) Look(_ context.Context, o *build.Observer, m *plan.Machine, s spec.Spec, f *build.Facts) {
	f.Tagged = tagged(o, k.Word, f.Base, s.VLAN)
	if f.Base != nil {
		f.Stations = watch(o, s, *f).onCard(m, s, *f)
	}
}

func (k ipvlanKind) settle(j *build.Job, d *build.Draft) error {
	if err := k.checkParent(j, settleTag); err != nil {
		return err
	}
	if err := k.refuseMAC(j); err != nil {
		return err
	}
	for _, st := range j.There.Stations { // the mode belongs to the card: all of them would change
		if st.Mode != "" && st.Mode != j.Mode {
			return j.Refuse(fault.Conflict, "%s is in mode %s, and all ipvlans of a card have the same mode", st.Who, st.Mode).
				WithHint("--mode %s", st.Mode)
		}
	}
	// One that routes has no broadcast or multicast (Documentation/networking/ipvlan.rst).
	if j.From.Kind != spec.FromLine && j.Mode != "l2" {
		return j.Refuse(fault.Usage, "an ipvlan in mode %s hears no broadcast or multicast, so %s cannot get an address", j.Mode, sourceName(j.From)).
			WithHint("use --mode l2, or give an address")
	}
	return nil
}

func (ipvlanKind) mac(j *build.Job) (net.HardwareAddr, bool) { return parentMAC(j), true }

func (k ipvlanKind) Join(j *build.Job, d *build.Draft) { k.joinParent(j, d, AddChild{}, func() {}) }
