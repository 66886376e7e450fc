package attach

import (
	"bufio"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/rtnl"
	"golang.org/x/sys/unix"

	"github.com/gopipework/gopipework/e2e/program"
)

// TestLock: the lock of one guest excludes, ends in a timeout that says where to
// look, and keeps no other guest waiting.
func TestLock(t *testing.T) {
	needRoot(t)
	hostNS, greedy, fair := newNamespace(t), newNamespace(t), newNamespace(t)
	held, err := acquire(context.Background(), connect(t, hostNS), greedy, "test")
	if err != nil {
		t.Fatal(err)
	}
	waiting := make(chan error)
	go func() {
		_, err := Attach(context.Background(), parsed(t, "brtest web 10.0.0.2/24"), docker(greedy, 0), hostNS, Options{Timeout: 2 * time.Second})
		waiting <- err
	}()
	g := docker(fair, 0)
	g.Name, g.ID = "db", "ba9876543210"
	if _, err := Attach(context.Background(), parsed(t, "brtest db 10.0.0.3/24"), g, hostNS, Options{}); err != nil {
		t.Errorf("another guest: %v", err)
	}
	err = <-waiting
	if fault.CodeOf(err) != fault.Timeout {
		t.Errorf("a guest whose lock is held: %v; want a timeout", err)
	}
	// The hint finds who holds it.
	var f *fault.Error
	if errors.As(err, &f); f != nil {
		if out := in(t, hostNS, "sh", "-c", strings.TrimPrefix(f.Hint, "see who: ")); !strings.Contains(out, itoa(os.Getpid())) {
			t.Errorf("%q shows %q, not process %d", f.Hint, out, os.Getpid())
		}
	}
	held.release()
	if _, err := Attach(context.Background(), parsed(t, "brtest web 10.0.0.2/24"), docker(greedy, 0), hostNS, Options{}); err != nil {
		t.Errorf("once the lock is free: %v", err)
	}
}

