//go:build linux

package e2e

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/gopipework/gopipework/e2e/host"
)

// minders are the processes that look after clients of the machine.
func (m *machine) minders() (pids []int) {
	m.t.Helper()
	here := strings.TrimSpace(m.do("readlink /proc/self/ns/net"))
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	m.check(err)
	for _, path := range lines {
		dir := filepath.Dir(path)
		line, _ := os.ReadFile(path)
		if ns, _ := os.Readlink(dir + "/ns/net"); ns == here && strings.Contains(string(line), "\x00--mind-client\x00") {
			pid, err := strconv.Atoi(filepath.Base(dir))
			m.check(err)
			pids = append(pids, pid)
		}
	}
	return pids
}

// The process that looks after a client is killed, and the client with it: the
// same line runs it again, and gc deletes the pid file.
func TestHostClientKilled(t *testing.T) {
	need(t, "clients")
	m := newMachine(t)
	router, g := m.router("brtest"), m.guest()
	m.dnsmasq(router)
	m.quiet("brtest", g.Word, "udhcpc-f")
	kill := func() {
		t.Helper()
		pids := m.minders()
		if len(pids) != 1 || len(pidFiles(m)) != 1 {
			t.Fatalf("processes %v, pid files %q", pids, pidFiles(m))
		}
		client, err := strconv.Atoi(strings.TrimSpace(m.do("cat " + pidFiles(m)[0])))
		m.check(err)
		m.kill(pids[0])
		if !host.Poll(host.Patience, func() bool { return host.Dead(client) }) {
			t.Fatal("the client lives on")
		}
	}
	if a := m.attach("brtest", g.Word, "udhcpc-f"); *a.Changed {
		t.Errorf("the same line again: %q", a.Steps)
	}
	kill()
	if a := m.attach("brtest", g.Word, "udhcpc-f"); !*a.Changed {
		t.Error("the same line does not run the client again")
	}
	if a := m.attach("brtest", g.Word, "udhcpc-f"); *a.Changed {
		t.Errorf("and once more: %q", a.Steps)
	}
	kill()
	m.fails("conflict", "brtest", g.Word, "dhclient-f")
	m.quiet("gc")
	if left := pidFiles(m); len(left) != 0 {
		t.Errorf("gc leaves %q", left)
	}
	m.quiet("detach", g.Word)
}
