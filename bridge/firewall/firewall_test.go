package firewall

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// What Docker writes, as iptables -S shows it; live tests load the same text
// into a kernel. docker0 is Docker's default bridge, brdata a network of
// Docker's whose bridge was given that name.
const (
	docker20 = `
-P INPUT ACCEPT
-P FORWARD DROP
-P OUTPUT ACCEPT
-N DOCKER
-N DOCKER-ISOLATION-STAGE-1
-N DOCKER-ISOLATION-STAGE-2
-N DOCKER-USER
-A FORWARD -j DOCKER-USER
-A FORWARD -j DOCKER-ISOLATION-STAGE-1
-A FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A FORWARD -o docker0 -j DOCKER
-A FORWARD -i docker0 ! -o docker0 -j ACCEPT
-A FORWARD -i docker0 -o docker0 -j ACCEPT
-A FORWARD -o brdata -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A FORWARD -o brdata -j DOCKER
-A FORWARD -i brdata ! -o brdata -j ACCEPT
-A FORWARD -i brdata -o brdata -j DROP
-A DOCKER -d 172.17.0.2/32 ! -i docker0 -o docker0 -p tcp -m tcp --dport 80 -j ACCEPT
-A DOCKER-ISOLATION-STAGE-1 -i docker0 ! -o docker0 -j DOCKER-ISOLATION-STAGE-2
-A DOCKER-ISOLATION-STAGE-1 -i brdata ! -o brdata -j DOCKER-ISOLATION-STAGE-2
-A DOCKER-ISOLATION-STAGE-1 -j RETURN
-A DOCKER-ISOLATION-STAGE-2 -o docker0 -j DROP
-A DOCKER-ISOLATION-STAGE-2 -o brdata -j DROP
-A DOCKER-ISOLATION-STAGE-2 -j RETURN
-A DOCKER-USER -j RETURN
`
	docker28 = `
-P INPUT ACCEPT
-P FORWARD DROP
-P OUTPUT ACCEPT
-N DOCKER
-N DOCKER-BRIDGE
-N DOCKER-CT
-N DOCKER-FORWARD
-N DOCKER-ISOLATION-STAGE-1
-N DOCKER-ISOLATION-STAGE-2
-N DOCKER-USER
-A FORWARD -j DOCKER-USER
-A FORWARD -j DOCKER-FORWARD
-A DOCKER -d 172.17.0.2/32 ! -i docker0 -o docker0 -p tcp -m tcp --dport 80 -j ACCEPT
-A DOCKER ! -i docker0 -o docker0 -j DROP
-A DOCKER ! -i brdata -o brdata -j DROP
-A DOCKER-BRIDGE -o docker0 -j DOCKER
-A DOCKER-BRIDGE -o brdata -j DOCKER
-A DOCKER-CT -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A DOCKER-CT -o brdata -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A DOCKER-FORWARD -j DOCKER-CT
-A DOCKER-FORWARD -j DOCKER-ISOLATION-STAGE-1
-A DOCKER-FORWARD -j DOCKER-BRIDGE
-A DOCKER-FORWARD -i docker0 -j ACCEPT
-A DOCKER-FORWARD -i brdata -o brdata -j DROP
-A DOCKER-FORWARD -i brdata -j ACCEPT
-A DOCKER-ISOLATION-STAGE-1 -i docker0 ! -o docker0 -j DOCKER-ISOLATION-STAGE-2
-A DOCKER-ISOLATION-STAGE-1 -i brdata ! -o brdata -j DOCKER-ISOLATION-STAGE-2
-A DOCKER-ISOLATION-STAGE-2 -o brdata -j DROP
-A DOCKER-ISOLATION-STAGE-2 -o docker0 -j DROP
`
	// ufw's layout: a policy, and chains that accept what is established.
	ufw = `
-P INPUT DROP
-P FORWARD DROP
-P OUTPUT ACCEPT
-N ufw-before-forward
-N ufw-user-forward
-N ufw-reject-forward
-A FORWARD -j ufw-before-forward
-A FORWARD -j ufw-reject-forward
-A ufw-before-forward -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A ufw-before-forward -p icmp -m icmp --icmp-type 8 -j ACCEPT
-A ufw-before-forward -j ufw-user-forward
`
	// What is left when Docker was uninstalled, and its chain was not deleted.
	uninstalled = `
-P INPUT ACCEPT
-P FORWARD DROP
-P OUTPUT ACCEPT
-N DOCKER-USER
-A DOCKER-USER -j RETURN
`
)

