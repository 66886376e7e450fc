package attach

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/gopipework/gopipework/internal/fault"
)

// TestConnectedRoute: an address is taken when the kernel makes a route to its
// subnet, and else refused by the word, before anything changes.
func TestConnectedRoute(t *testing.T) {
	needRoot(t)
	ns := newNamespace(t)
	in(t, ns, "sh", "-ec", quiet+"ip link add x type veth peer name y; ip link set x up; ip link set y up")
	refused := 0
	for _, addr := range []string{"1.2.3.4", "10.0.0.2", "16.0.0.9", "63.0.0.1", "100.64.0.1", "172.16.0.2", "192.168.1.2", "2001:db8::2", "400::2"} {
		for bits := 1; bits <= 31; bits += 1 + bits/8 {
			p := netip.PrefixFrom(netip.MustParseAddr(addr), bits)
			if out, err := tryIn(ns, "ip", "address", "add", p.String(), "dev", "x", "nodad"); err != nil {
				t.Fatal(out)
			}
			family := fmt.Sprintf("-%d", 4+2*(p.Addr().BitLen()/128))
			connected := strings.Contains(in(t, ns, "ip", family, "route", "show", "exact", p.Masked().String()), "dev x")
			in(t, ns, "ip", "address", "del", p.String(), "dev", "x")
			_, err := Parse(Words{HostIF: "brtest", Guest: "web", Address: p.String()})
			notAHost := err != nil && strings.Contains(err.Error(), "not a host's")
			if !notAHost && (err == nil) != connected {
				t.Errorf("%s: the kernel makes a route: %v; parsed with %v", p, connected, err)
			}
			if err != nil && !connected {
				refused++
			}
		}
	}
	if refused < 10 {
		t.Errorf("only %d were refused", refused)
	}
	before := snapshot(t, ns)
	g := docker(ns, 0)
	s, err := ParseSet("web", SetWords{IfName: "eth1", Address: "10.0.0.2/4"})
	if fault.CodeOf(err) != fault.Usage {
		t.Errorf("set accepts %v: %v", s.Addrs, err)
	}
	_, err = Parse(Words{HostIF: "brtest", Guest: g.Name, Address: "192.168.1.2/24,10.0.0.2/4"})
	if fault.CodeOf(err) != fault.Usage || !strings.Contains(errorText(err), "10.0.0.2/24") {
		t.Errorf("an attach: %v", err)
	}
	same(t, "guest", before, snapshot(t, ns))
}
