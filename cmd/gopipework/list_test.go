package main

import (
	"strings"
	"testing"

	"github.com/gopipework/gopipework/attach"
)

// TestTableOrigin: the table says who asked for attachments if anything but typed lines
// did; a half-made one was asked for by nobody that is known.
func TestTableOrigin(t *testing.T) {
	row := func(name string, o attach.Origin, s attach.State) (a attach.Attachment) {
		a.Guest.Runtime, a.Guest.Name, a.Interface.Name, a.Origin, a.State = "docker", name, "eth1", o, s
		return a
	}
	typed := []attach.Attachment{row("web", attach.OriginLine, attach.Complete), row("db", "", attach.Half)}
	for _, tt := range []struct {
		all  []attach.Attachment
		want string
	}{
		{typed, `GUEST INTERFACE ADDRESS GATEWAY HOST PORT STATE
docker:web eth1 - - - - complete
docker:db eth1 - - - - half
`},
		{append(typed, row("lab", "file:lab", attach.Complete)), `GUEST INTERFACE ADDRESS GATEWAY HOST PORT STATE ORIGIN
docker:web eth1 - - - - complete line
docker:db eth1 - - - - half -
docker:lab eth1 - - - - complete file:lab
`},
	} {
		var out strings.Builder
		(&output{stdout: &out}).table(answer{}.rows(tt.all, nil))
		var got strings.Builder
		for l := range strings.Lines(out.String()) {
			got.WriteString(strings.Join(strings.Fields(l), " ") + "\n")
		}
		if got.String() != tt.want {
			t.Errorf("\n got\n%swant\n%s", &got, tt.want)
		}
	}
}

// TestNote: what is to be known of an attachment beside its state, all of it.
func TestNote(t *testing.T) {
	var a listed
	a.Mirrors, a.Host.Isolated, a.Host.Antispoof = []string{"netns:web:eth1", "netns:db:eth1,in"}, true, true
	a.Interface.VRF = &attach.VRF{Name: "red", Table: 10}
	const want = "mirror of netns:web:eth1 netns:db:eth1,in, isolated, antispoof, VRF red"
	if got := note(a); got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
