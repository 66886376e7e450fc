package doctor

import (
	"cmp"
	"fmt"

	"github.com/gopipework/gopipework/internal/finding"
	"github.com/gopipework/gopipework/internal/kind"
)

// portChecks look at the host's end of a pair, in a Linux bridge.
var portChecks = []check{
	func(w *walker) ([]finding.Finding, error) { return w.passage().AtPort() },
}

// looseChecks look at the host's end of a pair that is in no switch.
var looseChecks = []check{(*walker).portMissing}

// bridgeChecks look at the bridge.
var bridgeChecks = []check{(*walker).bridgeDown}

// portMissing finds the port of an attachment that somebody has taken off its bridge.
func (w *walker) portMissing() ([]finding.Finding, error) {
	if w.leap != toNothing {
		return nil, nil
	}
	f := finding.PortMissing.Surely("%s is in no bridge", w.port.Name)
	_, f.Again = w.mark()
	return []finding.Finding{f}, nil
}

// bridgeDown finds a bridge that is down.
func (w *walker) bridgeDown() ([]finding.Finding, error) {
	if w.on.Up {
		return nil, nil
	}
	f := finding.BridgeDown.Surely("%s is down", w.on.Name).MendedBy("ip link set dev " + w.on.Name + " up")
	_, f.Again = w.mark()
	return []finding.Finding{f}, nil
}

var portStates = map[uint8]string{0: "disabled", 1: "listening", 2: "learning", 3: "forwarding", 4: "blocking"}

// portFacts is what a person wants to know of the host's end of a pair.
func (w *walker) portFacts() []string {
	state := "down"
	if w.port.Up {
		state = "up"
	}
	if w.leap != toBridge {
		return []string{state}
	}
	facts := []string{"port of " + w.on.Name, portStates[w.port.Port.State]}
	if w.on.VLANFiltering {
		facts = append(facts, "vlan "+w.vlanWord(w.port.Index))
	}
	return append(facts, fmt.Sprintf("mtu %d", w.port.MTU))
}

// bridgeFacts is what a person wants to know of the bridge.
func (w *walker) bridgeFacts() []string {
	state := "down"
	if w.on.Up {
		state = "up"
	}
	ports, _ := w.host.k.Ports(w.on.Index)
	return []string{state, fmt.Sprintf("%d ports", len(ports)), fmt.Sprintf("mtu %d", w.on.MTU)}
}

// vlanWord is the VLANs of a port, as on a command line.
func (w *walker) vlanWord(port int) string {
	all, err := w.host.k.PortVLANs()
	if err != nil {
		return "?"
	}
	return cmp.Or(kind.VLANOf(all[port], w.on), "-")
}
