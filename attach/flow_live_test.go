package attach

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	testhost "github.com/gopipework/gopipework/e2e/host"
)

// TestObstacles: what in a guest, or at its port, keeps packets from flowing is
// warned of each time that the line is run, and told by list as far as it is sure;
// and a ping says that it is so.
func TestObstacles(t *testing.T) {
	needRoot(t)
	const both = "10.0.0.2/24,2001:db8::2/64"
	const aside = "ip link add d0 type veth peer name d1; ip link set d0 up; ip link set d1 up; ip address add 172.31.0.2/24 dev d0; "
	for _, c := range []struct {
		name         string
		side         string // where it is done; "web": in the guest
		do           string
		to           string // whom the other guest does not reach
		warned       string
		unsure       bool // no matter for a list
		mend         string
		stillAnswers bool // the other guest is answered all the same
	}{
		{name: "a rule to a table that leads elsewhere", side: "web", do: aside + "ip rule add to 10.0.0.0/24 lookup 100; ip route add default dev d0 table 100",
			to: "10.0.0.2", warned: "web sends packets for 10.0.0.1 out by d0", mend: "ip rule del to 10.0.0.0/24"},
		{name: "a VPN's rules", side: "web", do: aside + "ip rule add not fwmark 0xca6c lookup 51820; ip route add default dev d0 table 51820; ip -6 rule add not fwmark 0xca6c lookup 51820; ip -6 route add default dev d0 table 51820",
			to: "2001:db8::2", warned: "2001:db8::1 out by d0", mend: "ip -6 rule del not fwmark 0xca6c; ip rule del not fwmark 0xca6c"},
		{name: "a rule that is unreachable", side: "web", do: "ip rule add to 10.0.0.0/24 unreachable", to: "10.0.0.2", warned: "web has no route to 10.0.0.1", mend: "ip rule del to 10.0.0.0/24"},
		{name: "a rule that prohibits IPv6", side: "web", do: "ip -6 rule add prohibit pref 7", to: "2001:db8::2", warned: "web has no route to 2001:db8::1", mend: "ip -6 rule del pref 7"},
		{name: "a blackhole", side: "web", do: "ip route add blackhole 10.0.0.0/25", to: "10.0.0.3", warned: "web has no route to 10.0.0.1", mend: "ip route del blackhole 10.0.0.0/25", stillAnswers: true},
		{name: "a prohibit route of IPv6", side: "web", do: "ip -6 route add prohibit 2001:db8::/65", to: "2001:db8::2", warned: "web has no route to 2001:db8::1", mend: "ip -6 route del prohibit 2001:db8::/65"},
		{name: "a rule for what comes in", side: "web", do: "ip rule add pref 1 lookup local; ip rule add pref 0 iif eth1 prohibit; ip rule del pref 0 lookup local; ip rule add pref 0 iif eth1 prohibit 2>/dev/null || true",
			to: "10.0.0.2", warned: "web drops what comes in by eth1 from 10.0.0.1", mend: "ip rule del pref 0; ip rule add pref 0 lookup local; ip rule del pref 1"},
		{name: "arp_ignore", side: "web", do: "echo 8 >/proc/sys/net/ipv4/conf/all/arp_ignore", to: "10.0.0.2", warned: "arp_ignore is 8", mend: "echo 0 >/proc/sys/net/ipv4/conf/all/arp_ignore"},
		{name: "no ARP", side: "web", do: "ip link set eth1 arp off", to: "10.0.0.2", warned: "eth1 of web does no ARP", mend: "ip link set eth1 arp on"},
		{name: "in a bridge of the guest's", side: "web", do: "ip link add brin type bridge; ip link set brin up; ip link set eth1 master brin",
			to: "10.0.0.2", warned: "eth1 is a port of brin in web", mend: "ip link set eth1 nomaster"},
		{name: "a disabled port", side: "host", do: "bridge link set dev $WEB state 0", to: "10.0.0.2", warned: "is in state disabled on brtest", mend: "bridge link set dev $WEB state 3"},
		{name: "a locked port", side: "host", do: "bridge link set dev $WEB locked on learning off; bridge fdb flush dev brtest brport $WEB", to: "10.0.0.2", warned: "is locked on brtest", unsure: true, mend: "bridge link set dev $WEB locked off learning on"},
		{name: "no broadcasts", side: "host", do: "bridge link set dev $WEB bcast_flood off", to: "10.0.0.2", warned: "gets no broadcasts from brtest", mend: "bridge link set dev $WEB bcast_flood on"},
		{name: "no multicasts", side: "host", do: "bridge link set dev $WEB mcast_flood off", to: "2001:db8::2", warned: "gets only those multicasts from brtest", unsure: true, mend: "bridge link set dev $WEB mcast_flood on", stillAnswers: true},
		{name: "unknown stations", side: "host", do: "bridge link set dev $WEB learning off flood off; bridge fdb flush dev brtest brport $WEB", to: "10.0.0.2", warned: "does not learn who is behind", unsure: true, mend: "bridge link set dev $WEB learning on flood on"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			hostNS, web, db := newNamespace(t), docker(newNamespace(t), 0), docker(newNamespace(t), 0)
			db.Name, db.ID = "db", "fedcba9876543210"
			s := parsed(t, "brtest web "+both+" --nodad -l web0")
			again := func() (string, []string) {
				t.Helper()
				r, err := runAttach(context.Background(), s, web, hostNS, Options{})
				if err != nil {
					t.Fatal(err)
				}
				list, err := runList(context.Background(), hostNS, &web)
				if err != nil || len(list) != 1 {
					t.Fatalf("%+v, %v; want one attachment", list, err)
				}
				return strings.Join(r.Warnings, "\n"), list[0].Cut
			}
			if said, cut := again(); said != "" || cut != nil {
				t.Fatalf("at first: %q, cut %q", said, cut)
			}
			if _, err := runAttach(context.Background(), parsed(t, "brtest db 10.0.0.3/24,2001:db8::3/64 --nodad -l db0"), db, hostNS, Options{}); err != nil {
				t.Fatal(err)
			}
			sh := func(script string) {
				t.Helper()
				ns := map[string]*os.File{"web": web.Namespace, "host": hostNS}[c.side]
				in(t, ns, "sh", "-ec", strings.NewReplacer("$WEB", "web0", "$DB", "db0").Replace(script))
			}
			sh(c.do)
			in(t, db.Namespace, "sh", "-c", "ip neighbour flush all; ip -6 neighbour flush all")
			in(t, web.Namespace, "sh", "-c", "ip neighbour flush all; ip -6 neighbour flush all")
			if !c.stillAnswers && ping(db.Namespace, c.to, 1) {
				t.Errorf("db reaches %s all the same", c.to)
			}
			for range 2 {
				said, cut := again()
				if strings.Count(said, c.warned) != 1 {
					t.Errorf("warned of %q; want %q", said, c.warned)
				}
				if strings.Contains(said, "(ip ") {
					t.Errorf("%q has a command of the guest's as one for the host", said)
				}
				if told := strings.Join(cut, "\n"); strings.Contains(told, c.warned) == c.unsure {
					t.Errorf("list tells %q; want %q", told, c.warned)
				}
			}
			sh(c.mend)
			if said, cut := again(); said != "" || cut != nil {
				t.Errorf("mended: %q, cut %q", said, cut)
			}
			if !c.stillAnswers && !testhost.Poll(30*time.Second, func() bool { return ping(db.Namespace, c.to, 1) }) {
				t.Errorf("mended, and db does not reach %s", c.to)
			}
		})
	}
}

