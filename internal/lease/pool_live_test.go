package lease

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/gopipework/gopipework/e2e/program"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/insomniacslk/dhcp/dhcpv4"
)

// poolWord makes this program one that keeps all leases, until SIGTERM.
const poolWord = "lease-pool"

func servePool(ctx context.Context, dir string) error {
	own, err := os.Open("/proc/self/ns/net")
	if err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	p, err := NewPool(PoolOptions{After: Keepers{Dir: dir, Command: []string{self, keeperWord}}, Host: own, Open: openTestLinks})
	if err != nil {
		return err
	}
	<-ctx.Done()
	return p.Close(context.Background())
}

// told collects events.
type told struct {
	mu  sync.Mutex
	all []Event
}

func (l *told) tell(e Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = append(l.all, e)
}

func (l *told) count(w What) (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range l.all {
		if e.What == w {
			n++
		}
	}
	return n
}

// pool keeps what is kept in the directory of n, in this process.
func (n *net2) pool(open OpenLinks, tell func(Event)) *Pool {
	n.t.Helper()
	own := must(os.Open("/proc/self/ns/net"))(n.t)
	n.t.Cleanup(func() { own.Close() })
	p := must(NewPool(PoolOptions{After: n.keepers, Host: own, Open: open, Tell: tell}))(n.t)
	n.t.Cleanup(func() { _ = p.Close(context.Background()) })
	return p
}

// another is one more guest, on a network of its own, whose keeper has its files beside
// those of n.
func (n *net2) another() *net2 {
	n.t.Helper()
	m := newNet(n.t)
	m.keepers = n.keepers
	return m
}

func (n *net2) cookie() uint64 { return must(n.g.identity())(n.t).Cookie }

// kept waits until the pool keeps the leases of the guests, and no process does.
func (p *Pool) has(t *testing.T, guests ...*net2) {
	t.Helper()
	until(t, "the pool keeps all", func() bool {
		for _, n := range guests {
			if !p.keeps(n.cookie()) {
				return false
			}
		}
		return guests[0].keeperPID() == 0
	})
}

// gap notes when the guest's address is deleted.
func (n *net2) gap() (seen func() bool) {
	n.t.Helper()
	monitor := n.guest.Command(n.t.Context(), "ip", "-4", "monitor", "address", "dev", "eth1")
	var text strings.Builder
	monitor.Stdout = &text
	check(n.t, monitor.Start())
	return func() bool {
		_ = monitor.Process.Kill()
		_ = monitor.Wait()
		return strings.Contains(text.String(), "Deleted")
	}
}

// asked counts what a server is asked.
type asked struct{ discovers, renewals, releases atomic.Int32 }

func (a *asked) server(seconds int) func(*dhcpv4.DHCPv4) [][]byte {
	return func(m *dhcpv4.DHCPv4) [][]byte {
		switch {
		case m.MessageType() == dhcpv4.MessageTypeDiscover:
			a.discovers.Add(1)
		case m.MessageType() == dhcpv4.MessageTypeRelease:
			a.releases.Add(1)
		case !m.ClientIPAddr.IsUnspecified():
			a.renewals.Add(1)
		}
		return short(seconds)(m)
	}
}

