//go:build linux

package e2e

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gopipework/gopipework/e2e/host"
)

// notes are the files that say what a guest's resolv.conf was like.
func (m *machine) notes() string {
	return m.Run("sh", "-c", "ls /run/gopipework/*.dns.json 2>/dev/null").Stdout
}

// A container's name servers, given and from a DHCP server: written for as long
// as the interface is there.
func TestDNS(t *testing.T) {
	e := withDocker(t)
	e.container("web", "--dns", "10.0.0.53", "--dns-search", "before.test")
	resolv := func() string { return e.docker("exec", "web", "cat", "/etc/resolv.conf") }
	web := e.guestOf("web")
	before, check := resolv(), e.unchanged(web)
	back := func(when string) {
		t.Helper()
		if now := resolv(); now != before {
			t.Errorf("%s resolv.conf is %q, was %q", when, now, before)
		}
		check(when)
	}

	line := []string{"brtest", "web", "10.9.0.2/24", "--dns", "10.9.0.53,fd00::53"}
	e.quiet(line...)
	e.says("resolv.conf", resolv(), "nameserver 10.9.0.53\nnameserver fd00::53", "before.test")
	if strings.Contains(resolv(), "10.0.0.53") {
		t.Errorf("the old server is still there: %q", resolv())
	}
	if a := e.attach(line...); *a.Changed {
		t.Errorf("the same line again: %q", a.Steps)
	}
	e.says("the error", e.fails("conflict", line[:3]...).Error.Message, "10.9.0.53")
	e.says("the error", e.fails("conflict", "brtest", "-i", "eth2", "web", "10.9.1.2/24", "--dns", "10.9.1.53").Error.Message, "eth1")
	e.quiet("detach", "web")
	back("after detach")

	// All or nothing: the attach fails after the file was written.
	e.fails("timeout|failed", "brtest", "web", "dhcp:timeout=1s", "--dns", "dhcp")
	back("after no lease")

	router := e.router("brtest")
	d := e.dnsmasq(router, "--dhcp-option=6,10.9.0.1,10.9.0.3", "--domain=lan.test")
	e.quiet("brtest", "web", "dhcp", "--dns", "dhcp")
	e.says("resolv.conf", resolv(), "search lan.test\nnameserver 10.9.0.1\nnameserver 10.9.0.3")
	e.quiet("detach", "web")
	e.check(d.Stop())
	e.dnsmasq(router, "--dhcp-option=6")
	e.says("the error", e.fails("failed", "brtest", "web", "dhcp", "--dns", "dhcp").Error.Message, "gives none")
	e.quiet("detach", router.Word)
	e.check(router.Kill())
	back("after name servers from DHCP")

	e.container("ro", "--read-only")
	e.says("the hint", e.fails("failed", "brtest", "ro", "10.9.0.2/24", "--dns", "10.9.0.53").Error.Hint, "--read-only")
	e.docker("rm", "-f", "ro")
	check("after a container that is read-only")

	// What somebody has written since is theirs.
	e.quiet(line...)
	e.docker("exec", "web", "sh", "-c", "echo nameserver 10.0.0.99 > /etc/resolv.conf")
	r := e.ok("detach", "web")
	e.says("the warning", r.Stderr, "changed /etc/resolv.conf")
	e.says("resolv.conf", resolv(), "10.0.0.99")
	check("after a file that was changed")

	e.quiet(line...)
	e.docker("rm", "-f", "web")
	// The kernel ends a namespace, and with it our link, after its own time; the
	// bridge is unused only then.
	if !host.Poll(30*time.Second, func() bool {
		e.ok("gc")
		return e.Run("ip", "link", "show", "brtest").Code != 0
	}) {
		t.Error("gc leaves brtest")
	}
	if n := e.notes(); n != "" {
		t.Errorf("gc leaves %s", n)
	}
}