// TestGuestFirewall: a guest's own firewall is warned of where it lets no ordinary
// connection begin, and list says that one which stops everything cuts the guest off. One
// that is only careful is no matter. A ping says that it is so.
func TestGuestFirewall(t *testing.T) {
	needRoot(t)
	input := func(rules string) string {
		return `nft 'table inet f { chain i { type filter hook input priority 0; ` + rules + `; }; }'`
	}
	const discovery = "icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept; "
	const all, new = "drops all IPv4 connections that it begins", "drops all new IPv4 connections to it"
	for _, c := range []struct {
		name, do string
		warned   string // "": nothing
		cut      bool
		in, out  bool // the other guest reaches it, and it the other
	}{
		{"all", input(`policy drop; iifname "lo" accept`), all, true, false, false},
		{"all by name", input(`iifname "eth1" drop`), all, true, false, false},
		{"all by names", input(`iifname { "eth0", "eth1" } drop`), all, true, false, false},
		{"all by its address", input("ip daddr 10.0.0.2 drop"), all, true, false, false},
		{"another interface", input(`iifname "eth0" drop`), "", false, true, true},
		{"dormant", `nft 'table inet f { flags dormant; chain i { type filter hook input priority 0; policy drop; }; }'`, "", false, true, true},
		{"answers alone", input("policy drop; ct state established,related accept; " + discovery + "tcp dport 22 drop"), new, false, false, true},
		{"as ufw does it", input("policy drop; ct state established,related accept; ct state invalid drop; meta l4proto { icmp, ipv6-icmp } accept; tcp dport 22 accept"), "", false, true, true},
		{"one open port", input("policy drop; ct state established,related accept; " + discovery + "tcp dport 22 accept"), "", false, false, true},
		{"a port and a rate", input("tcp dport 22 drop; icmp type echo-request limit rate over 50/second drop"), "", false, true, true},
		{"the way back", `nft 'table inet f { chain p { type filter hook prerouting priority -300; fib saddr . iif oif 0 drop; }; }'`, "", false, true, true},
		{"its own address", input("fib daddr type local drop"), all, true, false, false},
		{"a rule nobody can judge", input("ct zone 7 drop"), "may drop all IPv4 connections that it begins", false, true, true},
		{"ARP", "nft 'table arp f { chain i { type filter hook input priority 0; policy drop; }; }'", "drops ARP", true, false, false},
		{"ARP going out", "nft 'table arp f { chain o { type filter hook output priority 0; drop; }; }'", "drops ARP", true, false, false},
		{"at the device", "nft 'table netdev f { chain i { type filter hook ingress device eth1 priority 0; policy drop; }; }'", "drops ARP", true, false, false},
		{"iptables OUTPUT", "iptables -P OUTPUT DROP", all, true, false, false},
		{"iptables TCP", "iptables -A OUTPUT -p tcp -j REJECT", "drops TCP over IPv4 that it begins", false, true, true},
		{"iptables raw", "iptables -t raw -A PREROUTING -i eth1 -j DROP", all, true, false, false},
		{"iptables mangle", "iptables -t mangle -A POSTROUTING -o eth+ -j DROP", all, true, false, false},
		{"iptables another way", "iptables -A INPUT -i eth0 -j DROP; iptables -A INPUT -p tcp --dport 25 -j DROP; iptables -A INPUT -m conntrack --ctstate INVALID -j DROP", "", false, true, true},
		{"ip6tables", "ip6tables -A INPUT -p icmpv6 -j DROP", "drops IPv6 neighbour discovery", true, true, true},
		{"iptables-legacy", "iptables-legacy -P INPUT DROP; iptables-legacy -A INPUT -i lo -j ACCEPT", all, true, false, false},
		{"iptables-legacy another way", "iptables-legacy -A INPUT -i eth0 -j DROP; iptables-legacy -A INPUT -p tcp --dport 25 -j DROP", "", false, true, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			hostNS, web, db := newNamespace(t), docker(newNamespace(t), 0), docker(newNamespace(t), 0)
			db.Name, db.ID = "db", "fedcba9876543210"
			s := parsed(t, "brtest web 10.0.0.2/24,2001:db8::2/64 --nodad")
			if strings.Contains(c.do, "device eth1") {
				if _, err := runAttach(context.Background(), s, web, hostNS, Options{}); err != nil {
					t.Fatal(err)
				}
			}
			in(t, web.Namespace, "sh", "-ec", c.do)
			for range 2 {
				r, err := runAttach(context.Background(), s, web, hostNS, Options{})
				if err != nil {
					t.Fatal(err)
				}
				said := strings.Join(r.Warnings, "\n")
				if c.warned == "" && said != "" || !strings.Contains(said, c.warned) {
					t.Errorf("warned of %q; want %q", said, c.warned)
				}
			}
			list, err := runList(context.Background(), hostNS, &web)
			if err != nil || len(list) != 1 || strings.Contains(strings.Join(list[0].Cut, "\n"), c.warned) != c.cut && c.warned != "" || c.warned == "" && list[0].Cut != nil {
				t.Errorf("list tells %+v, %v; want %q: %v", list, err, c.warned, c.cut)
			}
			if _, err := runAttach(context.Background(), parsed(t, "brtest db 10.0.0.3/24,2001:db8::3/64 --nodad"), db, hostNS, Options{}); err != nil {
				t.Fatal(err)
			}
			if !answers(db.Namespace, "10.0.0.2", c.in) {
				t.Errorf("it is reached: %v, want %v", !c.in, c.in)
			}
			if !answers(web.Namespace, "10.0.0.3", c.out) {
				t.Errorf("it reaches others: %v, want %v", !c.out, c.out)
			}
		})
	}
}
