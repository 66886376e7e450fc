package nsfs

import (
	"runtime"

	"golang.org/x/sys/unix"
)

// Go runs f in a goroutine of its own, on a thread that ends with it, so f may leave
// the thread in another namespace. The first thread of a process never ends: the Go
// runtime would keep it, and with it the namespace, for as long as the process lives.
func Go(f func()) {
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() != unix.Getpid() {
			f()
			return
		}
		// As long as we hold the first thread, the next goroutine gets another.
		locked := make(chan struct{})
		go func() {
			runtime.LockOSThread()
			close(locked)
			f()
		}()
		<-locked
		runtime.UnlockOSThread()
	}()
}
