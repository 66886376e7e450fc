//go:build linux

package e2e

import (
	"strings"
	"testing"
)

// TestAnswers: a line that cannot be carried out is answered with the one that was meant, as
// far as the host tells it.
func TestAnswers(t *testing.T) {
	m := newMachine(t)
	m.named("web")
	m.sh("ip link add lan0 type bridge")
	m.ok("brtest", "netns:web", "192.168.1.2/24")
	for line, want := range map[string]struct {
		code int
		says string
	}{
		"web lan0 192.168.1.3/24":           {3, "hint: if lan0 is what it is to be plugged into: gopipework lan0 web 192.168.1.3/24\n"},
		"bridge netns:web 192.168.1.3/24":   {2, "gopipework bridge:bridge netns:web 192.168.1.3/24 creates one of that name\n"},
		"detach netns:web eth7":             {0, "warning: netns:web has no attachment eth7: nothing was changed\n"},
		"exec netns:web -- no-such":         {127, "run no-such: executable file not found"},
		"exec netns:web -- /etc/os-release": {126, "permission denied"},
	} {
		if r := m.gopipework(strings.Fields(line)...); r.Code != want.code || !strings.Contains(r.Stderr, want.says) {
			t.Errorf("want %d and %q: %v", want.code, want.says, r)
		}
	}
}

// TestAnswersDocker: the bridge of a network of Docker's is named where the network was.
func TestAnswersDocker(t *testing.T) {
	e := withDocker(t)
	id := e.docker("network", "create", "lan")
	t.Cleanup(func() {
		e.docker("rm", "-f", "web")
		e.docker("network", "rm", "lan")
	})
	e.container("web")
	want := "gopipework br-" + id[:12] + " web 192.168.1.2/24\n"
	if r := e.gopipework("lan", "web", "192.168.1.2/24"); r.Code != 3 || !strings.Contains(r.Stderr, want) {
		t.Errorf("want %q: %v", want, r)
	}
}

// TestListFormats: in each format the attachments come in the order of their guests and
// interfaces, and one without a carrier is told.
func TestListFormats(t *testing.T) {
	m := newMachine(t)
	m.named("web")
	m.named("db")
	for _, line := range []string{"brz -i eth2 netns:web 10.1.0.2/24", "bra -i lan0 netns:web 10.2.0.2/24", "brz netns:db 10.1.0.3/24"} {
		m.ok(strings.Fields(line)...)
	}
	m.sh("ip -n db link set eth1 down")
	if got, want := m.ok("list", "-o", "name").Stdout, "netns:db eth1\nnetns:web eth2\nnetns:web lan0\n"; got != want {
		t.Errorf("list -o name prints %q, want %q", got, want)
	}
	wide := strings.Split(m.ok("list", "-o", "wide").Stdout, "\n")
	for _, column := range []string{"KIND", "MAC", "MTU", "CARRIER", "ORIGIN"} {
		if !strings.Contains(wide[0], column) {
			t.Errorf("no column %s: %q", column, wide[0])
		}
	}
	if len(wide) < 3 || !strings.Contains(wide[1], "no carrier") || strings.Contains(wide[2], "no carrier") {
		t.Errorf("of the carrier it says %q", wide)
	}
	if json, same := m.ok("list", "-o", "json").Stdout, m.ok("list", "--json").Stdout; json != same || !strings.Contains(json, `"carrier":false`) {
		t.Errorf("list -o json prints %s, and list --json %s", json, same)
	}
}
