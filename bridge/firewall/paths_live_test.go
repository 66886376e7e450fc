//go:build linux

package firewall

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"regexp"
	"strings"
	"testing"
)

// What a look at a firewall says about the frames of one family.
type said int

const (
	silent said = iota // they pass, and nothing is said
	sure               // they are dropped, and that is said
	maybe              // some are dropped, or it cannot be told, and that is said
)

// nft loads rules of nft's own language.
func (h *fwHost) nft(text string) {
	h.Helper()
	h.needNFT()
	for range 2 { // it wants a line's end before a chain's
		text = nftEnd.ReplaceAllString(text, "$1\n}")
	}
	h.tool(text, "nft", "-f", "-")
}

var nftEnd = regexp.MustCompile(`(drop|accept|@m|;|\}) +\}`)

// chain is a table with one base chain.
func nftChainText(family, hook, rules string) string {
	return "table " + family + " fw { chain c { type filter hook " + hook + " priority 0; " + rules + " } }"
}

// guestQuery is about the first guest of fwHost.bridge.
func guestQuery(bridge string) Query {
	return Query{Bridge: bridge, Port: bridge + "0", Addresses: []netip.Prefix{
		netip.MustParsePrefix("10.99.0.1/24"), netip.MustParsePrefix("fd99::1/64"),
	}}
}

