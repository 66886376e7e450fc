package attach

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	testhost "github.com/gopipework/gopipework/e2e/host"
	"github.com/gopipework/gopipework/e2e/program"
	"github.com/gopipework/gopipework/internal/build"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/guests"
	"github.com/gopipework/gopipework/internal/kind"
	"github.com/gopipework/gopipework/internal/plan"
	"github.com/gopipework/gopipework/internal/rtnl"
)

// parkStage is a host whose guests' ends are parked.
type parkStage struct {
	name, line, needs string
	reach             string // commands after the attach that let the host reach the guest
}

var parkStages = []parkStage{
	{"bridge", "brx -i lan0 web 192.168.1.2/24,2001:db8::2/64 --nodad", "", "ip address add 192.168.1.1/24 dev brx"},
	{"VLAN", "brx -i lan0 web 192.168.1.2/24 @10 --vlan-filtering", "vlan_filtering", "bridge vlan add dev brx vid 10 pvid untagged self; ip address add 192.168.1.1/24 dev brx"},
	{"host", "host:tap0 -i lan0 web 192.168.1.2/24 --host-addr 192.168.1.1/24", "", ""},
	{"Open vSwitch", "ovsbr0 -i lan0 web 192.168.1.2/24", "ovs", "ip address add 192.168.1.1/24 dev ovsbr0; ip link set ovsbr0 up"},
}

// parked is a stage with one guest attached.
type parkedHost struct {
	parkStage
	hostNS *os.File
	host   *rtnl.Conn
	opt    Options
	spec   Spec
}

// ready makes the host, and a guest that is attached.
func (st parkStage) ready(t *testing.T) (h parkedHost, g guests.Guest) {
	t.Helper()
	needRoot(t)
	h = parkedHost{parkStage: st, hostNS: newHostFor(t, st.needs), spec: parsed(t, st.line)}
	in(t, h.hostNS, "sh", "-ec", quiet+"ip link add brx address 02:00:00:00:00:09 type bridge; ip link set brx up")
	h.opt = Options{HostNS: h.hostNS, Origin: OriginKeep, Parking: newParking(t)}
	var err error
	if h.host, err = rtnl.Open(h.hostNS); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.host.Close)
	g = h.start(t)
	attachOrLack(t, h.spec, g, h.hostNS, OriginKeep, st.needs)
	in(t, h.hostNS, "sh", "-ec", "true; "+st.reach)
	return h, g
}

