package attach

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/gopipework/gopipework/internal/build"
	"github.com/gopipework/gopipework/internal/guests"
	"github.com/gopipework/gopipework/internal/ours"

	testhost "github.com/gopipework/gopipework/e2e/host"
	"github.com/gopipework/gopipework/e2e/table"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/plan"
	"github.com/gopipework/gopipework/internal/rtnl"
)

// cardStage is a host with a card that is in full use. A veth end plays it: its
// other end is the wire.
type cardStage struct {
	hostNS *os.File
	guest  guests.Guest
	spec   Spec
}

const cardLine = "--direct-phys nic0 -i lan0 web 10.0.0.1/24,2001:db8:1::1/64@10.0.0.9 26:2e:71:98:60:8f --mtu 1500 --force-phys --nodad"

func newCardStage(t *testing.T) cardStage {
	t.Helper()
	needRoot(t)
	notesHere(t)
	st := cardStage{hostNS: newNamespace(t), guest: docker(newNamespace(t), 0), spec: parsed(t, cardLine)}
	inhabit(t, st.guest.Namespace)
	in(t, st.hostNS, "sh", "-ec", quiet+`
ip link add nic0 type veth peer name wire; ip link set wire up; ip address add 10.0.0.9/24 dev wire
ip link set nic0 address 02:00:00:00:00:77 mtu 1400 txqueuelen 500 alias "to the lab" group 7
ip link property add dev nic0 altname lab altname enp9s0
ip link set nic0 up allmulticast on
ip address add 192.0.2.1/24 brd + dev nic0; ip address add 192.0.2.9/32 dev nic0 label nic0:x
ip -6 address add 2001:db8::5/64 dev nic0 nodad
ip route add default via 192.0.2.254 dev nic0
ip route add 10.77.0.0/16 via 192.0.2.253 dev nic0 table 77 metric 5
ip -6 route add default via 2001:db8::fe dev nic0 metric 90`)
	carriers(t, st.hostNS, "nic0", "wire")
	// The kernel's tables and the guest's queues exist from now on.
	for _, ns := range []*os.File{st.hostNS, st.guest.Namespace} {
		in(t, ns, "sh", "-c", "iptables-save; ip6tables-save")
	}
	return st
}

// notesHere keeps what is noted of cards in a directory of the test's.
func notesHere(t *testing.T) {
	t.Helper()
	was := ours.RunDir
	ours.RunDir = filepath.Join(t.TempDir(), "run")
	t.Cleanup(func() { ours.RunDir = was })
}

// look is the state of both sides and of the notes, in an order that does not
// depend on who came first.
func (st cardStage) look(t *testing.T) string {
	t.Helper()
	lines := strings.Split(snapshot(t, st.hostNS)+snapshot(t, st.guest.Namespace), "\n")
	for i, l := range lines {
		lines[i] = strings.TrimSpace(l)
	}
	slices.Sort(lines)
	notes, _ := os.ReadDir(ours.RunDir)
	return strings.Join(lines, "\n") + fmt.Sprintf("\n%d notes\n", len(notes))
}

func (st cardStage) attach(t *testing.T, changed bool) {
	t.Helper()
	r, err := runAttach(context.Background(), st.spec, st.guest, st.hostNS, Options{})
	if err != nil || r.Changed != changed {
		t.Fatalf("attach: changed = %v, %v; want %v", r.Changed, err, changed)
	}
}

// one is the one attachment that there is.
func (st cardStage) one(t *testing.T) Attachment {
	t.Helper()
	all, err := runList(context.Background(), st.hostNS, &st.guest)
	if err != nil || len(all) != 1 {
		t.Fatalf("list: %+v, %v; want one", all, err)
	}
	return all[0]
}