// firewallLayouts are whole tables and what they do to frames within a bridge.
var firewallLayouts = []struct {
	name, text, bridge string
	drops              bool
	chain              string
	docker             bool
}{
	{"docker 20.10", docker20, "brtest", true, "DOCKER-USER", false},
	{"docker 20.10, its bridge", docker20, "docker0", false, "DOCKER-USER", true},
	{"docker 20.10, its bridge without icc", docker20, "brdata", true, "DOCKER-USER", true},
	{"docker 28", docker28, "brtest", true, "DOCKER-USER", false},
	{"docker 28, its bridge", docker28, "docker0", false, "DOCKER-USER", true},
	{"docker 28, its bridge without icc", docker28, "brdata", true, "DOCKER-USER", true},
	{"ufw", ufw, "brtest", true, "FORWARD", false},
	{"DOCKER-USER of an uninstalled Docker", uninstalled, "brtest", true, "FORWARD", false},
	{"an empty table", "-P FORWARD ACCEPT\n", "brtest", false, "FORWARD", false},
	{"generated name", "-P FORWARD ACCEPT\n", "br-0123456789ab", false, "FORWARD", true},
}

func TestFirewallLayouts(t *testing.T) {
	for _, tt := range firewallLayouts {
		t.Run(tt.name, func(t *testing.T) {
			p, docker, err := parseSave(tt.text).path(bridgedFrame{family: IPv4, bridge: tt.bridge})
			if err != nil {
				t.Fatal(err)
			}
			want := Path{Family: IPv4, Backend: Legacy, Drops: tt.drops, Chain: tt.chain}
			if diff := cmp.Diff(want, p, cmpopts.IgnoreFields(Path{}, "By")); diff != "" || docker != tt.docker {
				t.Errorf("docker = %v, want %v; path (-want +got):\n%s", docker, tt.docker, diff)
			}
		})
	}
}

