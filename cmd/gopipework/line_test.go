package main

import (
	"bytes"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/gopipework/gopipework/internal/shell"
	"github.com/gopipework/gopipework/internal/topology"
)

var linesForAll = []string{
	"brtest web 192.168.1.2/24",
	"br1 -i lan0 -l x web 10.0.0.2/8,2001:db8::2/64@10.0.0.1,2001:db8::1 26:2e:71:98:60:8f@10,20-30 --mtu 1400 --nodad",
	"ovs1 web 0/0 @10t --sysctl ipv4.rp_filter=2 --sysctl ipv6.neigh.gc_stale_time=120 --isolated --antispoof --mirror docker:db:eth1,in --mirror web2:lan0 --vlan-filtering --no-firewall --rate-in 10mbit --rate-out 512kbit --loss 0.1% --delay 100ms --jitter 1.5ms",
	"macvlan:eth0 --mode private web dhcp:hostname=web1,timeout=20s --default keep --metric 700 --dns dhcp",
	"eth0 web 10.0.0.2/8@10.0.0.1 U:web --route '10.0.5.0/24,via 10.0.0.9' --route '10.0.6.0/24,via 10.0.0.9,metric 7' --source-routing --host-access --acd",
	"phys:mac:26:2e:71:98:60:8f web dhcp6 --force-phys",
	"--direct-phys eth0 web slaac",
	"wireguard:/etc/wireguard/wg0.conf web --mtu 1400 --default keep",
	"wireguard:/etc/wireguard/wg0.conf web -a 4 --dns none",
	"wireguard:/etc/wireguard/wg0.conf -i wg0 web 10.8.0.2/24 --metric 50",
	"host:tap0 'guest with space' 10.9.0.2/30 --host-addr 10.9.0.1/30 --verify",
	"ipoib:ib0 /run/netns/x 10.0.0.2/8 @8001 --dns 10.0.0.1,2001:db8::1",
	"br1 web udhcpc-f",
	"br1 web 10.0.0.2/8 --rate-in none --vrf red,table=10",
	"br1 web 10.0.0.2/8 --uplink vxlan:100,local=10.9.0.1,port=8472,peer=10.9.0.2,peer=10.9.0.3",
}

// FuzzLine: a line that is read and written, by itself and in a file, is the same line.
func FuzzLine(f *testing.F) {
	for _, line := range linesForAll {
		f.Add(line)
	}
	g := grammar()
	f.Fuzz(func(t *testing.T, line string) {
		split, err := shell.Split(line)
		if err != nil {
			return
		}
		var words []string
		for _, w := range split {
			words = append(words, w.Text)
		}
		want, err := g.Attach(words)
		if err != nil {
			return
		}
		words = attachLine(want)
		got, err := g.Attach(words)
		if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{})); err != nil || diff != "" {
			t.Fatalf("%q, written as %q: %v: %s", line, words, err, diff)
		}
		if strings.ContainsFunc(strings.Join(words, ""), func(r rune) bool { return r < ' ' || r > '~' }) {
			return // a file refuses some of these
		}
		text := topology.Draft{Comments: []string{line}, Entries: []topology.DraftEntry{{Words: words, Comments: []string{line}}}}.Text()
		file, err := topology.Parse("f", text, g)
		if err != nil || len(file.Entries) != 1 || !slices.Equal(file.Entries[0].Words, words) {
			t.Errorf("%q in a file: %v, %+v: %s", line, err, file.Entries, text)
		}
	})
}

// TestLines: the seeds of FuzzLine are lines, with every flag there is.
func TestLines(t *testing.T) {
	for _, line := range linesForAll {
		words, err := shell.Split(line)
		if err != nil {
			t.Fatal(err)
		}
		var texts []string
		for _, w := range words {
			texts = append(texts, w.Text)
		}
		if _, err := grammar().Attach(texts); err != nil {
			t.Errorf("%s: %v", line, err)
		}
	}
	all := strings.Join(linesForAll, " ")
	for _, f := range grammar().AttachFlags {
		if !strings.Contains(all, f.Typed) {
			t.Errorf("no line has %s", f.Typed)
		}
	}
}

