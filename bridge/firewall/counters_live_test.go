//go:build linux

package firewall

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestCountersLive finds the rule, or the policy, of iptables-legacy that has dropped what
// was sent.
func TestCountersLive(t *testing.T) {
	for _, tt := range []struct {
		name   string
		family Family
		load   []string
		want   string
	}{
		{"a policy", IPv4, []string{"-P FORWARD DROP", "-A FORWARD -i other -j ACCEPT"}, "iptables-legacy filter FORWARD, policy drop"},
		{"a rule", IPv4, []string{"-N isolate", "-A FORWARD -j isolate", "-A isolate -s 10.9.0.0/24 -j DROP", "-A isolate -i brtest -o brtest -j DROP"},
			"iptables-legacy filter isolate, -A isolate -i brtest -o brtest -j DROP"},
		{"a reject", IPv6, []string{"-A FORWARD -i brtest -j REJECT"},
			"ip6tables-legacy filter FORWARD, -A FORWARD -i brtest -j REJECT --reject-with icmp6-port-unreachable"},
		{"raw", IPv4, []string{"-t raw -A PREROUTING -d 10.99.0.2/32 -j DROP"}, "iptables-legacy raw PREROUTING, -A PREROUTING -d 10.99.0.2/32 -j DROP"},
		{"nothing", IPv4, []string{"-A FORWARD -i other -j DROP"}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := newFWHost(t)
			tool := h.iptables(tt.family, Legacy)
			g := h.bridge("brtest", 2)
			h.wantReach(tt.family, g[0], g[1], true, "before there are rules")
			for _, line := range tt.load {
				h.tool("", tool, strings.Fields(line)...)
			}
			before, err := Counters(t.Context())
			h.check(err)
			for quiet := false; !quiet; { // on a busy machine some of what reached it before is still to come
				time.Sleep(100 * time.Millisecond)
				now, err := Counters(t.Context())
				h.check(err)
				quiet = Moved(before, now, 1) == nil
				before = now
			}
			const probes = 3
			for range probes {
				h.send(tt.family, g[0], g[1])
			}
			after, err := Counters(t.Context())
			h.check(err)
			if quiet := Moved(after, after, 0); quiet != nil {
				t.Errorf("moved, though nothing was sent: %v", quiet)
			}
			moved := Moved(before, after, probes)
			i := slices.IndexFunc(moved, func(c Counter) bool { return c.Drops })
			got := ""
			if i >= 0 {
				got = moved[i].String()
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("dropped by (-want +got):\n%s\nof %v", diff, moved)
			}
			if i >= 0 && moved[i].Packets != probes {
				t.Errorf("%d packets, want %d", moved[i].Packets, probes)
			}
		})
	}
}

// TestMoved: rules that were put in between are not taken for those that stood there.
func TestMoved(t *testing.T) {
	const before = `# Generated
*filter
:INPUT ACCEPT [5:500]
:FORWARD DROP [1:84]
:mine - [0:0]
[2:168] -A FORWARD -i a -j mine
[0:0] -A FORWARD -m comment --comment "it's \"b\"" -j DROP
[9:900] -A mine -j DROP
COMMIT
`
	grown := strings.NewReplacer("[1:84]", "[4:336]", "[0:0] -A", "[3:252] -A", "[9:900]", "[10:984]").Replace(before)
	got := Moved(parseCounters(IPv4, before), parseCounters(IPv4, grown), 3)
	want := []Counter{
		{IPv4, "filter", "FORWARD", "policy drop", true, 3},
		{IPv4, "filter", "FORWARD", `-A FORWARD -m comment --comment "it's \"b\"" -j DROP`, true, 3},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("moved (-want +got):\n%s", diff)
	}
	put := strings.Replace(grown, "[3:252]", "[7:588] -A FORWARD -j new\n[3:252]", 1)
	if got := Moved(parseCounters(IPv4, before), parseCounters(IPv4, put), 3); !cmp.Equal(got, want[:1]) {
		t.Errorf("moved, though a rule was put in: %v", got)
	}
	if got := Moved(nil, parseCounters(IPv4, grown), 0); got != nil {
		t.Errorf("moved, though there were no rules: %v", got)
	}
}

// TestCountersNone: where there are no legacy tables, there are no counters.
func TestCountersNone(t *testing.T) {
	newFWHost(t)
	if all, err := Counters(t.Context()); all != nil || err != nil {
		t.Errorf("%v, %v", all, err)
	}
}