// TestFirewallVerdict asks short tables about frames within brtest.
func TestFirewallVerdict(t *testing.T) {
	for _, tt := range []struct {
		rules string
		want  verdict
	}{
		{"-P FORWARD DROP", drops},
		{"-P FORWARD ACCEPT", accepts},
		{"-P FORWARD DROP\n-A FORWARD -j ACCEPT", accepts},
		{"-P FORWARD ACCEPT\n-A FORWARD -j REJECT --reject-with icmp-port-unreachable", drops},
		{"-P FORWARD ACCEPT\n-A FORWARD -i brtest -j DROP", drops},
		{"-P FORWARD ACCEPT\n-A FORWARD -i brtest ! -o brtest -j DROP", accepts},
		{"-P FORWARD ACCEPT\n-A FORWARD -i br+ -o br+ -j DROP", drops},
		{"-P FORWARD ACCEPT\n-A FORWARD ! -i eth+ -j DROP", drops},
		{"-P FORWARD ACCEPT\n-A FORWARD -i + -j DROP", drops},
		{"-P FORWARD ACCEPT\n-A FORWARD -i brtest1 -j DROP", accepts},
		{"-P FORWARD ACCEPT\n-A FORWARD -i brtes -j DROP", accepts},
		// What may or may not match decides nothing, either way.
		{"-P FORWARD ACCEPT\n-A FORWARD -s 10.0.0.0/8 -j DROP", accepts},
		{"-P FORWARD DROP\n-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT", drops},
		{"-P FORWARD DROP\n-A FORWARD ! -s 10.0.0.0/8 -j ACCEPT", drops},
		{"-P FORWARD DROP\n-A FORWARD -p tcp -j CHAIN\n-A CHAIN -j ACCEPT", drops},
		{"-P FORWARD DROP\n-A FORWARD -m physdev --physdev-in eth0 -j ACCEPT", drops},
		{"-P FORWARD DROP\n-A FORWARD -m physdev ! --physdev-in eth0 -j ACCEPT", drops},
		// All frames within a bridge are bridged.
		{"-P FORWARD DROP\n-A FORWARD -m physdev --physdev-is-bridged -j ACCEPT", accepts},
		{"-P FORWARD DROP\n-A FORWARD -m physdev ! --physdev-is-bridged -j ACCEPT", drops},
		// A rule without a verdict, and targets that go on.
		{"-P FORWARD DROP\n-A FORWARD -j LOG --log-prefix \"x -j ACCEPT \"\n-A FORWARD -j MARK --set-xmark 0x1/0xffffffff", drops},
		{"-P FORWARD ACCEPT\n-A FORWARD -m comment --comment \"drop: -j DROP\"", accepts},
		{"-P FORWARD ACCEPT\n-A FORWARD -m comment --comment \"a \\\"b\\\" -i eth0\" -j DROP", drops},
		{"-P FORWARD DROP\n-A FORWARD -j NFQUEUE --queue-num 0", undecided},
		// Jumps come back, gotos do not.
		{"-P FORWARD DROP\n-A FORWARD -j A\n-A FORWARD -j ACCEPT\n-A A -j RETURN\n-A A -j DROP", accepts},
		{"-P FORWARD DROP\n-A FORWARD -g A\n-A FORWARD -j ACCEPT\n-A A -j RETURN", drops},
		{"-P FORWARD DROP\n-A FORWARD -j A\n-A FORWARD -j ACCEPT\n-A A -g B\n-A A -j DROP\n-A B -i eth0 -j DROP", accepts},
		{"-P FORWARD DROP\n-A FORWARD -j RETURN\n-A FORWARD -j ACCEPT", drops},
		{"-P FORWARD DROP\n-A FORWARD -j A\n-A A -j A", undecided},
		// Ours are left aside.
		{"-P FORWARD DROP\n-A FORWARD -i brtest -o brtest -m physdev --physdev-is-bridged -m comment --comment \"gopipework brtest\" -j ACCEPT", drops},
	} {
		w := walker{frame: bridgedFrame{family: IPv4, bridge: "brtest"}}
		table := parseSave(tt.rules)
		w.rules = table.rules
		if got, err := w.base(forwardChain, table.policy); got != tt.want || err != nil {
			t.Errorf("verdict %d, %v, want %d, of\n%s", got, err, tt.want, tt.rules)
		}
	}
}

