//go:build linux

package e2e

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gopipework/gopipework/e2e/host"
)

// killKeeper kills the only keeper, and waits until it has let go of its lock.
func (m *machine) killKeeper() {
	m.t.Helper()
	m.kill(m.keeper())
}

// list and --dry-run tell that a keeper was killed, and start and remove nothing;
// a line that changes something starts it.
func TestListOnlyReads(t *testing.T) {
	m := newMachine(t)
	router, g := m.router("brtest"), m.guest()
	m.lends(router, time.Hour)
	m.quiet("brtest", g.Word, "dhcp")
	if l := m.ok("list", g.Word).Stdout; strings.Contains(l, "lease:") {
		t.Errorf("list finds something wrong:\n%s", l)
	}
	m.killKeeper()
	before := m.Run("sh", "-c", "cd /run/gopipework; ls -l; cat *.json").Stdout
	m.says("list", m.ok("list").Stdout, "lease: its keeper was killed")
	if l := m.list(g.Word)[0].Lease; l == nil || l.Source != "dhcp" || l.Server != "10.9.0.1" || l.Seconds <= 0 || !strings.Contains(l.Trouble, "was killed") {
		t.Errorf("list GUEST --json: %+v", l)
	}
	m.ok("--dry-run", "brtest", g.Word, "dhcp")
	if after := m.Run("sh", "-c", "cd /run/gopipework; ls -l; cat *.json").Stdout; after != before || len(m.keepers()) != 0 {
		t.Errorf("keepers %v; the files were\n%s\nand are\n%s", m.keepers(), before, after)
	}
	other := m.guest()
	m.quiet("brtest", other.Word, "10.9.0.5/24")
	m.keeper()
	m.quiet("detach", g.Word)
	m.notKept()
}

// A keeper that cannot start is its own guest's affair: others are attached and
// listed, with a warning.
func TestKeeperCannotStart(t *testing.T) {
	m := newMachine(t)
	router, g, other := m.router("brtest"), m.guest(), m.guest()
	m.lends(router, time.Hour)
	m.quiet("brtest", g.Word, "dhcp")
	m.killKeeper()
	sock := strings.TrimSpace(m.Run("sh", "-c", "ls -d /run/gopipework/dhcp-*.sock").Stdout)
	m.check(m.Run("sh", "-ec", "rm "+sock+"; mkdir -p "+sock+"/in/the/way").Err())
	m.says("attach", m.ok("brtest", other.Word, "10.9.0.5/24").Stderr, "warning: ", "keep the leases of "+g.Word)
	m.says("gc", m.ok("gc").Stderr, "warning: ", g.Word)
	m.says("list", m.ok("list").Stdout, g.Word, other.Word)
	m.ok("detach", other.Word)
	m.check(m.Run("rm", "-r", sock).Err())
	m.quiet("detach", g.Word)
	m.notKept()
}

// What outlives a run holds nothing of its caller's: neither a lock, nor a pipe.
func TestKeepersHoldNothing(t *testing.T) {
	m := newMachine(t)
	router, g := m.router("brtest"), m.guest()
	m.dnsmasq(router)
	words := []string{"dhcp", "udhcpc-f"}
	for i, word := range words {
		ifName := []string{"eth1", "eth2"}[i]
		lock := "/run/lock-" + word
		line := "exec 8</etc/hostname 9>" + lock + "; flock 9; exec gopipework brtest -i " + ifName + " " + g.Word + " " + word
		m.check(m.Run("sh", "-ec", line).Err())
		m.check(m.Run("flock", "-n", lock, "true").Err())
	}
	m.quiet("detach", "--all", g.Word)
	m.notKept()
}

// The interface of a killed keeper is deleted: nothing is kept any more, and no
// keeper comes back for it.
func TestKilledKeeperWithoutInterface(t *testing.T) {
	m := newMachine(t)
	router, g := m.router("brtest"), m.guest()
	s := m.lends(router, time.Hour)
	m.quiet("brtest", g.Word, "dhcp")
	m.killKeeper()
	m.check(g.Run("ip", "link", "del", "eth1").Err())
	asked := s.asked.Load()
	if !host.Poll(30*time.Second, func() bool { m.ok("gc"); return len(m.keepers()) == 0 && m.records() == "" }) {
		t.Errorf("keepers %v, records %q", m.keepers(), m.records())
	}
	if n := s.asked.Load(); n != asked {
		t.Errorf("the server was asked %d times for an interface that is gone", n-asked)
	}
	if l := m.list(g.Word); slices.ContainsFunc(l, func(a attachment) bool { return a.State == "complete" }) {
		t.Errorf("listed: %+v", l)
	}
}
