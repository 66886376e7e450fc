package reconcile

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/gopipework/gopipework/attach"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/topology"
)

// wantBridge is what a file says about bridge br1; words are addresses, and the uplink.
func wantBridge(words ...string) topology.Bridge {
	b := topology.Bridge{Pos: topology.Pos{File: "lab.yaml", Line: 2, Column: 3}, Name: "br1"}
	for _, w := range words {
		if p, err := netip.ParsePrefix(w); err == nil {
			b.Address = append(b.Address, p)
		} else {
			b.Uplink = w
		}
	}
	return b
}

// bridgeThere is bridge br1 of file:lab, with addresses of which the last is its own.
func bridgeThere(change ...func(*attach.Bridge)) attach.Bridge {
	b := attach.Bridge{Name: "br1", Kind: attach.KindBridge, Origin: "file:lab", Made: true, MTU: 1500, Uplink: "eth1",
		Addresses: []netip.Prefix{netip.MustParsePrefix("10.0.0.1/24")}, Own: []netip.Prefix{netip.MustParsePrefix("10.0.0.1/24")}}
	for _, c := range change {
		c(&b)
	}
	return b
}

// TestCompareBridges: what becomes of what the host has on a bridge.
func TestCompareBridges(t *testing.T) {
	other := func(b *attach.Bridge) { b.Origin = "file:other" }
	for name, tt := range map[string]struct {
		file  []topology.Bridge
		there []attach.Bridge
		want  []string
	}{
		"not there":      {[]topology.Bridge{wantBridge("10.0.0.1/24", "2001:db8::1/64", "eth1")}, nil, []string{"+ bridge br1 address 10.0.0.1/24,2001:db8::1/64 uplink eth1 (it is not there)"}},
		"an uplink only": {[]topology.Bridge{wantBridge("eth1")}, nil, []string{"+ bridge br1 uplink eth1 (it is not there)"}},
		"nothing on it":  {[]topology.Bridge{wantBridge()}, nil, nil},
		"as asked":       {[]topology.Bridge{wantBridge("10.0.0.1/24", "eth1")}, []attach.Bridge{bridgeThere()}, []string{"~ bridge br1 address 10.0.0.1/24 uplink eth1 () ask"}},
		"address": {[]topology.Bridge{wantBridge("10.0.0.2/24", "eth1")}, []attach.Bridge{bridgeThere()},
			[]string{"~ bridge br1 address 10.0.0.2/24 uplink eth1 (address 10.0.0.1/24 -> 10.0.0.2/24) ask"}},
		"an address of somebody else's too": {[]topology.Bridge{wantBridge("10.0.0.1/24", "eth1")},
			[]attach.Bridge{bridgeThere(func(b *attach.Bridge) { b.Addresses = append(b.Addresses, netip.MustParsePrefix("10.9.0.1/24")) })},
			[]string{"~ bridge br1 address 10.0.0.1/24 uplink eth1 () ask"}},
		"MTU": {[]topology.Bridge{func() topology.Bridge { b := wantBridge("10.0.0.1/24", "eth1"); b.MTU = 1400; return b }()}, []attach.Bridge{bridgeThere()},
			[]string{"~ bridge br1 address 10.0.0.1/24 uplink eth1 mtu 1400 (MTU 1500 -> 1400) ask"}},
		"another uplink, and no address": {[]topology.Bridge{wantBridge("eth2")}, []attach.Bridge{bridgeThere()},
			[]string{"~ bridge br1 uplink eth2 (address 10.0.0.1/24 -> none, uplink eth1 -> eth2) ask"}},
		"gone from the file":    {nil, []attach.Bridge{bridgeThere()}, []string{"- bridge br1 (gone from the file)"}},
		"nothing on it anymore": {[]topology.Bridge{wantBridge()}, []attach.Bridge{bridgeThere()}, []string{"- bridge br1 (gone from the file)"}},
		"another file's":        {nil, []attach.Bridge{bridgeThere(other)}, nil},
		"asked for by another file": {[]topology.Bridge{wantBridge("eth1")}, []attach.Bridge{bridgeThere(other)},
			[]string{"! bridge br1 uplink eth1 (set up bridge br1: it belongs to file:other)"}},
		"deleted by somebody": {[]topology.Bridge{wantBridge("eth1")}, []attach.Bridge{bridgeThere(func(b *attach.Bridge) { b.Kind = "" })},
			[]string{"+ bridge br1 uplink eth1 (somebody has deleted it)"}},
	} {
		t.Run(name, func(t *testing.T) {
			entries, _, err := Entries(topology.File{Name: "lab", Bridges: tt.file})
			if err != nil {
				t.Fatal(err)
			}
			d, err := CompareAll([]Wanted{{Origin: "file:lab", Entries: entries}}, nil, tt.there...)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, i := range d.Items {
				line := i.String()
				if i.ask {
					line += " ask"
				}
				got = append(got, line)
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(tt.want, "\n"))
			}
		})
	}
}

// TestTwoFilesOneBridge: two files that ask for something on one bridge are a conflict, which
// tells both places; what one of them does not ask for any more, the other gets.
func TestTwoFilesOneBridge(t *testing.T) {
	entries := func(b ...topology.Bridge) []topology.Entry {
		all, _, err := Entries(topology.File{Bridges: b})
		if err != nil {
			t.Fatal(err)
		}
		return all
	}
	_, err := CompareAll([]Wanted{{Origin: "file:lab", Entries: entries(wantBridge("eth1"))}, {Origin: "file:other", Entries: entries(wantBridge("eth2"))}}, nil)
	if fault.CodeOf(err) != fault.Conflict || strings.Count(err.Error(), "lab.yaml:2:3") != 2 {
		t.Errorf("two files: %v", err)
	}
	d, err := CompareAll([]Wanted{{Origin: "file:lab"}, {Origin: "file:other", Entries: entries(wantBridge("eth1"))}}, nil, bridgeThere())
	if err != nil || len(d.Items) != 2 || d.Items[0].String() != "- bridge br1 (gone from the file)" || d.Items[1].String() != "+ bridge br1 uplink eth1 (it belonged to file:lab)" {
		t.Errorf("handed over: %v, %v", d.Items, err)
	}
}