// TestFirewallLivePaths asks about rules of every hook that a bridged frame comes
// by, and then sends packets: what is cut is said, and what passes is not said to
// be cut. What is needed is put in first, and opens what it can.
func TestFirewallLivePaths(t *testing.T) {
	const fibDrop = `table inet firewalld { chain pre { type filter hook prerouting priority filter + 10; policy accept;
		icmpv6 type { nd-router-advert, nd-neighbor-solicit } accept
		meta nfproto ipv6 fib saddr . mark . iif oif missing drop } }`
	legacy := func(family Family, args string) func(*fwHost) {
		return func(h *fwHost) { h.tool("", h.iptables(family, Legacy), strings.Fields(args)...) }
	}
	overNFT := func(family Family, args ...string) func(*fwHost) {
		return func(h *fwHost) {
			for _, a := range args {
				h.tool("", h.iptables(family, NFT), strings.Fields(a)...)
			}
		}
	}
	nft := func(text string) func(*fwHost) { return func(h *fwHost) { h.nft(text) } }
	chain := func(family, hook, rules string) func(*fwHost) { return nft(nftChainText(family, hook, rules)) }
	ebtables := func(args string) func(*fwHost) {
		return func(h *fwHost) { h.needNFT(); h.tool("", "ebtables-nft", strings.Fields(args)...) }
	}
	for _, tt := range []struct {
		name      string
		load      func(*fwHost)
		four, six said
		words     string // in a warning
		passes    bool   // though something may be dropped, these packets are not
	}{
		{"firewalld's reverse path filter", nft(fibDrop), silent, sure, "ip -6 route add fd99::/64 dev brtest", false},
		{"the same, with a way back", func(h *fwHost) {
			h.nft(fibDrop)
			h.tool("", "ip", "-6", "route", "add", "fd99::/64", "dev", "brtest")
		}, silent, silent, "", true},
		{"a way back by another interface", func(h *fwHost) {
			h.nft(strings.ReplaceAll(fibDrop, "meta nfproto ipv6 ", ""))
			h.tool("", "ip", "route", "add", "10.99.0.0/24", "dev", "lo")
			h.tool("", "ip", "-6", "route", "add", "fd99::/64", "dev", "lo")
		}, sure, sure, "missing drop", false},
		{"any way back", func(h *fwHost) {
			h.nft(nftChainText("inet", "prerouting", "icmpv6 type 135 accept; fib saddr oif missing drop"))
			h.tool("", "ip", "route", "add", "10.99.0.0/24", "dev", "lo")
		}, silent, sure, "fd99::/64", false},

		{"inet prerouting", chain("inet", "prerouting", `iifname "brtest" drop`), sure, sure, `nft 'insert rule inet fw c iifname "brtest" accept'`, false},
		{"ip prerouting, where no output is known", chain("ip", "prerouting", `oifname != "wan" drop`), sure, silent, "", false},
		{"ip6 postrouting", chain("ip6", "postrouting", `oifname "brtest" drop`), silent, sure, `oifname "brtest" accept`, false},
		{"postrouting, where no input is known", chain("inet", "postrouting", `iifname "brtest" drop`), silent, silent, "", true},
		{"input, where none come by", chain("inet", "input", "policy drop;"), silent, silent, "", true},
		{"priorities", nft(`table inet fw { chain c { type filter hook prerouting priority raw; iifname "brtest" drop; } }`), sure, sure, "", false},

		{"bridge, our port", chain("bridge", "prerouting", `iifname "brtest0" drop`), sure, sure, "brtest0", false},
		{"bridge, to our port", chain("bridge", "postrouting", `oifname "brtest0" drop`), sure, sure, "", false},
		{"bridge, another port", chain("bridge", "forward", `iifname "brtest1" drop`), maybe, maybe, "brtest1", false},
		{"bridge, no port of it", chain("bridge", "forward", `iifname "lo" drop; iifname "gone" drop`), silent, silent, "", true},
		{"bridge, ARP", chain("bridge", "forward", "ether type arp drop"), sure, silent, "ether type", false},
		{"bridge, neither", chain("bridge", "prerouting", "policy drop; ether type { ip, arp } accept"), silent, sure, "policy drop", false},
		{"bridge, VLANs", chain("bridge", "forward", "ether type vlan drop"), silent, silent, "", true},
		{"what our port takes in", nft(`table netdev fw { chain c { type filter hook ingress devices = { lo, brtest0 } priority 0; ip saddr 10.0.0.0/8 drop; } }`), sure, silent, "netdev fw c", false},
		{"what our port gives out", nft(`table netdev fw { chain c { type filter hook egress device brtest0 priority 0; policy drop; } }`), sure, sure, "netdev fw c", false},
		{"what another device takes in", nft(`table netdev fw { chain c { type filter hook ingress device lo priority 0; policy drop; } }`), silent, silent, "", true},
		{"neighbours", chain("inet", "forward", "icmpv6 type nd-neighbor-solicit drop"), silent, sure, "", false},
		{"neighbours by the header", chain("bridge", "forward", "ip6 nexthdr icmpv6 icmpv6 type { 133-136 } drop"), silent, sure, "", false},

		{"a set", chain("inet", "forward", `iifname { "lan", "brtest" } drop`), sure, sure, "iifname {...} drop", false},
		{"not in a set", chain("inet", "forward", `iifname != { "lan", "wan" } drop`), sure, sure, "", false},
		{"in a set, not", chain("inet", "forward", `policy drop; iifname { "lan", "brtest" } accept`), silent, silent, "", true},
		{"a named set", nft(`table inet fw { set s { type ifname; elements = { "brtest" } }
			chain c { type filter hook forward priority 0; policy drop; iifname @s oifname @s accept } }`), silent, silent, "", true},
		{"an empty set", nft(`table inet fw { set s { type ifname; }
			chain c { type filter hook forward priority 0; iifname @s drop } }`), silent, silent, "", true},
		{"names that begin so", nft(`table inet fw { set s { type ifname; flags interval; elements = { "br*", "x" } }
			chain c { type filter hook forward priority 0; iifname @s drop } }`), sure, sure, "", false},
		{"a verdict map", chain("inet", "forward", `policy drop; iifname vmap { "lan" : drop, "brtest" : accept }`), silent, silent, "", true},
		{"a verdict map that drops", chain("inet", "forward", `iifname . oifname vmap { "lan" . "brtest" : accept, "brtest" . "brtest" : drop }`), sure, sure, "vmap", false},
		{"a verdict map that jumps", nft(`table inet fw { chain a { drop; }; chain b { accept; }
			chain c { type filter hook forward priority 0; policy drop; iifname vmap { "lan" : jump a, "brtest" : goto b } } }`), silent, silent, "", true},
		{"a verdict map of all others", nft(`table inet fw { map m { type ifname : verdict; elements = { "lan" : accept, * : drop } }
			chain c { type filter hook forward priority 0; iifname vmap @m } }`), sure, sure, "", false},
		{"networks", chain("ip", "forward", "ip saddr { 10.0.0.0/9, 192.168.0.0/16 } drop"), sure, silent, "", false},
		{"other networks", chain("inet", "forward", "ip saddr { 10.98.0.0/16, 192.168.0.0/16 } drop; ip6 daddr { fd00::/8, 2002::/16 } drop"), silent, sure, "", false},
		{"a set of pairs", chain("inet", "forward", `policy drop; ip saddr . ip daddr { 10.99.0.0/24 . 10.99.0.0-10.99.0.255 } accept`), silent, sure, "policy", false},
		{"a bridge and its network", nft(`table inet fw { set s { type ifname . ipv4_addr; flags interval; elements = { "brtest" . 10.0.0.0/8 } }
			chain c { type filter hook forward priority 0; iifname . ip saddr @s drop } }`), sure, silent, "", false},
		{"a part of the network", chain("ip", "forward", "ip daddr 10.99.0.128/25 drop"), maybe, silent, "10.99.0.128/25", true},
		{"the address alone", chain("ip", "forward", "ip daddr 10.99.0.1 drop"), sure, silent, "ip daddr 10.99.0.1 drop", false},
		{"another's", chain("ip", "forward", "ip daddr 172.17.0.2 drop; ip saddr != 10.99.0.0/24 drop"), silent, silent, "", true},

		{"a protocol", chain("inet", "forward", "meta l4proto tcp drop"), maybe, maybe, "l4proto", true},
		{"the protocol", chain("inet", "forward", "meta l4proto udp drop"), maybe, maybe, "l4proto", false},
		{"a few ports", chain("inet", "forward", "tcp dport { 22, 80-90 } drop; udp dport 137-139 drop; udp dport > 60000 accept"), silent, silent, "", true},
		{"many ports", chain("inet", "forward", "tcp dport { 22, 80, 1024-65535 } drop"), maybe, maybe, "th dport", true},
		{"all but some ports", chain("inet", "forward", "tcp dport != { 22, 80-90 } drop"), maybe, maybe, "th dport", true},
		{"ports of some", chain("ip", "forward", "ip saddr 10.99.0.0/25 tcp dport >= 1024 drop"), maybe, silent, "th dport", true},
		{"a rate", chain("inet", "forward", "limit rate over 1000/second drop"), silent, silent, "", true},
		{"beyond a rate", chain("inet", "forward", "limit rate 1000/second accept; drop"), maybe, maybe, "drop", true},
		{"a policy after ports", chain("inet", "forward", "policy drop; tcp dport 22 accept; ct state established,related accept"), sure, sure, "policy drop", false},
		{"a jump for some", nft(`table inet fw { chain a { ip saddr 10.99.0.0/24 accept; drop; }
			chain c { type filter hook forward priority 0; tcp dport 22 jump a; iifname "brtest" accept; drop } }`), silent, silent, "", true},

		{"invalid", chain("inet", "forward", "ct state invalid drop; ct state vmap { invalid : drop, new : accept }"), silent, silent, "", true},
		{"new", chain("ip", "forward", "ct state new drop"), sure, silent, "ct state new drop", false},
		{"answers", chain("ip", "forward", "ct state established drop"), sure, silent, "established", false},
		{"a mark that nothing has", chain("inet", "forward", "meta mark 0x1 drop; meta mark & 0xff00 != 0 drop; ct mark 7 drop"), silent, silent, "", true},
		{"a mark that a rule sets", nft(`table inet fw { chain p { type filter hook prerouting priority -150; meta mark set 0x1; }
			chain c { type filter hook forward priority 0; meta mark 0x1 drop; } }`), maybe, maybe, "meta mark 0x1 drop", false},
		{"users", chain("inet", "postrouting", "meta skuid 0 drop"), silent, silent, "", true},
		{"targets that are no host's", chain("ip", "prerouting", "fib daddr type != { local, broadcast, multicast, unicast } drop"), silent, silent, "", true},
		{"what is not for this host", chain("ip", "prerouting", "fib daddr type != { local, broadcast, multicast } drop"), sure, silent, "fib daddr type", false},

		{"Docker on nftables, a network without talk between containers", nft(`table ip docker-bridges {
			map filter-forward-in-jumps { type ifname : verdict; elements = { "docker0" : jump filter-forward-in__docker0, "brtest" : jump filter-forward-in__brtest }; }
			chain filter-forward-in__docker0 { ct state established,related counter accept; iifname "docker0" counter accept; counter drop; }
			chain filter-forward-in__brtest { ct state established,related counter accept; iifname "brtest" counter drop comment "ICC"; counter drop; }
			chain filter-FORWARD { type filter hook forward priority filter; policy accept; oifname vmap @filter-forward-in-jumps; } }`), sure, silent, "filter-forward-in__brtest: iifname \"brtest\" drop", false},
		{"Docker on nftables, another's network", nft(`table ip docker-bridges {
			map filter-forward-in-jumps { type ifname : verdict; elements = { "docker0" : jump filter-forward-in__docker0 }; }
			chain filter-forward-in__docker0 { iifname "docker0" accept; drop; }
			chain raw-PREROUTING { type filter hook prerouting priority raw; policy accept; ip daddr 172.17.0.2 iifname != "docker0" drop; }
			chain filter-FORWARD { type filter hook forward priority filter; policy accept; oifname vmap @filter-forward-in-jumps; } }`), silent, silent, "", true},

		{"asleep", nft(`table inet fw { flags dormant; chain c { type filter hook forward priority 0; policy drop; } }`), silent, silent, "", true},

		{"raw", overNFT(IPv4, "-t raw -A PREROUTING -i brtest -j DROP"), sure, silent, "iptables -t raw -I PREROUTING 1 -i brtest -j ACCEPT", false},
		{"mangle", overNFT(IPv6, "-t mangle -A POSTROUTING -o brtest -j DROP"), silent, sure, "-t mangle -I POSTROUTING 1 -o brtest", false},
		{"mangle's FORWARD", overNFT(IPv4, "-t mangle -A FORWARD -s 10.99.0.0/24 -j DROP"), sure, silent, "-t mangle -I FORWARD 1 -i brtest -o brtest", false},
		{"security", overNFT(IPv4, "-t security -A FORWARD -i br+ -j DROP"), sure, silent, "security", false},
		{"rpfilter", overNFT(IPv4, "-t raw -A PREROUTING -m rpfilter --invert -j DROP"), sure, silent, "ip route add 10.99.0.0/24 dev brtest", false},
		{"states of iptables", overNFT(IPv4, "-t mangle -A FORWARD -m conntrack --ctstate INVALID -j DROP", "-t mangle -A FORWARD -m conntrack ! --ctstate NEW,ESTABLISHED -j DROP"), silent, silent, "", true},
		{"marks of iptables", overNFT(IPv4, "-t mangle -A FORWARD -m mark --mark 0x1/0x1 -j DROP", "-t mangle -A PREROUTING -j MARK --set-mark 2"), maybe, silent, "mark", true},
		{"FORWARD, which is opened", overNFT(IPv4, "-A FORWARD -s 10.99.0.0/24 -j DROP", "-P FORWARD DROP"), silent, silent, "", true},
		{"FORWARD, some", overNFT(IPv4, "-A FORWARD -p udp -j DROP"), maybe, silent, "iptables -I FORWARD 1", false},

		{"legacy raw", legacy(IPv4, "-t raw -A PREROUTING -i brtest -j DROP"), sure, silent, "-t raw -I PREROUTING 1 -i brtest -j ACCEPT", false},
		{"legacy rpfilter", legacy(IPv4, "-t mangle -A PREROUTING -m rpfilter --validmark --invert -j DROP"), sure, silent, "mangle PREROUTING", false},
		{"legacy mangle", legacy(IPv6, "-t mangle -A FORWARD -d fd99::/64 -j DROP"), silent, sure, "", false},
		{"legacy security", legacy(IPv4, "-t security -P FORWARD DROP"), sure, silent, "policy drop", false},
		{"legacy, a port", legacy(IPv4, "-t mangle -A FORWARD -p tcp -m tcp --dport 22 -j DROP"), silent, silent, "", true},
		{"legacy, many ports", legacy(IPv4, "-t mangle -A FORWARD -p tcp -m tcp --dport 1024:65535 -j DROP"), maybe, silent, "--dport 1024:65535", true},
		{"legacy, others", legacy(IPv4, "-t mangle -A FORWARD -d 172.17.0.2/32 ! -i docker0 -j DROP"), silent, silent, "", true},

		{"the guests' own subnet masqueraded", overNFT(IPv4, "-t nat -A POSTROUTING -s 10.99.0.0/24 -j MASQUERADE"), sure, silent, "iptables -t nat -I POSTROUTING 1 -s 10.99.0.0/24 -d 10.99.0.0/24 -j ACCEPT", false},
		{"masqueraded, where the host is on the subnet too", func(h *fwHost) {
			h.tool("", "ip", "address", "add", "10.99.0.254/24", "dev", "brtest")
			overNFT(IPv4, "-t nat -A POSTROUTING -j MASQUERADE")(h)
		}, maybe, silent, "may divert some", false},
		{"masqueraded beyond the subnet", overNFT(IPv4, "-t nat -A POSTROUTING -s 10.99.0.0/24 ! -d 10.99.0.0/24 -j MASQUERADE", "-t nat -A POSTROUTING -o wan -j MASQUERADE"), silent, silent, "", true},
		{"legacy, masqueraded", legacy(IPv6, "-t nat -A POSTROUTING -s fd99::/64 -j MASQUERADE"), silent, sure, "ip6tables-legacy -t nat -I POSTROUTING 1 -s fd99::/64 -d fd99::/64 -j ACCEPT", false},
		{"legacy, another's destination", legacy(IPv4, "-t nat -A PREROUTING -i brtest -j DNAT --to-destination 172.30.0.9"), sure, silent, "diverts IPv4", false},
		{"a proxy for some", overNFT(IPv4, "-t nat -A PREROUTING -i brtest -p tcp -m tcp --dport 80 -j REDIRECT --to-ports 3128"), maybe, silent, "may divert some", true},
		{"a proxy", chain("ip", "prerouting", "ip daddr set 172.30.0.9;"), maybe, silent, "ip daddr set", false},
		{"nft's own translation", nft(`table inet fw { chain c { type nat hook prerouting priority dstnat; iifname "brtest" redirect; } }`), sure, sure, "nft 'insert rule inet fw c ip saddr 10.99.0.0/24 ip daddr 10.99.0.0/24 accept'", false},
		{"published ports of Docker", overNFT(IPv4, "-t nat -N DOCKER", "-t nat -A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER", "-t nat -A DOCKER -p udp -j DNAT --to-destination 172.17.0.2:53", "-t nat -A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE"), silent, silent, "", true},
		{"published ports of Docker, IPv6", overNFT(IPv6, "-t nat -N DOCKER", "-t nat -A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER", "-t nat -A DOCKER -p udp -j DNAT --to-destination [fd00::2]:53"), silent, silent, "", true},
		{"published ports of Docker, legacy", func(h *fwHost) {
			for _, args := range []string{"-N DOCKER", "-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER", "-A DOCKER -p udp -j DNAT --to-destination 172.17.0.2:53"} {
				legacy(IPv4, "-t nat "+args)(h)
			}
		}, silent, silent, "", true},
		{"what is not for this host, of iptables", overNFT(IPv4, "-t mangle -A PREROUTING -m addrtype ! --dst-type LOCAL -j DROP"), sure, silent, "! --dst-type LOCAL", false},
		{"sent out by another port", nft(`table netdev fw { chain c { type filter hook ingress device brtest0 priority 0; fwd to lo; } }`), sure, sure, "netdev fw c diverts", false},
		{"ebtables, another MAC address", ebtables("-t nat -A PREROUTING -i brtest0 -j dnat --to-destination 02:00:00:00:00:99"), sure, sure, "bridge nat PREROUTING diverts", false},
		{"ebtables, to the host", ebtables("-t nat -A PREROUTING -j redirect"), sure, sure, "diverts", false},
		{"ebtables, ARP answered", ebtables("-t nat -A PREROUTING -p arp --arp-opcode Request -j arpreply --arpreply-mac 02:00:00:00:00:99"), maybe, silent, "arpreply", false},
		{"ebtables, a mark and a drop", ebtables("-A FORWARD -j mark --mark-set 1 --mark-target DROP"), sure, sure, "mark", false},
		{"ebtables, a mark", ebtables("-A FORWARD -j mark --mark-set 1 --mark-target CONTINUE"), silent, silent, "", true},

		{"without conntrack", nft(`table inet fw { chain p { type filter hook prerouting priority raw; notrack; }
			chain c { type filter hook forward priority 0; ct state untracked drop; } }`), maybe, maybe, "ct state untracked drop", false},
		{"without conntrack, of iptables", overNFT(IPv4, "-t raw -A PREROUTING -j CT --notrack", "-t mangle -A FORWARD -m conntrack --ctstate UNTRACKED -j DROP"), maybe, silent, "ct state untracked", false},
		{"without conntrack, legacy", func(h *fwHost) {
			legacy(IPv4, "-t raw -A PREROUTING -j CT --notrack")(h)
			legacy(IPv4, "-t mangle -A FORWARD -m conntrack ! --ctstate NEW,ESTABLISHED -j DROP")(h)
		}, maybe, silent, "! --ctstate NEW,ESTABLISHED", false},
		{"neighbours are never tracked", overNFT(IPv6, "-t mangle -A FORWARD -m conntrack --ctstate UNTRACKED -j DROP"), silent, sure, "untracked", false},
		{"a connection's mark that a rule sets", nft(`table inet fw { chain p { type filter hook prerouting priority 0; ct mark set 5; }
			chain c { type filter hook forward priority 0; ct mark 5 drop; } }`), maybe, maybe, "ct mark 0x5 drop", false},
		{"a mark before FORWARD", overNFT(IPv4, "-t mangle -A PREROUTING -j MARK --set-mark 1", "-A FORWARD -m mark --mark 1 -j DROP"), maybe, silent, "iptables -I FORWARD 1", false},

		{"a quota", nft(`table inet fw { quota q { over 100 mbytes; }
			chain c { type filter hook forward priority 0; quota name "q" drop; } }`), maybe, maybe, "objref drop", true},
		{"a counter", nft(`table inet fw { counter n { }
			chain c { type filter hook forward priority 0; counter name "n" drop; } }`), sure, sure, "drops IPv4 and IPv6", false},
		{"a rate for each", nft(`table inet fw { set m { type ipv4_addr; flags dynamic; }
			chain c { type filter hook forward priority 0; update @m { ip saddr limit rate over 400/second } drop; } }`), maybe, silent, "dynset drop", true},
		{"a rate that is let through", chain("ip", "forward", "policy drop; limit rate 1000/second accept"), maybe, silent, "policy drop", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := newFWHost(t)
			g := h.bridge("brtest", 2)
			for _, family := range []Family{IPv4, IPv6} {
				h.wantReach(family, g[0], g[1], true, "before there are rules")
				h.forget(family, g)
			}
			tt.load(h)
			fw, err := Observe(context.Background(), guestQuery("brtest"))
			h.check(err)
			h.insert(fw.Needed("brtest", ""))
			warnings := strings.Join(fw.Warnings("brtest"), "\n")
			for family, want := range map[Family]said{IPv4: tt.four, IPv6: tt.six} {
				got := silent
				for _, p := range fw.Paths {
					for _, b := range p.Blocks {
						if p.Family == family && b.Sure {
							got = sure
						} else if p.Family == family && got == silent {
							got = maybe
						}
					}
				}
				if got != want {
					t.Errorf("%s: said %d, want %d (0 silent, 1 sure, 2 maybe)", family, got, want)
				}
				h.wantReach(family, g[0], g[1], want == silent || want == maybe && tt.passes, "through the rules")
			}
			if !strings.Contains(warnings, tt.words) {
				t.Errorf("no %q in what is said", tt.words)
			}
			if t.Failed() {
				t.Logf("warnings:\n%s", warnings)
			}
		})
	}
}

