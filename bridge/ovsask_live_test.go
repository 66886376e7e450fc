//go:build linux

package bridge

import (
	"context"
	"net/netip"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gopipework/gopipework/e2e/host"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/hosttool"
	"github.com/gopipework/gopipework/internal/rtnl"
)

func (h *ovsHost) ofctl(args ...string) string {
	h.Helper()
	text, err := h.Must("ovs-ofctl", args...)
	h.check(err)
	return text
}

// trace follows a frame from the port of guest 1.
func (h *ovsHost) trace(f OVSFrame) OVSTrace {
	h.Helper()
	p, ok := h.observe().Port("v1")
	if !ok {
		h.Fatal("v1 is no port")
	}
	t, err := p.Trace(context.Background(), f)
	h.check(err)
	return t
}

// frame is one from guest 1 to guest 2.
func frame(what OVSPacket) OVSFrame {
	return OVSFrame{Packet: what, Src: macOf(1), Dst: macOf(2),
		From: netip.MustParseAddr("10.9.0.1"), To: netip.MustParseAddr("10.9.0.2")}
}

func frame6(what OVSPacket) OVSFrame {
	f := frame(what)
	f.From, f.To = netip.MustParseAddr("fd00::1"), netip.MustParseAddr("fd00::2")
	return f
}

