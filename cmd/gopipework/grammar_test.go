package main

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/shell"
	"github.com/gopipework/gopipework/internal/topology"
)

const wholeFile = `# the lab
name: lab                     # default: the file's name
bridges:
  brtest: {address: 192.168.1.1/24, mtu: 1500, uplink: eth1, vlan-filtering: true}
  brlan:
attachments:
  - brtest web 192.168.1.2/24@192.168.1.1                  # a line as typed
  - {to: brtest, guest: db, address: 192.168.1.3/24, as: eth1, vlan: 10, rate-out: 10mbit}
  - to: brlan
    guest: "netns:blue"
    address: [10.0.0.2/24, "2001:db8::2/64"]
    mac: 26:2e:71:98:60:8f
    host-name: blue0
    route: ["10.0.5.0/24,via 10.0.0.9", "10.0.6.0/24,via 10.0.0.9"]
    verify: true
    acd: false
  - >
    brtest
    --route '10.0.7.0/24,via 192.168.1.9'
    -i lan0 web 192.168.1.4/24
links:
  - web:to-db 10.8.0.1/30 db:to-web 10.8.0.2/30
  - {ends: [web:to-x 10.8.1.1/30, x:to-web 10.8.1.2/30], mtu: 1400}
`

// TestFile: a line and a map are read by what reads the command line.
func TestFile(t *testing.T) {
	f, err := topology.Parse("dir/other.yaml", []byte(wholeFile), grammar())
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, e := range f.Entries {
		lines = append(lines, fmt.Sprint(e.Pos.Line, ":", e.Pos.Column, " ", shell.Line(e.Words)))
	}
	want := []string{
		"7:5 brtest web 192.168.1.2/24@192.168.1.1",
		"8:5 brtest db 192.168.1.3/24 @10 -i eth1 --rate-out 10mbit",
		`9:5 brlan netns:blue 10.0.0.2/24,2001:db8::2/64 26:2e:71:98:60:8f -l blue0 --route "10.0.5.0/24,via 10.0.0.9" --route "10.0.6.0/24,via 10.0.0.9" --verify`,
		`17:5 brtest --route "10.0.7.0/24,via 192.168.1.9" -i lan0 web 192.168.1.4/24`,
		"22:5 web:to-db 10.8.0.1/30 db:to-web 10.8.0.2/30",
		"23:5 web:to-x 10.8.1.1/30 x:to-web 10.8.1.2/30 --mtu 1400",
	}
	if diff := cmp.Diff(want, lines); diff != "" {
		t.Error(diff)
	}
	if f.Name != "lab" || f.Entries[1].Attach.VLAN != "10" || len(f.Entries[2].Attach.Routes) != 2 || f.Entries[5].Link.Ends[0].MTU != 1400 {
		t.Errorf("%+v", f)
	}
	if b := f.Bridges; len(b) != 2 || b[0].MTU != 1500 || b[0].Uplink != "eth1" || !b[0].VLANFiltering || b[0].Pos.Line != 4 || b[1].Name != "brlan" {
		t.Errorf("%+v", b)
	}
	again, err := topology.Parse("dir/other.yaml", []byte("\ufeff"+strings.ReplaceAll(wholeFile, "\n", "\r\n")), grammar())
	if diff := cmp.Diff(f, again, cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{})); err != nil || diff != "" {
		t.Errorf("with a byte order mark and CRLF: %v: %s", err, diff)
	}
}

// TestEmptyFiles: in a file without entries nothing is wanted, and its name is its path's.
func TestEmptyFiles(t *testing.T) {
	for _, text := range []string{"", "\n", "# nothing\n", "---\n", "{}", "null", "attachments:\nlinks:\nbridges:\n", "attachments: []\n"} {
		f, err := topology.Parse("dir/lab.yaml", []byte(text), grammar())
		if err != nil || f.Name != "lab" || len(f.Entries) != 0 {
			t.Errorf("%q: %+v, %v", text, f, err)
		}
	}
}

