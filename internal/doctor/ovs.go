package doctor

import (
	"github.com/gopipework/gopipework/bridge"
	"github.com/gopipework/gopipework/internal/build"
	"github.com/gopipework/gopipework/internal/rtnl"
)

// switched is where Open vSwitch has the host's end of a pair.
type switched struct {
	all  bridge.OVS
	on   bridge.OVSBridge
	port bridge.OVSPort
}

// ovsPortChecks look at the host's end of a pair, in an Open vSwitch bridge.
var ovsPortChecks = []check{}

// ovsChecks look at the bridge.
var ovsChecks = []check{}

// findOVS asks Open vSwitch for the host's end of a pair that is in no Linux bridge.
func (w *walker) findOVS() error {
	var o build.Looker
	w.ovs.all = o.OVS(w.ctx, w.host.k)
	if o.Err != nil {
		return o.Err
	}
	p, ok := w.ovs.all.Port(w.port.Name)
	if !ok {
		return nil
	}
	w.leap, w.ovs.port = toOVS, p
	w.ovs.on, _ = w.ovs.all.Bridge(p.Bridge)
	return nil
}

// ovsPortFacts is what a person wants to know of the port.
func (w *walker) ovsPortFacts() []string {
	facts := []string{"port of " + w.ovs.port.Bridge}
	if v := w.ovs.port.VLAN.String(); v != "" {
		facts = append(facts, "vlan "+v)
	}
	return facts
}

// ovsFacts is what a person wants to know of the bridge.
func (w *walker) ovsFacts() []string { return nil }

// ovsPorts returns the other ports of the bridge, as links of the host.
func (w *walker) ovsPorts() (links []*rtnl.Link) {
	for _, p := range w.ovs.on.Ports {
		if l, err := w.host.k.LinkByName(p.Name); err == nil {
			links = append(links, l)
		}
	}
	return links
}
