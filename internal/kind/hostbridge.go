package kind

import (
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/ours"
	"github.com/gopipework/gopipework/internal/plan"
	"github.com/gopipework/gopipework/internal/rtnl"
)

// Steps for a bridge that the host itself has something on.

// guestPort reports whether a port of a bridge is the host's end of an attachment, and not
// an uplink that we made, the VLAN of a card or a VXLAN.
func guestPort(l *rtnl.Link) bool {
	return plan.IsOurs(l) && l.Kind != "vlan" && l.Kind != "vxlan"
}

// HostKey is the key of the host that a port of Open vSwitch's was made on.
const HostKey = hostKey

// NewTagged makes the sub-interface of a card for a VLAN.
func NewTagged(card, name string, tag int) AddTagged {
	return AddTagged{parent: card, name: name, tag: tag}
}

// PlugInto makes a link a port of a bridge.
func PlugInto(port, bridge string) PlugIn { return PlugIn{port: port, bridge: bridge} }

// In reports whether the link is a port of the bridge.
func (s PlugIn) In(m *plan.Machine) (bool, error) {
	port, err := m.Find(plan.OnHost, s.port)
	if err != nil {
		return false, fault.Explain("find", s.port, ours.UnlessNotFound(err))
	}
	l, err := m.Host().LinkByIndex(port)
	if err != nil {
		return false, fault.Explain("find", s.port, ours.UnlessNotFound(err))
	}
	master, err := m.Find(plan.OnHost, s.bridge)
	return err == nil && l.Master == master, fault.Explain("find", s.bridge, ours.UnlessNotFound(err))
}

// Unplugging is the command that undoes it.
func (s PlugIn) Unplugging() string { return "ip link set dev " + s.port + " nomaster" }

// AwaitForwardingOf waits until a bridge passes on the frames of a port.
func AwaitForwardingOf(port, bridge string) AwaitForwarding {
	return AwaitForwarding{port: port, bridge: bridge}
}
