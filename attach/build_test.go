package attach

import (
	"encoding/json"
	"flag"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/gopipework/gopipework/bridge"
	"github.com/gopipework/gopipework/bridge/firewall"
	"github.com/gopipework/gopipework/internal/build"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/guestnet"
	"github.com/gopipework/gopipework/internal/guests"
	"github.com/gopipework/gopipework/internal/hostaccess"
	"github.com/gopipework/gopipework/internal/hostclient"
	"github.com/gopipework/gopipework/internal/kind"
	"github.com/gopipework/gopipework/internal/lease"
	"github.com/gopipework/gopipework/internal/ours"
	"github.com/gopipework/gopipework/internal/plan"
	"github.com/gopipework/gopipework/internal/rtnl"
	"github.com/gopipework/gopipework/internal/rundir"
	"github.com/gopipework/gopipework/internal/source"
	"github.com/gopipework/gopipework/internal/spec"
	"github.com/gopipework/gopipework/internal/wireguard"
	"golang.org/x/sys/unix"
)

var update = flag.Bool("update", false, "write what planAttach says into the golden files")

// TestBuild holds planAttach against the files in testdata/build. Each begins with
// the line as a user types it and the names of the facts (below), then "---",
// then the plan or the error.
func TestBuild(t *testing.T) { golden(t, "testdata/build", buildText) }