// forget empties the guests' neighbour tables, so that whoever is spoken to is
// asked for again.
func (h *fwHost) forget(family Family, guests []fwGuest) {
	h.Helper()
	for _, g := range guests {
		h.enter(g.ns)
		h.tool("", "ip", map[Family]string{IPv4: "-4", IPv6: "-6"}[family], "neigh", "flush", "dev", "eth1")
	}
	h.enter(h.ns)
}

// TestFirewallLiveFirewalld: the rules of firewalld 1.3 with its defaults, where
// the bridge brzone is in the zone "trusted", and brtest is in none.
func TestFirewallLiveFirewalld(t *testing.T) {
	rules, err := os.ReadFile("testdata/firewalld.nft")
	if err != nil {
		t.Fatal(err)
	}
	const (
		zone = "firewall-cmd --zone=trusted --add-interface=brtest"
		way  = "ip -6 route add fd99::/64 dev "
	)
	for _, tt := range []struct {
		bridge    string
		route     bool
		four, six bool // passes
		words     []string
		addresses bool
	}{
		{"brtest", false, false, false, []string{zone, way + "brtest"}, true},
		{"brtest", true, false, false, []string{zone}, true},
		{"brzone", false, true, false, []string{way + "brzone"}, true},
		{"brzone", true, true, true, nil, true},
		{"brzone", false, true, false, []string{"IPv6_rpfilter=no"}, false},
	} {
		t.Run(fmt.Sprintf("%s, route %v, addresses %v", tt.bridge, tt.route, tt.addresses), func(t *testing.T) {
			h := newFWHost(t)
			h.needNFT()
			g := h.bridge(tt.bridge, 2)
			for _, family := range families {
				h.wantReach(family, g[0], g[1], true, "before there are rules")
				h.forget(family, g)
			}
			h.tool(string(rules), "nft", "-f", "-")
			if tt.route {
				h.tool("", "ip", "-6", "route", "add", "fd99::/64", "dev", tt.bridge)
			}
			q := guestQuery(tt.bridge)
			if !tt.addresses {
				q.Addresses = nil
			}
			fw, err := Observe(context.Background(), q)
			h.check(err)
			h.wantReach(IPv4, g[0], g[1], tt.four, "through firewalld")
			h.wantReach(IPv6, g[0], g[1], tt.six, "through firewalld")
			said := strings.Join(fw.Warnings(tt.bridge), "\n")
			for _, word := range tt.words {
				if !strings.Contains(said, word) {
					t.Errorf("no %q in:\n%s", word, said)
				}
			}
			if tt.words == nil && said != "" {
				t.Errorf("said of what passes:\n%s", said)
			}
			if cut := fw.Cut(tt.bridge, ""); (cut == nil) != (tt.four && (tt.six || !tt.addresses)) {
				t.Errorf("cut: %q", cut)
			}
		})
	}
}

