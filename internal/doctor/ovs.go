package doctor

import (
	"github.com/gopipework/gopipework/internal/build"
)

// ovsFacts is where Open vSwitch has the host's end of a pair.
type ovsFacts struct {
	Bridge string
	VLAN   string
}

// ovsPortChecks look at the host's end of a pair, in an Open vSwitch bridge.
var ovsPortChecks = []check{}

// ovsChecks look at the bridge.
var ovsChecks = []check{}

// findOVS asks Open vSwitch for the host's end of a pair that is in no Linux bridge.
func (w *walker) findOVS() error {
	var o build.Looker
	all := o.OVS(w.ctx, w.host.k)
	if o.Err != nil {
		return o.Err
	}
	if p, ok := all.Port(w.port.Name); ok {
		w.leap, w.ovs = toOVS, ovsFacts{Bridge: p.Bridge, VLAN: p.VLAN.String()}
	}
	return nil
}

func (w *walker) ovsPortFacts() []string {
	facts := []string{"port of " + w.ovs.Bridge}
	if w.ovs.VLAN != "" {
		facts = append(facts, "vlan "+w.ovs.VLAN)
	}
	return facts
}

func (w *walker) ovsFacts() []string { return nil }
