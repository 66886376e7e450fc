//go:build linux

package e2e

import (
	"os"
	"strings"
	"testing"

	"github.com/gopipework/gopipework/e2e/host"
)

// Every way to write a line wrong: an error of one line that names the part, a hint,
// nothing on stdout, nothing changed. What is in quotes has to be named.
func TestBadInput(t *testing.T) {
	long := strings.Repeat("a", 256)
	type bad struct {
		name string
		args []string
		says string
		root bool // cannot be judged before the host has been looked at
	}
	var table []bad
	address := func(says string, words ...string) {
		for _, w := range words {
			table = append(table, bad{name: "address " + w, args: []string{"br1", "GUEST", w}, says: says})
		}
	}
	address("192.168.1.2", "192.168.1.2", "192.168.1.2/", "192.168.1.2/33", "192.168.1.2/-1", "192.168.1.2/024", "192.168.1.2/+24",
		"192.168.1.2/24/24", "192.168.1.2/abc", "192.168.1.2/255.255.255.0")
	address("", "192.168.1.256/24", "192.168.1/24", "192.168.1.2.3/24", "010.0.0.1/24", "192.168.01.2/24", "0x0a.0.0.1/24", "1/24",
		"192.168.1.0/24", "192.168.1.255/24", "224.0.0.1/24", "239.1.1.1/8", "127.0.0.1/8", "127.1.2.3/32", "0.0.0.1/8",
		"255.255.255.255/32", "0.0.0.0", "0/33", "0/00",
		"fd00::2", "fd00::2/129", "fd00::2/-1", "fd00::g/64", "fd00::/64", "fd00:::2/64", "1:2:3:4:5:6:7:8:9/64", "::1/128", "::", "::/129",
		"ff02::1/64", "fe80::1%eth0/64", "fd00::2%1/64", "::ffff:192.168.1.2/64",
		"192.168.1.2/24,", ",192.168.1.2/24", "192.168.1.2/24,,10.0.0.1/8", "192.168.1.2/24,192.168.1.2/24", "192.168.1.2/24,bogus",
		"192.168.1.2/24;id", "$(id)", "192.168.1.2/24 ", " 192.168.1.2/24", "192.168.1.2/24\n", "\x1b[31m", "", "bogus", "-", "/24", "/", "@")
	address("", "192.168.1.2/24@", "192.168.1.2/24@192.168.1", "192.168.1.2/24@192.168.1.1/24", "192.168.1.2/24@192.168.1.2",
		"192.168.1.2/24@fd00::1", "fd00::2/64@192.168.1.1", "192.168.1.2/24@192.168.1.1,192.168.1.254", "fd00::2/64@fd00::1,fd00::3",
		"192.168.1.2/24@192.168.1.1@192.168.1.3", "192.168.1.2/24@224.0.0.1", "192.168.1.2/24@0.0.0.0", "192.168.1.2/24@127.0.0.1",
		"192.168.1.2/24@192.168.1.255", "192.168.1.2/24@192.168.1.0", "192.168.1.2/24@gateway", "192.168.1.2/24@192.168.1.1,",
		"192.168.1.2/24@010.0.0.1", "fd00::2/64@fd00::2", "fd00::2/64@::", "fd00::2/64@ff02::1", "fd00::2/64@fe80::1%eth0", "0/0@10.0.0.1")
	for _, w := range []string{"26:2e:71:98:60", "26:2e:71:98:60:8f:00", "26:2e:71:98:60:8g", "26-2e-71:98:60:8f", "262e7198608f", "01:00:00:00:00:01",
		"00:00:00:00:00:00", "ff:ff:ff:ff:ff:ff", "u:web", "bogus", "26:2e:71:98:60:8f ", "26:2e:71:98:60:8f:01:02"} {
		table = append(table, bad{name: "MAC " + w, args: []string{"br1", "GUEST", "10.0.0.2/24", w}})
	}
	for _, w := range []string{"@0", "@4095", "@4096", "@-1", "@ten", "@", "@10,", "@10-", "@20-10", "@10 ", "@1.5", "@010x", "26:2e:71:98:60:8f@", "26:2e:71:98:60:8f@0"} {
		table = append(table, bad{name: "VLAN " + w, args: []string{"br1", "GUEST", "10.0.0.2/24", w}, root: true})
	}
	names := []string{"", "0123456789abcdef", ".", "..", "a/b", "a:b", "a b", "eth%d", "a\tb", "a\x01b", "a\nb", "\x1b[31m", "-x", "all", "default", "$(id)", "a;b", "a*", "é"}
	for _, w := range names {
		table = append(table,
			bad{name: "-i " + w, args: []string{"br1", "-i", w, "GUEST", "10.0.0.2/24"}},
			bad{name: "-l " + w, args: []string{"br1", "-l", w, "GUEST", "10.0.0.2/24"}})
		if w == "0123456789abcdef" {
			continue // too long to be made, but it may be an alternative name
		}
		if w != "-x" {
			table = append(table, bad{name: "HOSTIF " + w, args: []string{w, "GUEST", "10.0.0.2/24"}})
		}
		table = append(table, bad{name: "HOSTIF bridge:" + w, args: []string{"bridge:" + w, "GUEST", "10.0.0.2/24"}})
	}
	for _, w := range []string{"", long, "a b", "a;b", "$(id)", "`id`", "a|b", "a&b", "../etc", "a/b", "a\nb", "a\x01", "\x1b[31m", ".web", "_web", "é", "*", "pid:", "pid:0", "pid:-1", "pid:1x",
		"pid:99999999999999999999", "netns:", "netns:..", "netns:.", "netns:a/b", "netns:../../etc/passwd", "docker:", "docker:" + long, "docker:a b", "bogus:web", "web:", ":web"} {
		short := w
		if len(short) > 40 {
			short = short[:40]
		}
		table = append(table, bad{name: "GUEST " + short, args: []string{"br1", w, "10.0.0.2/24"}})
	}
	for _, w := range []string{"5", "inet5", "46", "", "ipv4"} {
		table = append(table, bad{name: "-a " + w, args: []string{"br1", "-a", w, "GUEST", "10.0.0.2/24"}})
	}
	for _, w := range []string{"0", "-1", "67", "65536", "1e3", "", "1500x", "99999999999"} {
		table = append(table, bad{name: "--mtu " + w, args: []string{"br1", "--mtu", w, "GUEST", "10.0.0.2/24"}})
	}
	for name, line := range map[string]string{
		"-a 6 with an IPv4 address":        "br1 -a 6 GUEST 10.0.0.2/24",
		"-a 4 with an IPv6 address":        "br1 -a inet GUEST fd00::2/64",
		"MTU too small for IPv6":           "br1 --mtu 1279 GUEST fd00::2/64",
		"too few words":                    "br1 GUEST",
		"too many words":                   "br1 GUEST 10.0.0.2/24 02:00:00:00:00:01 more",
		"-i without a value":               "br1 GUEST 10.0.0.2/24 -i",
		"-i twice":                         "br1 -i a -i b GUEST 10.0.0.2/24",
		"unknown flag":                     "br1 --bogus GUEST 10.0.0.2/24",
		"unknown short flag":               "br1 -x GUEST 10.0.0.2/24",
		"unknown flag first":               "--bogus br1 GUEST 10.0.0.2/24",
		"detach without a guest":           "detach",
		"detach of too much":               "detach GUEST eth1 eth2",
		"detach --all of one":              "detach --all GUEST eth1",
		"detach of a bad name":             "detach GUEST a/b",
		"list of too much":                 "list GUEST more",
		"list with a flag that it has not": "list --mtu 1400",
		"near miss":                        "detatch GUEST",
		"bad --timeout":                    "--timeout soon br1 GUEST 10.0.0.2/24",
		"negative --timeout":               "--timeout -5s br1 GUEST 10.0.0.2/24",
	} {
		table = append(table, bad{name: name, args: strings.Fields(line)})
	}

	// As root on a machine where it can be seen that nothing changed; without,
	// as whoever runs the test: bad words are bad for everybody.
	runs := func(args ...string) host.Result {
		return host.Finish(command("gopipework", args...), append([]string{"gopipework"}, args...))
	}
	guest, check := "pid:1", func(string) {}
	if os.Geteuid() == 0 {
		m := newMachine(t)
		g := m.guest()
		guest, check, runs = g.Word, m.unchanged(g), m.gopipework
	}
	for _, c := range table {
		if c.root && os.Geteuid() != 0 {
			continue
		}
		for i, a := range c.args {
			if a == "GUEST" {
				c.args[i] = guest
			}
		}
		r := runs(c.args...)
		bad := func(what string) { t.Helper(); t.Errorf("%s: %s:\n%q\n%v", c.name, what, c.args, r) }
		lines := strings.Split(strings.TrimSuffix(r.Stderr, "\n"), "\n")
		switch {
		case r.Code != 2:
			bad("exit code should be 2")
		case r.Stdout != "":
			bad("stdout should be empty")
		case !strings.HasPrefix(lines[0], "gopipework: ") || strings.HasPrefix(lines[0], "gopipework: hint:"):
			bad("no error line")
		case len(lines) > 2 || len(lines) == 2 && !strings.HasPrefix(lines[1], "gopipework: hint: "):
			bad("more than an error and a hint")
		case !strings.Contains(lines[0], c.says):
			bad("does not name " + c.says)
		case strings.ContainsFunc(r.Stderr, func(c rune) bool { return c < ' ' && c != '\n' || c == 0x7f }):
			bad("control characters")
		}
	}
	check("after every bad line")
	t.Logf("%d bad lines", len(table))
}

