package attach

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gopipework/gopipework/internal/build"

	testhost "github.com/gopipework/gopipework/e2e/host"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/plan"
	"github.com/gopipework/gopipework/internal/rtnl"
	"golang.org/x/sys/unix"
)

// TestLock: the lock of one guest excludes, ends in a timeout that says where to
// look, and keeps no other guest waiting.
func TestLock(t *testing.T) {
	needRoot(t)
	hostNS, greedy, fair := newNamespace(t), newNamespace(t), newNamespace(t)
	c, err := rtnl.Open(hostNS)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	held, err := plan.Acquire(context.Background(), c, greedy, "test")
	if err != nil {
		t.Fatal(err)
	}
	waiting := make(chan error)
	go func() {
		_, err := runAttach(context.Background(), parsed(t, "brtest web 10.0.0.2/24"), docker(greedy, 0), hostNS, Options{Timeout: 2 * time.Second})
		waiting <- err
	}()
	g := docker(fair, 0)
	g.Name, g.ID = "db", "ba9876543210"
	if _, err := runAttach(context.Background(), parsed(t, "brtest db 10.0.0.3/24"), g, hostNS, Options{}); err != nil {
		t.Errorf("another guest: %v", err)
	}
	err = <-waiting
	if fault.CodeOf(err) != fault.Timeout {
		t.Errorf("a guest whose lock is held: %v; want a timeout", err)
	}
	// The hint finds who holds it.
	var f *fault.Error
	if errors.As(err, &f); f != nil {
		if out := in(t, hostNS, "sh", "-c", strings.TrimPrefix(f.Hint, "see who: ")); !strings.Contains(out, strconv.Itoa(os.Getpid())) {
			t.Errorf("%q shows %q, not process %d", f.Hint, out, os.Getpid())
		}
	}
	held.Release()
	if _, err := runAttach(context.Background(), parsed(t, "brtest web 10.0.0.2/24"), docker(greedy, 0), hostNS, Options{}); err != nil {
		t.Errorf("once the lock is free: %v", err)
	}
}

// TestLockOfItself: a process without privileges in a guest takes whatever lock of
// its namespace it can get, and takes every name that could be an address. It
// delays its own attach and detach a little, and does not keep gc from anything of
// the host's.
func TestLockOfItself(t *testing.T) {
	needRoot(t)
	hostNS, guestNS := newNamespace(t), newNamespace(t)
	testhost.Squatter{NS: guestNS, Addresses: []string{plan.LockAddress(guestNS), plan.LockAddress(hostNS)}, Flock: true}.Start(t)
	if unix.Flock(int(testhost.Reopened(t, guestNS).Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil {
		t.Fatal("the guest does not hold its own lock: this proves nothing")
	}
	g := docker(guestNS, 0)
	before := snapshot(t, hostNS)
	if _, err := runAttach(context.Background(), parsed(t, "brtest web 10.0.0.2/24"), g, hostNS, Options{}); err != nil {
		t.Errorf("attach: %v", err)
	}
	if _, err := runDetach(context.Background(), Selection{}, g, hostNS, Options{}); err != nil {
		t.Errorf("detach: %v", err)
	}
	if _, err := runGC(context.Background(), hostNS, Options{}); err != nil {
		t.Errorf("gc: %v", err)
	}
	same(t, "host", before, snapshot(t, hostNS))
}

// TestGCWaitsForALook: what a run for another host holds for a moment, because it
// looks, is not taken for work; gc waits, and clears up.
func TestGCWaitsForALook(t *testing.T) {
	needRoot(t)
	hostNS, guestNS := newNamespace(t), newNamespace(t)
	inhabit(t, guestNS) // gc finds the guest by its process
	before := snapshot(t, hostNS)
	s, g := parsed(t, "brtest web 10.0.0.2/24"), docker(guestNS, 0)
	attempt(t, s, g, hostNS, asItIs, func(p *build.Plan) {
		n := len(p.Steps) - 1 // all but the mark
		p.Steps = append(p.Steps[:n:n], failStep{})
		for i := range p.Steps[:n] {
			p.Steps[i] = noUndo{p.Steps[i]}
		}
	}, untold)
	was := plan.FlockPatience
	plan.FlockPatience = 30 * time.Second
	t.Cleanup(func() { plan.FlockPatience = was })
	other := testhost.Reopened(t, guestNS)
	if err := unix.Flock(int(other.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		time.Sleep(250 * time.Millisecond) // less than gc waits
		unix.Flock(int(other.Fd()), unix.LOCK_UN)
	}()
	defer func() { <-done }()
	if _, err := runGC(context.Background(), hostNS, Options{}); err != nil {
		t.Fatal(err)
	}
	sameSoon(t, "host after gc", before, func() string { return snapshot(t, hostNS) })
}

// TestRunsWithSquatter: somebody on the host who takes the addresses of our locks keeps
// no attach, detach or gc from its work.
func TestRunsWithSquatter(t *testing.T) {
	needRoot(t)
	for _, as := range []string{"user", "root"} {
		t.Run(as, func(t *testing.T) {
			was := plan.LockFile
			plan.LockFile = filepath.Join(t.TempDir(), "lock")
			t.Cleanup(func() { plan.LockFile = was })
			hostNS, guestNS := newNamespace(t), newNamespace(t)
			before := snapshot(t, hostNS)
			testhost.Squatter{NS: hostNS, Addresses: []string{plan.LockAddress(hostNS), plan.LockAddress(guestNS)}, Root: as == "root"}.Start(t)
			g := docker(guestNS, 0)
			if _, err := runAttach(context.Background(), parsed(t, "brtest web 10.0.0.2/24"), g, hostNS, Options{}); err != nil {
				t.Fatalf("attach: %v", err)
			}
			if _, err := runDetach(context.Background(), Selection{}, g, hostNS, Options{}); err != nil {
				t.Errorf("detach: %v", err)
			}
			if _, err := runGC(context.Background(), hostNS, Options{}); err != nil {
				t.Errorf("gc: %v", err)
			}
			same(t, "host", before, snapshot(t, hostNS))
		})
	}
}
