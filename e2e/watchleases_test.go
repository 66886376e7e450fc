//go:build linux

package e2e

import (
	"context"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/gopipework/gopipework/e2e/host"
	"github.com/insomniacslk/dhcp/dhcpv4"
)

// keepsAll starts gopipework watch, and returns when it keeps all leases.
func (m *machine) keepsAll(args ...string) *background {
	m.t.Helper()
	b := m.begin(m.Command(context.Background(), "gopipework", append([]string{"watch"}, args...)...))
	if !host.Poll(host.Patience, func() bool { return len(m.keepers()) == 0 && m.kept() }) {
		m.t.Fatalf("watch does not take the leases over; keepers %v, records %q, list %s, stderr %s", m.keepers(), m.records(), m.ok("list").Stdout, b.stderr.String())
	}
	return b
}

// kept reports whether there are leases, and something keeps each.
func (m *machine) kept() (yes bool) {
	m.t.Helper()
	for _, a := range m.list() {
		if a.Lease != nil && a.Lease.Trouble != "" {
			return false
		}
		yes = yes || a.Lease != nil
	}
	return yes
}

// While watch runs, it keeps the leases: those that others kept, and those that are got
// meanwhile. It ends, and a keeper of its own goes on with each; it is killed, and the next
// one does. The server hears of none of that, and the address is there all the time.
func TestWatchKeepsLeases(t *testing.T) {
	m := keeping(t)
	router, g := m.router("brtest"), m.guest()
	s := &server{}
	addresses := map[string]byte{}
	var released atomic.Int32
	m.answer(s, router, func(r *dhcpv4.DHCPv4) [][]byte {
		s.asked.Add(1)
		if r.MessageType() == dhcpv4.MessageTypeRelease {
			released.Add(1)
			return nil
		}
		id := string(r.Options.Get(dhcpv4.OptionClientIdentifier))
		if addresses[id] == 0 {
			addresses[id] = 77 + byte(len(addresses))
		}
		return [][]byte{host.Reply(r, []byte{10, 9, 0, 1}, []byte{10, 9, 0, addresses[id]}, 14*time.Second)}
	})
	m.quiet("brtest", g.Word, "dhcp")
	pings := make(chan host.Result, 1)
	go func() { pings <- router.Run("busybox", "ping", "-i", "0.5", "-w", "12", "-q", "10.9.0.77") }()

	w := m.keepsAll()
	m.check(w.Process.Signal(syscall.SIGKILL))
	w.end(t)
	file := m.topology("lab", "brtest netns:blue dhcp")
	w = m.keepsAll("-f", file) // it attaches, and keeps that lease too
	if !host.Poll(host.Patience, func() bool { l := m.list("netns:blue"); return len(l) == 1 && l[0].Lease != nil }) {
		t.Error("watch attaches nothing")
	}
	other := m.guest()
	m.quiet("brtest", other.Word, "dhcp")
	if !host.Poll(host.Patience, func() bool { return len(m.keepers()) == 0 && m.kept() }) {
		t.Errorf("keepers %v beside watch", m.keepers())
	}
	m.quiet("detach", other.Word)
	asked := s.asked.Load()
	if !host.Poll(host.Patience, func() bool { return s.asked.Load() > asked }) {
		t.Error("watch does not renew the lease")
	}
	m.check(w.Process.Signal(syscall.SIGTERM))
	if r := w.end(t); !strings.Contains(r.Stderr, `"state":"acquired"`) || !strings.Contains(r.Stderr, `"state":"released"`) {
		t.Errorf("it tells %s", r.Stderr)
	}
	if n := len(m.keepers()); n != 2 || !m.kept() {
		t.Errorf("after watch, %d processes keep two leases", n)
	}
	if r := <-pings; !strings.Contains(r.Stdout, " 0% packet loss") {
		t.Errorf("the address was away:\n%s", r.Stdout)
	}
	m.quiet("detach", g.Word)
	m.quiet("detach", "netns:blue")
	m.notKept()
	s.Close()
	if n := released.Load(); n != 3 {
		t.Errorf("%d leases were released", n)
	}
}
