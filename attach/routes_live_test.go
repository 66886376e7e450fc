package attach

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/gopipework/gopipework/internal/build"
	"github.com/gopipework/gopipework/internal/fault"
)

// sourceRouted is the stage with all that this file is about.
func sourceRouted(t *testing.T) stage {
	t.Helper()
	for _, st := range stages {
		if st.name == "source routing" {
			return st
		}
	}
	t.Fatal("no such stage")
	return stage{}
}

// TestKilledReplies: what a killed run leaves of source routing, wherever it
// was, is deleted by a detach, by gc, and by the same line and its detach.
func TestKilledReplies(t *testing.T) {
	needRoot(t)
	st := sourceRouted(t)
	hostNS, guestNS := st.ready(t)
	inhabit(t, guestNS) // gc finds the guest by its process
	s, g := parsed(t, st.line), docker(guestNS, 0)
	detach := func() error {
		_, err := runDetach(context.Background(), Selection{All: true}, g, hostNS, Options{})
		return err
	}
	cures := map[string]func() error{
		"detach": detach,
		"gc": func() error {
			_, err := runGC(context.Background(), hostNS, Options{})
			return err
		},
		"the same line": func() error {
			if _, err := runAttach(context.Background(), s, g, hostNS, Options{}); err != nil {
				return err
			}
			return detach()
		},
		"another line": func() error {
			if _, err := runAttach(context.Background(), parsed(t, "brtest web 0/0"), g, hostNS, Options{}); err != nil {
				return err
			}
			return detach()
		},
		"the link gone, and gc": func() error {
			tryIn(guestNS, "ip", "link", "del", "eth1")
			_, err := runGC(context.Background(), hostNS, Options{})
			return err
		},
		"the link gone, and detach": func() error {
			tryIn(guestNS, "ip", "link", "del", "eth1")
			if err := detach(); err != nil {
				return err
			}
			_, err := runGC(context.Background(), hostNS, Options{}) // the bridge
			return err
		},
	}
	host, guest := viewOf(t, hostNS), viewOf(t, guestNS)
	for n, last := 3, false; !last; n++ {
		for name, cure := range cures {
			attempt(t, s, g, hostNS, asItIs, func(p *build.Plan) {
				last = n == len(p.Steps)-1 // all but the mark
				p.Steps = append(p.Steps[:n:n], failStep{})
				for i := range p.Steps[:n] {
					p.Steps[i] = noUndo{p.Steps[i]}
				}
			}, untold)
			if err := cure(); err != nil {
				t.Fatalf("%s after step %d: %v", name, n, err)
			}
			host.sameSoon(t, fmt.Sprintf("host after step %d and %s", n, name))
			guest.sameSoon(t, fmt.Sprintf("guest after step %d and %s", n, name))
			if t.Failed() {
				return
			}
		}
	}
	if _, err := runAttach(context.Background(), s, g, hostNS, Options{}); err != nil {
		t.Fatal(err)
	}
	rules := func() string {
		return in(t, guestNS, "sh", "-c", "ip rule; ip -6 rule; ip route show table all proto 103")
	}
	complete := rules()
	if _, err := runGC(context.Background(), hostNS, Options{}); err != nil {
		t.Fatal(err)
	}
	same(t, "guest after gc of nothing", complete, rules())
}

