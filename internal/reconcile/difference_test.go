package reconcile

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/gopipework/gopipework/attach"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/guests"
	"github.com/gopipework/gopipework/internal/spec"
	"github.com/gopipework/gopipework/internal/topology"
)

// The guests of these tests. c is the same guest as a, under another word.
var found = map[string]Guest{
	"a": {GuestInfo: attach.GuestInfo{Runtime: "netns", ID: "a", Name: "a", NetNS: 1}},
	"b": {GuestInfo: attach.GuestInfo{Runtime: "netns", ID: "b", Name: "b", NetNS: 2}},
	"c": {GuestInfo: attach.GuestInfo{Runtime: "docker", ID: "0123456789ab", Name: "c", NetNS: 1}},

	"stopped":        {Err: fault.New(fault.Gone, "find guest", `"stopped"`, "it has exited, with code 3")},
	"nobody":         {Err: fault.New(fault.NotFound, "find guest", `"nobody"`, "no such container")},
	"fedcba98765432": {Err: fault.New(fault.NotFound, "find guest", `"fedcba98765432"`, "no such container")},
	"unasked":        {Err: fault.New(fault.Timeout, "find guest", `"unasked"`, "Docker: no answer within 5s")},
}

// entry is a line of a file: a few of its flags, HOSTIF GUEST ADDRESS and a MAC with a VLAN.
func entry(t *testing.T, n int, line string) topology.Entry {
	t.Helper()
	e := topology.Entry{Pos: topology.Pos{File: "lab.yaml", Line: n, Column: 5}, Words: strings.Fields(line)}
	var w attach.Words
	flags := map[string]*string{"-i": &w.IfName, "-l": &w.HostName, "--mtu": &w.MTU, "--rate-out": &w.Shape.RateOut, "--mode": &w.Mode}
	words := e.Words
	for len(words) > 1 && flags[words[0]] != nil {
		*flags[words[0]], words = words[1], words[2:]
	}
	if words[0] == "link" {
		e.Words = words[1:]
		s, err := attach.ParseLink(attach.LinkWords{Ends: [2]attach.EndWords{
			{Guest: words[1], IfName: "to-" + words[3], Address: words[2]}, {Guest: words[3], IfName: "to-" + words[1], Address: words[4]}}})
		if err != nil {
			t.Fatal(err)
		}
		e.Link = &s
		return e
	}
	words = append(words, "")
	w.HostIF, w.Guest, w.Address, w.MAC = words[0], words[1], words[2], words[3]
	s, err := attach.Parse(w)
	if err != nil {
		t.Fatal(err)
	}
	e.Attach = &s
	return e
}

// there is an attachment to br1, as the first line of a test makes it; changes are applied
// to it.
func there(guest, ifName, address string, changes ...func(*attach.Attachment)) attach.Attachment {
	a := attach.Attachment{
		Guest:     found[guest].GuestInfo,
		Interface: attach.Interface{Name: ifName, Kind: "veth", MAC: "02:00:00:00:00:01", MTU: 1500, Addresses: []netip.Prefix{}, Gateway: []netip.Addr{}},
		Host:      attach.Host{Kind: "bridge", Name: "br1", Port: "v" + ifName + guest},
		State:     attach.Complete, Origin: "file:lab",
	}
	if address != "" {
		a.Interface.Addresses = append(a.Interface.Addresses, netip.MustParsePrefix(address))
	}
	for _, change := range changes {
		change(&a)
	}
	return a
}

func origin(o attach.Origin) func(*attach.Attachment) {
	return func(a *attach.Attachment) { a.Origin = o }
}

func guest(runtime, id, name string) func(*attach.Attachment) {
	return func(a *attach.Attachment) { a.Guest.Runtime, a.Guest.ID, a.Guest.Name = runtime, id, name }
}

func linked(to, port string) func(*attach.Attachment) {
	return func(a *attach.Attachment) { a.Host = attach.Host{Kind: "veth", Name: "netns:" + to, Port: port} }
}

