package attach

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/gopipework/gopipework/internal/build"
	"github.com/gopipework/gopipework/internal/guests"

	testhost "github.com/gopipework/gopipework/e2e/host"
	"github.com/gopipework/gopipework/e2e/program"
	"github.com/gopipework/gopipework/e2e/table"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/plan"
	"github.com/gopipework/gopipework/internal/rtnl"
	"golang.org/x/sys/unix"
)

// kindStages are the kinds, each with two guests. Those that have no end on the
// host are on one card whose wire ends in a namespace that plays the network.
var kindStages = []struct {
	name  string
	line  string // % is the guest's number
	needs string // what a kernel may lack
	talk  bool   // the two guests hear each other
	wire  string // the network's end: what is on the wire; "" for nothing
	reach string // where traffic goes, if not to everybody
}{
	{"macvlan", "nic0 web 10.0.0.%/24", "macvlan", true, "ip address add 10.0.0.9/24 dev wire", ""},
	{"macvlan private", "macvlan:nic0 --mode private web 10.0.0.%/24", "macvlan", false, "ip address add 10.0.0.9/24 dev wire", "to the network alone"},
	{"macvtap", "macvtap:nic0 web 10.0.0.%/24", "macvtap", true, "ip address add 10.0.0.9/24 dev wire", ""},
	{"ipvlan l2", "ipvlan:nic0 web 10.0.0.%/24", "ipvlan", true, "ip address add 10.0.0.9/24 dev wire", ""},
	{"ipvlan l3", "ipvlan:nic0 --mode l3 web 10.0.0.%/24", "ipvlan", true, "", "between guests"},
	{"macvlan on a VLAN", "nic0 web 10.0.0.%/24 @10", "8021q", true,
		"ip link add link wire name wire.10 type vlan id 10; ip address add 10.0.0.9/24 dev wire.10; ip link set wire.10 up", ""},
	{"dummy", "dummy web 10.0.0.%/24", "dummy", false, "", "to itself alone"},
	{"bridge", "brtest web 10.0.0.%/24", "", true, "", "between guests"},
	{"bridge, a VLAN", "brtest web 10.0.0.%/24 @10", "vlan_filtering", true, "", "between guests"},
	{"Open vSwitch", "ovsbr0 web 10.0.0.%/24", "ovs", true, "", "between guests"},
	{"Open vSwitch, a VLAN", "ovsbr0 web 10.0.0.%/24 @10,20-30", "ovs", true, "", "between guests"},
}

// TestKinds: each kind is attached, heard, attached twice, listed, undone from
// every step, and detached, with the host as before.
func TestKinds(t *testing.T) {
	needRoot(t)
	for _, st := range kindStages {
		t.Run(st.name, func(t *testing.T) {
			hostNS, network := newHostFor(t, st.needs), newNamespace(t)
			in(t, hostNS, "sh", "-ec", quiet+"ip link add nic0 address 02:00:00:00:00:09 type veth peer name wire; ip link set nic0 up")
			moveLink(t, hostNS, "wire", network)
			in(t, network, "sh", "-ec", quiet+"ip link set wire up")
			carriers(t, hostNS, "nic0")
			before := inventory(t, hostNS)
			var guests []guests.Guest
			for n := 1; n <= 2; n++ {
				g := docker(newNamespace(t), 0)
				g.Name, g.ID = fmt.Sprint("g", n), fmt.Sprint("00000000000", n)
				s := parsed(t, strings.Replace(st.line, "%", fmt.Sprint(n), 1))
				attachKind(t, st.name, s, g, hostNS, st.needs)
				guests = append(guests, g)
			}
			in(t, network, "sh", "-ec", ":;"+st.wire)
			for from, to := range map[int]string{0: "10.0.0.2", 1: "10.0.0.1"} {
				if !answers(guests[from].Namespace, to, st.talk) {
					t.Errorf("%s answers the other guest: %v, want %v", to, !st.talk, st.talk)
				}
			}
			for n, g := range guests {
				own := fmt.Sprint("10.0.0.", n+1)
				if !hears(g.Namespace, own) {
					t.Errorf("%s does not answer itself", own)
				}
				if st.wire != "" && !(hears(g.Namespace, "10.0.0.9") && hears(network, own)) {
					t.Errorf("%s and the network do not hear each other", own)
				}
			}
			table.ProvenAs(t, st.name, table.Traffic, st.reach)
			for _, g := range guests {
				detachKind(t, g, hostNS)
			}
			sameSoon(t, "host after the last detach", before, func() string { return inventory(t, hostNS) })
			table.Proven(t, st.name, table.Detach)
		})
	}
}

