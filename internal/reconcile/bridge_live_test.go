package reconcile

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/gopipework/gopipework/attach"
	testhost "github.com/gopipework/gopipework/e2e/host"
	"github.com/gopipework/gopipework/e2e/program"
	"github.com/gopipework/gopipework/internal/topology"
)

// TestBridgesLive makes what a file says about a bridge, changes it and removes it on a real
// kernel: each time the same again is no difference, and undoing it is as before.
func TestBridgesLive(t *testing.T) {
	testhost.NeedRoot(t)
	ns := testhost.NewNamespace(t)
	opt := attach.Options{HostNS: ns, Origin: "file:lab"}
	h := Host{Options: opt}
	in := func(args ...string) string {
		t.Helper()
		cmd := program.Command("nsenter", append([]string{"--net=/proc/self/fd/3"}, args...)...)
		cmd.ExtraFiles = append(cmd.ExtraFiles, ns)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%q: %v\n%s", args, err, out)
		}
		return string(out)
	}
	ip := func(args ...string) string { t.Helper(); return in(append([]string{"ip"}, args...)...) }
	in("sh", "-c", "echo 0 >/proc/sys/net/ipv6/conf/default/accept_dad") // spares the wait
	for _, card := range []string{"eth1", "eth2"} {
		ip("link", "add", card, "type", "veth", "peer", "name", card+"wire")
		ip("link", "set", card+"wire", "up")
	}
	state := func() string {
		t.Helper()
		r, err := attach.List(t.Context(), nil, opt)
		if err != nil {
			t.Fatal(err)
		}
		var lines []string
		for _, b := range r.Bridges {
			lines = append(lines, strings.Join([]string{b.Name, string(b.Origin), join(b), b.Uplink}, " "))
		}
		for line := range strings.Lines(ip("-br", "link")) {
			f := strings.Fields(line) // the second word follows the carrier, of which the kernel tells late
			lines = append(lines, fmt.Sprint(f[0], " up: ", slices.Contains(strings.Split(strings.Trim(f[3], "<>"), ","), "UP")))
		}
		slices.Sort(lines)
		return strings.Join(lines, "\n")
	}
	compared := func(bridges ...topology.Bridge) Difference {
		t.Helper()
		entries, _, err := Entries(topology.File{Name: "lab", Bridges: bridges})
		if err != nil {
			t.Fatal(err)
		}
		there, err := attach.List(t.Context(), nil, opt)
		if err != nil {
			t.Fatal(err)
		}
		d, err := CompareAll([]Wanted{{Origin: "file:lab", Entries: entries}}, nil, there.Bridges...)
		if err == nil {
			err = h.Settle(t.Context(), &d)
		}
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	for _, step := range []struct {
		want    []topology.Bridge
		differs string
		has     string
	}{
		{[]topology.Bridge{wantBridge("10.0.0.1/24", "eth1")}, "+ bridge br1 address 10.0.0.1/24 uplink eth1 (it is not there)", "br1 file:lab 10.0.0.1/24 eth1"},
		{[]topology.Bridge{wantBridge("10.0.0.2/24", "2001:db8::2/64", "eth1")},
			"~ bridge br1 address 10.0.0.2/24,2001:db8::2/64 uplink eth1 (address 10.0.0.1/24 -> 10.0.0.2/24,2001:db8::2/64)", "br1 file:lab 10.0.0.2/24,2001:db8::2/64 eth1"},
		{[]topology.Bridge{wantBridge("10.0.0.2/24", "eth2")},
			"~ bridge br1 address 10.0.0.2/24 uplink eth2 (address 10.0.0.2/24,2001:db8::2/64 -> 10.0.0.2/24, uplink eth1 -> eth2)", "br1 file:lab 10.0.0.2/24 eth2"},
		{nil, "- bridge br1 (gone from the file)", ""},
	} {
		before := state()
		for _, undo := range []bool{true, false} { // undo it, and do it again
			d := compared(step.want...)
			if len(d.Items) != 1 || d.Items[0].String() != step.differs {
				t.Fatalf("%v, want %q", d.Items, step.differs)
			}
			back, lost, does := d.Items[0].Back(nil)
			if !does || lost != nil {
				t.Fatalf("how it is undone: %+v, %q, %v", back, lost, does)
			}
			h.Do(t.Context(), d, func(i *Item, o Outcome) {
				if o.Err != nil || !o.Changed {
					t.Fatalf("%s: changed = %v, %v", i, o.Changed, o.Err)
				}
			})
			if again := compared(step.want...); len(again.Items) != 0 {
				t.Fatalf("done twice: %v", again.Items)
			}
			if after := state(); step.has != "" && !strings.Contains(after, step.has+"\n") || step.has == "" && strings.Contains(after, "br1") {
				t.Fatalf("there is\n%s\nwant %q", after, step.has)
			}
			if !undo {
				continue
			}
			if lost := h.Undo(t.Context(), topology.Grammar{}, []Back{back}); lost != nil {
				t.Errorf("undone without %q", lost)
			}
			if after := state(); after != before {
				t.Errorf("undone, there is\n%s\nwant\n%s", after, before)
			}
		}
	}
}

func join(b attach.Bridge) string {
	var words []string
	for _, a := range b.Addresses {
		words = append(words, a.String())
	}
	return strings.Join(words, ",")
}

// TestBridgeRefusedLive: an uplink that cannot be taken is refused when the difference is
// made, before anything is changed, with the place in the file.
func TestBridgeRefusedLive(t *testing.T) {
	testhost.NeedRoot(t)
	h := Host{Options: attach.Options{HostNS: testhost.NewNamespace(t), Origin: "file:lab"}}
	entries, _, err := Entries(topology.File{Bridges: []topology.Bridge{wantBridge("lo")}})
	if err != nil {
		t.Fatal(err)
	}
	d, err := CompareAll([]Wanted{{Origin: "file:lab", Entries: entries}}, nil)
	if err == nil {
		err = h.Settle(t.Context(), &d)
	}
	if err != nil || len(d.Items) != 1 || d.Items[0].Action != Refused || !strings.Contains(d.Items[0].Reason, "loopback") {
		t.Fatalf("%v, %v", d.Items, err)
	}
	r, err := attach.List(t.Context(), nil, h.Options)
	if err != nil || len(r.Bridges) != 0 {
		t.Errorf("there is %+v, %v", r.Bridges, err)
	}
}
