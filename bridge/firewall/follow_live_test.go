//go:build linux

package firewall

import (
	"context"
	"testing"
	"time"
)

// TestFollow: a change of nf_tables is told, also by iptables-nft, and reading the rules is
// none.
func TestFollow(t *testing.T) {
	h := newFWHost(t)
	h.bridge("brtest", 0)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	told := make(chan struct{}, 1000)
	h.check(Follow(ctx, func() { told <- struct{}{} }))
	for _, change := range []func(){
		func() { h.nft(nftChainText("ip", "forward", "policy drop;")) },
		func() { h.tool("", "nft", "delete", "table", "ip", "fw") },
		func() { h.tool("", h.iptables(IPv4, NFT), "-P", "FORWARD", "DROP") },
	} {
		change()
		select {
		case <-told:
		case <-time.After(10 * time.Second):
			t.Fatal("it was not told")
		}
		for wait := true; wait; {
			select {
			case <-told:
			case <-time.After(100 * time.Millisecond):
				wait = false
			}
		}
	}
	_, err := ObserveAll(ctx, []Query{{Bridge: "brtest", CallsIPv4: true, Families: []Family{IPv4}}})
	h.check(err)
	time.Sleep(100 * time.Millisecond)
	if len(told) > 0 {
		t.Error("reading the rules was told")
	}
}
