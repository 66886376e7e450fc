package attach

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	testhost "github.com/gopipework/gopipework/e2e/host"
	"github.com/gopipework/gopipework/internal/build"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/hostbridge"
	"github.com/gopipework/gopipework/internal/plan"
)

// uplinkHost is a host with a card, nic0, and a neighbour who is behind it and has
// 192.168.1.9 and 2001:db8::9.
func uplinkHost(t *testing.T, script string) (hostNS, neighbour *os.File) {
	t.Helper()
	return uplinkOf(t, newNamespace(t), script)
}

// uplinkOf makes a host that is there one of those.
func uplinkOf(t *testing.T, hostNS *os.File, script string) (_, neighbour *os.File) {
	t.Helper()
	neighbour = newNamespace(t)
	in(t, hostNS, "sh", "-ec", quiet)
	in(t, neighbour, "sh", "-ec", quiet)
	out, err := runWith([]*os.File{hostNS, neighbour}, "nsenter", "--net=/proc/self/fd/3", "ip", "link", "add", "nic0", "address", "02:00:00:00:00:07",
		"type", "veth", "peer", "name", "wire", "netns", "/proc/self/fd/4")
	if err != nil {
		t.Fatal(out)
	}
	in(t, neighbour, "sh", "-ec", "ip link set wire up; ip address add 192.168.1.9/24 dev wire; ip address add 2001:db8::9/64 dev wire nodad")
	in(t, hostNS, "sh", "-ec", script)
	in(t, hostNS, "sh", "-c", "iptables-save; ip6tables-save") // the kernel's tables exist from now on
	return hostNS, neighbour
}

