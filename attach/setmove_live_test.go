package attach

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	testhost "github.com/gopipework/gopipework/e2e/host"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/guests"
	"github.com/gopipework/gopipework/internal/plan"
)

// TestMoveEnds: a move to another bridge that fails at any step leaves the port where it was.
// One that is killed at any step is completed by the same line, and gc deletes what it has
// left of the old bridge.
func TestMoveEnds(t *testing.T) {
	needRoot(t)
	for _, tt := range []struct{ name, line, set string }{
		{"to a Linux bridge", "br1 web 192.168.1.2/24", "--to br2 --isolated on --nodad"},
		{"to Open vSwitch", "br1 web 192.168.1.2/24 --isolated", "--to ovs2 --isolated on --vlan 20 --nodad"},
		{"from Open vSwitch", "ovs1 web 192.168.1.2/24 @10", "--to br2 --isolated on --vlan none --nodad"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ovs := strings.Contains(tt.line+tt.set, "ovs")
			host, last := moveHost(t, ovs), 0
			g, set := docker(newNamespace(t), 0), typedSet(t, tt.set)
			inhabit(t, g.Namespace)
			attach := func() Attachment {
				t.Helper()
				if _, err := runAttach(context.Background(), parsed(t, tt.line), g, host, Options{}); err != nil {
					t.Fatal(err)
				}
				return listed(t, host, g)
			}
			before := attach()
			for n, done := 0, false; !done; n++ {
				done, last = killedMove(t, set, g, host, n), n
				if _, err := runSet(context.Background(), set, g, host, Options{}); err != nil {
					t.Fatalf("killed after step %d: %v", n, err)
				}
				if _, err := runGC(context.Background(), host, Options{}); err != nil {
					t.Fatal(err)
				}
				want := Host{Kind: set.To.Name[:2], Name: set.To.Name, Port: before.Host.Port, Isolated: true}
				want.Kind = map[string]string{"br": "bridge", "ov": "ovs"}[want.Kind]
				if set.VLAN != "" && set.VLAN != "none" {
					want.VLAN = set.VLAN
				}
				now := listed(t, host, g)
				if up := in(t, host, "ip", "link", "show", "up", "dev", want.Port) != ""; now.Host != want || now.Interface.MAC != before.Interface.MAC || !up {
					t.Errorf("killed after step %d, and the same again: %+v, up: %v; want %+v", n, now.Host, up, want)
				}
				bridgeThere(t, host, before.Host.Name, false)
				if _, err := runDetach(context.Background(), Selection{}, g, host, Options{}); err != nil {
					t.Fatal(err)
				}
				bridgeThere(t, host, set.To.Name, false)
				before = attach()
			}
			first := 0
			if ovs {
				first = last // each step takes its time
			}
			for n := first; n <= last; n++ {
				if _, err := tryToSet(t, set, g, host, n); !errors.Is(err, errPlanned) || fault.CodeOf(err) == fault.Residue {
					t.Fatalf("step %d: %v", n, err)
				}
				now := listed(t, host, g)
				if now.Host != before.Host || now.Interface.MAC != before.Interface.MAC || !bridgeThere(t, host, set.To.Name, false) {
					t.Fatalf("after failure at step %d: %+v", n, now)
				}
			}
		})
	}
}

// moveHost is a host, with Open vSwitch if a test needs that.
func moveHost(t *testing.T, ovs bool) *os.File {
	t.Helper()
	if !ovs {
		return newNamespace(t)
	}
	h := testhost.New(t)
	o, err := h.StartOVS()
	if err != nil {
		testhost.Lacking(t, "ovs", err.Error())
	}
	t.Setenv("OVS_RUNDIR", o.RunDir)
	ns, err := os.Open(h.Namespace())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ns.Close() })
	return ns
}

// bridgeThere fails unless the bridge is there, or is not.
func bridgeThere(t *testing.T, host *os.File, name string, want bool) bool {
	t.Helper()
	_, err := tryIn(host, "ip", "link", "show", "dev", name)
	if there := err == nil; there != want {
		t.Errorf("%s is there: %v, want %v", name, there, want)
	}
	return (err == nil) == want
}

// killedMove carries out the first n steps of a set, as a run does that is killed then. done is
// whether these are all.
func killedMove(t *testing.T, s SetSpec, g guests.Guest, host *os.File, n int) (done bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), bound)
	defer cancel()
	m, err := plan.Open(ctx, host, g)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	f, err := observeSet(ctx, m, s)
	if err != nil {
		t.Fatal(err)
	}
	p, err := planSet(s, f)
	if err != nil {
		t.Fatal(err)
	}
	hold(f, m)
	for _, s := range p.Steps[:n] {
		if err := s.Do(ctx, m); err != nil {
			t.Fatal(fmt.Errorf("%s: %w", s, err))
		}
	}
	return n == len(p.Steps)
}
