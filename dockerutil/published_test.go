package dockerutil

import (
	"net/netip"
	"testing"

	"github.com/moby/moby/api/types/network"
)

func TestPublished(t *testing.T) {
	for addr, want := range map[string]bool{"": true, "0.0.0.0": true, "::": true, "192.0.2.1": true, "127.0.0.1": false, "::1": false} {
		var b network.PortBinding
		if addr != "" {
			b.HostIP = netip.MustParseAddr(addr)
		}
		ports := network.PortMap{network.MustParsePort("80/tcp"): {b}, network.MustParsePort("81/tcp"): nil}
		if got := published(ports); got != want {
			t.Errorf("a port on %q: published = %v, want %v", addr, got, want)
		}
	}
	if published(network.PortMap{network.MustParsePort("80/tcp"): nil}) {
		t.Error("a port that is only exposed counts as published")
	}
}
