package bridge

import (
	"net"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// nested is an answer in the words of Open vSwitch 3.1: tables and a bridge below each
// other, and a frame that connection tracking resumes.
const nested = `Flow: icmp,in_port=v1,dl_vlan=7,dl_vlan_pcp=0,vlan_tci1=0x0000,dl_src=02:00:00:00:00:01,dl_dst=02:00:00:00:00:02

bridge("ovs0")
--------------
 0. in_port=v1,dl_vlan=7, priority 200, cookie 0x77
    resubmit(,7)
 7. icmp, priority 20
    output:v2
    output:v1
     >> skipping output to input port
    resubmit(,8)
     8. icmp, priority 32768
            ct(table=9)
            drop
             -> A clone of the packet is forked to recirculate.
    bridge("ovs1")
    --------------
         0. priority 0
            NORMAL
             -> no learned MAC for destination, flooding
    resubmit(,12)
    12. No match.
            drop
     -> output to native tunnel
    LOCAL

Final flow: unchanged
Megaflow: recirc_id=0,eth,icmp,in_port=v1,nw_frag=no
Datapath actions: v2,pop_vlan,push_vlan(vid=5,pcp=0),v3,set(vlan(vid=9,pcp=0)),v4,clone(pop_vlan,v5),ct,recirc(0x2),tnl_push(tnl_port(vxlan_sys_4789),header(size=50,type=4,eth(dst=01,src=02)),out_port(ovs1)),9,sample(sample=50.0%,actions(userspace(pid=0,sFlow(vid=0))))

===============================================================================
recirc(0x2) - resume conntrack with default ct_state=trk|new (use --ct-next to customize)
===============================================================================

Flow: recirc_id=0x2,ct_state=new|trk,eth,icmp,in_port=v1,vlan_tci=0x0000

bridge("ovs0")
--------------
    thaw
        Resuming from table 9
 9. ct_state=+new+trk,icmp, priority 32768
    drop

Final flow: unchanged
Megaflow: recirc_id=0x2,ct_state=+new+trk,eth,icmp,in_port=v1,nw_frag=no
Datapath actions: check_pkt_len(size=1500,gt(v6),le(push_vlan(vid=3,pcp=0),v6))
`

func TestParseTrace(t *testing.T) {
	got, err := parseTrace(nested)
	if err != nil {
		t.Fatal(err)
	}
	want := OVSTrace{Text: nested,
		Outputs: []OVSOutput{{"v2", 7}, {"v3", 5}, {"v4", 9}, {"v5", 0}, {"vxlan_sys_4789", 0}, {"9", 9}, {"v6", 0}, {"v6", 3}},
		Flows: []OVSFlow{
			{Bridge: "ovs0", Priority: 200, Cookie: 0x77, Match: "in_port=v1,dl_vlan=7", Actions: []string{"resubmit(,7)"}},
			{Bridge: "ovs0", Table: 7, Priority: 20, Match: "icmp", Actions: []string{"output:v2", "output:v1", "resubmit(,8)", "resubmit(,12)", "LOCAL"},
				Notes: []string{"skipping output to input port", "output to native tunnel"}},
			{Bridge: "ovs0", Table: 8, Priority: 32768, Match: "icmp", Actions: []string{"ct(table=9)", "drop"},
				Notes: []string{"A clone of the packet is forked to recirculate."}},
			{Bridge: "ovs1", Actions: []string{"NORMAL"}, Notes: []string{"no learned MAC for destination, flooding"}},
			{Bridge: "ovs0", Table: 12, None: true, Actions: []string{"drop"}},
			{Bridge: "ovs0", Table: 9, Priority: 32768, Match: "ct_state=+new+trk,icmp", Actions: []string{"drop"}},
		}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if got.Drops() {
		t.Error("it is dropped")
	}
	if o, ok := got.Reaches("v4"); !ok || o.Tag != 9 {
		t.Errorf("v4: %+v, %v", o, ok)
	}
	if text := got.Flows[0].String(); text != "cookie=0x77, table=0, priority=200,in_port=v1,dl_vlan=7 actions=resubmit(,7)" {
		t.Error(text)
	}
}

func TestParseTraceEnds(t *testing.T) {
	way := func(lines ...string) string {
		return "Flow: in_port=v1,vlan_tci=0x0000\n\nbridge(\"ovs0\")\n--------------\n" + strings.Join(lines, "\n") + "\n"
	}
	for _, tt := range []struct {
		name, text  string
		drops       bool
		asked, flow string
		reason      string
	}{
		{"no flow", way(" 0. No match.", "    drop", "", "Final flow: unchanged", "Datapath actions: drop"), true, "", "table=0, no flow", ""},
		{"a packet-in", way(" 0. No match, and a \"packet-in\" is called for.", "", "Datapath actions: userspace(pid=0,controller(reason=1,max_len=65535))"),
			false, "the controller", "table=0, no flow", `No match, and a "packet-in" is called for.`},
		{"an older controller", way(" 0. priority 0", "    CONTROLLER:65535", "", "Datapath actions: drop", "This flow is handled by the userspace slow path because it:", "\t- Sends \"packet-in\" messages to the OpenFlow controller."),
			false, "ovs-vswitchd", "table=0, priority=0 actions=CONTROLLER:65535", ""},
		{"counted alone", way(" 0. priority 0", "    drop", "", "Datapath actions: userspace(pid=0,sFlow(vid=0,pcp=0,output=0))"), true, "", "table=0, priority=0 actions=drop", ""},
		{"a warning", way(" 0. priority 0", "    NORMAL", "     >>>> dropping VLAN 6 tagged packet received on port v3 <<<<", "     >> disallowed VLAN VID for this input port, dropping", "", "Datapath actions: drop"),
			true, "", "table=0, priority=0 actions=NORMAL", "dropping VLAN 6 tagged packet received on port v3"},
		{"a loop", way(" 0. priority 0", "    resubmit(,0)", "     >> over max translation depth 64", "Translation failed (Recursion too deep), packet is dropped.", "", "Final flow: unchanged", "Datapath actions: drop"),
			true, "", "table=0, priority=0 actions=resubmit(,0)", "Translation failed (Recursion too deep), packet is dropped."},
	} {
		got, err := parseTrace(tt.text)
		if err != nil || got.Drops() != tt.drops || got.Asked != tt.asked || got.Last().String() != tt.flow || got.Last().Reason() != tt.reason {
			t.Errorf("%s: %v: drops %v, asked %q, %s because of %q", tt.name, err, got.Drops(), got.Asked, got.Last(), got.Last().Reason())
		}
	}
	if _, err := parseTrace("Flow: in_port=v1\n"); err == nil {
		t.Error("half an answer is one")
	}
}

// TestOVSTraceCommand: a person is told to ask the question that was asked.
func TestOVSTraceCommand(t *testing.T) {
	p := OVSPort{Bridge: "ovs0", Name: "v1", Number: 4, VLAN: VLAN{0, []TagRange{{10, 20}}}}
	want := "ovs-appctl ofproto/trace ovs0 in_port=4,dl_src=02:00:00:00:00:01,dl_dst=ff:ff:ff:ff:ff:ff,dl_type=0x0806,dl_vlan=10"
	if got := p.TraceCommand(p.Broadcast(net.HardwareAddr{2, 0, 0, 0, 0, 1})); got != want {
		t.Errorf("\n got %s\nwant %s", got, want)
	}
}

func TestListened(t *testing.T) {
	const sockets = "sk               RefCnt Type Proto  Iface R Rmem   User   Inode\n" +
		"0000000069ea7a1c 3      3    0003   11    1 0      0      89886 \n00000000d02fd4b7 2      3    0003   -1    0 0      0      91443 \n"
	for index, want := range map[int]bool{11: true, 1: false, 3: false, 89886: false} {
		if got := listened(sockets, index); got != want {
			t.Errorf("link %d: %v", index, got)
		}
	}
}

// FuzzParseTrace: no answer makes the reader panic.
func FuzzParseTrace(f *testing.F) {
	f.Add(nested)
	f.Add("bridge(\"x\")\n 1. priority 1\n123. No match\nDatapath actions: clone(pop_vlan,pop_vlan,set(vlan())),)(,")
	f.Fuzz(func(t *testing.T, text string) {
		if got, err := parseTrace(text); err == nil {
			_, _ = got.Last().Reason(), got.Last().String()
		}
	})
}
