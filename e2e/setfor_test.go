//go:build linux

package e2e

import (
	"context"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gopipework/gopipework/e2e/host"
)

// TestSetFor: set --for sets back what it has changed when the time is over, when it is
// interrupted, and when either of its two processes is killed.
func TestSetFor(t *testing.T) {
	m := newMachine(t)
	m.named("web")
	m.quiet("brtest", "netns:web", "10.0.0.2/24", "--rate-out", "10mbit")
	before := m.ok("list", "web", "--json").Stdout
	begin := func(within string) *background {
		t.Helper()
		b := m.begin(m.Command(context.Background(), "gopipework", "set", "netns:web", "eth1", "--rate-out", "1mbit", "--mtu", "1400", "--for", within))
		if !host.Poll(host.Patience, func() bool { return strings.Contains(m.ok("list", "web", "--json").Stdout, `"mtu":1400`) }) {
			t.Fatalf("nothing is set: %v", b.end(t))
		}
		return b
	}
	back := func(when string) {
		t.Helper()
		if !host.Poll(host.Patience, func() bool {
			return m.ok("list", "web", "--json").Stdout == before && len(m.running("--set-back-when-gone")) == 0
		}) {
			t.Errorf("%s: %s", when, m.ok("list", "web", "--json").Stdout)
		}
	}
	const long = "1h"

	began := time.Now()
	b := begin("2s")
	r := b.end(t)
	if took := time.Since(began); took < 2*time.Second {
		t.Errorf("it has waited %v", took)
	}
	m.says("at the end", r.Stderr, "an interruption ends it now")
	if r.Code != 0 {
		t.Error(r)
	}
	back("at the end")

	b = begin(long)
	m.check(b.Process.Signal(syscall.SIGINT))
	r = b.end(t)
	m.says("interrupted", r.Stderr, "it was set back")
	if r.Code != 130 {
		t.Error(r)
	}
	back("interrupted")

	b = begin(long)
	m.check(b.Process.Kill())
	b.end(t)
	back("the one that waits killed")

	b = begin(long)
	for _, pid := range m.running("--set-back-when-gone") {
		m.kill(pid)
	}
	m.check(b.Process.Signal(syscall.SIGTERM))
	if r = b.end(t); r.Code != 143 {
		t.Error(r)
	}
	back("the other one killed")

	b = begin(long)
	f := m.fails("conflict", "set", "netns:web", "eth1", "--mtu", "1300", "--for", "1m")
	m.says("a second one", f.Error.Message+f.Error.Hint, "another set --for", "interruption")
	m.ok("set", "netns:web", "eth1", "--rate-out", "5mbit")
	m.check(b.Process.Signal(syscall.SIGINT))
	m.says("changed meanwhile", b.end(t).Stderr, "it stays: --rate-out")
	m.says("changed meanwhile", m.ok("list", "web", "--json").Stdout, `"mtu":1500`, `"rate_out":"5mbit"`)
	m.ok("set", "netns:web", "eth1", "--rate-out", "10mbit")

	b = begin(long)
	m.ok("detach", "netns:web")
	m.ok("brtest", "netns:web", "10.0.0.2/24", "--rate-out", "1mbit", "--mtu", "1400")
	again := m.ok("list", "web", "--json").Stdout
	m.check(b.Process.Signal(syscall.SIGINT))
	m.says("attached anew", b.end(t).Stderr, "nothing was set back", "it was detached meanwhile")
	if got := m.ok("list", "web", "--json").Stdout; got != again {
		t.Errorf("what was attached meanwhile was changed: %s", got)
	}
	m.ok("brtest", "netns:web", "10.0.0.2/24", "--rate-out", "10mbit", "--mtu", "1500", "--replace")
	before = m.ok("list", "web", "--json").Stdout

	m.says("a dry run", m.ok("set", "netns:web", "eth1", "--mtu", "1300", "--for", "1m", "--dry-run").Stdout, "mtu 1300", "# after 1m0s, set it back")
	f = m.fails("usage", "set", "netns:web", "eth1", "--mtu", "1300", "--for", "60")
	m.says("without a unit", f.Error.Hint, "--for 60s")
	m.fails("usage", "set", "netns:web", "eth1", "--mtu", "1300", "--for", "0s")
	m.fails("not_found", "set", "netns:web", "eth7", "--mtu", "1300", "--for", "1m")
	m.fails("usage", "set", "netns:web", "eth1", "--for", "1m")
	back("in the end")
}
