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
