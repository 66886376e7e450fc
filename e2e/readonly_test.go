//go:build linux

package e2e

import (
	"context"
	"strings"
	"testing"

	"github.com/gopipework/gopipework/e2e/host"
)

// Where /proc/sys is read-only, as in a container that has capabilities but is not
// privileged, what is only nice is left out, with a warning, and what is needed is
// refused with a hint.
func TestReadOnlySysctls(t *testing.T) {
	m := newMachine(t)
	g, other := m.guest(), m.guest()
	m.quiet("brro", other.Word, "10.0.0.1/24,fd00::1/64")
	run := func(args ...string) host.Result {
		script := `mount --bind /proc/sys /proc/sys; mount -o remount,bind,ro /proc/sys; exec gopipework "$@"`
		args = append([]string{"-m", "sh", "-ec", script, "sh"}, args...)
		return host.Finish(m.Command(context.Background(), "unshare", args...), args)
	}
	check := m.unchanged(g)
	r := run("brro", g.Word, "10.0.0.2/24")
	m.check(r.Err())
	m.says("the warning", r.Stderr, "arp_notify is not 1")
	m.reaches(g, "10.0.0.1")
	m.quiet("detach", g.Word)
	check("after detach")

	r = run("brro", g.Word, "fd00::2/64")
	m.check(r.Err())
	m.reaches(g, "fd00::1")
	m.quiet("detach", g.Word)
	check("after IPv6")

	m.check(g.Run("sh", "-c", "echo 1 > /proc/sys/net/ipv6/conf/default/disable_ipv6").Err())
	check = m.unchanged(g)
	f := m.failed("permission", run("--json", "brro", g.Word, "fd00::2/64"))
	if !strings.Contains(f.Error.Hint, "-v /proc/sys/net:/host/proc/sys/net, run it with --privileged") {
		t.Errorf("the hint is %q", f.Error.Hint)
	}
	check("after IPv6 that is off")
	m.quiet("detach", other.Word)
}
