package attach

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	testhost "github.com/gopipework/gopipework/e2e/host"
	"github.com/gopipework/gopipework/internal/build"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/guests"
	"github.com/gopipework/gopipework/internal/plan"
	"github.com/gopipework/gopipework/internal/spec"
)

// typedSet reads the flags of a set line.
func typedSet(t *testing.T, line string) SetSpec {
	t.Helper()
	w := SetWords{IfName: "eth1"}
	values := map[string]*string{"--mtu": &w.MTU, "--vlan": &w.VLAN, "--addr": &w.Address, "--carrier": &w.Carrier, "--dns": &w.DNS, "--source-routing": &w.SourceRouting, "--host-access": &w.HostAccess, "--rate-in": &w.Shape.RateIn,
		"--rate-out": &w.Shape.RateOut, "--loss": &w.Shape.Loss, "--delay": &w.Shape.Delay, "--jitter": &w.Shape.Jitter, "--isolated": &w.Isolated, "--antispoof": &w.Antispoof, "--to": &w.To}
	args := strings.Fields(line)
	for i := 0; i < len(args); i++ {
		switch args[i] {
		case "--nodad":
			w.NoDAD = true
		case "--vlan-filtering":
			w.VLANFiltering = true
		case "--route":
			w.Routes = append(w.Routes, args[i+1])
			i++
		case "--no-firewall":
			w.NoFirewall = true
		default:
			*values[args[i]] = args[i+1]
			i++
		}
	}
	s, err := ParseSet("web", w)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// withSet plans a set, as Set does, and hands the plan over.
func withSet(t *testing.T, s SetSpec, g guests.Guest, hostNS *os.File, use func(context.Context, *plan.Machine, build.Plan)) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), bound)
	defer cancel()
	m, err := plan.Open(ctx, hostNS, g)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	f, err := observeSet(ctx, m, s)
	if err != nil {
		t.Fatal(err)
	}
	p, err := planSet(s, f)
	if err != nil {
		t.Fatal(err)
	}
	hold(f, m)
	use(ctx, m, p)
}

// tryToSet is Set, with a step that fails before the plan's step n; done is
// whether n is after the last.
func tryToSet(t *testing.T, s SetSpec, g guests.Guest, hostNS *os.File, n int) (done bool, err error) {
	t.Helper()
	withSet(t, s, g, hostNS, func(ctx context.Context, m *plan.Machine, p build.Plan) {
		done = n == len(p.Steps)
		p.Steps = append(p.Steps[:n:n], failStep{})
		err = p.Apply(ctx, m, untold)
	})
	return done, err
}

const nicHost = "ip link add nic0 address 02:00:00:00:00:09 type veth peer name wire; ip link set wire up; ip link set nic0 up"

