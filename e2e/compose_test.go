//go:build linux

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/gopipework/gopipework/e2e/host"
)

// intents is where the lines of services are recorded.
const intents = "/var/lib/gopipework/compose/"

// watches runs gopipework watch until the test ends.
func (m *machine) watches() *background {
	m.t.Helper()
	b := m.begin(m.Command(context.Background(), "gopipework", "watch"))
	m.t.Cleanup(func() {
		if m.t.Failed() {
			m.t.Logf("watch: %s", b.stderr.String())
		}
	})
	return b
}

// ends ends it, as its unit does.
func (b *background) ends(t *testing.T) {
	t.Helper()
	if err := b.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	b.end(t)
}

// becomes waits until exactly these attachments are there: each GUEST IFNAME ADDRESS ORIGIN.
func (m *machine) becomes(want ...string) {
	m.t.Helper()
	var have []string
	slices.Sort(want)
	if !host.Poll(host.Patience, func() bool {
		have = nil
		for _, a := range m.list() {
			if a.State == "complete" {
				have = append(have, fmt.Sprintf("%s %s %s %s", a.Guest.Name, a.Interface.Name, strings.Join(a.Interface.Addresses, ","), a.Origin))
			}
		}
		slices.Sort(have)
		return slices.Equal(have, want)
	}) {
		m.t.Fatalf("attached are %q, want %q", have, want)
	}
}

// said are the messages that Compose gets, each TYPE MESSAGE.
func said(t *testing.T, r host.Result) (all []string) {
	t.Helper()
	for line := range strings.Lines(r.Stdout) {
		var m struct{ Type, Message string }
		if err := json.Unmarshal([]byte(line), &m); err != nil {
			t.Fatal(err, r)
		}
		all = append(all, m.Type+" "+m.Message)
	}
	return all
}

// TestComposeRecords: what Compose asks for is recorded once, or refused without a trace, and
// watch follows it.
func TestComposeRecords(t *testing.T) {
	m := keeping(t)
	m.sh("chmod 755 /var/lib")
	up := func(service string, lines ...string) host.Result {
		args := []string{"compose", "--project-name=shop", "up"}
		for _, l := range lines {
			args = append(args, "--line="+l)
		}
		return m.Run("gopipework", append(args, service)...)
	}
	refused := func(code int, message string, r host.Result) {
		t.Helper()
		all := said(t, r)
		if r.Code != code || len(all) != 1 || !strings.HasPrefix(all[0], "error ") || !strings.Contains(all[0], message) {
			t.Errorf("want %q and exit code %d: %v", message, code, r)
		}
	}
	const blue, file = "brtest netns:blue 192.168.1.2/24", intents + "shop.lan.yaml"
	refused(2, "is no IP address\nhint: 192.168.1.2/24", up("lan", blue, "brtest web 192.168.1.999/24"))
	refused(1, "gives compose:shop/web one of that name already", up("lan", "brtest web 192.168.1.3/24", "brtest web 192.168.1.4/24"))
	refused(2, "it says how a command is run", up("lan", blue+" --keep"))
	refused(2, "a line is what follows gopipework", up("lan", "gopipework "+blue))
	refused(2, "no number of a container", up("lan", "brtest web/x 192.168.1.2/24"))
	refused(2, "not a name", up("lan", "brtest netns:../x 192.168.1.2/24"))
	refused(2, "the service asks for nothing", up("lan"))
	refused(2, "no name of a service", up("a/b", blue))
	refused(2, "longer than 62 bytes together", up(strings.Repeat("s", 59), blue))
	refused(2, "has no such flag", m.Run("gopipework", "compose", "--project-name=shop", "up", "--lien=x", "lan"))
	refused(2, "up, down or metadata", m.Run("gopipework", "compose", "--project-name=shop", "start", "lan"))
	refused(2, "no name of a project", m.Run("gopipework", "compose", "--project-name=../..", "up", "--line="+blue, "lan"))
	refused(4, "sudo docker compose", m.Run("setpriv", "--reuid=65534", "--clear-groups", "gopipework", "compose", "--project-name=shop", "up", "--line="+blue, "lan"))
	m.keepsNothing()

	r := up("lan", blue)
	if got := said(t, r); r.Code != 0 || len(got) != 1 || got[0] != "info 1 line is recorded, but gopipework watch does not run: systemctl enable --now gopipework, or gopipework watch" {
		t.Error(r)
	}
	m.says("the file", m.sh("stat -c %a:%u /var/lib/gopipework/compose "+file+"; cat "+file), "700:0\n600:0\n", "attachments:\n  - "+blue+"\n")
	if n := len(m.list()); n != 0 {
		t.Errorf("%d are attached before any container runs", n)
	}
	refused(1, "service lan of this project asks for eth1 of netns:blue\nhint: name another interface with -i; if there is no such service any more: gopipework compose --project-name shop down lan",
		up("net", "brtest netns:blue 192.168.1.9/24"))

	w := m.watches()
	m.becomes("blue eth1 192.168.1.2/24 compose:shop/lan")
	if r := up("net", "brtest -i eth2 netns:blue 192.168.2.2/24", "brtest netns:green 192.168.2.3/24 --mtu 1400"); r.Code != 0 {
		t.Error(r)
	}
	m.becomes("blue eth1 192.168.1.2/24 compose:shop/lan", "blue eth2 192.168.2.2/24 compose:shop/net")
	if r := up("lan", "brtest netns:blue 192.168.1.7/24"); r.Code != 0 { // another address
		t.Error(r)
	}
	m.becomes("blue eth1 192.168.1.7/24 compose:shop/lan", "blue eth2 192.168.2.2/24 compose:shop/net")
	down := func(words ...string) {
		t.Helper()
		m.ok(append([]string{"compose", "--project-name=shop", "down"}, words...)...)
	}
	down("lan")
	down("lan")
	m.becomes("blue eth2 192.168.2.2/24 compose:shop/net")

	// What is dropped while nobody watches is detached by the next that does. What others
	// asked for stays.
	m.ok("brother", "netns:blue", "-i", "eth5", "192.168.5.2/24")
	w.ends(t)
	if got := said(t, m.ok("compose", "--project-name=shop", "down")); len(got) != 1 || !strings.Contains(got[0], "stays until it does") {
		t.Errorf("it said %q", got)
	}
	m.keepsNothing()
	m.becomes("blue eth2 192.168.2.2/24 compose:shop/net", "blue eth5 192.168.5.2/24 line")
	w = m.watches()
	m.becomes("blue eth5 192.168.5.2/24 line")
	w.ends(t)
	m.ok("detach", "--all", "blue")
	m.sh("ip netns del blue")
	m.ok("gc")
}
