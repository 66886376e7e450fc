package attach

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	testhost "github.com/gopipework/gopipework/e2e/host"
	"github.com/gopipework/gopipework/internal/fault"
)

// bridgeNF has the host's firewall see what a bridge passes on.
const bridgeNF = "echo 1 >/proc/sys/net/bridge/bridge-nf-call-iptables; echo 1 >/proc/sys/net/bridge/bridge-nf-call-ip6tables\n"

// TestVerify: where packets flow --verify is content, and where they do not it
// undoes the attach and says which packet was lost; either way nothing is left.
func TestVerify(t *testing.T) {
	needRoot(t)
	const both = "brx web 10.0.0.2/24,2001:db8::2/64 --nodad --verify"
	const br = quiet + "ip link add brx address 02:00:00:00:00:09 type bridge; ip link set brx addrgenmode none up\n"
	const nic = quiet + "ip link add nic0 address 02:00:00:00:00:09 type veth peer name wire; ip link set wire up; ip link set nic0 up\n"
	for _, c := range []struct {
		name, host, line string
		lost             string // what the error says; "": it succeeds
		warning          string
		hint             string
	}{
		{"a bridge of ours", dropAll, "brtest web 10.0.0.2/24,2001:db8::2/64 --nodad --verify", "", "", ""},
		{"somebody else's", br + dropAll, both, "", "", ""},
		{"no address", br, "brx web 0/0 --verify", "", "only an ARP packet", ""},
		{"a single address", br, "brx web 10.0.0.2/32,2001:db8::2/128 --nodad --verify", "", "", ""},
		{"FORWARD drops", br + dropAll, both + " --no-firewall", "an IPv4 packet (ICMP echo) did not arrive", "*", "iptables -I FORWARD 1 "},
		{"IPv6 alone is dropped", br + bridgeNF + "ip6tables -P FORWARD DROP", both + " --no-firewall", "IPv6 neighbour discovery packet did not arrive", "*", "ip6tables -I FORWARD 1 "},
		{"bridge table drops ARP", br + "ebtables-nft -A FORWARD -p ARP -j DROP", both, "an ARP packet did not arrive", "*", ""},
		{"bridge table drops the way back", br + "ebtables-nft -A FORWARD -p IPv4 --ip-proto icmp --ip-icmp-type echo-reply -j DROP", both, "an IPv4 packet (ICMP echo) did not come back", "*", ""},
		{"bridge table drops by port", br + "ebtables-nft -t nat -A POSTROUTING -o tap0 -p IPv6 --ip6-proto ipv6-icmp -j DROP", both + " -l tap0", "IPv6 neighbour discovery packet did not come back", "*", ""},
		{"raw prerouting drops", br + bridgeNF + "iptables -t raw -A PREROUTING -p icmp -j DROP", both, "an IPv4 packet (ICMP echo) did not arrive", "*", "raw PREROUTING"},
		{"mangle drops", br + bridgeNF + "ip6tables -t mangle -A FORWARD -p icmpv6 --icmpv6-type echo-request -j DROP", both, "an IPv6 packet (ICMPv6 echo) did not arrive", "*", "mangle FORWARD"},
		{"macvlan", nic, "nic0 web 10.0.0.2/24,2001:db8::2/64 --nodad --verify", "", "beyond the card", ""},
		{"macvlan without carrier", nic + "ip link set wire down", "nic0 web 10.0.0.2/24 --verify", "did not arrive", "*", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			hostNS, g := newNamespace(t), docker(newNamespace(t), 0)
			in(t, hostNS, "sh", "-c", "iptables-save; ip6tables-save; iptables -t raw -S; ip6tables -t mangle -S")
			in(t, hostNS, "sh", "-ec", c.host)
			before, guest := inventory(t, hostNS), neighboursOf(t, g.Namespace)
			r, err := runAttach(context.Background(), parsed(t, c.line), g, hostNS, Options{})
			if c.lost == "" && err != nil || c.lost != "" && (err == nil || !strings.Contains(err.Error(), c.lost) || fault.CodeOf(err) != fault.Failed) {
				t.Errorf("%v; want %q", err, c.lost)
			}
			var e *fault.Error
			if errors.As(err, &e) && !strings.Contains(e.Hint, c.hint) {
				t.Errorf("hint %q; want %q", e.Hint, c.hint)
			}
			if said := strings.Join(r.Warnings, "\n"); c.warning != "*" && (!strings.Contains(said, c.warning) || c.warning == "" && said != "") {
				t.Errorf("warnings %q; want %q", said, c.warning)
			}
			for side, ns := range map[string]*os.File{"host": hostNS, "guest": g.Namespace} {
				if links := in(t, ns, "ip", "-o", "link"); strings.Contains(links, "gpv") {
					t.Errorf("left on the %s: %s", side, links)
				}
			}
			if now := neighboursOf(t, g.Namespace); now != guest {
				t.Errorf("neighbours of the guest: %s", now)
			}
			if err == nil {
				if r, err := runAttach(context.Background(), parsed(t, c.line), g, hostNS, Options{}); err != nil || r.Changed {
					t.Errorf("the same line again: changed %v, %v", r.Changed, err)
				}
				if _, err := runDetach(context.Background(), Selection{}, g, hostNS, Options{}); err != nil {
					t.Error(err)
				}
			}
			sameSoon(t, "host", before, func() string { return inventory(t, hostNS) })
		})
	}
}

