package doctor

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/gopipework/gopipework/bridge"
	"github.com/gopipework/gopipework/internal/finding"
	"github.com/gopipework/gopipework/internal/kind"
	"github.com/gopipework/gopipework/internal/ours"
	"github.com/gopipework/gopipework/internal/passage"
	"github.com/gopipework/gopipework/internal/plan"
	"github.com/gopipework/gopipework/internal/rtnl"
	"github.com/gopipework/gopipework/internal/shell"
)

// portChecks look at the host's end of a pair, in a Linux bridge.
var portChecks = []check{(*walker).atPort, (*walker).mtuDiffers, (*walker).vlanOnPort}

// looseChecks look at the host's end of a pair that is in no switch.
var looseChecks = []check{(*walker).portMissing}

// atPort looks at what the bridge does with the port. If the bridge is down, it does nothing
// with any.
func (w *walker) atPort() ([]finding.Finding, error) {
	if !w.on.Up {
		return nil, nil
	}
	w.awaitPort()
	found, err := w.passage().AtPort()
	if err == nil {
		var more []finding.Finding
		more, err = w.passage().AtFilter()
		found = append(found, more...)
	}
	if err == nil && w.keptFromTarget() {
		var more []finding.Finding
		more, err = w.passage().Isolated()
		found = append(found, more...)
	}
	return found, err
}

// keptFromTarget reports whether a far end that is asked for is behind an isolated port. To
// isolate guests from each other is usual; they reach all others.
func (w *walker) keptFromTarget() bool {
	return w.ask.To.given() && slices.ContainsFunc(w.far, func(f *far) bool { return f.port != nil && f.port.Port.Isolated })
}

// portPatience is how long the bridge may take to hear that its port has a carrier: the kernel
// tells it later, by a work queue.
const portPatience = 150 * time.Millisecond

// disabled is the state of a port of a bridge without a carrier (BR_STATE_DISABLED).
const disabled = 0

// awaitPort looks again at a port that is disabled though it has a carrier.
func (w *walker) awaitPort() {
	now := ours.Now(w.host.k)
	for end := time.Now().Add(portPatience); w.port.Carrier && w.port.Port.State == disabled && time.Now().Before(end); {
		time.Sleep(10 * time.Millisecond)
		l, err := now.LinkByIndex(w.port.Index)
		if err != nil {
			return
		}
		w.port = l
	}
}

// portMissing finds the port of an attachment that somebody has taken off its bridge. What
// is not ours may have been made to be in none: a program of tc's may pass its frames on.
func (w *walker) portMissing() ([]finding.Finding, error) {
	if w.leap != toNothing {
		return nil, nil
	}
	f := finding.PortMissing.Perhaps("%s is in no bridge", w.port.Name)
	f.Sure = plan.IsOurs(w.port)
	if name := w.formerBridge(); name != "" {
		f = f.MendedBy("ip link set dev " + shell.Quote(w.port.Name) + " master " + shell.Quote(name))
	} else if b, ok := w.formerOVS(); ok {
		f.Kind = finding.OVSPortGone
		f = f.MendedBy(bridge.OVSPort{Bridge: b.Name, Name: w.port.Name}.AddCommand())
	}
	return []finding.Finding{f}, nil
}

// formerBridge returns the Linux bridge whose guests are in a subnet of this one: most likely
// the one that the port was in. "": none, or several.
func (w *walker) formerBridge() (name string) {
	links, _ := w.host.k.Links()
	for _, l := range links {
		if l.Kind != "bridge" {
			continue
		}
		if ports, _ := w.host.k.Ports(l.Index); w.hasNeighbour(ports) {
			if name != "" {
				return ""
			}
			name = l.Name
		}
	}
	return name
}

// formerOVS is formerBridge for Open vSwitch.
func (w *walker) formerOVS() (bridge.OVSBridge, bool) {
	for _, b := range w.ovs.all.Bridges {
		var ports []*rtnl.Link
		for _, p := range b.Ports {
			if l, err := w.host.k.LinkByName(p.Name); err == nil {
				ports = append(ports, l)
			}
		}
		if w.hasNeighbour(ports) {
			return b, true
		}
	}
	return bridge.OVSBridge{}, false
}

// hasNeighbour reports whether one of the ports leads to a guest in a subnet of this one.
func (w *walker) hasNeighbour(ports []*rtnl.Link) bool {
	return slices.ContainsFunc(w.behind(ports), func(n *neighbour) bool { return len(w.common(n.subnets)) > 0 })
}

// portFacts is what a person wants to know of the host's end of a pair.
func (w *walker) portFacts() []string {
	state := "down"
	if w.port.Up {
		state = "up"
	}
	if w.leap != toBridge {
		for _, p := range w.host.with(w.port).prefixes() {
			state += ", " + p.String()
		}
		return []string{state}
	}
	facts := []string{"port of " + w.on.Name, passage.PortState(w.port.Port.State)}
	if w.on.VLANFiltering {
		facts = append(facts, "vlan "+w.vlanWord(w.port.Index))
	}
	return append(facts, fmt.Sprintf("mtu %d", w.port.MTU))
}

// vlanWord is the VLANs of a port, as on a command line.
func (w *walker) vlanWord(port int) string {
	all, err := w.host.k.PortVLANs()
	if err != nil {
		return "?"
	}
	return cmp.Or(kind.VLANOf(all[port], w.on), "-")
}
