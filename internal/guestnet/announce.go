package guestnet

import (
	"context"
	"net"
	"net/netip"

	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/plan"
	"github.com/gopipework/gopipework/internal/rtnl"
)

// The sysctls of an interface by which the kernel speaks up for its addresses:
// a gratuitous ARP for IPv4, an unsolicited neighbour advertisement for IPv6
// (Documentation/networking/ip-sysctl.rst).
const (
	notify4 = "ipv4/conf/%s/arp_notify"
	notify6 = "ipv6/conf/%s/ndisc_notify"
)

// Announce tells the neighbours who has the addresses now, so that one with an
// entry from an earlier holder does not go on sending to that. The kernel does
// it, where the sysctls above are set, when the interface's MAC address is set,
// be it to the same (inetdev_event, ndisc_netdev_event). By itself it does so
// when the interface comes up, before the bridge forwards, and nobody hears it.
// A packet socket of ours could say the same; closing one costs several
// milliseconds (packet_release waits for an RCU grace period).
type Announce struct {
	plan.Place
	Inner string
	Mac   net.HardwareAddr
	Addrs []netip.Addr // none: those that a server has given
}

func (s Announce) Do(_ context.Context, m *plan.Machine) error {
	return fault.Explain("announce addresses of", s.Inner,
		s.Kernel(m).SetLink(s.Index(m, s.Inner), rtnl.Change{MAC: s.Mac}))
}

func (s Announce) Undo(context.Context, *plan.Machine) error { return nil }

func (Announce) Nature() plan.Nature { return plan.Undoable }

func (s Announce) String() string {
	what := plan.JoinAddrs(s.Addrs)
	if len(s.Addrs) == 0 {
		what = "its addresses"
	}
	return "# announce " + what + ":\n" + s.Enter + "ip link set dev " + s.Inner + " address " + s.Mac.String()
}
