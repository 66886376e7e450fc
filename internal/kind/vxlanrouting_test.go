package kind

import (
	"net"
	"net/netip"
	"testing"
)

// TestKnows: FRR has taken a guest up when its MAC address is a local one, with all the addresses
// that are pinned. The answers are FRR's, from 8.4 to 10.3.
func TestKnows(t *testing.T) {
	s := AwaitRouting{Pin: Pin{MAC: net.HardwareAddr{2, 0, 0, 0, 0, 1}, Want: []netip.Addr{netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("2001:db8::1")}}, VNI: 100}
	for text, want := range map[string]bool{
		`{}`: false,
		`{"02:00:00:00:00:01": {"type":"local", "intf":"v0", "neighbors":{"active":["10.0.0.1", "2001:db8::1"], "inactive":[]}}}`: true,
		`{"02:00:00:00:00:01": {"type":"local", "intf":"v0", "neighbors":{"active":["10.0.0.1"], "inactive":[]}}}`:                false,
		`{"02:00:00:00:00:01": {"type":"local", "intf":"v0", "neighbors":"none"}}`:                                                false,
		`{"02:00:00:00:00:01": {"type":"auto", "neighbors":{"active":[], "inactive":["10.0.0.1", "2001:db8::1"]}}}`:               false,
		`{"02:00:00:00:00:02": {"type":"local", "neighbors":{"active":["10.0.0.1", "2001:db8::1"]}}}`:                             false,
		`VNI 100 does not exist`: false,
	} {
		if got := s.knows(text); got != want {
			t.Errorf("%s: %v", text, got)
		}
	}
}
