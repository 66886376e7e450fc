//go:build linux && amd64

package e2e

import (
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gopipework/gopipework/e2e/host"
)

// TestDoctorKilled: wherever doctor is killed, soon everything is as it was before: links,
// rules, neighbours, mounts, instances of tracefs and processes.
func TestDoctorKilled(t *testing.T) {
	m := newMachine(t)
	m.sh("sysctl -qw net.bridge.bridge-nf-call-iptables=1")
	twoOnBridge(m)
	for _, way := range []struct {
		name, do string
		blows    int
	}{
		{"a way that is well", "true", 50},
		{"a way on which a rule drops", "iptables -F DOCKER-USER", 50},
	} {
		m.sh(way.do)
		look := func() string {
			return m.sh(`ip -o link | sed 's/ qlen.*//'; nft -s list ruleset; for g in web db; do ip -n $g -o neigh; ip -n $g -o link; ip netns exec $g nft -s list ruleset; done; ip -o neigh
				cat /proc/self/mountinfo; ls /sys/kernel/tracing/instances 2>/dev/null || true; pgrep -fa --ns $$ --nslist net '^(/proc/self/exe|gopipework) ' || true`)
		}
		step := func(b host.Blow) host.Stepped {
			b.Any = true
			s, err := host.Step(m.Command(t.Context(), "gopipework", "doctor", "netns:web", "--to", "netns:db"), b)
			m.check(err)
			return s
		}
		whole := step(host.Blow{}) // it loads what of the kernel it needs
		before := ""
		settled := func() bool { was := before; before = look(); return was == before }
		if !host.Poll(host.Patience, settled) {
			t.Fatal("the host does not settle")
		}
		killed := 0
		for i := range way.blows {
			at := 1 + i*len(whole.Calls)/way.blows
			if s := step(host.Blow{At: at, After: i%2 == 0, Signal: syscall.SIGKILL}); s.Code == 128+int(syscall.SIGKILL) {
				killed++
			}
			now := ""
			if !host.Poll(10*time.Second, func() bool { now = look(); return now == before }) {
				t.Fatalf("%s: killed at call %d of %d (%s): there is\n%s\nand there was\n%s", way.name, at, len(whole.Calls), strings.Join(whole.Calls[max(0, at-2):min(at+1, len(whole.Calls))], "; "), now, before)
			}
		}
		if killed < way.blows/2 {
			t.Errorf("%s: only %d of %d were killed", way.name, killed, way.blows)
		}
		t.Logf("%s: %d system calls, killed at %d", way.name, len(whole.Calls), killed)
	}
}
