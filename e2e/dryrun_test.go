//go:build linux

package e2e

import (
	"slices"
	"strings"
	"testing"

	"github.com/gopipework/gopipework/e2e/host"
)

// What --dry-run prints, pasted into a root shell, gives the state that the
// run itself gives.
func TestDryRun(t *testing.T) {
	m := newMachine(t)
	for _, c := range []struct {
		name    string
		prepare string // on the host
		inside  string // in the guest, with its own default route
		words   string
	}{
		{"IPv4", "", "", "br1 GUEST 192.168.1.2/24"},
		{"no address", "", "", "br1 GUEST 0/0"},
		{"several addresses and a MAC", "", "", "br1 -i net0 -l left GUEST 192.168.1.2/24,10.0.0.1/8,fd00::2/64 26:2e:71:98:60:8f"},
		{"gateway", "", "ip route add default dev old0", "br1 GUEST 192.168.1.2/24@192.168.1.1"},
		{"gateway outside", "", "ip route add default dev old0", "br1 GUEST 192.168.1.2/32@10.9.9.9"},
		{"IPv6 gateway", "", "ip -6 route add default dev old0 metric 1024", "br1 GUEST fd00::2/64@fd00::1"},
		{"both gateways", "", "", "br1 GUEST 192.168.1.2/24,fd00::2/64@192.168.1.1,fd00:9::1"},
		{"source routing", "", "ip address add 10.4.0.2/24 dev old0; ip address add fd00:4::2/64 dev old0 nodad; ip route add default via 10.4.0.1; ip -6 route add default via fd00:4::1",
			"br1 GUEST 192.168.1.2/24,fd00::2/64@192.168.1.1,fd00::1 --source-routing --default=keep --route 10.5.0.0/16,via=192.168.1.3 --route default,via=fd00::3,table=7"},
		{"existing bridge", "ip link add lan address 02:00:00:00:00:99 type bridge mcast_snooping 0; ip link add lp type veth peer name lq; ip link set lp master lan up; ip link set lq up; ip link set lan up mtu 1400; until ip link show lan | grep -q 'state UP'; do sleep 0.1; done", "", "lan GUEST 192.168.1.2/24"},
		{"existing bridge, down", "ip link add lan2 address 02:00:00:00:00:99 type bridge", "", "lan2 GUEST fd00::2/64 U:web1"},
		{"MTU", "", "", "br1 --mtu 1300 GUEST 192.168.1.2/24"},
		{"IPv6 off in the guest", "", "echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6; echo 1 > /proc/sys/net/ipv6/conf/default/disable_ipv6", "br1 GUEST fd00::2/64"},
		{"shaped", "", "", "br1 GUEST 192.168.1.2/24 --rate-in 10mbit --rate-out 512kbit"},
		{"shaped macvlan", "ip link add nic0 type veth peer name wire; ip link set wire addrgenmode none up; ip link set nic0 addrgenmode none up", "", "nic0 GUEST 192.168.1.2/24 --rate-in 10mbit --rate-out 512kbit"},
		{"no firewall", "", "", "br1 --no-firewall GUEST 192.168.1.2/24"},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := &machine{m.Host, t}
			g := m.guest()
			defer g.Kill()
			m.check(g.Run("sh", "-ec", "ip link add old0 type veth peer name old1; ip link set old0 up; ip link set old1 up\n"+c.inside).Err())
			m.check(m.Host.Run("sh", "-ec", "true\n"+c.prepare).Err())
			samePasted(m, g, g.Word, strings.Fields(c.words), c.name == "existing bridge, down")
			if bridge := strings.Fields(c.words)[0]; c.prepare != "" {
				m.do("ip link delete " + bridge)
			}
		})
	}
}

func TestDryRunContainer(t *testing.T) {
	e := withDocker(t)
	e.container("web")
	samePasted(e.machine, e.guestOf("web"), "web", strings.Fields("brtest GUEST 192.168.1.2/24,fd00::2/64@192.168.1.1"), false)
}