// TestFirewallAddressed asks about the frames of a guest whose address is known:
// what drops them, what may, and what a rule says that cannot be judged.
func TestFirewallAddressed(t *testing.T) {
	from := bridgedFrame{family: IPv4, bridge: "brtest", port: "v1", own: netip.MustParsePrefix("10.0.0.2/24")}
	to := from
	to.to = true
	for _, tt := range []struct {
		rule     string
		drops    bool
		doubtful bool
	}{
		{"-s 10.0.0.0/8 -j DROP", true, false},
		{"-s 10.0.0.2/32 -j DROP", true, true},
		{"-d 10.0.0.3/32 -j DROP", false, true},
		{"-d 10.0.1.3/32 -j DROP", false, false},
		{"! -s 10.0.0.0/24 -j DROP", false, false},
		{"-s 10.0.0.0/24 ! -d 10.0.0.0/24 -j DROP", false, false},
		{"-p tcp -m tcp --dport 22 -j DROP", false, false},
		{"-p tcp -m tcp --dport 1024:65535 -j DROP", false, true},
		{"-p tcp -m tcp ! --dport 22 -j DROP", false, true},
		{"-p tcp -m multiport --dports 22,6000:6063 -j DROP", false, false},
		{"-p tcp -m multiport --dports 22,1024:65535 -j DROP", false, true},
		{"-p tcp -m tcp --dport 22: -j DROP", false, true},
		{"-p tcp -m tcp --tcp-flags FIN,SYN,RST,ACK SYN -j DROP", false, true},
		{"-s 192.168.0.0/16 -p tcp -m tcp --dport 22 -j DROP", false, false},
		{"-m set --match-set bad src -j DROP", false, true},
		{"-i eth0 -m set --match-set bad src -j DROP", false, false},
		{"-m conntrack --ctstate INVALID -j DROP", false, false},
		{"-m conntrack --ctstate NEW -j DROP", true, false},
		{"-m state --state RELATED,ESTABLISHED -j DROP", false, false},
		{"-m conntrack ! --ctstate RELATED,ESTABLISHED -j DROP", true, false},
		{"-m mark --mark 0x1/0x1 -j DROP", false, false},
		{"-m mark ! --mark 0x1/0x1 -j DROP", true, false},
		{"-m limit --limit 5/min --limit-burst 3 -j DROP", false, false},
		{"-m physdev --physdev-in v1 -j DROP", true, false},
		{"-m physdev --physdev-out v+ -j DROP", true, true},
		{"-m physdev --physdev-in w1 -j DROP", false, true},
		{"-m owner --uid-owner 0 -j DROP", false, true},
		{"-j NFQUEUE --queue-num 0", false, true},
	} {
		table := parseSave("-P FORWARD ACCEPT\n-A FORWARD " + tt.rule)
		j, err := table.judge(walker{}, []bridgedFrame{from, to})
		if err != nil || j.drops != tt.drops || (j.doubtful != nil) != tt.doubtful {
			t.Errorf("drops %v, may drop %q, %v; want %v, %v, of %s", j.drops, j.doubtful, err, tt.drops, tt.doubtful, tt.rule)
		}
	}
}

// TestFirewallReached: a rule of ours that a drop stands in front of is of no
// use, and what is accepted first need not come to it.
func TestFirewallReached(t *testing.T) {
	const ours = "-i brtest -o brtest -m physdev --physdev-is-bridged -m comment --comment \"gopipework brtest\" -j ACCEPT\n"
	user := "-P FORWARD DROP\n-N DOCKER-USER\n"
	for _, tt := range []struct {
		name, text string
		late       bool
		chain      string // where an accept is missing; "" nowhere
	}{
		{"first", user + "-A FORWARD -j DOCKER-USER\n-A DOCKER-USER " + ours, false, ""},
		{"a drop in front", user + "-A FORWARD -j DOCKER-USER\n-A DOCKER-USER -j DROP\n-A DOCKER-USER " + ours, true, "DOCKER-USER"},
		{"a drop in front, of others", user + "-A FORWARD -j DOCKER-USER\n-A DOCKER-USER -i eth0 -j DROP\n-A DOCKER-USER " + ours, false, ""},
		{"a return in front", user + "-A FORWARD -j DOCKER-USER\n-A DOCKER-USER -j RETURN\n-A DOCKER-USER " + ours, true, "DOCKER-USER"},
		{"a drop in front of the chain", user + "-A FORWARD -j DROP\n-A FORWARD -j DOCKER-USER\n-A DOCKER-USER " + ours, true, "FORWARD"},
		{"in a chain that nothing calls", user + "-A DOCKER-USER " + ours, true, "FORWARD"},
		{"put first again", user + "-A FORWARD -j DOCKER-USER\n-A DOCKER-USER " + ours + "-A DOCKER-USER -j DROP\n-A DOCKER-USER " + ours, false, ""},
	} {
		f := bridgedFrame{family: IPv4, bridge: "brtest"}
		p, _, err := parseSave(tt.text).path(f)
		if err != nil {
			t.Fatal(err)
		}
		p.Filtered = true
		if (p.Late != nil) != tt.late {
			t.Errorf("%s: late %v, want %v", tt.name, p.Late, tt.late)
		}
		chain := ""
		for _, r := range (Firewall{Paths: []Path{p}}).Needed("brtest", "") {
			chain = r.Chain
		}
		if chain != tt.chain {
			t.Errorf("%s: needed in %q, want %q", tt.name, chain, tt.chain)
		}
	}
}

