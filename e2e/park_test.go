//go:build linux

package e2e

import (
	"strings"
	"testing"

	"github.com/gopipework/gopipework/e2e/host"
)

// TestWatchKeepsPort: the port of a namespace that is deleted and made again is the same
// while somebody watches; the MAC address is the same in any case; and what nobody asks for
// any more is gone.
func TestWatchKeepsPort(t *testing.T) {
	m := keeping(t)
	m.quiet("brtest", "netns:blue", "192.168.1.2/24", "--keep")
	w := m.watch()
	becomes := func(after, state string) {
		t.Helper()
		var all []attachment
		if !host.Poll(host.Patience, func() bool {
			all = m.list()
			return state == "" && len(all) == 0 || len(all) == 1 && all[0].State == state
		}) {
			t.Fatalf("after %s, it is not %q: %+v", after, state, all)
		}
	}
	becomes("the start", "complete")
	m.held("/run/netns/blue") // it was attached before watch was there
	port, mac := m.port("blue")
	for range 3 {
		m.sh("ip netns del blue")
		becomes("a deletion", "parked")
		if is := m.sh("ip -o link show master brtest"); !strings.Contains(is, port+"@") {
			t.Errorf("while the guest is away, the ports are %s and not %s", is, port)
		}
		m.sh("ip netns add blue")
		becomes("a deletion and an addition", "complete")
		if is, now := m.port("blue"); is != port || now != mac {
			t.Errorf("the port is %s and the MAC address %s, they were %s and %s", is, now, port, mac)
		}
	}
	m.sh("ip netns del blue")
	becomes("a deletion", "parked")
	w.kill()
	w = m.watch()
	becomes("a kill of watch", "pending")
	m.sh("ip netns add blue")
	becomes("an addition", "complete")
	if _, now := m.port("blue"); now != mac {
		t.Errorf("the MAC address is %s, and was %s", now, mac)
	}
	m.sh("ip netns del blue")
	becomes("a deletion", "parked")
	m.ok("forget", "netns:blue")
	becomes("forget", "")
	if !host.Poll(host.Patience, func() bool { return !strings.Contains(m.do("ip -br link"), "brtest") }) {
		t.Error("the bridge is there still")
	}
	w.stop(t)
}