// newHostFor makes the host of a stage; for one of Open vSwitch, with that
// running on it.
func newHostFor(t *testing.T, needs string) *os.File {
	t.Helper()
	if needs != "ovs" {
		return newNamespace(t)
	}
	if _, err := program.Look("ovs-vswitchd"); err != nil {
		testhost.Lacking(t, "ovs", err.Error())
	}
	h := testhost.New(t)
	o, err := h.StartOVS()
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("OVS_RUNDIR", o.RunDir)
	ns, err := os.Open(h.Namespace())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ns.Close() })
	return ns
}

// TestBridgeVLANs: who is on another VLAN of a bridge hears nothing, a trunk
// hears with tags, and somebody else's bridge filters only if we are told to,
// and while one of ours needs it.
func TestBridgeVLANs(t *testing.T) {
	needRoot(t)
	hostNS := newNamespace(t)
	in(t, hostNS, "sh", "-ec", quiet+"ip link add brx address 02:00:00:00:00:09 type bridge; ip link set brx addrgenmode none up")
	before := inventory(t, hostNS)
	guests := map[string]guests.Guest{}
	join := func(name, line string) error {
		g, ok := guests[name]
		if !ok {
			g = docker(newNamespace(t), 0)
			inhabit(t, g.Namespace)
			g.Name, g.ID = name, strings.Repeat(name[:1], 12)
			guests[name] = g
		}
		_, err := runAttach(context.Background(), parsed(t, line), g, hostNS, Options{})
		return err
	}
	err := join("a", "brx web 10.0.0.1/24 @10")
	if fault.CodeOf(err) == fault.Unsupported && !testhost.Required("vlan_filtering") {
		sameSoon(t, "host after the kernel's refusal", before, func() string { return inventory(t, hostNS) })
		testhost.Lacking(t, "vlan_filtering", err.Error())
	}
	if fault.CodeOf(err) != fault.Conflict {
		t.Fatalf("a VLAN on a bridge that does not filter: %v; want a conflict", err)
	}
	err = errors.Join(join("a", "brx web 10.0.0.1/24 @10 --vlan-filtering"), join("b", "brx web 10.0.0.2/24 @10"), join("c", "brx web 10.0.0.3/24 @20"),
		join("plain", "brx web 10.0.0.4/24"), join("trunk", "brx web 0/0 @10t,20-30"))
	if err != nil {
		t.Fatal(err)
	}
	in(t, guests["trunk"].Namespace, "sh", "-ec", quiet+`for v in 10 20; do ip link add link eth1 name eth1.$v type vlan id $v
ip link set eth1.$v up; done; ip address add 10.0.0.10/32 dev eth1.10; ip route add 10.0.0.1 dev eth1.10 src 10.0.0.10
ip address add 10.0.0.20/32 dev eth1.20; ip route add 10.0.0.3 dev eth1.20 src 10.0.0.20`)
	for _, c := range []struct {
		from, to string
		want     bool
	}{{"a", "10.0.0.2", true}, {"a", "10.0.0.3", false}, {"a", "10.0.0.4", false}, {"plain", "10.0.0.3", false},
		{"trunk", "10.0.0.1", true}, {"trunk", "10.0.0.3", true}} {
		if !answers(guests[c.from].Namespace, c.to, c.want) {
			t.Errorf("%s answers %s: %v, want %v", c.to, c.from, !c.want, c.want)
		}
	}
	g := guests["trunk"]
	all, err := runList(context.Background(), hostNS, &g)
	if err != nil || len(all) != 1 || all[0].Host.VLAN != "10t,20-30" {
		t.Errorf("list: %+v, %v", all, err)
	}
	if err := join("a", "brx web 10.0.0.1/24 @20"); fault.CodeOf(err) != fault.Conflict {
		t.Errorf("another VLAN under the same name: %v; want a conflict", err)
	}
	for _, name := range []string{"a", "b", "trunk", "c"} {
		if !strings.Contains(in(t, hostNS, "ip", "-d", "link", "show", "brx"), "vlan_filtering 1") {
			t.Errorf("the bridge filters no more, and %s needs it", name)
		}
		if _, err := runDetach(context.Background(), Selection{}, guests[name], hostNS, Options{}); err != nil {
			t.Fatal(err)
		}
	}
	if !strings.Contains(in(t, hostNS, "ip", "-d", "link", "show", "brx"), "vlan_filtering 0") {
		t.Error("the bridge goes on filtering, and nobody needs it")
	}
	if _, err := runDetach(context.Background(), Selection{}, guests["plain"], hostNS, Options{}); err != nil {
		t.Fatal(err)
	}
	sameSoon(t, "host", before, func() string { return inventory(t, hostNS) })
}