func newParking(t *testing.T) *Parking {
	t.Helper()
	p, err := NewParking()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

// hears waits for an answer of the guest.
func (h parkedHost) hears(t *testing.T) {
	t.Helper()
	if !hears(h.hostNS, "192.168.1.2") {
		t.Error("the guest does not answer")
	}
}

// start returns the guest, with a namespace of its own.
func (h parkedHost) start(t *testing.T) guests.Guest {
	t.Helper()
	g := docker(testhost.NewNamespace(t), 0)
	g.PID = 0
	return g
}

// port is the one port of ours.
func (h parkedHost) port(t *testing.T) *rtnl.Link {
	t.Helper()
	links, err := h.host.Links()
	if err != nil {
		t.Fatal(err)
	}
	var found []*rtnl.Link
	for _, l := range links {
		if plan.IsOurs(l) && l.Kind == "veth" {
			found = append(found, l)
		}
	}
	if len(found) != 1 {
		t.Fatalf("the host has %d ports of ours, not 1", len(found))
	}
	return found[0]
}

func everyone(GuestInfo, string, Origin) bool { return true }
func nobody(GuestInfo, string, Origin) bool   { return false }

// end ends the guest: it is parked, and its namespace goes.
func (h parkedHost) end(t *testing.T, g guests.Guest, parked int) {
	t.Helper()
	n, err := h.opt.Parking.Park(t.Context(), &g, everyone, h.opt)
	if err != nil || n != parked {
		t.Fatalf("parked: %d, %v; want %d", n, err, parked)
	}
	g.Namespace.Close()
}

func (h parkedHost) attach(t *testing.T, g guests.Guest) Attachment {
	t.Helper()
	r, err := Attach(t.Context(), h.spec, &g, h.opt)
	if err != nil {
		t.Fatal(err)
	}
	all, err := runList(t.Context(), h.hostNS, &g)
	if err != nil || len(all) != 1 || all[0].State != Complete || all[0].Origin != OriginKeep || all[0].Host != r.Attachments[0].Host {
		t.Fatalf("listed: %+v, %v; attached: %+v", all, err, r.Attachments)
	}
	return all[0]
}

// TestPark: what there is of a port lives on while its guest is away, and when it comes
// back; meanwhile nobody answers for the guest, and nothing deletes the port.
func TestPark(t *testing.T) {
	for _, st := range parkStages {
		t.Run(st.name, func(t *testing.T) {
			h, g := st.ready(t)
			was := h.port(t)
			in(t, h.hostNS, "tc", "qdisc", "add", "dev", was.Name, "root", "handle", "1:", "pfifo", "limit", "77")
			h.hears(t)
			before, err := runList(t.Context(), h.hostNS, &g)
			if err != nil {
				t.Fatal(err)
			}
			for round := range 2 {
				h.end(t, g, 1)
				if round == 0 && ping(h.hostNS, "192.168.1.2", 1) {
					t.Error("the address of a guest that has ended answers")
				}
				all, err := runList(t.Context(), h.hostNS, nil)
				if err != nil || len(all) != 1 || all[0].State != Parked || all[0].Guest.Name != "web" || all[0].Interface.Name != "lan0" || all[0].Host != before[0].Host {
					t.Errorf("listed while it is parked: %+v, %v", all, err)
				}
				if r, err := GC(t.Context(), h.opt); err != nil || r.Changed {
					t.Errorf("gc: %q, %v", r.Steps, err)
				}
				g = h.start(t)
				a := h.attach(t, g)
				is := h.port(t)
				if is.Index != was.Index || is.Name != was.Name || is.Master != was.Master || a.Interface.MAC != before[0].Interface.MAC || a.Interface.MTU != before[0].Interface.MTU || a.Host != before[0].Host {
					t.Errorf("the port is %+v of %+v, and was %+v of %+v", is, a, was, before[0])
				}
				if out := in(t, h.hostNS, "tc", "qdisc", "show", "dev", is.Name); !strings.Contains(out, "pfifo 1:") {
					t.Errorf("its queue is %s", out)
				}
				h.hears(t)
				if r, err := Attach(t.Context(), h.spec, &g, h.opt); err != nil || r.Changed {
					t.Errorf("the same again: %q, %v", r.Steps, err)
				}
			}
			if _, err := Detach(t.Context(), Selection{}, &g, h.opt); err != nil {
				t.Fatal(err)
			}
			if all, err := runList(t.Context(), h.hostNS, nil); err != nil || len(all) != 0 {
				t.Errorf("listed after detach: %+v, %v", all, err)
			}
		})
	}
}

// TestParkLetGo: what nobody waits for any more goes, with what stood for it.
func TestParkLetGo(t *testing.T) {
	for _, line := range []string{"brtest web 192.168.1.2/24", "brx web 192.168.1.2/24", "host:tap0 web 10.9.0.2/30"} {
		t.Run(line, func(t *testing.T) {
			h, g := parkStage{line: line}.ready(t)
			h.end(t, g, 1)
			if err := h.opt.Parking.LetGo(t.Context(), everyone, h.opt); err != nil {
				t.Fatal(err)
			}
			h.port(t)
			if err := h.opt.Parking.LetGo(t.Context(), nobody, h.opt); err != nil {
				t.Fatal(err)
			}
			if out := in(t, h.hostNS, "ip", "-o", "link"); strings.Contains(out, "veth") || strings.Contains(out, "brtest") {
				t.Errorf("the host still has:\n%s", out)
			}
		})
	}
}

// TestParkNot: a guest that others are in, or that has changed its end, is not parked; and
// what is parked ends with whoever holds it, and is made again.
func TestParkNot(t *testing.T) {
	for _, test := range []struct {
		name  string
		then  func(t *testing.T, h *parkedHost, g guests.Guest)
		parks int
	}{
		{"inhabited", func(t *testing.T, h *parkedHost, g guests.Guest) {
			sleep := program.Command("nsenter", "--net=/proc/self/fd/3", "sleep", "60")
			sleep.ExtraFiles = []*os.File{g.Namespace}
			if err := sleep.Start(); err != nil {
				t.Fatal(err)
			}
			defer sleep.Wait()
			defer sleep.Process.Kill()
			there := func() bool { in, err := inhabited(t.Context(), g.NetNS); return in && err == nil }
			if !testhost.Poll(30*time.Second, there) {
				t.Fatal("the process is not in the guest")
			}
			if n, err := h.opt.Parking.Park(t.Context(), &g, everyone, h.opt); err != nil || n != 0 {
				t.Errorf("parked: %d, %v", n, err)
			}
		}, 1},
		{"no ARP", func(t *testing.T, _ *parkedHost, g guests.Guest) {
			in(t, g.Namespace, "ip", "link", "set", "eth1", "arp", "off")
		}, 0},
		{"unwanted", func(t *testing.T, h *parkedHost, g guests.Guest) {
			if n, err := h.opt.Parking.Park(t.Context(), &g, nobody, h.opt); err != nil || n != 0 {
				t.Errorf("parked: %d, %v", n, err)
			}
		}, 1},
		{"renamed", func(t *testing.T, _ *parkedHost, g guests.Guest) {
			in(t, g.Namespace, "sh", "-ec", "ip link set eth1 down; ip link set eth1 name foo; ip link property add dev foo altname bar; ip link set foo alias 'gopipework docker:0 eth1 x' promisc off")
		}, 1},
		{"deleted", func(t *testing.T, _ *parkedHost, g guests.Guest) { in(t, g.Namespace, "ip", "link", "del", "eth1") }, 0},
		{"closed", func(t *testing.T, h *parkedHost, g guests.Guest) {
			h.end(t, g, 1)
			h.opt.Parking.Close()
			h.opt.Parking = newParking(t)
		}, -1},
	} {
		t.Run(test.name, func(t *testing.T) {
			h, g := parkStage{line: "brx web 192.168.1.2/24", reach: "ip address add 192.168.1.1/24 dev brx"}.ready(t)
			was := h.port(t)
			test.then(t, &h, g)
			if test.parks >= 0 {
				h.end(t, g, test.parks)
			}
			if test.parks != 1 { // the kernel deletes it, some time later
				if !testhost.Poll(30*time.Second, func() bool { _, err := h.host.LinkByIndex(was.Index); return errors.Is(err, rtnl.ErrNotFound) }) {
					t.Fatal("the port is there still")
				}
			}
			g = h.start(t)
			h.attach(t, g)
			h.hears(t)
			if is := h.port(t); (is.Index == was.Index) != (test.parks == 1) {
				t.Errorf("the port has index %d, and had %d", is.Index, was.Index)
			}
		})
	}
}

// TestTakeFails: a take that fails at any step leaves the pair parked, for the next attach.
func TestTakeFails(t *testing.T) {
	for _, st := range parkStages {
		t.Run(st.name, func(t *testing.T) {
			h, g := st.ready(t)
			was := h.port(t)
			h.end(t, g, 1)
			g = h.start(t)
			before := snapshot(t, g.Namespace)
			for n, last := 0, false; !last; n++ {
				err := h.attempt(t, g, func(p *build.Plan) {
					last = n == len(p.Steps)
					p.Steps = append(p.Steps[:n:n], append([]plan.Step{failStep{}}, p.Steps[n:]...)...)
				})
				if !errors.Is(err, errPlanned) || fault.CodeOf(err) == fault.Residue {
					t.Fatalf("step %d: %v", n, err)
				}
				if l := h.port(t); l.Index != was.Index || !h.opt.Parking.holds(h.host, l.Index) {
					t.Fatalf("step %d: the port is %+v", n, l)
				}
			}
			same(t, "guest", before, snapshot(t, g.Namespace))
			h.attach(t, g)
			h.hears(t)
		})
	}
}

// TestTakeKilled: a take that is killed after any step leaves what the next attach makes
// right, and that the pair cannot be taken again.
func TestTakeKilled(t *testing.T) {
	h, g := parkStages[0].ready(t)
	for n, last := 1, false; !last; n++ {
		h.end(t, g, 1)
		g = h.start(t)
		err := h.attempt(t, g, func(p *build.Plan) {
			last = n == len(p.Steps)
			p.Steps = p.Steps[:n]
		})
		if err != nil {
			t.Fatalf("step %d: %v", n, err)
		}
		h.attach(t, g)
		h.hears(t)
	}
}

// attempt is an attach whose plan is edited on the way.
func (h parkedHost) attempt(t *testing.T, g guests.Guest, edit func(*build.Plan)) error {
	t.Helper()
	m, err := plan.Open(t.Context(), h.hostNS, g)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	m.Remember(kind.ParkingKey{}, h.opt.Parking.place)
	m.Remember(parkingKey{}, h.opt.Parking)
	f, err := observe(t.Context(), m, h.spec, nil)
	if err != nil {
		t.Fatal(err)
	}
	f.Origin = OriginKeep
	f.Machine = machine()
	if b := f.Base; b != nil {
		m.Know(plan.OnHost, b.Name, b.Index)
	}
	p, err := planAttach(h.spec, f)
	if err != nil {
		t.Fatal(err)
	}
	edit(&p)
	return p.Apply(context.WithoutCancel(t.Context()), m, untold)
}

// TestParkPIDAgain: a parked port keeps its name, with the PID that its guest had. A guest
// that has that PID now is attached all the same, while the other is away and when it is
// back.
func TestParkPIDAgain(t *testing.T) {
	h, g := parkStage{line: "brx web 192.168.1.2/24"}.ready(t)
	const pid = 4321
	if _, err := Detach(t.Context(), Selection{}, &g, h.opt); err != nil {
		t.Fatal(err)
	}
	g.PID = pid
	was := h.attach(t, g).Host.Port
	if was != "veth1pl4321" {
		t.Fatalf("the port is called %s", was)
	}
	other := func(name string) (guests.Guest, Attachment) {
		o := docker(testhost.NewNamespace(t), pid)
		o.ID, o.Name = strings.Repeat(name, 12), name
		r, err := Attach(t.Context(), parsed(t, "brx "+name+" 192.168.1.3/24"), &o, h.opt)
		if err != nil {
			t.Fatal(err)
		}
		all, err := runList(t.Context(), h.hostNS, &o)
		if err != nil || len(all) != 1 || all[0].State != Complete || all[0].Host.Port != r.Attachments[0].Host.Port {
			t.Errorf("listed: %+v, %v; attached: %+v", all, err, r.Attachments)
		}
		return o, all[0]
	}
	h.end(t, g, 1)
	a, meanwhile := other("a")
	g = h.start(t)
	if back := h.attach(t, g).Host.Port; back != was || meanwhile.Host.Port == was {
		t.Errorf("the port that was %s is %s, and the other guest's is %s", was, back, meanwhile.Host.Port)
	}
	if r, err := Attach(t.Context(), parsed(t, "brx a 192.168.1.3/24"), &a, h.opt); err != nil || r.Changed {
		t.Errorf("the same again: %q, %v", r.Steps, err)
	}
	if _, err := Detach(t.Context(), Selection{}, &a, h.opt); err != nil {
		t.Fatal(err)
	}
	if _, b := other("b"); b.Host.Port == was {
		t.Errorf("the port of a guest that is there is %s", b.Host.Port)
	}
}