// sortedSnapshot is a snapshot without the order of its lines, which the kernel changes when
// something goes and comes back.
func sortedSnapshot(t *testing.T, ns *os.File) string {
	t.Helper()
	lines := strings.Split(snapshot(t, ns), "\n")
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

func prefixes(words ...string) (all []netip.Prefix) {
	for _, w := range words {
		all = append(all, netip.MustParsePrefix(w))
	}
	return all
}

// ensured makes a bridge as asked, and holds against what is said whether that changed
// anything.
func ensured(t *testing.T, hostNS *os.File, s BridgeSpec, changed bool) Result {
	t.Helper()
	r, err := EnsureBridge(t.Context(), s, Options{HostNS: hostNS, Origin: "file:lab"})
	if err != nil || r.Changed != changed {
		t.Fatalf("%+v: changed = %v, %q, %v; want %v", s, r.Changed, r.Steps, err, changed)
	}
	return r
}

func removed(t *testing.T, hostNS *os.File, name string, changed bool) {
	t.Helper()
	r, err := RemoveBridge(t.Context(), name, Options{HostNS: hostNS, Origin: "file:lab"})
	if err != nil || r.Changed != changed {
		t.Fatalf("remove %s: changed = %v, %q, %v; want %v", name, r.Changed, r.Steps, err, changed)
	}
}

// bridgesOn returns the bridges of a host, one a word.
func bridgesOn(t *testing.T, hostNS *os.File) (all []string) {
	t.Helper()
	r, err := List(t.Context(), nil, Options{HostNS: hostNS})
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range r.Bridges {
		all = append(all, fmt.Sprintf("%s %s %s made=%v %v %s", b.Kind, b.Name, b.Origin, b.Made, b.Addresses, b.Uplink))
	}
	return all
}

// pings has a namespace ping addresses, each until it answers.
func pings(t *testing.T, ns *os.File, addrs ...string) {
	t.Helper()
	for _, a := range addrs {
		var out string
		if !testhost.Poll(20*time.Second, func() bool {
			var err error
			out, err = tryIn(ns, "ping", "-c1", "-W1", a)
			return err == nil
		}) {
			t.Fatalf("no answer from %s:\n%s", a, out)
		}
	}
}

// TestBridgeOfHost is the life of a bridge with an address and an uplink: a neighbour behind
// the uplink reaches the host and a guest, past a firewall that drops what it forwards. What
// was there before is as it was in the end.
func TestBridgeOfHost(t *testing.T) {
	needRoot(t)
	const foreign = `
ip link add brx address 02:00:00:00:00:09 type bridge; ip address add 10.0.0.1/24 dev brx; ip link set brx up
ip link add old type veth peer name older; ip link set old master brx; ip link set old up; ip link set older up`
	for _, tt := range []struct {
		name, bridge, host string
		wasUp, made        bool
	}{
		{"new bridge", "brtest", "", false, true},
		{"card that is up", "brtest", "ip link set nic0 up", true, true},
		{"bridge that is there", "brx", foreign, false, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			hostNS, neighbour := uplinkHost(t, dropAll+tt.host)
			guestNS := newNamespace(t)
			in(t, guestNS, "sh", "-ec", quiet)
			before := sortedSnapshot(t, hostNS)
			s := BridgeSpec{Name: tt.bridge, Addrs: prefixes("192.168.1.1/24", "2001:db8::1/64"), Uplink: "nic0", VLANFiltering: true}
			ensured(t, hostNS, s, true)
			pings(t, neighbour, "192.168.1.1", "2001:db8::1")
			ensured(t, hostNS, s, false)
			addresses := "[192.168.1.1/24 2001:db8::1/64]"
			if !tt.made {
				addresses = "[10.0.0.1/24 192.168.1.1/24 2001:db8::1/64]"
			}
			if got, want := bridgesOn(t, hostNS), fmt.Sprintf("bridge %s file:lab made=%v %s nic0", tt.bridge, tt.made, addresses); len(got) != 1 || got[0] != want {
				t.Errorf("listed as %q, want %q", got, want)
			}
			if r, err := GC(t.Context(), Options{HostNS: hostNS}); err != nil || r.Changed {
				t.Errorf("gc: %q, %v", r.Steps, err)
			}
			g := docker(guestNS, 0)
			if _, err := runAttach(t.Context(), parsed(t, tt.bridge+" web 192.168.1.2/24"), g, hostNS, Options{}); err != nil {
				t.Fatal(err)
			}
			pings(t, neighbour, "192.168.1.2")
			pings(t, guestNS, "192.168.1.1", "192.168.1.9")
			if _, err := runDetach(t.Context(), Selection{}, g, hostNS, Options{}); err != nil {
				t.Fatal(err)
			}
			ensured(t, hostNS, s, false)
			s.Addrs = prefixes("192.168.1.4/24")
			ensured(t, hostNS, s, true)
			pings(t, neighbour, "192.168.1.4")
			if out := in(t, hostNS, "ip", "address", "show", "dev", tt.bridge); strings.Contains(out, "192.168.1.1/") || strings.Contains(out, "2001:db8::1") {
				t.Errorf("the old addresses are still there:\n%s", out)
			}
			s.Addrs = nil
			ensured(t, hostNS, s, true)
			removed(t, hostNS, tt.bridge, true)
			removed(t, hostNS, tt.bridge, false)
			sameSoon(t, "host in the end", before, func() string { return sortedSnapshot(t, hostNS) })
		})
	}
}

// bridgeRun is a run on a bridge that a test takes apart: EnsureBridge, or RemoveBridge if
// remove is set.
type bridgeRun struct {
	BridgeSpec
	remove bool
}

// plan opens the host, and returns what the run would do.
func (r bridgeRun) plan(t *testing.T, hostNS *os.File) (*plan.Machine, build.Plan) {
	t.Helper()
	m, err := plan.Open(t.Context(), hostNS)
	if err != nil {
		t.Fatal(err)
	}
	s := r.BridgeSpec
	if r.remove {
		s = BridgeSpec{Name: s.Name}
	}
	f, err := hostbridge.Observe(t.Context(), m, s)
	if err != nil {
		t.Fatal(err)
	}
	f.Origin, f.NewMAC = "file:lab", newMAC()
	if r.remove {
		return m, hostbridge.Remove(s.Name, f)
	}
	p, err := hostbridge.Build(s, f)
	if err != nil {
		t.Fatal(err)
	}
	return m, p
}

