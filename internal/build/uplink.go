package build

import (
	"net"
	"net/netip"
	"slices"

	"github.com/gopipework/gopipework/internal/plan"
	"github.com/gopipework/gopipework/internal/rtnl"
	"github.com/gopipework/gopipework/internal/spec"
)

// Uplink is the VXLAN by which a Linux bridge reaches the same bridge of other hosts, and what
// planning must know to make one.
type Uplink struct {
	Link  *rtnl.Link   // the VXLAN, whoever made it; nil: the bridge has none
	Flood []netip.Addr // hosts that frames for unknown stations are sent to, by hand; nil: none, or it does not learn

	Pins    []rtnl.FixedNeighbour // of the bridge, entered by us
	Foreign []rtnl.FixedNeighbour // of the bridge, entered by somebody else
	Static  []rtnl.Station        // of its ports, that do not age and no routing daemon has entered
	Told    []Told                // guests of other hosts, whom a routing daemon has entered
	Host    uint64                // cookie of the host's namespace; looked at with Pins

	Links []*rtnl.Link // the host's; looked at only if one is asked for
	Addrs []rtnl.Addr  // the host's; with Links
}

// Told is an address of a guest of another host, as a routing daemon has entered it.
type Told struct {
	rtnl.FixedNeighbour
	On netip.Addr // that host; the zero Addr: not known
}

// VXLANMark is the alias of a VXLAN that we made.
const VXLANMark = plan.MarkWord + " vxlan"

// IsVXLAN reports whether a link of the host is a VXLAN of our making.
func IsVXLAN(l *rtnl.Link) bool { return l != nil && plan.IsOurs(l) && l.Kind == "vxlan" }

// VXLAN is what of ours is there, and complete.
func (u Uplink) VXLAN() (v spec.VXLAN) {
	if !IsVXLAN(u.Link) || u.Link.Alias == "" {
		return v
	}
	is := u.Link.VXLAN
	return spec.VXLAN{VNI: is.VNI, Local: is.Local, Port: is.Port, Peers: u.Flood}
}

// PinnedTo returns the addresses that are pinned to a MAC address, and whether that is to the
// port.
func (u Uplink) PinnedTo(mac net.HardwareAddr, port int) (addrs []netip.Addr, static bool) {
	for _, n := range u.Pins {
		if slices.Equal(n.MAC, mac) {
			addrs = append(addrs, n.Addr)
		}
	}
	return addrs, slices.ContainsFunc(u.Static, func(s rtnl.Station) bool { return s.Port == port && slices.Equal(s.MAC, mac) })
}

// Lives reports whether a neighbour stands for a port: that of a guest that has died does not.
func (u Uplink) Lives(n rtnl.FixedNeighbour) bool {
	return slices.ContainsFunc(u.Static, func(s rtnl.Station) bool { return slices.Equal(s.MAC, n.MAC) })
}

// Pins reports whether the guest is pinned to its port: the bridge has an uplink of ours, or
// gets one, and the guest's frames cross it.
func (j *Job) Pins() bool {
	return j.Kind == spec.KindBridge && j.SwitchVLAN.IsZero() && (j.VXLAN.Asked() || j.There.Uplink.VXLAN().Asked())
}