// TestSharedReplies: the source routing of the old default route's interface
// is shared by the attachments that need it, and goes with the last of them.
func TestSharedReplies(t *testing.T) {
	needRoot(t)
	hostNS, guestNS := newNamespace(t), newNamespace(t)
	in(t, guestNS, "sh", "-ec", quiet+twoDefaults)
	g := docker(guestNS, 0)
	attach := func(line string) {
		t.Helper()
		for i, changed := range []bool{true, false} {
			r, err := runAttach(context.Background(), parsed(t, line), g, hostNS, Options{})
			if err != nil || r.Changed != changed {
				t.Fatalf("%s, time %d: changed = %v, %v", line, i+1, r.Changed, err)
			}
		}
	}
	detach := func(name string) {
		t.Helper()
		if _, err := runDetach(context.Background(), Selection{IfName: name}, g, hostNS, Options{}); err != nil {
			t.Fatal(err)
		}
	}
	// leaves tells by which interface packets from an address leave.
	leaves := func(from, dev string) {
		t.Helper()
		out := in(t, guestNS, "ip", "-o", "route", "get", "192.0.2.1", "from", from)
		if want := "dev " + dev + " "; !strings.Contains(out, want) {
			t.Errorf("packets from %s: %swant %q", from, out, want)
		}
	}
	before := snapshot(t, guestNS)
	const first = "brtest web 192.168.1.2/24@192.168.1.1 --source-routing"
	attach(first)
	attach("brtest -i eth2 web 192.168.2.2/24@192.168.2.1")
	attach("brtest -i eth3 web 192.168.3.2/24@192.168.3.1 --source-routing")
	if r, err := runAttach(context.Background(), parsed(t, first), g, hostNS, Options{}); err != nil || r.Changed {
		t.Errorf("the first line, after others: %q, %v; want nothing to do", r.Steps, err)
	}
	if _, err := runAttach(context.Background(), parsed(t, "brtest web 192.168.1.2/24@192.168.1.1"), g, hostNS, Options{}); fault.CodeOf(err) != fault.Conflict {
		t.Errorf("the first line without source routing: %v; want a conflict", err)
	}
	for from, dev := range map[string]string{"172.17.0.2": "old", "192.168.1.2": "eth1", "192.168.2.2": "eth2", "192.168.3.2": "eth3"} {
		leaves(from, dev)
	}
	detach("eth1")
	leaves("172.17.0.2", "old")
	leaves("192.168.2.2", "eth2")
	detach("eth3")
	leaves("172.17.0.2", "eth2") // nobody asks for source routing any more
	detach("eth2")
	sameSoon(t, "guest", before, func() string { return snapshot(t, guestNS) })
}

// TestRoutesInTheWay: a route of the guest's that goes before that of the new
// interface's subnet is warned of, and one that does not is not.
func TestRoutesInTheWay(t *testing.T) {
	needRoot(t)
	for _, tt := range []struct {
		route, address, to string
		by                 string // what the kernel takes
		warned             bool
	}{
		{"10.0.0.0/25", "10.0.0.2/24", "10.0.0.7", "d0", true},
		{"10.0.0.7/32", "10.0.0.2/24", "10.0.0.7", "d0", true},
		{"10.0.0.0/24", "10.0.0.2/24", "10.0.0.7", "d0", true},
		{"10.0.0.0/24 metric 7", "10.0.0.2/24", "10.0.0.7", "eth1", false},
		{"10.0.0.0/8", "10.0.0.2/24", "10.0.0.7", "eth1", false},
		{"10.0.0.0/24", "10.0.0.2/32", "10.0.0.7", "d0", false},
		{"fd00::/96", "fd00::2/64", "fd00::7", "d0", true},
		{"fd00::/64 metric 7", "fd00::2/64", "fd00::7", "d0", true},
		{"fd00::/64", "fd00::2/64", "fd00::7", "eth1", false},
	} {
		t.Run(tt.route+" and "+tt.address, func(t *testing.T) {
			hostNS, g := newNamespace(t), docker(newNamespace(t), 0)
			in(t, g.Namespace, "sh", "-ec", `ip link add d0 type veth peer name d1; ip link set d0 up; ip link set d1 up
ip address add 172.31.0.1/24 dev d0; ip route add `+tt.route+` dev d0`)
			s := parsed(t, "brtest web "+tt.address+" --nodad")
			r, err := runAttach(context.Background(), s, g, hostNS, Options{})
			if err != nil {
				t.Fatal(err)
			}
			said := strings.Join(r.Warnings, "\n")
			if strings.Contains(said, "by d0 takes precedence") != tt.warned {
				t.Errorf("warned of: %q", said)
			}
			if got := in(t, g.Namespace, "ip", "route", "get", tt.to); !strings.Contains(got, "dev "+tt.by+" ") {
				t.Errorf("the kernel takes: %s", got)
			}
		})
	}
}