// TestFirewallLiveRestless: rules that change without pause are read all the same.
func TestFirewallLiveRestless(t *testing.T) {
	h := newFWHost(t)
	h.load(IPv4, NFT, docker28)
	h.churn(0)
	fw := h.observe("brtest")
	if p := fw.Paths[0]; !p.Drops || p.Chain != "DOCKER-USER" {
		t.Errorf("path %+v", p)
	}
	if said := strings.Join(fw.Warnings("brtest"), "\n"); fw.Restless != strings.Contains(said, "kept changing") {
		t.Errorf("restless: %v, and said: %q", fw.Restless, said)
	}
}

// BenchmarkFirewallMany follows a frame through thousands of rules that all are
// asked, as a node of Kubernetes may have.
func BenchmarkFirewallMany(b *testing.B) {
	for _, n := range []int{1000, 20_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			h := newFWHost(b)
			text := "table ip fw { chain c { type filter hook forward priority 0;\n"
			for i := range n {
				text += fmt.Sprintf("ip daddr 172.%d.%d.1 tcp dport 80 ct state new drop\n", i/250+16, i%250)
			}
			h.nft(text + "}\n}\n")
			for b.Loop() {
				fw, err := Observe(context.Background(), guestQuery("brtest"))
				h.check(err)
				if said := fw.Warnings("brtest"); said != nil {
					b.Fatalf("said of others' addresses: %q", said)
				}
			}
		})
	}
}