// Keepers of two guests are taken over, renew here, and are relieved by others: no
// server hears of it, and no address goes.
func TestLivePoolTakesOverAndHandsOver(t *testing.T) {
	t.Parallel()
	one := newNet(t)
	two := one.another()
	all := []*net2{one, two}
	var servers [2]asked
	var first [2]int32 // on a busy machine one may ask again
	var gaps []func() bool
	for i, n := range all {
		n.serve(servers[i].server(14))
		n.start(Options{})
		first[i] = servers[i].discovers.Load()
		gaps = append(gaps, n.gap())
	}
	// Whoever looks meanwhile sees that the lease is kept.
	stop := make(chan struct{})
	var look sync.WaitGroup
	look.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			if kept, err := two.keepers.List(two.g); err != nil || len(kept) != 1 || kept[0].Unkept {
				t.Errorf("somebody sees %+v, %v", kept, err)
				return
			}
		}
	})
	var events told
	for range 3 {
		p := one.pool(openTestLinks, events.tell)
		p.has(t, all...)
		check(t, p.Close(t.Context()))
		for _, n := range all {
			if kept := must(n.keepers.List(n.g))(t); n.keeperPID() == 0 || len(kept) != 1 || kept[0].Unkept {
				t.Fatalf("after the pool: %+v", kept)
			}
		}
	}
	close(stop)
	look.Wait()
	if len(events.all) != 6 || events.count(TakenOver) != 6 {
		t.Errorf("it tells %+v", events.all)
	}
	p := one.pool(openTestLinks, events.tell)
	p.has(t, all...)
	before := [2]int32{servers[0].renewals.Load(), servers[1].renewals.Load()}
	until(t, "both leases are renewed", func() bool {
		return servers[0].renewals.Load() > before[0] && servers[1].renewals.Load() > before[1] && events.count(Renewed) >= 2
	})
	for i, n := range all {
		check(t, n.guest.Run("ping", "-c", "1", "-w", "30", "10.9.0.1").Err())
		if gaps[i]() || servers[i].discovers.Load() != first[i] || servers[i].releases.Load() != 0 {
			t.Errorf("guest %d: %d discovers, %d releases", i, servers[i].discovers.Load(), servers[i].releases.Load())
		}
	}
	// The end of one guest is the end of its lease alone.
	gone := one.cookie()
	check(t, one.guest.Kill())
	until(t, "nothing is kept of the guest that has ended", func() bool { return !p.keeps(gone) })
	until(t, "its end is told", func() bool { return events.count(Ended) == 1 })
	if n := p.Leases(); !p.keeps(two.cookie()) || n != 1 {
		t.Errorf("%d leases: the other guest's is kept: %v", n, p.keeps(two.cookie()))
	}
	// Another process releases as ever.
	if found := must(two.keepers.Release(t.Context(), two.g, two.index))(t); !found || two.addrs() != "" {
		t.Errorf("released %v: %s", found, two.addrs())
	}
	until(t, "the server hears of the release", func() bool { return servers[1].releases.Load() == 1 })
	until(t, "its event is told", func() bool { return events.count(Released) == 1 })
	check(t, p.Close(t.Context()))
	one.gone()
}

// What is attached while a pool keeps: by this process, which starts none, and by another,
// whose keeper is taken over.
func TestLivePoolKeepsNewLeases(t *testing.T) {
	t.Parallel()
	one := newNet(t)
	two := one.another()
	one.serve(short(60))
	two.serve(short(60))
	var events told
	p := one.pool(openTestLinks, events.tell)
	one.keepers.Pool = p
	one.start(Options{})
	if one.keeperPID() != 0 || !p.keeps(one.cookie()) || events.count(Acquired) != 1 {
		t.Errorf("process %d keeps it; told %+v", one.keeperPID(), events.all)
	}
	two.start(Options{})
	p.has(t, one, two)

	own := must(os.Open("/proc/self/ns/net"))(t)
	defer own.Close()
	if _, err := NewPool(PoolOptions{After: one.keepers, Host: own, Open: openTestLinks}); fault.CodeOf(err) != fault.Conflict {
		t.Errorf("a second pool: %v", err)
	}
	for _, n := range []*net2{one, two} {
		check(t, n.guest.Kill())
	}
	until(t, "nothing is kept", func() bool { p.mu.Lock(); defer p.mu.Unlock(); return len(p.here) == 0 })
	check(t, p.Close(t.Context()))
	if f := one.files(); len(f) != 0 {
		t.Errorf("left are %q", f)
	}
}

