package main

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gopipework/gopipework/internal/labels"
	"github.com/gopipework/gopipework/internal/policy"
	"github.com/gopipework/gopipework/internal/report"
)

// wholePolicy has every key.
const wholePolicy = `# what the labels of containers may ask for
allow:
  - guests: ["web-*", "compose:shop/*", "pod:shop/*"]
    to: [brtest, "macvlan:eth0", dummy]
    addresses: [192.168.1.0/24, 2001:db8:1::/64, dhcp]
    vlans: [10, 20-30, none]
    options: [rate-in, mtu]
  - guests: gw
    to: [brtest, brtest2]
    addresses: [192.168.1.0/24, 10.0.0.0/8, 2001:db8:1::/64, dhcp, dhcp6, slaac, none]
    gateways: true
    options: [route, mac, mode, metric, source-routing]
  - guests: tagged
    to: brtest
    addresses: 10.0.0.0/8
    vlans: [10, 11, 12-20]
  - guests: routed
    to: brtest
    addresses: [10.0.0.0/8]
    options: [route]
  - guests: ["web-*", "*other", "aweb-?"]
    to: [brlast]
    addresses: [none]
  - guests: ["pod:back/web-*", "nomad:default/*"]
    to: [brtest]
    addresses: [10.0.0.0/8]
`

// decided returns what the policy says to a label: "" if it is allowed.
func decided(t *testing.T, p policy.Policy, guest, line string) string {
	t.Helper()
	r, _, err := labels.Grammar(labelGrammar()).Line(guest, "eth1", line)
	if err != nil {
		return "unreadable: " + err.Error()
	}
	d := p.Decide(policy.ParseGuest(guest), r)
	if d.Allowed == (d.Reason != "") {
		t.Errorf("%s %s: %+v", guest, line, d)
	}
	return d.Reason
}

// A pattern for any container means no pod, and no job of Nomad.
func TestPolicyStar(t *testing.T) {
	p, err := policy.Parse("p.yaml", []byte("allow:\n  - {guests: '*', to: brtest, addresses: none}\n"))
	if err != nil {
		t.Fatal(err)
	}
	for guest, allowed := range map[string]bool{"web": true, "compose:shop/web": true, "pod:shop/web": false, "nomad:shop/web": false} {
		if refused := decided(t, p, guest, "brtest 0/0"); (refused == "") != allowed {
			t.Errorf("%s: %q", guest, refused)
		}
	}
}