// addressesInOrder takes out of a snapshot which IPv4 address of a subnet and which
// alternative name of a link is the first, which number and MAC address an ifb or the
// host's own macvlan has got, or a VXLAN, and what is about the bridge alone, whose carrier comes a
// little later.
func addressesInOrder(s string) string {
	s = regexp.MustCompile(`\d+: (eth1-in.*link/ether) \S+`).ReplaceAllString(s, "$1")
	s = regexp.MustCompile(`\d+: (vx100: .*link/ether) \S+`).ReplaceAllString(s, "$1")
	s = regexp.MustCompile(`\d+: (gph\w+@.*link/ether) \S+`).ReplaceAllString(s, "$1")
	s = regexp.MustCompile(`(?m)^(\d+: brtest.*|.* dev brtest .*)$`).ReplaceAllString(s, "")
	s = regexp.MustCompile(`(\\\s+altname [^\\\s]+){2,}`).ReplaceAllStringFunc(s, func(names string) string {
		all := strings.Split(names, `\`)
		slices.Sort(all)
		return strings.Join(all, `\`)
	})
	lines := strings.Split(regexp.MustCompile(` secondary| src \S+`).ReplaceAllString(s, ""), "\n")
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// setStage is an attachment, and how it is to be changed.
type setStage struct {
	name, line, host, set string
	needs                 string // of the kernel
	addrs                 string // there are then
	want                  Shaping
}

const rates = "--rate-in 10mbit --rate-out 512kbit"

var setStages = []setStage{
	{name: "from nothing, bridge", line: "brtest web 192.168.1.2/24", set: rates, want: Shaping{RateIn: 10e6, RateOut: 512e3}},
	{name: "from nothing, macvlan", line: "nic0 web 192.168.1.2/24", host: nicHost, set: rates, want: Shaping{RateIn: 10e6, RateOut: 512e3}},
	{name: "to nothing, bridge", line: "brtest web 192.168.1.2/24 " + rates, set: "--rate-in none --rate-out 0"},
	{name: "to nothing, macvlan", line: "nic0 web 192.168.1.2/24 " + rates, host: nicHost, set: "--rate-in none --rate-out 0"},
	{name: "other rate and MTU, bridge", line: "brtest web 192.168.1.2/24 " + rates, set: "--rate-in 1gbit --mtu 1400", want: Shaping{RateIn: 1e9, RateOut: 512e3}},
	{name: "other rate and MTU, macvlan", line: "nic0 web 192.168.1.2/24 " + rates, host: nicHost, set: "--rate-in 1gbit --mtu 1400", want: Shaping{RateIn: 1e9, RateOut: 512e3}},
	{name: "netem above a rate", needs: "netem", line: "brtest web 192.168.1.2/24 --rate-out 512kbit", set: "--loss 1% --delay 10ms",
		want: Shaping{RateOut: 512e3, Loss: 10000, Delay: 10e6}},
	{name: "netem from above a rate", needs: "netem", line: "brtest web 192.168.1.2/24 --rate-out 512kbit --delay 10ms", set: "--delay none",
		want: Shaping{RateOut: 512e3}},
	{name: "rate from below netem", needs: "netem", line: "brtest web 192.168.1.2/24 --rate-out 512kbit --delay 10ms --jitter 1ms", set: "--rate-out none",
		want: Shaping{Delay: 10e6, Jitter: 1e6}},
	{name: "VLAN", needs: "vlan_filtering", line: "brtest web 192.168.1.2/24", set: "--vlan 10,20-30"},
	{name: "VLAN away", needs: "vlan_filtering", line: "brtest web 192.168.1.2/24 @10", set: "--vlan none"},
	{name: "another bridge", line: "brtest web 192.168.1.2/24,2001:db8::2/64 --nodad --isolated", set: "--to br2 --nodad"},
	{name: "another bridge, its rate and MTU", line: "brtest web 192.168.1.2/24 --rate-in 10mbit", set: "--to br2 --mtu 1400 --addr 192.168.1.3/24 --nodad",
		addrs: "192.168.1.3/24", want: Shaping{RateIn: 10e6}},
	{name: "another bridge and VLAN", needs: "vlan_filtering", line: "brtest web 192.168.1.2/24 @10 --isolated", set: "--to br2 --vlan 20 --nodad"},
	{name: "another bridge from a VLAN", needs: "vlan_filtering", line: "brx web 192.168.1.2/24 @10,20-30 --vlan-filtering",
		host: "ip link add brx address 02:00:00:00:00:09 type bridge; ip link set brx addrgenmode none up", set: "--to br2 --nodad"},
	{name: "addresses", line: "brtest web 192.168.1.2/24,192.168.1.3/24,2001:db8::2/64@192.168.1.1 --nodad",
		set:   "--addr 192.168.1.3/24,192.168.1.4/24,2001:db8::3/64 --nodad",
		addrs: "192.168.1.3/24,192.168.1.4/24,2001:db8::3/64"},
	{name: "IPv6 for the first time", line: "brtest web 192.168.1.2/24", set: "--addr 2001:db8::3/64", addrs: "2001:db8::3/64"},
	{name: "routes", line: "brtest web 192.168.1.2/24,2001:db8::2/64 --nodad --route 10.5.0.0/16,via=192.168.1.3 --route 10.6.0.0/16 --route 10.8.0.0/16,table=7 --route 2001:db8:5::/64,via=2001:db8::3",
		set: "--route 10.5.0.0/16,via=192.168.1.4 --route 10.9.0.1/32 --route 10.7.0.0/16,via=10.9.0.1,metric=5 --route 2001:db8:5::/64,via=2001:db8::4 --route 2001:db8:6::/64"},
	{name: "routes and addresses", line: "nic0 web 192.168.1.2/24 --route 10.5.0.0/16,via=192.168.1.3", host: nicHost,
		set: "--addr 192.168.9.2/24 --route 10.5.0.0/16,via=192.168.9.3", addrs: "192.168.9.2/24"},
	{name: "no route", line: "brtest web 192.168.1.2/24@192.168.1.1 --route 10.5.0.0/16,via=192.168.1.3 --source-routing", set: "--route none"},
	{name: "source routing", line: "brtest web 192.168.1.2/24,2001:db8::2/64@192.168.1.1 --nodad --route 10.5.0.0/16,via=192.168.1.3", set: "--source-routing on"},
	{name: "no source routing", line: "nic0 web 192.168.1.2/24@192.168.1.1 --source-routing", host: nicHost, set: "--source-routing off"},
	{name: "addresses with source routing", line: "brtest web 192.168.1.2/24,192.168.8.2/24@192.168.1.1 --source-routing",
		set: "--addr 192.168.9.2/24,192.168.1.5/24", addrs: "192.168.9.2/24,192.168.1.5/24"},
	{name: "host access", line: "nic0 web 192.168.1.2/24,192.168.8.2/24", host: nicHost, set: "--host-access on"},
	{name: "no host access", line: "nic0 web 192.168.1.2/24,192.168.8.2/24 --host-access", host: nicHost, set: "--host-access off"},
	{name: "addresses with host access", line: "nic0 web 192.168.8.2/24,192.168.1.2/24 --host-access", host: nicHost,
		set: "--addr 192.168.8.2/24,192.168.1.3/24", addrs: "192.168.8.2/24,192.168.1.3/24"},
	{name: "no address with host access", line: "nic0 web 192.168.1.2/24 --host-access", host: nicHost, set: "--addr 0/0", addrs: "none"},
	{name: "source filter", line: "brtest web 192.168.1.2/24,2001:db8::2/64 --nodad", set: "--antispoof on"},
	{name: "no source filter", line: "brtest web 192.168.1.2/24 --antispoof", set: "--antispoof off"},
	{name: "addresses with source filter", line: "brtest web 192.168.1.2/24,192.168.8.2/24 --antispoof",
		set: "--addr 192.168.8.2/24,192.168.1.3/24 --nodad", addrs: "192.168.8.2/24,192.168.1.3/24"},
	{name: "another bridge with source filter", line: "brtest web 192.168.1.2/24 --antispoof", set: "--to br2 --nodad"},
	{name: "addresses with an uplink", line: uplinkStage.line, host: uplinkStage.host, set: "--addr 192.168.1.3/24,2001:db8::2/64", addrs: "192.168.1.3/24,2001:db8::2/64"},
	{name: "another bridge from one with an uplink", line: uplinkStage.line, host: uplinkStage.host, set: "--to br2 --nodad"},
	{name: "cable", line: "brtest web 192.168.1.2/24", set: "--carrier off"},
	{name: "no address", line: "nic0 web 192.168.1.2/24", host: nicHost, set: "--addr 0/0", addrs: "none"},
}

// TestSet: what is asked for is there and listed; asked again it changes
// nothing; and when any step fails all is as before.
func TestSet(t *testing.T) { testSet(t, func(st setStage) bool { return st.needs == "" }) }

// TestSetRare is TestSet where the kernel may lack something.
func TestSetRare(t *testing.T) { testSet(t, func(st setStage) bool { return st.needs != "" }) }

func testSet(t *testing.T, these func(setStage) bool) {
	needRoot(t)
	for _, st := range setStages {
		if these(st) {
			t.Run(st.name, st.test)
		}
	}
}

func (st setStage) test(t *testing.T) {
	hostNS, guestNS := stage{host: st.host, guest: "echo 1 >/proc/sys/net/ipv6/conf/default/disable_ipv6"}.ready(t)
	g, s := docker(guestNS, 0), typedSet(t, st.set)
	lacks := func(err error) {
		if fault.CodeOf(err) == fault.Unsupported && !testhost.Required(st.needs) {
			testhost.Lacking(t, st.needs, err.Error())
		}
	}
	if _, err := runAttach(context.Background(), parsed(t, st.line), g, hostNS, Options{}); err != nil {
		lacks(err)
		t.Fatal(err)
	}
	look := func() string {
		host := snapshot(t, hostNS) + queues(t, hostNS) + in(t, hostNS, "bridge", "vlan", "show")
		if strings.Contains(st.line+st.set, "--antispoof") {
			host += in(t, hostNS, "nft", "list", "ruleset", "netdev")
		}
		if strings.Contains(st.line, "--uplink") {
			host += strings.ReplaceAll(pinned(t, hostNS), "dev brtest", "on brtest")
		}
		return addressesInOrder(host + snapshot(t, guestNS) + queues(t, guestNS))
	}
	was := look()
	for n, done := 0, false; !done; n++ {
		var err error
		if done, err = tryToSet(t, s, g, hostNS, n); !errors.Is(err, errPlanned) || fault.CodeOf(err) == fault.Residue {
			same(t, "host and guest after the kernel's refusal", was, look())
			lacks(err)
			t.Fatalf("step %d: %v", n, err)
		}
		same(t, fmt.Sprintf("host and guest after failure at step %d", n), was, look())
		if t.Failed() {
			return
		}
	}
	for i, changed := range []bool{true, false} {
		r, err := runSet(context.Background(), s, g, hostNS, Options{})
		if err != nil || r.Changed != changed {
			t.Fatalf("set %d: changed = %v, %v, steps %q; want %v", i+1, r.Changed, err, r.Steps, changed)
		}
		a := listed(t, hostNS, g)
		if diff := cmp.Diff(r.Attachments[0].Interface, a.Interface, sameAddrs); diff != "" {
			t.Errorf("said and listed (-said +listed):\n%s", diff)
		}
		if diff := cmp.Diff(r.Attachments[0].Host, a.Host); diff != "" {
			t.Errorf("said and listed, on the host (-said +listed):\n%s", diff)
		}
		if got := orNothing(a.Shaping); got != st.want || orNothing(r.Attachments[0].Shaping) != got {
			t.Errorf("shaping %v, said %v, want %v", got, r.Attachments[0].Shaping, st.want)
		}
		if got := spec.OrNone(spec.Join(a.Interface.Addresses)); st.addrs != "" && got != st.addrs {
			t.Errorf("addresses %s, want %s", got, st.addrs)
		}
		if s.Antispoof != nil && a.Host.Antispoof != *s.Antispoof {
			t.Errorf("source filter %v, want %v", a.Host.Antispoof, *s.Antispoof)
		}
		if v := a.Host.VLAN; s.VLAN != "" && spec.OrNone(v) != s.VLAN {
			t.Errorf("VLAN %q, want %q", v, s.VLAN)
		}
		if s.MTU != 0 && a.Interface.MTU != s.MTU {
			t.Errorf("MTU %d", a.Interface.MTU)
		}
	}
	detachKind(t, g, hostNS)
	if left := queues(t, guestNS) + queues(t, hostNS); left != "" {
		t.Errorf("after detach: %s", left)
	}
}

func orNothing(s *Shaping) Shaping {
	if s == nil {
		return Shaping{}
	}
	return *s
}

// TestSetRefuses: what contradicts, and what is not ours.
func TestSetRefuses(t *testing.T) {
	needRoot(t)
	hostNS, guestNS := stage{host: nicHost, guest: "ip link add dev0 type veth peer name dev1; ip address add 10.1.1.1/24 dev dev0"}.ready(t)
	g := docker(guestNS, 0)
	if _, err := runAttach(context.Background(), parsed(t, "nic0 web 192.168.1.2/24@192.168.1.1"), g, hostNS, Options{}); err != nil {
		t.Fatal(err)
	}
	was := snapshot(t, guestNS)
	for _, tt := range []struct {
		ifName, line string
		code         fault.Code
		says         string
	}{
		{"eth2", "--mtu 1400", fault.NotFound, "no such attachment"},
		{"dev0", "--mtu 1400", fault.Conflict, "gopipework did not create"},
		{"eth1", "--vlan 10", fault.Usage, "cannot be changed"},
		{"eth1", "--jitter 1ms", fault.Usage, "none is given"},
		{"eth1", "--addr 10.1.1.1/24,192.168.1.3/24", fault.Conflict, "on dev0"},
		{"eth1", "--addr 10.9.0.1/24", fault.Conflict, "gateway 192.168.1.1"},
		{"eth1", "--mtu 9000 --rate-out 1mbit", fault.Conflict, "more than"}, // than the parent has
	} {
		s := typedSet(t, tt.line)
		s.IfName = tt.ifName
		_, err := runSet(context.Background(), s, g, hostNS, Options{})
		if fault.CodeOf(err) != tt.code || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("set %s %s: %s: %v; want %s, %q", tt.ifName, tt.line, fault.CodeOf(err), err, tt.code, tt.says)
		}
		sameSoon(t, "guest after "+tt.line, was, func() string { return snapshot(t, guestNS) })
	}
	in(t, guestNS, "tc", "qdisc", "add", "dev", "eth1", "root", "handle", "1:", "htb")
	_, err := runSet(context.Background(), typedSet(t, "--rate-out 1mbit"), g, hostNS, Options{})
	if fault.CodeOf(err) != fault.Conflict || !strings.Contains(err.Error(), "htb") {
		t.Errorf("over somebody's htb: %v", err)
	}
}

// TestParseSet: words that make no sense.
func TestParseSet(t *testing.T) {
	for _, w := range []SetWords{
		{}, {IfName: "eth1"}, {IfName: "eth1", NoDAD: true}, {IfName: "all", MTU: "1400"}, {IfName: "eth1", MTU: "1"},
		{IfName: "eth1", Address: "10.0.0.1/24@10.0.0.2"}, {IfName: "eth1", Address: "10.0.0.1"}, {IfName: "eth1", VLAN: "ten"}, {IfName: "eth1", Carrier: "no"},
		{IfName: "eth1", To: "ring:br1"}, {IfName: "eth1", To: "a/b"}, {IfName: "eth1", MTU: "1400", NoFirewall: true},
		{IfName: "eth1", Shape: ShapeWords{RateIn: "fast"}}, {IfName: "eth1", MTU: "1000", Address: "2001:db8::1/64"},
	} {
		if s, err := ParseSet("web", w); fault.CodeOf(err) != fault.Usage {
			t.Errorf("%+v: %+v, %v; want a usage error", w, s, err)
		}
	}
	s, err := ParseSet("web", SetWords{IfName: "eth1", Address: "0/0"})
	if err != nil || !s.HasAddrs || len(s.Addrs) != 0 {
		t.Errorf("no address: %+v, %v", s, err)
	}
	if s, err := ParseSet("web", SetWords{IfName: "eth1", Address: "10.0.0.1/24"}); err != nil || s.Addrs[0] != netip.MustParsePrefix("10.0.0.1/24") {
		t.Errorf("an address: %+v, %v", s, err)
	}
}
