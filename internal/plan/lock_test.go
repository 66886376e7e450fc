package plan

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	testhost "github.com/gopipework/gopipework/e2e/host"
	"github.com/gopipework/gopipework/e2e/program"
	"github.com/gopipework/gopipework/internal/rtnl"
	"golang.org/x/sys/unix"
)

func connect(t *testing.T, ns *os.File) *rtnl.Conn {
	t.Helper()
	c, err := rtnl.Open(ns)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// lockFileHere has the test's locks pass by squatters in a file of its own.
func lockFileHere(t *testing.T) {
	t.Helper()
	was := LockFile
	LockFile = filepath.Join(t.TempDir(), "lock")
	t.Cleanup(func() { LockFile = was })
}

// TestLockElsewhere: two that see different file systems, and one that works from
// another host's namespace, exclude each other all the same; and a lock ends with
// the process that holds it.
func TestLockElsewhere(t *testing.T) {
	testhost.NeedRoot(t)
	hostNS, otherNS, guestNS := testhost.NewNamespace(t), testhost.NewNamespace(t), testhost.NewNamespace(t)
	take := &Lock{host: connect(t, hostNS), NS: testhost.Reopened(t, guestNS)}
	for name, from := range map[string]*os.File{"another mount namespace": hostNS, "another host": otherNS} {
		cmd := program.Command("unshare", "--mount", "sh", "-c", "mount -t tmpfs none /run && exec "+os.Args[0])
		cmd.Env = append(os.Environ(), "GOPIPEWORK_TEST_LOCK=1")
		cmd.ExtraFiles = []*os.File{guestNS, from}
		testhost.StartHolder(t, cmd)
		if err := take.try(); !errors.Is(err, unix.EWOULDBLOCK) {
			t.Errorf("%s: %v; want the lock to be held", name, err)
			take.Release()
		}
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if err := take.try(); err != nil {
			t.Errorf("%s: after its holder was killed: %v", name, err)
		}
		take.Release()
	}
}

// try takes the lock, or says EWOULDBLOCK at once.
func (l *Lock) try() error {
	err := l.bind()
	if err == nil {
		if err = l.flock(); err != nil {
			l.Release()
		}
	}
	return err
}

// holdLock is a process that has the lock of a guest, as a run has, until it is killed.
func holdLock() {
	c, err := rtnl.Open(os.NewFile(4, "host"))
	if err == nil {
		var ns *os.File
		if ns, err = os.Open("/proc/self/fd/3"); err == nil {
			var l *Lock
			l, err = Acquire(context.Background(), c, ns, "guest")
			defer runtime.KeepAlive(l)
		}
	}
	if err != nil {
		panic(err)
	}
	os.Stdout.WriteString("held\n")
	time.Sleep(time.Hour)
}

// TestLockSquatted: runs exclude each other although somebody on the host has taken
// the address of their lock, also when the squatter goes meanwhile.
func TestLockSquatted(t *testing.T) {
	testhost.NeedRoot(t)
	for _, as := range []string{"user", "root"} {
		t.Run(as, func(t *testing.T) {
			lockFileHere(t)
			hostNS, guestNS := testhost.NewNamespace(t), testhost.NewNamespace(t)
			squatter := testhost.Squatter{NS: hostNS, Addresses: []string{LockAddress(guestNS)}, Root: as == "root"}.Start(t)
			host := connect(t, hostNS)
			held, err := Acquire(context.Background(), host, guestNS, "guest")
			if err != nil {
				t.Fatal(err)
			}
			other := &Lock{host: host, NS: testhost.Reopened(t, guestNS)}
			if err := other.tryPatiently(context.Background()); !errors.Is(err, unix.EWOULDBLOCK) {
				t.Errorf("two have passed by the squatter: %v", err)
			}
			_ = squatter.Process.Kill()
			_ = squatter.Wait()
			if err := other.tryPatiently(context.Background()); !errors.Is(err, unix.EWOULDBLOCK) {
				t.Errorf("one has passed by, another has the address: %v", err)
			}
			held.Release()
			if err := other.tryPatiently(context.Background()); err != nil {
				t.Errorf("once it is free: %v", err)
			}
			other.Release()
		})
	}
}

// TestLockSquatterFlaps: with a squatter that comes and goes at every moment, no two
// runs have a lock at once.
func TestLockSquatterFlaps(t *testing.T) {
	testhost.NeedRoot(t)
	lockFileHere(t)
	hostNS, guestNS := testhost.NewNamespace(t), testhost.NewNamespace(t)
	testhost.Squatter{NS: hostNS, Addresses: []string{LockAddress(guestNS)}, Flaps: true}.Start(t)
	host := connect(t, hostNS)
	var inside, passed atomic.Int32
	var all sync.WaitGroup
	end := time.Now().Add(30 * time.Second)
	for range 4 {
		ns := testhost.Reopened(t, guestNS)
		all.Go(func() {
			for n := 0; n < 15 || passed.Load() == 0 && time.Now().Before(end); n++ {
				// Without the flock, which would hide it.
				l := &Lock{host: host, NS: ns}
				for l.bind() != nil && l.passBy() != nil {
					time.Sleep(time.Millisecond)
				}
				if n := inside.Add(1); n != 1 {
					t.Errorf("%d runs have the lock", n)
				}
				if !l.bound {
					passed.Add(1)
				}
				time.Sleep(2 * time.Millisecond)
				inside.Add(-1)
				l.Release()
			}
		})
	}
	all.Wait()
	if passed.Load() == 0 {
		t.Error("nobody passed by a squatter: this proves nothing")
	}
}

// TestLockOfARun: a run that works for long is no squatter.
func TestLockOfARun(t *testing.T) {
	testhost.NeedRoot(t)
	lockFileHere(t)
	hostNS, guestNS := testhost.NewNamespace(t), testhost.NewNamespace(t)
	cmd := program.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "GOPIPEWORK_TEST_LOCK=1")
	cmd.ExtraFiles = []*os.File{guestNS, hostNS}
	testhost.StartHolder(t, cmd)
	l := &Lock{host: connect(t, hostNS), NS: guestNS}
	if err := l.passBy(); !errors.Is(err, unix.EWOULDBLOCK) {
		t.Errorf("it was passed by: %v", err)
	}
	if _, err := os.Stat(LockFile); err == nil {
		t.Error("there is a file")
	}
}

