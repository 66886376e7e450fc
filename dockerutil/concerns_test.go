package dockerutil

import (
	"testing"

	"github.com/gopipework/gopipework/internal/guests"
)

// TestConcernsUnplugged: whose link was lost, its mark says, if it had one. A mark has no
// labels, and so does not tell the service of Compose.
func TestConcernsUnplugged(t *testing.T) {
	lost := Event{What: guests.Unplugged}
	web := Event{What: guests.Unplugged, Runtime: "docker", ID: "0123456789ab", Name: "web"}
	blue := Event{What: guests.Unplugged, Runtime: "netns", ID: "blue", Name: "blue"}
	for _, c := range []struct {
		word string
		of   Event
		want bool
	}{
		{"web", lost, true}, {"docker:web", lost, true}, {"netns:blue", lost, true}, {"compose:shop/web", lost, true},
		{"web", web, true}, {"docker:web", web, true}, {"netns:blue", web, false}, {"compose:shop/web", web, true},
		{"web", blue, false}, {"docker:web", blue, false}, {"netns:blue", blue, true}, {"compose:shop/web", blue, false},
	} {
		if got := Concerns(c.of, c.word); got != c.want {
			t.Errorf("%s, lost %q: %v", c.word, c.of.Name, got)
		}
	}
}