func TestCompare(t *testing.T) {
	half := func(a *attach.Attachment) { a.State, a.Origin = attach.Half, "" }
	for name, tt := range map[string]struct {
		lines []string
		there []attach.Attachment
		want  []string // lines of the difference; " ask" is put after one that attach is asked about
	}{
		"nothing there": {[]string{"br1 a 10.0.0.1/24"}, nil, []string{"+ br1 a 10.0.0.1/24 (it is not there)"}},
		"as asked":      {[]string{"br1 a 10.0.0.1/24"}, []attach.Attachment{there("a", "eth1", "10.0.0.1/24")}, nil},
		"by its kind":   {[]string{"bridge:br1 a 10.0.0.1/24"}, []attach.Attachment{there("a", "eth1", "10.0.0.1/24")}, nil},
		"another name":  {[]string{"-i eth2 br1 a 10.0.0.1/24"}, []attach.Attachment{there("a", "eth2", "10.0.0.1/24")}, nil},
		"address": {[]string{"br1 a 10.0.0.2/24"}, []attach.Attachment{there("a", "eth1", "10.0.0.1/24")},
			[]string{"~ br1 a 10.0.0.2/24 (address 10.0.0.1/24 -> 10.0.0.2/24) ask"}},
		"no address any more": {[]string{"br1 a 0/0"}, []attach.Attachment{there("a", "eth1", "10.0.0.1/24")},
			[]string{"~ br1 a 0/0 (address 10.0.0.1/24 -> none) ask"}},
		"all that set can change": {[]string{"--mtu 1400 --rate-out 10mbit br1 a 10.0.0.2/24 @10"}, []attach.Attachment{there("a", "eth1", "10.0.0.1/24")},
			[]string{"~ --mtu 1400 --rate-out 10mbit br1 a 10.0.0.2/24 @10 (MTU 1500 -> 1400, address 10.0.0.1/24 -> 10.0.0.2/24, VLAN none -> 10, rate-out none -> 10mbit) ask"}},
		"gateway": {[]string{"br1 a 10.0.0.1/24@10.0.0.9"}, []attach.Attachment{there("a", "eth1", "10.0.0.1/24")},
			[]string{"~ br1 a 10.0.0.1/24@10.0.0.9 (gateway none -> 10.0.0.9, detached and attached again) ask"}},
		"MAC": {[]string{"br1 a 10.0.0.1/24 02:00:00:00:00:09"}, []attach.Attachment{there("a", "eth1", "10.0.0.1/24")},
			[]string{"~ br1 a 10.0.0.1/24 02:00:00:00:00:09 (MAC address 02:00:00:00:00:01 -> 02:00:00:00:00:09, detached and attached again) ask"}},
		"a rate that the file no longer has": {[]string{"br1 a 10.0.0.1/24"}, []attach.Attachment{there("a", "eth1", "10.0.0.1/24", func(a *attach.Attachment) { a.Shaping = &spec.Shaping{RateOut: 8e6} })},
			[]string{"~ br1 a 10.0.0.1/24 (rate-out 8mbit -> none) ask"}},
		"another bridge": {[]string{"br2 a 10.0.0.1/24"}, []attach.Attachment{there("a", "eth1", "10.0.0.1/24")},
			[]string{"~ br2 a 10.0.0.1/24 () ask"}},
		"routes that a list does not show": {[]string{"br1 a 10.0.0.1/24"}, []attach.Attachment{there("a", "eth1", "10.0.0.1/24", func(a *attach.Attachment) { a.More = []string{"routes"} })},
			[]string{"~ br1 a 10.0.0.1/24 () ask"}},
		"cut off": {[]string{"br1 a 10.0.0.1/24"}, []attach.Attachment{there("a", "eth1", "10.0.0.1/24", func(a *attach.Attachment) { a.Cut = []string{"eth1 is down"} })},
			[]string{"~ br1 a 10.0.0.1/24 () ask"}},
		"by DHCP":   {[]string{"br1 a dhcp"}, []attach.Attachment{there("a", "eth1", "10.0.0.1/24")}, []string{"~ br1 a dhcp () ask"}},
		"half made": {[]string{"br1 a 10.0.0.1/24"}, []attach.Attachment{there("a", "eth1", "", half)}, []string{"+ br1 a 10.0.0.1/24 (a killed run left it half made)"}},
		"a typed line": {[]string{"br1 a 10.0.0.1/24"}, []attach.Attachment{there("a", "eth1", "10.0.0.1/24", origin("line"))},
			[]string{"~ br1 a 10.0.0.1/24 (asked for by line -> file:lab)"}},
		"another file": {[]string{"br1 a 10.0.0.1/24"}, []attach.Attachment{there("a", "eth1", "10.0.0.1/24", origin("file:other"))},
			[]string{"! br1 a 10.0.0.1/24 (attach a: eth1 exists already, and belongs to file:other)"}},
		"a guest that was restarted": {[]string{"br1 a 10.0.0.1/24"}, []attach.Attachment{there("a", "eth1", "10.0.0.1/24", func(a *attach.Attachment) { a.Guest.NetNS = 7 })},
			[]string{"- detach netns:a eth1 (left from before the guest was restarted)", "+ br1 a 10.0.0.1/24 (the guest was restarted)"}},
		"in the file, and its guest cannot be found": {[]string{"br1 nobody 10.0.0.1/24"}, []attach.Attachment{
			there("b", "eth1", "10.0.0.1/24", guest("docker", "fedcba987654", "nobody")), there("b", "eth2", "10.0.0.2/24", guest("docker", "fedcba987654", "nobody")),
		}, []string{"- detach docker:nobody eth2 (gone from the file)", "? br1 nobody 10.0.0.1/24 (pending: no such container)"}},
		"in the file by ID, and its guest cannot be found": {[]string{"br1 fedcba98765432 10.0.0.1/24"}, []attach.Attachment{
			there("b", "eth1", "10.0.0.1/24", guest("docker", "fedcba987654", "nobody")),
		}, []string{"? br1 fedcba98765432 10.0.0.1/24 (pending: no such container)"}},
		"in the file, and the guest of the other end cannot be found": {[]string{"link a 10.1.0.1/30 nobody 10.1.0.2/30"},
			[]attach.Attachment{there("a", "to-nobody", "10.1.0.1/30", linked("nobody", "to-a")), there("b", "to-a", "10.1.0.2/30", linked("a", "to-nobody"), guest("netns", "nobody", "nobody"))},
			[]string{"? link a 10.1.0.1/30 nobody 10.1.0.2/30 (pending: no such container)"}},
		"guests that do not run": {[]string{"br1 stopped 10.0.0.1/24", "br1 nobody 10.0.0.2/24", "link a 10.1.0.1/30 nobody 10.1.0.2/30"}, nil,
			[]string{"? br1 stopped 10.0.0.1/24 (pending: it has exited, with code 3)", "? br1 nobody 10.0.0.2/24 (pending: no such container)",
				"? link a 10.1.0.1/30 nobody 10.1.0.2/30 (pending: no such container)"}},
		"gone from the file": {[]string{"br1 a 10.0.0.1/24"}, []attach.Attachment{
			there("b", "eth1", "10.0.0.2/24"), there("a", "eth1", "10.0.0.1/24"), there("b", "eth2", "10.0.0.3/24", origin("line")), there("b", "eth3", "", origin("file:other")),
		}, []string{"- detach netns:b eth1 (gone from the file)"}},
		"a guest that nobody was asked for": {[]string{"br1 unasked 10.0.0.1/24"}, []attach.Attachment{there("b", "eth1", "10.0.0.2/24")},
			[]string{`! br1 unasked 10.0.0.1/24 (find guest "unasked": Docker: no answer within 5s)`}},
		"an orphan": {nil, []attach.Attachment{there("b", "eth1", "", func(a *attach.Attachment) { a.State, a.Guest.NetNS = attach.Orphan, 0 })}, nil},
		"a link":    {[]string{"link a 10.1.0.1/30 b 10.1.0.2/30"}, nil, []string{"+ link a 10.1.0.1/30 b 10.1.0.2/30 (it is not there)"}},
		"a link as asked": {[]string{"link a 10.1.0.1/30 b 10.1.0.2/30"},
			[]attach.Attachment{there("a", "to-b", "10.1.0.1/30", linked("b", "to-a")), there("b", "to-a", "10.1.0.2/30", linked("a", "to-b"))}, nil},
		"a link that was taken over at one end": {[]string{"link a 10.1.0.1/30 b 10.1.0.2/30"},
			[]attach.Attachment{there("a", "to-b", "10.1.0.1/30", linked("b", "to-a")), there("b", "to-a", "10.1.0.2/30", linked("a", "to-b"), origin("line"))},
			[]string{"~ link a 10.1.0.1/30 b 10.1.0.2/30 (asked for by line -> file:lab)"}},
		"an end of a link": {[]string{"link a 10.1.0.1/30 b 10.1.0.2/30"},
			[]attach.Attachment{there("a", "to-b", "10.1.0.5/30", linked("b", "to-a")), there("b", "to-a", "10.1.0.2/30", linked("a", "to-b"))},
			[]string{"~ link a 10.1.0.1/30 b 10.1.0.2/30 (address 10.1.0.5/30 -> 10.1.0.1/30) ask"}},
		"both ends of a link": {[]string{"link a 10.1.0.1/30 b 10.1.0.2/30"},
			[]attach.Attachment{there("a", "to-b", "10.1.0.5/30", linked("b", "to-a")), there("b", "to-a", "10.1.0.6/30", linked("a", "to-b"))},
			[]string{"~ link a 10.1.0.1/30 b 10.1.0.2/30 (address 10.1.0.5/30 -> 10.1.0.1/30, address 10.1.0.6/30 -> 10.1.0.2/30, detached and attached again) ask"}},
		"a link to somebody else": {[]string{"link a 10.1.0.1/30 b 10.1.0.2/30"},
			[]attach.Attachment{there("a", "to-b", "10.1.0.1/30", linked("z", "to-a"))},
			[]string{"~ link a 10.1.0.1/30 b 10.1.0.2/30 (link to another guest -> a and b, detached and attached again)"}},
		"a link whose other guest was restarted": {[]string{"link a 10.1.0.1/30 b 10.1.0.2/30"},
			[]attach.Attachment{there("a", "to-b", "10.1.0.1/30", linked("b", "to-a")), there("b", "to-a", "10.1.0.2/30", linked("a", "to-b"), func(a *attach.Attachment) { a.Guest.NetNS = 7 })},
			[]string{"~ link a 10.1.0.1/30 b 10.1.0.2/30 (link to another guest -> a and b, detached and attached again)"}},
		"a link that is gone from the file": {nil,
			[]attach.Attachment{there("a", "to-b", "10.1.0.1/30", linked("b", "to-a")), there("b", "to-a", "10.1.0.2/30", linked("a", "to-b"))},
			[]string{"- detach netns:a to-b (gone from the file)"}},
	} {
		t.Run(name, func(t *testing.T) {
			w := Wanted{Origin: "file:lab", Guests: found}
			for n, l := range tt.lines {
				w.Entries = append(w.Entries, entry(t, n+2, l))
			}
			d, err := Compare(w, tt.there)
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
			entries := len(d.Items) - d.Count(Remove)
			if d.Same != len(tt.lines)-entries {
				t.Errorf("%d entries are the same, of %d with %d that differ", d.Same, len(tt.lines), entries)
			}
		})
	}
}