func TestFirewallRuleCommands(t *testing.T) {
	for _, tt := range []struct {
		rule           Rule
		insert, delete string
	}{
		{
			Rule{Family: IPv4, Backend: NFT, Chain: "DOCKER-USER", Bridge: "brtest"},
			`iptables -I DOCKER-USER 1 -i brtest -o brtest -m physdev --physdev-is-bridged -m comment --comment "gopipework brtest" -j ACCEPT`,
			`iptables -D DOCKER-USER -i brtest -o brtest -m physdev --physdev-is-bridged -m comment --comment "gopipework brtest" -j ACCEPT`,
		},
		{
			Rule{Family: IPv6, Backend: Legacy, Chain: "FORWARD", Bridge: "br0", Port: "veth1pl7"},
			`ip6tables-legacy -I FORWARD 1 -i br0 -o br0 -m physdev --physdev-in veth1pl7 --physdev-is-bridged -m comment --comment "gopipework br0 veth1pl7" -j ACCEPT`,
			`ip6tables-legacy -D FORWARD -i br0 -o br0 -m physdev --physdev-in veth1pl7 --physdev-is-bridged -m comment --comment "gopipework br0 veth1pl7" -j ACCEPT`,
		},
		{
			Rule{Family: IPv6, Backend: NFT, Chain: "FORWARD", Bridge: "br0", Port: "v", Out: true},
			`ip6tables -I FORWARD 1 -i br0 -o br0 -m physdev --physdev-out v --physdev-is-bridged -m comment --comment "gopipework br0 v" -j ACCEPT`,
			`ip6tables -D FORWARD -i br0 -o br0 -m physdev --physdev-out v --physdev-is-bridged -m comment --comment "gopipework br0 v" -j ACCEPT`,
		},
		{
			Rule{Family: IPv4, Backend: NFT, Chain: "FORWARD", Bridge: "$(id)'"},
			`iptables -I FORWARD 1 -i '$(id)'\''' -o '$(id)'\''' -m physdev --physdev-is-bridged -m comment --comment 'gopipework $(id)'\''' -j ACCEPT`,
			`iptables -D FORWARD -i '$(id)'\''' -o '$(id)'\''' -m physdev --physdev-is-bridged -m comment --comment 'gopipework $(id)'\''' -j ACCEPT`,
		},
	} {
		if got := tt.rule.InsertCommand(); got != tt.insert {
			t.Errorf("insert\n got %s\nwant %s", got, tt.insert)
		}
		if got := tt.rule.DeleteCommand(); got != tt.delete {
			t.Errorf("delete\n got %s\nwant %s", got, tt.delete)
		}
	}
}