// A process with a pool is killed: its leases are taken up by the next one, and by a
// keeper of their own where none comes. Ended by SIGTERM, it hands them over.
func TestLivePoolProcessEnds(t *testing.T) {
	t.Parallel()
	n := newNet(t)
	var server asked
	n.serve(server.server(60))
	l := n.start(Options{})
	first := server.discovers.Load() // on a busy machine it may ask again
	gap := n.gap()
	begin := func() (end func(syscall.Signal)) {
		cmd := program.Command(must(os.Executable())(t), poolWord, n.keepers.Dir)
		check(t, cmd.Start())
		done := false
		t.Cleanup(func() {
			if !done {
				_ = cmd.Process.Kill()
				_ = cmd.Wait()
			}
		})
		until(t, "it keeps the lease", func() bool { return n.keeperPID() == 0 && len(listening(n)) == 1 })
		return func(s syscall.Signal) {
			check(t, cmd.Process.Signal(s))
			_ = cmd.Wait()
			done = true
		}
	}
	begin()(syscall.SIGKILL)
	if kept := must(n.keepers.List(n.g))(t); len(kept) != 1 || !kept[0].Unkept {
		t.Fatalf("after the kill: %+v", kept)
	}
	begin()(syscall.SIGTERM)
	if n.keeperPID() == 0 || len(listening(n)) != 1 {
		t.Error("it does not hand the lease over")
	}
	begin()(syscall.SIGKILL)
	if removed := must(n.keepers.Sweep(t.Context(), false))(t); len(removed) != 0 || n.keeperPID() == 0 {
		t.Errorf("removed %q, and keeper %d runs", removed, n.keeperPID())
	}
	if kept := must(n.keepers.List(n.g))(t); len(kept) != 1 || kept[0].Lease.At != l.At {
		t.Errorf("kept: %+v", kept)
	}
	if gap() || server.discovers.Load() != first || server.releases.Load() != 0 {
		t.Errorf("%d discovers, first %d, and %d releases", server.discovers.Load(), first, server.releases.Load())
	}
	check(t, n.guest.Kill())
	n.gone()
}

// listening is what is kept of the guest, if its keeper runs.
func listening(n *net2) []Kept {
	kept := must(n.keepers.List(n.g))(n.t)
	if len(kept) > 0 && kept[0].Unkept {
		return nil
	}
	return kept
}

// faultyLink is a link on which our own code has a fault: it panics, or never returns.
type faultyLink struct {
	testLink
	hangs chan struct{} // nil: it panics; closed: what hangs goes on
}

func (l faultyLink) SetAddr(netip.Prefix, time.Duration, time.Duration) error {
	if l.hangs == nil {
		panic("none")
	}
	<-l.hangs
	return nil
}

type faultyLinks struct {
	testLinks
	hangs chan struct{}
}

func (l faultyLinks) Link(a Ask) Link { return faultyLink{testLink{l.h, a.Index}, l.hangs} }

// A fault in the code that keeps a lease, and a call that never returns, hold up neither
// another guest nor the end of the pool.
func TestLivePoolFaultOfOneGuest(t *testing.T) {
	t.Parallel()
	good := newNet(t)
	panics, hangs := good.another(), good.another()
	all := []*net2{good, panics, hangs}
	var server asked
	good.serve(server.server(10))
	panics.serve(short(60))
	hangs.serve(short(60))
	for _, n := range all {
		n.start(Options{})
	}
	forever := make(chan struct{})
	defer close(forever)
	var events told
	p := good.pool(func(ns *os.File) (Links, error) {
		l, err := openTestLinks(ns)
		switch {
		case err != nil:
			return nil, err
		case sameNamespace(ns, panics):
			return faultyLinks{l.(testLinks), nil}, nil
		case sameNamespace(ns, hangs):
			return faultyLinks{l.(testLinks), forever}, nil
		}
		return l, nil
	}, events.tell)
	p.has(t, all...)
	until(t, "the fault is told and noted", func() bool {
		kept, err := panics.keepers.List(panics.g)
		return err == nil && len(kept) == 1 && strings.Contains(kept[0].Trouble, "a fault in gopipework") && events.count(Trouble) > 0
	})
	until(t, "the good lease is renewed", func() bool { return server.renewals.Load() > 0 })
	check(t, p.Close(t.Context()))
	for i, n := range all {
		if len(listening(n)) != 1 {
			t.Errorf("guest %d is not handed over", i)
		}
		check(t, n.guest.Kill())
	}
	good.gone()
}

func sameNamespace(ns *os.File, n *net2) bool {
	a, err := ns.Stat()
	b, again := n.g.Namespace.Stat()
	return errors.Join(err, again) == nil && os.SameFile(a, b)
}