// TestFirewallLiveRemedy does what a warning says, and then packets pass and
// nothing is said any more.
func TestFirewallLiveRemedy(t *testing.T) {
	for name, rules := range map[string]string{
		"what our port takes in":   `table netdev fw { chain c { type filter hook ingress device "brtest0" priority 0; policy drop; } }`,
		"what our port gives out":  `table netdev fw { chain c { type filter hook egress device "brtest0" priority 0; policy drop; } }`,
		"taken in, of inet":        `table inet fw { chain c { type filter hook ingress device "brtest0" priority 0; policy drop; } }`,
		"forward":                  nftChainText("inet", "forward", "policy drop;"),
		"prerouting":               nftChainText("inet", "prerouting", "policy drop;"),
		"postrouting":              nftChainText("inet", "postrouting", "policy drop;"),
		"the way back":             nftChainText("inet", "prerouting", "fib saddr . iif oif missing drop;"),
		"the source's type":        nftChainText("ip6", "prerouting", "fib saddr type unicast drop;"),
		"the type and the mark":    nftChainText("ip6", "prerouting", "fib saddr . mark type unicast drop;"),
		"translation":              `table inet fw { chain c { type nat hook postrouting priority srcnat; masquerade; } }`,
		"no broadcast, as it says": nftChainText("inet", "prerouting", "fib saddr type broadcast drop;"),
	} {
		t.Run(name, func(t *testing.T) {
			h := newFWHost(t)
			h.needNFT()
			g := h.bridge("brtest", 2)
			h.nft(rules)
			for range 8 { // a command for each family and rule
				said := strings.Join(h.mustObserve(guestQuery("brtest")).Warnings("brtest"), "\n")
				if said == "" {
					break
				}
				remedies := remedy.FindAllStringSubmatch(said, -1)
				if remedies == nil {
					t.Fatalf("no remedy in:\n%s", said)
				}
				for _, r := range remedies {
					h.tool("", "sh", "-ec", r[1])
				}
			}
			if said := h.mustObserve(guestQuery("brtest")).Warnings("brtest"); said != nil {
				t.Errorf("said after the remedy:\n%s", strings.Join(said, "\n"))
			}
			for _, family := range families {
				h.forget(family, g)
				h.wantReach(family, g[0], g[1], true, "after the remedy")
			}
		})
	}
}

