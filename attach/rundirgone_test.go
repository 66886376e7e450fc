package attach

import (
	"os"
	"sync"
	"testing"

	"github.com/gopipework/gopipework/internal/ours"
)

// Other runs and keepers make and remove the run directory at any time, also
// while loans are read: then there are none. An error would be about the
// directory, and must not be taken for one about the link that is being deleted.
func TestLoansWhileRunDirComesAndGoes(t *testing.T) {
	notesHere(t)
	stop := make(chan struct{})
	var busy sync.WaitGroup
	busy.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			_ = os.Mkdir(ours.RunDir, 0o700)
			_ = os.Remove(ours.RunDir)
		}
	})
	defer busy.Wait()
	defer close(stop)
	for n := range 50_000 {
		if all, unread, err := ours.ReadLoans(""); err != nil || len(all)+len(unread) > 0 {
			t.Fatalf("after %d: %v, %v, %v", n, all, unread, err)
		}
	}
}
