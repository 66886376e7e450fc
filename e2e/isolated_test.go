//go:build linux

package e2e

import (
	"strings"
	"testing"

	"github.com/gopipework/gopipework/e2e/host"
)

// TestIsolated: two guests with isolated ports reach a third, but not each other; the same
// line again changes nothing, set ends it, and apply follows its file.
func TestIsolated(t *testing.T) {
	test := func(t *testing.T, m *machine, bridge string) {
		web, db, out := m.named("web"), m.named("db"), m.named("out")
		web.Word, db.Word = "netns:web", "netns:db"
		m.quiet(bridge, "netns:out", "10.0.0.1/24")
		for _, line := range [][]string{{web.Word, "10.0.0.2/24"}, {db.Word, "10.0.0.3/24"}} {
			m.quiet(append([]string{bridge, "--isolated"}, line...)...)
		}
		if a := m.attach(bridge, web.Word, "10.0.0.2/24", "--isolated"); *a.Changed || !a.Attachment.Host.Isolated {
			t.Errorf("the same line again: %+v", a)
		}
		m.reaches(web, "10.0.0.1")
		m.reaches(db, "10.0.0.1")
		m.reaches(out, "10.0.0.2")
		m.cut(web, "10.0.0.3")
		if got := m.ok("list", "--json").Stdout; strings.Count(got, `"isolated":true`) != 2 || strings.Contains(got, `"cut"`) {
			t.Errorf("the list is %s", got)
		}
		f := m.fails("conflict", bridge, web.Word, "10.0.0.2/24")
		m.says("the line without it", f.Error.Message+f.Error.Hint, "port isolation on", "off", "--replace")
		if d, code, text := m.doctor("netns:web --to netns:db"); code != 1 || !strings.Contains(text, "GP403") {
			t.Errorf("doctor exits with %d: %+v\n%s", code, d, text)
		}

		m.ok("set", web.Word, "eth1", "--isolated", "off")
		answers := func() bool { return web.Run("busybox", "ping", "-c", "1", "-W", "1", "10.0.0.3").Code == 0 }
		if !host.Poll(host.Patience, answers) { // the neighbour was just given up
			t.Error("with the isolation off, web does not reach db")
		}
		if r := m.ok("set", web.Word, "eth1", "--isolated", "off", "--json"); !strings.Contains(r.Stdout, `"changed":false`) {
			t.Errorf("twice: %v", r)
		}
		file := m.topology("lab",
			"{to: "+bridge+", guest: 'netns:web', address: 10.0.0.2/24, isolated: true}",
			bridge+" netns:db 10.0.0.3/24 --isolated",
			bridge+" netns:out 10.0.0.1/24")
		m.says("apply", m.ok("apply", "-f", file).Stdout, "~", "port isolation off -> on")
		m.cut(web, "10.0.0.3")
		m.differs(file, 0)
		m.fails("usage", "set", web.Word, "eth1", "--isolated", "perhaps")
		m.ok("destroy", "-f", file, "--yes")
	}
	t.Run("bridge", func(t *testing.T) { test(t, newMachine(t), "brtest") })
	t.Run("ovs", func(t *testing.T) {
		m := newMachine(t)
		withOVS(t, m)
		test(t, m, "ovsbr0")
	})
	t.Run("macvlan", func(t *testing.T) {
		m := newMachine(t)
		m.card("nic0")
		m.named("web")
		f := m.fails("usage", "nic0", "netns:web", "10.0.0.2/24", "--isolated")
		m.says("a macvlan", f.Error.Message+f.Error.Hint, "--isolated is for a port of a bridge", "leave --isolated out")
	})
}
