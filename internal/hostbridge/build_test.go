package hostbridge

import (
	"flag"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/gopipework/gopipework/bridge"
	"github.com/gopipework/gopipework/internal/build"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/kind"
	"github.com/gopipework/gopipework/internal/ours"
	"github.com/gopipework/gopipework/internal/plan"
	"github.com/gopipework/gopipework/internal/rtnl"
	"github.com/gopipework/gopipework/internal/spec"
	"golang.org/x/sys/unix"
)

var update = flag.Bool("update", false, "write what Build and Remove say into the golden files")

// TestBuild holds the plans against the files in testdata/build. Each begins with what is
// asked for and the names of the facts (below), then "---", then the plan or the error.
func TestBuild(t *testing.T) {
	files, err := filepath.Glob("testdata/build/*.txt")
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
			got := planText(t, head)
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

func planText(t *testing.T, head string) string {
	t.Helper()
	f, s, remove := stock(), spec.BridgeSpec{Name: "brtest"}, false
	for line := range strings.Lines(head) {
		key, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch key {
		case "#", "":
		case "bridge":
			s.Name = rest
		case "remove":
			s.Name, remove = rest, true
		case "address":
			for _, word := range strings.Fields(rest) {
				s.Addrs = append(s.Addrs, netip.MustParsePrefix(word))
			}
		case "uplink":
			s.Uplink = rest
		case "mtu":
			s.MTU, _ = strconv.Atoi(rest)
		case "force":
			s.Force = true
		case "vlan-filtering":
			s.VLANFiltering = true
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
	f.VXLAN.Links, f.VXLAN.Addrs = f.Links, f.Addrs
	var p build.Plan
	var err error
	if remove {
		p = Remove(s.Name, f)
	} else {
		p, err = Build(s, f)
	}
	if err != nil {
		text := string(fault.CodeOf(err)) + ": " + err.Error() + "\n"
		if hint := fault.HintOf(err); hint != "" {
			text += "hint: " + hint + "\n"
		}
		return text
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

const (
	eth1Index = 3 + iota
	brIndex
	vlanIndex
	otherIndex
)

// stock is a host with a card that is down, eth1, and no bridge.
func stock() Facts {
	return Facts{
		Links: []*rtnl.Link{
			{Index: 1, Name: "lo", Loopback: true, Type: unix.ARPHRD_LOOPBACK, Up: true, PeerNS: -1},
			{Index: eth1Index, Name: "eth1", Type: unix.ARPHRD_ETHER, MTU: 1500, PeerNS: -1},
		},
		NewMAC: net.HardwareAddr{2, 0, 0, 0, 0, 1}, Origin: "file:lab", HostID: "77",
	}
}

// add adds a link.
func add(f *Facts, l *rtnl.Link) *rtnl.Link {
	if l.Type == 0 {
		l.Type = unix.ARPHRD_ETHER
	}
	if l.MTU == 0 {
		l.MTU = 1500
	}
	l.PeerNS = -1
	f.Links = append(f.Links, l)
	return l
}

// has gives a link an address; proto says who set it.
func has(f *Facts, index int, prefix string, proto uint8) {
	f.Addrs = append(f.Addrs, rtnl.Addr{Index: index, Prefix: netip.MustParsePrefix(prefix), Flags: unix.IFA_F_PERMANENT, Proto: proto})
}

// factChanges are what a golden file can say about the host.
var factChanges = map[string]func(*Facts){
	"up":    func(f *Facts) { l := f.named("eth1"); l.Up, l.Carrier = true, true },
	"dark":  func(f *Facts) { f.named("eth1").Carrier = false },
	"short": func(f *Facts) { f.named("eth1").MTU = 1400 },
	"used": func(f *Facts) {
		has(f, eth1Index, "192.0.2.7/24", 0)
		f.Routes = append(f.Routes, rtnl.Route{Dst: spec.DefaultRoute(false), Gateway: netip.MustParseAddr("192.0.2.1"), Index: eth1Index})
	},
	"foreign": func(f *Facts) {
		add(f, &rtnl.Link{Index: brIndex, Name: "brtest", Kind: "bridge", Up: true, DefaultPVID: 1, CanFilter: true})
	},
	"made": func(f *Facts) {
		add(f, &rtnl.Link{Index: brIndex, Name: "brtest", Kind: "bridge", Up: true, Group: plan.Group, Alias: build.BridgeMark, DefaultPVID: 1, CanFilter: true})
	},
	"half":    func(f *Facts) { b := f.named("brtest"); b.Alias, b.Up = "", false },
	"br-down": func(f *Facts) { f.named("brtest").Up = false },
	"stp":     func(f *Facts) { b := f.named("brtest"); b.STP, b.ForwardDelay = true, 15*time.Second },
	"wanted": func(f *Facts) {
		f.named("brtest").AltNames = []string{ours.BridgeMark{Bridge: "brtest", Origin: "file:lab"}.String()}
	},
	"others": func(f *Facts) {
		f.named("brtest").AltNames = []string{ours.BridgeMark{Bridge: "brtest", Origin: "file:other"}.String()}
	},
	"marked": func(f *Facts) {
		f.named("eth1").AltNames = []string{ours.UplinkMark{Bridge: "brtest", Origin: "file:lab"}.String()}
	},
	"port": func(f *Facts) { l := f.named("eth1"); l.Master, l.Slave = brIndex, "bridge" },
	"trunk": func(f *Facts) {
		f.VLANs = map[int][]rtnl.PortVLAN{eth1Index: {{First: 1, Last: 1, PVID: true, Untagged: true}, {First: 2, Last: 4094}}}
	},
	"guest": func(f *Facts) {
		add(f, &rtnl.Link{Index: 40, Name: "veth1pl9", Kind: "veth", Group: plan.Group, Master: brIndex, Slave: "bridge"})
	},
	"addr":      func(f *Facts) { has(f, brIndex, "192.168.1.1/24", 0) },
	"own-addr":  func(f *Facts) { has(f, brIndex, "192.168.1.1/24", ours.Protocol) },
	"own-addr6": func(f *Facts) { has(f, brIndex, "2001:db8::1/64", ours.Protocol) },
	"elsewhere": func(f *Facts) { has(f, eth1Index, "192.168.1.1/24", 0) },
	"near":      func(f *Facts) { has(f, 1, "192.168.1.7/24", 0) },
	"no-ipv6":   func(f *Facts) { f.NoIPv6 = true },
	"promote":   func(f *Facts) { f.Promote = true },
	"vlan": func(f *Facts) {
		add(f, &rtnl.Link{Index: vlanIndex, Name: "eth1.10", Kind: "vlan", VLAN: 10, Peer: eth1Index, Up: true, Carrier: true, Group: plan.Group, Alias: "gopipework vlan",
			Master: brIndex, Slave: "bridge", AltNames: []string{ours.UplinkMark{Bridge: "brtest", WasUp: true, Origin: "file:lab"}.String()}})
	},
	"vlan-elsewhere": func(f *Facts) {
		add(f, &rtnl.Link{Index: vlanIndex, Name: "lan", Kind: "vlan", VLAN: 10, Peer: eth1Index})
	},
	"other": func(f *Facts) {
		add(f, &rtnl.Link{Index: otherIndex, Name: "brother", Kind: "bridge"})
		l := f.named("eth1")
		l.Master, l.Slave = otherIndex, "bridge"
	},
	"bond": func(f *Facts) {
		add(f, &rtnl.Link{Index: otherIndex, Name: "bond0", Kind: "bond"})
		l := f.named("eth1")
		l.Master, l.Slave = otherIndex, "bond"
	},
	"macvlan-on": func(f *Facts) {
		f.Users = []ours.User{{Link: &rtnl.Link{Name: "eth1", Kind: "macvlan"}, Netns: 4026532321}}
	},
	"macvlan":    func(f *Facts) { l := f.named("eth1"); l.Kind, l.Mode = "macvlan", "bridge" },
	"tun":        func(f *Facts) { l := f.named("eth1"); l.Kind, l.Type = "tun", unix.ARPHRD_NONE },
	"attachment": func(f *Facts) { l := f.named("eth1"); l.Kind, l.Group = "veth", plan.Group },
	"underlay":   func(f *Facts) { has(f, eth1Index, "10.9.0.1/24", 0) },
	"vxlan": func(f *Facts) {
		f.VXLAN.Link = add(f, &rtnl.Link{Index: 50, Name: "vx100", Kind: "vxlan", Group: plan.Group, Alias: build.VXLANMark, MTU: 1450, Up: true, Master: brIndex,
			VXLAN: rtnl.VXLAN{VNI: 100, Local: netip.MustParseAddr("10.9.0.1"), Port: 4789}})
	},
	"vxlan-marked": func(f *Facts) {
		f.VXLAN.Link.AltNames = []string{ours.UplinkMark{Bridge: "brtest", WasUp: true, Origin: "file:lab"}.String()}
	},
	"vxlan-peer": func(f *Facts) { f.VXLAN.Flood = []netip.Addr{netip.MustParseAddr("10.9.0.2")} },
	"radio":      func(f *Facts) { f.Radio = true },
	"lent":       func(f *Facts) { f.Borrower, f.Lent = "docker:web", "eth7" },
	"dummy":      func(f *Facts) { add(f, &rtnl.Link{Index: brIndex, Name: "brtest", Kind: "dummy"}) },
	"ovs":        func(f *Facts) { f.OVS = bridge.OVS{Running: true} },
	"ovs-br": func(f *Facts) {
		f.OVS.Bridges = []bridge.OVSBridge{{Name: "ovsbr0", Datapath: bridge.UserspaceDatapath, Ours: true, Made: true}}
		add(f, &rtnl.Link{Index: brIndex, Name: "ovsbr0", Kind: "tun", Up: true})
	},
	"ovs-wanted": func(f *Facts) { f.OVS.Bridges[0].Origin = "file:lab" },
	"ovs-port": func(f *Facts) {
		f.OVS.Bridges[0].Ports = []bridge.OVSPort{{Bridge: "ovsbr0", Name: "eth1", Mark: uplinkWord, Number: 1,
			IDs: map[string]string{originKey: "file:lab", wasKey: "down", kind.HostKey: "77"}}}
	},
}
