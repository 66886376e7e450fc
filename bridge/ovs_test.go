package bridge

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gopipework/gopipework/internal/fault"
)

func TestOVSCommands(t *testing.T) {
	vlan := func(word string) VLAN {
		v, err := ParseVLAN(word)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	port := OVSPort{Bridge: "ovs0", Name: "v1", Mark: "m"}
	withVLAN := func(word string) OVSPort { p := port; p.VLAN = vlan(word); return p }
	withIDs := port
	withIDs.Mark = "docker:0123456789ab eth1 web"
	withIDs.IDs = map[string]string{"pipework.nspid": "77", "pipework.interface": "eth1", "pipework.vlan": "", "pipework.containername": "it's \"a\\b\" <\xff>"}
	for _, tt := range []struct{ got, want string }{
		{OVSBridge{Name: "ovs0"}.AddCommand(), `ovs-vsctl add-br ovs0 -- set Bridge ovs0 external_ids:gopipework=bridge`},
		{OVSBridge{Name: "ovs0", Datapath: "netdev"}.AddCommand(), `ovs-vsctl add-br ovs0 -- set Bridge ovs0 datapath_type=netdev external_ids:gopipework=bridge`},
		{OVSBridge{Name: "ovs0"}.DeleteCommand(), `ovs-vsctl del-br ovs0`},
		{port.AddCommand(), `ovs-vsctl add-port ovs0 v1 -- set Interface v1 external_ids:gopipework=m`},
		{withVLAN("10").AddCommand(), `ovs-vsctl add-port ovs0 v1 tag=10 -- set Interface v1 external_ids:gopipework=m`},
		{withVLAN("10,20-30,7").AddCommand(), `ovs-vsctl add-port ovs0 v1 tag=10 trunks=7,20-30 vlan_mode=native-untagged -- set Interface v1 external_ids:gopipework=m`},
		{withVLAN("10t").AddCommand(), `ovs-vsctl add-port ovs0 v1 trunks=10 vlan_mode=trunk -- set Interface v1 external_ids:gopipework=m`},
		{withVLAN("10t,12").AddCommand(), `ovs-vsctl add-port ovs0 v1 trunks=10,12 vlan_mode=trunk -- set Interface v1 external_ids:gopipework=m`},
		{withIDs.AddCommand(), `ovs-vsctl add-port ovs0 v1 -- set Interface v1 'external_ids:gopipework="docker:0123456789ab eth1 web"'` +
			` 'external_ids:pipework.containername="it'\''s \"a\\b\" <` + "\uFFFD" + `>"' external_ids:pipework.interface=eth1` +
			` external_ids:pipework.nspid=77 'external_ids:pipework.vlan=""'`},
		{port.DeleteCommand(), `ovs-vsctl del-port ovs0 v1`},
		{NewOVSMirror("ovs0", "v1", "v2", true, false).AddCommand(), `ovs-vsctl --id=@from get Port v1 -- --id=@to get Port v2 -- --id=@m create Mirror` +
			` name=gopipework-v2-v1 external_ids:gopipework=mirror select_dst_port=@from output_port=@to -- add Bridge ovs0 mirrors @m`},
		{NewOVSMirror("ovs0", "v1", "v2", true, true).DeleteCommand(), `ovs-vsctl --id=@m get Mirror gopipework-v2-v1 -- remove Bridge ovs0 mirrors @m`},
		{port.SetMarkCommand("m/file:lab eth1"), `ovs-vsctl set Interface v1 'external_ids:gopipework="m/file:lab eth1"'`},
	} {
		if tt.got != tt.want {
			t.Errorf("\n got %s\nwant %s", tt.got, tt.want)
		}
	}
}

// ovsAnswer is what ovs-vsctl 3.1 prints for ovsReadArgs.
const ovsAnswer = `{"data":[["ovs1","netdev",["map",[["gopipework","bridge"]]],["set",[["uuid","p1"],["uuid","p2"],["uuid","p5"]]],"secure",["uuid","c0"],["set",[["uuid","m0"],["uuid","m1"]]]],["ovs0","",["map",[]],["uuid","p0"],["set",[]],["set",[]],["set",[]]],["ovs2","",["map",[]],["set",[["uuid","p3"],["uuid","p4"],["uuid","p6"]]],["set",[]],["set",[["uuid","c1"],["uuid","c2"]]],["set",[]]]],"headings":["name","datapath_type","external_ids","ports","fail_mode","controller","mirrors"]}
{"data":[[["uuid","p0"],"ovs0",["set",[]],["set",[]],["set",[]],["uuid","i0"],false],[["uuid","p1"],"ovs1",["set",[]],["set",[]],["set",[]],["uuid","i1"],false],[["uuid","p2"],"v1",10,["set",[20,21,22,4000]],"native-untagged",["uuid","i2"],true],[["uuid","p3"],"bond",["set",[]],7,["set",[]],["set",[["uuid","i3"],["uuid","i4"]]],false],[["uuid","p4"],"ovs2",["set",[]],["set",[]],["set",[]],["uuid","i5"],false],[["uuid","p5"],"to2",["set",[]],["set",[]],["set",[]],["uuid","i6"],false],[["uuid","p6"],"vx0",["set",[]],["set",[]],["set",[]],["uuid","i7"],false]],"headings":["_uuid","name","tag","trunks","vlan_mode","interfaces","protected"]}
{"data":[[["uuid","i0"],"ovs0",["map",[]],["set",[]],["set",[]],"internal",["map",[]],["set",[]]],[["uuid","i1"],"ovs1",["map",[]],65534,["set",[]],"internal",["map",[]],3],[["uuid","i2"],"v1",["map",[["gopipework","m"],["pipework.bridge","ovs1"]]],1,["set",[]],"",["map",[]],5],[["uuid","i3"],"bond1",["map",[["x","y"]]],1,["set",[]],"",["map",[]],0],[["uuid","i4"],"bond0",["map",[]],-1,"could not open network device bond0 (No such device)","",["map",[]],["set",[]]],[["uuid","i5"],"ovs2",["map",[]],-1,"could not open network device ovs2 (Invalid argument)","internal",["map",[]],["set",[]]],[["uuid","i6"],"to2",["map",[]],2,["set",[]],"patch",["map",[["peer","to1"]]],0],[["uuid","i7"],"vx0",["map",[]],3,["set",[]],"vxlan",["map",[["key","flow"],["remote_ip","192.0.2.1"]]],0]],"headings":["_uuid","name","external_ids","ofport","error","type","options","ifindex"]}
{"data":[[["uuid","c0"],"tcp:192.0.2.1:6653",true,["map",[["state","ACTIVE"]]]],[["uuid","c1"],"tcp:192.0.2.2:6653",false,["map",[]]],[["uuid","c2"],"tcp:192.0.2.3:6653",false,["map",[["last_error","Connection refused"],["state","BACKOFF"]]]]],"headings":["_uuid","target","is_connected","status"]}
{"data":[[["map",[["userspace-tso-enable","true"]]]]],"headings":["other_config"]}
{"data":[[["uuid","m0"],"gopipework-v1-to2",["map",[["gopipework","mirror"]]],["uuid","p5"],["set",[]],["uuid","p2"]],[["uuid","m1"],"span",["map",[]],["set",[]],["set",[]],["uuid","p2"]]],"headings":["_uuid","name","external_ids","select_src_port","select_dst_port","output_port"]}
`

func TestParseOVS(t *testing.T) {
	o, err := parseOVS(strings.NewReader(ovsAnswer))
	v1 := OVSPort{Bridge: "ovs1", Name: "v1", VLAN: VLAN{10, []TagRange{{20, 22}, {4000, 4000}}}, Mode: "native-untagged",
		Mark: "m", IDs: map[string]string{"pipework.bridge": "ovs1"}, Number: 1, Index: 5, Protected: true}
	seven := VLAN{0, []TagRange{{7, 7}}}
	want := OVS{Segments: true, Bridges: []OVSBridge{
		{Name: "ovs0"},
		{Name: "ovs1", Datapath: "netdev", Ours: true, Made: true, Secure: true,
			Controllers: []OVSController{{Target: "tcp:192.0.2.1:6653", Connected: true}},
			Ports:       []OVSPort{{Bridge: "ovs1", Name: "to2", Number: 2, Type: "patch", Peer: "to1"}, v1},
			Mirrors:     []OVSMirror{{Bridge: "ovs1", Name: "gopipework-v1-to2", From: "to2", To: "v1", Out: true}}},
		{Name: "ovs2", Error: "could not open network device ovs2 (Invalid argument)",
			Controllers: []OVSController{{Target: "tcp:192.0.2.2:6653"}, {Target: "tcp:192.0.2.3:6653", Error: "Connection refused"}},
			Ports: []OVSPort{
				{Bridge: "ovs2", Name: "bond0", VLAN: seven, Number: -1, Error: "could not open network device bond0 (No such device)", Bond: "bond"},
				{Bridge: "ovs2", Name: "bond1", VLAN: seven, Number: 1, IDs: map[string]string{"x": "y"}, Bond: "bond"},
				{Bridge: "ovs2", Name: "vx0", Number: 3, Type: "vxlan", Remote: "192.0.2.1"},
			}},
	}}
	if diff := cmp.Diff(want, o); diff != "" || err != nil {
		t.Fatalf("error %v (-want +got):\n%s", err, diff)
	}
	for name, gone := range map[string]bool{"to2": false, "v1": false, "bond0": true, "bond1": true, "vx0": false} {
		if p, ok := o.Port(name); !ok || p.LinkGone() != gone {
			t.Errorf("the link of %s is gone: %v, want %v", name, !gone, gone)
		}
	}
	if p, ok := o.Port("bond1"); !ok || p.Bridge != "ovs2" {
		t.Errorf("bond1: %+v, %v", p, ok)
	}
	if p, ok := o.Port("ovs1"); ok {
		t.Errorf("a bridge's own port is %+v", p)
	}
	if b, ok := o.Bridge("ovs1"); !ok || !b.Userspace() {
		t.Errorf("ovs1: %+v, %v", b, ok)
	}
	if _, ok := o.Bridge("v1"); ok {
		t.Error("v1 is a bridge")
	}
	if diff := cmp.Diff([]OVSPort{v1}, o.OurPorts()); diff != "" {
		t.Errorf("ours (-want +got):\n%s", diff)
	}
}

func TestOVSPortCarries(t *testing.T) {
	for _, tt := range []struct {
		port OVSPort
		word string
		want bool
	}{
		{OVSPort{}, "", true},
		{OVSPort{Mode: "trunk"}, "", true},
		{OVSPort{VLAN: VLAN{PVID: 10}}, "10", true},
		{OVSPort{VLAN: VLAN{PVID: 10}, Mode: "access"}, "10", true},
		{OVSPort{VLAN: VLAN{PVID: 10}, Mode: "native-untagged"}, "10", false}, // and all other VLANs
		{OVSPort{VLAN: VLAN{PVID: 10}}, "11", false},
		{OVSPort{VLAN: VLAN{PVID: 10}}, "10t", false},
		{OVSPort{VLAN: VLAN{10, []TagRange{{20, 30}}}, Mode: "native-untagged"}, "10,20-30", true},
		{OVSPort{VLAN: VLAN{10, []TagRange{{20, 30}}}, Mode: "native-tagged"}, "10,20-30", false},
		{OVSPort{VLAN: VLAN{0, []TagRange{{10, 10}}}}, "10t", true},
		{OVSPort{VLAN: VLAN{0, []TagRange{{10, 10}}}, Mode: "trunk"}, "10t", true},
		{OVSPort{VLAN: VLAN{0, []TagRange{{10, 10}}}, Mode: "trunk"}, "10", false},
	} {
		var v VLAN
		if tt.word != "" {
			var err error
			if v, err = ParseVLAN(tt.word); err != nil {
				t.Fatal(err)
			}
		}
		if got := tt.port.Carries(v); got != tt.want {
			t.Errorf("%+v carries %q: %v", tt.port, tt.word, got)
		}
	}
}

func TestOVSDatapath(t *testing.T) {
	if got := (OVS{Kernel: true}).Datapath(); got != "" {
		t.Errorf("with the kernel's: %q", got)
	}
	if got := (OVS{}).Datapath(); got != "netdev" {
		t.Errorf("without: %q", got)
	}
}

func TestOVSRequire(t *testing.T) {
	if err := (OVS{Running: true}).Require("attach to", "ovs0"); err != nil {
		t.Error(err)
	}
	err := OVS{Missing: "no ovsdb-server answers at /x"}.Require("attach to", "ovs0")
	want := "attach to ovs0: there is no Open vSwitch here: no ovsdb-server answers at /x"
	if err == nil || err.Error() != want || fault.CodeOf(err) != fault.Unsupported {
		t.Errorf("%v, want %s", err, want)
	}
}

// FuzzParseOVS: no answer makes the reader panic.
func FuzzParseOVS(f *testing.F) {
	f.Add(ovsAnswer)
	f.Add(strings.Replace(ovsAnswer, `["map",[]]`, `["map",[[1]]]`, 1))
	f.Add(strings.Replace(ovsAnswer, `["uuid","p0"]`, `null`, 1))
	f.Fuzz(func(t *testing.T, text string) {
		if o, err := parseOVS(strings.NewReader(text)); err == nil {
			_ = o.OurPorts()
		}
	})
}