func TestPolicyDecides(t *testing.T) {
	p, err := policy.Parse("p.yaml", []byte(wholePolicy))
	if err != nil {
		t.Fatal(err)
	}
	const first, last = "p.yaml:3:5 does", "p.yaml:21:5 does"
	for _, tt := range []struct{ guest, line, refused string }{
		// each key, within it
		{"web-1", "brtest 192.168.1.2/24", ""},
		{"docker:web-1", "brtest 192.168.1.2/24", ""},
		{"podman:web-1", "macvlan:eth0 192.168.1.2/32", ""},
		{"containerd:web-1", "brtest 192.168.1.2/24", ""},
		{"compose:shop/db", "dummy 192.168.1.2/24,2001:db8:1::2/64", ""},
		{"web-1", "brtest 192.168.1.2/24 @10", ""},
		{"web-1", "brtest 192.168.1.2/24 @10,20-30", ""},
		{"web-1", "brtest 192.168.1.2/24 @22t", ""},
		{"web-1", "brtest dhcp:default-route=no", ""},
		{"web-1", "brtest dhcp --default keep", ""},
		{"web-1", "brtest 192.168.1.2/24 --mtu 1400 --rate-in 10mbit -a 4", ""},
		{"web-1", "brtest '192.168.1.2/24'", ""},
		{"gw", "brtest 192.168.1.2/24@192.168.1.1 02:00:00:00:00:01", ""},
		{"gw", "brtest 192.168.1.2/24@10.0.0.1", ""},
		{"gw", "brtest 2001:db8:1::2/64@fe80::1", ""},
		{"gw", "brtest dhcp", ""},
		{"gw", "brtest dhcp6", ""},
		{"gw", "brtest slaac", ""},
		{"gw", "brtest 0/0", ""},
		{"gw", "brtest 192.168.1.2/24 --route '128.0.0.0/1,via 192.168.1.1'", ""},
		{"tagged", "brtest 10.1.2.3/16 @10,11-20", ""},
		{"routed", "brtest 10.1.2.3/16 --route '10.9.0.0/16,via 10.1.0.1'", ""},
		{"other", "brlast 0/0", ""},
		{"pod:back/web-1", "brtest 10.0.0.2/8", ""},
		{"nomad:default/job", "brtest 10.0.0.2/8", ""},

		// the guest
		{"compose:shops/db", "dummy 192.168.1.2/24", "p.yaml has no entry for compose:\"shops/db\""},
		{"compose:shop/a/b", "dummy 192.168.1.2/24", "p.yaml has no entry"},
		{"compose:web-1", "brtest 192.168.1.2/24", "p.yaml has no entry"},
		{"pod:shop/db", "brtest 192.168.1.2/24", ""},
		{"pod:other/web-1", "brtest 192.168.1.2/24", "p.yaml has no entry for pod:\"other/web-1\""},
		{"pod:shop", "brtest 192.168.1.2/24", "p.yaml has no entry"},
		{"pod:back/db-1", "brtest 10.0.0.2/8", "p.yaml has no entry for pod:\"back/db-1\""},
		{"pod:back/web-1", "brtest 192.168.1.2/24", "p.yaml:24:5 does not allow it: the address 192.168.1.2/24"},
		{"pod:default/job", "brtest 10.0.0.2/8", "p.yaml has no entry"},
		{"nomad:shop/web-1", "brlast 0/0", "p.yaml has no entry"},
		{"aweb-1", "brtest 192.168.1.2/24", last + " not allow it: the host interface \"brtest\" is not brlast"},
		// the first entry decides, not the best
		{"web-1", "brlast 0/0", first + " not allow it: the host interface \"brlast\" is not brtest, macvlan:eth0, dummy"},

		// the host interface: by another kind, another name, what finds it otherwise
		{"web-1", "bridge:brtest 192.168.1.2/24", first + " not allow it: the host interface \"bridge:brtest\""},
		{"web-1", "eth0 192.168.1.2/24", "the host interface \"eth0\""},
		{"web-1", "phys:eth0 192.168.1.2/24", "the host interface \"phys:eth0\""},
		{"web-1", "eth0 192.168.1.2/24 --direct-phys", "the host interface \"phys:eth0\""},
		{"web-1", "brtest 192.168.1.2/24 --direct-phys", "the host interface \"phys:brtest\""},
		{"web-1", "macvlan:eth0 192.168.1.2/24 --force-phys", "--force-phys: it takes a card"},
		{"web-1", "host:brtest 192.168.1.2/24", "the host interface \"host:brtest\""},
		{"web-1", "mac:02:00:00:00:00:01 192.168.1.2/24", "the host interface"},
		{"web-1", "macvlan:mac:02:00:00:00:00:01 192.168.1.2/24", "the host interface"},
		{"web-1", "vlan:eth0 192.168.1.2/24 @10", "the host interface"},
		{"web-1", "gopipework.web-1.eth1 192.168.1.2/24", "the host interface"}, // an alternative name
		{"web-1", "netns:x 192.168.1.2/24", "unreadable: "},
		{"web-1", "BRTEST 192.168.1.2/24", "the host interface"},
		{"web-1", "dummy0 192.168.1.2/24", "the host interface"},
		{"gw", "brtest 192.168.1.2/24 --mode passthru", "takes the whole card"},

		// addresses
		{"web-1", "brtest 192.168.2.2/24", "the address 192.168.2.2/24 is in none of 192.168.1.0/24, 2001:db8:1::/64, dhcp"},
		{"web-1", "brtest 192.168.1.2/23", "the address 192.168.1.2/23 has a wider mask than 192.168.1.0/24"},
		{"web-1", "brtest 192.168.1.2/24,192.168.2.2/24", "the address 192.168.2.2/24"},
		{"web-1", "brtest 192.168.1.255/32", "the subnet's broadcast address"},
		{"web-1", "brtest 192.168.1.0/32", "the subnet's network address"},
		{"web-1", "brtest ::ffff:192.168.1.2/120", "unreadable: "},
		{"web-1", "brtest 192.168.001.2/24", "unreadable: "},
		{"web-1", "brtest 0/0", "an interface without an address"},
		{"web-1", "brtest 0.0.0.0/24", "an interface without an address"},
		{"web-1", "brtest dhcp6", "dhcp6 is not in its addresses"},
		{"web-1", "brtest slaac", "slaac is not in its addresses"},
		{"gw", "brtest dhcp:client-id=0102", "only default-route=no"},
		{"gw", "brtest dhcp:request=192.168.1.7", "only default-route=no"},
		{"gw", "brtest dhcp:hostname=db,default-route=no", "only default-route=no"},
		{"gw", "brtest dhcp6:timeout=10s", "only default-route=no"},
		{"gw", "brtest udhcpc", "is a program of the host"},
		{"gw", "brtest dhclient-f", "is a program of the host"},

		// VLANs
		{"web-1", "brtest 192.168.1.2/24 @11", "the VLAN 11 is not in its vlans (10, 20-30, none)"},
		{"web-1", "brtest 192.168.1.2/24 @10,20-31", "the VLAN 20-31"},
		{"web-1", "brtest 192.168.1.2/24 @1-4094", "the VLAN 1-4094"},
		{"web-1", "brtest 192.168.1.2/24 @10,11t", "the VLAN 11"},
		{"web-1", "brtest 192.168.1.2/24 @8001", "not a number or range"},
		{"tagged", "brtest 10.1.2.3/16", "no VLAN: it has to be in 10-20"},
		{"gw", "brtest 192.168.1.2/24 @1", "the VLAN 1 is not in its vlans (none)"},

		// gateways, and what does as one
		{"web-1", "brtest 192.168.1.2/24@192.168.1.1", "the gateway 192.168.1.1: gateways is not true"},
		{"web-1", "brtest 192.168.1.2/24@192.168.1.1 --default keep", "gateways is not true"},
		{"web-1", "brtest dhcp", "gateways is not true"},
		{"web-1", "brtest dhcp --default front", "gateways is not true"},
		{"gw", "brtest 192.168.1.2/24@192.168.2.1", "the gateway 192.168.2.1 is in none of"},
		{"routed", "brtest 10.1.2.3/16 --route '128.0.0.0/1,via 10.1.0.1'", "the route to 128.0.0.0/1 leads out"},
		{"routed", "brtest 10.1.2.3/16 --route '0.0.0.0/0,via 10.1.0.1,table 7'", "the route to 0.0.0.0/0 leads out"},
		{"routed", "brtest 10.1.2.3/16 --route '8.0.0.0/6'", "the route to 8.0.0.0/6 leads out"},
		{"gw", "brtest 192.168.1.2/24 --route 192.168.2.0/30 --route '8.8.8.8/32,via 192.168.2.1'", "the gateway 192.168.2.1 of a route"},

		// options
		{"web-1", "brtest 192.168.1.2/24 02:00:00:00:00:01", "the MAC address 02:00:00:00:00:01: mac is not in its options (rate-in, mtu)"},
		{"web-1", "brtest 192.168.1.2/24 U:db", "the MAC address 02:"},
		{"web-1", "brtest 192.168.1.2/24 --rate-out 1mbit", "the option --rate-out is not in its options"},
		{"web-1", "brtest 192.168.1.2/24 --nodad", "the option --nodad"},
		{"web-1", "brtest 192.168.1.2/24 -l docker0", "-l: it names an interface of the host"},
		{"web-1", "brtest 192.168.1.2/24 -i eth0", "-i cannot be allowed: the key names the interface"},
		{"web-1", "brtest 192.168.1.2/24 --dns 10.0.0.1", "--dns: it changes a file"},
		{"web-1", "brtest 192.168.1.2/24 --vlan-filtering", "--vlan-filtering: it changes a bridge"},
		{"web-1", "macvlan:eth0 192.168.1.2/24 --host-access", "--host-access: it opens the host"},
		{"web-1", "brtest 192.168.1.2/24 --host-addr 10.0.0.1/24", "--host-addr: it gives the host"},
		{"web-1", "brtest 192.168.1.2/24 --keep", "unreadable: "},
		{"web-1", "brtest 192.168.1.2/24 --await 1s", "unreadable: "},
		{"web-1", "brtest 192.168.1.2/24 --dry-run", "unreadable: "},
		{"web-1", "brtest 192.168.1.2/24 --help", "unreadable: "},

		// what is no line
		{"web-1", "", "unreadable: "},
		{"web-1", "brtest", "unreadable: "},
		{"web-1", "brtest other 192.168.1.2/24", "unreadable: "},
		{"web-1", "brtest other 192.168.1.2/24 @10", "the line of a label or an annotation has no guest"},
		{"web-1", "brtest dhpc 02:00:00:00:00:01", `read address "dhpc"`},
		{"web-1", "brtest 192.168.1.2/24 02:00:00:00:00:01 more", "unreadable: "},
		{"web-1", "-- brtest 192.168.1.2/24", ""}, // as on a command line
		{"web-1", "brtest $(id) 192.168.1.2/24", "unreadable: "},
		{"web-1", "brtest 192.168.1.2/24; id", "unreadable: "},
		{"web-1", "brtest `id`", "unreadable: "},
		{"web-1", "brtest 'open", "unreadable: "},
		{"web-1", "brtest 192.168.1.2/24\nbrtest 192.168.1.3/24", "unreadable: "},
		{"web-1", "brtest 192.168.1.2/24\x1b[2J", "unreadable: "},
		{"web-1", "brtest 192.168.1.2/24\x00", "unreadable: "},
		{"web-1", "brtest 192.168.1.2/24 U:\u009b2J", "unreadable: "},
		{"web-1", "brtest 192.168.1.2/24 U:\u202ex", "unreadable: "},
		{"web-1", "brtest \xff/24", "unreadable: "},
		{"web-1", "*a &a [brtest]", "unreadable: "},
	} {
		got := decided(t, p, tt.guest, tt.line)
		if tt.refused == "" && got != "" || !strings.Contains(got, tt.refused) || tt.refused != "" && got == "" {
			t.Errorf("%s: %q: refused %q, want %q", tt.guest, tt.line, got, tt.refused)
		}
	}
	if got := decided(t, policy.Policy{Path: "p.yaml", Missing: true}, "web-1", "brtest 192.168.1.2/24"); got != "there is no p.yaml, so nothing is allowed" {
		t.Errorf("without a file: %q", got)
	}
}

