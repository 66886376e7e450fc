package rawsocket

import "testing"

// TestChecksum: the example of RFC 1071, section 3, whole, in parts and with an odd
// byte at its end.
func TestChecksum(t *testing.T) {
	b := []byte{0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7}
	const want = 0x220d // not 0xddf2, the sum
	if got := Checksum(b); got != want {
		t.Errorf("%#x, want %#x", got, want)
	}
	if got := Checksum(b[:2], nil, b[2:]); got != want {
		t.Errorf("in parts: %#x, want %#x", got, want)
	}
	if Checksum(b[:3]) != Checksum([]byte{0x00, 0x01, 0xf2, 0x00}) {
		t.Error("an odd byte at the end does not count as if a zero followed it")
	}
	if got := Checksum(b, []byte{0x22, 0x0d}); got != 0 {
		t.Errorf("with its checksum in it: %#x, want 0", got)
	}
}