// Guests without files of their own, and those whose files lead elsewhere:
// refused, and nothing is changed anywhere.
func TestDNSRefused(t *testing.T) {
	m := newMachine(t)
	bare := m.guest()
	named := m.named("blue")
	t.Cleanup(func() { m.check(named.Kill()) })
	check := m.unchanged(bare)
	m.says("the error", m.fails("conflict", "brtest", bare.Word, "10.9.0.2/24", "--dns", "10.9.0.53").Error.Message, "it is the host's")
	m.fails("unsupported", "brtest", named.Word, "10.9.0.2/24", "--dns", "10.9.0.53")
	m.fails("usage", "brtest", bare.Word, "10.9.0.2/24", "--dns", "dhcp")
	m.fails("usage", "brtest", bare.Word, "10.9.0.2/24", "--dns", "")
	check("after guests without files")

	victim := filepath.Join(m.Dir, "victim")
	m.check(os.WriteFile(victim, []byte("not to be touched\n"), 0o644))
	for name, made := range map[string]struct{ codes, script string }{
		"a link out":          {"failed", "ln -s ../../victim resolv.conf"},
		"a link to the host":  {"failed", "ln -s " + victim + " resolv.conf"},
		"a link through proc": {"failed|conflict", "ln -s /proc/self/root" + victim + " resolv.conf"},
		"a pipe":              {"conflict", "mkfifo resolv.conf"},
		"a directory":         {"conflict", "mkdir resolv.conf"},
		"a device":            {"conflict", "mknod resolv.conf c 10 249"}, // opened, it would be ENODEV
		"another user's":      {"conflict", "echo mine > resolv.conf; chown 12345 resolv.conf"},
		"none":                {"failed", "true"},
		"too large":           {"failed", "head -c 100000 /dev/zero > resolv.conf"},
	} {
		g := jailed(m, made.script)
		check := m.unchanged(g)
		m.fails(made.codes, "brtest", g.Word, "10.9.0.2/24", "--dns", "10.9.0.53")
		check("after " + name)
	}
	if b, err := os.ReadFile(victim); err != nil || string(b) != "not to be touched\n" {
		t.Errorf("the victim is %q, %v", b, err)
	}

	// Whatever the guest makes of its file afterwards, it does not keep the
	// interface by it.
	for _, made := range []string{"rm resolv.conf; ln -s resolv.conf resolv.conf", "head -c 100000 /dev/zero > resolv.conf", "rm resolv.conf"} {
		g := jailed(m, "echo nameserver 10.0.0.1 > resolv.conf")
		check := m.unchanged(g)
		m.quiet("brtest", g.Word, "10.9.0.2/24", "--dns", "10.9.0.53")
		dir := filepath.Join("/proc", strings.TrimPrefix(g.Word, "pid:"), "root/etc")
		m.check(m.Run("sh", "-ec", "cd "+dir+"; "+made).Err())
		m.says("the warning", m.ok("detach", g.Word).Stderr, "somebody has changed /etc/resolv.conf")
		check("after " + made)
	}

	// A link that stays inside is followed there.
	g := jailed(m, "mkdir ../run; echo nameserver 10.0.0.1 > ../run/resolv.conf; ln -s /run/resolv.conf resolv.conf")
	m.quiet("brtest", g.Word, "10.9.0.2/24", "--dns", "10.9.0.53")
	file := filepath.Join("/proc", strings.TrimPrefix(g.Word, "pid:"), "root/run/resolv.conf")
	m.says("the file", m.do("cat "+file), "nameserver 10.9.0.53")
	m.quiet("detach", g.Word)
	m.says("the file", m.do("cat "+file), "nameserver 10.0.0.1")
	if n := m.notes(); n != "" {
		t.Errorf("notes are left: %s", n)
	}
}

// jailed is a guest with a root of its own, whose /etc a script has made.
func jailed(m *machine, script string) *host.Guest {
	m.t.Helper()
	root, err := os.MkdirTemp(m.Dir, "root-")
	m.check(err)
	m.check(os.Mkdir(filepath.Join(root, "etc"), 0o755))
	m.check(m.Run("sh", "-ec", `cp "$(command -v busybox)" `+root+"/busybox; cd "+root+"/etc; "+script).Err())
	cmd := m.Command(context.Background(), "unshare", "--net", "--", "chroot", root, "/busybox", "sleep", "86400")
	m.check(cmd.Start())
	m.t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	g := m.GuestOf(cmd.Process.Pid)
	if !host.Poll(host.Patience, func() bool {
		exe, err := os.Readlink("/proc/" + strings.TrimPrefix(g.Word, "pid:") + "/exe")
		return err == nil && strings.HasSuffix(exe, root+"/busybox")
	}) {
		m.t.Fatal("the guest does not start")
	}
	return g
}