// TestOVSTraceLive: what is said about a frame is what becomes of frames, the guest's and
// those that are not sent.
func TestOVSTraceLive(t *testing.T) {
	h := newOVSHost(t)
	b := h.bridge("ovs0")
	h.guest(1, "")
	h.guest(2, "")
	for _, tt := range []struct {
		name  string
		setup string // commands; afterwards all is reset
		frame OVSFrame
		want  bool   // it reaches guest 2
		flow  string // that it meets last
		why   string // in its Reason
		asked string
		ping  bool // so do the guest's own
		track bool // the guest's own may belong to a connection
	}{
		{name: "healthy", frame: frame(EchoRequest), want: true, ping: true, flow: "table=0, priority=0 actions=NORMAL"},
		{name: "secure", setup: "ovs-vsctl set-fail-mode ovs0 secure; ovs-ofctl del-flows ovs0",
			frame: frame(EchoRequest), flow: "table=0, no flow"},
		{name: "a flow drops", setup: "ovs-ofctl add-flow ovs0 cookie=0x2a,priority=9,icmp,nw_dst=10.9.0.2,icmp_type=8,actions=drop",
			frame: frame(EchoRequest), flow: "cookie=0x2a, table=0, priority=9,icmp,nw_dst=10.9.0.2,icmp_type=8 actions=drop"},
		{name: "a flow of another table", setup: "ovs-ofctl add-flow ovs0 in_port=v1,actions=resubmit'(,7)'; ovs-ofctl add-flow ovs0 table=7,actions=NORMAL; ovs-ofctl add-flow ovs0 table=7,priority=40000,icmp,icmp_type=8,actions=drop",
			frame: frame(EchoRequest), flow: "table=7, priority=40000,icmp,icmp_type=8 actions=drop"},
		{name: "ARP alone", setup: "ovs-ofctl add-flow ovs0 arp,arp_tpa=10.9.0.2,arp_op=1,actions=drop; ip -n g2 neigh flush dev eth1; ip -n g1 neigh flush dev eth1",
			frame: frame(AskNeighbour), flow: "table=0, priority=32768,arp,arp_tpa=10.9.0.2,arp_op=1 actions=drop"},
		{name: "a neighbour solicitation", setup: "ovs-ofctl add-flow ovs0 icmp6,icmp_type=135,nd_target=fd00::2,ipv6_dst=ff02::1:ff00:2,nw_ttl=255,dl_dst=33:33:ff:00:00:02,actions=drop",
			frame: func() OVSFrame { f := frame6(AskNeighbour); f.Dst = nil; return f }(), flow: "table=0, priority=32768,icmp6,dl_dst=33:33:ff:00:00:02,ipv6_dst=ff02::1:ff00:2,nw_ttl=255,icmp_type=135,nd_target=fd00::2 actions=drop", ping: true},
		{name: "ICMPv6", setup: "ovs-ofctl add-flow ovs0 icmp6,icmp_type=128,actions=drop",
			frame: frame6(EchoRequest), flow: "table=0, priority=32768,icmp6,icmp_type=128 actions=drop", ping: true},
		{name: "the time to live", setup: "ovs-ofctl add-flow ovs0 ip,actions=dec_ttl,NORMAL",
			frame: frame(EchoRequest), want: true, flow: "table=0, priority=32768,ip actions=dec_ttl,NORMAL", ping: true},
		{name: "connection tracking", setup: "ovs-ofctl add-flow ovs0 ip,actions=ct'(table=3)'; ovs-ofctl add-flow ovs0 table=3,ip,ct_state=+trk+new,actions=drop",
			frame: frame(EchoRequest), flow: "table=3, priority=32768,ct_state=+new+trk,ip actions=drop", track: true},
		{name: "another VLAN", setup: "ovs-vsctl set port v2 tag=20", frame: frame(AskNeighbour), flow: "table=0, priority=0 actions=NORMAL", why: "flooding"},
		{name: "a tag on an access port", setup: "ovs-vsctl set port v1 tag=5", frame: func() OVSFrame { f := frame(AskNeighbour); f.Tag = 6; return f }(),
			flow: "table=0, priority=0 actions=NORMAL", why: "dropping VLAN 6 tagged packet received on port v1 configured as VLAN 5 access port"},
		{name: "protected", setup: "ovs-vsctl set port v1 protected=true -- set port v2 protected=true",
			frame: frame(AskNeighbour), flow: "table=0, priority=0 actions=NORMAL", why: "between protected ports"},
		{name: "the port takes nothing", setup: "ovs-ofctl mod-port ovs0 v1 no-receive", frame: frame(EchoRequest), flow: "table=0, priority=0 actions="},
		{name: "a controller that is not there", setup: "ovs-ofctl add-flow ovs0 in_port=v1,actions=CONTROLLER",
			frame: frame(EchoRequest), flow: "table=0, priority=32768,in_port=v1 actions=CONTROLLER:65535", asked: "the controller"},
		{name: "no such port", setup: "ovs-ofctl add-flow ovs0 in_port=v1,actions=output:55",
			frame: frame(EchoRequest), flow: "table=0, priority=32768,in_port=v1 actions=output:55", why: "Nonexistent output port"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := &ovsHost{TB: t, OVS: h.OVS}
			h.check(h.Run("sh", "-ec", tt.setup).Err())
			got := h.trace(tt.frame)
			out, reaches := got.Reaches("v2")
			if reaches != tt.want || out.Tag != 0 {
				t.Errorf("it reaches guest 2: %v (%+v), want %v", reaches, out, tt.want)
			}
			if flow := got.Last(); flow.String() != tt.flow || flow.Bridge != "ovs0" || tt.why == "" && flow.Reason() != "" && !flow.Normal() || !strings.Contains(flow.Reason(), tt.why) {
				t.Errorf("the last flow is %s because of %q, want %s because of %q; all: %+v", flow, flow.Reason(), tt.flow, tt.why, flow)
			}
			if got.Asked != tt.asked || got.Drops() && (tt.want || tt.asked != "") {
				t.Errorf("dropped: %v, asked: %q, want %q", got.Drops(), got.Asked, tt.asked)
			}
			if !tt.track && h.reaches(1, 2, tt.ping) != tt.ping {
				t.Errorf("ping: %v", !tt.ping)
			}
			if t.Failed() {
				t.Log(got.Text)
			}
			h.reset(b)
		})
	}
}

// reset has ovs0 be a plain switch again, that has learned nothing, with ports as they
// were made.
func (h *ovsHost) reset(b OVSBridge) {
	h.Helper()
	h.vsctl("del-fail-mode", b.Name)
	for _, p := range []string{"v1", "v2"} {
		h.vsctl("clear", "port", p, "tag", "trunks", "vlan_mode", "--", "set", "port", p, "protected=false")
		h.ofctl("mod-port", b.Name, p, "receive")
	}
	h.ofctl("del-flows", b.Name)
	h.ofctl("add-flow", b.Name, "priority=0,actions=NORMAL")
	_, err := h.Must("ovs-appctl", "fdb/flush", b.Name)
	h.check(err)
}