// TestPolicyKnowsFlags: a new flag of attach is refused by every policy until somebody has
// thought about it.
func TestPolicyKnowsFlags(t *testing.T) {
	for _, f := range (&output{}).attachEntry().Flags {
		name := f.Names()[0]
		is := false
		for _, run := range runFlags {
			is = is || run == name
		}
		if !is && !policy.Treats(name) {
			t.Errorf("package policy does not know --%s: can a label be allowed it?", name)
		}
	}
}

// TestPolicyMistakes: every mistake has its place, and what to write in its place.
func TestPolicyMistakes(t *testing.T) {
	entry := func(more string) string {
		return "allow:\n  - guests: [web]\n    to: [brtest]\n    addresses: [dhcp]\n" + more
	}
	for text, want := range map[string]string{
		"alow: []\n":                         "p.yaml:1:1: read key \"alow\": a policy has no such key",
		"allow: yes\n":                       "p.yaml:1:8: read allow",
		"- web\n":                            "p.yaml:1:1: read a policy: it is a list",
		"allow: [web]\n":                     "p.yaml:1:9: read an entry",
		"allow:\n  - to: [brtest]\n":         "p.yaml:2:5: read an entry: it has no key \"guests\"",
		"allow: &a [*a]\n":                   "p.yaml:1:8: read YAML &a: anchors are not read",
		"allow: !!set {}\n":                  "p.yaml:1:8: read YAML !!set: tags are not read",
		"allow: [\n":                         "p.yaml:1:",
		entry("    gateway: true\n"):         "p.yaml:5:5: read key \"gateway\": an entry has no such key",
		entry("    gateways: 1\n"):           "p.yaml:5:15: read gateways",
		entry("    options: [force-phys]\n"): "p.yaml:5:15: read option \"force-phys\": a policy cannot allow it: it takes a card",
		entry("    options: [--dns]\n"):      "p.yaml:5:15: read option \"--dns\": a policy cannot allow it",
		entry("    options: [mtu, exec]\n"):  "p.yaml:5:20: read option \"exec\": a policy cannot allow it",
		entry("    options: [--mtu]\n"):      "p.yaml:5:15: read option \"--mtu\": there is no such option",
		entry("    options: [l]\n"):          "p.yaml:5:15: read option \"l\": a policy cannot allow it",
		entry("    options: [default]\n"):    "p.yaml:5:15: read option \"default\": it needs no entry",
		entry("    vlans: [0]\n"):            "p.yaml:5:13: read VLAN",
		entry("    vlans: [10t]\n"):          "p.yaml:5:13: read VLAN",
		entry("    vlans: [30-20]\n"):        "p.yaml:5:13: read VLAN",
		entry("    vlans: [\"10,20\"]\n"):    "p.yaml:5:13: read VLAN",
		"allow:\n  - {guests: [\"docker:web\"], to: [br1], addresses: [none]}\n":          "p.yaml:2:15: read pattern \"docker:web\"",
		"allow:\n  - {guests: [\"compose:shop\"], to: [br1], addresses: [none]}\n":        "it is not compose:PROJECT/SERVICE",
		"allow:\n  - {guests: [\"pod:shop/a/b\"], to: [br1], addresses: [none]}\n":        "it is not pod:NAMESPACE/NAME",
		"allow:\n  - {guests: [\"compose:pod:a/b\"], to: [br1], addresses: [none]}\n":     "it is not compose:PROJECT/SERVICE",
		"allow:\n  - {guests: [\"nomad:/a\"], to: [br1], addresses: [none]}\n":            "it is not nomad:NAMESPACE/JOB",
		"allow:\n  - {guests: [\"web[\"], to: [br1], addresses: [none]}\n":                "a bracket is not closed",
		"allow:\n  - {guests: [\"w b\"], to: [br1], addresses: [none]}\n":                 "a pattern is made of",
		"allow:\n  - {guests: web, to: [\"*\"], addresses: [none]}\n":                     "p.yaml:2:24: read host interface \"*\": there are no patterns",
		"allow:\n  - {guests: web, to: [\"phys:eth0\"], addresses: [none]}\n":             "it takes a card from the host, which a policy cannot allow",
		"allow:\n  - {guests: web, to: [\"host:x\"], addresses: [none]}\n":                "it makes an interface of the host",
		"allow:\n  - {guests: web, to: [\"mac:02:00:00:00:00:01\"], addresses: [none]}\n": "which interface has the address can change",
		"allow:\n  - {guests: web, to: [\"x:y\"], addresses: [none]}\n":                   "there is no kind \"x\"",
		"allow:\n  - {guests: web, to: br1, addresses: [192.168.1.1]}\n":                  "it is not a network",
		"allow:\n  - {guests: web, to: br1, addresses: [192.168.1.1/24]}\n":               "its address has bits beyond its prefix length",
		"allow:\n  - {guests: web, to: br1, addresses: [0/0]}\n":                          "it could be every address, or none",
		"allow:\n  - {guests: web, to: br1, addresses: [udhcpc]}\n":                       "it is not a network",
	} {
		_, err := policy.Parse("p.yaml", []byte(text))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
	for _, text := range []string{"", "# nothing\n", "allow:\n", "allow: []\n"} {
		if p, err := policy.Parse("p.yaml", []byte(text)); err != nil || len(p.Entries) != 0 {
			t.Errorf("%q: %+v, %v", text, p, err)
		}
	}
}

// TestPolicyTrust: a file that others could write or replace is refused.
func TestPolicyTrust(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "p.yaml")
	if err := os.WriteFile(path, []byte(wholePolicy), 0o644); err != nil {
		t.Fatal(err)
	}
	check := func(name string, good bool) {
		t.Helper()
		if _, err := policy.Read(path); (err == nil) != good {
			t.Errorf("%s: %v", name, err)
		}
	}
	check("as it is", true)
	for _, mode := range []os.FileMode{0o664, 0o646, 0o666} {
		_ = os.Chmod(path, mode)
		check("file "+mode.String(), false)
	}
	_ = os.Chmod(path, 0o600)
	_ = os.Chmod(dir, 0o777)
	check("directory", false)
	_ = os.Chmod(dir, 0o777|os.ModeSticky)
	check("directory of everybody, sticky", true)
	_ = os.Chmod(dir, 0o755)
	if os.Geteuid() == 0 {
		_ = os.Chown(path, 65534, 65534)
		check("file of somebody else", false)
		_ = os.Chown(path, 0, 0)
		_ = os.Chown(dir, 65534, 65534)
		check("directory of somebody else", false)
		_ = os.Chown(dir, 0, 0)
	}
	check("as it was", true)
	path = filepath.Join(dir, "none.yaml")
	if p, err := policy.Read(path); err != nil || !p.Missing {
		t.Errorf("missing: %+v, %v", p, err)
	}
}

