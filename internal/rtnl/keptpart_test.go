package rtnl

import (
	"maps"
	"testing"
)

// TestWith: what is missing is counted in also where nothing of its kind was kept,
// and what was kept is not changed.
func TestWith(t *testing.T) {
	missing := []Part{
		{Kind: partSysctl, Key: "ipv4/forwarding", Value: "1"},
		{Kind: partXDP, Key: "xdpdrv", Value: "7"},
		{Kind: partOffloads, Offloads: map[string]bool{"tx-checksum-ipv4": true}},
	}
	kept := Kept{Sysctls: map[string]string{"ipv4/forwarding": "0", "ipv4/rp_filter": "2"}}
	for _, k := range []Kept{{}, kept} {
		got := k.With(missing)
		if got.Sysctls["ipv4/forwarding"] != "1" || got.XDP["xdpdrv"] != 7 || !got.Offloads["tx-checksum-ipv4"] || len(got.Sysctls) != max(len(k.Sysctls), 1) {
			t.Errorf("%+v with what is missing is %+v", k, got)
		}
	}
	if !maps.Equal(kept.Sysctls, map[string]string{"ipv4/forwarding": "0", "ipv4/rp_filter": "2"}) {
		t.Errorf("changed: %v", kept.Sysctls)
	}
}
