package acd

import (
	"bytes"
	"net/netip"
	"testing"
	"time"
)

var (
	ours, other = mac{2, 0, 0, 0, 0, 1}, mac{2, 0, 0, 0, 0, 2}
	want, also  = netip.MustParseAddr("192.168.1.2"), netip.MustParseAddr("10.0.0.2")
	none        = netip.IPv4Unspecified()
)

// The bytes of RFC 826, as arping -D sends them.
func TestProbeBytes(t *testing.T) {
	b := []byte{0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 192, 168, 1, 2}
	if got := probe(ours, want).bytes(); !bytes.Equal(got, b) {
		t.Errorf("probe is\n% x, want\n% x", got, b)
	}
	padded := append(b, make([]byte, 18)...)
	if p, ok := parse(padded); !ok || p != probe(ours, want) {
		t.Errorf("parse = %+v, %v", p, ok)
	}
}

func TestParseRefuses(t *testing.T) {
	good := probe(ours, want).bytes()
	for what, change := range map[string]func([]byte) []byte{
		"short":          func(b []byte) []byte { return b[:packetSize-1] },
		"empty":          func([]byte) []byte { return nil },
		"other hardware": func(b []byte) []byte { b[1] = 32; return b },
		"other protocol": func(b []byte) []byte { b[2] = 0x86; return b },
		"long address":   func(b []byte) []byte { b[4] = 20; return b },
		"RARP":           func(b []byte) []byte { b[7] = 3; return b },
	} {
		if p, ok := parse(change(bytes.Clone(good))); ok {
			t.Errorf("%s: read as %+v", what, p)
		}
	}
}

func TestJudge(t *testing.T) {
	tests := []struct {
		what   string
		heard  packet
		addr   netip.Addr // the zero Addr: no conflict
		asking bool
	}{
		{"a reply", packet{reply, other, ours, want, none}, want, false},
		{"a request by the holder", packet{request, other, mac{}, also, netip.MustParseAddr("10.0.0.9")}, also, false},
		{"an announcement", announcement(other, want), want, false},
		{"another's probe", probe(other, want), want, true},
		{"our own probe, sent around", probe(ours, want), netip.Addr{}, false},
		{"somebody looks for the address", packet{request, other, mac{}, netip.MustParseAddr("192.168.1.9"), want}, netip.Addr{}, false},
		{"a probe for another address", probe(other, netip.MustParseAddr("192.168.1.9")), netip.Addr{}, false},
		{"a reply about another address", packet{reply, other, ours, netip.MustParseAddr("192.168.1.9"), none}, netip.Addr{}, false},
		{"another interface of ours replies", packet{reply, mac{2, 0, 0, 0, 0, 7}, ours, want, none}, netip.Addr{}, false},
		{"a reply from nobody", packet{reply, other, ours, none, want}, netip.Addr{}, false},
	}
	for _, test := range tests {
		p := probing{Times: Quick, from: ours, own: []mac{{2, 0, 0, 0, 0, 7}}, addrs: []netip.Addr{want, also}}
		c := p.judge(test.heard)
		switch {
		case c == nil && test.addr.IsValid():
			t.Errorf("%s: no conflict", test.what)
		case c != nil && (c.Addr != test.addr || c.Asking != test.asking || c.Holder.String() != other.String()):
			t.Errorf("%s: %v (asking %v), want %v (asking %v)", test.what, c, c.Asking, test.addr, test.asking)
		}
	}
}

// Three rounds, at their times, and a verdict after the last wait.
func TestDue(t *testing.T) {
	p := probing{Times: Quick, from: ours, addrs: []netip.Addr{want, also}}
	start := time.Unix(1000, 0)
	var sent []time.Duration
	for at := time.Duration(0); ; at += 100 * time.Millisecond {
		out, done := p.due(start.Add(at))
		if done {
			if at != Quick.Total() {
				t.Errorf("done after %v, want %v", at, Quick.Total())
			}
			break
		}
		for range out {
			sent = append(sent, at)
		}
		if at > time.Minute {
			t.Fatal("it has no end")
		}
	}
	wanted := []time.Duration{0, 0, 300 * time.Millisecond, 300 * time.Millisecond, 600 * time.Millisecond, 600 * time.Millisecond}
	if len(sent) != len(wanted) {
		t.Fatalf("sent at %v, want %v", sent, wanted)
	}
	for i := range sent {
		if sent[i] != wanted[i] {
			t.Errorf("packet %d at %v, want %v", i, sent[i], wanted[i])
		}
	}
}

// What is read is written the same, but for padding; nothing makes it panic.
func FuzzParse(f *testing.F) {
	f.Add(probe(ours, want).bytes())
	f.Add(announcement(other, also).bytes())
	f.Add([]byte{0, 1, 8, 0, 6, 4})
	f.Fuzz(func(t *testing.T, b []byte) {
		p, ok := parse(b)
		if !ok {
			return
		}
		if !bytes.Equal(p.bytes(), b[:packetSize]) {
			t.Errorf("% x is written as % x", b, p.bytes())
		}
		q := probing{Times: Quick, from: ours, addrs: []netip.Addr{want}}
		if c := q.judge(p); c != nil && c.Addr != want {
			t.Errorf("a conflict about %v, which nobody asked for", c.Addr)
		}
	})
}
