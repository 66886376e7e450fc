package hostaddr

import (
	"net/netip"
	"strings"
	"testing"
)

func TestVerdicts(t *testing.T) {
	for _, c := range []struct{ addr, any, dhcp, dhcp6 string }{
		{"192.168.1.2", "", "", "not an IPv6"},
		{"2001:db8::2", "", "not an IPv4", ""},
		{"fe80::1", "", "not an IPv4", "link-local"},
		{"240.0.0.1", "", "240.0.0.0/4", "not an IPv6"},
		{"255.255.255.255", "broadcast", "broadcast", "not an IPv6"},
		{"0.0.0.0", "unspecified", "unspecified", "not an IPv6"},
		{"0.1.2.3", "this network", "this network", "not an IPv6"},
		{"::", "unspecified", "not an IPv4", "unspecified"},
		{"127.0.0.1", "loopback", "loopback", "not an IPv6"},
		{"::1", "loopback", "not an IPv4", "loopback"},
		{"224.0.0.1", "multicast", "multicast", "not an IPv6"},
		{"ff02::1", "multicast", "not an IPv4", "multicast"},
		{"::ffff:192.168.1.2", "written as IPv6", "not an IPv4", "not an IPv6"},
	} {
		a := netip.MustParseAddr(c.addr)
		for what, v := range map[string][2]string{
			"any": {Unusable(a), c.any}, "dhcp": {Unleasable4(a), c.dhcp}, "dhcp6": {Unleasable6(a), c.dhcp6},
		} {
			if got, want := v[0], v[1]; (got == "") != (want == "") || !strings.Contains(got, want) {
				t.Errorf("%s, %s: %q, want %q", c.addr, what, got, want)
			}
		}
	}
	if Unusable(netip.Addr{}) == "" || Unleasable4(netip.Addr{}) == "" || Unleasable6(netip.Addr{}) == "" {
		t.Error("the zero Addr is usable")
	}
}

func TestNotHost(t *testing.T) {
	for _, c := range []struct{ subnet, addr, want string }{
		{"192.168.1.0/24", "192.168.1.0", "network"},
		{"192.168.1.0/24", "192.168.1.255", "broadcast"},
		{"192.168.1.0/24", "192.168.1.1", ""},
		{"192.168.1.0/24", "192.168.2.255", ""}, // of another subnet
		{"192.168.1.0/31", "192.168.1.0", ""},
		{"192.168.1.1/32", "192.168.1.1", ""},
		{"2001:db8::/64", "2001:db8::", "anycast"},
		{"2001:db8::/64", "2001:db8::ffff:ffff:ffff:ffff", ""},
		{"2001:db8::/127", "2001:db8::", ""},
	} {
		got := NotHost(netip.MustParsePrefix(c.subnet), netip.MustParseAddr(c.addr))
		if (got == "") != (c.want == "") || !strings.Contains(got, c.want) {
			t.Errorf("%s in %s: %q, want %q", c.addr, c.subnet, got, c.want)
		}
	}
}

func TestHostless(t *testing.T) {
	for word, want := range map[string]bool{
		"0.0.0.0/32": true, "127.0.0.0/8": true, "127.0.0.1/32": true, "224.0.0.0/4": true, "224.0.0.5/32": true, "255.255.255.255/32": true,
		"::1/128": true, "ff02::5/128": true,
		"0.0.0.0/0": false, "0.0.0.0/1": false, "128.0.0.0/1": false, "0.0.0.0/5": false, "10.0.0.0/8": false, "::/0": false, "::/1": false, "fd08::/64": false,
	} {
		if got := Hostless(netip.MustParsePrefix(word)); got != want {
			t.Errorf("%s: %v", word, got)
		}
	}
}
