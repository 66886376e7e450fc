package attach

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/gopipework/gopipework/bridge"
	"github.com/gopipework/gopipework/bridge/firewall"
	"github.com/gopipework/gopipework/internal/build"
	"github.com/gopipework/gopipework/internal/hostaccess"
	"github.com/gopipework/gopipework/internal/hostclient"
	"github.com/gopipework/gopipework/internal/kind"
	"github.com/gopipework/gopipework/internal/lease"
	"github.com/gopipework/gopipework/internal/ours"
	"github.com/gopipework/gopipework/internal/plan"
	"github.com/gopipework/gopipework/internal/rtnl"
)

// TestBuildSet holds planSet against the files in testdata/set. Each begins
// with the flags as a user types them and the names of the facts, then "---",
// then the plan or the error.
func TestBuildSet(t *testing.T) { golden(t, "testdata/set", setText) }

func setText(t *testing.T, head string) string {
	t.Helper()
	f := setFacts()
	var s SetSpec
	for line := range strings.Lines(head) {
		key, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch key {
		case "set":
			s = typedSet(t, rest)
		case "facts":
			for _, name := range strings.Fields(rest) {
				setChanges[name](&f)
			}
		}
	}
	p, err := planSet(s, f)
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

// setFacts are those of 192.168.1.2/24 on a bridge of ours.
func setFacts() build.SetFacts {
	f := stock()
	pair(&f)
	f.Base.Group = plan.Group
	f.Own.MTU = 1500
	return build.SetFacts{
		Inside: f.Inside, OwnOn: f.Base,
		Found: &build.Pair{Port: f.Own, Attachment: Attachment{
			Guest: f.Guest, State: Complete, Host: Host{Kind: "bridge", Name: "brtest", Port: f.Own.Name},
			Interface: Interface{Name: "eth1", Kind: "veth", MTU: 1500},
		}},
		PortVLANs: []rtnl.PortVLAN{{First: 1, Last: 1, PVID: true, Untagged: true}},
		Sysctls: map[string]string{
			"ipv4/conf/eth1/promote_secondaries": "0", "ipv4/conf/eth1/arp_notify": "1",
			"ipv6/conf/eth1/disable_ipv6": "1", "ipv6/conf/eth1/ndisc_notify": "0", "ipv6/conf/eth1/router_solicitation_delay": "1",
		},
	}
}

// toFacts are those of a bridge that is not there yet.
func toFacts(f *build.SetFacts) *build.Facts {
	to := stock()
	to.Inside, to.Own, to.Port, to.OwnOn = f.Inside, f.Found.Port, f.Found.Port, f.OwnOn
	f.To = &to
	return f.To
}

var setChanges = map[string]func(*build.SetFacts){
	"foreign": func(f *build.SetFacts) { f.OwnOn.Group, f.OwnOn.DefaultPVID = 0, 1 },
	"vlan": func(f *build.SetFacts) {
		f.OwnOn.VLANFiltering, f.OwnOn.DefaultPVID = true, 1
		f.PortVLANs = kind.PortVLANs(bridge.VLAN{PVID: 10, Tagged: []bridge.TagRange{{First: 20, Last: 30}}})
		f.Found.Host.VLAN = "10,20-30"
	},
	"turned-on": func(f *build.SetFacts) { f.OwnOn.AltNames = []string{kind.FilteringMark + f.OwnOn.Name} },
	"other-vlan": func(f *build.SetFacts) {
		other := &rtnl.Link{Index: 50, Name: "other", Group: plan.Group}
		f.Switch = build.Switch{Link: f.OwnOn, Ports: []*rtnl.Link{f.Found.Port, other}, VLANs: map[int]string{50: "10"}}
	},
	"ovs": func(f *build.SetFacts) {
		f.OwnOn, f.Found.Host = nil, Host{Kind: "ovs", Name: "ovsbr0", Port: f.Found.Port.Name, VLAN: "10"}
		f.Detach.OVS = bridge.OVS{Running: true, Bridges: []bridge.OVSBridge{{Name: "ovsbr0", Ports: []bridge.OVSPort{
			{Bridge: "ovsbr0", Name: f.Found.Port.Name, Mark: f.Found.Port.Alias, VLAN: bridge.VLAN{PVID: 10}},
		}}}}
	},
	"shaped": func(f *build.SetFacts) {
		f.Shaped = asRead(Shaping{RateIn: 10e6, RateOut: 1e6, Loss: 1000, Delay: 5e6})
	},
	"tunnel": func(f *build.SetFacts) { f.Found.Port, f.Found.Host = nil, Host{Kind: "wireguard"} },
	"routed": func(f *build.SetFacts) {
		in := f.Inner.Index
		f.Routes = append(f.Routes, rtnl.Route{Dst: netip.MustParsePrefix("10.5.0.0/16"), Gateway: netip.MustParseAddr("192.168.1.3"), Index: in, Protocol: ours.Protocol, Set: true},
			rtnl.Route{Dst: netip.MustParsePrefix("10.6.0.0/16"), Index: in, Protocol: ours.Protocol, Set: true},
			rtnl.Route{Dst: netip.MustParsePrefix("10.7.0.0/16"), Gateway: netip.MustParseAddr("192.168.1.9"), Index: in, Set: true})
	},
	"leased": func(f *build.SetFacts) {
		l := lease.Lease{Address: netip.MustParsePrefix("192.168.1.2/24")}
		f.Lease = &lease.Kept{Ask: lease.Ask{IfName: "eth1", Index: f.Inner.Index, Routes: []lease.Asked{
			{Dst: netip.MustParsePrefix("10.5.0.0/16"), Via: netip.MustParseAddr("192.168.1.3")}, {Dst: netip.MustParsePrefix("10.6.0.0/16")}}}, Lease: &l}
	},
	"dns": func(f *build.SetFacts) {
		f.Resolv = &build.ResolvNote{IfName: "eth1", Index: f.Inner.Index, Asked: "192.168.1.53"}
	},
	"dns-changed": func(f *build.SetFacts) { f.Detach.ResolvChanged = true },
	"dns-other":   func(f *build.SetFacts) { f.Resolv.IfName, f.Resolv.Index = "eth0", f.Links[0].Index },
	"slaac":       func(f *build.SetFacts) { f.RA = true },
	"client": func(f *build.SetFacts) {
		f.Client = &hostclient.Running{Run: hostclient.Run{Ask: hostclient.Ask{Client: "udhcpc"}}}
	},
	"lost":      func(f *build.SetFacts) { f.Lease.Lease = nil },
	"link":      func(f *build.SetFacts) { f.Found.Host.Kind = string(KindVeth) },
	"unplugged": func(f *build.SetFacts) { f.OwnOn, f.Found.Host.Name, f.Found.Port.Master = nil, "", 0 },
	"isolated":  func(f *build.SetFacts) { f.Found.Host.Isolated, f.Found.Port.Port.Isolated = true, true },
	"down":      func(f *build.SetFacts) { f.Found.Port.Up = false },
	"only": func(f *build.SetFacts) {
		f.Switch = build.Switch{Link: f.OwnOn, Ports: []*rtnl.Link{f.Found.Port}}
		f.Detach.Bridges = map[int]build.Switch{f.OwnOn.Index: f.Switch}
	},
	"uplink": func(f *build.SetFacts) {
		var on build.Facts
		for _, fact := range []string{"underlay", "vxlan", "pinned"} {
			factChanges[fact](&on)
		}
		on.Uplink.Host = 77
		f.Switch.Uplink = on.Uplink
		f.Switch.Ports = append(f.Switch.Ports, on.Uplink.Link)
		f.Detach.Bridges = map[int]build.Switch{f.OwnOn.Index: f.Switch}
		if f.Lease != nil {
			f.Lease.Ask.Neighbour = &lease.Access{Host: 77, Parent: brIndex}
		}
	},
	"to": func(f *build.SetFacts) { toFacts(f) },
	"to-same": func(f *build.SetFacts) {
		f.OwnOn.Up, f.OwnOn.Alias = true, "gopipework bridge"
		toFacts(f).Base = f.OwnOn
	},
	"to-bridge": func(f *build.SetFacts) {
		toFacts(f).Base = &rtnl.Link{Index: 77, Name: "brlan", Kind: "bridge", MTU: 1400, Up: true, CanFilter: true, DefaultPVID: 1}
	},
	"to-card": func(f *build.SetFacts) { toFacts(f).Base = &rtnl.Link{Index: 78, Name: "nic0", MTU: 1500, Up: true} },
	"to-ovs":  func(f *build.SetFacts) { toFacts(f).OVS = bridge.OVS{Running: true} },
	"filtered": func(f *build.SetFacts) {
		p := f.Found.Port
		f.Found.Host.Antispoof, p.AltNames = true, append(p.AltNames, ours.FilterMark(p.Name, f.Inner.MAC))
		f.Filter = &firewall.SourceFilter{Port: p.Name, MAC: f.Inner.MAC, Addrs: []netip.Addr{netip.MustParseAddr("192.168.1.2")}}
	},
	"filter-gone": func(f *build.SetFacts) {
		p := f.Found.Port
		f.Found.State, f.Found.Origin, f.Found.Host.Antispoof = Half, OriginLine, true
		p.AltNames = append(p.AltNames, ours.FilterMark(p.Name, f.Inner.MAC))
	},
	"filter-unmarked": func(f *build.SetFacts) {
		f.Found.State, f.Found.Origin, f.Found.Host.Antispoof = Half, OriginLine, true
		f.Filter = &firewall.SourceFilter{Port: f.Found.Port.Name, MAC: f.Inner.MAC, Addrs: []netip.Addr{netip.MustParseAddr("192.168.1.2")}}
	},
	"taken":    func(f *build.SetFacts) { f.Stations = []build.Station{{Who: "db", MAC: f.Inner.MAC}} },
	"mirror":   func(f *build.SetFacts) { f.Detach.Mirrors.All = []build.Mirror{{From: "veth1pl99", To: "veth1pl4321"}} },
	"mirrored": func(f *build.SetFacts) { f.Detach.Mirrors.All = []build.Mirror{{From: "veth1pl4321", To: "veth1pl99"}} },
	"macvlan": func(f *build.SetFacts) {
		f.Found.Child, f.Found.Port, f.Found.Host = f.Inner, nil, Host{Kind: "macvlan", Name: "nic0"}
	},
	// card has the attachment be a macvlan on a card.
	"card": func(f *build.SetFacts) {
		in := f.Inner
		in.Kind, in.Mode, in.Group, in.Peer, in.PeerNS, in.Alias = "macvlan", "bridge", plan.Group, 20, 5, "gopipework docker:0123456789ab eth1 web"
		f.HostNS, f.On, f.OwnOn = 5, &rtnl.Link{Index: 20, Name: "eth0", Up: true, PeerNS: -1}, nil
		f.Found.Child, f.Found.Port, f.Found.Host = in, nil, Host{Kind: "macvlan", Name: "eth0"}
		f.Access.Host, f.Access.Addrs = 1, []rtnl.Addr{{Index: 20, Prefix: netip.MustParsePrefix("192.168.1.1/24")}}
		f.Detach.Ours = []build.Pair{*f.Found}
	},
	"access": func(f *build.SetFacts) {
		way := &rtnl.Link{Index: 66, Name: hostaccess.AccessName("eth0"), Kind: "macvlan", Group: plan.Group, Alias: hostaccess.AccessMark, Up: true, Peer: 20, PeerNS: -1}
		routes := []rtnl.Route{{Dst: netip.MustParsePrefix("192.168.1.2/32"), Index: 66, Protocol: ours.Protocol}}
		f.Access.Link, f.Access.Named, f.Access.Routes = way, way, routes
		f.Detach.Ways = []build.Way{{Link: way, Routes: routes, Host: 1}}
	},
	"access-other": func(f *build.SetFacts) {
		w := &f.Detach.Ways[0]
		w.Routes = append(w.Routes, rtnl.Route{Dst: netip.MustParsePrefix("192.168.1.9/32"), Index: 66, Protocol: ours.Protocol})
		w.Needed = []netip.Addr{netip.MustParseAddr("192.168.1.9")}
	},
	"access-leased": func(f *build.SetFacts) { f.Lease.Ask.Access = &lease.Access{Host: 1, Parent: 20} },
	"access-taken": func(f *build.SetFacts) {
		f.Access.Named = &rtnl.Link{Index: 66, Name: hostaccess.AccessName("eth0"), Kind: "dummy"}
	},
	"private":    func(f *build.SetFacts) { f.Inner.Mode = "private" },
	"half":       func(f *build.SetFacts) { f.Found.State = Half },
	"of-file":    func(f *build.SetFacts) { f.Found.Origin = "file:lab" },
	"of-keep":    func(f *build.SetFacts) { f.Found.Origin = OriginKeep },
	"of-cni":     func(f *build.SetFacts) { f.Found.Origin = "cni:lab" },
	"of-compose": func(f *build.SetFacts) { f.Found.Origin = "compose:shop/db" },
	"by-file":    func(f *build.SetFacts) { f.Origin = "file:lab" },
	"cable":      func(f *build.SetFacts) { f.Cable = &build.Cable{End: f.Found.Port} },
	"pulled": func(f *build.SetFacts) {
		f.Cable = &build.Cable{End: f.Found.Port}
		f.Found.Port.Up, f.Found.Port.AltNames = false, append(f.Found.Port.AltNames, ours.CableMark(f.Found.Port.Name))
	},
	"loses": func(f *build.SetFacts) {
		f.Cable = &build.Cable{End: f.Found.Port, Loses: "a route to 10.9.0.0/24", Keeps: "delete the route first, and set it again afterwards"}
	},
	"killed": func(f *build.SetFacts) { // between the mark and the end
		f.Cable = &build.Cable{End: f.Found.Port}
		f.Found.Port.AltNames = append(f.Found.Port.AltNames, ours.CableMark(f.Found.Port.Name))
	},
}