// TestWrongFiles: what is wrong with a file is told with the place of the very word.
func TestWrongFiles(t *testing.T) {
	at := func(lines ...string) string { return "attachments:\n  - " + strings.Join(lines, "\n  - ") + "\n" }
	for _, test := range []struct{ text, want string }{
		{"attachmets: []\n", `1:1: read key "attachmets": a file has no such key; attachments`},
		{"name: lab\nwatch: 1\n", `2:1: read key "watch": a file has no such key; the keys are`},
		{"[]", "1:1: read a file: it is a list, and has to be a map"},
		{"name: [a]\n", "1:7: read name: it is a list"},
		{"name: a/b\n", `1:7: read name "a/b": a name is made of`},
		{"name: a\nname: b\n", `2:1: read key "name": it is in line 1 already`},
		{"bridges: [a]\n", "1:10: read bridges: it is a list, and has to be a map"},
		{"bridges:\n  br1: {adress: 10.0.0.1/24}\n", `2:9: read key "adress": a bridge has no such key; address`},
		{"bridges:\n  br1: {address: 10.0.0.0/24}\n", `2:18: read address "10.0.0.0/24": it is the subnet's network address`},
		{"bridges:\n  br1: {mtu: many}\n", `2:14: read MTU "many"`},
		{"bridges:\n  br1: {vlan-filtering: yes}\n", "2:25: read vlan-filtering: it is a word, and has to be true or false"},
		{"bridges:\n  this-name-is-too-long: {}\n", "2:3: read bridge"},
		{"attachments: br1 web 10.0.0.2/24\n", "1:14: read attachments: it is a word, and has to be a list"},
		{at("[br1, web]"), "2:5: read an entry: it is a list"},
		{at("br1 web 10.0.0.2"), `2:13: read address "10.0.0.2": it has no prefix length; 10.0.0.2/24`},
		{at("br1 web 10.0.0.2/24@10.0.0.2"), `2:13: read gateway "10.0.0.2": it is the guest's own address`},
		{at("br1 web 10.0.0.2/24 --mut 1400"), `2:25: read flag "--mut": gopipework attach has no such flag; gopipework br1 web`},
		{at("br1 web 10.0.0.2/24 --dry-run"), `2:25: read flag "--dry-run": it says how a command is run`},
		{at("br1 web 10.0.0.2/24 --timeout=3s"), `2:25: read flag "--timeout": it says how`},
		{at("br1 web 10.0.0.2/24 --help"), `2:25: read flag "--help"`},
		{at("br1 web"), `2:5: read words "br1 web"`},
		{at("br1 web $ADDR"), "2:13: read line: a shell would not take $ as it stands"},
		{at("br1 web 'unclosed"), "2:13: read line: the quote is not closed"},
		{at(`"br1 web 10.0.0.2/24\u0007"`), "2:5: read a line: it has a control character in it"},
		{at("gopipework br1 web 10.0.0.2/24"), "2:5: read line: an entry is what follows gopipework; br1 web 10.0.0.2/24"},
		{at("''"), "2:5: read line: it is empty"},
		{at("{to: br1, guest: web}"), `2:5: read an attachment: it has no key "address"`},
		{at("{to: br1, guest: web, address: 10.0.0.2/24, rate-Out: 1mbit}"), `2:49: read key "rate-Out": an attachment has no such key; rate-out`},
		{at("{to: br1, guest: web, address: 10.0.0.2/24, mtu: lots}"), `2:54: read MTU "lots"`},
		{at("{to: br1, guest: web, address: 10.0.0.2/24, mtu: [1, 2]}"), "2:54: read mtu: it is a list, and has to be a word"},
		{at("{to: br1, guest: web, address: 10.0.0.2/24, verify: 1}"), "2:57: read verify: it is a word, and has to be true or false"},
		{at("{to: br1, guest: web, address: 10.0.0.2/24, as: true}"), "2:53: read as: it is true or false, and has to be a word"},
		{at("{to: br1, guest: web, address: 10.0.0.2/24, as: }"), "2:53: read as: it is empty"},
		{at("{to: br1, guest: --all, address: 10.0.0.2/24}"), `2:22: read word "--all": it begins with a dash`},
		{at("br1 web 10.0.0.2/24", "br1 web 10.0.0.3/24"), "3:5: read interface name eth1: the entry in line 2 gives web one of that name already"},
		{at("br1 web 10.0.0.2/24", "br1 db 10.0.0.2/16"), "3:5: read address 10.0.0.2: the entry in line 2 has it already on br1"},
		{at("br1 -l x web 10.0.0.2/24", "br2 -l x db 10.0.0.2/16"), "3:5: read host interface name x: the entry in line 2 has it already on the host"},
		{at("host:x web 10.0.0.2/24", "br2 -l x db 10.0.0.2/16"), "3:5: read host interface name x"},
		{"bridges: {br1: {address: 10.0.0.1/8}}\n" + at("br1 web 10.0.0.1/24"), "3:5: read address 10.0.0.1: the entry in line 1 has it"},
		{at("br1 web 10.0.0.2/24") + "links: [web:eth1 10.8.0.1/30 db 10.8.0.2/30]\n", "3:9: read interface name eth1"},
		{"links: [web 10.8.0.1/30 db]\n", "1:9: read words"},
		{"links: [{ends: [web 10.8.0.1/30]}]\n", "1:16: read ends: it is a list, and has to be a list of two"},
		{"links: [{mtu: 1400}]\n", `1:9: read a link: it has no key "ends"`},
		{"links:\n  - {ends: [web 10.8.0.1/30, db 10.8.0.2], mtu: 1400}\n", `2:33: read address "10.8.0.2"`},
		// YAML itself.
		{"attachments:\n\t- br1 web 10.0.0.2/24\n", "2:1: read YAML: a tab cannot indent a line; use spaces"},
		{"name: lab\nattachments: [\n  br1 web 10.0.0.2/24,\n  br1 db 10.0.0.3/24\nlinks: []\n", "2:1: read YAML: "},
		{"name: \"lab\nattachments: []\n", "1:1: read YAML: found unexpected end of stream"},
		{"name: lab\n  attachments: []\n", "2:3: read YAML: mapping values are not allowed in this context"},
		{"attachments: [\n  br1 web 10.0.0.2/24,\n]\nname: lab: x\n", "4:1: read YAML: mapping values"},
		{"a: b\n- c\n", "2:1: read YAML: did not find expected key"},
		{"name: lab\n---\nname: b\n", "2:1: read YAML: a second document begins here"},
		{"name: &a lab\n", "1:7: read YAML &a: anchors are not read"},
		{"name: &a lab\nattachments: *a\n", "2:14: read YAML *a: aliases are not read"},
		{"name: *a\n", "1:1: read YAML: unknown anchor 'a' referenced"},
		{"name: !!str lab\n", "1:7: read YAML !!str: tags are not read"},
		{"<<: {name: a}\n", `1:1: read key "<<"`},
		{"name: la\x1bb\n", "1:9: read YAML: a control character"},
		{"name: la\xffb\n", "1:9: read YAML: the file is not UTF-8 text"},
		{"name: lab\rbridges:\n", "1:10: read YAML: a carriage return without a line feed"},
		{"name: lab\u2028bridges:\n", "1:10: read YAML: a control character"},
		{"\xff\xfen\x00a\x00", "1:1: read YAML: the file is not UTF-8 text"},
	} {
		_, err := topology.Parse("f", []byte(test.text), grammar())
		var p *topology.Problems
		if !errors.As(err, &p) || fault.CodeOf(err) != fault.Invalid {
			t.Errorf("%q: %v", test.text, err)
			continue
		}
		var all []string
		for _, one := range p.List {
			all = append(all, fmt.Sprint(one, "; ", one.Hint()))
		}
		if got := strings.Join(all, "\n"); !strings.Contains(got, "f:"+test.want) {
			t.Errorf("%q:\n%s\nwithout %s", test.text, got, test.want)
		}
	}
}

