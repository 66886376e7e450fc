//go:build linux

package bridge

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gopipework/gopipework/e2e/host"
	"github.com/gopipework/gopipework/e2e/program"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/hosttool"
)

// ovsHost is a host with a real Open vSwitch. Package bridge speaks to it from
// outside, through its database's socket; the links are the host's.
type ovsHost struct {
	testing.TB
	*host.OVS
}

func newOVSHost(t *testing.T) *ovsHost {
	t.Helper()
	needOVS(t)
	h := host.New(t)
	o, err := h.StartOVS()
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("OVS_RUNDIR", o.RunDir)
	return &ovsHost{TB: t, OVS: o}
}

func needOVS(t *testing.T) {
	t.Helper()
	host.NeedRoot(t)
	for _, name := range []string{"ovs-vsctl", "ovsdb-tool", "ovsdb-server", "ovs-vswitchd"} {
		if _, err := program.Look(name); err != nil {
			host.Lacking(t, "ovs", err.Error())
		}
	}
}

func (h *ovsHost) check(err error) {
	h.Helper()
	if err != nil {
		h.Fatal(err)
	}
}

func (h *ovsHost) observe() OVS {
	h.Helper()
	o, err := ObserveOVS(context.Background())
	h.check(err)
	return o
}

// vsctl changes Open vSwitch as somebody else would.
func (h *ovsHost) vsctl(args ...string) {
	h.Helper()
	_, err := h.Vsctl(args...)
	h.check(err)
}

// veth makes links that can be ports, each with a far end of no interest.
func (h *ovsHost) veth(names ...string) {
	h.Helper()
	for _, name := range names {
		h.check(h.Batch("link add " + name + " type veth peer name far" + name))
	}
}

// bridge adds a bridge of ours with the datapath that this kernel gets.
func (h *ovsHost) bridge(name string) OVSBridge {
	h.Helper()
	b := OVSBridge{Name: name, Datapath: h.observe().Datapath()}
	h.check(b.Add(context.Background()))
	return b
}

// guest adds a guest gN with the address 10.9.0.N behind the port vN of ovs0, in the VLAN
// that word says.
func (h *ovsHost) guest(n int, word string) {
	h.Helper()
	_, err := h.Named(fmt.Sprint("g", n))
	h.check(err)
	p := OVSPort{Bridge: "ovs0", Name: fmt.Sprint("v", n), Mark: "m"}
	if word != "" {
		p.VLAN, err = ParseVLAN(word)
		h.check(err)
	}
	h.wire(n)
	h.check(p.Add(context.Background()))
}

// wire makes the link vN, and the interface of guest gN at its other end.
func (h *ovsHost) wire(n int) {
	h.Helper()
	guest := fmt.Sprint("g", n)
	h.check(h.Batch(fmt.Sprintf("link add v%d type veth peer name eth1 address %s netns %s", n, macOf(n), guest), fmt.Sprintf("link set v%d up", n)))
	h.check(h.Run("ip", "-n", guest, "address", "add", fmt.Sprintf("10.9.0.%d/24", n), "dev", "eth1").Err())
	h.check(h.Run("ip", "-n", guest, "link", "set", "eth1", "up").Err())
}

func macOf(n int) net.HardwareAddr { return net.HardwareAddr{2, 0, 0, 0, 0, byte(n)} }

// reaches reports whether a guest gets an answer from another one. What is wanted is
// waited for: ovs-vswitchd may still be setting up, and a datapath goes on for a moment
// with flows that are no more.
func (h *ovsHost) reaches(from, to int, want bool) bool {
	ping := func() bool {
		return h.Run("ip", "netns", "exec", fmt.Sprint("g", from), "ping", "-n", "-c", "3", "-i", "0.2", "-W", "1", fmt.Sprint("10.9.0.", to)).Code == 0
	}
	return host.Poll(30*time.Second, func() bool { return ping() == want }) == want
}

// wantFault holds an error against its code and a part of its text.
func (h *ovsHost) wantFault(err error, code fault.Code, text string) {
	h.Helper()
	if err == nil || fault.CodeOf(err) != code || !strings.Contains(err.Error(), text) {
		h.Errorf("error %v (%s), want %s with %q", err, fault.CodeOf(err), code, text)
	}
}

