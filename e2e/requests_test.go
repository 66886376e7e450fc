//go:build linux

package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/gopipework/gopipework/e2e/host"
)

// TestRequests: a plain attach, where the bridge and the rule are there, asks no
// more than this. Whoever makes it ask less lowers the number; one that grows means
// that something is read twice, or that every attach pays for what few need.
func TestRequests(t *testing.T) {
	need(t, "strace")
	e := withDocker(t)
	e.container("web")
	e.container("keeper")
	e.ok("br1", "keeper", "10.0.0.1/24")
	chains := strings.Count(e.do("nft list chains"), "chain ")
	var r host.Requests
	over := func() (all []string) {
		for _, most := range []struct {
			what string
			have int
			most int
		}{
			{"requests of Docker", r.Count("socket"), 1},
			{"requests of rtnetlink", r.Count("route"), 30},
			{"dumps of rtnetlink", r.Dumps("route"), 8},
			{"requests of netfilter but for rules", r.Count("netfilter") - r.Count("netfilter GETRULE"), 5},
			{"lists of rules, one for a chain", r.Count("netfilter GETRULE"), chains},
			{"programs started", r.Count("exec"), 0},
		} {
			if most.have > most.most {
				all = append(all, fmt.Sprintf("%s: %d, at most %d", most.what, most.have, most.most))
			}
		}
		return all
	}
	// The host is read while Docker is asked, and again if something changes on it before
	// it is locked: new interfaces of Docker's are not settled at once.
	host.Poll(time.Minute, func() bool {
		var err error
		r, err = e.Requests("gopipework", "br1", "web", "10.0.0.2/24")
		e.check(err)
		if len(over()) == 0 {
			return true
		}
		e.ok("detach", "web")
		return false
	})
	for _, o := range over() {
		t.Error(o)
	}
	if r.Count("route NEWLINK") == 0 || r.Count("route NEWADDR") == 0 || r.Count("socket GET") == 0 {
		t.Errorf("an attach without its own requests: this test is blind")
	}
	if t.Failed() {
		t.Logf("in order:\n%s", strings.Join(r, "\n"))
	}
	e.ok("detach", "keeper")
	e.ok("detach", "--all", "web")
}
