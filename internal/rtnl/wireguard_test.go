package rtnl

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/gopipework/gopipework/internal/wireguard"
	"golang.org/x/sys/unix"
)

// TestWireGuardRequests: what is asked for is read back from the same attributes, in which
// the kernel answers. Where a request would be too long there are more.
func TestWireGuardRequests(t *testing.T) {
	want := wireguard.Device{PrivateKey: wireguard.Key{1}, Port: 51820, Mark: 0x51, Peers: []wireguard.Peer{
		{PublicKey: wireguard.Key{2}, PresharedKey: wireguard.Key{3}, Endpoint: netip.MustParseAddrPort("192.0.2.1:51820"), Keepalive: 25,
			AllowedIPs: []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("fd08::/64")}},
		{PublicKey: wireguard.Key{4}, Endpoint: netip.MustParseAddrPort("[2001:db8::1]:1")},
	}}
	for n := range 2500 {
		want.Peers[1].AllowedIPs = append(want.Peers[1].AllowedIPs, netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, byte(n >> 8), byte(n)}), 32))
	}
	reqs := wireGuardRequests(&genericConn{}, 7, want)
	if len(reqs) != 5 { // the link, the first peer, and three for the second
		t.Errorf("%d requests", len(reqs))
	}
	var bodies [][]byte
	for _, req := range reqs {
		b := req.Serialize()
		if len(b) >= 1<<16 {
			t.Errorf("a request has %d bytes", len(b))
		}
		bodies = append(bodies, b[unix.SizeofNlMsghdr:])
	}
	same := cmp.Options{cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }), cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })}
	if diff := cmp.Diff(want, parseWireGuard(bodies), same); diff != "" {
		t.Errorf("what is read back differs (-want +got):\n%s", diff)
	}
	for n := range bodies[1] { // an answer that is cut short is no reason to panic
		parseWireGuard([][]byte{bodies[1][:n]})
	}
}