// labelled are the labels of a container that is allowed everything that web-1 is.
func labelled(name string, of map[string]string) labels.Container {
	return labels.Container{Runtime: "docker", ID: strings.Repeat("0", 60) + name[len(name)-1:], Name: name, Running: true, Labels: of}
}

// askedFor returns the lines and the refusals of containers.
func askedFor(t *testing.T, all ...labels.Container) (lines []string, refused []report.Event) {
	t.Helper()
	p, err := policy.Parse("p.yaml", []byte(wholePolicy))
	if err != nil {
		t.Fatal(err)
	}
	entries, refused := labels.Wanted(all, p, labelGrammar())
	for _, e := range entries {
		lines = append(lines, strings.Join(e.Words, " "))
		if want := "docker:" + strings.Repeat("0", 60); !strings.HasPrefix(e.Attach.Guest, want) {
			t.Errorf("the entry is for %q", e.Attach.Guest)
		}
	}
	for _, e := range refused {
		if len(e.Reason) > 400 || len(e.Line) > 1500 || e.Line == "" || e.Kind != report.Refused || e.Origin != "label" {
			t.Errorf("refusal %+v", e)
		}
	}
	return lines, refused
}

// TestLabelsWanted: what labels ask for, and what is refused before the policy is asked.
func TestLabelsWanted(t *testing.T) {
	lines, refused := askedFor(t, labelled("web-1", map[string]string{
		"gopipework.eth1": "brtest 192.168.1.2/24", "gopipework.lan0": "dummy 192.168.1.2/24", "other.eth1": "nothing", "gopipework": "nothing",
	}))
	if got, want := strings.Join(lines, "|"), "brtest -i eth1 docker:web-1 192.168.1.2/24|dummy -i lan0 docker:web-1 192.168.1.2/24"; got != want || len(refused) > 0 {
		t.Errorf("%q, %+v; want %q", got, refused, want)
	}
	for key, value := range map[string]string{
		"gopipework.lo":                   "brtest 192.168.1.2/24",
		"gopipework.":                     "brtest 192.168.1.2/24",
		"gopipework.a b":                  "brtest 192.168.1.2/24",
		"gopipework.eth%d":                "brtest 192.168.1.2/24",
		"gopipework.../../x":              "brtest 192.168.1.2/24",
		"gopipework.all":                  "brtest 192.168.1.2/24",
		"gopipework.eth1\n":               "brtest 192.168.1.2/24",
		"gopipework.sixteen-bytes-ab":     "brtest 192.168.1.2/24",
		"gopipework.\x1b[2J":              "brtest 192.168.1.2/24",
		"gopipework.\u009b2J":             "brtest 192.168.1.2/24",
		"gopipework.\u202ex":              "brtest 192.168.1.2/24",
		"gopipework." + megabyte:          "brtest 192.168.1.2/24",
		"gopipework.a1":                   megabyte,
		"gopipework.a2":                   "brtest " + strings.Repeat("192.168.1.2/24,", 60) + "192.168.1.3/24",
		"gopipework.a3":                   "brtest 192.168.1.2/24\nbrtest 192.168.1.3/24",
		"gopipework.a4":                   "a: &a [*a, *a]",
		"gopipework.a5":                   "brtest 10.0.0.1/24",
		"gopipework.a6":                   strings.Repeat("'\x07", 300),
		"gopipework.eth1/../../../../tmp": "brtest 192.168.1.2/24",
	} {
		lines, refused := askedFor(t, labelled("web-1", map[string]string{key: value}))
		if len(lines) != 0 || len(refused) != 1 {
			t.Errorf("%.60q=%.60q: lines %q, refused %+v", key, value, lines, refused)
		}
	}
	many := map[string]string{}
	for i := range 1000 {
		many["gopipework.e"+strconv.Itoa(i)] = megabyte
	}
	begin := time.Now()
	if lines, refused := askedFor(t, labelled("web-1", many)); len(lines) != 0 || len(refused) != 1 {
		t.Errorf("1000 labels: %q, %d refusals", lines, len(refused))
	}
	t.Logf("1000 labels of a megabyte each: %v", time.Since(begin))
}

