package attach

import (
	"context"
	"os"
	"strings"
	"testing"

	testhost "github.com/gopipework/gopipework/e2e/host"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/guests"
)

// TestOVSForwards: what keeps an Open vSwitch bridge from passing frames on is
// waited for where it ends, and told of where it does not.
func TestOVSForwards(t *testing.T) {
	needRoot(t)
	for _, c := range []struct {
		name, set string
		warning   string // "": none
		flows     bool
	}{
		{"standalone", "set bridge ovs-f fail_mode=standalone", "", true},
		{"secure", "set-fail-mode ovs-f secure", "no controller, and no flow", false},
		{"secure with a flow", "set-fail-mode ovs-f secure; ovs-ofctl add-flow ovs-f actions=NORMAL", "", true},
		{"secure, controller gone", "set-fail-mode ovs-f secure; ovs-vsctl --no-wait set-controller ovs-f tcp:127.0.0.1:1", "controller has written no flow", false},
		{"a flow drops", "set bridge ovs-f fail_mode=standalone; ovs-ofctl add-flow ovs-f priority=9,arp,actions=drop", "by its flows", false},
		{"STP", "set bridge ovs-f stp_enable=true other_config:stp-forward-delay=4 other_config:stp-max-age=6", "spanning tree", true},
		{"RSTP", "set bridge ovs-f rstp_enable=true other_config:rstp-forward-delay=4", "spanning tree", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			hostNS := newHostFor(t, "ovs")
			in(t, hostNS, "sh", "-ec", "ovs-vsctl --timeout=60 add-br ovs-f -- set bridge ovs-f datapath_type=netdev; ovs-vsctl --timeout=60 "+c.set)
			for _, n := range []string{"1", "2"} {
				g := docker(newNamespace(t), 0)
				g.Name, g.ID = "g"+n, "00000000000"+n
				r, err := runAttach(context.Background(), parsed(t, "ovs-f -i o0 web 10.7.0."+n+"/24"), g, hostNS, Options{})
				if said := strings.Join(r.Warnings, "\n"); err != nil || !strings.Contains(said, c.warning) || c.warning == "" && said != "" {
					t.Fatalf("%v, warnings %q; want %q", err, said, c.warning)
				}
				if n == "2" && !answers(g.Namespace, "10.7.0.1", c.flows) {
					t.Errorf("the other guest is heard: %v, want %v", !c.flows, c.flows)
				}
				if n == "2" && c.name == "RSTP" {
					replug(t, g, hostNS)
				}
			}
		})
	}
}

// replug pulls the cable of a guest and plugs it in again, after which the other guest is heard
// at once.
func replug(t *testing.T, g guests.Guest, hostNS *os.File) {
	t.Helper()
	for _, flags := range []string{"--carrier off", "--carrier on"} {
		s := typedSet(t, flags)
		s.IfName = "o0"
		if _, err := runSet(context.Background(), s, g, hostNS, Options{}); err != nil {
			t.Fatal(err)
		}
	}
	if !ping(g.Namespace, "10.7.0.1", 3) {
		t.Error("set --carrier on returns before frames pass")
	}
}

// TestOVSStopped: an ovs-vswitchd that does not answer is named, whichever bound
// ends the wait, and nothing is left of the attach.
func TestOVSStopped(t *testing.T) {
	needRoot(t)
	h := testhost.New(t)
	o, err := h.StartOVS()
	if err != nil {
		testhost.Lacking(t, "ovs", err.Error())
	}
	t.Setenv("OVS_RUNDIR", o.RunDir)
	hostNS, err := os.Open(h.Namespace())
	if err != nil {
		t.Fatal(err)
	}
	defer hostNS.Close()
	if _, err := o.Vsctl("add-br", "ovs-f", "--", "set", "bridge", "ovs-f", "datapath_type=netdev"); err != nil {
		t.Fatal(err)
	}
	if err := o.SignalSwitch(9); err != nil {
		t.Fatal(err)
	}
	err = inTheWait(parsed(t, "ovs-f -i o0 web 10.7.0.2/24"), docker(newNamespace(t), 0), hostNS)
	if fault.CodeOf(err) != fault.Timeout || !strings.Contains(err.Error(), "ovs-vswitchd did not answer") {
		t.Errorf("%v; want a timeout that names ovs-vswitchd", err)
	}
	if ports, err := o.Vsctl("--no-wait", "list-ports", "ovs-f"); err != nil || ports != "" {
		t.Errorf("left: %q, %v", ports, err)
	}
}