// TestVLANLink: the sub-interface itself goes into the guest, and only frames
// with its tag do.
func TestVLANLink(t *testing.T) {
	needRoot(t)
	hostNS, network := newNamespace(t), newNamespace(t)
	in(t, hostNS, "sh", "-ec", quiet+"ip link add nic0 address 02:00:00:00:00:09 type veth peer name wire; ip link set nic0 up")
	moveLink(t, hostNS, "wire", network)
	in(t, network, "sh", "-ec", quiet+"ip link set wire up; ip address add 10.0.0.8/24 dev wire")
	carriers(t, hostNS, "nic0")
	before := inventory(t, hostNS)
	g := docker(newNamespace(t), 0)
	attachKind(t, "vlan", parsed(t, "vlan:nic0 web 10.0.0.1/24 @10"), g, hostNS, "8021q")
	in(t, network, "sh", "-ec", `ip address flush dev wire
ip link add link wire name wire.10 type vlan id 10; ip address add 10.0.0.9/24 dev wire.10; ip link set wire.10 up`)
	if !hears(g.Namespace, "10.0.0.9") || !hears(network, "10.0.0.1") {
		t.Error("the guest and the network do not hear each other")
	}
	table.Proven(t, "vlan", table.Traffic)
	detachKind(t, g, hostNS)
	sameSoon(t, "host", before, func() string { return inventory(t, hostNS) })
	table.Proven(t, "vlan", table.Detach)
}

// ping says whether one packet to an address is answered within that many seconds.
func ping(from *os.File, to string, seconds int) bool {
	args := []string{"busybox", "ping", "-c", "1", "-W", strconv.Itoa(seconds)}
	if strings.Contains(to, ":") {
		args = append(args, "-6")
	}
	_, err := tryIn(from, append(args, to)...)
	return err == nil
}

// hears says whether an address answers who is in the namespace. How long a busy
// machine takes for an answer proves nothing.
func hears(ns *os.File, address string) bool { return ping(ns, address, 30) }

// answers says whether an address answers, or does not answer, as is wanted.
func answers(ns *os.File, address string, want bool) bool {
	if want {
		return hears(ns, address)
	}
	return !ping(ns, address, 3)
}

// attachKind fails at every step, then attaches, twice, and lists, and accounts
// for it under the kind's name. It skips where the kernel has not got the kind,
// unless it is required.
func attachKind(t *testing.T, kind string, s Spec, g guests.Guest, hostNS *os.File, needs string) {
	t.Helper()
	hostBefore, guestBefore := inventory(t, hostNS), inventory(t, g.Namespace)
	for n, last := 0, false; !last; n++ {
		err := attempt(t, s, g, hostNS, asItIs, func(p *build.Plan) {
			last = n == len(p.Steps)
			p.Steps = append(p.Steps[:n:n], append([]plan.Step{failStep{}}, p.Steps[n:]...)...)
		}, untold)
		if fault.CodeOf(err) == fault.Unsupported && !testhost.Required(needs) {
			sameSoon(t, "host after the kernel's refusal", hostBefore, func() string { return inventory(t, hostNS) })
			testhost.Lacking(t, needs, err.Error())
		}
		if !errors.Is(err, errPlanned) {
			t.Fatalf("step %d: %v", n, err)
		}
		sameSoon(t, fmt.Sprintf("host after failure at step %d", n), hostBefore, func() string { return inventory(t, hostNS) })
		sameSoon(t, fmt.Sprintf("guest after failure at step %d", n), guestBefore, func() string { return inventory(t, g.Namespace) })
		if t.Failed() {
			t.FailNow()
		}
	}
	table.Proven(t, kind, table.Undone)
	for i, changed := range []bool{true, false} {
		r, err := runAttach(context.Background(), s, g, hostNS, Options{})
		if err != nil || r.Changed != changed {
			t.Fatalf("attach %d: changed = %v, %v; want %v", i+1, r.Changed, err, changed)
		}
	}
	table.Proven(t, kind, table.Attach, table.Twice)
	all, err := runList(context.Background(), hostNS, &g)
	if err != nil || len(all) != 1 || all[0].State != Complete || all[0].Guest.Name != g.Name {
		t.Fatalf("list: %+v, %v; want one, complete", all, err)
	}
	table.Proven(t, kind, table.List)
}

func detachKind(t *testing.T, g guests.Guest, hostNS *os.File) {
	t.Helper()
	for i, changed := range []bool{true, false} {
		r, err := runDetach(context.Background(), Selection{}, g, hostNS, Options{})
		if err != nil || r.Changed != changed {
			t.Fatalf("detach %d: changed = %v, %v; want %v", i+1, r.Changed, err, changed)
		}
	}
}

