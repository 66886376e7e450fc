package plan

import (
	"net"
	"net/netip"
	"os"
	"time"

	"github.com/gopipework/gopipework/internal/rtnl"
	"github.com/gopipework/gopipework/internal/wireguard"
)

// Kernel is what this package asks of the kernel, in one namespace.
type Kernel interface {
	Reader
	writer
	Run(func() error) error
	Watch() (*rtnl.Events, error)
	AbstractSocket(address string) (rtnl.UnixSocket, error)
	Close()
}

type Reader interface {
	LinkByName(name string) (*rtnl.Link, error)
	LinkByAltName(name string) (*rtnl.Link, error)
	LinkByIndex(index int) (*rtnl.Link, error)
	LinkIn(nsid, index int) (*rtnl.Link, error)
	Links() ([]*rtnl.Link, error)
	Ports(master int) ([]*rtnl.Link, error)
	NamespaceID(ns *os.File) (int, error)
	NamespaceIDs() ([]int, error)
	LinksIn(nsid int) ([]*rtnl.Link, error)
	Cookie() (uint64, error)
	Keep(index int) (rtnl.Kept, error)
	Node(l *rtnl.Link) (uint64, error)
	Wiphy(index int) (phy int, ok bool, err error)
	Addrs() ([]rtnl.Addr, error)
	AddrsIn(nsid, index int) ([]rtnl.Addr, error)
	Routes() ([]rtnl.Route, error)
	AllRoutes() ([]rtnl.Route, error)
	Nexthops() ([]rtnl.Nexthop, error)
	Rules() ([]rtnl.Rule, error)
	PortVLANs() (map[int][]rtnl.PortVLAN, error)
	Stations(bridge int) ([]rtnl.Station, error)
	StationCount(bridge int) (learned, most int, err error)
	PortDelay(port int) (time.Duration, error)
	Sysctl(path string) (string, error)
	Sysctls(paths ...string) (map[string]string, error)
	Qdiscs() ([]rtnl.Qdisc, error)
	Redirect(from int) (int, error)
	Ingress(index int) (bool, error)
	Mirrors(handle uint32) ([]rtnl.Mirror, error)
	TxChecksum(index int) (bool, error)
	Way(rtnl.Lookup) (rtnl.Way, error)
	Neighbours(index int) ([]netip.Addr, error)
	Neighbour(index int, a netip.Addr) (net.HardwareAddr, error)
	FixedNeighbours() ([]rtnl.FixedNeighbour, error)
	ToldNeighbours(link int) ([]rtnl.FixedNeighbour, error)
	Flood(vxlan int) ([]netip.Addr, error)
	Remotes(vxlan int) ([]rtnl.Remote, error)
	WireGuard(index int) (wireguard.Device, error)
}

type writer interface {
	AddVeth(rtnl.Veth) error
	AddChild(rtnl.Child) error
	AddVXLAN(v rtnl.NewVXLAN) error
	AddBridge(name string, mac net.HardwareAddr, mtu int, group uint32) error
	SetLink(index int, ch rtnl.Change) error
	SetVLANFiltering(bridge int, on bool) error
	SetPortIsolated(port int, on bool) error
	SetPortSuppress(port int, suppress, learning bool) error
	SetWireGuard(index int, d wireguard.Device) error
	AddPortVLANs(port int, vlans []rtnl.PortVLAN) error
	DelPortVLANs(port int, vlans []rtnl.PortVLAN) error
	GiveNamespaceID(ns *os.File) (int, error)
	SetTxChecksum(index int, on bool) error
	MoveLink(index int, to rtnl.Move) error
	MoveWiphy(phy int, ns *os.File) error
	Restore(index int, k rtnl.Kept) (missing []rtnl.Part, err error)
	RestoreParts(index int, k rtnl.Kept, parts []rtnl.Part) []rtnl.Part
	AddAltName(index int, name string) error
	DelAltName(index int, name string) error
	DelLink(index int) error
	AddAddr(index int, p netip.Prefix, nodad bool) error
	AddAddrBy(index int, p netip.Prefix, nodad bool, proto uint8) error
	DelAddr(index int, p netip.Prefix) error
	SetAddr(index int, p netip.Prefix, valid, preferred time.Duration) error
	AddRoute(r rtnl.Route, prepend bool) error
	ReplaceRoute(r rtnl.Route) error
	DelRoute(r rtnl.Route) error
	AddRule(r rtnl.Rule) error
	DelRule(r rtnl.Rule) error
	SetSysctl(path, value string) error
	SetQdisc(q rtnl.Qdisc) error
	DelQdisc(q rtnl.Qdisc) error
	RedirectIngress(from, to int) error
	NoIngress(index int) error
	AddMirror(m rtnl.Mirror) error
	DelMirror(m rtnl.Mirror) error
	SetNeighbour(index int, a netip.Addr, mac net.HardwareAddr) error
	DelNeighbour(index int, a netip.Addr) error
	SetFixedNeighbour(n rtnl.FixedNeighbour) error
	SetStation(port int, mac net.HardwareAddr) error
	DelStation(port int, mac net.HardwareAddr) error
	AddFlood(vxlan int, host netip.Addr) error
	DelFlood(vxlan int, host netip.Addr) error
}

var _ Kernel = (*rtnl.Conn)(nil)
