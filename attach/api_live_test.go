package attach

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"
	"testing"

	"github.com/gopipework/gopipework/internal/fault"
	"golang.org/x/sys/unix"
)

// TestOneProcess: runs of one process, at once and on one guest, do not disturb each
// other.
func TestOneProcess(t *testing.T) {
	needRoot(t)
	hostNS := newNamespace(t)
	before := snapshot(t, hostNS)
	opt := Options{HostNS: hostNS}
	var guests []*Guest
	for n := range 3 {
		g := docker(newNamespace(t), 0)
		g.Name, g.ID = fmt.Sprint("g", n), fmt.Sprint("00000000000", n)
		guests = append(guests, &g)
	}
	together := func(what string, do func(g *Guest, n, i int) (Result, error)) {
		t.Helper()
		var all sync.WaitGroup
		for n, g := range guests {
			for i := range 3 {
				all.Go(func() {
					if _, err := do(g, n, i); err != nil {
						t.Errorf("%s %s, eth%d: %v", what, g.Name, i, err)
					}
				})
			}
		}
		all.Wait()
	}
	together("attach", func(g *Guest, n, i int) (Result, error) {
		s := parsed(t, fmt.Sprintf("brtest -i eth%d %s 10.%d.0.%d/24", i, g.Name, i, n+1))
		return Attach(t.Context(), s, g, opt)
	})
	r, err := List(t.Context(), nil, opt)
	if err != nil || len(r.Attachments) != 9 {
		t.Errorf("%d are listed, %v; want 9", len(r.Attachments), err)
	}
	for _, a := range r.Attachments {
		if a.State != Complete || a.Host.Name != "brtest" {
			t.Errorf("%+v", a)
		}
	}
	together("detach", func(g *Guest, _, i int) (Result, error) {
		return Detach(t.Context(), Selection{IfName: fmt.Sprint("eth", i)}, g, opt)
	})
	same(t, "host", before, snapshot(t, hostNS))
}

// TestHostNS: without one in the options the host is where the calling thread is; and
// the host is no guest.
func TestHostNS(t *testing.T) {
	needRoot(t)
	hostNS, g := newNamespace(t), docker(newNamespace(t), 0)
	s := parsed(t, "brtest web 10.0.0.2/24")
	itself := docker(hostNS, 0)
	_, err := Attach(t.Context(), s, &itself, Options{HostNS: hostNS})
	if fault.CodeOf(err) != fault.Conflict {
		t.Errorf("the host as a guest: %v", err)
	}
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlock: the thread ends with this
		err := os.NewSyscallError("setns", unix.Setns(int(hostNS.Fd()), unix.CLONE_NEWNET))
		if err == nil {
			_, err = Attach(context.Background(), s, &g, Options{})
		}
		done <- err
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	r, err := List(t.Context(), &g, Options{HostNS: hostNS})
	if err != nil || len(r.Attachments) != 1 {
		t.Errorf("listed: %+v, %v", r.Attachments, err)
	}
	if _, err := Detach(t.Context(), Selection{}, &g, Options{HostNS: hostNS}); err != nil {
		t.Error(err)
	}
}

// TestNoKeeper: an address that nobody would keep is refused before anything is looked at.
func TestNoKeeper(t *testing.T) {
	for _, word := range []string{"dhcp", "dhcp6", "udhcpc", "dhclient-f"} {
		_, err := Attach(t.Context(), parsed(t, "brtest web "+word), &Guest{}, Options{})
		var e *Error
		if !errors.As(err, &e) || e.Code != CodeUnsupported || e.Hint == "" {
			t.Errorf("%s: %v", word, err)
		}
	}
}
