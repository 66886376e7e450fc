//go:build linux

package e2e

import (
	"context"
	"io"
	"strings"
	"testing"
	"time"
)

// A guest that does its worst to its own end while we work: it can cost
// itself its interface, and nothing else. GOPIPEWORK_ATTACK is how many
// seconds it goes on.
func TestAttacker(t *testing.T) {
	m := newMachine(t)
	g, bystander := m.guest(), m.guest()
	m.quiet("br0", bystander.Word, "10.0.9.1/24")
	m.quiet("brbad", g.Word, "10.0.0.2/24")
	m.ok("detach", g.Word)
	check := m.unchanged(bystander)

	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	attack := g.Command(ctx, "sh", "-c", `
		unshare --net sleep 86400 & other=$!
		while :; do
			ip link set eth1 down name evil
			ip link set evil alias "gopipework bridge" group 26480
			ip link add br0 type bridge
			ip link set br0 group 26480 alias "gopipework bridge"
			ip link set evil name eth1 master br0
			ip address flush dev eth1
			ip link set eth1 up
			ip link delete br0
			ip link set eth1 netns $other
			ip link delete eth1
			ip link add eth1 type bridge
			ip link delete eth1
		done`)
	attack.Stdout, attack.Stderr = io.Discard, io.Discard
	m.check(attack.Start())
	ends := map[int]int{}
	end := time.Now().Add(time.Duration(setting(t, "GOPIPEWORK_ATTACK", 10)) * time.Second)
	for i := 0; time.Now().Before(end); i++ {
		for _, line := range [][]string{
			{"--timeout", "5s", "brbad", g.Word, "10.0.0.2/24@10.0.0.1"},
			{"list"},
			{"--json", "list", g.Word},
			{"detach", "--all", g.Word},
		} {
			r := m.gopipework(line...)
			ends[r.Code]++
			if r.Code == 2 || r.Code > 5 || strings.Contains(r.Stderr, "goroutine ") {
				t.Errorf("with an attacker in the guest:\n%v", r)
			}
			m.within(bound, r)
		}
	}
	stop()
	_ = attack.Wait()
	t.Logf("exit codes %v", ends)

	// What is left of ours goes, wherever the guest has put its end.
	m.ok("detach", "--all", g.Word)
	m.check(g.Kill())
	m.ok("gc") // a bridge that lost its ports
	check("after an attack")
}

// What a guest can do to its end, one at a time: detach finds the host's end
// all the same.
func TestTampered(t *testing.T) {
	for name, script := range map[string]string{
		"deleted":        "ip link delete eth1",
		"down":           "ip link set eth1 down",
		"no address":     "ip address flush dev eth1",
		"renamed":        "ip link set eth1 down name evil",
		"moved":          "ip link set eth1 netns OTHER",
		"other group":    "ip link set eth1 group 0",
		"other alias":    "ip link set eth1 alias 'gopipework docker:000000000000 eth9 x'",
		"other MAC":      "ip link set eth1 address 02:00:00:00:00:77",
		"name taken":     "ip link set eth1 down name evil; ip link add eth1 type bridge",
		"bridge":         "ip link add br9 type bridge; ip link set eth1 master br9",
		"more addresses": "ip address add 10.7.7.7/24 dev eth1",
	} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t)
			g, other := m.guest(), m.guest()
			defer other.Kill()
			defer g.Kill()
			check := m.unchanged()
			line := []string{"br1", g.Word, "10.0.0.2/24"}
			m.quiet(line...)
			script = strings.ReplaceAll(script, "OTHER", strings.TrimPrefix(other.Word, "pid:"))
			m.check(g.Run("sh", "-ec", script).Err())
			t.Logf("list:\n%s", m.ok("list").Stdout)
			r := m.gopipework(line...)
			t.Logf("the same line again: exit %d %s", r.Code, r.Stderr)
			if r.Code > 1 {
				t.Errorf("the same line again:\n%v", r)
			}
			if l := m.list(); r.Code == 0 && (len(l) != 1 || l[0].State != "complete") {
				t.Errorf("exit 0, and list says %+v", l)
			}
			m.ok("detach", "--all", g.Word)
			check("after detach")
		})
	}
}