var remedy = regexp.MustCompile(`(?m)to let them pass: (.*)$`)

func (h *fwHost) mustObserve(q Query) Firewall {
	h.Helper()
	fw, err := Observe(context.Background(), q)
	h.check(err)
	return fw
}

// TestFirewallLiveNoAddress: a guest that is to get its address from a DHCP server
// is not warned of what Docker translates for its own networks, but of what is
// translated whoever sends it.
func TestFirewallLiveNoAddress(t *testing.T) {
	h := newFWHost(t)
	h.needNFT()
	h.bridge("brtest", 2)
	docker := []string{"-t", "nat", "-A", "POSTROUTING", "-s", "172.17.0.0/16", "!", "-o", "docker0", "-j", "MASQUERADE"}
	h.tool("", "iptables-nft", docker...)
	for _, c := range []struct{ rule, want string }{{"", ""}, {"-t nat -A POSTROUTING -o brtest -j MASQUERADE", "may divert some"}} {
		if c.rule != "" {
			h.tool("", "iptables-nft", strings.Fields(c.rule)...)
		}
		fw, err := Observe(context.Background(), Query{Bridge: "brtest", Port: "brtest0"})
		h.check(err)
		said := strings.Join(fw.Warnings("brtest"), "\n")
		if (said == "") != (c.want == "") || !strings.Contains(said, c.want) {
			t.Errorf("%q: said %q, want %q", c.rule, said, c.want)
		}
	}
}

