package attach

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/gopipework/gopipework/e2e/table"
	"github.com/gopipework/gopipework/internal/build"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/guests"
	"github.com/gopipework/gopipework/internal/plan"
)

// A linkStage is two guests and the line that joins them.
type linkStage struct {
	hostNS *os.File
	guests [2]guests.Guest
	spec   LinkSpec
}

func newLinkStage(t *testing.T) linkStage {
	t.Helper()
	needRoot(t)
	st := linkStage{hostNS: newNamespace(t)}
	for i, name := range []string{"web", "db"} {
		g := docker(newNamespace(t), 0)
		inhabit(t, g.Namespace)
		g.Name, g.ID = name, strings.Repeat(fmt.Sprint(i+1), 12)
		st.guests[i] = g
	}
	var err error
	st.spec, err = ParseLink(LinkWords{NoDAD: true, Ends: [2]EndWords{
		{Guest: "web", Address: "10.0.0.1/30,2001:db8::1/64@10.0.0.2"},
		{Guest: "db", IfName: "to-web", Address: "10.0.0.2/30,2001:db8::2/64"},
	}})
	if err != nil {
		t.Fatal(err)
	}
	return st
}

func (st linkStage) inventory(t *testing.T) string {
	t.Helper()
	all := inventory(t, st.hostNS)
	for _, g := range st.guests {
		all += inventory(t, g.Namespace)
	}
	return all
}

// attempt is Link with the plan edited on the way.
func (st linkStage) attempt(t *testing.T, edit func(*build.Plan)) error {
	t.Helper()
	ctx := context.Background()
	m, err := plan.Open(ctx, st.hostNS, st.guests[:]...)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	f, err := observeLink(m, st.spec)
	if err != nil {
		t.Fatal(err)
	}
	p, err := planLink(st.spec, f)
	if err != nil {
		t.Fatal(err)
	}
	edit(&p)
	return p.Apply(ctx, m, untold)
}

func (st linkStage) link(t *testing.T, changed bool) {
	t.Helper()
	r, err := runLink(context.Background(), st.spec, st.guests, st.hostNS, Options{})
	if err != nil || r.Changed != changed {
		t.Fatalf("link: changed = %v, %v; want %v", r.Changed, err, changed)
	}
	all, err := runList(context.Background(), st.hostNS, nil)
	if err != nil {
		t.Fatal(err)
	}
	seen := ""
	for _, a := range all {
		if a.Guest.NetNS == st.guests[0].NetNS || a.Guest.NetNS == st.guests[1].NetNS {
			seen += fmt.Sprintf("%s %s %s %s %s\n", a.Guest.Word(), a.Interface.Name, a.Host.Name, a.Host.Port, a.State)
		}
	}
	if want := "docker:web eth1 docker:db to-web complete\ndocker:db to-web docker:web eth1 complete\n"; seen != want {
		t.Errorf("list says\n%swant\n%s", seen, want)
	}
}

// linkRow is the row of the table of kinds.
const linkRow = "link of two guests"

// TestLink: two guests talk, twice is once, and detaching either end deletes both.
func TestLink(t *testing.T) {
	st := newLinkStage(t)
	before := st.inventory(t)
	for i, g := range st.guests {
		st.link(t, true)
		st.link(t, false)
		table.Proven(t, linkRow, table.Attach, table.Twice, table.List)
		if !hears(st.guests[0].Namespace, "10.0.0.2") || !hears(st.guests[1].Namespace, "2001:db8::1") {
			t.Error("the guests do not hear each other")
		}
		table.Proven(t, linkRow, table.Traffic)
		if r, err := runDetach(context.Background(), Selection{}, g, st.hostNS, Options{}); err != nil || !r.Changed {
			t.Fatalf("detach of end %d: changed = %v, %v", i, r.Changed, err)
		}
		sameSoon(t, fmt.Sprintf("all after detach of end %d", i), before, func() string { return st.inventory(t) })
	}
	table.Proven(t, linkRow, table.Detach)
}