// TestCard: a card is lent, whatever the guest does to it, and is returned as it
// was.
func TestCard(t *testing.T) {
	st := newCardStage(t)
	before := st.look(t)
	st.attach(t, true)
	st.attach(t, false)
	if !hears(st.guest.Namespace, "10.0.0.9") || !hears(st.hostNS, "10.0.0.1") {
		t.Error("the guest and the network do not hear each other")
	}
	table.Proven(t, "phys", table.Attach, table.Twice, table.Traffic)
	if a := st.one(t); a.State != Complete || a.Host != (Host{Kind: "phys", Name: "nic0"}) || a.Interface.Name != "lan0" {
		t.Errorf("list: %+v", a)
	}
	in(t, st.guest.Namespace, "sh", "-ec", `ip link set lan0 down
ip link set lan0 name lost alias "gopipework docker:ffffffffffff eth0 other" mtu 1300 address 02:00:00:00:00:78 group 5
ip link property add dev lost altname liar; ip link set lost up; ip address add 10.3.3.3/8 dev lost`)
	if a := st.one(t); a.State != Complete || a.Interface.Name != "lost" || a.Guest.Name != "web" {
		t.Errorf("list after the guest has renamed it: %+v", a)
	}
	table.Proven(t, "phys", table.List)
	for i, changed := range []bool{true, false} {
		r, err := runDetach(context.Background(), Selection{IfName: "lan0"}, st.guest, st.hostNS, Options{})
		if err != nil || r.Changed != changed {
			t.Fatalf("detach %d: changed = %v, %v; want %v", i+1, r.Changed, err, changed)
		}
	}
	sameSoon(t, "all after detach", before, func() string { return st.look(t) })
	table.Proven(t, "phys", table.Detach)
}

// TestCardFails: an attach that fails before any step leaves the card as it
// was; and what a run that is killed there leaves, gc and the same line mend.
func TestCardFails(t *testing.T) {
	st := newCardStage(t)
	before := st.look(t)
	for n, last := 0, false; !last; n++ {
		stop := func(p *build.Plan) {
			last = n == len(p.Steps)
			p.Steps = append(p.Steps[:n:n], failStep{})
		}
		if err := attempt(t, st.spec, st.guest, st.hostNS, asItIs, stop, untold); !errors.Is(err, errPlanned) || fault.CodeOf(err) == fault.Residue {
			t.Fatalf("step %d: %v", n, err)
		}
		sameSoon(t, fmt.Sprintf("all after failure at step %d", n), before, func() string { return st.look(t) })
		kill := func() {
			attempt(t, st.spec, st.guest, st.hostNS, asItIs, func(p *build.Plan) {
				stop(p)
				for i := range p.Steps[:n] {
					p.Steps[i] = noUndo{p.Steps[i]}
				}
			}, untold)
		}
		kill()
		if !last {
			if _, err := runGC(context.Background(), st.hostNS, Options{}); err != nil {
				t.Fatal(err)
			}
			sameSoon(t, fmt.Sprintf("all after gc, killed at step %d", n), before, func() string { return st.look(t) })
			kill()
		}
		st.attach(t, !last)
		if _, err := runDetach(context.Background(), Selection{}, st.guest, st.hostNS, Options{}); err != nil {
			t.Fatal(err)
		}
		sameSoon(t, fmt.Sprintf("all after the same line and detach, killed at step %d", n), before, func() string { return st.look(t) })
		if t.Failed() {
			return
		}
	}
	table.Proven(t, "phys", table.Undone)
}

// TestCardRefused: a card that somebody uses stays, and so does one whose name
// at home is taken when it is to come back.
func TestCardRefused(t *testing.T) {
	st := newCardStage(t)
	before := st.look(t)
	for what, line := range map[string]string{
		"in use":     "phys:nic0 web 0/0",
		"loopback":   "phys:lo web 0/0 --force-phys",
		"not there":  "phys:nic7 web 0/0",
		"with a tag": "phys:nic0 web 0/0 @10 --force-phys",
	} {
		if _, err := runAttach(context.Background(), parsed(t, line), st.guest, st.hostNS, Options{}); err == nil {
			t.Errorf("a card %s was lent", what)
		}
	}
	sameSoon(t, "all", before, func() string { return st.look(t) })
	st.attach(t, true)
	in(t, st.hostNS, "ip", "link", "add", "nic0", "type", "bridge")
	if _, err := runDetach(context.Background(), Selection{}, st.guest, st.hostNS, Options{}); fault.CodeOf(err) != fault.Conflict {
		t.Errorf("detach: %v; want a conflict", err)
	}
	in(t, st.hostNS, "ip", "link", "del", "nic0")
	if _, err := runDetach(context.Background(), Selection{}, st.guest, st.hostNS, Options{}); err != nil {
		t.Error(err)
	}
	sameSoon(t, "all after detach", before, func() string { return st.look(t) })
}

