//go:build linux

package e2e

import (
	"fmt"
	"strings"
	"testing"

	"github.com/gopipework/gopipework/e2e/host"
)

// From where a guest's process cannot be seen, list says that, and does not call
// the guest an orphan; nor does gc touch anything of it.
func TestNotVisible(t *testing.T) {
	m := newMachine(t)
	g, other := m.guest(), m.guest()
	m.quiet("brtest", g.Word, "10.0.0.2/24")
	m.quiet("brtest", other.Word, "10.0.0.3/24")
	check := m.unchanged(g, other)
	capable := fmt.Sprintf("setpriv --inh-caps -all,%[1]s --ambient-caps -all --bounding-set -all,%[1]s", "+net_admin,+sys_admin")
	for name, from := range map[string]string{
		"another PID namespace": "unshare --pid --fork --mount-proc",
		"no CAP_SYS_PTRACE":     capable,
	} {
		run := func(args string) host.Result {
			t.Helper()
			line := strings.Fields(from + " gopipework " + args)
			r := m.Run(line[0], line[1:]...)
			m.check(r.Err())
			return r
		}
		if out := run("list").Stdout; strings.Count(out, "not visible from here") != 2 || strings.Contains(out, "orphan") {
			t.Errorf("%s:\n%s", name, out)
		}
		hidden := decode[listResult](t, run("--json list")).Attachments
		for _, a := range hidden {
			if a.State != "complete" || a.Origin != "line" || !a.Hidden {
				t.Errorf("%s: %+v", name, a)
			}
		}
		if len(hidden) != 2 {
			t.Errorf("%s: %d attachments are listed", name, len(hidden))
		}
		if r := run("gc"); r.Stdout+r.Stderr != "" {
			t.Errorf("%s: gc: %v", name, r)
		}
		check("after gc in " + name)
	}
	for _, a := range m.list() {
		if a.State != "complete" {
			t.Errorf("from the host itself: %+v", a)
		}
	}
}

// From where a guest's process cannot be seen, list finds its namespace wherever an engine has
// mounted it.
func TestVisibleByMount(t *testing.T) {
	m := newMachine(t)
	g := m.guest()
	m.quiet("brtest", g.Word, "10.0.0.2/24")
	m.sh(fmt.Sprintf("mkdir /run/engine && touch /run/engine/1 && mount --bind /proc/%d/ns/net /run/engine/1", g.PID))
	r := m.Run("unshare", "--pid", "--fork", "--mount-proc", "gopipework", "--json", "list")
	m.check(r.Err())
	list := decode[listResult](t, r).Attachments
	if len(list) != 1 || list[0].Hidden || list[0].State != "complete" || fmt.Sprint(list[0].Interface.Addresses) != "[10.0.0.2/24]" {
		t.Errorf("the list has %+v", list)
	}
}

// Root without most of its capabilities does, as README says; a user who has
// them all the same is refused, and nothing has changed.
func TestCapabilities(t *testing.T) {
	m := newMachine(t)
	g := m.guest()
	check := m.unchanged(g)
	const caps = "+net_admin,+sys_admin,+sys_ptrace"
	as := func(who string, args ...string) (string, int) {
		r := m.Run("sh", append([]string{"-c", "exec setpriv " + who + ` gopipework "$@"`, "sh"}, args...)...)
		return r.Stdout + r.Stderr, r.Code
	}
	root := "--inh-caps -all," + caps + " --ambient-caps -all --bounding-set -all," + caps
	for _, line := range [][]string{
		{"brtest", g.Word, "10.0.0.2/24,fd00::2/64"},
		{"brtest", g.Word, "10.0.0.2/24,fd00::2/64"},
		{"set", g.Word, "eth1", "--rate-out", "1mbit"},
		{"detach", g.Word},
		{"gc"},
	} {
		if out, code := as(root, line...); code != 0 || out != "" {
			t.Errorf("%v: code %d\n%s", line, code, out)
		}
	}
	check("after root with few capabilities")
	user := "--reuid 65534 --regid 65534 --clear-groups --inh-caps -all," + caps + " --ambient-caps -all," + caps + " --bounding-set -all," + caps
	if out, code := as(user, "brtest", g.Word, "10.0.0.2/24"); code != 4 || !strings.Contains(out, "gopipework: hint: ") {
		t.Errorf("a user: code %d\n%s", code, out)
	}
	check("after a user was refused")
}