// TestFirewallLiveLargeSet: a list of addresses to block that is too long to be
// read is said to drop some. It keeps nothing else from being judged.
func TestFirewallLiveLargeSet(t *testing.T) {
	h := newFWHost(t)
	h.needNFT()
	g := h.bridge("brtest", 2)
	var blocked strings.Builder
	for i := range 60_000 {
		fmt.Fprintf(&blocked, "20.%d.%d.1,", i/256, i%256)
	}
	const rules = `table ip fw {
	set blocked { type ipv4_addr
	elements = { %s }
	}
	map way { type ipv4_addr : verdict
	elements = { %s }
	}
	chain c { type filter hook forward priority 0
	ip saddr @blocked drop
	iifname { "lan", "wan" } drop
	ip daddr vmap @way
	%s
	}
	}
	`
	list := strings.TrimSuffix(blocked.String(), ",")
	for last, want := range map[string]bool{"": false, `iifname { "brtest" } drop`: true} {
		h.tool(fmt.Sprintf(rules, list, strings.ReplaceAll(list, ",", " : drop,")+" : drop", last), "nft", "-f", "-")
		fw := h.mustObserve(guestQuery("brtest"))
		said := strings.Join(fw.Warnings("brtest"), "\n")
		if cut := fw.Cut("brtest", "") != nil; cut != want {
			t.Errorf("cut: %v, want %v\n%s", cut, want, said)
		}
		if !want && (!strings.Contains(said, "may drop some IPv4") || !strings.Contains(said, "ip saddr @blocked drop; and 1 more rules")) {
			t.Errorf("said: %s", said)
		}
		h.wantReach(IPv4, g[0], g[1], !want, "past a list of others' addresses")
		h.tool("", "nft", "delete", "table", "ip", "fw")
	}
}
