package watch

import (
	"testing"
	"time"

	"github.com/gopipework/gopipework/attach"
	"github.com/gopipework/gopipework/internal/reconcile"
	"github.com/gopipework/gopipework/internal/spec"
	"github.com/gopipework/gopipework/internal/topology"
)

// TestNothingTriedTakesNoTime: how long something took is in an event only if it was tried.
func TestNothingTriedTakesNoTime(t *testing.T) {
	entry := topology.Entry{Words: []string{"br1", "web", "10.0.0.2/24"}, Attach: &spec.Spec{Guest: "web"}}
	for action, tried := range map[reconcile.Action]bool{reconcile.Make: true, reconcile.Pending: false, reconcile.Refused: false} {
		o := outcome{&reconcile.Item{Action: action, Origin: attach.OriginKeep, Entry: entry}, reconcile.Outcome{Took: time.Second}}
		if e := o.event(); (e.Took != 0) != tried {
			t.Errorf("%v: %+v", action, e)
		}
	}
}
