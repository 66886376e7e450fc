package attach

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/gopipework/gopipework/internal/build"
	"github.com/gopipework/gopipework/internal/fault"
)

var uplinkStage = stage{name: "a VXLAN", line: "brtest web 192.168.1.2/24,2001:db8::2/64 --nodad --uplink vxlan:100,local=10.9.0.1,peer=10.9.0.2",
	host: "ip link set lo up; ip address add 10.9.0.1/32 dev lo"}

// pinned shows the stations and neighbours of a host's bridges that somebody has entered.
func pinned(t *testing.T, hostNS *os.File) string {
	t.Helper()
	return in(t, hostNS, "sh", "-c", "bridge fdb show | grep static; bridge fdb show | grep dst; ip neighbour show nud permanent; true")
}

// TestUplinkUndone: an attach with an uplink that fails before any of its steps leaves the host
// as it was.
func TestUplinkUndone(t *testing.T) {
	needRoot(t)
	hostNS, guestNS := uplinkStage.ready(t)
	host := viewOf(t, hostNS)
	for n, last := 0, false; !last; n++ {
		err := attempt(t, parsed(t, uplinkStage.line), docker(guestNS, 0), hostNS, asItIs, func(p *build.Plan) {
			last = n == len(p.Steps)
			p.Steps = append(p.Steps[:n:n], failStep{})
		}, untold)
		if !errors.Is(err, errPlanned) || fault.CodeOf(err) == fault.Residue {
			t.Fatalf("step %d: %v", n, err)
		}
		host.same(t, fmt.Sprintf("host after failure at step %d", n))
	}
}

// TestUplinkKilled: whatever a killed attach with an uplink has left, gc deletes once the guest
// has gone, and detach deletes after the same line.
func TestUplinkKilled(t *testing.T) {
	needRoot(t)
	hostNS, guestNS := uplinkStage.ready(t)
	host := viewOf(t, hostNS)
	inhabit(t, guestNS)
	g := docker(guestNS, 0)
	for n, done := 1, false; !done; n++ {
		kill := func() {
			_ = attempt(t, parsed(t, uplinkStage.line), g, hostNS, asItIs, func(p *build.Plan) {
				done = n == len(p.Steps)
				p.Steps = append(p.Steps[:n:n], failStep{})
				for i := range p.Steps[:n] {
					p.Steps[i] = noUndo{p.Steps[i]}
				}
			}, untold)
		}
		kill()
		if !done {
			if _, err := GC(context.Background(), Options{HostNS: hostNS}); err != nil {
				t.Fatal(err)
			}
			host.same(t, fmt.Sprintf("host after a kill at step %d, and gc", n))
			kill()
		}
		if _, err := runAttach(context.Background(), parsed(t, uplinkStage.line), g, hostNS, Options{}); err != nil {
			t.Fatal(err)
		}
		if got := pinned(t, hostNS); strings.Count(got, "PERMANENT proto 103") != 2 || strings.Count(got, " static") != 1 || strings.Count(got, "dst 10.9.0.2") != 1 {
			t.Errorf("after a kill at step %d and the same line:\n%s", n, got)
		}
		if r, err := runAttach(context.Background(), parsed(t, uplinkStage.line), g, hostNS, Options{}); err != nil || r.Changed {
			t.Errorf("twice: %+v, %v", r.Steps, err)
		}
		if _, err := runDetach(context.Background(), Selection{}, g, hostNS, Options{}); err != nil {
			t.Fatal(err)
		}
		host.same(t, fmt.Sprintf("host after detach %d", n))
	}
}
