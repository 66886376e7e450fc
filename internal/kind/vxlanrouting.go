package kind

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gopipework/gopipework/internal/build"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/hosttool"
	"github.com/gopipework/gopipework/internal/plan"
	"github.com/gopipework/gopipework/internal/spec"
)

// planAwaitRouting plans for FRR to take up what is pinned. made is the VXLAN that the plan makes;
// the zero VXLAN: the bridge has one, or none.
func planAwaitRouting(p Pin, made spec.VXLAN, u build.Uplink, d *build.Draft) {
	v := made
	if u.VXLAN().Asked() {
		v = u.VXLAN()
	}
	if v.Asked() && len(v.Peers) == 0 && (!p.Static || p.Leased || len(p.fresh(p.Want)) > 0) {
		d.Add(AwaitRouting{Pin: p, VNI: v.VNI})
	}
}

// AwaitRouting waits until FRR has taken up what is pinned, if it runs on this host and tells
// others who is where. FRR hears of links in one thread and of stations in another, each once,
// and passes over a station of a port that it does not know yet. So what it has passed over is
// pinned anew.
type AwaitRouting struct {
	Pin
	VNI int
}

// routingPatience is how long FRR may take on a busy machine, and routingPause how long it has
// before it is told again.
const (
	routingPatience = 5 * time.Second
	routingPause    = 50 * time.Millisecond
)

// Do asks FRR. Whether packets flow on this host does not hang on it, so no answer is no reason
// to fail.
func (s AwaitRouting) Do(ctx context.Context, m *plan.Machine) error {
	vtysh, err := exec.LookPath("vtysh")
	if err != nil {
		return nil // there is no FRR, or it is in a container
	}
	for end := time.Now().Add(routingPatience); ; {
		text := ""
		err := m.Host().Run(func() (err error) {
			text, err = hosttool.Run(ctx, vtysh, "-d", "zebra", "-c", s.question())
			return err
		})
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil || strings.TrimSpace(text) == "" || s.knows(text):
			return nil // it does not run, or is not to tell anybody
		case time.Now().After(end):
			m.Warn(fmt.Sprintf("guests of other hosts do not reach %s: FRR has not taken it up within %s; what it knows: vtysh -c %q", s.MAC, routingPatience, "show evpn mac vni "+strconv.Itoa(s.VNI)))
			return nil
		}
		if err := s.again(m); err != nil {
			return err
		}
		time.Sleep(routingPause)
	}
}

// question is what FRR is asked; without EVPN the answer is empty.
func (s AwaitRouting) question() string {
	return fmt.Sprintf("show evpn mac vni %d mac %s json", s.VNI, s.MAC)
}

// knows reads the answer.
func (s AwaitRouting) knows(text string) bool {
	var all map[string]struct {
		Type      string          `json:"type"`
		Neighbors json.RawMessage `json:"neighbors"` // a list of those in use, or the word none
	}
	if json.Unmarshal([]byte(text), &all) != nil {
		return false
	}
	for word, is := range all {
		if mac, err := net.ParseMAC(word); err != nil || !slices.Equal(mac, s.MAC) || is.Type != "local" {
			continue
		}
		return !slices.ContainsFunc(s.Want, func(a netip.Addr) bool { return !strings.Contains(string(is.Neighbors), strconv.Quote(a.String())) })
	}
	return false
}

// again pins anew, since the kernel tells nobody of what stays as it is.
func (s AwaitRouting) again(m *plan.Machine) error {
	port, bridge, err := s.find(m)
	if err != nil {
		return fault.Explain("find", s.Port, err)
	}
	if err := fault.IgnoreAbsent("delete station", s.MAC.String(), m.Host().DelStation(port, s.MAC)); err != nil {
		return err
	}
	for _, a := range s.wanted(m) {
		if err := fault.IgnoreAbsent("delete neighbour", a.String(), m.Host().DelNeighbour(bridge, a)); err != nil {
			return err
		}
	}
	again := s.Pin
	again.Was = nil // what is not wanted has gone already
	return again.Do(context.Background(), m)
}

func (AwaitRouting) Undo(context.Context, *plan.Machine) error { return nil }

func (AwaitRouting) Nature() plan.Nature { return plan.Passive }

func (s AwaitRouting) String() string {
	return "# wait until FRR, if it runs here, has taken it up: vtysh -c '" + s.question() + "'"
}