func neighboursOf(t *testing.T, ns *os.File) string {
	return in(t, ns, "sh", "-ec", "ip neighbour; ip -6 neighbour")
}

// TestVerifyRefused: where nothing of ours could be at the other end, --verify
// claims nothing.
func TestVerifyRefused(t *testing.T) {
	needRoot(t)
	for _, line := range []string{
		"macvlan:nic0 --mode private web 10.0.0.2/24 --verify", "ipvlan:nic0 web 10.0.0.2/24 --verify", "phys:nic0 web 10.0.0.2/24 --verify",
		"vlan:nic0 web 10.0.0.2/24 @10 --verify", "dummy web 10.0.0.2/24 --verify", "brtest web 10.0.0.2/24 @10t --verify",
	} {
		hostNS, g := newNamespace(t), docker(newNamespace(t), 0)
		in(t, hostNS, "sh", "-ec", quiet+"ip link add nic0 type veth peer name wire")
		if r, err := runAttach(context.Background(), parsed(t, line), g, hostNS, Options{}); fault.CodeOf(err) != fault.Usage || !strings.Contains(err.Error(), "--verify") {
			t.Errorf("%s: %v, %v; want a usage error", line, r.Changed, err)
		}
	}
}

// TestVerifyVLAN: the other link is in the guest's VLAN.
func TestVerifyVLAN(t *testing.T) {
	needRoot(t)
	for _, c := range []struct{ name, line, needs string }{
		{"bridge, a VLAN", "brtest web 10.0.0.2/24 @10 --verify", "vlan_filtering"},
		{"bridge, a VLAN and a trunk", "brtest web 10.0.0.2/24 @10,20-30 --verify", "vlan_filtering"},
		{"Open vSwitch", "ovsbr0 web 10.0.0.2/24 --verify", "ovs"},
		{"Open vSwitch, a VLAN", "ovsbr0 web 10.0.0.2/24 @10 --verify", "ovs"},
		{"Open vSwitch, a VLAN and a trunk", "ovsbr0 web 10.0.0.2/24 @10,20-30 --verify", "ovs"},
	} {
		t.Run(c.name, func(t *testing.T) {
			hostNS, g := newHostFor(t, c.needs), docker(newNamespace(t), 0)
			_, err := runAttach(context.Background(), parsed(t, c.line), g, hostNS, Options{})
			if fault.CodeOf(err) == fault.Unsupported && !testhost.Required(c.needs) {
				testhost.Lacking(t, c.needs, err.Error())
			}
			if err != nil {
				t.Fatal(err)
			}
			if _, err := runDetach(context.Background(), Selection{}, g, hostNS, Options{}); err != nil {
				t.Error(err)
			}
		})
	}
	t.Run("macvlan, a VLAN of the card", func(t *testing.T) {
		hostNS, g := newHostFor(t, "8021q"), docker(newNamespace(t), 0)
		in(t, hostNS, "sh", "-ec", "ip link add nic0 type veth peer name wire && ip link set nic0 up && ip link set wire up")
		before := inventory(t, hostNS)
		for _, which := range []string{"first", "again"} { // whose sub-interface is yet to be made, and there
			_, err := runAttach(context.Background(), parsed(t, "nic0 web 10.0.0.2/24 @10 --verify"), g, hostNS, Options{})
			if fault.CodeOf(err) == fault.Unsupported && !testhost.Required("8021q") {
				testhost.Lacking(t, "8021q", err.Error())
			}
			if err != nil {
				t.Fatalf("%s: %v", which, err)
			}
		}
		if _, err := runDetach(context.Background(), Selection{}, g, hostNS, Options{}); err != nil {
			t.Error(err)
		}
		sameSoon(t, "host", before, func() string { return inventory(t, hostNS) })
	})
	t.Run("Open vSwitch drops", func(t *testing.T) {
		hostNS, g := newHostFor(t, "ovs"), docker(newNamespace(t), 0)
		in(t, hostNS, "sh", "-ec", "ovs-vsctl --timeout=60 add-br ovs-f -- set bridge ovs-f datapath_type=netdev -- set-fail-mode ovs-f secure")
		_, err := runAttach(context.Background(), parsed(t, "ovs-f web 10.0.0.2/24 --verify"), g, hostNS, Options{})
		if fault.CodeOf(err) != fault.Failed || !strings.Contains(fmt.Sprint(err), "an ARP packet did not arrive") {
			t.Errorf("%v; want a packet that did not arrive", err)
		}
		if ports := in(t, hostNS, "ovs-vsctl", "list-ports", "ovs-f"); ports != "" {
			t.Errorf("left: %s", ports)
		}
	})
}

