package survey

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	testhost "github.com/gopipework/gopipework/e2e/host"
	"github.com/gopipework/gopipework/e2e/program"
	"github.com/gopipework/gopipework/internal/graph"
	"github.com/gopipework/gopipework/internal/guests"
	"github.com/gopipework/gopipework/internal/ours"
	"github.com/gopipework/gopipework/internal/plan"
	"golang.org/x/sys/unix"
)

// These tests run on the real kernel, in network namespaces of their own.

func TestMain(m *testing.M) {
	testhost.Main()
	os.Exit(m.Run())
}

// lab is a host with guests, which a test connects in odd ways.
type lab struct {
	t      *testing.T
	host   *os.File
	guests map[string]*os.File
	dir    string // where the guests have names
	known  []guests.GuestInfo
}

func newLab(t *testing.T, names ...string) *lab {
	testhost.NeedRoot(t)
	l := &lab{t: t, host: testhost.NewNamespace(t), guests: map[string]*os.File{}, dir: t.TempDir()}
	was := ours.NamedNamespaces
	ours.NamedNamespaces = []string{l.dir}
	t.Cleanup(func() { ours.NamedNamespaces = was })
	for _, name := range names {
		l.add(name)
		l.known = append(l.known, guests.GuestInfo{Runtime: "docker", ID: name, Name: name, NetNS: inode(t, l.guests[name])})
	}
	return l
}

// add makes a namespace that no engine knows.
func (l *lab) add(name string) {
	ns := testhost.NewNamespace(l.t)
	l.guests[name] = ns
	if err := os.Symlink("/proc/self/fd/"+strconv.Itoa(int(ns.Fd())), filepath.Join(l.dir, name)); err != nil {
		l.t.Fatal(err)
	}
}

func inode(t *testing.T, ns *os.File) uint64 {
	var st unix.Stat_t
	if err := unix.Fstat(int(ns.Fd()), &st); err != nil {
		t.Fatal(err)
	}
	return st.Ino
}

// ip runs lines of "ip -batch" on the host; NS:NAME is the namespace of a guest, and "in
// NAME: " in front of a line runs it there.
func (l *lab) ip(lines ...string) {
	l.t.Helper()
	for _, line := range lines {
		if out, err := l.try(line); err != nil {
			l.t.Fatalf("ip %s: %v\n%s", line, err, out)
		}
	}
}