// ran carries the run out.
func (r bridgeRun) ran(t *testing.T, hostNS *os.File) {
	t.Helper()
	opt := Options{HostNS: hostNS, Origin: "file:lab"}
	_, err := EnsureBridge(t.Context(), r.BridgeSpec, opt)
	if r.remove {
		_, err = RemoveBridge(t.Context(), r.Name, opt)
	}
	if err != nil {
		t.Fatal(err)
	}
}

var wholeBridge = BridgeSpec{Name: "brtest", Addrs: prefixes("192.168.1.1/24", "2001:db8::1/64"), Uplink: "nic0"}

// bridgeRuns are runs, each with what there is before it.
var bridgeRuns = []struct {
	name   string
	before []bridgeRun
	run    bridgeRun
}{
	{"new", nil, bridgeRun{BridgeSpec: wholeBridge}},
	{"change", []bridgeRun{{BridgeSpec: wholeBridge}}, bridgeRun{BridgeSpec: BridgeSpec{Name: "brtest", Addrs: prefixes("192.168.1.4/24", "192.168.1.5/24", "2001:db8::1/48"), MTU: 1400}}},
	{"remove", []bridgeRun{{BridgeSpec: wholeBridge}}, bridgeRun{BridgeSpec: wholeBridge, remove: true}},
}

// TestBridgeFailAtEveryStep: a run on a bridge that fails before its step n, for every n, and
// after the last, leaves the host as it was.
func TestBridgeFailAtEveryStep(t *testing.T) {
	needRoot(t)
	for _, tt := range bridgeRuns {
		t.Run(tt.name, func(t *testing.T) {
			hostNS, _ := uplinkHost(t, "")
			for _, r := range tt.before {
				r.ran(t, hostNS)
			}
			before := sortedSnapshot(t, hostNS)
			for n, last := 0, false; !last && !t.Failed(); n++ {
				m, p := tt.run.plan(t, hostNS)
				last = n == len(p.Steps) || p.Steps[n].Nature() == plan.Final // from there on there is no way back
				p.Steps = append(p.Steps[:n:n], append([]plan.Step{failStep{}}, p.Steps[n:]...)...)
				err := p.Apply(t.Context(), m, untold)
				m.Close()
				if !errors.Is(err, errPlanned) || fault.CodeOf(err) == fault.Residue {
					t.Fatalf("step %d: %v", n, err)
				}
				sameSoon(t, fmt.Sprintf("host after failure at step %d", n), before, func() string { return sortedSnapshot(t, hostNS) })
			}
		})
	}
}

// TestBridgeKilledAtEveryStep: whatever step a run on a bridge was killed after, the next
// run, be it the same or the one that removes it all, with gc, leaves nothing behind, and the
// uplink as it was.
func TestBridgeKilledAtEveryStep(t *testing.T) {
	needRoot(t)
	hostNS, _ := uplinkHost(t, "")
	before := sortedSnapshot(t, hostNS)
	for _, tt := range bridgeRuns {
		for n, last := 1, false; !last && !t.Failed(); n++ {
			for _, again := range []bool{true, false} {
				for _, r := range tt.before {
					r.ran(t, hostNS)
				}
				m, p := tt.run.plan(t, hostNS)
				last = n == len(p.Steps)
				for _, s := range p.Steps[:n] {
					if err := s.Do(t.Context(), m); err != nil {
						t.Fatal(err)
					}
				}
				m.Close()
				if again {
					tt.run.ran(t, hostNS)
					m, p := tt.run.plan(t, hostNS)
					if m.Close(); p.Changes() {
						t.Errorf("%s, killed after step %d: the same again, twice, has still to do %q", tt.name, n, p.Commands())
					}
				}
				bridgeRun{BridgeSpec: wholeBridge, remove: true}.ran(t, hostNS)
				if _, err := GC(t.Context(), Options{HostNS: hostNS}); err != nil {
					t.Fatal(err)
				}
				sameSoon(t, fmt.Sprintf("host after %s, killed after step %d, again = %v,", tt.name, n, again), before, func() string { return sortedSnapshot(t, hostNS) })
			}
		}
	}
}

