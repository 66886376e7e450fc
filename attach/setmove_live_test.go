package attach

import (
	"context"
	"errors"
	"fmt"
	"os"
	"testing"

	"github.com/gopipework/gopipework/internal/build"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/guests"
	"github.com/gopipework/gopipework/internal/plan"
)

// TestMoveEnds: a move to another bridge that fails at any step leaves the port where it was.
// One that is killed at any step is completed by the same line, and gc deletes what it has
// left of the old bridge.
func TestMoveEnds(t *testing.T) {
	needRoot(t)
	for _, tt := range []struct {
		name, line, set string
		want            Host // but for its port
		needs           string
	}{
		{"to a Linux bridge", "br1 web 192.168.1.2/24", "--to br2 --isolated on --nodad",
			Host{Kind: "bridge", Name: "br2", Isolated: true}, ""},
		{"to Open vSwitch", "br1 web 192.168.1.2/24 --isolated", "--to ovs2 --isolated on --vlan 20 --nodad",
			Host{Kind: "ovs", Name: "ovs2", VLAN: "20", Isolated: true}, "ovs"},
		{"from Open vSwitch", "ovs1 web 192.168.1.2/24 @10", "--to br2 --isolated on --vlan none --nodad",
			Host{Kind: "bridge", Name: "br2", Isolated: true}, "ovs"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			host, want := newHostFor(t, tt.needs), tt.want
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
			want.Port = before.Host.Port
			for n, done := 0, false; !done; n++ {
				done = killedMove(t, set, g, host, n)
				if _, err := runSet(context.Background(), set, g, host, Options{}); err != nil {
					t.Fatalf("killed after step %d: %v", n, err)
				}
				if _, err := runGC(context.Background(), host, Options{}); err != nil {
					t.Fatal(err)
				}
				now := listed(t, host, g)
				if up := in(t, host, "ip", "link", "show", "up", "dev", want.Port) != ""; now.Host != want || now.Interface.MAC != before.Interface.MAC || !up {
					t.Errorf("killed after step %d, and the same again: %+v, up: %v; want %+v", n, now.Host, up, want)
				}
				noBridge(t, host, before.Host.Name)
				if _, err := runDetach(context.Background(), Selection{}, g, host, Options{}); err != nil {
					t.Fatal(err)
				}
				noBridge(t, host, set.To.Name)
				before = attach()
			}
			for n, done := 0, false; !done; n++ {
				var err error
				if done, err = tryToSet(t, set, g, host, n); !errors.Is(err, errPlanned) || fault.CodeOf(err) == fault.Residue {
					t.Fatalf("step %d: %v", n, err)
				}
				now := listed(t, host, g)
				if now.Host != before.Host || now.Interface.MAC != before.Interface.MAC {
					t.Errorf("after failure at step %d: %+v", n, now)
				}
				noBridge(t, host, set.To.Name)
				if t.Failed() {
					return
				}
			}
		})
	}
}

// noBridge fails the test if the host has a bridge of that name.
func noBridge(t *testing.T, host *os.File, name string) {
	t.Helper()
	if _, err := tryIn(host, "ip", "link", "show", "dev", name); err == nil {
		t.Errorf("%s is there", name)
	}
}

// killedMove carries out the first n steps of a set, as a run does that is killed then. done is
// whether these are all.
func killedMove(t *testing.T, s SetSpec, g guests.Guest, host *os.File, n int) (done bool) {
	t.Helper()
	withSet(t, s, g, host, func(ctx context.Context, m *plan.Machine, p build.Plan) {
		done = n == len(p.Steps)
		for _, s := range p.Steps[:n] {
			if err := s.Do(ctx, m); err != nil {
				t.Fatal(fmt.Errorf("%s: %w", s, err))
			}
		}
	})
	return done
}