func (l *lab) try(line string) (string, error) {
	files := []*os.File{l.host}
	if rest, in := strings.CutPrefix(line, "in "); in {
		name, command, _ := strings.Cut(rest, ": ")
		files[0], line = l.guests[name], command
	}
	words := strings.Fields(line)
	for i, w := range words {
		if name, ok := strings.CutPrefix(w, "NS:"); ok {
			files = append(files, l.guests[name])
			words[i] = fmt.Sprintf("/proc/self/fd/%d", 2+len(files))
		}
	}
	cmd := program.Command("nsenter", append([]string{"--net=/proc/self/fd/3", "ip"}, words...)...)
	cmd.ExtraFiles = files
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func (l *lab) read() graph.Graph {
	l.t.Helper()
	g, err := Read(context.Background(), l.known, l.host)
	if err != nil {
		l.t.Fatal(err)
	}
	return g
}

// links are the links of a graph as lines; those of ours have an asterisk.
func links(g graph.Graph) (all []string) {
	for _, l := range g.Links {
		line := l.From + " -" + string(l.Kind) + "- " + l.To
		if l.Ours {
			line += " *"
		}
		all = append(all, line)
	}
	slices.Sort(all)
	return all
}

func node(t *testing.T, g graph.Graph, id string) graph.Node {
	t.Helper()
	for _, n := range g.Nodes {
		if n.ID == id {
			return n
		}
	}
	t.Errorf("there is no %s", id)
	return graph.Node{}
}

// TestOddHost: every link is found from whichever end shows it, also where namespaces
// have each other's ids: a bridge with a pair of ours and a foreign one, a guest in a guest,
// a macvlan of a third namespace, a wire between two guests, two bridges joined by a pair.
func TestOddHost(t *testing.T) {
	l := newLab(t, "web", "db", "dind", "alone")
	l.add("inner") // nobody knows it, and it is on this host: what it is connected to is
	l.add("far")
	l.add("elsewhere") // connected to nothing of this host's
	group := strconv.Itoa(plan.Group)
	l.ip(
		"link add br1 group "+group+" type bridge", "link set br1 up", "address add 192.168.1.254/24 dev br1",
		"link add port1 group "+group+" type veth peer name eth1 group "+group+" netns NS:web", "link set port1 master br1 up",
		"in web: link set eth1 up", "in web: address add 192.168.1.2/24 dev eth1", "in web: address add 2001:db8::2/64 dev eth1 nodad",
		"in web: route add default via 192.168.1.254",
		"link add dock0 type bridge", "link add foreign type veth peer name eth0 netns NS:dind", "link set foreign master dock0 up",
		"in dind: link set eth0 up", "in dind: link add inbr type bridge", "in dind: link add vin type veth peer name eth0 netns NS:inner", "in dind: link set vin master inbr up",
		"in dind: link add link eth0 name mv0 type macvlan mode bridge",
		"in dind: link add link eth0 name mvfar netns NS:far type macvlan mode private",
		"in web: link add w0 group "+group+" type veth peer name w0 group "+group+" netns NS:db",
		"link add nic0 type veth peer name wire0", "link add link nic0 name mac0 group "+group+" netns NS:db type macvlan mode bridge",
		"link add one type veth peer name two", "link set one master br1", "link set two master dock0",
		"link add host0 type veth peer name h0 netns NS:db",
		"in elsewhere: link add x type veth peer name y",
	)
	g := l.read()
	far, inner := "guest/"+filepath.Join(l.dir, "far"), "guest/"+filepath.Join(l.dir, "inner")
	want := []string{
		"guest/docker:db/h0 -pair- host/host0",
		"guest/docker:db/mac0 -parent- host/nic0 *",
		"guest/docker:db/w0 -wire- guest/docker:web/w0 *",
		"guest/docker:dind/eth0 -pair- host/foreign",
		"guest/docker:dind/mv0 -parent- guest/docker:dind/eth0",
		"guest/docker:dind/vin -port- guest/docker:dind/inbr",
		"guest/docker:dind/vin -wire- " + inner + "/eth0",
		"guest/docker:web/eth1 -pair- host/port1 *",
		far + "/mvfar -parent- guest/docker:dind/eth0",
		"host/foreign -port- host/dock0",
		"host/nic0 -wire- host/wire0",
		"host/one -port- host/br1",
		"host/one -wire- host/two",
		"host/port1 -port- host/br1 *",
		"host/two -port- host/dock0",
	}
	slices.Sort(want)
	got := links(g)
	for i, line := range got { // a wire has no direction
		if from, to, is := strings.Cut(line, " -wire- "); is && strings.HasPrefix(from, inner) {
			got[i] = strings.TrimSuffix(to, " *") + " -wire- " + from
		}
	}
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("links, -want +got:\n%s", diff)
	}
	eth1 := node(t, g, "guest/docker:web/eth1")
	if fmt.Sprintf("%v %v %v %v %v", eth1.Addresses, eth1.Gateway, eth1.Ours, eth1.Type, eth1.State) != "[192.168.1.2/24 2001:db8::2/64] [192.168.1.254] true veth up" {
		t.Errorf("%+v", eth1)
	}
	if n := node(t, g, far+"/mvfar"); n.Mode != "private" || n.Ours || n.State != graph.Down {
		t.Errorf("%+v", n)
	}
	if n := node(t, g, "guest/docker:alone"); n.NetNS != inode(t, l.guests["alone"]) {
		t.Errorf("%+v", n)
	}
	for _, n := range g.Nodes {
		if strings.Contains(n.ID, "elsewhere") {
			t.Errorf("%s is not connected to this host, and nobody knows it", n.ID)
		}
	}
	if again := links(l.read()); !slices.Equal(links(g), again) {
		t.Errorf("read again, it is\n%q", again)
	}
}

