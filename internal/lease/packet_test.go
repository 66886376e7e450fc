package lease

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/gopipework/gopipework/internal/rawsocket"
	"golang.org/x/net/bpf"
)

// reply is what a server sends: wrap, with the ports the other way round.
func reply(message []byte) []byte {
	b := wrap(message)
	copy(b[12:16], []byte{10, 0, 0, 1})
	binary.BigEndian.PutUint16(b[20:], serverPort)
	binary.BigEndian.PutUint16(b[22:], clientPort)
	return b
}

func TestWrapHasRightSums(t *testing.T) {
	for _, message := range []string{"", "odd", "even"} {
		b := wrap([]byte(message))
		if s := rawsocket.Checksum(b[:20]); s != 0 {
			t.Errorf("%q: the IPv4 header sums up to %#x", message, s)
		}
		pseudo := []byte{0, protoUDP, byte((len(b) - 20) >> 8), byte(len(b) - 20)}
		if s := rawsocket.Checksum(b[12:20], pseudo, b[20:]); s != 0 {
			t.Errorf("%q: the UDP packet sums up to %#x", message, s)
		}
	}
}

func TestUnwrapAndFilter(t *testing.T) {
	vm, err := bpf.NewVM(toClient)
	if err != nil {
		t.Fatal(err)
	}
	set := func(off int, v ...byte) func([]byte) []byte {
		return func(b []byte) []byte { copy(b[off:], v); return b }
	}
	tests := []struct {
		name   string
		change func([]byte) []byte
		passes bool // the filter
		ok     bool
	}{
		{"good", set(0), true, true},
		{"padded", func(b []byte) []byte { return append(b, 0, 0, 0) }, true, true},
		{"IPv6", set(0, 0x65), true, false},
		{"short header", set(0, 0x44), false, false},
		{"header longer than all", set(0, 0x4f), false, false},
		{"cut", func(b []byte) []byte { return b[:len(b)-1] }, true, false},
		{"TCP", set(9, 6), false, false},
		{"a first fragment", set(6, 0x20), false, false},
		{"a later fragment", set(7, 1), false, false},
		{"don't fragment", set(6, 0x40), true, true},
		{"another port", set(22, 0, 53), false, false},
		{"from another port", set(20, 0, 53), true, false},
		{"UDP longer than IP", set(24, 1, 0), true, false},
		{"UDP shorter than its header", set(24, 0, 7), true, false},
		{"nothing", func([]byte) []byte { return nil }, false, false},
	}
	for _, tt := range tests {
		b := tt.change(reply([]byte("hello")))
		if n, err := vm.Run(b); err != nil || (n > 0) != tt.passes {
			t.Errorf("%s: the filter lets %d through (%v), want %v", tt.name, n, err, tt.passes)
		}
		m, from, ok := unwrap(b)
		if ok != tt.ok || ok && (string(m) != "hello" || from != addr("10.0.0.1")) {
			t.Errorf("%s: %q from %v, %v", tt.name, m, from, ok)
		}
	}
}

func FuzzUnwrap(f *testing.F) {
	f.Add(reply([]byte("hello")))
	f.Fuzz(func(t *testing.T, b []byte) {
		if m, _, ok := unwrap(b); ok && !bytes.Contains(b, m) {
			t.Fatal("it is not in the packet")
		}
	})
}
