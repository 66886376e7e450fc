package plan

import (
	"strings"
	"testing"

	"github.com/gopipework/gopipework/internal/guests"
	"github.com/gopipework/gopipework/internal/spec"
)

// FuzzParseMark: a guest cannot write it, but an administrator can.
func FuzzParseMark(f *testing.F) {
	f.Add("gopipework docker:0123456789ab eth1 web")
	f.Add("gopipework/file:lab docker:0123456789ab eth1 web")
	f.Add("gopipework/line docker:0123456789ab eth1 gopipework/keep docker:1 eth1 web")
	f.Fuzz(func(t *testing.T, alias string) {
		m, ok := ParseMark(alias)
		if !ok || len(alias) > maxAlias {
			return
		}
		if m.Origin == "" {
			t.Errorf("%q parses to %+v: nobody asked for it", alias, m)
		}
		if again, ok := ParseMark(m.String()); !ok || again != m {
			t.Errorf("%q parses to %+v, which prints to %q", alias, m, m)
		}
	})
}

func TestMark(t *testing.T) {
	web := Mark{Origin: spec.OriginLine, Runtime: "docker", ID: "0123456789ab", IfName: "eth1", Name: "web"}
	from := func(o spec.Origin) Mark { m := web; m.Origin = o; return m }
	for alias, want := range map[string]Mark{
		"gopipework docker:0123456789ab eth1 web":          web,
		"gopipework/keep docker:0123456789ab eth1 web":     from("keep"),
		"gopipework/file:lab docker:0123456789ab eth1 web": from("file:lab"),
		"gopipework/later docker:0123456789ab eth1 web":    from("later"), // a later version's
	} {
		if got, ok := ParseMark(alias); !ok || got != want {
			t.Errorf("%q: %+v, %v; want %+v", alias, got, ok, want)
		}
		if got := want.String(); got != alias {
			t.Errorf("%+v prints to %q, want %q", want, got, alias)
		}
	}
	if m, ok := ParseMark("gopipework/line docker:0123456789ab eth1 web"); !ok || m != web {
		t.Errorf("a line that says so: %+v, %v", m, ok)
	}
	for _, alias := range []string{
		"gopipework/ docker:0123456789ab eth1 web", "gopipework/file: docker:0123456789ab eth1 web", "gopipework/file:a/b docker:0123456789ab eth1 web",
		"gopipework/FILE docker:0123456789ab eth1 web", "gopipework:keep docker:0123456789ab eth1 web", "gopipeworks docker:0123456789ab eth1 web",
		"gopipework/" + strings.Repeat("a", 17) + " docker:0123456789ab eth1 web", "/keep docker:0123456789ab eth1 web", "gopipework/keep bridge", "gopipework bridge",
	} {
		if m, ok := ParseMark(alias); ok {
			t.Errorf("%q is taken for a mark: %+v", alias, m)
		}
	}
}

// TestMarkOfLongName: of a name for which there is no room a mark has the beginning, and
// it still is the mark of that guest, and of no other; whoever asked for it.
func TestMarkOfLongName(t *testing.T) {
	g := guests.GuestInfo{Runtime: "docker", ID: "0123456789ab", Name: strings.Repeat("n", 255)}
	for _, o := range []spec.Origin{spec.OriginLine, spec.OriginKeep, spec.Origin("file:" + strings.Repeat("f", spec.MaxOriginName))} {
		m := MarkOf(g, "a23456789012345")
		m.Origin = o
		alias := m.String()
		got, ok := ParseMark(alias)
		if len(alias) != maxAlias || !ok || got.Origin != o || got.IfName != m.IfName || got.ID != g.ID || len(got.Name) < 100 {
			t.Errorf("%s: %d bytes, %+v, %v", o, len(alias), got, ok)
		}
		if !got.Names(g) {
			t.Errorf("%s: %q is not the mark of its guest", o, alias)
		}
		other := g
		other.ID = "ba9876543210"
		if got.Names(other) {
			t.Errorf("%s: %q is the mark of another guest", o, alias)
		}
	}
}

// TestMarkOfHostileName: whatever a guest is called, its mark says who asked, and nothing
// else that its name has.
func TestMarkOfHostileName(t *testing.T) {
	for _, name := range []string{"gopipework/keep docker:1 eth9 db", " /keep", "\x1b[2J", "", "a\nb"} {
		m := MarkOf(guests.GuestInfo{Runtime: "path", ID: "0123456789ab", Name: name}, "eth1")
		m.Origin = "file:lab"
		if got, ok := ParseMark(m.String()); !ok || got != m {
			t.Errorf("%q: %+v, %v; want %+v", name, got, ok, m)
		}
	}
}