func connect(t *testing.T, ns *os.File) *rtnl.Conn {
	t.Helper()
	c, err := rtnl.Open(ns)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// TestLockOfItself: a process without privileges in a guest takes whatever lock of
// its namespace it can get, and takes every name that could be an address. It
// delays its own attach and detach a little, and does not keep gc from anything of
// the host's.
func TestLockOfItself(t *testing.T) {
	needRoot(t)
	hostNS, guestNS := newNamespace(t), newNamespace(t)
	l := &lock{ns: guestNS}
	cmd := program.Command("nsenter", "--net=/proc/self/fd/3", os.Args[0], l.address(), (&lock{ns: hostNS}).address())
	cmd.Env = append(os.Environ(), "GOPIPEWORK_TEST_HOLD=1")
	cmd.ExtraFiles = []*os.File{guestNS}
	holdStarted(t, cmd)
	if unix.Flock(int(reopened(t, guestNS).Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil {
		t.Fatal("the guest does not hold its own lock: this proves nothing")
	}
	g := docker(guestNS, 0)
	before := snapshot(t, hostNS)
	if _, err := Attach(context.Background(), parsed(t, "brtest web 10.0.0.2/24"), g, hostNS, Options{}); err != nil {
		t.Errorf("attach: %v", err)
	}
	if _, err := Detach(context.Background(), Selection{}, g, hostNS, Options{}); err != nil {
		t.Errorf("detach: %v", err)
	}
	if _, err := GC(context.Background(), hostNS, Options{}); err != nil {
		t.Errorf("gc: %v", err)
	}
	same(t, "host", before, snapshot(t, hostNS))
}

// TestLockElsewhere: two that see different file systems, and one that works from
// another host's namespace, exclude each other all the same; and a lock ends with
// the process that holds it.
func TestLockElsewhere(t *testing.T) {
	needRoot(t)
	hostNS, otherNS, guestNS := newNamespace(t), newNamespace(t), newNamespace(t)
	take := &lock{host: connect(t, hostNS), ns: reopened(t, guestNS)}
	for name, from := range map[string]*os.File{"another mount namespace": hostNS, "another host": otherNS} {
		cmd := program.Command("unshare", "--mount", "sh", "-c", "mount -t tmpfs none /run && exec "+os.Args[0])
		cmd.Env = append(os.Environ(), "GOPIPEWORK_TEST_HOLD=2")
		cmd.ExtraFiles = []*os.File{guestNS, from}
		holdStarted(t, cmd)
		if err := take.try(); !errors.Is(err, unix.EWOULDBLOCK) {
			t.Errorf("%s: %v; want the lock to be held", name, err)
			take.release()
		}
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if err := take.try(); err != nil {
			t.Errorf("%s: after its holder was killed: %v", name, err)
		}
		take.release()
	}
}

// reopened is the namespace again, as another process would have it.
func reopened(t *testing.T, ns *os.File) *os.File {
	t.Helper()
	f, err := os.Open("/proc/self/fd/" + itoa(int(ns.Fd())))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// holdStarted starts a process of hold, and waits until it holds what it can.
func holdStarted(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "held\n" {
		t.Fatalf("%q, %v", line, err)
	}
}

// hold is a process that holds locks until it is killed: as 1, one in a guest
// without privileges; as 2, a gopipework that works on a guest.
func hold(as string) {
	switch as {
	case "1":
		for _, name := range os.Args[1:] {
			s, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM, 0)
			if err == nil {
				err = unix.Bind(s, &unix.SockaddrUnix{Name: name})
			}
			if err != nil {
				panic(err)
			}
		}
		if err := syscall.Setuid(65534); err != nil {
			panic(err)
		}
		own, err := unix.Open("/proc/self/ns/net", unix.O_RDONLY, 0)
		if err == nil {
			err = unix.Flock(own, unix.LOCK_EX)
		}
		if err != nil {
			panic(err)
		}
	case "3": // a user of the host, or root without capabilities
		if os.Getenv("GOPIPEWORK_TEST_ROOT") == "" {
			if err := syscall.Setuid(65534); err != nil {
				panic(err)
			}
		}
		flapping := os.Getenv("GOPIPEWORK_TEST_FLAP") != ""
		for first := true; first || flapping; first = false {
			var sockets []int
			for _, name := range os.Args[1:] {
				s, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM, 0)
				if err == nil {
					err = unix.Bind(s, &unix.SockaddrUnix{Name: name})
				}
				if err != nil && !flapping {
					panic(err)
				}
				sockets = append(sockets, s)
			}
			if flapping {
				if first {
					os.Stdout.WriteString("held\n")
				}
				time.Sleep(30 * time.Millisecond)
				for _, s := range sockets {
					unix.Close(s)
				}
			}
		}
	case "2":
		c, err := rtnl.Open(os.NewFile(4, "host"))
		if err == nil {
			var ns *os.File
			if ns, err = os.Open("/proc/self/fd/3"); err == nil {
				var l *lock
				l, err = acquire(context.Background(), c, ns, "guest")
				defer runtime.KeepAlive(l)
			}
		}
		if err != nil {
			panic(err)
		}
	}
	os.Stdout.WriteString("held\n")
	time.Sleep(time.Hour)
}

// TestGCWaitsForALook: what a run for another host holds for a moment, because it
// looks, is not taken for work; gc waits, and clears up.
func TestGCWaitsForALook(t *testing.T) {
	needRoot(t)
	hostNS, guestNS := newNamespace(t), newNamespace(t)
	p := program.Command("nsenter", "--net=/proc/self/fd/3", "sleep", "1d") // gc finds the guest by it
	p.ExtraFiles = []*os.File{guestNS}
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Process.Kill(); p.Wait() })
	before := snapshot(t, hostNS)
	s, g := parsed(t, "brtest web 10.0.0.2/24"), docker(guestNS, 0)
	attempt(t, s, g, hostNS, asItIs, func(p *Plan) {
		n := len(p.Steps) - 1 // all but the mark
		p.Steps = append(p.Steps[:n:n], failStep{})
		for i := range p.Steps[:n] {
			p.Steps[i] = noUndo{p.Steps[i]}
		}
	}, untold)
	other := reopened(t, guestNS)
	if err := unix.Flock(int(other.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		time.Sleep(flockPatience / 4)
		unix.Flock(int(other.Fd()), unix.LOCK_UN)
	}()
	defer func() { <-done }()
	if _, err := GC(context.Background(), hostNS, Options{}); err != nil {
		t.Fatal(err)
	}
	sameSoon(t, "host after gc", before, func() string { return snapshot(t, hostNS) })
}

// try takes the lock, or says EWOULDBLOCK at once.
func (l *lock) try() error {
	err := l.bind()
	if err == nil {
		if err = l.flock(); err != nil {
			l.release()
		}
	}
	return err
}

// squat starts a process that takes the addresses of locks in the host's namespace.
// It is an ordinary user's; or root's, with the capabilities that a container has.
func squat(t *testing.T, hostNS *os.File, as, env string, locked ...*os.File) *exec.Cmd {
	t.Helper()
	args := []string{"--net=/proc/self/fd/3"}
	if as == "root" {
		args = append(args, "setpriv", "--inh-caps=-all", "--bounding-set=-all,+net_bind_service,+net_raw,+chown,+setuid")
	}
	args = append(args, os.Args[0])
	for _, ns := range locked {
		args = append(args, (&lock{ns: ns}).address())
	}
	cmd := program.Command("nsenter", args...)
	cmd.Env = append(os.Environ(), "GOPIPEWORK_TEST_HOLD=3", env)
	if as == "root" {
		cmd.Env = append(cmd.Env, "GOPIPEWORK_TEST_ROOT=1")
	}
	cmd.ExtraFiles = []*os.File{hostNS}
	holdStarted(t, cmd)
	return cmd
}

// lockFileHere has the test's locks pass by squatters in a file of its own.
func lockFileHere(t *testing.T) {
	t.Helper()
	was := lockFile
	lockFile = filepath.Join(t.TempDir(), "lock")
	t.Cleanup(func() { lockFile = was })
}

// TestLockSquatted: somebody on the host who takes the addresses of our locks keeps
// no attach, detach or gc from its work; and runs exclude each other all the same,
// also when the squatter goes meanwhile.
func TestLockSquatted(t *testing.T) {
	needRoot(t)
	for _, as := range []string{"user", "root"} {
		t.Run(as, func(t *testing.T) {
			lockFileHere(t)
			hostNS, guestNS := newNamespace(t), newNamespace(t)
			before := snapshot(t, hostNS)
			squatter := squat(t, hostNS, as, "", hostNS, guestNS)
			g := docker(guestNS, 0)
			if _, err := Attach(context.Background(), parsed(t, "brtest web 10.0.0.2/24"), g, hostNS, Options{}); err != nil {
				t.Fatalf("attach: %v", err)
			}
			if _, err := Detach(context.Background(), Selection{}, g, hostNS, Options{}); err != nil {
				t.Errorf("detach: %v", err)
			}
			if _, err := GC(context.Background(), hostNS, Options{}); err != nil {
				t.Errorf("gc: %v", err)
			}
			same(t, "host", before, snapshot(t, hostNS))

			host := connect(t, hostNS)
			held, err := acquire(context.Background(), host, guestNS, "guest")
			if err != nil {
				t.Fatal(err)
			}
			other := &lock{host: host, ns: reopened(t, guestNS)}
			if err := other.tryPatiently(context.Background()); !errors.Is(err, unix.EWOULDBLOCK) {
				t.Errorf("two have passed by the squatter: %v", err)
			}
			_ = squatter.Process.Kill()
			_ = squatter.Wait()
			if err := other.tryPatiently(context.Background()); !errors.Is(err, unix.EWOULDBLOCK) {
				t.Errorf("one has passed by, another has the address: %v", err)
			}
			held.release()
			if err := other.tryPatiently(context.Background()); err != nil {
				t.Errorf("once it is free: %v", err)
			}
			other.release()
		})
	}
}

// TestLockSquatterFlaps: with a squatter that comes and goes at every moment, no two
// runs have a lock at once.
func TestLockSquatterFlaps(t *testing.T) {
	needRoot(t)
	lockFileHere(t)
	hostNS, guestNS := newNamespace(t), newNamespace(t)
	squat(t, hostNS, "user", "GOPIPEWORK_TEST_FLAP=1", guestNS)
	host := connect(t, hostNS)
	var inside, passed atomic.Int32
	var all sync.WaitGroup
	for range 4 {
		ns := reopened(t, guestNS)
		all.Go(func() {
			for range 15 {
				// Without the flock, which would hide it.
				l := &lock{host: host, ns: ns}
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
				l.release()
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
	needRoot(t)
	lockFileHere(t)
	hostNS, guestNS := newNamespace(t), newNamespace(t)
	cmd := program.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "GOPIPEWORK_TEST_HOLD=2")
	cmd.ExtraFiles = []*os.File{guestNS, hostNS}
	holdStarted(t, cmd)
	l := &lock{host: connect(t, hostNS), ns: guestNS}
	if err := l.passBy(); !errors.Is(err, unix.EWOULDBLOCK) {
		t.Errorf("it was passed by: %v", err)
	}
	if _, err := os.Stat(lockFile); err == nil {
		t.Error("there is a file")
	}
}
