//go:build linux

package e2e

import (
	"strings"
	"testing"
)

// TestForget: forget says what stays attached for the lines that it drops, and how to detach
// that; with --all it drops the lines of all guests.
func TestForget(t *testing.T) {
	m := keeping(t)
	a, b := m.named("a"), m.named("b")
	check := m.unchanged(a, b)
	for _, line := range []string{"brtest a 10.0.0.1/24", "brtest -i lan0 a 10.0.0.2/24", "brtest b 10.0.0.3/24"} {
		m.ok(append(strings.Fields(line), "--keep")...)
	}
	m.ok("brtest", "-i", "eth9", "b", "10.0.0.4/24")
	const stays = "warning: lan0 of netns:a stays attached, with the origin keep: gopipework detach netns:a lan0\n"
	for _, flags := range [][]string{{"--dry-run"}, nil} {
		r := m.ok(append([]string{"forget", "netns:a", "lan0"}, flags...)...)
		if r.Stderr != "gopipework: "+stays {
			t.Errorf("%v: %v", flags, r)
		}
	}
	if f := m.fails("usage", "forget", "--all", "a"); f.Error.Hint != "gopipework forget a drops all lines of that guest; gopipework forget --all those of all guests" {
		t.Errorf("got %+v", f)
	}
	m.says("all", m.ok("forget", "--all", "--dry-run").Stdout, "gopipework forget a eth1\ngopipework forget b eth1\n")
	r := m.ok("forget", "--all")
	if !strings.Contains(r.Stderr, "eth1 of netns:a stays attached") || !strings.Contains(r.Stderr, "eth1 of netns:b stays attached") || strings.Count(r.Stderr, "stays attached") != 2 {
		t.Errorf("got %v", r)
	}
	m.fails("not_found", "forget", "--all")
	if n := len(m.list()); n != 4 {
		t.Errorf("%d attachments are left, want 4", n)
	}
	m.says("destroy --kept", m.ok("destroy", "--kept").Stdout, "- detach netns:a lan0 (attached for keep)\n")
	m.ok("detach", "b", "eth9")
	check("after all")
}