// TestEdit: an entry that is added or removed leaves all else in a file as it is, and
// what cannot be edited so is refused.
func TestEdit(t *testing.T) {
	const line = "br1 web 10.0.0.2/24"
	words := strings.Fields(line)
	for _, test := range []struct{ without, with string }{
		{"", "attachments:\n  - " + line + "\n"},
		{"# head\nname: lab # x\n", "# head\nname: lab # x\nattachments:\n  - " + line + "\n"},
		{"attachments: # all\n\n# end\n", "attachments: # all\n  - " + line + "\n\n# end\n"},
		{"attachments:\n# first\n- br1 db 10.0.0.3/24 # db\n\n# about links\nlinks: []\n", "attachments:\n# first\n- br1 db 10.0.0.3/24 # db\n- " + line + "\n\n# about links\nlinks: []\n"},
		{"attachments:\n    - {to: br1,\n       guest: db,\n       address: 10.0.0.3/24}\nlinks: []\n", "attachments:\n    - {to: br1,\n       guest: db,\n       address: 10.0.0.3/24}\n    - " + line + "\nlinks: []\n"},
		{"attachments:\n  - to: br1\n    guest: db\n    # its address\n    address: 10.0.0.3/24\n  # the end\n", "attachments:\n  - to: br1\n    guest: db\n    # its address\n    address: 10.0.0.3/24\n  - " + line + "\n  # the end\n"},
		{"attachments:\n  -\n    br1 db\n    10.0.0.3/24\nname: x\n", "attachments:\n  -\n    br1 db\n    10.0.0.3/24\n  - " + line + "\nname: x\n"},
	} {
		with, err := topology.Add([]byte(test.without), words)
		if err != nil || string(with) != test.with {
			t.Errorf("added to %q: %q, %v", test.without, with, err)
			continue
		}
		f, err := topology.Parse("f", with, grammar())
		if err != nil || len(f.Entries) == 0 {
			t.Errorf("%q: %v", with, err)
			continue
		}
		last := f.Entries[len(f.Entries)-1]
		got, err := topology.Remove(with, []topology.Pos{last.Pos})
		want := test.without
		if want == "" || !strings.Contains(want, "attachments") {
			want += "attachments:\n"
		}
		if err != nil || string(got) != want || !slices.Equal(last.Words, words) {
			t.Errorf("removed from %q: %q, %v", with, got, err)
		}
	}

	text := []byte("attachments:\n  - br1 a 10.0.0.3/24\n  # of b\n  -\n    # inside\n    to: br1\n    guest: b\n    address: 10.0.0.4/24\n\n  # of c\n  - br1 c 10.0.0.5/24\n")
	f, err := topology.Parse("f", text, grammar())
	if err != nil {
		t.Fatal(err)
	}
	got, err := topology.Remove(text, []topology.Pos{f.Entries[0].Pos, f.Entries[1].Pos})
	if want := "attachments:\n  # of b\n\n  # of c\n  - br1 c 10.0.0.5/24\n"; err != nil || string(got) != want {
		t.Errorf("removed the first two: %q, %v", got, err)
	}
	quoted := append(slices.Clone(words), "--route", "10.0.5.0/24,via 10.0.0.9", "--dns", "10.0.0.9")
	for _, text := range []string{"attachments: []\n", "attachments: [br1 db 10.0.0.3/24] # db\n"} {
		with, err := topology.Add([]byte(text), quoted)
		f, err2 := topology.Parse("f", with, grammar())
		if err != nil || err2 != nil || !bytes.Contains(with, []byte(line)) || !slices.Equal(f.Entries[0].Words, quoted) {
			t.Errorf("added to %q: %q, %v, %v", text, with, err, err2)
			continue
		}
		if _, err := topology.Remove(with, []topology.Pos{f.Entries[0].Pos}); err == nil {
			t.Errorf("removed from %q", with)
		}
	}
}

// TestRemoveSome: whichever entries are removed at once, the others stay, with what
// stands around them.
func TestRemoveSome(t *testing.T) {
	for _, text := range []string{
		"attachments:\n  - br1 a 10.0.0.3/24\n  - br1 b 10.0.0.4/24\n  - br1 c 10.0.0.5/24\n",
		"attachments:\n  - br1 a 10.0.0.3/24\n  - br1 b 10.0.0.4/24\n  - br1 c 10.0.0.5/24\n# about links\nlinks: []\n",
		"attachments:\n# of a\n- to: br1\n  guest: a\n  address: 10.0.0.3/24\n\n# of b\n-\n  # inside\n  {to: br1, guest: b,\n   address: 10.0.0.4/24}\n- br1 c\n  10.0.0.5/24 # c\n\nname: x\n",
	} {
		f, err := topology.Parse("f", []byte(text), grammar())
		if err != nil {
			t.Fatal(err)
		}
		for set := range 1 << len(f.Entries) {
			var places []topology.Pos
			var stay []string
			for i, e := range f.Entries {
				if set>>i&1 == 1 {
					places = append(places, e.Pos)
				} else {
					stay = append(stay, e.Attach.Guest)
				}
			}
			got, err := topology.Remove([]byte(text), places)
			left, err2 := topology.Parse("f", got, grammar())
			var guests []string
			for _, e := range left.Entries {
				guests = append(guests, e.Attach.Guest)
			}
			if err != nil || err2 != nil || !slices.Equal(guests, stay) {
				t.Errorf("removed all but %v from %q: %q, %v, %v", stay, text, got, err, err2)
			}
			for line := range strings.Lines(text) {
				if line[0] == '#' && !strings.Contains(string(got), line) {
					t.Errorf("removed all but %v from %q: the comment %q is gone: %q", stay, text, line, got)
				}
			}
		}
	}
}