// TestAllProblems: one reading tells all there is to mend, in the order of the file, and
// no more than a screenful.
func TestAllProblems(t *testing.T) {
	text := "links: [a]\nattachments:\n" + strings.Repeat("  - br1 web\n", 30) + "wrong: 1\nname: a/b\n"
	_, err := topology.Parse("f", []byte(text), grammar())
	var p *topology.Problems
	if !errors.As(err, &p) || len(p.List) != 20 || p.More != 13 {
		t.Fatalf("%+v", p)
	}
	for i, one := range p.List {
		if i > 0 && one.Line < p.List[i-1].Line {
			t.Errorf("%v comes after %v", one, p.List[i-1])
		}
	}
	var stderr strings.Builder
	(&output{stderr: &stderr}).fail(err)
	if lines := strings.Count(stderr.String(), "gopipework: f:"); lines != 21 || !strings.Contains(stderr.String(), "f: 13 more problems") {
		t.Error(stderr.String())
	}
}

// TestLargeFiles: what is too much is refused before it costs anything.
func TestLargeFiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "large.yaml")
	if err := os.WriteFile(path, make([]byte, topology.MaxFile+1), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := topology.Read(path, grammar()); fault.CodeOf(err) != fault.Invalid || !strings.Contains(err.Error(), "more than 1048576 bytes") {
		t.Error(err)
	}
	if _, err := topology.Read(t.TempDir(), grammar()); fault.CodeOf(err) != fault.Invalid {
		t.Error(err)
	}
	if _, err := topology.Read(path+"x", grammar()); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
	const (
		bound = 60 * time.Second // a tenth of a second here; a library that is not linear takes many minutes
		size  = topology.MaxFile / 4
	)
	for _, part := range []string{"[", "{a: ", "- ", "- &a [*a, *a]\n", "a: &a [*a]\n", "- |\n", "a:\n ", "\"", "# \n", ": ", "-\n", "- br1 web 10.0.0.2/24\n", "? ", "'\n", "[\n"} {
		start := time.Now()
		text := strings.Repeat(part, size/len(part))
		if _, err := topology.Parse("f", []byte(text), grammar()); err == nil && part != "# \n" {
			t.Errorf("%q is accepted", part)
		}
		if took := time.Since(start); took > bound {
			t.Errorf("%q takes %v", part, took)
		} else {
			t.Logf("%q: %v", part, took)
		}
	}
}

// FuzzFile: no file makes the reader panic, and each problem has its place in the file.
func FuzzFile(f *testing.F) {
	f.Add(wholeFile)
	for _, text := range []string{"", "a: &a [*a]", "attachments:\n- br1 web 10.0.0.2/24 @10\n", "\t", "- - -", "links: [{ends: [a 10.0.0.1/8, b 10.0.0.2/8]}]", "bridges: {br1: {address: [10.0.0.1/8]}}"} {
		f.Add(text)
	}
	g := grammar()
	f.Fuzz(func(t *testing.T, text string) {
		_, err := topology.Parse("f", []byte(text), g)
		var p *topology.Problems
		if !errors.As(err, &p) {
			return
		}
		lines := strings.Split(text, "\n")
		for _, one := range p.List {
			if one.Line < 1 || one.Line > len(lines) || one.Column < 1 || one.Column > len(lines[one.Line-1])+1 {
				t.Errorf("%q: %v is not in the file", text, one)
			}
		}
	})
}
