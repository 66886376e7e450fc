package witness

import (
	"net"
	"net/netip"
	"testing"

	"github.com/gopipework/gopipework/internal/rawsocket"
)

// TestFrames: checksums hold, and the other address of a ping is another one of
// the subnet, or one that nobody has.
func TestFrames(t *testing.T) {
	a, b := net.HardwareAddr{2, 0, 0, 0, 0, 1}, net.HardwareAddr{2, 0, 0, 0, 0, 2}
	for own, peer := range map[string]string{
		"10.0.0.2/24": "10.0.0.1", "10.0.0.1/24": "10.0.0.2", "10.0.0.1/30": "10.0.0.2", "10.0.0.1/31": "192.0.0.8", "10.0.0.1/32": "192.0.0.8",
		"2001:db8::1/64": "2001:db8::2", "2001:db8::9/64": "2001:db8::1", "2001:db8::1/127": "100::8", "2001:db8::1/128": "100::8",
	} {
		p := netip.MustParsePrefix(own)
		nobody, size, trip := nobody4, 4, echo4(a, b, p)
		if p.Addr().Is6() {
			nobody, size, trip = nobody6, 16, echo6(a, b, p)
		}
		if got := neighbourOf(p, nobody).String(); got != peer {
			t.Errorf("%s pings %s, want %s", own, got, peer)
		}
		for _, frame := range [][]byte{trip.out, trip.back} {
			packet := frame[14:]
			if size == 4 {
				if rawsocket.Checksum(packet[:20]) != 0 || rawsocket.Checksum(packet[20:]) != 0 {
					t.Errorf("checksums of %x", packet)
				}
				continue
			}
			pseudo := append(append([]byte{}, packet[8:40]...), 0, 0, 0, byte(len(packet)-40), 0, 0, 0, 58)
			if rawsocket.Checksum(append(pseudo, packet[40:]...)) != 0 {
				t.Errorf("checksum of %x", packet)
			}
		}
	}
}