// TestLinkFails: a failure before any step leaves all three namespaces as they
// were; and what a run that is killed there leaves, the same line completes.
func TestLinkFails(t *testing.T) {
	st := newLinkStage(t)
	before := st.inventory(t)
	for n, last := 0, false; !last; n++ {
		stop := func(p *build.Plan) {
			last = n == len(p.Steps)
			p.Steps = append(p.Steps[:n:n], failStep{})
		}
		if err := st.attempt(t, stop); !errors.Is(err, errPlanned) || fault.CodeOf(err) == fault.Residue {
			t.Fatalf("step %d: %v", n, err)
		}
		sameSoon(t, fmt.Sprintf("all after failure at step %d", n), before, func() string { return st.inventory(t) })
		killed := func(p *build.Plan) {
			stop(p)
			for i := range p.Steps[:n] {
				p.Steps[i] = noUndo{p.Steps[i]}
			}
		}
		st.attempt(t, killed)
		if !last {
			if _, err := runGC(context.Background(), st.hostNS, Options{}); err != nil {
				t.Fatal(err)
			}
			sameSoon(t, fmt.Sprintf("all after gc, killed at step %d", n), before, func() string { return st.inventory(t) })
			st.attempt(t, killed)
		}
		st.link(t, !last)
		if _, err := runDetach(context.Background(), Selection{}, st.guests[n%2], st.hostNS, Options{}); err != nil {
			t.Fatal(err)
		}
		sameSoon(t, fmt.Sprintf("all after the same line and detach, killed at step %d", n), before, func() string { return st.inventory(t) })
		if t.Failed() {
			return
		}
	}
	table.Proven(t, linkRow, table.Undone)
}

// TestLinkRefused: what is in the way is said, and nothing is changed.
func TestLinkRefused(t *testing.T) {
	st := newLinkStage(t)
	third := docker(newNamespace(t), 0)
	third.Name, third.ID = "third", strings.Repeat("3", 12)
	st.link(t, true)
	before := st.inventory(t) + inventory(t, third.Namespace)
	for what, guests := range map[string][2]guests.Guest{
		"an end that is linked elsewhere": {st.guests[0], third},
		"one guest at both ends":          {third, third},
	} {
		if _, err := runLink(context.Background(), st.spec, guests, st.hostNS, Options{}); fault.CodeOf(err) != fault.Conflict {
			t.Errorf("%s: %v; want a conflict", what, err)
		}
	}
	other := parsed(t, "brtest web 10.0.0.1/30")
	if _, err := runAttach(context.Background(), other, st.guests[0], st.hostNS, Options{}); fault.CodeOf(err) != fault.Conflict {
		t.Errorf("attach under the name of a link's end: %v; want a conflict", err)
	}
	same(t, "all", before, st.inventory(t)+inventory(t, third.Namespace))
}

// TestLinkNotPort: the ports of some other host's bridge are no pairs between
// guests, complete or half made.
func TestLinkNotPort(t *testing.T) {
	needRoot(t)
	hostNS, other := newNamespace(t), newNamespace(t)
	inhabit(t, other)
	g := docker(newNamespace(t), 0)
	if _, err := runAttach(context.Background(), parsed(t, "br0 web 10.0.0.2/24"), g, other, Options{}); err != nil {
		t.Fatal(err)
	}
	for _, change := range []string{"true", "ip link set $(ip -o link show master br0 | sed 's/.*: \\(.*\\)@.*/\\1/') alias ''"} {
		in(t, other, "sh", "-ec", change)
		all, err := runList(context.Background(), hostNS, nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range all {
			if a.Guest.NetNS == docker(other, 0).NetNS {
				t.Errorf("after %q: %+v", change, a)
			}
		}
	}
}

// TestSetLinkMTU: the MTU of one end of a link alone is changed, with a warning
// for as long as the other end has another, for what is longer is lost. The line
// in the warning mends it.
func TestSetLinkMTU(t *testing.T) {
	st := newLinkStage(t)
	st.link(t, true)
	set := func(i int, ifName, mtu string) Result {
		t.Helper()
		s, err := ParseSet(st.guests[i].Name, SetWords{IfName: ifName, MTU: mtu})
		if err != nil {
			t.Fatal(err)
		}
		r, err := runSet(context.Background(), s, st.guests[i], st.hostNS, Options{})
		if err != nil || !r.Changed {
			t.Fatalf("set %s: changed = %v, %v", ifName, r.Changed, err)
		}
		return r
	}
	long := func(seconds string) error {
		_, err := tryIn(st.guests[1].Namespace, "busybox", "ping", "-c", "1", "-W", seconds, "-s", "1400", "10.0.0.1")
		return err
	}
	const says = "gopipework set docker:db to-web --mtu 1300"
	if r := set(0, "eth1", "1300"); len(r.Warnings) != 1 || !strings.Contains(r.Warnings[0], says) {
		t.Errorf("warnings %q; want one with %q", r.Warnings, says)
	}
	if long("2") == nil {
		t.Error("a packet that is longer than the other end's MTU arrives: there is nothing to warn of")
	}
	if r := set(1, "to-web", "1300"); len(r.Warnings) != 0 {
		t.Errorf("warnings %q when both ends have one MTU", r.Warnings)
	}
	if err := long("30"); err != nil { // in fragments
		t.Error(err)
	}
}