// TestCardHostile: a guest that gives the card names of the host, or puts a link
// of its own in its place, neither keeps it nor gets one of its own home.
func TestCardHostile(t *testing.T) {
	st := newCardStage(t)
	before := st.look(t)
	st.attach(t, true)
	in(t, st.guest.Namespace, "ip", "link", "property", "add", "dev", "lan0", "altname", "nic0", "altname", "wire")
	if _, err := runDetach(context.Background(), Selection{}, st.guest, st.hostNS, Options{}); err != nil {
		t.Fatal(err)
	}
	sameSoon(t, "all after detach of a card with names of the host", before, func() string { return st.look(t) })

	st.attach(t, true)
	l := linkIn(t, st.guest.Namespace, "lan0")
	in(t, st.guest.Namespace, "sh", "-ec", fmt.Sprintf(
		"ip link del lan0; ip link add evil index %d type veth peer name trap index %d", l.Index, l.Peer))
	if _, err := runDetach(context.Background(), Selection{IfName: "lan0"}, st.guest, st.hostNS, Options{}); err != nil {
		t.Errorf("detach of a card that the guest has deleted: %v", err)
	}
	linkIn(t, st.guest.Namespace, "evil")
	if _, err := tryIn(st.hostNS, "ip", "link", "show", "nic0"); err == nil {
		t.Error("the guest's own link is on the host, as nic0")
	}
	if notes, _ := os.ReadDir(ours.RunDir); len(notes) > 0 {
		t.Errorf("left: %v", notes)
	}
}

func linkIn(t *testing.T, ns *os.File, name string) *rtnl.Link {
	t.Helper()
	l, err := kernelOf(t, ns).LinkByName(name)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return l
}

// TestCardHidden: a card in a namespace that only a descriptor holds is not
// taken for lost.
func TestCardHidden(t *testing.T) {
	needRoot(t)
	notesHere(t)
	hostNS := newNamespace(t)
	in(t, hostNS, "sh", "-ec", "ip link add nic0 type veth peer name wire")
	before := inventory(t, hostNS)
	g := docker(newNamespace(t), 0)
	if _, err := runAttach(context.Background(), parsed(t, "phys:nic0 web 0/0"), g, hostNS, Options{}); err != nil {
		t.Fatal(err)
	}
	if r, err := runGC(context.Background(), hostNS, Options{}); err != nil || r.Changed {
		t.Errorf("gc: %q, %v; want nothing done", r.Steps, err)
	}
	if _, err := runDetach(context.Background(), Selection{}, g, hostNS, Options{}); err != nil {
		t.Fatal(err)
	}
	sameSoon(t, "the host", before, func() string { return inventory(t, hostNS) })
}

// TestCardWithoutItsRoute: what cannot be restored is named, once, and the card
// is returned.
func TestCardWithoutItsRoute(t *testing.T) {
	needRoot(t)
	notesHere(t)
	hostNS := newNamespace(t)
	in(t, hostNS, "sh", "-ec", quiet+`for n in 0 1; do ip link add nic$n type veth peer name wire$n; ip link set nic$n up; ip link set wire$n up
ip address add 192.0.$n.1/24 dev nic$n; done
ip route add 10.77.0.0/16 nexthop via 192.0.0.254 dev nic0 nexthop via 192.0.1.254 dev nic1`)
	g := docker(newNamespace(t), 0)
	if _, err := runAttach(context.Background(), parsed(t, "phys:nic0 web 0/0 --force-phys"), g, hostNS, Options{}); err != nil {
		t.Fatal(err)
	}
	in(t, hostNS, "ip", "link", "del", "nic1")
	var f *fault.Error
	_, err := runDetach(context.Background(), Selection{}, g, hostNS, Options{})
	if !errors.As(err, &f) || f.Code != fault.Residue || !strings.Contains(strings.Join(f.Residue, "\n"), "10.77.0.0/16") {
		t.Errorf("detach: %v; want the route named as residue", err)
	}
	in(t, hostNS, "sh", "-ec", "ip address show dev nic0 | grep -q 192.0.0.1/24")
	if r, err := runGC(context.Background(), hostNS, Options{}); err != nil || r.Changed {
		t.Errorf("gc: %q, %v; want nothing done", r.Steps, err)
	}
}