var megabyte = strings.Repeat("brtest 192.168.1.2/24 ", 1<<20/22)

// TestLabelsOfOthers: of two containers that ask for one address, the older one has it, if
// both run or none does. What a stopped one asks for stays, and so do its refusals.
func TestLabelsOfOthers(t *testing.T) {
	one, two := labelled("web-1", map[string]string{"gopipework.eth1": "brtest 192.168.1.2/24"}), labelled("web-2", map[string]string{"gopipework.eth1": "brtest 192.168.1.2/24"})
	one.Created, two.Created = time.Unix(2, 0), time.Unix(1, 0)
	lines, refused := askedFor(t, one, two)
	if len(lines) != 1 || !strings.Contains(lines[0], "web-2") || len(refused) != 1 || refused[0].Reason != "docker:web-2 has 192.168.1.2 on brtest already" {
		t.Errorf("%q, %+v", lines, refused)
	}
	two.Running = false
	if lines, refused := askedFor(t, one, two); len(lines) != 1 || !strings.Contains(lines[0], "web-1") || len(refused) != 1 {
		t.Errorf("%q, %+v", lines, refused)
	}
	one.Labels["gopipework.eth2"], one.Running = "brtest 10.0.0.1/24", false
	if lines, refused := askedFor(t, one); len(lines) != 1 || len(refused) != 1 {
		t.Errorf("%q, %+v", lines, refused)
	}
	three := labelled("db", map[string]string{"gopipework.eth1": "brtest 192.168.1.2/24"})
	three.Member = policy.Member{Of: policy.Compose, Group: "shop", Name: "db"}
	if lines, refused := askedFor(t, three); len(lines) != 1 {
		t.Errorf("%q, %+v", lines, refused)
	}
}

