package tcplisten

import (
	"net"
	"testing"

	"github.com/gopipework/gopipework/internal/fault"
)

// TestListen: only an address that is said outright lets other hosts connect.
func TestListen(t *testing.T) {
	for addr, want := range map[string]string{":0": "127.0.0.1", "localhost:0": "127.0.0.1", "[::1]:0": "::1", "0.0.0.0:0": "::", "127.0.0.2:0": "127.0.0.2"} {
		l, err := Listen("--metrics", addr, "--metrics :9105")
		if err != nil {
			if addr == "[::1]:0" {
				continue // a host without IPv6
			}
			t.Errorf("%s: %v", addr, err)
			continue
		}
		l.Close()
		if ip := l.Addr().(*net.TCPAddr).IP; ip.String() != want && !(ip.IsUnspecified() && net.ParseIP(want).IsUnspecified()) {
			t.Errorf("%s listens at %s, want %s", addr, ip, want)
		}
	}
}

// TestUnusable: what is no address is an error of the line; a port that is taken is not.
func TestUnusable(t *testing.T) {
	for _, addr := range []string{"", "9105", ":", ":x", ":65536", "host.example:9105", "1.2.3:9105"} {
		if _, err := Listen("--metrics", addr, "--metrics :9105"); fault.CodeOf(err) != fault.Usage || fault.HintOf(err) != "--metrics :9105" {
			t.Errorf("%q: %v", addr, err)
		}
	}
	l, err := Listen("--metrics", ":0", "")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if _, err := Listen("--metrics", l.Addr().String(), ""); err == nil || fault.CodeOf(err) == fault.Usage {
		t.Errorf("a port that is in use: %v", err)
	}
}
