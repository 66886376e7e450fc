package nsfs

import (
	"errors"
	"os"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// What Go runs never has the first thread of the process, whatever thread is free.
func TestGoSparesFirstThread(t *testing.T) {
	plain := 0
	for range 2000 {
		var all sync.WaitGroup
		all.Go(func() { // the first thread is one that goroutines get
			if unix.Gettid() == unix.Getpid() {
				plain++
			}
		})
		all.Wait()
		done := make(chan bool)
		Go(func() { done <- unix.Gettid() == unix.Getpid() })
		if <-done {
			t.Fatal("it has the first thread, which never ends")
		}
	}
	if plain == 0 {
		t.Log("no goroutine had the first thread: this proves little")
	}
}

// TestEndWhileOthersRun: what others ask of a thread that ends meanwhile is done, or
// it is an error.
func TestEndWhileOthersRun(t *testing.T) {
	for range 200 {
		thread := Stay()
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() {
				for {
					did := false
					err := thread.Run(func() error { did = true; return nil })
					if did != (err == nil) || err != nil && !errors.Is(err, os.ErrClosed) {
						t.Errorf("it ran: %v, and the error is %v", did, err)
					}
					if err != nil {
						return
					}
				}
			})
		}
		thread.End()
		all.Wait()
	}
}
