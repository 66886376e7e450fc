package rtnl

import (
	"strings"
	"testing"
	"time"
)

// TestKeepIPv6Ends: the secret that a link's addresses are made of, and the token
// that routers' addresses end in, come back; by Restore, twice, and by the commands.
func TestKeepIPv6Ends(t *testing.T) {
	needRoot(t)
	for name, set := range map[string]string{
		"secret":           "echo 2001:db8::77 >/proc/sys/net/ipv6/conf/nic/stable_secret",
		"secret of no use": "echo 2001:db8::77 >/proc/sys/net/ipv6/conf/nic/stable_secret; ip link set nic addrgenmode eui64",
		"token":            "echo 2 >/proc/sys/net/ipv6/conf/nic/accept_ra; ip link set nic up; ip token set ::77 dev nic",
	} {
		for how, restore := range map[string]func(home space, index int, k Kept){
			"Restore": func(home space, index int, k Kept) {
				ok(t, "restore", restore(home, index, k))
				ok(t, "restore again", restore(home, index, k))
			},
			"Commands": func(home space, index int, k Kept) {
				home.sh(strings.Join(k.Commands(home.link("nic")), "\n"))
			},
		} {
			t.Run(strings.ReplaceAll(name+" by "+how, " ", "-"), func(t *testing.T) {
				home, guest := newSpace(t), newSpace(t)
				home.sh("ip link add nic type veth peer name wire; ip link set wire up; " + set + "; ip link set nic up")
				const look = "ip -6 address show dev nic | sed '/valid_lft/d; s/tentative //'; ip token; ip -d link show nic | grep -o 'addrgenmode [^ ]*'; cat /proc/sys/net/ipv6/conf/nic/stable_secret 2>/dev/null || true"
				eventually(t, "a link-local address", func() bool { return strings.Contains(home.sh("ip -6 address show dev nic"), "fe80::") })
				before := home.sh(look)
				index := home.link("nic").Index
				k, err := home.Keep(index)
				ok(t, "keep", err)
				ok(t, "lend", home.MoveLink(index, Move{NS: guest.ns}))
				guest.sh("ip link set nic up")
				ok(t, "take back", guest.MoveLink(index, Move{NS: home.ns}))
				restore(home, index, k)
				home.same(look, before)
			})
		}
	}
}

// same checks that a script comes to print what it printed before.
func (s space) same(look, before string) {
	s.t.Helper()
	var after string
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if after = s.sh(look); after == before {
			return
		}
	}
	s.t.Errorf("it was\n%s\nand is\n%s", before, after)
}
