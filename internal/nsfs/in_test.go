package nsfs_test

import (
	"errors"
	"os"
	"testing"
	"time"

	"github.com/gopipework/gopipework/e2e/host"
	"github.com/gopipework/gopipework/internal/nsfs"
	"golang.org/x/sys/unix"
)

// TestIn: a function runs in the namespace, on the caller's own thread only if that is
// there, and no longer than until the end.
func TestIn(t *testing.T) {
	host.NeedRoot(t)
	const ownNS = "/proc/thread-self/ns/net"
	own, err := os.Open(ownNS)
	if err != nil {
		t.Fatal(err)
	}
	defer own.Close()
	other := host.NewNamespace(t)
	for _, ns := range []*os.File{own, other} {
		in, err := nsfs.In(ns)
		if err != nil {
			t.Fatal(err)
		}
		for _, from := range []*os.File{own, other} {
			caller, err := nsfs.Enter(from)
			if err != nil {
				t.Fatal(err)
			}
			var by, on int
			err = caller.Run(func() error {
				by = unix.Gettid()
				return in.Run(func() error {
					on = unix.Gettid()
					if !nsfs.Is(ns, ownNS) {
						t.Error("it runs in another namespace")
					}
					return nil
				})
			})
			if err != nil {
				t.Error(err)
			}
			if same := on == by; same != (ns == own && from == own) {
				t.Errorf("it runs on the caller's thread: %v", same)
			}
			caller.End()
		}
		in.End()
		if err := in.Run(func() error { t.Error("it runs after its end"); return nil }); !errors.Is(err, os.ErrClosed) {
			t.Error(err)
		}
	}
	if !nsfs.Is(own, ownNS) {
		t.Error("the caller is in another namespace now")
	}
}

// TestEnterBriefly: a function runs in the namespace, on a thread that ends with it, and
// after the end on none.
func TestEnterBriefly(t *testing.T) {
	host.NeedRoot(t)
	ns := host.NewNamespace(t)
	in, err := nsfs.EnterBriefly(ns)
	if err != nil {
		t.Fatal(err)
	}
	failure := errors.New("failed")
	var thread int
	err = in.Run(func() error {
		thread = unix.Gettid()
		if !nsfs.Is(ns, "/proc/thread-self/ns/net") {
			t.Error("it runs in another namespace")
		}
		return failure
	})
	if !errors.Is(err, failure) {
		t.Errorf("the error of what runs is %v", err)
	}
	if !host.Poll(time.Minute, func() bool { return unix.Tgkill(unix.Getpid(), thread, 0) != nil }) {
		t.Error("its thread is still there")
	}
	in.End()
	if err := in.Run(func() error { return nil }); !errors.Is(err, os.ErrClosed) {
		t.Errorf("after the end: %v", err)
	}
}