// golden holds what text makes of each file's head against the rest of it.
func golden(t *testing.T, dir string, text func(t *testing.T, head string) string) {
	files, err := filepath.Glob(filepath.Join(dir, "*.txt"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no golden files: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			b, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			head, want, ok := strings.Cut(string(b), "---\n")
			if !ok {
				t.Fatalf("%s has no line ---", file)
			}
			got := strings.ReplaceAll(text(t, head), ours.RunDir, rundir.Path)
			if *update {
				if err := os.WriteFile(file, []byte(head+"---\n"+got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("plan differs (-want +got), go test -update to accept:\n%s", diff)
			}
		})
	}
}

// buildText runs the head of a golden file.
func buildText(t *testing.T, head string) string {
	t.Helper()
	f := stock()
	var w Words
	for line := range strings.Lines(head) {
		key, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch key {
		case "#", "":
		case "line":
			w = typed(t, rest)
		case "origin":
			f.Origin = Origin(rest)
		case "facts":
			for _, name := range strings.Fields(rest) {
				change, ok := factChanges[name]
				if !ok {
					t.Fatalf("no facts are called %q", name)
				}
				change(&f)
			}
		default:
			t.Fatalf("head line %q", line)
		}
	}
	s, err := Parse(w)
	if err != nil {
		return errorText(err)
	}
	if s, err = kind.WithTunnel(s, f.Tunnel); err != nil {
		return errorText(err)
	}
	if f.Parked != nil {
		f.Parked.Fits = kind.Fits(s, f)
	}
	p, err := planAttach(s, f)
	if err != nil {
		return errorText(err)
	}
	out := strings.Join(append(p.Commands(), ""), "\n")
	for _, warning := range p.Warnings {
		out += "warning: " + warning + "\n"
	}
	if len(p.Steps) == 0 {
		out += "nothing to do\n"
	}
	return out
}

func errorText(err error) string {
	var hint string
	if f, ok := err.(*fault.Error); ok && f.Hint != "" {
		hint = "hint: " + f.Hint + "\n"
	}
	return string(fault.CodeOf(err)) + ": " + err.Error() + "\n" + hint
}

// typed reads a line as the command does, for the flags that reach Parse.
func typed(t *testing.T, line string) (w Words) {
	t.Helper()
	values := map[string]*string{"-i": &w.IfName, "-l": &w.HostName, "--host-addr": &w.HostAddr, "-a": &w.Family, "--mtu": &w.MTU, "--mode": &w.Mode,
		"--default": &w.Default, "--metric": &w.Metric, "--dns": &w.DNS, "--vrf": &w.VRF, "--uplink": &w.Uplink,
		"--rate-in": &w.Shape.RateIn, "--rate-out": &w.Shape.RateOut, "--loss": &w.Shape.Loss, "--delay": &w.Shape.Delay, "--jitter": &w.Shape.Jitter}
	bools := map[string]*bool{"--host-access": &w.HostAccess, "--acd": &w.ACD, "--nodad": &w.NoDAD, "--verify": &w.Verify, "--no-firewall": &w.NoFirewall, "--vlan-filtering": &w.VLANFiltering, "--force-phys": &w.ForcePhys, "--direct-phys": &w.DirectPhys, "--source-routing": &w.SourceRouting, "--isolated": &w.Isolated, "--antispoof": &w.Antispoof}
	words := []*string{&w.HostIF, &w.Guest, &w.Address, &w.MAC}
	args := strings.Fields(line)
	for i := 0; i < len(args); i++ {
		switch {
		case values[args[i]] != nil:
			*values[args[i]] = args[i+1]
			i++
		case args[i] == "--route":
			i++
			w.Routes = append(w.Routes, args[i])
		case args[i] == "--mirror":
			i++
			w.Mirrors = append(w.Mirrors, args[i])
		case args[i] == "--sysctl":
			i++
			w.Sysctls = append(w.Sysctls, args[i])
		case bools[args[i]] != nil:
			*bools[args[i]] = true
		default:
			*words[0], words = args[i], words[1:]
		}
	}
	return w
}

const (
	brIndex, portIndex, innerIndex, eth0Index = 10, 11, 12, 13
	guestNS                                   = 3
)

// stock is a Docker host without anything of ours, and one of its guests.
func stock() build.Facts {
	return build.Facts{
		Inside: build.Inside{
			Guest: guests.GuestInfo{Runtime: "docker", ID: "0123456789ab", Name: "web", PID: 4321, NetNS: 4026532000},
			Links: []*rtnl.Link{{Index: 1, Name: "lo", Loopback: true}, {Index: eth0Index, Name: "eth0", Kind: "veth"}},
			Addrs: []rtnl.Addr{
				{Index: 1, Prefix: netip.MustParsePrefix("127.0.0.1/8"), Flags: unix.IFA_F_PERMANENT},
				{Index: eth0Index, Prefix: netip.MustParsePrefix("172.17.0.2/16"), Flags: unix.IFA_F_PERMANENT},
			},
			Routes:  []rtnl.Route{{Dst: spec.DefaultRoute(false), Gateway: netip.MustParseAddr("172.17.0.1"), Index: eth0Index}},
			IPv6Off: true,
		},
		New: build.NewMACs{
			Bridge: net.HardwareAddr{0x02, 0, 0, 0, 0, 0xb},
			Port:   net.HardwareAddr{0xfe, 0, 0, 0, 0, 0xc},
			Inner:  net.HardwareAddr{0x02, 0, 0, 0, 0, 0xd},
		},
		GuestNS:  guestNS,
		NewIndex: 16777999,
		Machine:  "0123456789abcdef0123456789abcdef",
	}
}

func bridgeFact(f *build.Facts) *rtnl.Link {
	if f.Base == nil {
		f.Base = &rtnl.Link{Index: brIndex, Name: "brtest", Kind: "bridge", MTU: 1500, Up: true, CanFilter: true}
	}
	return f.Base
}

// pair puts a complete attachment of 192.168.1.2/24 there.
func pair(f *build.Facts) {
	bridgeFact(f)
	f.Inner = &rtnl.Link{Index: innerIndex, Name: "eth1", Kind: "veth", Group: plan.Group, MTU: 1500, Up: true,
		MAC: net.HardwareAddr{2, 0, 0, 0, 0, 9}, Peer: portIndex}
	f.Own = &rtnl.Link{Index: portIndex, Name: "veth1pl4321", Kind: "veth", Group: plan.Group, Master: brIndex,
		Alias: "gopipework docker:0123456789ab eth1 web", Peer: innerIndex, PeerNS: guestNS, Up: true}
	f.Port, f.OwnOn = f.Own, f.Base
	f.Links = append(f.Links, f.Inner)
	f.Addrs = append(f.Addrs, rtnl.Addr{Index: innerIndex, Prefix: netip.MustParsePrefix("192.168.1.2/24"), Flags: unix.IFA_F_PERMANENT})
}

func parkedPair(f *build.Facts) {
	bridgeFact(f)
	f.Parked = &build.Parked{
		Port: &rtnl.Link{Index: portIndex, Name: "veth1pl1234", Kind: "veth", Group: plan.Group, Master: brIndex, MTU: 1500, Up: true,
			Alias: "gopipework-parked/keep docker:0123456789ab eth1 web", AltNames: []string{"gopipework.web.eth1"}, Peer: innerIndex, PeerNS: 7},
		On: f.Base, Name: "gp11", Enter: "nsenter --net=/proc/99/fd/9 ",
	}
}

// tunnelConfig is what a file asks for, with a peer for all of IPv4 and one for a network.
func tunnelConfig() wireguard.Config {
	return wireguard.Config{
		Device: wireguard.Device{PrivateKey: wireguard.Key{1}, Port: 51820, Mark: 0x51, Peers: []wireguard.Peer{
			{PublicKey: wireguard.Key{2}, Endpoint: netip.MustParseAddrPort("192.0.2.1:51820"), Keepalive: 25,
				AllowedIPs: []netip.Prefix{spec.DefaultRoute(false), spec.DefaultRoute(true), netip.MustParsePrefix("10.8.0.0/24")}},
			{PublicKey: wireguard.Key{3}, AllowedIPs: []netip.Prefix{netip.MustParsePrefix("10.5.0.0/16")}},
		}},
		Addrs: []netip.Prefix{netip.MustParsePrefix("10.8.0.2/24")},
	}
}

var factChanges = map[string]func(*build.Facts){
	"bridge":      func(f *build.Facts) { bridgeFact(f) },
	"our-bridge":  func(f *build.Facts) { b := bridgeFact(f); b.Group, b.Alias = plan.Group, build.BridgeMark },
	"half-bridge": func(f *build.Facts) { b := bridgeFact(f); b.Group, b.MTU, b.Up = plan.Group, 1501, false },
	"down":        func(f *build.Facts) { bridgeFact(f).Up = false },
	"jumbo":       func(f *build.Facts) { bridgeFact(f).MTU = 9000 },
	"stp":         func(f *build.Facts) { b := bridgeFact(f); b.STP, b.ForwardDelay = true, 15*time.Second },
	"dummy":       func(f *build.Facts) { f.Base = &rtnl.Link{Index: brIndex, Name: "brtest", Kind: "dummy"} },
	"drop": func(f *build.Facts) {
		for _, family := range []firewall.Family{firewall.IPv4, firewall.IPv6} {
			p := firewall.Path{Family: family, Filtered: true, Drops: true, Backend: firewall.NFT, Chain: "FORWARD", Tool: "ip6tables"}
			if family == firewall.IPv4 {
				p.Chain, p.Tool = "DOCKER-USER", "iptables"
			}
			f.Firewall.Paths = append(f.Firewall.Paths, p)
		}
	},
	"ruled": func(f *build.Facts) {
		for i, p := range f.Firewall.Paths {
			f.Firewall.Paths[i].Ours = []firewall.Rule{{Family: p.Family, Backend: p.Backend, Chain: p.Chain, Bridge: "brtest", Tool: p.Tool}}
		}
	},
	"hidden": func(f *build.Facts) { f.Guest.PID, f.Guest.Path = 0, "/run/docker/netns/web" },
	"netns": func(f *build.Facts) {
		f.Guest = guests.GuestInfo{Runtime: "netns", ID: "red", Name: "red", Path: "/run/netns/red"}
	},
	// cni is a guest that a container engine names, fresh what it asks for with ADD, and alone
	// what it asks for on behalf of the guest.
	"cni": func(f *build.Facts) {
		f.Guest = guests.GuestInfo{Runtime: guests.RuntimeCNI, ID: "3f1252080117", Name: "/run/netns/web", Path: "/run/netns/web"}
	},
	"fresh":    func(f *build.Facts) { f.Fresh = true },
	"alone":    func(f *build.Facts) { f.Alone = true },
	"namesake": func(f *build.Facts) { f.Namesake = &rtnl.Link{Index: 3, Name: "eth1", Kind: "veth"} },
	// parked is the pair of a guest of that name that has ended, parked-taller one with
	// another MTU, parked-off one on another bridge, and so on.
	"parked":        parkedPair,
	"parked-taller": func(f *build.Facts) { parkedPair(f); f.Parked.Port.MTU = 9000; f.Parked.Port.Up = false },
	"parked-off": func(f *build.Facts) {
		parkedPair(f)
		f.Parked.Port.Master, f.Parked.On = 99, &rtnl.Link{Index: 99, Name: "brold", Kind: "bridge"}
	},
	"parked-shaped": func(f *build.Facts) {
		parkedPair(f)
		q := guestnet.Egress{Rate: 1000000, MTU: 1500}.Root()
		f.Parked.Queues = []rtnl.Qdisc{q}
	},
	"parked-queue": func(f *build.Facts) {
		parkedPair(f)
		f.Parked.Queues = []rtnl.Qdisc{{Kind: "htb", Parent: rtnl.QdiscRoot, Handle: rtnl.QdiscHandle(1, 0)}}
	},
	"parked-vlan": func(f *build.Facts) {
		parkedPair(f)
		f.Parked.VLANs = []rtnl.PortVLAN{{First: 10, Last: 10, PVID: true, Untagged: true}}
	},
	"parked-host": func(f *build.Facts) {
		parkedPair(f)
		p := f.Parked.Port
		p.Name, p.Master, p.AltNames, f.Parked.On = "tap0", 0, append(p.AltNames, "gopipework-host.tap0"), nil
		f.Base, f.Port = p, p
		f.Parked.Addrs = []netip.Prefix{netip.MustParsePrefix("10.9.0.1/30")}
	},
	"parked-ovs": func(f *build.Facts) {
		base := f.Base
		parkedPair(f)
		f.Base, f.Parked.On, f.Parked.Port.Master = base, nil, 0
		f.OVS.Bridges[0].Ports = []bridge.OVSPort{{Bridge: "ovsbr0", Name: "veth1pl1234", Mark: "gopipework/keep docker:0123456789ab eth1 web"}}
	},
	"long-pid": func(f *build.Facts) { f.Guest.PID = 4194303 },
	"attached": pair,
	"of-file":  func(f *build.Facts) { f.Own.Alias = "gopipework/file:lab docker:0123456789ab eth1 web" },
	"half": func(f *build.Facts) {
		pair(f)
		f.Own.Alias, f.Inner.Up = "", false
	},
	"half-renamed": func(f *build.Facts) {
		bridgeFact(f)
		f.Port = &rtnl.Link{Index: portIndex, Name: "veth1pl4321", Kind: "veth", Group: plan.Group, PeerNS: guestNS}
	},
	"port-taken": func(f *build.Facts) { f.Port = &rtnl.Link{Index: 77, Name: "veth1pl4321", Kind: "veth", PeerNS: -1} },
	"alt-taken":  func(f *build.Facts) { f.AltTaken = true },
	"eth1-taken": func(f *build.Facts) {
		f.Inner = &rtnl.Link{Index: 78, Name: "eth1", Kind: "macvlan"}
		f.Addrs = append(f.Addrs, rtnl.Addr{Index: 78, Prefix: netip.MustParsePrefix("10.9.9.9/8")})
	},
	"mac-taken": func(f *build.Facts) {
		bridgeFact(f)
		f.Stations = []build.Station{{Who: "db, behind veth1pl99,", MAC: net.HardwareAddr{2, 0, 0, 0, 0, 5}, Addrs: []netip.Addr{netip.MustParseAddr("192.168.1.2")}}}
	},
	"default6": func(f *build.Facts) {
		f.Routes = append(f.Routes, rtnl.Route{Dst: spec.DefaultRoute(true), Gateway: netip.MustParseAddr("fe80::9"), Index: eth0Index, Metric: 1024})
	},
	"default6-first": func(f *build.Facts) {
		f.Routes = append(f.Routes, rtnl.Route{Dst: spec.DefaultRoute(true), Gateway: netip.MustParseAddr("fe80::9"), Index: eth0Index, Metric: 1})
	},
	"default-metric": func(f *build.Facts) { f.Routes[0].Metric = 100 },
	"no-default":     func(f *build.Facts) { f.Routes = nil },
	"other-bridge":   func(f *build.Facts) { f.Own.Master, f.OwnOn = 99, &rtnl.Link{Index: 99, Name: "brold"} },
	"underlay": func(f *build.Facts) {
		f.Uplink.Links = append(f.Uplink.Links, &rtnl.Link{Index: 2, Name: "eth0", MTU: 1500}, &rtnl.Link{Index: 1, Name: "lo", Loopback: true, MTU: 65536})
		for i, a := range []string{"10.9.0.1/24", "2001:db8:9::1/64", "10.255.0.1/32"} {
			f.Uplink.Addrs = append(f.Uplink.Addrs, rtnl.Addr{Index: 2 - i/2, Prefix: netip.MustParsePrefix(a)})
		}
	},
	"vxlan": func(f *build.Facts) {
		f.Uplink.Link = &rtnl.Link{Index: 20, Name: "vx100", Kind: "vxlan", Group: plan.Group, Alias: build.VXLANMark, MTU: 1450, Up: true, Master: brIndex,
			VXLAN: rtnl.VXLAN{VNI: 100, Local: netip.MustParseAddr("10.9.0.1"), Port: 4789}}
		f.Uplink.Links = append(f.Uplink.Links, f.Uplink.Link)
	},
	"vxlan-foreign": func(f *build.Facts) { f.Uplink.Link.Group, f.Uplink.Link.Alias = 0, "" },
	"vxlan-half":    func(f *build.Facts) { f.Uplink.Link.Alias, f.Uplink.Link.Up = "", false },
	"vxlan-peer":    func(f *build.Facts) { f.Uplink.Flood = []netip.Addr{netip.MustParseAddr("10.9.0.2")} },
	"told": func(f *build.Facts) {
		f.Uplink.Told = []build.Told{{FixedNeighbour: rtnl.FixedNeighbour{Index: brIndex, Addr: netip.MustParseAddr("192.168.1.2"), MAC: net.HardwareAddr{2, 0, 0, 0, 9, 9}}, On: netip.MustParseAddr("10.9.0.4")}}
	},
	"vxlan-other": func(f *build.Facts) { f.Uplink.Link, f.Uplink.Links[len(f.Uplink.Links)-1].Master = nil, 77 },
	"pinned": func(f *build.Facts) {
		mac := net.HardwareAddr{2, 0, 0, 0, 0, 9}
		f.Uplink.Static = []rtnl.Station{{MAC: mac, Port: portIndex, Stays: true, Bridge: brIndex}}
		f.Uplink.Pins = []rtnl.FixedNeighbour{{Index: brIndex, Addr: netip.MustParseAddr("192.168.1.2"), MAC: mac}}
	},
	"neighbour-foreign": func(f *build.Facts) {
		f.Uplink.Foreign = []rtnl.FixedNeighbour{{Index: brIndex, Addr: netip.MustParseAddr("192.168.1.2"), MAC: net.HardwareAddr{2, 0, 0, 0, 9, 9}}}
	},
	"station-foreign": func(f *build.Facts) {
		f.Uplink.Static = []rtnl.Station{{MAC: net.HardwareAddr{2, 0, 0, 0, 0, 9}, Port: 30, Stays: true, Bridge: brIndex}}
	},
	"ends-down": func(f *build.Facts) { f.Own.Up, f.Inner.Up = false, false },
	"sysctls": func(f *build.Facts) {
		f.Sysctls = map[string]string{"ipv4/conf/default/rp_filter": "0", "ipv4/conf/eth1/rp_filter": "0", "ipv6/conf/default/use_tempaddr": "0", "ipv6/conf/default/accept_ra_rt_info_max_plen": "0"}
	},
	// mirrored is another guest with two interfaces, of whose frames nothing is copied yet;
	// mirror-there has those of eth1 copied to ours, mirror-back ours to eth1.
	"mirrored": func(f *build.Facts) {
		for n, name := range []string{"eth1", "eth2"} {
			f.Mirrors.Links = append(f.Mirrors.Links, &rtnl.Link{Index: 50 + n, Name: "v" + name + "pl99", Kind: "veth", Group: plan.Group, PeerNS: 9,
				Alias: "gopipework docker:ba9876543210 " + name + " db"})
		}
	},
	"mirror-there": func(f *build.Facts) {
		f.Own.AltNames = []string{"gopipework-mirror.veth1pl4321"}
		f.Mirrors.Qdiscs = []rtnl.Qdisc{{Index: 50, Kind: "clsact"}}
		f.Mirrors.All = []build.Mirror{
			{From: "veth1pl99", To: "veth1pl4321", Way: spec.Out, Filter: rtnl.Mirror{Index: 50, To: portIndex, Handle: plan.Group, Pref: 49152}},
			{From: "veth1pl99", To: "veth1pl4321", Way: spec.In, Filter: rtnl.Mirror{Index: 50, To: portIndex, Handle: plan.Group, Pref: 49152, Egress: true}},
		}
	},
	"mirror-lost": func(f *build.Facts) { f.Own.AltNames = []string{"gopipework-mirror.veth1pl4321"} },
	"mirror-back": func(f *build.Facts) {
		f.Mirrors.All = append(f.Mirrors.All, build.Mirror{From: "veth1pl4321", To: "veth1pl99", Way: spec.In})
	},
	"mirror-ingress": func(f *build.Facts) { f.Mirrors.Qdiscs = []rtnl.Qdisc{{Index: 50, Kind: "ingress"}} },
	"mirrored-ovs": func(f *build.Facts) {
		if len(f.OVS.Bridges) == 0 {
			f.OVS.Bridges = []bridge.OVSBridge{{Name: "ovsbr0"}}
		}
		f.OVS.Bridges[0].Ports = append(f.OVS.Bridges[0].Ports, bridge.OVSPort{Bridge: "ovsbr0", Name: "veth1pl99", Mark: "gopipework docker:ba9876543210 eth1 db"})
	},
	// tunnel is a file of wg-quick's, tunnel-named one with the name of an endpoint.
	"tunnel":       func(f *build.Facts) { f.Tunnel = tunnelConfig() },
	"tunnel-named": func(f *build.Facts) { f.Tunnel.Peers[0].Named = true },
	"tunnel-both": func(f *build.Facts) {
		f.Tunnel.Addrs = append(f.Tunnel.Addrs, netip.MustParsePrefix("fd08::2/64"))
		f.Tunnel.DNS = []netip.Addr{netip.MustParseAddr("10.8.0.1")}
	},
	"tunnel-ipv6": func(f *build.Facts) { f.Tunnel.Addrs = []netip.Prefix{netip.MustParsePrefix("fd08::2/64")} },
	"tunnel-dns":  func(f *build.Facts) { f.Tunnel.DNS = []netip.Addr{netip.MustParseAddr("10.8.0.1")} },
	"tunnel-hostless": func(f *build.Facts) {
		p := &f.Tunnel.Peers[1]
		p.AllowedIPs = nil
		for _, word := range []string{"0.0.0.0/32", "127.0.0.0/8", "224.0.0.5/32", "255.255.255.255/32", "0.0.0.0/1", "128.0.0.0/1"} {
			p.AllowedIPs = append(p.AllowedIPs, netip.MustParsePrefix(word))
		}
	},
	"tunnel-off": func(f *build.Facts) { f.Tunnel.NoRoutes = true },
	"tunnel-attached": func(f *build.Facts) {
		d := tunnelConfig().Device
		f.TunnelThere = &d
		f.Inner = &rtnl.Link{Index: innerIndex, Name: "eth1", Kind: "wireguard", Group: plan.Group, MTU: 1420, Up: true, PeerNS: -1,
			Alias: "gopipework docker:0123456789ab eth1 web"}
		f.Addrs = append(f.Addrs, rtnl.Addr{Index: innerIndex, Prefix: netip.MustParsePrefix("10.8.0.2/24"), Flags: unix.IFA_F_PERMANENT})
		f.Routes = append(f.Routes, rtnl.Route{Dst: spec.DefaultRoute(false), Index: innerIndex, Set: true},
			rtnl.Route{Dst: netip.MustParsePrefix("10.5.0.0/16"), Index: innerIndex, Protocol: ours.Protocol})
	},
	"tunnel-routed": func(f *build.Facts) {
		f.Routes = append(f.Routes, rtnl.Route{Dst: netip.MustParsePrefix("10.5.0.0/16"), Index: eth0Index})
	},
	"tunnel-half": func(f *build.Facts) { f.Inner.Alias, f.Inner.Up = "", false },
	"tunnel-roamed": func(f *build.Facts) {
		p := &f.TunnelThere.Peers[0]
		p.Heard, p.Endpoint = true, netip.MustParseAddrPort("198.51.100.9:7")
	},
	"tunnel-other": func(f *build.Facts) {
		d := f.TunnelThere
		d.PrivateKey, d.Port, d.Mark = wireguard.Key{9}, 1, 0
		p := &d.Peers[0]
		p.PresharedKey, p.Keepalive, p.Endpoint, p.AllowedIPs = wireguard.Key{9}, 0, netip.MustParseAddrPort("198.51.100.9:7"), p.AllowedIPs[1:]
		d.Peers[1].PublicKey = wireguard.Key{7}
		f.Routes = f.Routes[:len(f.Routes)-2]
	},
	"isolated": func(f *build.Facts) { f.Own.Port.Isolated = true },
	"filter-gone": func(f *build.Facts) {
		f.Own.AltNames = append(f.Own.AltNames, ours.FilterMark(f.Own.Name, f.Inner.MAC))
	},
	"filter-unmarked": func(f *build.Facts) {
		f.Filter = &firewall.SourceFilter{Port: f.Own.Name, MAC: f.Inner.MAC, Addrs: []netip.Addr{netip.MustParseAddr("192.168.1.2")}}
	},
	"filtered": func(f *build.Facts) {
		f.Own.AltNames = append(f.Own.AltNames, ours.FilterMark(f.Own.Name, f.Inner.MAC))
		f.Filter = &firewall.SourceFilter{Port: f.Own.Name, MAC: f.Inner.MAC, Addrs: []netip.Addr{netip.MustParseAddr("192.168.1.2")}}
	},
	"pulled": func(f *build.Facts) {
		f.Own.Up, f.Own.AltNames = false, append(f.Own.AltNames, ours.CableMark(f.Own.Name))
	},
	"cable-mark": func(f *build.Facts) { f.Own.AltNames = append(f.Own.AltNames, ours.CableMark(f.Own.Name)) },
	"parked-pulled": func(f *build.Facts) {
		parkedPair(f)
		p := f.Parked.Port
		p.Up, p.AltNames = false, append(p.AltNames, ours.CableMark(p.Name))
	},
	"other-alias": func(f *build.Facts) { f.Own.Alias = "somebody wrote here" },
	"port-ours": func(f *build.Facts) {
		f.Port = &rtnl.Link{Index: 77, Name: "veth1pl4321", Kind: "veth", Group: plan.Group, PeerNS: 9,
			Alias: "gopipework docker:0123456789ab eth1 web"}
	},
	"alt-bridge": func(f *build.Facts) { bridgeFact(f).Name = "zbr" },
	"tiny":       func(f *build.Facts) { bridgeFact(f).MTU = 1000 },
	"no-filter":  func(f *build.Facts) { bridgeFact(f).CanFilter = false },
	"no-pvid":    func(f *build.Facts) { b := bridgeFact(f); b.VLANFiltering, b.DefaultPVID = true, 0 },
	"shares":     func(f *build.Facts) { f.Guest.Shares = "0123456789ab" },
	"unread":     func(f *build.Facts) { f.FirewallUnread = "iptables-legacy: exit status 3" },
	"nic": func(f *build.Facts) {
		f.Base = &rtnl.Link{Index: 20, Name: "eth0", Type: unix.ARPHRD_ETHER, MTU: 1500, Up: true, Carrier: true, PeerNS: -1, MAC: net.HardwareAddr{0, 0x16, 0x3e, 0, 0, 1}}
	},
	"tun": func(f *build.Facts) {
		f.Base = &rtnl.Link{Index: 20, Name: "tun0", Kind: "tun", Type: unix.ARPHRD_NONE, MTU: 1500, Up: true, Carrier: true, PeerNS: -1}
	},
	"nic-jumbo": func(f *build.Facts) { f.Base.MTU = 9000 },
	"nic-1400":  func(f *build.Facts) { f.Base.MTU = 1400 },
	"ib": func(f *build.Facts) {
		f.Base = &rtnl.Link{Index: 20, Name: "ib0", Type: unix.ARPHRD_INFINIBAND, MTU: 2044, Up: true, Carrier: true, PeerNS: -1}
	},
	"wifi": func(f *build.Facts) { radio := 3; f.Card.Radio = &radio },
	"nic-own": func(f *build.Facts) {
		f.Access.Addrs = []rtnl.Addr{{Index: 20, Prefix: netip.MustParsePrefix("192.0.2.7/24")}, {Index: 20, Prefix: netip.MustParsePrefix("192.168.1.1/24")}}
	},
	// access is the host's own macvlan on the card.
	"access": func(f *build.Facts) {
		f.Access.Link = &rtnl.Link{Index: 66, Name: hostaccess.AccessName("eth0"), Kind: "macvlan", Group: plan.Group, Alias: hostaccess.AccessMark, Up: true, Peer: 20, PeerNS: -1}
		f.Access.Named = f.Access.Link
	},
	"access-half": func(f *build.Facts) { f.Access.Link.Alias, f.Access.Link.Up = "", false },
	"access-taken": func(f *build.Facts) {
		f.Access.Named = &rtnl.Link{Index: 66, Name: hostaccess.AccessName("eth0"), Kind: "dummy"}
	},
	"access-route": func(f *build.Facts) {
		f.Access.Routes = []rtnl.Route{{Dst: netip.MustParsePrefix("192.168.1.2/32"), Index: 66, Protocol: ours.Protocol}}
	},
	"nic-address": func(f *build.Facts) {
		f.Card.Addrs = []rtnl.Addr{{Index: 20, Prefix: netip.MustParsePrefix("192.0.2.7/24")}}
	},
	"nic-default": func(f *build.Facts) { f.Card.Route = []rtnl.Route{{Dst: spec.DefaultRoute(false), Index: 20}} },
	"port-of-db": func(f *build.Facts) {
		f.Port = &rtnl.Link{Index: 77, Name: "tap0", Kind: "veth", Group: plan.Group, PeerNS: 9, Alias: "gopipework docker:0123456789ab lan0 db"}
	},
	"nic-ours-on": func(f *build.Facts) {
		f.Card.Users = []ours.User{{Link: &rtnl.Link{Name: "gph84ed3baa", Kind: "macvlan", Group: plan.Group, Alias: "gopipework host-access"}}}
	},
	"nic-parent": func(f *build.Facts) { f.Card.Users = []ours.User{{Link: &rtnl.Link{Name: "eth0.7"}}} },
	"lent": func(f *build.Facts) { // to this guest
		f.Base, f.Card.Here = nil, true
		f.Inner = &rtnl.Link{Index: 20, Name: "eth1", Group: plan.Group, MTU: 1500, Up: true, Carrier: true, MAC: net.HardwareAddr{0, 0x16, 0x3e, 0, 0, 1}, PeerNS: -1}
		f.Card.Loan = &ours.Loan{To: f.Guest, IfName: "eth1", Complete: true, Card: rtnl.Kept{Name: "eth0", MAC: "00:16:3e:00:00:01", MTU: 1500, Up: true}}
		f.Addrs = append(f.Addrs, rtnl.Addr{Index: 20, Prefix: netip.MustParsePrefix("192.168.1.2/24"), Flags: unix.IFA_F_PERMANENT})
	},
	"lent-half": func(f *build.Facts) { f.Card.Loan.Complete = false },
	"lent-other": func(f *build.Facts) {
		f.Base = nil
		f.Card.Loan = &ours.Loan{To: guests.GuestInfo{Runtime: "docker", Name: "db"}, IfName: "lan0", Complete: true, Card: rtnl.Kept{Name: "eth0", MTU: 1500}}
	},
	"lent-home": func(f *build.Facts) {
		f.Card.Loan = &ours.Loan{To: guests.GuestInfo{Runtime: "docker", Name: "db"}, IfName: "lan0", Complete: true, Card: rtnl.Kept{Name: "eth0", MAC: "00:16:3e:00:00:01", MTU: 1500}}
		f.Base, f.Card.Home = nil, &rtnl.Link{Name: "dev7"}
	},
	"long-card":  func(f *build.Facts) { f.Base.Name = "enp0s31f6lab" },
	"no-carrier": func(f *build.Facts) { f.Base.Carrier = false },
	"nic-down":   func(f *build.Facts) { f.Base.Up = false },
	"nic-port":   func(f *build.Facts) { f.Base.Master, f.Base.Slave = brIndex, "bridge" },
	"lo":         func(f *build.Facts) { f.Base = &rtnl.Link{Index: 1, Name: "lo", Loopback: true, Up: true} },
	"tagged": func(f *build.Facts) {
		f.Tagged = &rtnl.Link{Index: 21, Name: "eth0.10", Kind: "vlan", VLAN: 10, Peer: 20, PeerNS: -1, MTU: 1500, Up: true}
	},
	"tagged-renamed": func(f *build.Facts) {
		f.Tagged = &rtnl.Link{Index: 21, Name: "vlan10", Kind: "vlan", VLAN: 10, Peer: 20, PeerNS: -1, MTU: 1500, Up: true}
	},
	"tagged-port": func(f *build.Facts) { f.Tagged.Slave, f.Tagged.Master = "bridge", 30 },
	"tagged-half": func(f *build.Facts) {
		f.Tagged = &rtnl.Link{Index: 21, Name: "eth0.10", Kind: "vlan", VLAN: 10, Peer: 20, PeerNS: -1, MTU: 1500, Group: plan.Group}
	},
	"tagged-other": func(f *build.Facts) {
		f.Tagged = &rtnl.Link{Index: 21, Name: "eth0.10", Kind: "vlan", VLAN: 11, Peer: 20, PeerNS: -1}
	},
	"macvlan": func(f *build.Facts) {
		f.HostNS = 5
		f.Inner = &rtnl.Link{Index: innerIndex, Name: "eth1", Kind: "macvlan", Mode: "bridge", Group: plan.Group, MTU: 1500, Up: true,
			MAC: net.HardwareAddr{2, 0, 0, 0, 0, 9}, Peer: 20, PeerNS: 5, Alias: "gopipework docker:0123456789ab eth1 web"}
		f.Addrs = append(f.Addrs, rtnl.Addr{Index: innerIndex, Prefix: netip.MustParsePrefix("192.168.1.2/24"), Flags: unix.IFA_F_PERMANENT})
	},
	// shaped has the attachment be so, on a bridge or inside the guest.
	"shaped": func(f *build.Facts) {
		f.Shaped = asRead(Shaping{RateIn: 10e6, RateOut: 1e6, Loss: 1000, Delay: 5e6})
		if f.Own == nil {
			f.Shaped.Inbound = &rtnl.Link{Index: 20, Name: "eth1-in", Kind: "ifb", Group: plan.Group}
		}
	},
	"inbound-left": func(f *build.Facts) {
		left := &rtnl.Link{Index: 20, Name: "eth1-in", Kind: "ifb", Group: plan.Group}
		f.Links, f.LeftInbounds = append(f.Links, left), []*rtnl.Link{left}
	},
	"inbound-taken": func(f *build.Facts) {
		f.Links = append(f.Links, &rtnl.Link{Index: 20, Name: "eth1-in", Kind: "dummy"})
	},
	"macvlan-half": func(f *build.Facts) { f.Inner.Alias, f.Inner.Up = "", false },
	"our-gateway": func(f *build.Facts) {
		f.Routes = append(f.Routes, rtnl.Route{Dst: spec.DefaultRoute(false), Gateway: netip.MustParseAddr("192.168.1.1"), Index: innerIndex, Set: true})
	},
	"ipv6-on":    func(f *build.Facts) { f.IPv6Off = false },
	"ovs":        func(f *build.Facts) { f.OVS = bridge.OVS{Running: true} },
	"ovs-kernel": func(f *build.Facts) { f.OVS.Kernel = true },
	"ovs-bridge": func(f *build.Facts) {
		f.Base = &rtnl.Link{Index: brIndex, Name: "ovsbr0", Kind: "tun", MTU: 1500, Up: true}
		f.OVS = bridge.OVS{Running: true, Bridges: []bridge.OVSBridge{{Name: "ovsbr0", Datapath: bridge.UserspaceDatapath, Made: true}}}
	},
	"ovs-dead": func(f *build.Facts) {
		f.OVS.Bridges[0].Ports = []bridge.OVSPort{{Bridge: "ovsbr0", Name: "veth1pl4321", Mark: "gopipework docker:ffffffffffff eth1 old"}}
	},
	"ovs-port": func(f *build.Facts) {
		f.OVS.Bridges[0].Ports = []bridge.OVSPort{{Bridge: "ovsbr0", Name: "veth1pl4321"}}
	},
	"ovs-attached": func(f *build.Facts) {
		base := f.Base
		pair(f)
		f.Base, f.OwnOn, f.Own.Master = base, nil, 0
		f.OVS.Bridges[0].Ports = []bridge.OVSPort{{Bridge: "ovsbr0", Name: "veth1pl4321", VLAN: bridge.VLAN{PVID: 10}, Mark: f.Own.Alias}}
	},
	"filters":      func(f *build.Facts) { b := bridgeFact(f); b.VLANFiltering, b.DefaultPVID = true, 1 },
	"default-pvid": func(f *build.Facts) { bridgeFact(f).DefaultPVID = 1 },
	"in-vlan-10":   func(f *build.Facts) { f.PortVLANs = []rtnl.PortVLAN{{First: 10, Last: 10, PVID: true, Untagged: true}} },
	"leased": func(f *build.Facts) {
		f.Addrs[len(f.Addrs)-1].Flags = 0 // it has an end
		f.Lease = &lease.Kept{Ask: lease.NewAsk(lease.Options{}, source.IdentityOf(f.Guest), "eth1", innerIndex)}
	},
	// lease-table has a lease's source routing, lease-routed what it has set as well,
	// and lease-none no lease for the moment.
	"lease-table": func(f *build.Facts) {
		f.Lease.Ask.Table = spec.FirstTable
		f.Lease.Lease = &lease.Lease{Address: netip.MustParsePrefix("192.168.1.2/24"), Routes: []lease.Route{
			{Dst: spec.DefaultRoute(false), Gateway: netip.MustParseAddr("192.168.1.1")}, {Dst: netip.MustParsePrefix("10.5.0.0/16"), Gateway: netip.MustParseAddr("192.168.1.2")}}}
		f.LeaseTables = map[int]int{innerIndex: spec.FirstTable}
		f.Routes = append(f.Routes, rtnl.Route{Dst: netip.MustParsePrefix("192.168.1.0/24"), Index: innerIndex, Protocol: unix.RTPROT_KERNEL},
			rtnl.Route{Dst: spec.DefaultRoute(false), Gateway: netip.MustParseAddr("192.168.1.1"), Index: innerIndex, Protocol: unix.RTPROT_DHCP})
	},
	// lease-access has a lease that the host's way follows.
	"lease-access": func(f *build.Facts) {
		f.Lease.Ask.Access = &lease.Access{Host: 1, Parent: 7}
		f.Lease.Lease = &lease.Lease{Address: netip.MustParsePrefix("192.168.1.2/24")}
	},
	"lease-routed": func(f *build.Facts) {
		f.Rules = append(f.Rules, rtnl.Rule{From: netip.MustParseAddr("192.168.1.2"), Table: spec.FirstTable, Priority: guestnet.OwnPriority, Protocol: ours.Protocol})
		for _, r := range f.Routes {
			if r.Index == innerIndex {
				r.Table, r.Protocol = spec.FirstTable, ours.Protocol
				f.Tables = append(f.Tables, r)
			}
		}
	},
	"lease-none": func(f *build.Facts) {
		f.Lease.Lease = nil
		f.Addrs = slices.DeleteFunc(f.Addrs, func(a rtnl.Addr) bool { return a.Index == innerIndex })
		f.Routes = slices.DeleteFunc(f.Routes, func(r rtnl.Route) bool { return r.Index == innerIndex })
	},
	"leased6": func(f *build.Facts) {
		f.Addrs[len(f.Addrs)-1] = rtnl.Addr{Index: innerIndex, Prefix: netip.MustParsePrefix("2001:db8::77/128")}
		f.Lease = &lease.Kept{Ask: lease.NewAsk6(source.IdentityOf(f.Guest), "eth1", innerIndex)}
		f.RA = true
	},
	// vrf has a foreign VRF red with a port and its default route, vrf-ours has it made here,
	// vrf-in the attachment in it, and vrf-table-taken a route in the first table that is tried.
	"vrf": func(f *build.Facts) {
		f.Links = append(f.Links, &rtnl.Link{Index: 50, Name: "red", Kind: "vrf", Table: 10, Up: true},
			&rtnl.Link{Index: 51, Name: "eth5", Kind: "veth", Master: 50, Slave: "vrf"})
		f.Addrs = append(f.Addrs, rtnl.Addr{Index: 51, Prefix: netip.MustParsePrefix("10.5.0.2/16")})
		f.Tables = append(f.Tables, rtnl.Route{Dst: spec.DefaultRoute(false), Gateway: netip.MustParseAddr("10.5.0.1"), Index: 51, Table: 10})
	},
	"vrf-in": func(f *build.Facts) {
		f.Inner.Master, f.Inner.Slave = 50, "vrf"
		for _, r := range f.Routes {
			if r.Index == innerIndex {
				r.Table = 10
				f.Tables = append(f.Tables, r)
			}
		}
		f.Routes = slices.DeleteFunc(f.Routes, func(r rtnl.Route) bool { return r.Index == innerIndex })
	},
	"vrf-down": func(f *build.Facts) { f.Links[len(f.Links)-2].Up = false },
	"vrf-ours": func(f *build.Facts) { f.Links[len(f.Links)-2].Group = plan.Group },
	"vrf-table-taken": func(f *build.Facts) {
		f.Tables = append(f.Tables, rtnl.Route{Dst: netip.MustParsePrefix("10.77.0.0/16"), Index: eth0Index, Table: 1001})
	},
	// dns has the attachment's name servers written, dns-other those of another
	// interface, dns-gone those of one that is gone.
	"dns": func(f *build.Facts) {
		f.Resolv = &build.ResolvNote{IfName: "eth1", Index: innerIndex, Asked: "192.168.1.1"}
	},
	"dns-other": func(f *build.Facts) { f.Resolv = &build.ResolvNote{IfName: "eth0", Index: eth0Index, Asked: "dhcp"} },
	"dns-gone":  func(f *build.Facts) { f.Resolv = &build.ResolvNote{IfName: "eth5", Index: 99, Asked: "192.168.1.1"} },
	"minded": func(f *build.Facts) {
		f.Addrs[len(f.Addrs)-1].Flags = 0
		f.Client = &hostclient.Running{Run: hostclient.Run{Ask: hostclient.Ask{Client: "udhcpc", Stays: true}}}
	},
	"unminded": func(f *build.Facts) { f.Unminded = true },
	"clientless": func(f *build.Facts) {
		f.NoClient = fault.New(fault.Unsupported, "run", "udhcpc", "this host does not have it").WithHint("install it")
	},
	"ra": func(f *build.Facts) { f.RA = true },
	// hears is what the kernel's own defaults make of routers, deaf a guest that
	// has all of it the other way.
	"hears": func(f *build.Facts) {
		f.NewLinks = map[string]string{"accept_ra": "1", "autoconf": "1", "accept_ra_pinfo": "1", "accept_ra_defrtr": "1",
			"accept_ra_min_lft": "0", "addr_gen_mode": "0", "router_solicitations": "-1"}
	},
	"deaf": func(f *build.Facts) {
		f.NewLinks = map[string]string{"accept_ra": "0", "autoconf": "0", "accept_ra_pinfo": "0", "accept_ra_defrtr": "0",
			"accept_ra_min_lft": "600", "addr_gen_mode": "1", "router_solicitations": "0"}
	},
	"hears-always": func(f *build.Facts) { f.NewLinks = map[string]string{"accept_ra": "2"} },
	// advertised is what a router on the network gives a guest that does not ask.
	"advertised": func(f *build.Facts) {
		f.Routes = append(f.Routes, rtnl.Route{Dst: spec.DefaultRoute(true), Gateway: netip.MustParseAddr("fe80::1"), Index: innerIndex, Metric: 1024, Protocol: unix.RTPROT_RA})
		f.Addrs = append(f.Addrs, rtnl.Addr{Index: innerIndex, Prefix: netip.MustParsePrefix("fd00:9::7/64")})
	},
	"no-ipv6":   func(f *build.Facts) { f.NoIPv6 = true },
	"published": func(f *build.Facts) { f.Guest.Published = true },
	"docker-routes": func(f *build.Facts) { // what Docker gives a container in a network with IPv6
		f.Routes = append(f.Routes, rtnl.Route{Dst: netip.MustParsePrefix("172.17.0.0/16"), Index: eth0Index, Protocol: unix.RTPROT_KERNEL},
			rtnl.Route{Dst: netip.MustParsePrefix("fd00:17::/64"), Index: eth0Index, Metric: 256, Protocol: unix.RTPROT_KERNEL},
			rtnl.Route{Dst: netip.MustParsePrefix("fe80::/64"), Index: eth0Index, Metric: 256, Protocol: unix.RTPROT_KERNEL},
			rtnl.Route{Dst: spec.DefaultRoute(true), Gateway: netip.MustParseAddr("fd00:17::1"), Index: eth0Index, Metric: 1024})
		f.Addrs = append(f.Addrs, rtnl.Addr{Index: eth0Index, Prefix: netip.MustParsePrefix("fd00:17::2/64")},
			rtnl.Addr{Index: eth0Index, Prefix: netip.MustParsePrefix("fe80::2/64"), Scope: unix.RT_SCOPE_LINK})
	},
	"table-taken": func(f *build.Facts) {
		f.Rules = append(f.Rules, rtnl.Rule{From: netip.MustParseAddr("10.0.0.1"), Table: spec.FirstTable, Priority: 5})
	},
	"our-route": func(f *build.Facts) {
		f.Routes = append(f.Routes, rtnl.Route{Dst: netip.MustParsePrefix("10.5.0.0/16"), Gateway: netip.MustParseAddr("192.168.1.3"),
			Index: innerIndex, Protocol: ours.Protocol})
	},
	"our-default-kept": func(f *build.Facts) {
		f.Routes = append(f.Routes, rtnl.Route{Dst: spec.DefaultRoute(false), Gateway: netip.MustParseAddr("192.168.1.1"), Index: innerIndex, Metric: 1, Protocol: ours.Protocol})
	},
	"replies": func(f *build.Facts) {
		f.Rules = append(f.Rules,
			rtnl.Rule{From: netip.MustParseAddr("172.17.0.2"), Table: spec.FirstTable, Priority: guestnet.OthersPriority, Protocol: ours.Protocol},
			rtnl.Rule{From: netip.MustParseAddr("192.168.1.2"), Table: spec.FirstTable + 1, Priority: guestnet.OwnPriority, Protocol: ours.Protocol})
		f.Tables = append(f.Tables,
			rtnl.Route{Dst: spec.DefaultRoute(false), Gateway: netip.MustParseAddr("172.17.0.1"), Index: eth0Index, Table: spec.FirstTable, Protocol: ours.Protocol},
			rtnl.Route{Dst: netip.MustParsePrefix("192.168.1.0/24"), Index: innerIndex, Table: spec.FirstTable + 1, Protocol: ours.Protocol},
			rtnl.Route{Dst: spec.DefaultRoute(false), Gateway: netip.MustParseAddr("192.168.1.1"), Index: innerIndex, Table: spec.FirstTable + 1, Protocol: ours.Protocol})
	},
	"half-table": func(f *build.Facts) { f.Tables = f.Tables[:len(f.Tables)-1] },
	"other-replies": func(f *build.Facts) { // of another attachment, eth2
		const eth2 = 30
		f.Links = append(f.Links, &rtnl.Link{Index: eth2, Name: "eth2", Kind: "veth", Group: plan.Group})
		f.Addrs = append(f.Addrs, rtnl.Addr{Index: eth2, Prefix: netip.MustParsePrefix("10.2.0.2/16")})
		f.Rules = append(f.Rules,
			rtnl.Rule{From: netip.MustParseAddr("172.17.0.2"), Table: spec.FirstTable, Priority: guestnet.OthersPriority, Protocol: ours.Protocol},
			rtnl.Rule{From: netip.MustParseAddr("10.2.0.2"), Table: spec.FirstTable + 1, Priority: guestnet.OwnPriority, Protocol: ours.Protocol})
		f.Tables = append(f.Tables,
			rtnl.Route{Dst: spec.DefaultRoute(false), Gateway: netip.MustParseAddr("172.17.0.1"), Index: eth0Index, Table: spec.FirstTable, Protocol: ours.Protocol},
			rtnl.Route{Dst: netip.MustParsePrefix("10.2.0.0/16"), Index: eth2, Table: spec.FirstTable + 1, Protocol: ours.Protocol})
	},
	"reaches": func(f *build.Facts) { f.Reaches = true },
}

// TestBuildTunnelRoutes reads back what an attach says about a tunnel's routes, as a program
// does that imports the package.
func TestBuildTunnelRoutes(t *testing.T) {
	f := stock()
	factChanges["tunnel"](&f)
	s, err := Parse(typed(t, "wireguard:/etc/wireguard/wg0.conf web"))
	if err != nil {
		t.Fatal(err)
	}
	if s, err = kind.WithTunnel(s, f.Tunnel); err != nil {
		t.Fatal(err)
	}
	p, err := planAttach(s, f)
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(p.Attachments[0])
	if err != nil {
		t.Fatal(err)
	}
	var a Attachment
	if err := json.Unmarshal(b, &a); err != nil {
		t.Fatalf("%s: %v", b, err)
	}
	if diff := cmp.Diff([]string{"10.5.0.0/16"}, spec.RouteWords(a.Interface.Routes)); diff != "" {
		t.Errorf("routes (-want +got):\n%s", diff)
	}
}

// TestBuildUplinkUnparsed: a Spec that Parse has not made can hold a word that is none for an
// uplink. It must not be as if there were none.
func TestBuildUplinkUnparsed(t *testing.T) {
	s, err := Parse(typed(t, "brtest web 192.168.1.2/24"))
	if err != nil {
		t.Fatal(err)
	}
	s.Uplink = "vxlan:100"
	if _, err := planAttach(s, stock()); fault.CodeOf(err) != fault.Usage {
		t.Errorf("planned with the uplink %q: %v", s.Uplink, err)
	}
}
