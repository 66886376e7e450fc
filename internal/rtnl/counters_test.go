package rtnl

import "testing"

// TestCounters: what one end of a pair sends, the other receives.
func TestCounters(t *testing.T) {
	needRoot(t)
	s, far := newSpace(t), newSpace(t)
	s.sh("ip link add near type veth peer name far")
	peer := s.link("far")
	ok(t, "move", s.MoveLink(peer.Index, Move{NS: far.ns}))
	s.sh("sysctl -qw net.ipv6.conf.near.disable_ipv6=1; ip address add 10.0.0.1/24 dev near; ip link set near up")
	far.sh("sysctl -qw net.ipv6.conf.far.disable_ipv6=1; ip address add 10.0.0.2/24 dev far; ip link set far up")
	s.sh("ping -q -c 3 -i 0.01 -s 1000 10.0.0.2 >/dev/null")
	here, err := s.Counters()
	ok(t, "counters", err)
	there, err := far.Counters()
	ok(t, "counters", err)
	a, b := here[s.link("near").Index], there[far.link("far").Index]
	if a.Sent != b.Received || a.Received != b.Sent || a.Sent < 3000 {
		t.Errorf("one end has %+v, the other %+v", a, b)
	}
}
