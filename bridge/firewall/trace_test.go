//go:build linux

package firewall

import (
	"bytes"
	"slices"
	"testing"
)

// TestContinued: a frame is known again by its IP header, whose TTL may have been counted
// down and whose target translated; but not if it is from another, or another of the same.
func TestContinued(t *testing.T) {
	four := slices.Concat([]byte{0x45, 0, 0, 32, 0x12, 0x34, 0x40, 0, 64, 17, 0xab, 0xcd}, []byte{10, 9, 0, 1}, []byte{10, 9, 0, 2})
	six := slices.Concat([]byte{0x60, 1, 2, 3, 0, 16, 58, 64}, bytes.Repeat([]byte{1}, 16), bytes.Repeat([]byte{2}, 16))
	with := func(packet []byte, at ...int) []byte {
		packet = bytes.Clone(packet)
		for _, i := range at {
			packet[i]++
		}
		return packet
	}
	packets := [][]byte{nil, four, six, with(four, 5)}
	for _, tt := range []struct {
		name   string
		packet []byte
		want   int // -1: none
	}{
		{"the same", four, 1},
		{"the same of IPv6", six, 2},
		{"the last of two", with(four, 5), 3},
		{"TTL, checksum and target", with(four, 8, 10, 19), 1},
		{"hop limit and target", with(six, 7, 39), 2},
		{"another source", with(four, 15), -1},
		{"another source of IPv6", with(six, 8), -1},
		{"another identification", with(four, 4), -1},
		{"another flow label", with(six, 3), -1},
		{"no header", nil, -1},
		{"one that is cut off", four[:19], -1},
	} {
		got, ok := continued(packets, tt.packet)
		if !ok {
			got = -1
		}
		if got != tt.want {
			t.Errorf("%s: %d, want %d", tt.name, got, tt.want)
		}
	}
}