// TestOVSTraceTagsLive: a frame leaves by a port with the tag that it has there, and
// through a patch port by those of another bridge.
func TestOVSTraceTagsLive(t *testing.T) {
	h := newOVSHost(t)
	h.bridge("ovs0")
	h.guest(1, "10")
	h.guest(2, "10")
	h.guest(3, "")
	h.guest(4, "20")
	h.bridge("ovs1")
	h.vsctl("add-port", "ovs0", "to1", "--", "set", "Interface", "to1", "type=patch", "options:peer=to0",
		"--", "add-port", "ovs1", "to0", "--", "set", "Interface", "to0", "type=patch", "options:peer=to1")
	h.veth("far")
	h.vsctl("add-port", "ovs1", "far")
	got := h.trace(OVSFrame{Src: macOf(1), Dst: macOf(9)}).Outputs
	slices.SortFunc(got, func(a, b OVSOutput) int { return strings.Compare(a.Port, b.Port) })
	want := []OVSOutput{{"far", 10}, {"ovs0", 10}, {"ovs1", 10}, {"v2", 0}, {"v3", 10}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if p, _ := h.observe().Port("to1"); p.Type != "patch" || p.Peer != "to0" || p.LinkGone() {
		t.Errorf("the patch port: %+v", p)
	}
}

// TestOVSDeafLive: a link that is made anew under the name of a port is that port. The
// kernel's datapath takes it; that of ovs-vswitchd does not hear it.
func TestOVSDeafLive(t *testing.T) {
	h := newOVSHost(t)
	b := h.bridge("ovs0")
	h.guest(1, "")
	h.guest(2, "")
	ns, err := os.Open(h.Namespace())
	h.check(err)
	defer ns.Close()
	conn, err := rtnl.Open(ns)
	h.check(err)
	defer conn.Close()
	deaf := func() (deaf bool) {
		p, _ := h.observe().Port("v2")
		h.check(conn.Run(func() (err error) { deaf, err = b.Deaf(p); return err }))
		return deaf
	}
	if !h.reaches(1, 2, true) || deaf() {
		t.Fatalf("healthy: deaf is %v", deaf())
	}
	h.check(h.Batch("link delete v2"))
	h.wire(2)
	if b.Userspace() {
		if !host.Poll(30*time.Second, deaf) || h.reaches(1, 2, false) {
			t.Errorf("a new link: deaf is %v, or it is heard", deaf())
		}
		h.vsctl("del-port", "v2")
		h.vsctl("add-port", "ovs0", "v2")
	}
	if !h.reaches(1, 2, true) || deaf() {
		t.Errorf("in the end: deaf is %v, or guest 2 does not answer", deaf())
	}
}

// TestOVSControllersLive: whether a controller is there.
func TestOVSControllersLive(t *testing.T) {
	h := newOVSHost(t)
	h.bridge("ovs0")
	h.vsctl("set-fail-mode", "ovs0", "secure")
	h.vsctl("set-controller", "ovs0", "tcp:127.0.0.1:1")
	b, _ := h.observe().Bridge("ovs0")
	want := []OVSController{{Target: "tcp:127.0.0.1:1"}}
	b.Controllers[0].Error = ""
	if diff := cmp.Diff(want, b.Controllers); diff != "" || !b.Secure {
		t.Errorf("secure: %v (-want +got):\n%s", b.Secure, diff)
	}
}

// TestOVSPingLive: an ovs-vswitchd that is stopped or killed is told from one that answers.
func TestOVSPingLive(t *testing.T) {
	h, ctx := newOVSHost(t), context.Background()
	h.bridge("ovs0")
	h.check(PingOVS(ctx))
	was := hosttool.Timeout
	hosttool.Timeout = 2 * time.Second
	t.Cleanup(func() { hosttool.Timeout = was })
	h.check(h.SignalSwitch(syscall.SIGSTOP))
	start := time.Now()
	h.wantFault(PingOVS(ctx), fault.Timeout, "did not answer")
	_, err := OVSPort{Bridge: "ovs0", Name: "v1", Number: 1}.Trace(ctx, frame(EchoRequest))
	h.wantFault(err, fault.Timeout, "did not answer")
	if d := time.Since(start); d > time.Minute {
		t.Errorf("two questions took %v", d)
	}
	h.check(h.SignalSwitch(syscall.SIGCONT))
	h.check(h.SignalSwitch(syscall.SIGKILL))
	h.wantFault(PingOVS(ctx), fault.Failed, "ovs-vswitchd.pid")
}
