package build

import (
	"net"

	"github.com/gopipework/gopipework/bridge"
	"github.com/gopipework/gopipework/bridge/firewall"
	"github.com/gopipework/gopipework/internal/guests"
	"github.com/gopipework/gopipework/internal/hostclient"
	"github.com/gopipework/gopipework/internal/lease"
	"github.com/gopipework/gopipework/internal/ours"
	"github.com/gopipework/gopipework/internal/rtnl"
	"github.com/gopipework/gopipework/internal/spec"
	"github.com/gopipework/gopipework/internal/wireguard"
)

// Facts are what planning must know about this machine. Plain data: what was
// there when it was looked at, under both locks.
type Facts struct {
	Inside
	Base   *rtnl.Link // what has HOSTIF's name; nil: nothing
	Tagged *rtnl.Link // its sub-interface for the VLAN, or what has the name of that; nil: nothing
	New    NewMACs
	Origin spec.Origin // who asks; "": a typed line
	Fresh  bool        // an attachment that is there already is refused
	Alone  bool        // an address that one of Stations has is refused

	Machine string // what tells this machine from others; only where a MAC address may be made from it

	Namesake *rtnl.Link // what the host has under the name that the guest's link is to have; nil: nothing
	NewIndex int        // for a link that cannot have the kernel's next

	Card      Card            // of a network card that may be asked for as a whole
	OVS       bridge.OVS      // looked at only if it may matter
	HostID    string          // of this host, as in hostKey; with OVS
	PortVLANs []rtnl.PortVLAN // of Own

	Firewall       firewall.Firewall
	FirewallUnread string // why it could not be read, where that does not matter

	Filter *firewall.SourceFilter // of Own; nil: none, or not as it was made

	Access Access // the host's way to macvlans; looked at only for those

	Uplink Uplink // of the bridge

	Mirrors Mirrors // looked at only if the line asks for one, or the port was made for one

	HostAddrs []rtnl.Addr // the host's; looked at only if its end is to have one

	Tunnel      wireguard.Config  // what the file of a WireGuard link asks for
	TunnelThere *wireguard.Device // how Inner is set up; nil: it is no such link

	PortName string     // of the host's end
	Port     *rtnl.Link // what has the name of the host's end; nil: nothing
	AltTaken bool       // a link has the alternative name
	Stations []Station  // what else is on the bridge or card; looked at only for an attach that gives a MAC or an address, and for an ipvlan

	GuestNS int        // id of the guest's namespace in the host's; -1: none yet
	Own     *rtnl.Link // the host's end of Inner, if the pair is ours
	OwnOn   *rtnl.Link // the bridge of Own; nil: none

	Parked *Parked // the pair that an earlier guest of that name has left; nil: none

	Joined bool // Inner is one end of the very link between two guests that is asked for

	Reaches bool // the guest could change the host's links through our veth, and could not before
}

// Inside is what planning must know about one guest.
type Inside struct {
	Guest  guests.GuestInfo
	HostNS int        // id of the host's namespace there; -1: none yet
	Inner  *rtnl.Link // what has IFNAME; nil: nothing
	Other  *rtnl.Link // the other end of Inner, if that is a veth to another guest; nil: it is not

	Links  []*rtnl.Link // all of them
	Addrs  []rtnl.Addr  // of all links
	Routes []rtnl.Route // main table
	Tables []rtnl.Route // the other tables
	Rules  []rtnl.Rule

	Lease       *lease.Kept         // that is kept for Inner; nil: none
	Client      *hostclient.Running // of the host, that runs for Inner; nil: none
	Unminded    bool                // the client that is asked for was run for Inner, and the process that looked after it was killed
	NoClient    error               // why the client that is asked for cannot be run
	LeaseTables map[int]int         // the tables of source routing for leases that are kept, by the interface's index
	Resolv      *ResolvNote         // what was written into its resolv.conf, for any interface; nil: nothing
	RA          bool                // Inner accepts router advertisements

	Shaped       Shaped       // of Inner
	LeftInbounds []*rtnl.Link // ifbs of ours that nothing is sent to

	NoIPv6  bool // its kernel has no IPv6
	IPv6Off bool // it is there, and off on new interfaces

	Sysctls map[string]string // those that are asked for, by path: of Inner, and of an interface that every guest has

	NewLinks map[string]string // what its new interfaces make of routers, by sysctl
}

// betweenGuests reports whether Inner is one end of a link of ours to another
// guest.
func (in Inside) betweenGuests() bool { return ours.BetweenGuests(in.Inner, in.Other) }

// NewMACs are random addresses, for what is made without one being asked for.
type NewMACs struct{ Bridge, Port, Inner, ProbePort, Probe net.HardwareAddr }
