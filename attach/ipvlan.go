package attach

import (
	"net"

	"github.com/gopipework/gopipework/internal/fault"
)

// ipvlanKind is a link on a card of the host, whose MAC address it shares.
type ipvlanKind struct{ childKind }

var ipvlan = ipvlanKind{childKind{
	traits: traits{
		word: KindIPvlan, child: true, onHost: true, upLate: true, longFrames: true, sharedMAC: true,
		// ipvlan_addr_lookup: to which of them a reply belongs is told by the
		// address that it is for, and a reply to a probe is for none.
		noProbe: "an ipvlan has its parent's MAC address, and the parent alone hears the answers to a probe",
	},
	modes:    []string{"l2", "l3", "l3s"},
	ethernet: true,
}}

func (k ipvlanKind) settle(j *job, d *draft) error {
	if err := k.checkParent(j, settleTag); err != nil {
		return err
	}
	if err := k.refuseMAC(j); err != nil {
		return err
	}
	for _, st := range j.f.Stations { // the mode belongs to the card: all of them would change
		if st.Mode != "" && st.Mode != j.Mode {
			return j.refuse(fault.Conflict, "%s is in mode %s, and all ipvlans of a card have one mode", st.Who, st.Mode).
				WithHint("--mode %s", st.Mode)
		}
	}
	// One that routes has no broadcast or multicast (Documentation/networking/ipvlan.rst).
	if j.From.Kind != FromLine && j.Mode != "l2" {
		return j.refuse(fault.Usage, "an ipvlan in mode %s hears no broadcast or multicast, and %s can get no address", j.Mode, sourceName(j.From)).
			WithHint("--mode l2, or an address on the line")
	}
	return nil
}

func (ipvlanKind) mac(j *job) (net.HardwareAddr, bool) { return j.parentMAC(), true }

func (k ipvlanKind) join(j *job, d *draft) { k.joinParent(j, d, addChild{}, func() {}) }
