package attach

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	testhost "github.com/gopipework/gopipework/e2e/host"
	"github.com/gopipework/gopipework/internal/build"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/guests"
	"github.com/gopipework/gopipework/internal/plan"
)

// originStages are the places that a mark is in: the host's end, the guest's link, Open
// vSwitch's record, the note of a loan.
var originStages = []struct{ name, line, needs string }{
	{"bridge", "brtest -i lan0 web 10.0.0.1/24", ""},
	{"host", "host:tap0 -i lan0 web 10.0.0.1/24", ""},
	{"macvlan", "nic0 -i lan0 web 10.0.0.1/24", "macvlan"},
	{"dummy", "dummy -i lan0 web 10.0.0.1/24", "dummy"},
	{"macvlan on a VLAN", "nic0 -i lan0 web 10.0.0.1/24 @10", "8021q"},
	{"card", "phys:nic0 -i lan0 web 10.0.0.1/24", ""},
	{"Open vSwitch", "ovsbr0 -i lan0 web 10.0.0.1/24", "ovs"},
}

// asked attaches for an origin, and holds against what is said whether that changed
// anything, and what is listed.
func asked(t *testing.T, s Spec, g guests.Guest, hostNS *os.File, by Origin, changed bool, then Origin) {
	t.Helper()
	r, err := Attach(context.Background(), s, &g, Options{HostNS: hostNS, Origin: by})
	if err != nil || r.Changed != changed {
		t.Fatalf("attach for %q: changed = %v, %q, %v; want %v", by, r.Changed, r.Steps, err, changed)
	}
	if is := r.Attachments[0].Origin; is != then {
		t.Errorf("attach for %q says the origin %q, want %q", by, is, then)
	}
	hasOrigin(t, g, hostNS, then)
}

// hasOrigin holds the origin of the one attachment against what is listed of the guest alone,
// and of all guests.
func hasOrigin(t *testing.T, g guests.Guest, hostNS *os.File, want Origin) {
	t.Helper()
	for _, of := range []*guests.Guest{&g, nil} {
		all, err := runList(context.Background(), hostNS, of)
		found := 0
		for _, a := range all {
			if a.Guest.NetNS != g.NetNS {
				continue
			}
			if found++; a.Origin != want || a.State != Complete {
				t.Errorf("listed as %+v, want the origin %q", a, want)
			}
		}
		if err != nil || found != 1 {
			t.Fatalf("listed: %+v, %v; want one of the guest", all, err)
		}
	}
}

// TestOrigin: who asked is part of the mark, whatever has the mark; no other origin takes
// over what a file made, nor does a line; gc and set leave it.
func TestOrigin(t *testing.T) {
	needRoot(t)
	for _, st := range originStages {
		t.Run(st.name, func(t *testing.T) {
			hostNS, g, s := originHost(t, st.line, st.needs)
			before := unordered(t, hostNS)
			attachOrLack(t, s, g, hostNS, "file:lab", st.needs)
			asked(t, s, g, hostNS, "file:lab", false, "file:lab")
			asked(t, s, g, hostNS, "", false, "file:lab")
			asked(t, s, g, hostNS, "line", false, "file:lab")
			for _, other := range []Origin{"keep", "file:other", "cni:lab"} {
				r, err := Attach(t.Context(), s, &g, Options{HostNS: hostNS, Origin: other})
				if fault.CodeOf(err) != fault.Conflict || !strings.Contains(err.Error(), "file:lab") || r.Changed {
					t.Errorf("attach for %s: %v", other, err)
				}
			}
			if _, err := runSet(t.Context(), SetSpec{Guest: "web", IfName: "lan0", MTU: 1400}, g, hostNS, Options{}); err != nil {
				t.Errorf("set: %v", err)
			}
			if r, err := runGC(t.Context(), hostNS, Options{}); err != nil || r.Changed {
				t.Errorf("gc: %q, %v", r.Steps, err)
			}
			hasOrigin(t, g, hostNS, "file:lab")
			detachKind(t, g, hostNS)
			sameSoon(t, "host after detach", before, func() string { return unordered(t, hostNS) })
		})
	}
}