// TestKindsOfLink: links of other kinds, as far as the kernel has them.
func TestKindsOfLink(t *testing.T) {
	l := newLab(t)
	l.ip("link add nic0 type veth peer name wire0", "link add nic1 type veth peer name wire1", "link add br1 type bridge")
	for _, c := range []struct {
		need string
		make []string
		kind graph.Kind
		link string
	}{
		{"vrf", []string{"link add vrf1 type vrf table 77", "link set br1 master vrf1"}, graph.VRF, "host/br1 -port- host/vrf1"},
		{"bond", []string{"link add bond0 type bond", "link set wire0 master bond0"}, graph.Bond, "host/wire0 -port- host/bond0"},
		{"8021q", []string{"link add link nic0 name nic0.20 type vlan id 20"}, graph.VLAN, "host/nic0.20 -parent- host/nic0"},
		{"vxlan", []string{"link add vx0 type vxlan id 7 dstport 4789 dev nic0"}, graph.Tunnel, "host/vx0 -tunnel- host/nic0"},
		{"tap", []string{"tuntap add tap0 mode tap", "link set tap0 master br1"}, graph.Port, "host/tap0 -port- host/br1"},
		{"tap", []string{"tuntap add tun0 mode tun", "link set tun0 up"}, graph.Tunnel, ""},
		{"macvlan", []string{"link add link nic0 name mac0 type macvlan"}, graph.Port, "host/mac0 -parent- host/nic0"},
		{"ipvlan", []string{"link add link nic1 name ipv0 type ipvlan"}, graph.Port, "host/ipv0 -parent- host/nic1"},
		{"dummy", []string{"link add dummy7 type dummy"}, graph.Card, ""},
	} {
		name := strings.Fields(c.make[0])
		made := name[2]
		if i := slices.Index(name, "name"); i >= 0 {
			made = name[i+1]
		}
		t.Run(made, func(t *testing.T) {
			if out, err := l.try(c.make[0]); err != nil {
				testhost.Lacking(t, c.need, out)
			}
			l.t = t
			l.ip(c.make[1:]...)
			g := l.read()
			if n := node(t, g, "host/"+made); n.Kind != c.kind || n.Ours {
				t.Errorf("%+v, want the kind %s", n, c.kind)
			}
			if c.link != "" && !slices.Contains(links(g), c.link) {
				t.Errorf("%q, want %q among them", links(g), c.link)
			}
		})
	}
}

// TestUnseenGuest: a guest whose namespace has no name here is known by the mark on the
// host's end of its pair, and otherwise by that alone.
func TestUnseenGuest(t *testing.T) {
	l := newLab(t, "web", "other", "away")
	mark := plan.MarkOf(guests.GuestInfo{Runtime: "docker", ID: "0123456789ab", Name: "gone"}, "eth1")
	parked := plan.MarkOf(guests.GuestInfo{Runtime: "docker", ID: "ba9876543210", Name: "away"}, "eth1")
	group := strconv.Itoa(plan.Group)
	l.ip("link add port1 group "+group+" type veth peer name eth1 netns NS:web", "link add port2 type veth peer name eth0 netns NS:other",
		"link add port3 group "+group+" type veth peer name parked netns NS:away")
	for port, alias := range map[string]string{"port1": mark.String(), "port3": parked.Parked()} {
		cmd := program.Command("nsenter", "--net=/proc/self/fd/3", "ip", "link", "set", port, "alias", alias)
		cmd.ExtraFiles = []*os.File{l.host}
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatal(err, string(out))
		}
	}
	for name := range l.guests {
		if err := os.Remove(filepath.Join(l.dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	g := l.read()
	if n := node(t, g, "guest/docker:gone"); n.State != graph.Unseen || n.Word != "docker:gone" {
		t.Errorf("%+v", n)
	}
	if n := node(t, g, "guest/docker:away"); n.State != graph.Parked {
		t.Errorf("%+v", n)
	}
	if n := node(t, g, "guest/not visible from here"); n.State != graph.Unseen || n.Word != "" {
		t.Errorf("%+v", n)
	}
	if !slices.Contains(links(g), "guest/docker:gone/eth1 -pair- host/port1 *") || len(g.Links) != 3 {
		t.Errorf("%q", links(g))
	}
}

// TestOVS: an Open vSwitch bridge in the process, whose ports have no master in the kernel.
func TestOVS(t *testing.T) {
	testhost.NeedRoot(t)
	h := testhost.New(t)
	o, err := h.StartOVS()
	if err != nil {
		testhost.Lacking(t, "ovs", err.Error())
	}
	t.Setenv("OVS_RUNDIR", o.RunDir)
	l := newLab(t, "web")
	if l.host, err = os.Open(h.Namespace()); err != nil {
		t.Fatal(err)
	}
	defer l.host.Close()
	l.ip("link add port1 type veth peer name eth1 netns NS:web")
	if out, err := o.Vsctl("add-br", "ovs1", "--", "set", "bridge", "ovs1", "datapath_type=netdev", "--", "add-port", "ovs1", "port1", "tag=10"); err != nil {
		t.Fatal(err, out)
	}
	g := l.read()
	if n := node(t, g, "host/ovs1"); n.Kind != graph.OVS || n.Ours {
		t.Errorf("%+v", n)
	}
	want := graph.Link{From: "host/port1", To: "host/ovs1", Kind: graph.Member, VLAN: "10"}
	if !slices.Contains(g.Links, want) {
		t.Errorf("%+v, want %+v among them", g.Links, want)
	}
	for _, n := range g.Nodes {
		if n.Name == "ovs-netdev" {
			t.Errorf("%+v", n)
		}
	}
}