// TestFirewallOurs reads rules back: those that we write are found as they
// were, and no other is, whatever its comment says.
func TestFirewallOurs(t *testing.T) {
	ours := []Rule{
		{Family: IPv4, Backend: Legacy, Chain: "DOCKER-USER", Bridge: "brtest"},
		{Family: IPv4, Backend: Legacy, Chain: "DOCKER-USER", Bridge: "brtest"}, // twice
		{Family: IPv4, Backend: Legacy, Chain: "DOCKER-USER", Bridge: "br0", Port: "v1"},
		{Family: IPv4, Backend: Legacy, Chain: "FORWARD", Bridge: "br0", Port: "v1", Out: true},
	}
	text := docker20
	for _, r := range ours {
		text += strings.Replace(r.DeleteCommand(), "iptables-legacy -D", "-A", 1) + "\n"
	}
	for _, rest := range []string{
		`-i brtest -o brtest -m comment --comment "gopipework brtest" -j ACCEPT`,
		`-i brtest -o brtest -m physdev --physdev-is-bridged -m comment --comment "gopipework brtest" -j DROP`,
		`-i brtest -o brtest -m physdev --physdev-is-bridged -m comment --comment "gopipework brtest"`,
		`-i brtest -o brtest -m physdev --physdev-is-bridged -m comment --comment "gopipework br0" -j ACCEPT`,
		`-i br+ -o br+ -m physdev --physdev-is-bridged -m comment --comment "gopipework br" -j ACCEPT`,
		`-i brtest -o brtest -p tcp -m physdev --physdev-is-bridged -m comment --comment "gopipework brtest" -j ACCEPT`,
		`-i brtest ! -o brtest -m physdev --physdev-is-bridged -m comment --comment "gopipework brtest" -j ACCEPT`,
		`-i brtest -o brtest -m physdev --physdev-is-in -m comment --comment "gopipework brtest" -j ACCEPT`,
		`-i brtest -o brtest -m physdev --physdev-in v1 --physdev-out v1 --physdev-is-bridged -m comment --comment "gopipework brtest v1" -j ACCEPT`,
		`-i brtest -o brtest -m physdev --physdev-in v2 --physdev-is-bridged -m comment --comment "gopipework brtest v1" -j ACCEPT`,
		`-i brtest -o brtest -m physdev --physdev-is-bridged -m comment --comment "gopipework  brtest" -j ACCEPT`,
		`-i brtest -o brtest -m physdev --physdev-is-bridged -m comment --comment "gopipework brtest " -j ACCEPT`,
		`-i brtest -o brtest -m physdev --physdev-is-bridged -m comment --comment gopipework -j ACCEPT`,
		`-i -D -o -D -m physdev --physdev-is-bridged -m comment --comment "gopipework -D" -j ACCEPT`,
		`-i x -o x -m physdev --physdev-is-bridged -m comment --comment "gopipework x y z" -j ACCEPT`,
	} {
		text += "-A DOCKER-USER " + rest + "\n"
	}
	text += strings.Replace(ours[0].DeleteCommand(), "iptables-legacy -D DOCKER-USER", "-A DOCKER", 1) + "\n" // not a chain of ours

	got, err := parseSave(text).ours(IPv4)
	if diff := cmp.Diff(ours, got); diff != "" || err != nil {
		t.Errorf("error %v, ours (-want +got):\n%s", err, diff)
	}
}

