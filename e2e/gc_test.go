//go:build linux

package e2e

import (
	"fmt"
	"testing"
	"time"

	"github.com/gopipework/gopipework/e2e/host"
)

// Guests that died leave a bridge and rules; gc deletes those, and only
// what nobody uses.
func TestGC(t *testing.T) {
	m := newMachine(t)
	m.do("ip link add lan address 02:00:00:00:00:99 type bridge")
	m.do("ip link set lan up")
	check := m.unchanged()
	m.quiet("gc") // nothing to do
	check("after gc of nothing")

	dead, alive := m.guests(3), m.guest()
	for i, g := range dead {
		m.quiet([]string{"br1", "br2", "lan"}[i], g.Word, fmt.Sprintf("10.0.%d.2/24", i))
	}
	m.quiet("br1", alive.Word, "10.0.0.3/24")
	for _, g := range dead {
		m.check(g.Kill())
	}
	// The kernel deletes a namespace's links a moment after its end.
	if !host.Poll(30*time.Second, func() bool { return len(m.list()) == 1 }) {
		t.Fatal("links of dead guests are still there")
	}
	m.ok("--dry-run", "gc")
	if _, ok := m.links(m)["br2"]; !ok {
		t.Error("--dry-run deleted a bridge")
	}
	m.ok("gc")
	l := m.links(m)
	if _, ok := l["br2"]; ok {
		t.Error("br2 has no port, and is left")
	}
	if _, ok := l["lan"]; !ok {
		t.Error("lan is not ours, and is gone")
	}
	m.rules(1, 1)
	m.reaches(alive, "10.0.0.3")
	m.quiet("gc")
	m.quiet("detach", alive.Word)
	m.quiet("gc")
	m.do("ip link set lan down")
	m.do("ip link set lan up")
	check("after gc and detach")
}
