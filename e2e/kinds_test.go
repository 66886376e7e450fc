//go:build linux

package e2e

import (
	"fmt"
	"testing"

	"github.com/gopipework/gopipework/e2e/host"
)

// A macvlan on a link that plays the card: two containers talk, with mode private
// they do not, and the card is as before.
func TestMacvlan(t *testing.T) {
	e := withDocker(t)
	e.do("ip link add nic0 type veth peer name wire")
	t.Cleanup(func() { e.do("ip link delete nic0") })
	e.do("ip link set wire addrgenmode none up")
	e.do("ip link set nic0 addrgenmode none up")
	for mode, talk := range map[string]bool{"bridge": true, "private": false} {
		names := []string{"a-" + mode, "b-" + mode}
		var guests []*host.Guest
		for _, name := range names {
			e.container(name, "--network", "none")
			guests = append(guests, e.guestOf(name))
		}
		check := e.unchanged(guests...)
		for n, name := range names {
			e.quiet("nic0", "--mode", mode, name, fmt.Sprintf("10.3.0.%d/24", n+1))
		}
		for n, g := range guests {
			if other := fmt.Sprint("10.3.0.", 2-n); talk {
				e.reaches(g, other)
			} else {
				e.cut(g, other)
			}
		}
		if got := e.list(); len(got) != 2 || got[0].Host.Kind != "macvlan" || got[0].Host.Name != "nic0" || got[0].Guest.Runtime != "docker" {
			t.Errorf("list: %+v", got)
		}
		for _, name := range names {
			e.quiet("detach", name)
		}
		check("after detach, mode " + mode)
	}
}
