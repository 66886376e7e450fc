package rtnl

import (
	"strings"
	"testing"
	"time"

	"github.com/gopipework/gopipework/e2e/host"
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
		for how, restore := range map[string]func(t *testing.T, home space, index int, k Kept){
			"Restore": func(t *testing.T, home space, index int, k Kept) {
				ok(t, "restore", restore(home, index, k))
				ok(t, "restore again", restore(home, index, k))
			},
			"Commands": func(t *testing.T, home space, index int, k Kept) {
				home.sh(strings.Join(k.Commands(home.link("nic")), "\n"))
			},
		} {
			t.Run(strings.ReplaceAll(name+" by "+how, " ", "-"), func(t *testing.T) {
				home, guest := newSpace(t), newSpace(t)
				home.sh("ip link add nic type veth peer name wire; ip link set wire up; " + set + "; ip link set nic up")
				const look = "ip -6 address show dev nic | sed '/valid_lft/d; s/tentative //'; ip token; ip -d link show nic | grep -o 'addrgenmode [^ ]*'; cat /proc/sys/net/ipv6/conf/nic/stable_secret 2>/dev/null || true"
				eventually(t, "a link-local address", func() bool { return strings.Contains(home.sh("ip -6 address show dev nic"), "fe80::") })
				home.settle()
				before := home.sh(look)
				index := home.link("nic").Index
				k, err := home.Keep(index)
				ok(t, "keep", err)
				ok(t, "lend", home.MoveLink(index, Move{NS: guest.ns}))
				guest.sh("ip link set nic up")
				ok(t, "return", guest.MoveLink(index, Move{NS: home.ns}))
				restore(t, home, index, k)
				home.same(look, before)
			})
		}
	}
}

// same checks that a script comes to print what it printed before.
func (s space) same(look, before string) {
	s.t.Helper()
	var after string
	if !host.Poll(30*time.Second, func() bool { after = s.sh(look); return after == before }) {
		s.t.Errorf("it was\n%s\nand is\n%s", before, after)
	}
}

// TestKeepPort: a port of a bridge is one again, with its settings, its VLANs and its
// entries in the forwarding table, and no other port has changed; by Restore and by the
// commands.
func TestKeepPort(t *testing.T) {
	needRoot(t)
	for how, restore := range map[string]func(t *testing.T, home space, index int, k Kept){
		"Restore": func(t *testing.T, home space, index int, k Kept) {
			ok(t, "restore", restore(home, index, k))
			ok(t, "restore again", restore(home, index, k))
		},
		"Commands": func(t *testing.T, home space, index int, k Kept) {
			commands := k.Commands(home.link("nic"))
			home.sh(strings.Join(commands, "\n"))
		},
	} {
		t.Run(how, func(t *testing.T) {
			home, guest := newSpace(t), newSpace(t)
			home.sh(`ip link add sw type bridge; ip link set sw addrgenmode none up
for n in nic oth; do ip link add $n type veth peer name w$n; ip link set w$n addrgenmode none up; ip link set $n addrgenmode none master sw up; done
ip link set nic type bridge_slave cost 77 priority 9 hairpin on isolated on learning off mcast_router 2 group_fwd_mask 0x4000`)
			index := home.link("nic").Index
			// A kernel without VLANs on bridges keeps the rest all the same.
			_ = home.AddPortVLANs(index, []PortVLAN{{First: 10, Last: 10, PVID: true, Untagged: true}, {First: 20, Last: 30}})
			_ = home.DelPortVLANs(index, []PortVLAN{{First: 1, Last: 1}})
			home.sh("bridge fdb add 02:00:00:00:00:99 dev nic master static; bridge fdb add 02:00:00:00:00:98 dev nic master")
			// On a busy machine a port gets its carrier later.
			home.sh("for n in $(seq 300); do [ $(ip -d link show type bridge_slave | grep -c 'bridge_slave state forwarding') = 2 ] && break; sleep 0.1; done")
			const look = `ip -d link show type bridge_slave | grep -o ' bridge_slave .* port_id' ; ip -d link show nic | grep -o 'isolated.* addrgen\|neigh_suppress.*vlan_tunnel\|mcast_router.*'
bridge vlan show dev nic; bridge vlan show dev oth; bridge fdb show br sw | grep 02:00:00 | sort`
			before := home.sh(look)
			if !strings.Contains(before, "cost 77 hairpin on") || strings.Count(before, "02:00:00:00:00:9") < 2 {
				t.Fatalf("before:\n%s", before)
			}
			k, err := home.Keep(index)
			ok(t, "keep", err)
			ok(t, "lend", home.MoveLink(index, Move{NS: guest.ns}))
			ok(t, "return", guest.MoveLink(index, Move{NS: home.ns}))
			restore(t, home, index, k)
			home.same(look, before)
		})
	}
}

// TestKeepOffloads: offloads that a guest has switched are as they were.
func TestKeepOffloads(t *testing.T) {
	needRoot(t)
	s := newSpace(t)
	s.sh("ip link add nic type veth peer name wire; ethtool -K nic tx-sctp-segmentation off rx-gro-list on")
	nic := s.link("nic").Index
	const look = "ethtool -k nic"
	before := s.sh(look)
	k, err := s.Keep(nic)
	ok(t, "keep", err)
	s.sh("ethtool -K nic tx off gro off sg off tx-sctp-segmentation on rx-gro-list off >/dev/null")
	if s.sh(look) == before {
		t.Fatal("nothing was switched")
	}
	missing, err := s.Restore(nic, k)
	ok(t, "restore", err)
	if len(missing) > 0 {
		t.Errorf("missing: %v", missing)
	}
	s.same(look, before)

	// One that the link cannot switch is left out.
	s.sh("ethtool -K nic gro off >/dev/null")
	k.Offloads["rx-gro-hw"] = true
	if missing, err = s.Restore(nic, k); err != nil || len(missing) > 0 {
		t.Errorf("restore: %v, %v", missing, err)
	}
	s.same(look, before)
}