func TestFirewallNeeded(t *testing.T) {
	four := Path{Family: IPv4, Backend: NFT, Chain: "DOCKER-USER", Filtered: true, Drops: true}
	six := Path{Family: IPv6, Backend: NFT, Chain: "FORWARD", Filtered: true, Drops: true}
	old := Path{Family: IPv4, Backend: Legacy, Chain: "FORWARD", Filtered: true, Drops: true}
	unfiltered, open := four, four
	unfiltered.Filtered, open.Drops = false, false
	with := func(p Path, ours ...Rule) Path { p.Ours = ours; return p }
	all := Rule{Family: IPv4, Backend: NFT, Chain: "DOCKER-USER", Bridge: "br0"}
	in := Rule{Family: IPv4, Backend: NFT, Chain: "DOCKER-USER", Bridge: "br0", Port: "v1"}
	out := in
	out.Out = true
	user := Path{Family: IPv6, Backend: NFT, Chain: "DOCKER-USER", Filtered: true}
	late := func(p Path, ours ...Rule) Path { p.Ours, p.Late = ours, ours; return p }
	misplaced := all
	misplaced.Chain = "FORWARD"
	for _, tt := range []struct {
		name string
		fw   Firewall
		port string
		want []Rule
	}{
		{"zero", Firewall{}, "", nil},
		{"not filtered", Firewall{Paths: []Path{unfiltered}}, "", nil},
		{"nothing drops", Firewall{Paths: []Path{{Family: IPv4, Backend: NFT, Chain: "FORWARD", Filtered: true}}}, "", nil},
		{"nothing drops yet, but Docker may", Firewall{Paths: []Path{open}}, "", []Rule{all}},
		{"Docker may, later and for IPv6", Firewall{Paths: []Path{user}}, "v1", []Rule{
			{Family: IPv6, Backend: NFT, Chain: "DOCKER-USER", Bridge: "br0", Port: "v1"},
			{Family: IPv6, Backend: NFT, Chain: "DOCKER-USER", Bridge: "br0", Port: "v1", Out: true},
		}},
		{"a drop stands in front", Firewall{Paths: []Path{late(four, all)}}, "", []Rule{all}},
		{"a drop stands in front of one", Firewall{Paths: []Path{{Family: IPv4, Backend: NFT, Chain: "DOCKER-USER", Filtered: true, Drops: true, Ours: []Rule{in, out}, Late: []Rule{out}}}}, "v1", []Rule{out}},
		{"Docker's", Firewall{Paths: []Path{four}, DockerOwned: true}, "", nil},
		{"bridge", Firewall{Paths: []Path{four}}, "", []Rule{all}},
		{"port", Firewall{Paths: []Path{four}}, "v1", []Rule{in, out}},
		{"there", Firewall{Paths: []Path{with(four, all)}}, "", nil},
		{"there in another chain", Firewall{Paths: []Path{with(four, misplaced)}}, "", []Rule{all}},
		{"half there", Firewall{Paths: []Path{with(four, in)}}, "v1", []Rule{out}},
		{"bridge's own does for the port", Firewall{Paths: []Path{with(four, all)}}, "v1", nil},
		{"port's does not for the bridge", Firewall{Paths: []Path{with(four, in, out)}}, "", []Rule{all}},
		{"each that drops", Firewall{Paths: []Path{four, six, old}}, "", []Rule{
			all,
			{Family: IPv6, Backend: NFT, Chain: "FORWARD", Bridge: "br0"},
			{Family: IPv4, Backend: Legacy, Chain: "FORWARD", Bridge: "br0"},
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, tt.fw.Needed("br0", tt.port)); diff != "" {
				t.Errorf("needed (-want +got):\n%s", diff)
			}
		})
	}
}

func TestFirewallOursFor(t *testing.T) {
	rule := func(f Family, bridge, port string) Rule {
		return Rule{Family: f, Backend: NFT, Chain: "FORWARD", Bridge: bridge, Port: port}
	}
	fw := Firewall{Paths: []Path{
		{Ours: []Rule{rule(IPv4, "br0", ""), rule(IPv4, "br0", "v1"), rule(IPv4, "br1", "v1")}},
		{Ours: []Rule{rule(IPv6, "br0", "v1"), rule(IPv6, "br0", "v2")}},
	}}
	want := []Rule{rule(IPv4, "br0", ""), rule(IPv4, "br0", "v1"), rule(IPv6, "br0", "v1"), rule(IPv6, "br0", "v2")}
	if diff := cmp.Diff(want, fw.OursFor("br0", "")); diff != "" {
		t.Errorf("bridge (-want +got):\n%s", diff)
	}
	want = []Rule{rule(IPv4, "br0", "v1"), rule(IPv6, "br0", "v1")}
	if diff := cmp.Diff(want, fw.OursFor("br0", "v1")); diff != "" {
		t.Errorf("port (-want +got):\n%s", diff)
	}
}