// TestLockInTurn: runs of one process get a lock in the order in which they ask for it, and
// one whose time is up while it waits leaves its turn to the next.
func TestLockInTurn(t *testing.T) {
	testhost.NeedRoot(t)
	hostNS, guestNS := testhost.NewNamespace(t), testhost.NewNamespace(t)
	first, err := Acquire(context.Background(), connect(t, hostNS), testhost.Reopened(t, guestNS), "guest")
	if err != nil {
		t.Fatal(err)
	}
	waiting := func() (n int) {
		turns.Lock()
		defer turns.Unlock()
		for _, one := range turns.of {
			n += len(one)
		}
		return n
	}
	const runs = 5
	got := make(chan int, runs)
	var all sync.WaitGroup
	for n := range runs {
		ctx, cancel := context.WithCancel(context.Background())
		ns, host, asked := testhost.Reopened(t, guestNS), connect(t, hostNS), waiting()
		all.Go(func() {
			l, err := Acquire(ctx, host, ns, "guest")
			if err != nil {
				got <- -n
				return
			}
			got <- n
			l.Release()
		})
		if !testhost.Poll(30*time.Second, func() bool { return waiting() > asked }) {
			t.Fatal("a run does not wait")
		}
		if n == 2 {
			cancel()
			if out := <-got; out != -n {
				t.Errorf("run %d has the lock while another has it", out)
			}
		}
		defer cancel()
	}
	first.Release()
	all.Wait()
	for _, want := range []int{0, 1, 3, 4} {
		if n := <-got; n != want {
			t.Errorf("run %d has the lock before run %d, which asked first", n, want)
		}
	}
	if n := waiting(); n != 0 {
		t.Errorf("%d runs are still noted", n)
	}
}