// TestCardGoesWithGuest: a virtual card ends with its guest's namespace, and gc
// forgets it.
func TestCardGoesWithGuest(t *testing.T) {
	needRoot(t)
	notesHere(t)
	hostNS := newNamespace(t)
	in(t, hostNS, "sh", "-ec", "ip link add nic0 type veth peer name wire")
	g := docker(newNamespace(t), 0)
	if _, err := runAttach(context.Background(), parsed(t, "phys:nic0 web 0/0"), g, hostNS, Options{}); err != nil {
		t.Fatal(err)
	}
	g.Namespace.Close()
	eventually(t, "the namespace has ended", func() bool {
		_, err := tryIn(hostNS, "ip", "link", "show", "wire")
		return err != nil
	})
	for i, changed := range []bool{true, false} {
		r, err := runGC(context.Background(), hostNS, Options{})
		if err != nil || r.Changed != changed {
			t.Errorf("gc %d: changed = %v, %v, want %v: %q", i+1, r.Changed, err, changed, r.Steps)
		}
	}
	if notes, _ := os.ReadDir(ours.RunDir); len(notes) > 0 {
		t.Errorf("left: %v", notes)
	}
}

// TestHardware: a card that is no virtual device outlives its guest. The kernel
// returns it under a wrong name, and gc, or the same line, makes it what it
// was. Of a machine's own cards none may be used, so GOPIPEWORK_CARD names the
// one: make kernels gives its kernel a card for this test.
func TestHardware(t *testing.T) {
	needRoot(t)
	notesHere(t)
	nic := os.Getenv("GOPIPEWORK_CARD")
	if nic == "" {
		testhost.Lacking(t, "nic", "GOPIPEWORK_CARD names no card")
	}
	hostNS := ownNS
	in(t, hostNS, "sh", "-ec", `ip link set `+nic+` address 02:00:00:00:00:77 mtu 1400 alias "to the lab" up
ip address add 10.55.0.1/24 brd + dev `+nic+`; ip route add 10.77.0.0/16 via 10.55.0.253 dev `+nic+` table 77`)
	st := cardStage{hostNS: hostNS, spec: parsed(t, "phys:"+nic+" -i lan0 web 10.55.0.3/24 --force-phys")}
	before := inventory(t, hostNS)
	for round, mend := range map[string]func(){
		"gc": func() {
			if r, err := runGC(context.Background(), hostNS, Options{}); err != nil || !r.Changed {
				t.Fatalf("gc: changed = %v, %v", r.Changed, err)
			}
		},
		"the same line": func() {
			st.guest = docker(newNamespace(t), 0)
			st.attach(t, true)
			if _, err := runDetach(context.Background(), Selection{}, st.guest, hostNS, Options{}); err != nil {
				t.Fatal(err)
			}
		},
	} {
		ns := newNamespace(t)
		st.guest = docker(ns, 0)
		st.attach(t, true)
		if !hears(ns, "10.55.0.2") {
			t.Error("the guest does not hear the network")
		}
		// Its name in the guest is taken on the host when the guest ends.
		in(t, ns, "sh", "-ec", "ip link set lan0 down; ip link set lan0 name gone0 address 02:00:00:00:00:78 mtu 1300")
		in(t, hostNS, "ip", "link", "add", "gone0", "type", "bridge")
		ns.Close()
		home := ""
		eventually(t, "the card is back", func() bool {
			lent, _, err := ours.LentBy(kernelOf(t, hostNS))
			if err != nil || len(lent) != 1 {
				t.Fatalf("loans: %+v, %v", lent, err)
			}
			if lent[0].Home != nil {
				home = lent[0].Home.Name
			}
			return home != ""
		})
		if home == nic {
			t.Fatalf("the card is back as %q", home)
		}
		in(t, hostNS, "ip", "link", "del", "gone0")
		all, err := runList(context.Background(), hostNS, nil)
		if err != nil || len(all) != 1 || all[0].State != Half || all[0].Host.Name != nic {
			t.Errorf("list while it is %s: %+v, %v", home, all, err)
		}
		mend()
		sameSoon(t, "the host after "+round, before, func() string { return inventory(t, hostNS) })
		if notes, _ := os.ReadDir(ours.RunDir); len(notes) > 0 {
			t.Errorf("left after %s: %v", round, notes)
		}
	}
	in(t, hostNS, "ip", "address", "flush", "dev", nic)
}

// kernelOf opens a side for a test.
func kernelOf(t *testing.T, ns *os.File) plan.Kernel {
	t.Helper()
	c, err := rtnl.Open(ns)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}
