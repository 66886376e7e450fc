package topology

import (
	"net/netip"
	"strings"
	"testing"
)

// TestBridgesClash: an uplink, or an address of the host, is on one bridge alone.
func TestBridgesClash(t *testing.T) {
	at := func(line int, name, addr, uplink string) Bridge {
		return Bridge{Pos: Pos{File: "lab.yaml", Line: line, Column: 3}, Name: name, Address: []netip.Prefix{netip.MustParsePrefix(addr)}, Uplink: uplink}
	}
	for _, tt := range []struct {
		second Bridge
		want   string // "": there is no clash
	}{
		{at(3, "br2", "10.0.1.1/24", "eth2"), ""},
		{at(3, "br2", "10.0.1.1/24", "eth1"), "the entry in line 2 has it already, and an interface is a port of one bridge alone"},
		{at(3, "br2", "10.0.0.1/25", "eth2"), "the entry in line 2 has it already on the host"},
	} {
		found := Clashing(File{Name: "lab", Bridges: []Bridge{at(2, "br1", "10.0.0.1/24", "eth1"), tt.second}})
		switch {
		case tt.want == "" && len(found) == 0:
		case len(found) != 1 || tt.want == "" || !strings.Contains(found[0].Err.Error(), tt.want) || found[0].Pos.Line != 3:
			t.Errorf("%+v: %v, want %q", tt.second, found, tt.want)
		}
	}
}