func TestFirewallWarnings(t *testing.T) {
	for _, tt := range []struct {
		name string
		fw   Firewall
		want []string
	}{
		{"nothing to say", Firewall{Paths: []Path{{Family: IPv4, Filtered: true, Drops: true}}}, nil},
		{"Docker's, not filtered", Firewall{DockerOwned: true, Paths: []Path{{Family: IPv4, Drops: true}}}, nil},
		{"Docker's, open", Firewall{DockerOwned: true, Paths: []Path{{Family: IPv4, Filtered: true}}}, []string{
			"br0 is Docker's own bridge: Docker's rules decide which frames pass between its ports, and they let new connections pass now",
		}},
		{"Docker's, closed", Firewall{DockerOwned: true, Paths: []Path{{Family: IPv4, Filtered: true, Drops: true}}}, []string{
			"br0 is Docker's own bridge: Docker's rules decide which frames pass between its ports, and they drop IPv4 now",
		}},
		{"elsewhere", Firewall{Paths: []Path{
			{Family: IPv4, Blocks: []Block{
				{Chain: "nft inet firewalld filter_FORWARD", Rule: "reject", Sure: true, Remedy: "firewall-cmd --zone=trusted --add-interface=br0"},
				{Chain: "nft ip x y", Rule: "th dport 25 drop", More: 2},
			}},
			{Family: IPv6, Blocks: []Block{
				{Chain: "nft inet firewalld filter_FORWARD", Rule: "reject", Sure: true, Remedy: "firewall-cmd --zone=trusted --add-interface=br0"},
			}},
		}}, []string{
			"nft inet firewalld filter_FORWARD drops IPv4 and IPv6 frames bridged within br0 (reject), and an accept elsewhere cannot undo that; to let them pass: firewall-cmd --zone=trusted --add-interface=br0",
			"nft ip x y may drop some IPv4 frames bridged within br0 (th dport 25 drop; and 2 more rules)",
		}},
		{"not still, and not all", Firewall{Restless: true, Unseen: []string{"ebtables-legacy"}}, []string{
			"the host's firewall kept changing while it was read: this report may be out of date",
			"ebtables-legacy is in use, and its rules cannot be read: they may drop frames bridged within br0",
		}},
		{"unread", Firewall{Paths: []Path{{Family: IPv6, Backend: Legacy, Filtered: true, Unread: "no program"}}}, []string{
			"the legacy rules of ip6tables could not be read, and may drop frames bridged within br0: no program",
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, tt.fw.Warnings("br0")); diff != "" {
				t.Errorf("warnings (-want +got):\n%s", diff)
			}
		})
	}
}

func TestFirewallSplitWords(t *testing.T) {
	for _, tt := range []struct {
		line string
		want []string
	}{
		{``, nil},
		{`a  b`, []string{"a", "b"}},
		{`--comment "x \"y\" \\ \' z" -j A`, []string{"--comment", `x "y" \ ' z`, "-j", "A"}},
		{`-i a"b\c -o x`, []string{"-i", `a"b\c`, "-o", "x"}},
		{`"" x`, []string{"", "x"}},
		{`"not closed`, []string{"not closed"}},
	} {
		if got := splitWords(tt.line); !slices.Equal(got, tt.want) {
			t.Errorf("splitWords(%q) = %q, want %q", tt.line, got, tt.want)
		}
	}
}

// FuzzFirewallSave: no text makes the reader panic, and each rule taken for
// ours is written as the very rule that was read.
func FuzzFirewallSave(f *testing.F) {
	f.Add(docker20)
	f.Add(`-P FORWARD DROP` + "\n" + `-A FORWARD -i b -o b -m physdev --physdev-in v --physdev-is-bridged -m comment --comment "gopipework b v" -j ACCEPT`)
	f.Fuzz(func(t *testing.T, text string) {
		table := parseSave(text)
		if _, _, err := table.path(bridgedFrame{family: IPv4, bridge: "b"}); err != nil {
			t.Fatal(err)
		}
		ours, _ := table.ours(IPv4)
		for _, r := range ours {
			again := parseRule(splitWords(strings.Join(strings.Fields(r.DeleteCommand())[3:], " ")))
			if back, ok := again.ours(Rule{Family: r.Family, Backend: r.Backend, Chain: r.Chain}); !ok || back != r {
				t.Errorf("read %+v, wrote %+v", r, back)
			}
		}
	})
}

// parseSave reads the table "filter" as iptables -S shows it.
func parseSave(text string) filterTable {
	for _, t := range parseTables(text) {
		if t.name == "filter" {
			return t.filter()
		}
	}
	return (&savedTable{}).filter()
}