// TestCompareTwoWords: two words for one guest are a conflict, which tells both places.
func TestCompareTwoWords(t *testing.T) {
	w := Wanted{Origin: "file:lab", Guests: found, Entries: []topology.Entry{entry(t, 2, "br1 a 10.0.0.1/24"), entry(t, 3, "br1 c 10.0.0.2/24")}}
	_, err := Compare(w, nil)
	if fault.CodeOf(err) != fault.Conflict || !strings.Contains(err.Error(), "lab.yaml:3:5") || !strings.Contains(err.Error(), "lab.yaml:2:5") {
		t.Errorf("got %v", err)
	}
}

// TestSetFor: a change in place asks for what differs and for nothing else.
func TestSetFor(t *testing.T) {
	s := entry(t, 1, "--mtu 1400 br1 a 10.0.0.2/24").Attach
	a := there("a", "eth1", "10.0.0.2/24")
	what, _ := differ(*s, a)
	set, ok := setFor(*s, a, what)
	if !ok || set.MTU != 1400 || set.HasAddrs || set.VLAN != "" || set.Shape != (spec.Reshape{}) || set.IfName != "eth1" || set.Guest != "a" {
		t.Errorf("got %+v, %v", set, ok)
	}
}

// TestEntries: what a file says about a bridge is part of the lines that are plugged into
// it, and what no attach can do is refused.
func TestEntries(t *testing.T) {
	f := topology.File{
		Bridges: []topology.Bridge{{Name: "br1", MTU: 1400, VLANFiltering: true}, {Name: "br9"}},
		Entries: []topology.Entry{entry(t, 5, "br1 a 10.0.0.1/24"), entry(t, 6, "--mtu 1300 br1 b 10.0.0.2/24"), entry(t, 7, "br2 b 10.0.0.3/24")},
	}
	got, warnings, err := Entries(f)
	if err != nil || len(warnings) != 1 || !strings.Contains(warnings[0], "br9") {
		t.Errorf("warnings %q, %v", warnings, err)
	}
	for n, want := range []int{1400, 1300, 0} {
		if s := got[n].Attach; s.MTU != want || s.VLANFiltering != (n < 2) {
			t.Errorf("entry %d: MTU %d, VLAN filtering %v", n, s.MTU, s.VLANFiltering)
		}
	}
	if f.Entries[0].Attach.MTU != 0 {
		t.Error("the file itself was changed")
	}
	b := topology.Bridge{Pos: topology.Pos{File: "lab.yaml", Line: 4, Column: 3}, Name: "br1", Force: true}
	if _, _, err := Entries(topology.File{Bridges: []topology.Bridge{b}}); fault.CodeOf(err) != fault.Invalid || !strings.Contains(err.Error(), "lab.yaml:4:3") {
		t.Errorf("force without an uplink: %v", err)
	}
}