// TestBridgeOfHostOVS: the same on an Open vSwitch bridge, whose records have the marks.
func TestBridgeOfHostOVS(t *testing.T) {
	needRoot(t)
	hostNS, neighbour := uplinkOf(t, newHostFor(t, "ovs"), "")
	guestNS := newNamespace(t)
	in(t, guestNS, "sh", "-ec", quiet)
	before := sortedSnapshot(t, hostNS)
	s := BridgeSpec{Name: "ovsbr0", Addrs: prefixes("192.168.1.1/24"), Uplink: "nic0"}
	ensured(t, hostNS, s, true)
	ensured(t, hostNS, s, false)
	pings(t, neighbour, "192.168.1.1")
	if got, want := bridgesOn(t, hostNS), "ovs ovsbr0 file:lab made=true [192.168.1.1/24] nic0"; len(got) != 1 || got[0] != want {
		t.Errorf("listed as %q, want %q", got, want)
	}
	g := docker(guestNS, 0)
	if _, err := runAttach(t.Context(), parsed(t, "ovsbr0 web 192.168.1.2/24"), g, hostNS, Options{}); err != nil {
		t.Fatal(err)
	}
	pings(t, neighbour, "192.168.1.2")
	if _, err := runDetach(t.Context(), Selection{All: true}, g, hostNS, Options{}); err != nil {
		t.Fatal(err)
	}
	if r, err := GC(t.Context(), Options{HostNS: hostNS}); err != nil || r.Changed {
		t.Errorf("gc: %q, %v", r.Steps, err)
	}
	s.Addrs, s.Uplink = prefixes("192.168.1.4/24"), ""
	ensured(t, hostNS, s, true)
	if out := in(t, hostNS, "ovs-vsctl", "list-ports", "ovsbr0"); out != "" {
		t.Errorf("ports are left: %s", out)
	}
	ensured(t, hostNS, s, false)
	if r, err := GC(t.Context(), Options{HostNS: hostNS}); err != nil || r.Changed {
		t.Errorf("gc of a bridge without ports: %q, %v", r.Steps, err)
	}
	removed(t, hostNS, "ovsbr0", true)
	removed(t, hostNS, "ovsbr0", false)
	sameSoon(t, "host in the end", before, func() string { return sortedSnapshot(t, hostNS) })
	if out := in(t, hostNS, "ovs-vsctl", "list-br"); strings.Contains(out, "ovsbr0") {
		t.Errorf("bridges are left: %s", out)
	}
}