// A missing prefix is answered with the line that was meant.
func TestHints(t *testing.T) {
	for line, hint := range map[string]string{
		"br1 web 192.168.1.2":        "192.168.1.2/24",
		"br1 web fd00::2":            "fd00::2/64",
		"dettach web":                "detach",
		"lst":                        "list",
		"br1 web 10.0.0.2/24 --jsn":  "--json",
		"br1 web 192.168.1.0/24":     "",
		"br1 web 10.0.0.2/24@a":      "",
		"br1 web 01:00:00:00:00:01":  "",
		"br1 web 10.0.0.2/24 @10,20": "", // judged when the kind is known
	} {
		r := host.Finish(command("gopipework", strings.Fields(line)...), []string{line})
		if hint != "" && !strings.Contains(r.Stderr, "gopipework: hint: ") || !strings.Contains(r.Stderr, hint) {
			t.Errorf("the hint should have %q:\n%v", hint, r)
		}
	}
}

// What is not built yet says so, and is not a device of that name.
func TestReservedWords(t *testing.T) {
	for _, w := range []string{"link", "exec", "doctor", "set", "watch", "apply", "destroy", "graph", "route", "rule", "tc", "wait", "completion"} {
		r := host.Finish(command("gopipework", w, "web", "10.0.0.2/24"), []string{w})
		if r.Code == 0 || !strings.HasPrefix(r.Stderr, "gopipework: ") {
			t.Errorf("%v", r)
		}
	}
}

// Without root: said before anything is tried.
func TestPermission(t *testing.T) {
	r := host.Result{}
	if os.Geteuid() == 0 {
		need(t, "root")
		m := newMachine(t)
		g := m.guest()
		check := m.unchanged(g)
		r = m.Host.Run("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "gopipework", "--json", "br1", g.Word, "10.0.0.2/24")
		check("after a user without rights")
	} else {
		r = host.Finish(command("gopipework", "--json", "br1", "pid:1", "10.0.0.2/24"), []string{"gopipework"})
	}
	(&machine{nil, t}).failed("permission", r)
}
