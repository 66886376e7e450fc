package main

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/gopipework/gopipework/attach"
	"github.com/gopipework/gopipework/internal/shell"
	"github.com/gopipework/gopipework/internal/topology"
)

// TestImportedLines: the line for an attachment of each kind, and what is said where no
// line says the same.
func TestImportedLines(t *testing.T) {
	web := attach.GuestInfo{Runtime: "docker", ID: "0123456789ab", Name: "web", PID: 4321, NetNS: 1}
	db := attach.GuestInfo{Runtime: "netns", ID: "db", Name: "db", NetNS: 2}
	addresses := []netip.Prefix{netip.MustParsePrefix("10.0.0.2/24")}
	gateways := []netip.Addr{netip.MustParseAddr("10.0.0.1")}
	plain := func(g attach.GuestInfo, name string, h attach.Host) attach.Attachment {
		return attach.Attachment{
			Guest: g, Host: h, State: attach.Complete, Origin: attach.OriginLine,
			Interface: attach.Interface{Name: name, MAC: "02:00:00:00:00:01", MTU: 1500, Addresses: addresses},
		}
	}
	with := func(a attach.Attachment, change func(*attach.Attachment)) attach.Attachment {
		change(&a)
		return a
	}
	bridge := attach.Host{Kind: "bridge", Name: "brtest", Port: "veth1pl4321"}
	for _, test := range []struct {
		all  []attach.Attachment
		want string // the line, or with # a part of a comment
	}{
		{[]attach.Attachment{plain(web, "eth1", bridge)}, "brtest docker:web 10.0.0.2/24 02:00:00:00:00:01"},
		{[]attach.Attachment{plain(web, "eth1", attach.Host{Kind: "bridge", Name: "lan", Port: "mine", VLAN: "10,20-30"})}, "bridge:lan -l mine docker:web 10.0.0.2/24 02:00:00:00:00:01@10,20-30"},
		{[]attach.Attachment{plain(db, "long-name", attach.Host{Kind: "ovs", Name: "ovs1", Port: "vlong-na012abcd", VLAN: "10t"})}, "ovs1 -i long-name netns:db 10.0.0.2/24 02:00:00:00:00:01@10t"},
		{[]attach.Attachment{plain(db, "eth1", attach.Host{Kind: "ovs", Name: "lan", Port: "veth1012abcd"})}, "ovs:lan netns:db 10.0.0.2/24 02:00:00:00:00:01"},
		{[]attach.Attachment{plain(web, "eth1", attach.Host{Kind: "macvlan", Name: "br0", VLAN: "10"})}, "macvlan:br0 docker:web 10.0.0.2/24 02:00:00:00:00:01@10"},
		{[]attach.Attachment{with(plain(web, "eth1", attach.Host{Kind: "ipvlan", Name: "eth0"}), func(a *attach.Attachment) { a.More = []string{"mode l3"} })}, "ipvlan:eth0 docker:web 10.0.0.2/24 --mode l3"},
		{[]attach.Attachment{plain(web, "eth1", attach.Host{Kind: "vlan", Name: "eth0", VLAN: "10"})}, "vlan:eth0 docker:web 10.0.0.2/24 @10"},
		{[]attach.Attachment{with(plain(web, "eth1", attach.Host{Kind: "phys", Name: "eth0"}), func(a *attach.Attachment) { a.Interface.MTU = 9000 })}, "phys:eth0 docker:web 10.0.0.2/24"},
		{[]attach.Attachment{plain(web, "ib0", attach.Host{Kind: "ipoib", Name: "ib0", VLAN: "0x8001"})}, "ipoib:ib0 -i ib0 docker:web 10.0.0.2/24 @0x8001"},
		{[]attach.Attachment{plain(web, "dummy0", attach.Host{Kind: "dummy"})}, "dummy -i dummy0 docker:web 10.0.0.2/24 02:00:00:00:00:01"},
		{[]attach.Attachment{with(plain(web, "eth1", bridge), func(a *attach.Attachment) {
			a.Lease = &attach.LeaseState{Source: "dhcp"}
			a.Interface.Gateway, a.Interface.MTU = gateways, 1400
		})}, "brtest docker:web dhcp 02:00:00:00:00:01 --mtu 1400"},
		{[]attach.Attachment{with(plain(web, "eth1", bridge), func(a *attach.Attachment) { a.Interface.Gateway = gateways })}, "brtest docker:web 10.0.0.2/24@10.0.0.1 02:00:00:00:00:01"},
		{[]attach.Attachment{with(plain(web, "eth1", bridge), func(a *attach.Attachment) { a.Interface.Addresses = nil })}, "brtest docker:web 0/0 02:00:00:00:00:01"},
		{[]attach.Attachment{with(plain(web, "eth1", bridge), func(a *attach.Attachment) { a.More = []string{"routes"} })}, "#eth1 of docker:web has routes, which are not in the line"},
		{[]attach.Attachment{with(plain(web, "eth1", bridge), func(a *attach.Attachment) { a.State = attach.Half })}, "#is left out: it is half made"},
		{[]attach.Attachment{with(plain(web, "eth1", bridge), func(a *attach.Attachment) { a.Hidden = true })}, "#is left out"},
		{[]attach.Attachment{with(plain(web, "eth1", bridge), func(a *attach.Attachment) { a.Host.Name = "" })}, "#its port veth1pl4321 is in no bridge now"},
		{[]attach.Attachment{with(plain(web, "eth1", bridge), func(a *attach.Attachment) { a.Origin = "file:lab" })}, "#belongs to file:lab"},
		{[]attach.Attachment{plain(attach.GuestInfo{Runtime: "pid", ID: "7", Name: "pid:7", NetNS: 3}, "eth1", bridge)}, "#is known by the number of a process"},
		{[]attach.Attachment{plain(attach.GuestInfo{Runtime: "docker", Name: "-x\u2028", NetNS: 3}, "eth1", bridge)}, "#is left out, as no line says the same"},
		{[]attach.Attachment{plain(web, "to-db", attach.Host{Kind: "veth", Name: "netns:db", Port: "to-web"})}, "#the other end of its link, in netns:db, cannot be seen"},
		{[]attach.Attachment{
			plain(web, "to-db", attach.Host{Kind: "veth", Name: "netns:db", Port: "to-web"}),
			with(plain(db, "to-web", attach.Host{Kind: "veth", Name: "docker:web", Port: "to-db"}), func(a *attach.Attachment) {
				a.Interface.Addresses, a.Interface.Gateway = []netip.Prefix{netip.MustParsePrefix("10.0.0.3/24")}, gateways
			}),
		}, "docker:web:to-db 10.0.0.2/24 netns:db:to-web 10.0.0.3/24@10.0.0.1"},
	} {
		entries := importedEntries(test.all, func(attach.Attachment) bool { return true })
		if len(entries) != 1 {
			t.Errorf("%d entries for %s", len(entries), test.want)
			continue
		}
		e := entries[0]
		if part, ok := strings.CutPrefix(test.want, "#"); ok {
			if !strings.Contains(strings.Join(e.Comments, "\n"), part) {
				t.Errorf("%+v does not say %s", e, part)
			}
		} else if got := shell.Line(e.Words); got != test.want {
			t.Errorf("%s\nshould be %s; %q", got, test.want, e.Comments)
		}
		text := topology.Draft{Comments: importHead, Entries: entries}.Text()
		if _, err := topology.Parse("f", text, grammar()); err != nil {
			t.Errorf("%v: %s", err, text)
		}
	}
}
