package watch

import (
	"testing"

	"github.com/gopipework/gopipework/internal/guests"
	"github.com/gopipework/gopipework/internal/spec"
	"github.com/gopipework/gopipework/internal/topology"
)

// hearing is a Source that hears of all containers that are removed.
type hearing struct{ Source }

func (hearing) Heard(e guests.Event) bool { return e.What == guests.Removed }

// TestAsks: a guest that was removed is not looked at if all that want something for it are
// asked again.
func TestAsks(t *testing.T) {
	list := func(words ...string) answer {
		var l List
		for _, word := range words {
			l.Entries = append(l.Entries, topology.Entry{Attach: &spec.Spec{Guest: word}})
		}
		return answer{lists: []List{l}}
	}
	w := Watcher{Sources: []Source{Kept{}, hearing{}}, asked: []answer{list("web"), list("web", "db")}}
	removed := guests.Event{What: guests.Removed}
	for word, want := range map[string]bool{"db": true, "web": false} {
		if got := w.asks(removed, word); got != want {
			t.Errorf("%s: %v", word, got)
		}
	}
	if w.asks(guests.Event{What: guests.Ended}, "db") {
		t.Error("nobody has heard of it, and all are asked")
	}
}
