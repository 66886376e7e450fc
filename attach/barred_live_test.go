package attach

import (
	"context"
	"strings"
	"testing"

	"github.com/gopipework/gopipework/internal/fault"
)

// TestBarredRoutes: the guest's own routes and rules that the kernel refuses a route
// for are what the error speaks of, and not the caller's rights. Nothing is left.
func TestBarredRoutes(t *testing.T) {
	needRoot(t)
	for name, c := range map[string]struct{ barred, want, hint string }{
		"a blackhole":             {"ip route add blackhole default", "default via 10.0.0.1 dev eth1: there is one with the same destination and metric already", "ip route show 0.0.0.0/0"},
		"a rule that prohibits":   {"ip rule add pref 5 iif lo prohibit", "a rule or a route of its own keeps 10.0.0.1 from being reached by eth1", "ip route get 10.0.0.1"},
		"no look at the table":    {"ip rule del pref 32766", "a rule or a route of its own keeps 10.0.0.1 from being reached by eth1", "ip rule;"},
		"a rule that is no way":   {"ip rule add pref 5 iif lo unreachable", "a rule or a route of its own keeps 10.0.0.1 from being reached by eth1", "ip rule;"},
		"a blackhole that yields": {"ip route add blackhole default metric 9", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			hostNS, g := newNamespace(t), docker(newNamespace(t), 0)
			in(t, g.Namespace, "sh", "-ec", "ip link set lo up; "+c.barred)
			before := snapshot(t, hostNS) + snapshot(t, g.Namespace)
			_, err := runAttach(context.Background(), parsed(t, "brtest web 10.0.0.2/24@10.0.0.1"), g, hostNS, Options{})
			if c.want == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			f, _ := err.(*fault.Error)
			if fault.CodeOf(err) != fault.Conflict || f == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(f.Hint, c.hint) {
				t.Errorf("%v; hint %+v", err, f)
			}
			sameSoon(t, "host and guest", before, func() string { return snapshot(t, hostNS) + snapshot(t, g.Namespace) })
		})
	}
}