// inhabit gives a namespace a process, by which gc and list find it, and returns
// when the process is inside: nsenter starts in the test's own namespace.
func inhabit(t *testing.T, ns *os.File) (pid int) {
	t.Helper()
	p := program.Command("nsenter", "--net=/proc/self/fd/3", "sleep", "1000")
	p.ExtraFiles = []*os.File{ns}
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Process.Kill(); p.Wait() })
	var st unix.Stat_t
	if err := unix.Fstat(int(ns.Fd()), &st); err != nil {
		t.Fatal(err)
	}
	eventually(t, "nsenter has entered", func() bool {
		var now unix.Stat_t
		return unix.Stat(fmt.Sprintf("/proc/%d/ns/net", p.Process.Pid), &now) == nil && now.Ino == st.Ino
	})
	return p.Process.Pid
}

// inventory is what a kind could leave behind: links, addresses and routes, read
// without a fork, for on some kernels forks are slow.
func inventory(t *testing.T, ns *os.File) string {
	t.Helper()
	settle(t, ns)
	c, err := rtnl.Open(ns)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	links, err1 := c.Links()
	addrs, err2 := c.Addrs()
	routes, err3 := c.Routes()
	if err := errors.Join(err1, err2, err3); err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, l := range links {
		l.OperUp = false // it follows the carrier, after a moment
		l.Queue = ""     // what a link gets when it is first set up stays; see queues
		fmt.Fprintf(&b, "%+v\n", *l)
	}
	for _, a := range addrs {
		a.Flags &^= unix.IFA_F_TENTATIVE // for a moment
		fmt.Fprintf(&b, "%+v\n", a)
	}
	for _, r := range routes {
		fmt.Fprintf(&b, "%+v\n", r)
	}
	return b.String()
}

// moveLink moves a link into another namespace.
func moveLink(t *testing.T, from *os.File, name string, to *os.File) {
	t.Helper()
	out, err := runWith([]*os.File{from, to}, "nsenter", "--net=/proc/self/fd/3", "ip", "link", "set", name, "netns", "/proc/self/fd/4")
	if err != nil {
		t.Fatalf("move %s: %v\n%s", name, err, out)
	}
}

// TestMacvlanOnMacvlan: the kernel makes a sibling of it, and the same line is
// done already all the same.
func TestMacvlanOnMacvlan(t *testing.T) {
	needRoot(t)
	hostNS, guestNS := newNamespace(t), newNamespace(t)
	in(t, hostNS, "sh", "-ec", quiet+"ip link add nic0 type veth peer name wire; ip link set wire up; ip link set nic0 up; ip link add br0 link nic0 type macvlan mode bridge; ip link set br0 up")
	for i, line := range []string{"macvlan:br0 web 10.0.0.2/24", "macvlan:br0 web 10.0.0.2/24", "nic0 web 10.0.0.2/24"} {
		r, err := runAttach(context.Background(), parsed(t, line), docker(guestNS, 0), hostNS, Options{})
		if err != nil || r.Changed != (i == 0) {
			t.Errorf("line %d, %s: changed %v, %v", i, line, r.Changed, err)
		}
	}
}

// TestIPvlanMode: the mode belongs to the card, so a guest that asks for another
// one would change its neighbours'.
func TestIPvlanMode(t *testing.T) {
	needRoot(t)
	hostNS := newHostFor(t, "ipvlan")
	in(t, hostNS, "sh", "-ec", quiet+"ip link add nic0 type veth peer name wire; ip link set wire up; ip link set nic0 up")
	web, db := docker(newNamespace(t), 0), docker(newNamespace(t), 0)
	db.Name, db.ID = "db", strings.Repeat("d", 64)
	attached := func(g guests.Guest, line string) (Result, error) {
		return runAttach(context.Background(), parsed(t, line), g, hostNS, Options{})
	}
	if _, err := attached(web, "ipvlan:nic0 web 10.0.0.2/24"); fault.CodeOf(err) == fault.Unsupported && !testhost.Required("ipvlan") {
		testhost.Lacking(t, "ipvlan", err.Error())
	} else if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"ipvlan:nic0 db 10.0.0.3/24 --mode l3", "ipvlan:nic0 db 0/0 --mode l3s"} {
		if _, err := attached(db, line); fault.CodeOf(err) != fault.Conflict || !strings.Contains(err.Error(), "eth1 of web is in mode l2") {
			t.Errorf("%s: %v", line, err)
		}
	}
	if said := in(t, web.Namespace, "ip", "-d", "link", "show", "eth1"); !strings.Contains(said, "mode l2 ") {
		t.Errorf("the mode of web's ipvlan: %s", said)
	}
	if _, err := attached(db, "ipvlan:nic0 db 10.0.0.3/24"); err != nil {
		t.Error(err)
	}
	if r, err := attached(web, "ipvlan:nic0 web 10.0.0.2/24"); err != nil || r.Changed {
		t.Errorf("the same line: changed %v, %v", r.Changed, err)
	}
}
