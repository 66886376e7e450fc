//go:build linux

package e2e

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gopipework/gopipework/e2e/host"
)

// TestApplyBridge: what a file says about a bridge is made, listed, imported, changed and
// removed by the built program; applied again, after it was imported, it is the same; and a
// change that is not confirmed is undone.
func TestApplyBridge(t *testing.T) {
	m := newMachine(t)
	router, web := m.named("router"), m.named("web")
	m.check(m.Batch("link add eth1 type veth peer name wire netns router", "link add eth2 type veth peer name wire2 netns router",
		"link set eth1 addrgenmode none up", "link set eth2 addrgenmode none up"))
	m.check(router.Run("sh", "-ec", "ip link set wire addrgenmode none up; ip link set wire2 addrgenmode none up; ip address add 192.168.1.9/24 dev wire").Err())
	check := m.unchanged(router, web)
	file := filepath.Join(m.Dir, "lab.yaml")
	write := func(bridge string) {
		m.check(os.WriteFile(file, []byte("bridges:\n  brtest: "+bridge+"\nattachments:\n  - brtest netns:web 192.168.1.2/24\n"), 0o644))
	}
	const with = "{address: 192.168.1.1/24, uplink: eth1, vlan-filtering: true}"
	write(with)
	if got, want := m.differs(file, 2), "+ bridge brtest address 192.168.1.1/24 uplink eth1 vlan-filtering (it is not there)"; len(got) != 2 || got[0] != want {
		t.Errorf("before: %q, want %q first", got, want)
	}
	m.ok("apply", "-f", file)
	m.reaches(router, "192.168.1.1")
	m.reaches(router, "192.168.1.2")
	if got := m.differs(file, 0); len(got) > 0 {
		t.Errorf("after: %q", got)
	}
	if r := m.ok("apply", "-f", file); r.Stdout+r.Stderr != "" {
		t.Errorf("applied twice: %v", r)
	}
	bridges := func() string {
		t.Helper()
		var doc struct {
			Bridges json.RawMessage `json:"bridges"`
		}
		r := m.ok("list", "--json")
		m.check(json.Unmarshal([]byte(r.Stdout), &doc))
		return string(doc.Bridges)
	}
	was := bridges()
	if want := `[{"name":"brtest","kind":"bridge","origin":"file:lab","made":true,"mtu":1500,"addresses":["192.168.1.1/24"],"uplink":"eth1"}]`; was != want {
		t.Errorf("list says\n%s\nwant\n%s", was, want)
	}
	if r := m.ok("list"); !strings.HasSuffix(r.Stdout, "\n\nBRIDGE  ADDRESS         UPLINK  ORIGIN\nbrtest  192.168.1.1/24  eth1    file:lab\n") {
		t.Errorf("list prints\n%s", r.Stdout)
	}

	imported := filepath.Join(m.Dir, "again", "lab.yaml")
	m.check(os.Mkdir(filepath.Dir(imported), 0o755))
	m.check(os.WriteFile(imported, []byte(m.ok("import").Stdout), 0o644))
	m.ok("destroy", "lab", "--yes")
	check("after destroy")
	m.ok("apply", "-f", imported)
	if is := bridges(); is != was {
		t.Errorf("imported and applied, list says\n%s\nwant\n%s", is, was)
	}
	m.ok("apply", "-f", file)

	write("{address: 192.168.1.4/24, uplink: eth2}")
	m.ok("apply", "-f", file, "--confirm", "60s")
	if is := bridges(); !strings.Contains(is, `"192.168.1.4/24"`) || !strings.Contains(is, `"eth2"`) {
		t.Errorf("changed, list says %s", is)
	}
	m.ok("confirm", "--undo")
	if is := bridges(); is != was {
		t.Errorf("undone, list says\n%s\nwant\n%s", is, was)
	}

	write("{}")
	if r := m.ok("apply", "-f", file); !strings.Contains(r.Stderr, "what the host has on bridge brtest is not in the file any more; --prune removes it") {
		t.Errorf("without --prune: %v", r)
	}
	m.says("a bridge that a guest is on", m.ok("apply", "-f", file, "--prune", "--yes").Stderr, "warning: brtest stays until its guests are detached: gopipework list")
	if is := bridges(); is != "" {
		t.Errorf("pruned, list says %s", is)
	}
	m.reaches(web, "192.168.1.2")
	m.check(m.Batch("address add 10.77.0.1/24 dev eth2"))
	write("{uplink: eth2, force: true}")
	const beware = ":2:3: eth2 has the address 10.77.0.1/24, and the addresses and routes of a port do not work"
	if r := m.gopipework("diff", "-f", file); r.Code != 2 || strings.Count(r.Stderr, beware) != 1 {
		t.Errorf("before a card in use is taken: %v", r)
	}
	if r := m.ok("apply", "-f", file); strings.Count(r.Stderr, beware) != 1 {
		t.Errorf("a card in use is taken: %v", r)
	}
	m.ok("apply", "-f", m.topology("lab", "brtest netns:web 192.168.1.2/24"), "--prune", "--yes")
	m.check(m.Batch("address del 10.77.0.1/24 dev eth2"))
	write("{uplink: lo}")
	if r := m.gopipework("apply", "-f", file); r.Code != 1 || !strings.Contains(r.Stdout, "! bridge brtest uplink lo (set up bridge brtest: its uplink lo is the loopback interface") {
		t.Errorf("an uplink that cannot be: %v", r)
	}
	m.ok("destroy", "lab", "--yes")
	check("in the end")
}

// TestWatchBridge: watch waits for an uplink that is not there yet, and follows the file.
func TestWatchBridge(t *testing.T) {
	m := keeping(t)
	m.sh("ip netns add router")
	file := filepath.Join(m.Dir, "lab.yaml")
	m.check(os.WriteFile(file, []byte("bridges:\n  brtest: {address: 192.168.1.1/24, uplink: eth1}\n"), 0o644))
	w := m.begin(m.Command(context.Background(), "gopipework", "watch", "-f", file))
	listed := func(what string) {
		t.Helper()
		var out string
		if !host.Poll(host.Patience, func() bool {
			out = m.gopipework("list").Stdout
			return strings.Contains(out, what)
		}) {
			t.Fatalf("list does not print %q but\n%s\n%s", what, out, &w.stderr)
		}
	}
	listed("the host has no interface eth1")
	m.sh("ip link add eth1 type veth peer name wire netns router; ip -n router link set wire up")
	listed("brtest  192.168.1.1/24  eth1    file:lab\n")
	m.check(os.WriteFile(file, []byte("bridges:\n  brtest: {address: 192.168.1.4/24}\n"), 0o644))
	listed("brtest  192.168.1.4/24  -       file:lab\n")
	w.ends(t)
	m.ok("destroy", "lab", "--yes")
}
