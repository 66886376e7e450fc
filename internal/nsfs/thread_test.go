package nsfs

import (
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