func TestOVSBridgeLive(t *testing.T) {
	h, ctx := newOVSHost(t), context.Background()
	links, err := h.Must("ip", "-brief", "link")
	h.check(err)
	before := h.observe()
	if !before.Running || len(before.Bridges) > 0 {
		t.Fatalf("a new Open vSwitch: %+v", before)
	}
	b := h.bridge("ovs0")
	want := []OVSBridge{{Name: "ovs0", Datapath: b.Datapath, Ours: true, Made: true}}
	if diff := cmp.Diff(want, h.observe().Bridges); diff != "" {
		t.Errorf("made (-want +got):\n%s", diff)
	}
	h.check(h.Run("ip", "link", "show", "dev", "ovs0").Err())

	h.wantFault(b.Add(ctx), fault.Conflict, "there is an Open vSwitch bridge of that name already")
	h.vsctl("add-br", "other", "--", "set", "Bridge", "other", "datapath_type=netdev")
	h.wantFault(OVSBridge{Name: "other"}.Delete(ctx), fault.Conflict, "it is not ours")
	h.vsctl("del-br", "other")
	h.veth("v1")
	h.vsctl("add-port", "ovs0", "v1")
	h.wantFault(b.Delete(ctx), fault.Conflict, "it has the port v1")
	h.wantFault(OVSBridge{Name: "v1", Datapath: "netdev"}.Add(ctx), fault.Conflict, "it is a port of the Open vSwitch bridge ovs0 already")
	h.vsctl("del-port", "ovs0", "v1")
	h.check(h.Batch("link delete v1"))

	h.check(b.Delete(ctx))
	h.check(b.Delete(ctx))
	if diff := cmp.Diff(before, h.observe()); diff != "" {
		t.Errorf("after all (-before +after):\n%s", diff)
	}
	var linksNow string
	host.Poll(30*time.Second, func() bool { // the kernel announces a carrier a moment later
		linksNow, err = h.Must("ip", "-brief", "link")
		return err != nil || linksNow == links
	})
	h.check(err)
	if diff := cmp.Diff(links, linksNow); diff != "" {
		t.Errorf("links (-before +after):\n%s", diff)
	}
}

// TestOVSBridgeRefusedLive: what ovs-vswitchd cannot make is not there
// afterwards, and neither is the name's owner touched.
func TestOVSBridgeRefusedLive(t *testing.T) {
	h, ctx := newOVSHost(t), context.Background()
	h.veth("v1")
	h.wantFault(OVSBridge{Name: "v1", Datapath: "netdev"}.Add(ctx), fault.Failed, "could not open network device v1")
	h.wantFault(OVSBridge{Name: "ovs0", Datapath: "nonsense"}.Add(ctx), fault.Failed, "its log says why")
	h.wantFault(OVSBridge{Name: "-x"}.Add(ctx), fault.Unsupported, `cannot name interface "-x"`)
	if got := h.observe().Bridges; len(got) > 0 {
		t.Errorf("left: %+v", got)
	}
	h.check(h.Run("ip", "link", "show", "dev", "v1").Err())
}

// TestOVSKernelDatapathLive has two outcomes, and which one it is the kernel says.
func TestOVSKernelDatapathLive(t *testing.T) {
	h, ctx := newOVSHost(t), context.Background()
	kernel, err := HasKernelDatapath()
	h.check(err)
	if !kernel && host.Required("openvswitch") {
		t.Fatal("openvswitch is required by GOPIPEWORK_REQUIRE: this kernel has no such module")
	}
	if got := h.observe().Kernel; got != kernel {
		t.Errorf("observed %v, the kernel says %v", got, kernel)
	}
	b := OVSBridge{Name: "ovs0", Datapath: KernelDatapath}
	err = b.Add(ctx)
	if kernel {
		h.check(err)
		h.check(b.Delete(ctx))
	} else {
		h.wantFault(err, fault.Unsupported, "this kernel has no Open vSwitch datapath (module openvswitch, option OPENVSWITCH)")
		if f := (*fault.Error)(nil); !errors.As(err, &f) || !strings.Contains(f.Hint, "datapath_type=netdev") {
			t.Errorf("hint of %v", err)
		}
	}
	if got := h.observe().Bridges; len(got) > 0 {
		t.Errorf("left: %+v", got)
	}
}