// unordered is what is in namespaces. A card that was away is behind others that were
// before it.
func unordered(t *testing.T, all ...*os.File) string {
	t.Helper()
	var lines []string
	for _, ns := range all {
		lines = append(lines, strings.Split(inventory(t, ns), "\n")...)
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// originHost is a host with a card, and a guest.
func originHost(t *testing.T, line, needs string) (*os.File, guests.Guest, Spec) {
	t.Helper()
	notesHere(t)
	hostNS, g := newHostFor(t, needs), docker(newNamespace(t), 0)
	inhabit(t, g.Namespace)
	in(t, hostNS, "sh", "-ec", quiet+"ip link add nic0 address 02:00:00:00:00:09 type veth peer name wire; ip link set wire up; ip link set nic0 up")
	carriers(t, hostNS, "nic0")
	return hostNS, g, parsed(t, line)
}

// attachOrLack attaches for an origin, and skips the test where this kernel cannot.
func attachOrLack(t *testing.T, s Spec, g guests.Guest, hostNS *os.File, by Origin, needs string) {
	t.Helper()
	_, err := Attach(t.Context(), s, &g, Options{HostNS: hostNS, Origin: by})
	if fault.CodeOf(err) == fault.Unsupported && !testhost.Required(needs) {
		testhost.Lacking(t, needs, err.Error())
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestTakeOver: the kept lines, or a file, take over in place what a typed line made. If
// that fails at any step, it is the line's as before.
func TestTakeOver(t *testing.T) {
	needRoot(t)
	for _, st := range originStages {
		t.Run(st.name, func(t *testing.T) {
			hostNS, g, s := originHost(t, st.line, st.needs)
			before := unordered(t, hostNS)
			attachOrLack(t, s, g, hostNS, "", st.needs)
			asked(t, s, g, hostNS, "", false, OriginLine)
			all := func() string { return unordered(t, hostNS, g.Namespace) }
			attached := all()
			for n, last := 0, false; !last; n++ {
				err := attemptAs(t, s, g, hostNS, OriginKeep, func(p *build.Plan) {
					if len(p.Steps) == 0 {
						t.Fatal("there is nothing to take over")
					}
					last = n == len(p.Steps)
					p.Steps = append(p.Steps[:n:n], append([]plan.Step{failStep{}}, p.Steps[n:]...)...)
				})
				if !errors.Is(err, errPlanned) || fault.CodeOf(err) == fault.Residue {
					t.Fatalf("step %d: %v", n, err)
				}
				sameSoon(t, fmt.Sprintf("all after failure at step %d", n), attached, all)
				hasOrigin(t, g, hostNS, OriginLine)
			}
			index := linkIn(t, g.Namespace, "lan0").Index
			asked(t, s, g, hostNS, OriginKeep, true, OriginKeep)
			asked(t, s, g, hostNS, OriginKeep, false, OriginKeep)
			asked(t, s, g, hostNS, "", false, OriginKeep)
			if now := linkIn(t, g.Namespace, "lan0").Index; now != index {
				t.Errorf("the interface had the index %d, and now has %d", index, now)
			}
			detachKind(t, g, hostNS)
			sameSoon(t, "host after detach", before, func() string { return unordered(t, hostNS) })
			noNotes(t)
		})
	}
}

// attemptAs is attempt for an origin.
func attemptAs(t *testing.T, s Spec, g guests.Guest, hostNS *os.File, by Origin, edit func(*build.Plan)) error {
	t.Helper()
	m, err := plan.Open(t.Context(), hostNS, g)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	f, err := observe(t.Context(), m, s, nil)
	if err != nil {
		t.Fatal(err)
	}
	f.Origin = by
	p, err := planAttach(s, f)
	if err != nil {
		t.Fatal(err)
	}
	edit(&p)
	return p.Apply(t.Context(), m, untold)
}

// TestOriginOfLink: both ends of a link between two guests have it, and both are taken over.
func TestOriginOfLink(t *testing.T) {
	st := newLinkStage(t)
	before := st.inventory(t)
	link := func(by Origin, changed bool, then Origin) {
		t.Helper()
		r, err := Link(t.Context(), st.spec, &st.guests[0], &st.guests[1], Options{HostNS: st.hostNS, Origin: by})
		if err != nil || r.Changed != changed {
			t.Fatalf("link for %q: changed = %v, %v; want %v", by, r.Changed, err, changed)
		}
		for i, g := range st.guests {
			if r.Attachments[i].Origin != then {
				t.Errorf("link for %q says %+v, want the origin %q", by, r.Attachments[i], then)
			}
			hasOrigin(t, g, st.hostNS, then)
		}
	}
	link("", true, OriginLine)
	link("file:lab", true, "file:lab")
	link("file:lab", false, "file:lab")
	link("line", false, "file:lab")
	if _, err := Link(t.Context(), st.spec, &st.guests[0], &st.guests[1], Options{HostNS: st.hostNS, Origin: OriginKeep}); fault.CodeOf(err) != fault.Conflict {
		t.Errorf("link for keep: %v", err)
	}
	if _, err := runDetach(t.Context(), Selection{}, st.guests[0], st.hostNS, Options{}); err != nil {
		t.Error(err)
	}
	same(t, "all after detach", before, st.inventory(t))
	link("file:lab", true, "file:lab")
}

// TestOriginWritten: a guest that writes another origin on the card that it is lent
// changes nothing: the note of the loan says it.
func TestOriginWritten(t *testing.T) {
	needRoot(t)
	hostNS, g, s := originHost(t, "phys:nic0 -i lan0 web 10.0.0.1/24", "")
	asked(t, s, g, hostNS, "file:lab", true, "file:lab")
	for _, alias := range []string{"gopipework/keep docker:0123456789ab lan0 web", "gopipework docker:0123456789ab lan0 web", "", "gopipework/"} {
		in(t, g.Namespace, "ip", "link", "set", "lan0", "alias", alias)
		hasOrigin(t, g, hostNS, "file:lab")
		asked(t, s, g, hostNS, "file:lab", false, "file:lab")
		asked(t, s, g, hostNS, "", false, "file:lab")
	}
	detachKind(t, g, hostNS)
	asked(t, s, g, hostNS, "", true, OriginLine)
	in(t, g.Namespace, "ip", "link", "set", "lan0", "alias", "")
	asked(t, s, g, hostNS, "file:lab", true, "file:lab")
	detachKind(t, g, hostNS)
	noNotes(t)
}

// TestBadOrigin: what cannot be an origin is refused before anything is looked at.
func TestBadOrigin(t *testing.T) {
	for _, o := range []Origin{"file:", "a b", "keep\n", "File:lab"} {
		if _, err := Attach(t.Context(), parsed(t, "brtest web 10.0.0.2/24"), &Guest{}, Options{Origin: o}); fault.CodeOf(err) != fault.Usage {
			t.Errorf("attach for %q: %v", o, err)
		}
		if _, err := Link(t.Context(), LinkSpec{}, &Guest{}, &Guest{}, Options{Origin: o}); fault.CodeOf(err) != fault.Usage {
			t.Errorf("link for %q: %v", o, err)
		}
	}
}

// TestOriginLabel: a label takes over nothing, and a kept line or a file takes over what a
// label asked for.
func TestOriginLabel(t *testing.T) {
	needRoot(t)
	hostNS, g, s := originHost(t, "brtest -i lan0 web 10.0.0.2/24", "")
	for _, first := range []Origin{OriginLine, OriginKeep, "file:lab"} {
		asked(t, s, g, hostNS, first, true, first)
		if _, err := Attach(t.Context(), s, &g, Options{HostNS: hostNS, Origin: OriginLabel}); fault.CodeOf(err) != fault.Conflict {
			t.Errorf("attach for a label over one of %s: %v", first, err)
		}
		hasOrigin(t, g, hostNS, first)
		detachKind(t, g, hostNS)
	}
	for _, then := range []Origin{OriginKeep, "file:lab"} {
		asked(t, s, g, hostNS, OriginLabel, true, OriginLabel)
		asked(t, s, g, hostNS, OriginLabel, false, OriginLabel)
		asked(t, s, g, hostNS, OriginLine, false, OriginLabel)
		asked(t, s, g, hostNS, then, true, then)
		detachKind(t, g, hostNS)
	}
}