// TestUplinkVLAN: the uplink is one VLAN of a card, which is made and deleted again; or a card
// that carries the VLANs of the guests.
func TestUplinkVLAN(t *testing.T) {
	needRoot(t)
	for _, tt := range []struct {
		name, line string
		spec       BridgeSpec
	}{
		{"VLAN of a card", "brtest web 192.168.7.2/24", BridgeSpec{Name: "brtest", Addrs: prefixes("192.168.7.1/24"), Uplink: "nic0.10"}},
		{"trunk", "brtest web 192.168.7.2/24 @10", BridgeSpec{Name: "brtest", Addrs: prefixes("192.168.1.1/24"), Uplink: "nic0", VLANFiltering: true}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			hostNS, neighbour := uplinkHost(t, "ip link set nic0 up")
			if out, err := tryIn(neighbour, "sh", "-ec", "ip link add link wire name wire.10 type vlan id 10; ip link set wire.10 up; ip address add 192.168.7.9/24 dev wire.10"); err != nil {
				testhost.Lacking(t, "8021q", out)
			}
			guestNS := newNamespace(t)
			in(t, guestNS, "sh", "-ec", quiet)
			before := sortedSnapshot(t, hostNS)
			ensured(t, hostNS, tt.spec, true)
			ensured(t, hostNS, tt.spec, false)
			g := docker(guestNS, 0)
			if _, err := runAttach(t.Context(), parsed(t, tt.line), g, hostNS, Options{}); fault.CodeOf(err) == fault.Unsupported {
				testhost.Lacking(t, "vlan_filtering", err.Error())
			} else if err != nil {
				t.Fatal(err)
			}
			pings(t, neighbour, "192.168.7.2", tt.spec.Addrs[0].Addr().String())
			ensured(t, hostNS, tt.spec, false)
			if _, err := runDetach(t.Context(), Selection{}, g, hostNS, Options{}); err != nil {
				t.Fatal(err)
			}
			if r, err := GC(t.Context(), Options{HostNS: hostNS}); err != nil || r.Changed {
				t.Errorf("gc: %q, %v", r.Steps, err)
			}
			ensured(t, hostNS, tt.spec, false)
			removed(t, hostNS, "brtest", true)
			removed(t, hostNS, "brtest", false)
			sameSoon(t, "host in the end", before, func() string { return sortedSnapshot(t, hostNS) })
		})
	}
}

// TestUplinkInUse: a card by which the host is reached is refused and, if that is forced, is
// returned with what it has.
func TestUplinkInUse(t *testing.T) {
	needRoot(t)
	hostNS, _ := uplinkHost(t, "ip link set nic0 up; ip address add 192.168.5.2/24 dev nic0; ip address add 2001:db8:5::2/64 dev nic0 nodad; ip route add default via 192.168.5.1")
	before := sortedSnapshot(t, hostNS)
	s := BridgeSpec{Name: "brtest", Uplink: "nic0"}
	_, err := EnsureBridge(t.Context(), s, Options{HostNS: hostNS, Origin: "file:lab"})
	for _, what := range []string{"192.168.5.2/24", "2001:db8:5::2/64", "default route"} {
		if fault.CodeOf(err) != fault.Conflict || !strings.Contains(err.Error(), what) {
			t.Errorf("not forced: %v, which does not name %s", err, what)
		}
	}
	same(t, "host after it was refused", before, sortedSnapshot(t, hostNS))
	s.Force = true
	if r := ensured(t, hostNS, s, true); !strings.Contains(strings.Join(r.Warnings, "\n"), "do not work") {
		t.Errorf("forced, and warned of %q", r.Warnings)
	}
	removed(t, hostNS, "brtest", true)
	sameSoon(t, "host after it was returned", before, func() string { return sortedSnapshot(t, hostNS) })
}

// TestBridgeAddressCut: what on the host keeps its neighbours from its address is warned of.
func TestBridgeAddressCut(t *testing.T) {
	needRoot(t)
	for name, tt := range map[string]struct{ script, says string }{
		"firewall": {"iptables -P INPUT DROP", "INPUT"},
		"rule":     {"ip rule add from 192.168.1.1 prohibit", "192.168.1"},
	} {
		t.Run(name, func(t *testing.T) {
			hostNS, _ := uplinkHost(t, tt.script)
			r := ensured(t, hostNS, BridgeSpec{Name: "brtest", Addrs: prefixes("192.168.1.1/24"), Uplink: "nic0"}, true)
			if said := strings.Join(r.Warnings, "\n"); !strings.Contains(said, tt.says) || !strings.Contains(said, "the host") || strings.Contains(said, "gopipework exec") {
				t.Errorf("warned of %q, want %q", said, tt.says)
			}
		})
	}
}