func TestOVSPortLive(t *testing.T) {
	h, ctx := newOVSHost(t), context.Background()
	h.bridge("ovs0")
	ids := map[string]string{"pipework.interface": "eth1", "pipework.nspid": "77", "pipework.vlan": "", "x y": "a=b,c:[d]{e}",
		"pipework.containername": `it's "a\b" <é> $(id); true 00000000-0000-0000-0000-000000000000`}
	var want []OVSPort
	for i, word := range []string{"", "10", "10,20-30,7", "10t", "10t,4094"} {
		p := OVSPort{Bridge: "ovs0", Name: "v" + string(rune('a'+i)), Mark: `docker:0123456789ab eth1 "web" 1`, IDs: ids}
		if word != "" {
			var err error
			p.VLAN, err = ParseVLAN(word)
			h.check(err)
		}
		h.veth(p.Name)
		h.check(p.Add(ctx))
		got, ok := h.observe().Port(p.Name)
		if !ok || got.Number < 1 || !got.Carries(p.VLAN) {
			t.Errorf("@%s: %+v", word, got)
		}
		if got.Index == 0 {
			t.Errorf("@%s: no link", word)
		}
		got.Number, got.Mode, got.Index = 0, "", 0
		if diff := cmp.Diff(p, got); diff != "" {
			t.Errorf("@%s (-written +read):\n%s", word, diff)
		}
		want = append(want, p)
		h.wantFault(p.Add(ctx), fault.Conflict, "it is a port of the Open vSwitch bridge ovs0 already")
	}
	if ours := h.observe().OurPorts(); len(ours) != len(want) {
		t.Errorf("ours: %+v", ours)
	}
	for _, p := range want {
		h.check(p.Delete(ctx))
		h.check(p.Delete(ctx))
		h.check(h.Run("ip", "link", "show", "dev", p.Name).Err())
	}
	if b, _ := h.observe().Bridge("ovs0"); len(b.Ports) > 0 {
		t.Errorf("left: %+v", b.Ports)
	}
}

// TestOVSPortUTF8Live: a mark that was cut in the middle of a letter is still
// known again.
func TestOVSPortUTF8Live(t *testing.T) {
	h, ctx := newOVSHost(t), context.Background()
	h.bridge("ovs0")
	h.veth("v1")
	p := OVSPort{Bridge: "ovs0", Name: "v1", Mark: "docker:1 eth1 n\xc3"}
	h.check(p.Add(ctx))
	h.check(p.Delete(ctx))
	if _, found := h.observe().Port("v1"); found {
		t.Error("v1 is still a port")
	}
}

// TestOVSPortCommandsLive: what is printed does what is done.
func TestOVSPortCommandsLive(t *testing.T) {
	h, ctx := newOVSHost(t), context.Background()
	h.veth("v1")
	b := OVSBridge{Name: "ovs0", Datapath: "netdev"}
	p := OVSPort{Bridge: "ovs0", Name: "v1", VLAN: VLAN{10, []TagRange{{20, 30}}}, Mark: `a 'b' "c"`, IDs: map[string]string{"x": "y z"}}
	h.check(b.Add(ctx))
	h.check(p.Add(ctx))
	done := h.observe()
	h.check(h.Run("sh", "-ec", p.DeleteCommand()+"\n"+b.DeleteCommand()).Err())
	if got := h.observe().Bridges; len(got) > 0 {
		t.Errorf("after the commands: %+v", got)
	}
	h.check(h.Run("sh", "-ec", b.AddCommand()+"\n"+p.AddCommand()).Err())
	if diff := cmp.Diff(done, h.observe()); diff != "" {
		t.Errorf("-done +typed:\n%s", diff)
	}
}