// TestVerifyGuest: what the guest's own network stack drops is found too, though frames
// pass to it; what an ordinary guest does is no matter. Nothing is left in it.
func TestVerifyGuest(t *testing.T) {
	needRoot(t)
	const aside = "ip link add d0 type veth peer name d1; ip link set d0 up; ip link set d1 up; ip address add 172.31.0.2/24 dev d0; "
	drop := func(rules string) string { return "nft 'table inet f { " + rules + "; }'" }
	for _, c := range []struct{ name, do, lost, warning string }{
		{"nothing", ":", "", ""},
		{"a rule that leads elsewhere", aside + "ip rule add to 10.0.0.0/24 lookup 100; ip route add default dev d0 table 100", "not even an ARP request", ""},
		{"an unreachable rule", "ip rule add to 10.0.0.0/24 unreachable", "the guest could send nothing from 10.0.0.2", ""},
		{"a blackhole of IPv6", "ip -6 rule add to 2001:db8::/64 blackhole", "the guest could send nothing from 2001:db8::2", ""},
		{"arp_ignore", "echo 8 >/proc/sys/net/ipv4/conf/all/arp_ignore", "the guest did not answer an ARP request", ""},
		{"input", drop("chain i { type filter hook input priority 0; policy drop; }"), "did not reach its socket", ""},
		{"input of IPv6", drop("chain i { type filter hook input priority 0; meta nfproto ipv6 drop; }"), "the guest did not answer an IPv6 neighbour solicitation", ""},
		{"output", drop("chain o { type filter hook output priority 0; meta l4proto udp drop; }"), "not even an ARP request", ""},
		{"ARP", "nft 'table arp f { chain o { type filter hook output priority 0; policy drop; }; }'", "the guest did not answer an ARP request", ""},
		{"ARP requests", "nft 'table arp f { chain o { type filter hook output priority 0; arp operation request drop; }; }'", "not even an ARP request", ""},
		{"an IPsec policy", "ip xfrm policy add dir in src 10.0.0.0/24 dst 10.0.0.2 action block", "did not reach its socket", ""},
		{"answers alone", drop("chain i { type filter hook input priority 0; policy drop; ct state established,related accept; icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept; }"), "", "answers neither a ping to 10.0.0.2"},
		{"no pings", "echo 1 >/proc/sys/net/ipv4/icmp_echo_ignore_all; echo 1 >/proc/sys/net/ipv6/icmp/echo_ignore_all", "", ""},
		{"another interface in the subnet", aside + "ip address add 10.0.0.9/24 dev d0", "", "web has another interface in 10.0.0.0/24"},
		{"only pings", drop("chain i { type filter hook input priority 0; policy drop; ct state established,related accept; meta l4proto { icmp, ipv6-icmp } accept; }"), "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			hostNS, g := newNamespace(t), docker(newNamespace(t), 0)
			in(t, g.Namespace, "sh", "-ec", c.do)
			before, guest := inventory(t, hostNS), snapshot(t, g.Namespace)
			s := parsed(t, "brtest web 10.0.0.2/24,2001:db8::2/64 --nodad --verify")
			r, err := runAttach(context.Background(), s, g, hostNS, Options{})
			if c.lost == "" && err != nil || c.lost != "" && (err == nil || !strings.Contains(err.Error(), c.lost) || fault.CodeOf(err) != fault.Failed) {
				t.Errorf("%v; want %q", err, c.lost)
			}
			if said := strings.Join(r.Warnings, "\n"); err == nil && (!strings.Contains(said, c.warning) || c.warning == "" && said != "") {
				t.Errorf("warnings %q; want %q", said, c.warning)
			}
			if now := neighboursOf(t, g.Namespace); strings.Contains(now, "dev eth1") {
				t.Errorf("neighbours of the guest: %s", now)
			}
			if err == nil {
				if _, err := runDetach(context.Background(), Selection{}, g, hostNS, Options{}); err != nil {
					t.Error(err)
				}
			}
			sameSoon(t, "host", before, func() string { return inventory(t, hostNS) })
			sameSoon(t, "guest", guest, func() string { return snapshot(t, g.Namespace) })
		})
	}
}
