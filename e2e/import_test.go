//go:build linux

package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestImport: a host that was set up by lines, imported and applied after all is
// detached, is the same host, and what a file cannot say is said.
func TestImport(t *testing.T) {
	m := newMachine(t)
	m.Batch("link add nic0 type veth peer name wire", "link set nic0 up", "link set wire up")
	for _, name := range []string{"a", "b", "c"} {
		m.do("ip netns add " + name)
	}
	for _, line := range []string{
		"brtest netns:a 192.168.1.2/24,2001:db8::2/64@192.168.1.1 --nodad",
		"brtest netns:b 192.168.1.3/24 U:b --rate-in 10mbit --rate-out 512kbit",
		"bridge:lan -i lan0 -l b-lan netns:b 0/0 --mtu 1400",
		"nic0 -i mac0 netns:a 10.9.0.2/24 --mode private",
		"host:tap-c netns:c 10.9.1.2/30 --host-addr 10.9.1.1/30",
		"link netns:a:to-c 10.8.0.1/30 netns:c:to-a 10.8.0.2/30@10.8.0.1 --mtu 1300",
	} {
		m.ok(strings.Fields(line)...)
	}
	file := filepath.Join(t.TempDir(), "lab.yaml")
	r := m.ok("import")
	if r.Stderr != "" {
		t.Errorf("nothing is lost, and it says %s", r.Stderr)
	}
	m.check(os.WriteFile(file, []byte(r.Stdout), 0o600))
	before := m.seen()
	m.says("the link alone", m.ok("import", "c").Stdout, "host:tap-c netns:c 10.9.1.2/30", "to-c 10.8.0.1/30", "--host-addr 10.9.1.1/30", "--mtu 1300")

	for _, name := range []string{"a", "b", "c"} {
		m.ok("detach", "--all", "netns:"+name)
	}
	m.ok("apply", "-f", file)
	if diff := cmp.Diff(before, m.seen()); diff != "" {
		t.Errorf("applied, it differs (-before +after):\n%s\nof %s", diff, r.Stdout)
	}
	m.ok("diff", "-f", file)
	if again := m.gopipework("import").Stdout; again == r.Stdout || len(strings.Split(again, "\n")) <= len(strings.Split(r.Stdout, "\n")) {
		t.Errorf("it does not say whose the attachments are now: %s", again)
	}
	m.ok("destroy", "-f", file)

	// What a list does not show is said, in the file and on stderr.
	m.ownDefault("a")
	m.ok("brtest", "netns:a", "192.168.1.2/24@192.168.1.9", "--default", "keep")
	r = m.ok("import", "a")
	m.says("the file", r.Stdout, "  # eth1 of netns:a has routes, which are not in the line\n  - brtest netns:a 192.168.1.2/24")
	m.says("stderr", r.Stderr, "warning: eth1 of netns:a has routes")
	m.ok("detach", "a")
	for _, name := range []string{"a", "b", "c"} {
		m.do("ip netns del " + name)
	}
	m.do("ip link del nic0")
	if r := m.ok("import"); strings.Contains(r.Stdout, "attachments") || r.Stderr != "" {
		t.Errorf("nothing is there: %v", r)
	}
}

// seen is what a list says, without what differs each time.
func (m *machine) seen() (all []attachment) {
	m.t.Helper()
	all = m.list()
	for i := range all {
		a := &all[i]
		a.Origin, a.Guest.PID = "", 0
		if a.Host.Kind == "veth" {
			a.Interface.MAC = ""
		}
	}
	return all
}