// TestCause: a pending entry tells why, and not what was being done.
func TestCause(t *testing.T) {
	if got := cause(fault.New(fault.Gone, "find guest", "x", "it is dead")); got != "it is dead" {
		t.Error(got)
	}
	if got := cause(errors.New("other")); got != "other" {
		t.Error(got)
	}
}

// TestCompareLabels: a label takes over nothing, and holds back neither what root asks for
// nor what somebody gives up.
func TestCompareLabels(t *testing.T) {
	label := Wanted{Origin: attach.OriginLabel, Entries: []topology.Entry{entry(t, 1, "br1 a 10.0.0.1/24")}, Guests: found}
	keep := Wanted{Origin: attach.OriginKeep, Guests: found}
	both := Wanted{Origin: attach.OriginKeep, Entries: label.Entries, Guests: found}
	for name, tt := range map[string]struct {
		want  []Wanted
		there []attach.Attachment
		items string
	}{
		"nothing there":        {[]Wanted{label, keep}, nil, "make label"},
		"as asked":             {[]Wanted{label, keep}, []attach.Attachment{there("a", "eth1", "10.0.0.1/24", origin("label"))}, ""},
		"no longer asked for":  {[]Wanted{{Origin: attach.OriginLabel, Guests: found}}, []attach.Attachment{there("a", "eth1", "10.0.0.1/24", origin("label"))}, "remove label"},
		"of a line":            {[]Wanted{label, keep}, []attach.Attachment{there("a", "eth1", "10.0.0.1/24", origin("line"))}, "refused label"},
		"of a file":            {[]Wanted{label, keep}, []attach.Attachment{there("a", "eth1", "10.0.0.1/24")}, "refused label"},
		"kept too, of a label": {[]Wanted{label, both}, []attach.Attachment{there("a", "eth1", "10.0.0.1/24", origin("label"))}, "change keep, refused label"},
		"kept too, and kept":   {[]Wanted{label, both}, []attach.Attachment{there("a", "eth1", "10.0.0.1/24", origin("keep"))}, "refused label"},
		"kept no longer":       {[]Wanted{label, keep}, []attach.Attachment{there("a", "eth1", "10.0.0.1/24", origin("keep"))}, "remove keep, refused label"},
	} {
		var items []string
		for _, i := range CompareEach(tt.want, tt.there).Items {
			items = append(items, string(i.Action)+" "+string(i.Origin))
			if i.Action == Change && i.Again {
				t.Errorf("%s: %s is attached again", name, i)
			}
		}
		if got := strings.Join(items, ", "); got != tt.items {
			t.Errorf("%s: %s, want %s", name, got, tt.items)
		}
	}
}

// TestCompareUnasked: a guest that cannot be found because Docker cannot be asked may be the
// one that an attachment is in, under another name. So nothing of Docker's is removed.
func TestCompareUnasked(t *testing.T) {
	docker, named := there("a", "eth1", "10.0.0.1/24"), there("b", "eth1", "10.0.0.2/24")
	docker.Guest.Runtime, named.Guest.Runtime = "docker", "netns"
	docker.Origin, named.Origin = "file:lab", "file:lab"
	pending := fault.New(fault.NotFound, "find guest", "c", "%w, and %w", errors.New("no namespace"), guests.Unasked{Runtime: "docker", Err: errors.New("it is down")})
	w := Wanted{Origin: "file:lab", Entries: []topology.Entry{entry(t, 2, "br1 c 10.0.0.1/24")}, Guests: map[string]Guest{"c": {Err: pending}}}
	d, err := Compare(w, []attach.Attachment{docker, named})
	if err != nil || len(d.Items) != 2 || d.Items[0].Action != Remove || d.Items[0].There[0].Guest.Runtime != "netns" || d.Items[1].Action != Pending {
		t.Errorf("got %+v, %v", d, err)
	}
}
