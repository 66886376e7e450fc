//go:build linux

package firewall

import (
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
)

// TestSourceFilter: a filter is read as it was written, by Set or by a person who types its
// commands; one that somebody has changed is none; and the last one takes our table along.
func TestSourceFilter(t *testing.T) {
	h := newFWHost(t)
	h.needNFT()
	h.tool("", "nft", "add", "table", "ip", "other")
	empty := h.tool("", "nft", "list", "ruleset")
	pair := func(name string) {
		h.check(netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: name}, PeerName: "in" + name}))
	}
	pair("web0")
	pair("db0")
	mac := net.HardwareAddr{2, 0, 0, 0, 0, 0xd}
	web := SourceFilter{Port: "web0", MAC: mac, Addrs: []netip.Addr{netip.MustParseAddr("2001:db8::2"), netip.MustParseAddr("10.0.0.3"), netip.MustParseAddr("10.0.0.2")}}
	bare := SourceFilter{Port: "db0", MAC: mac}
	is := func(what string, port string, want *SourceFilter) {
		t.Helper()
		got, err := ReadSourceFilter(port)
		h.check(err)
		if (got == nil) != (want == nil) || got != nil && !got.Equal(*want) {
			t.Errorf("%s: %+v, want %+v\n%s", what, got, want, h.tool("", "nft", "list", "ruleset"))
		}
	}
	is("before", "web0", nil)
	h.check(CheckSourceFilters())
	if got := h.tool("", "nft", "list", "ruleset"); got != empty {
		t.Errorf("a check leaves %s", got)
	}
	h.check(web.Set())
	h.check(bare.Set())
	is("set", "web0", &web)
	is("set without an address", "db0", &bare)
	other := web
	other.Addrs = other.Addrs[:1]
	h.check(other.Set())
	is("set again", "web0", &other)

	h.tool("", "nft", "insert rule netdev gopipework web0 accept")
	is("changed", "web0", nil)
	h.check(web.Set())
	is("set once more", "web0", &web)
	for _, line := range []string{"add table netdev gopipework { flags dormant; }", "add chain netdev gopipework web0 { policy drop; }"} {
		h.tool("", "nft", line)
		is(line, "web0", nil)
		h.check(web.Set())
		is("set after "+line, "web0", &web)
	}
	for _, f := range []SourceFilter{web, bare} {
		h.check(DeleteSourceFilter(f.Port))
		h.tool("", "sh", "-ec", strings.Join(f.Commands(), "\n"))
		is("typed", f.Port, &f)
	}
	many := web
	for i := range MaxFiltered - 2 {
		many.Addrs = append(many.Addrs, netip.AddrFrom4([4]byte{10, 0, 1, byte(i)}), netip.AddrFrom16([16]byte{0: 0x20, 15: byte(i)}))
	}
	h.check(many.Set())
	is("as many as there may be", "web0", &many)

	// Another link of that name is not filtered.
	l, err := netlink.LinkByName("web0")
	h.check(err)
	h.check(netlink.LinkDel(l))
	pair("web0")
	is("of a link that has gone", "web0", nil)
	h.check(web.Set())
	is("of the new link", "web0", &web)

	ports, err := SourceFilters()
	h.check(err)
	if len(ports) != 2 {
		t.Errorf("the filters are of %v", ports)
	}
	for range 2 {
		h.check(DeleteSourceFilter("web0"))
		h.check(DeleteSourceFilter("db0"))
	}
	if got := h.tool("", "nft", "list", "ruleset"); got != empty {
		t.Errorf("at the end there is %s", got)
	}
}