// samePasted compares a run with the paste of its plan. A bridge that was down
// is left up, and then the host is not as before.
func samePasted(m *machine, g *host.Guest, word string, words []string, left bool) {
	m.t.Helper()
	words = slices.Clone(words)
	words[slices.Index(words, "GUEST")] = word
	before := m.unchanged(g)
	check := func(when string) {
		m.t.Helper()
		if !left {
			before(when)
		}
	}
	plan := m.ok(append([]string{"--dry-run"}, words...)...).Stdout
	before("after --dry-run")
	if plan == "" {
		m.t.Fatal("--dry-run prints nothing")
	}
	for l := range strings.Lines(plan) {
		f := strings.Fields(l)
		if len(f) == 0 || !strings.HasPrefix(l, "#") && !slices.Contains([]string{"ip", "bridge", "nsenter", "sysctl", "tc", "iptables", "ip6tables"}, f[0]) {
			m.t.Errorf("not a command that a person would type: %q", l)
		}
	}

	// One look from outside and one from inside. Carrier and DAD settle.
	mac := words[len(words)-1]
	look := func() (host.State, error) {
		a, err := m.State()
		if err != nil {
			return "", err
		}
		b, err := g.State()
		return a.Shape(mac) + b.Shape(mac), err
	}
	settled := func() (s host.State) {
		m.t.Helper()
		last := ""
		host.Poll(host.Patience, func() bool {
			s = m.state(look)
			same := last == string(s) && !strings.Contains(last, "tentative")
			last = string(s)
			return same
		})
		return s
	}
	m.ok(words...)
	run := settled()
	m.ok("detach", word)
	if left {
		m.do("ip link set lan2 down")
	}
	check("after detach")

	if r := m.RunInput(plan, "sh", "-e"); r.Code != 0 || r.Stderr != "" {
		m.t.Fatalf("pasting\n%s\n%v", plan, r)
	}
	var diff string
	if !host.Poll(host.Patience, func() bool { diff = host.Diff(run, m.state(look)); return diff == "" }) {
		m.t.Errorf("pasting\n%s\ngives something else than the run:\n%s", plan, diff)
	}
	// It is ours, whoever typed it.
	if a := m.attach(words...); *a.Changed {
		m.t.Errorf("after pasting, the same line changes something: %q", a.Steps)
	}
	m.ok("detach", word)
	check("after pasting and detach")
}

// -v prints the steps that --json lists and --dry-run prints.
func TestVerbose(t *testing.T) {
	m := newMachine(t)
	g := m.guest()
	words := []string{"br1", g.Word, "192.168.1.2/24"}
	plan := commands(m.ok(append([]string{"--dry-run"}, words...)...).Stdout)
	r := m.ok(append([]string{"-v"}, words...)...)
	if r.Stdout != "" {
		t.Errorf("stdout: %q", r.Stdout)
	}
	for _, c := range plan {
		// A random MAC differs from plan to run.
		if !slices.ContainsFunc(commands(r.Stderr), func(got string) bool { return strings.HasSuffix(anyMAC(got), anyMAC(c)) }) {
			t.Errorf("-v does not print %q:\n%s", c, r.Stderr)
		}
	}
	m.ok("detach", g.Word)
	steps := m.attach(words...).Steps
	if len(commands(strings.Join(steps, "\n"))) != len(plan) {
		t.Errorf("--json lists\n%s\n--dry-run\n%s", strings.Join(steps, "\n"), strings.Join(plan, "\n"))
	}
	// A line that is done already has nothing to do.
	if out := m.ok(append([]string{"--dry-run"}, words...)...).Stdout; len(commands(out)) != 0 {
		t.Errorf("--dry-run of what is there already: %q", out)
	}
	check := m.unchanged(g)
	if out := m.ok("--dry-run", "detach", g.Word).Stdout; len(commands(out)) == 0 {
		t.Error("--dry-run detach prints no command")
	}
	check("after --dry-run detach")
}

// commands are the lines that are not comments.
func commands(text string) (lines []string) {
	for l := range strings.Lines(text) {
		if l = strings.TrimSpace(l); l != "" && !strings.HasPrefix(l, "#") {
			lines = append(lines, l)
		}
	}
	return lines
}

func anyMAC(s string) string { return string(host.State(s).Shape()) }
