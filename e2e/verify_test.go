//go:build linux

package e2e

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gopipework/gopipework/e2e/host"
)

// A run with --verify that is killed leaves nothing of what it tried the way
// with, and the same line again succeeds. One whose packets are dropped says so,
// and is undone.
func TestVerifyKilled(t *testing.T) {
	m := newMachine(t)
	g := m.guest()
	line := []string{"--verify", "brver", g.Word, "10.0.0.2/24"}
	check := m.unchanged(g)
	whole := m.duration(g.Word, line...)
	gone := func() bool { return !strings.Contains(m.do("ip -o link"), "gpv") }
	for i := range 30 {
		after := moment(i, whole)
		m.interrupted(syscall.SIGKILL, after, line...)
		if !host.Poll(30*time.Second, gone) {
			t.Errorf("killed after %v: %s", after, m.do("ip -o link"))
		}
		m.ok(line...)
		m.ok("detach", g.Word)
		check(fmt.Sprintf("killed after %v", after))
	}
	m.do("iptables -t raw -S")
	m.do("sysctl -qw net.bridge.bridge-nf-call-iptables=1")
	m.do("iptables -t raw -A PREROUTING -p icmp -j DROP")
	if f := m.fails("failed", line...); !strings.Contains(f.Error.Message, "an IPv4 packet (ICMP echo) did not arrive") {
		t.Errorf("dropped: %+v", f)
	}
	if !gone() || len(m.list()) != 0 {
		t.Errorf("left after a failure: %s, %+v", m.do("ip -o link"), m.list())
	}
}
