package attach

import (
	"net/netip"
	"testing"

	"github.com/gopipework/gopipework/internal/rtnl"
	"golang.org/x/sys/unix"
)

// TestMissing: what is there, and what is said to be missing.
func TestMissing(t *testing.T) {
	const index, other = 7, 2
	link := func(edit func(*rtnl.Link)) *rtnl.Link {
		l := &rtnl.Link{Index: index, Name: "eth1", Up: true, Carrier: true, Flags: unix.IFF_UP | unix.IFF_RUNNING}
		edit(l)
		return l
	}
	up := link(func(*rtnl.Link) {})
	addr := func(index int, prefix string, flags uint32) []rtnl.Addr {
		return []rtnl.Addr{{Index: index, Prefix: netip.MustParsePrefix(prefix), Flags: flags}}
	}
	route := func(dst string, gateway netip.Addr, index int, hops ...rtnl.Hop) []rtnl.Route {
		return []rtnl.Route{{Dst: netip.MustParsePrefix(dst), Gateway: gateway, Index: index, Hops: hops}}
	}
	gw := netip.MustParseAddr("192.168.1.1")
	const (
		noAddr  = "has no address"
		dad     = "has the address 2001:db8::2, which is not yet known to be unique"
		taken   = "has the address 2001:db8::2, which somebody else on this network has too"
		noRoute = "has no route that leads beyond the link"
	)
	bare, withAddr, withRoute := Ready{}, Ready{Addr: true}, Ready{Route: true}
	for _, tt := range []struct {
		name string
		want Ready
		sight
		missing string
	}{
		{"nothing", bare, sight{}, "is not there"},
		{"down", bare, sight{link: link(func(l *rtnl.Link) { l.Up, l.Carrier = false, false })}, "is down"},
		{"no cable", bare, sight{link: link(func(l *rtnl.Link) { l.Carrier = false })}, "has no carrier"},
		{"dormant", bare, sight{link: link(func(l *rtnl.Link) { l.Flags = unix.IFF_UP })}, "has a carrier, but does not pass frames yet"},
		{"up", bare, sight{link: up}, ""},

		{"IPv4", withAddr, sight{link: up, addrs: addr(index, "192.168.1.2/24", 0)}, ""},
		{"IPv6", withAddr, sight{link: up, addrs: addr(index, "2001:db8::2/64", unix.IFA_F_PERMANENT)}, ""},
		{"no address", withAddr, sight{link: up}, noAddr},
		{"another's address", withAddr, sight{link: up, addrs: addr(other, "192.168.1.2/24", 0)}, noAddr},
		{"link-local", withAddr, sight{link: up, addrs: addr(index, "fe80::2/64", 0)}, noAddr},
		{"link-local IPv4 is somebody's choice", withAddr, sight{link: up, addrs: addr(index, "169.254.1.2/16", 0)}, ""},
		{"tentative", withAddr, sight{link: up, addrs: addr(index, "2001:db8::2/64", unix.IFA_F_TENTATIVE)}, dad},
		{"duplicate", withAddr, sight{link: up, addrs: addr(index, "2001:db8::2/64", unix.IFA_F_TENTATIVE|unix.IFA_F_DADFAILED)}, taken},
		{"one of two is enough", withAddr, sight{link: up, addrs: append(
			addr(index, "2001:db8::2/64", unix.IFA_F_TENTATIVE), addr(index, "192.168.1.2/24", 0)...)}, ""},
		{"an address is not asked for", withRoute, sight{link: up, routes: route("0.0.0.0/0", gw, index)}, ""},

		{"no route", withRoute, sight{link: up}, noRoute},
		{"the subnet's own", withRoute, sight{link: up, routes: route("192.168.1.0/24", netip.Addr{}, index)}, noRoute},
		{"default on the link", withRoute, sight{link: up, routes: route("::/0", netip.Addr{}, index)}, ""},
		{"another network", withRoute, sight{link: up, routes: route("10.0.0.0/8", gw, index)}, ""},
		{"another link's", withRoute, sight{link: up, routes: route("0.0.0.0/0", gw, other)}, noRoute},
		{"one hop of two", withRoute, sight{link: up, routes: route("0.0.0.0/0", netip.Addr{}, 0,
			rtnl.Hop{Gateway: gw, Index: other}, rtnl.Hop{Gateway: gw, Index: index})}, ""},
		{"no hop of two", withRoute, sight{link: up, routes: route("0.0.0.0/0", netip.Addr{}, 0,
			rtnl.Hop{Gateway: gw, Index: other}, rtnl.Hop{Gateway: gw, Index: other})}, noRoute},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := tt.sight.missing(tt.want); got != tt.missing {
				t.Errorf("eth1 %q, want %q", got, tt.missing)
			}
		})
	}
}