func TestOVSForeignPortLive(t *testing.T) {
	h, ctx := newOVSHost(t), context.Background()
	h.bridge("ovs0")
	h.veth("foreign", "ours")
	h.vsctl("add-port", "ovs0", "foreign", "tag=5")
	foreign := OVSPort{Bridge: "ovs0", Name: "foreign", Mark: "m"}
	before := h.observe()
	h.wantFault(foreign.Add(ctx), fault.Conflict, "it is a port of the Open vSwitch bridge ovs0 already")
	h.wantFault(foreign.Delete(ctx), fault.Conflict, "it is not ours")
	ours := OVSPort{Bridge: "ovs0", Name: "ours", Mark: "m"}
	h.check(ours.Add(ctx))
	other := ours
	other.Mark = "n"
	h.wantFault(other.Delete(ctx), fault.Conflict, `it is marked as "m"`)
	elsewhere := ours
	elsewhere.Bridge = "ovs1"
	h.check(elsewhere.Delete(ctx)) // on that bridge it is not
	h.check(ours.Delete(ctx))
	if diff := cmp.Diff(before, h.observe()); diff != "" {
		t.Errorf("-before +after:\n%s", diff)
	}
}

func TestOVSPortRefusedLive(t *testing.T) {
	h, ctx := newOVSHost(t), context.Background()
	h.bridge("ovs0")
	port := func(bridge, name string) error { return OVSPort{Bridge: bridge, Name: name, Mark: "m"}.Add(ctx) }
	h.wantFault(port("ovs0", "nolink"), fault.Failed, "could not open network device nolink (No such device)")
	h.wantFault(port("nobridge", "nolink"), fault.Failed, "no bridge named nobridge")
	h.wantFault(port("ovs0", "--"), fault.Unsupported, `cannot name interface "--"`)
	h.wantFault(OVSPort{Bridge: "ovs0", Name: "v1"}.Add(ctx), fault.Failed, "without a mark")
	if b, _ := h.observe().Bridge("ovs0"); len(b.Ports) > 0 {
		t.Errorf("left: %+v", b.Ports)
	}
}

func TestOVSDeadPortLive(t *testing.T) {
	h, ctx := newOVSHost(t), context.Background()
	h.bridge("ovs0")
	h.veth("v1", "v2", "foreign")
	for _, name := range []string{"v1", "v2"} {
		h.check(OVSPort{Bridge: "ovs0", Name: name, Mark: "m"}.Add(ctx))
	}
	h.vsctl("add-port", "ovs0", "foreign")
	h.check(h.Batch("link delete v1", "link delete foreign"))
	var dead OVSPort
	var found bool
	host.Poll(30*time.Second, func() bool { // ovs-vswitchd notices a moment later
		dead, found = h.observe().Port("v1")
		return dead.LinkGone()
	})
	if !found || dead.Mark == "" || !dead.LinkGone() {
		t.Fatalf("what Open vSwitch keeps of a port whose link has gone: %+v", dead)
	}
	if p, _ := h.observe().Port("v2"); p.LinkGone() {
		t.Errorf("the link of v2 is there: %+v", p)
	}
	h.check(dead.Delete(ctx))
	o := h.observe()
	if _, found := o.Port("v1"); found {
		t.Error("v1 is still a port")
	}
	for _, name := range []string{"v2", "foreign"} {
		if _, found := o.Port(name); !found {
			t.Errorf("%s is no port any more", name)
		}
	}
}

// TestOVSVLANLive: tags keep frames apart, and a trunk carries them.
func TestOVSVLANLive(t *testing.T) {
	h := newOVSHost(t)
	h.bridge("ovs0")
	for i, word := range []string{"10", "10", "20", "10,20"} {
		h.guest(i+1, word)
	}
	for _, tt := range []struct {
		from, to int
		want     bool
	}{
		{1, 2, true},
		{1, 4, true}, // the trunk's pvid
		{1, 3, false},
		{3, 4, false}, // 20 goes there with its tag
	} {
		if got := h.reaches(tt.from, tt.to, tt.want); got != tt.want {
			t.Errorf("guest %d reaches guest %d: %v", tt.from, tt.to, got)
		}
	}
}