// FuzzLabel: whatever is in a label, it is refused, or the line that is carried out says
// exactly what the policy was asked about.
func FuzzLabel(f *testing.F) {
	for _, seed := range []string{
		"brtest 192.168.1.2/24", "brtest 192.168.1.2/24@192.168.1.1 02:00:00:00:00:01@10,20-30", "brtest dhcp:default-route=no --mtu 1400",
		"'brtest' \"192.168.1.2/24\"", "brtest 192.168.1.2/24 --route '10.0.0.0/8,via 192.168.1.1'", "-- brtest 0/0", "brtest 192.168.1.2/24\\\n --nodad", "--mtu=1400 brtest 2001:db8:1::2/64",
	} {
		f.Add("eth1", seed)
	}
	p, err := policy.Parse("p.yaml", []byte(wholePolicy))
	if err != nil {
		f.Fatal(err)
	}
	g := labelGrammar()
	f.Fuzz(func(t *testing.T, ifName, value string) {
		entries, refused := labels.Wanted([]labels.Container{labelled("web-1", map[string]string{labels.Prefix + ifName: value})}, p, g)
		if len(entries)+len(refused) != 1 {
			t.Fatalf("%d entries, %d refusals", len(entries), len(refused))
		}
		for _, e := range refused {
			if len(e.Reason) > 400 || len(e.Line) > 1500 {
				t.Errorf("a refusal of %d and %d bytes", len(e.Reason), len(e.Line))
			}
		}
		for _, e := range entries {
			again, err := grammar().Attach(e.Words)
			if err != nil {
				t.Fatalf("%q: %v", e.Words, err)
			}
			if again.IfName != ifName || again.Guest != "docker:web-1" || again.HostName != "" || again.ForcePhys || again.DNS.String() != "" {
				t.Errorf("%q: %+v", e.Words, again)
			}
			r := policy.Request{Spec: again}
			if d := p.Decide(policy.Guest{Name: "web-1"}, r); !d.Allowed {
				t.Errorf("%q: %s", e.Words, d.Reason)
			}
		}
	})
}