func TestOVSNotRunningLive(t *testing.T) {
	h := newOVSHost(t)
	port := OVSPort{Bridge: "ovs0", Name: "v1", Mark: "m"}
	absent := func(why string) {
		t.Helper()
		o := h.observe()
		if o.Running || !strings.Contains(o.Missing, why) {
			t.Errorf("observed %+v, want it missing: %s", o, why)
		}
		for _, err := range []error{port.Add(context.Background()), port.Delete(context.Background()),
			OVSBridge{Name: "ovs0"}.Add(context.Background()), OVSBridge{Name: "ovs0"}.Delete(context.Background())} {
			h.wantFault(err, fault.Unsupported, why)
			if f := (*fault.Error)(nil); !errors.As(err, &f) || !strings.Contains(f.Hint, "openvswitch-switch") {
				t.Errorf("hint of %v", err)
			}
		}
	}
	h.check(h.SignalDatabase(syscall.SIGKILL)) // its socket stays
	if _, err := os.Stat(filepath.Join(h.RunDir, "db.sock")); err != nil {
		t.Fatal(err)
	}
	absent("no ovsdb-server answers at " + filepath.Join(h.RunDir, "db.sock"))
	// Where there is no socket at all, no process is started either.
	trace := filepath.Join(h.Dir, "trace")
	t.Setenv("PATH", h.Dir)
	h.check(os.WriteFile(filepath.Join(h.Dir, "ovs-vsctl"), []byte("#!/bin/sh\n: > "+trace+"\n"), 0o755))
	t.Setenv("OVS_RUNDIR", filepath.Join(h.Dir, "nowhere"))
	absent("no ovsdb-server answers at " + filepath.Join(h.Dir, "nowhere", "db.sock"))
	if _, err := os.Stat(trace); err == nil {
		t.Error("ovs-vsctl was started")
	}
}

// TestOVSSilentLive: daemons that do not answer hold nobody up for ever, and what
// was written for them is undone.
func TestOVSSilentLive(t *testing.T) {
	h := newOVSHost(t)
	b := h.bridge("ovs0")
	h.veth("v1", "v2")
	there := OVSPort{Bridge: "ovs0", Name: "v2", Mark: "m"}
	h.check(there.Add(context.Background()))
	soon := func() context.Context {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		t.Cleanup(cancel)
		return ctx
	}

	was := hosttool.Timeout
	hosttool.Timeout = 5 * time.Second
	t.Cleanup(func() { hosttool.Timeout = was })
	h.check(h.SignalSwitch(syscall.SIGSTOP))
	h.wantFault(OVSPort{Bridge: "ovs0", Name: "v1", Mark: "m"}.Add(soon()), fault.Timeout, "did not answer")
	h.wantFault(OVSBridge{Name: "ovs1", Datapath: b.Datapath}.Add(soon()), fault.Timeout, "did not answer")
	h.check(there.Delete(context.Background())) // the database forgets, and that is enough
	o := h.observe()
	if b, _ := o.Bridge("ovs0"); len(o.Bridges) != 1 || len(b.Ports) > 0 {
		t.Errorf("left: %+v", o.Bridges)
	}
	canceled, cancel := context.WithCancel(context.Background())
	cancel()
	h.wantFault(OVSPort{Bridge: "ovs0", Name: "v1", Mark: "m"}.Add(canceled), fault.Interrupted, "canceled")
	h.check(h.SignalSwitch(syscall.SIGCONT))

	h.check(h.SignalDatabase(syscall.SIGSTOP))
	_, err := ObserveOVS(soon())
	h.wantFault(err, fault.Timeout, "did not answer")
	h.check(h.SignalDatabase(syscall.SIGCONT))
	h.check(b.Delete(context.Background()))
}

// TestOVSTraceFailsLive: if ovs-vswitchd cannot be asked, the error is one sentence, and
// holds no lines of a log.
func TestOVSTraceFailsLive(t *testing.T) {
	needOVS(t)
	t.Setenv("OVS_RUNDIR", t.TempDir())
	p := OVSPort{Name: "port", Bridge: "ovs0", Number: 1}
	_, err := p.Trace(context.Background(), p.Broadcast(net.HardwareAddr{2, 0, 0, 0, 0, 1}))
	if err == nil || !strings.Contains(err.Error(), "pidfile") || strings.Contains(err.Error(), "WARN") {
		t.Errorf("%v", err)
	}
}
