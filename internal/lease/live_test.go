package lease

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/gopipework/gopipework/e2e/host"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/insomniacslk/dhcp/dhcpv4"
)

// These tests run on the real kernel: a host of their own, on it a server and a
// guest, and a link between them.

var (
	serverIP = net.IP{10, 9, 0, 1}
	guestIP  = net.IP{10, 9, 0, 77}
)

// net2 is a server and a guest.
type net2 struct {
	t       testing.TB
	host    *host.Host
	server  *host.Guest // its end is srv0, 10.9.0.1/24
	guest   *host.Guest // its end is eth1, up, without an address
	g       Guest
	index   int // of eth1
	keepers Keepers
}

var needRoot = host.NeedRoot

func newNet(t testing.TB) *net2 {
	t.Helper()
	needRoot(t)
	h := host.New(t)
	n := &net2{t: t, host: h, server: must(h.Guest())(t), guest: must(h.Guest())(t)}
	n.plug(n.guest)
	ns := must(os.Open(n.guest.Path()))(t)
	t.Cleanup(func() { ns.Close() })
	n.g = Guest{Namespace: ns, PID: n.guest.PID}
	self := must(os.Executable())(t)
	n.keepers = Keepers{Dir: filepath.Join(t.TempDir(), "gopipework"), Command: []string{self, keeperWord}}
	return n
}

// plug makes the link between the server and the guest.
func (n *net2) plug(g *host.Guest) {
	n.t.Helper()
	check(n.t, n.host.Run("ip", "link", "add", "srv0", "netns", strconv.Itoa(n.server.PID), "type", "veth",
		"peer", "name", "eth1").Err())
	check(n.t, n.host.Run("ip", "link", "set", "eth1", "netns", nsWord(g)).Err())
	check(n.t, n.server.Run("ip", "addr", "add", "10.9.0.1/24", "dev", "srv0").Err())
	check(n.t, n.server.Run("ip", "link", "set", "srv0", "up").Err())
	check(n.t, g.Run("ip", "link", "set", "eth1", "up").Err())
	n.index = must(g.Links())(n.t)["eth1"].Index
}

// nsWord is how ip names a guest.
func nsWord(g *host.Guest) string {
	if g.PID != 0 {
		return strconv.Itoa(g.PID)
	}
	return strings.TrimPrefix(g.Word, "netns:")
}

func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// until waits until ok says yes. How long a busy machine takes for that proves nothing.
func until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	const patience = 2 * time.Minute
	if !host.Poll(patience, ok) {
		t.Fatalf("not within %v: %s", patience, what)
	}
}

func (n *net2) dnsmasq(args ...string) *host.Dnsmasq {
	n.t.Helper()
	d := must(n.server.StartDnsmasq("srv0", "10.9.0.10,10.9.0.99,255.255.255.0,2m", args...))(n.t)
	n.t.Cleanup(func() { _ = d.Stop() })
	return d
}

// serve starts the server of a test's own.
func (n *net2) serve(answer func(*dhcpv4.DHCPv4) [][]byte) *host.DHCPServer {
	n.t.Helper()
	s := must(n.server.ServeDHCP("srv0", answer))(n.t)
	n.t.Cleanup(s.Close)
	return s
}

// short answers with leases of a few seconds.
func short(seconds int, change ...dhcpv4.Modifier) func(*dhcpv4.DHCPv4) [][]byte {
	return func(m *dhcpv4.DHCPv4) [][]byte {
		if m.MessageType() == dhcpv4.MessageTypeRelease {
			return nil
		}
		return [][]byte{host.Reply(m, serverIP, guestIP, time.Duration(seconds)*time.Second, change...)}
	}
}

func (n *net2) ask(o Options) Ask {
	return NewAsk(o, Identity{Runtime: "pid", ID: "1", Name: "web"}, "eth1", n.index)
}

func (n *net2) acquire(o Options) Lease {
	n.t.Helper()
	return must(Acquire(n.t.Context(), n.g.Namespace, n.ask(o), 0))(n.t)
}

// start gets a lease, applies it and has it kept.
func (n *net2) start(o Options) Lease {
	n.t.Helper()
	l := n.acquire(o)
	links := must(openTestLinks(n.g.Namespace))(n.t)
	defer links.Close()
	check(n.t, l.Apply(links.Link(n.ask(o)), nil, Now()))
	check(n.t, n.keepers.Keep(n.t.Context(), n.g, n.ask(o), l))
	n.t.Cleanup(func() {
		// It ends with the guest; only a failed test gets here with one.
		if pid := n.keeperPID(); pid != 0 {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	})
	return l
}

// keeperPID is the process that holds the guest's lock; 0 if there is none.
func (n *net2) keeperPID() int {
	self, _ := os.Executable()
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		line, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		args := strings.Split(string(line), "\x00")
		if len(args) > 3 && args[0] == self && args[1] == keeperWord && args[2] == n.keepers.Dir {
			return pid
		}
	}
	return 0
}

func (n *net2) addrs() string {
	return n.guest.Run("ip", "-4", "-o", "addr", "show", "dev", "eth1").Stdout
}

func (n *net2) files() []string {
	f, _ := filepath.Glob(filepath.Join(n.keepers.Dir, "*"))
	return f
}

// signal sends the keeper a signal.
func (n *net2) signal(s syscall.Signal) (pid int) {
	n.t.Helper()
	if pid = n.keeperPID(); pid == 0 { // to the kernel, that is the test's own process group
		n.t.Fatal("there is no keeper")
	}
	check(n.t, syscall.Kill(pid, s))
	return pid
}

// gone waits until neither keeper nor file is left.
func (n *net2) gone() {
	n.t.Helper()
	until(n.t, "no keeper and no file is left", func() bool { return n.keeperPID() == 0 && len(n.files()) == 0 })
}

func TestLiveDnsmasq(t *testing.T) {
	n := newNet(t)
	d := n.dnsmasq("--dhcp-option=option:router,10.9.0.1", "--dhcp-option=option:mtu,1400",
		"--dhcp-option=option:dns-server,10.9.0.1", "--dhcp-option=option:domain-search,a.lan,b.lan", "--domain=lan",
		"--dhcp-option=121,10.8.0.0/16,10.9.0.2,0.0.0.0/0,10.9.0.1")
	o := must(ParseOptions("hostname=web1,vendor-class=test,request=10.9.0.42,client-id=myid"))(t)
	l := n.start(o)
	if l.Address != prefix("10.9.0.42/24") || l.Server != addr("10.9.0.1") || l.MTU != 1400 || l.Domain != "lan" ||
		l.Time != 2*time.Minute || l.T1 >= l.T2 || len(l.DNS) != 1 || len(l.Search) != 2 || len(l.Routes) != 2 {
		t.Errorf("%+v", l)
	}
	check(t, n.guest.Run("ping", "-c", "1", "-w", "30", "10.9.0.1").Err())
	routes := n.guest.Run("ip", "route").Stdout
	for _, want := range []string{"default via 10.9.0.1 dev eth1", "src 10.9.0.42", "10.8.0.0/16 via 10.9.0.2"} {
		if !strings.Contains(routes, want) {
			t.Errorf("no %q in\n%s", want, routes)
		}
	}
	if a := n.addrs(); !strings.Contains(a, "10.9.0.42/24") || strings.Contains(a, "forever") {
		t.Errorf("%s", a)
	}
	if links := must(n.guest.Links())(t); links["eth1"].MTU != 1400 {
		t.Errorf("the MTU is %d", links["eth1"].MTU)
	}
	if lf := d.Leases(); !strings.Contains(lf, "10.9.0.42 web1 00:6d:79:69:64") {
		t.Errorf("its leases: %s", lf)
	}
	if !strings.Contains(d.Log(), "vendor class: test") {
		t.Errorf("no vendor class in\n%s", d.Log())
	}

	kept := must(n.keepers.List(n.g))(t)
	if len(kept) != 1 || kept[0].Lease.Address != l.Address || kept[0].Trouble != "" {
		t.Errorf("kept: %+v", kept)
	}
	found := must(n.keepers.Release(t.Context(), n.g, n.index))(t)
	if !found || n.addrs() != "" || strings.Contains(n.guest.Run("ip", "route").Stdout, "10.9") {
		t.Errorf("released %v: %s", found, n.addrs())
	}
	until(t, "the server logs the release", func() bool { return strings.Contains(d.Log(), "DHCPRELEASE(srv0) 10.9.0.42") })
	n.gone()
	if found := must(n.keepers.Release(t.Context(), n.g, n.index))(t); found || n.keeperPID() != 0 {
		t.Error("it is released twice")
	}
}

// Over several leases of a few seconds the address stays, without a gap. They are long
// enough that a machine which stands still for some seconds makes none.
func TestLiveRenews(t *testing.T) {
	t.Parallel()
	n := newNet(t)
	var renewals atomic.Int32
	n.serve(func(m *dhcpv4.DHCPv4) [][]byte {
		if !m.ClientIPAddr.IsUnspecified() {
			renewals.Add(1)
		}
		return short(14)(m)
	})
	n.start(Options{})
	// Notes every address that goes: a gap would be one.
	monitor := n.guest.Command(t.Context(), "ip", "-4", "monitor", "address", "dev", "eth1")
	var seen strings.Builder
	monitor.Stdout = &seen
	check(t, monitor.Start())
	until(t, "three renewals", func() bool { return renewals.Load() >= 3 })
	check(t, n.guest.Run("ping", "-c", "1", "-w", "30", "10.9.0.1").Err())
	_ = monitor.Process.Kill()
	_ = monitor.Wait()
	if strings.Contains(seen.String(), "Deleted") {
		t.Errorf("a gap:\n%s", seen.String())
	}
	check(t, n.guest.Kill())
	n.gone()
}

// Nobody answers any more: the address goes when the lease ends; and comes back
// with the server.
func TestLiveServerGone(t *testing.T) {
	t.Parallel()
	n := newNet(t)
	var silent atomic.Bool
	n.serve(func(m *dhcpv4.DHCPv4) [][]byte {
		if silent.Load() {
			return nil
		}
		return short(4, raw(3, 10, 9, 0, 1))(m)
	})
	n.start(Options{})
	silent.Store(true)
	until(t, "the address is gone", func() bool { return n.addrs() == "" })
	until(t, "its routes are gone", func() bool { return n.guest.Run("ip", "route").Stdout == "" })
	until(t, "the record says so", func() bool {
		kept, err := n.keepers.List(n.g)
		return err == nil && len(kept) == 1 && kept[0].Lease == nil && strings.Contains(kept[0].Trouble, "no server answered")
	})
	silent.Store(false)
	until(t, "the address is back", func() bool { return strings.Contains(n.addrs(), "10.9.0.77/24") })
	check(t, n.guest.Kill())
	n.gone()
}

// The kernel takes the address and its routes away when the keeper cannot.
func TestLiveKeeperKilledAndLeaseEnds(t *testing.T) {
	t.Parallel()
	n := newNet(t)
	n.serve(short(4, raw(3, 10, 9, 0, 1)))
	n.start(Options{})
	n.signal(syscall.SIGKILL)
	until(t, "the address is gone", func() bool { return n.addrs() == "" })
	until(t, "its routes are gone", func() bool { return n.guest.Run("ip", "route").Stdout == "" })
}

func TestLiveNAK(t *testing.T) {
	t.Parallel()
	n := newNet(t)
	var no atomic.Bool
	var discovers atomic.Int32
	n.serve(func(m *dhcpv4.DHCPv4) [][]byte {
		if m.MessageType() == dhcpv4.MessageTypeDiscover && no.Load() {
			discovers.Add(1)
		}
		if m.MessageType() == dhcpv4.MessageTypeRequest && no.Load() {
			return [][]byte{host.Reply(m, serverIP, nil, 0, dhcpv4.WithMessageType(dhcpv4.MessageTypeNak))}
		}
		return short(10)(m)
	})
	n.start(Options{})
	no.Store(true)
	// T1 is 5 s, the end 10 s.
	until(t, "the address is deleted", func() bool { return n.addrs() == "" })
	until(t, "it asks again", func() bool { return discovers.Load() > 0 })
	no.Store(false)
	until(t, "the address is back", func() bool { return n.addrs() != "" })
	check(t, n.guest.Kill())
	n.gone()
}

func TestLiveKeeperIsKilledAndGoesOn(t *testing.T) {
	n := newNet(t)
	d := n.dnsmasq()
	l := n.start(Options{})
	first := n.keeperPID()
	check(t, n.keepers.Wake(t.Context(), n.g))
	if n.keeperPID() != first {
		t.Error("a keeper that runs was started again")
	}
	n.signal(syscall.SIGKILL)
	until(t, "it is dead", func() bool { return n.keeperPID() == 0 })
	before := strings.Count(d.Log(), "DHCPDISCOVER")
	// A process that is dying has no name any more, and its files still.
	until(t, "another one runs", func() bool {
		if removed := must(n.keepers.Sweep(t.Context(), false))(t); len(removed) != 0 {
			t.Fatalf("removed %q", removed)
		}
		return n.keeperPID() != 0
	})
	kept := must(n.keepers.List(n.g))(t)
	if len(kept) != 1 || kept[0].Lease.At != l.At || kept[0].Lease.Address != l.Address || strings.Count(d.Log(), "DHCPDISCOVER") != before {
		t.Errorf("it goes on with %+v, had %+v", kept, l)
	}
	// It is a whole one: it can release.
	if found := must(n.keepers.Release(t.Context(), n.g, n.index))(t); !found {
		t.Error("the second knows of no lease")
	}
	until(t, "the server logs the release", func() bool { return strings.Contains(d.Log(), "DHCPRELEASE") })
	n.gone()
}

// Release finds a killed keeper, and has its work done all the same.
func TestLiveReleaseAfterKill(t *testing.T) {
	n := newNet(t)
	d := n.dnsmasq()
	n.start(Options{})
	n.signal(syscall.SIGKILL)
	if found := must(n.keepers.Release(t.Context(), n.g, n.index))(t); !found {
		t.Error("no lease is known")
	}
	until(t, "the server logs the release", func() bool { return strings.Contains(d.Log(), "DHCPRELEASE") })
	n.gone()
}

func TestLiveGuestEnds(t *testing.T) {
	n := newNet(t)
	n.dnsmasq()
	n.start(Options{})
	n.g.Namespace.Close()
	inode := must(os.Readlink(n.guest.Path()))(t)
	check(t, n.guest.Kill())
	n.gone()
	// Nobody holds the namespace: the server's end of the pair went with it.
	// The kernel takes its time with that.
	until(t, "the namespace "+inode+" is gone", func() bool { return must(n.server.Links())(t)["srv0"].Name == "" })
}

// Also with the keeper dead: gc removes what is left.
func TestLiveSweepAfterGuest(t *testing.T) {
	n := newNet(t)
	n.dnsmasq()
	n.start(Options{})
	n.signal(syscall.SIGKILL)
	cookie := must(n.g.identity())(t).Cookie
	st := must(openStore(n.keepers.Dir))(t)
	defer st.Close()
	until(t, "it is dead, and its lock is free", func() bool {
		l, err := st.lock(cookie)
		if err != nil {
			return false
		}
		l.Close()
		return true
	})
	check(t, n.guest.Kill())
	for _, dry := range []bool{true, false} {
		removed := must(n.keepers.Sweep(t.Context(), dry))(t)
		if len(removed) != 1 || (len(n.files()) == 0) == dry {
			t.Errorf("dry run %v: removed %q, left %q", dry, removed, n.files())
		}
	}
	if n.keeperPID() != 0 {
		t.Error("a keeper runs for a dead guest")
	}
}

func TestLiveNamedNamespace(t *testing.T) {
	n := newNet(t)
	check(t, n.server.Run("ip", "link", "del", "srv0").Err())
	// On the test's own mounts the path of a namespace is that of a file that
	// it is mounted on; the holder's are not seen here.
	file := filepath.Join(t.TempDir(), "blue")
	check(t, os.WriteFile(file, nil, 0o600))
	check(t, syscall.Mount(n.guest.Path(), file, "", syscall.MS_BIND, ""))
	mounted := true
	defer func() {
		if mounted {
			_ = syscall.Unmount(file, syscall.MNT_DETACH)
		}
	}()
	n.plug(n.guest)
	n.g.PID, n.g.Path = 0, file
	n.dnsmasq()
	n.start(Options{})
	time.Sleep(2 * look) // it must not end by itself
	if n.keeperPID() == 0 {
		t.Fatal("the keeper ended")
	}
	check(t, syscall.Unmount(file, syscall.MNT_DETACH))
	mounted = false
	n.gone()
}

func TestLiveInterfaceGone(t *testing.T) {
	n := newNet(t)
	n.dnsmasq()
	n.start(Options{})
	check(t, n.guest.Run("ip", "link", "add", "other", "type", "veth", "peer", "name", "otherpeer").Err())
	check(t, n.guest.Run("ip", "link", "del", "other").Err())
	check(t, n.guest.Run("ip", "link", "set", "eth1", "name", "renamed").Err())
	time.Sleep(5 * calm)
	if n.keeperPID() == 0 {
		t.Fatal("the keeper ended with another's link, or a name")
	}
	check(t, n.guest.Run("ip", "link", "del", "renamed").Err())
	n.gone()
}

func TestLiveTwoInterfaces(t *testing.T) {
	n := newNet(t)
	n.dnsmasq()
	n.start(Options{})
	first := n.keeperPID()
	// The same interface once more, as a second attach would.
	l := n.acquire(Options{})
	check(t, n.keepers.Keep(t.Context(), n.g, n.ask(Options{}), l))
	// And one with a number of its own: a name for what is not there is enough.
	other := n.ask(Options{})
	check(t, n.guest.Run("ip", "link", "add", "eth2", "type", "veth", "peer", "name", "eth2peer").Err())
	other.IfName, other.Index = "eth2", must(n.guest.Links())(t)["eth2"].Index
	l2 := l
	l2.Address = prefix("10.10.0.5/24")
	l2.Routes = nil
	check(t, n.keepers.Keep(t.Context(), n.g, other, l2))
	if kept := must(n.keepers.List(n.g))(t); len(kept) != 2 || n.keeperPID() != first {
		t.Errorf("%d kept by %d, first %d", len(kept), n.keeperPID(), first)
	}
	must(n.keepers.Release(t.Context(), n.g, other.Index))(t)
	if kept := must(n.keepers.List(n.g))(t); len(kept) != 1 || n.keeperPID() != first {
		t.Errorf("%d kept by %d, first %d", len(kept), n.keeperPID(), first)
	}
	// Many at once find one keeper.
	errs := make(chan error)
	for range 4 {
		go func() { errs <- n.keepers.Keep(t.Context(), n.g, n.ask(Options{}), l) }()
	}
	for range 4 {
		check(t, <-errs)
	}
	check(t, n.keepers.Stop(t.Context(), n.g))
	until(t, "it has stopped", func() bool { return n.keeperPID() == 0 })
	if !strings.Contains(n.addrs(), "10.9.0.") || len(must(n.keepers.List(n.g))(t)) != 1 {
		t.Error("to stop is not to release")
	}
	check(t, n.guest.Kill())
}

// Four starts at once, and one keeper.
func TestLiveStartTogether(t *testing.T) {
	n := newNet(t)
	n.dnsmasq()
	l := n.acquire(Options{})
	errs := make(chan error)
	for range 4 {
		go func() { errs <- n.keepers.Keep(t.Context(), n.g, n.ask(Options{}), l) }()
	}
	for range 4 {
		check(t, <-errs)
	}
	if kept := must(n.keepers.List(n.g))(t); len(kept) != 1 {
		t.Errorf("%d are kept", len(kept))
	}
	check(t, n.guest.Kill())
	n.gone()
}

func TestLiveKeeperMemory(t *testing.T) {
	n := newNet(t)
	n.serve(short(2))
	n.start(Options{})
	time.Sleep(4 * time.Second) // some renewals
	status := string(must(os.ReadFile(fmt.Sprintf("/proc/%d/status", n.keeperPID())))(t))
	_, rss, _ := strings.Cut(status, "VmRSS:")
	kib, err := strconv.Atoi(strings.Fields(rss)[0])
	check(t, err)
	t.Logf("a keeper has %d KiB", kib)
	if kib >= 15<<10 && !raced {
		t.Errorf("a keeper has %d KiB, 15 MB at most", kib)
	}
	check(t, n.guest.Kill())
	n.gone()
}

func TestLiveAcquireFails(t *testing.T) {
	t.Parallel()
	n := newNet(t)
	bad := map[string]func(*dhcpv4.DHCPv4) [][]byte{
		"silence": func(*dhcpv4.DHCPv4) [][]byte { return nil },
		"garbage": func(m *dhcpv4.DHCPv4) [][]byte {
			const options = 240 // where they begin
			long := append(host.Reply(m, serverIP, guestIP, time.Minute)[:options], 53, 1, byte(dhcpv4.MessageTypeOffer), 12, 255, 'x')
			return [][]byte{{}, []byte("garbage"), make([]byte, 1400), long}
		},
		"nonsense": short(0),
		"multicast": func(m *dhcpv4.DHCPv4) [][]byte {
			return [][]byte{host.Reply(m, serverIP, net.IP{224, 0, 0, 1}, time.Minute)}
		},
		"somebody else's": func(m *dhcpv4.DHCPv4) [][]byte {
			return [][]byte{host.Reply(m, serverIP, guestIP, time.Minute, dhcpv4.WithHwAddr(net.HardwareAddr{2, 3, 4, 5, 6, 7}))}
		},
	}
	for name, answer := range bad {
		s := n.serve(answer)
		began := time.Now()
		l, err := Acquire(t.Context(), n.g.Namespace, n.ask(Options{}), 2*time.Second)
		if fault.CodeOf(err) != fault.Timeout || time.Since(began) > 30*time.Second {
			t.Errorf("%s: %+v, %v after %v", name, l, err, time.Since(began))
		}
		t.Logf("%s: %v", name, err)
		s.Close()
	}
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(50*time.Millisecond, cancel)
	if _, err := Acquire(ctx, n.g.Namespace, n.ask(Options{}), 0); !errors.Is(err, context.Canceled) {
		t.Errorf("interrupted: %v", err)
	}
	check(t, n.guest.Run("ip", "link", "set", "eth1", "down").Err())
	if _, err := Acquire(t.Context(), n.g.Namespace, n.ask(Options{}), 30*time.Second); fault.CodeOf(err) != fault.Failed || !strings.Contains(err.Error(), "down") {
		t.Errorf("down: %v", err)
	}
	if a := n.addrs(); a != "" {
		t.Errorf("something was set: %s", a)
	}
}

// A store that others can write to, and links in place of its files.
func TestStoreIsOursAlone(t *testing.T) {
	dir := t.TempDir()
	open := filepath.Join(dir, "open")
	check(t, os.Mkdir(open, 0o700))
	check(t, os.Chmod(open, 0o777))
	if _, err := openStore(open); err == nil {
		t.Error("one that all can write to is taken")
	}
	check(t, os.Symlink(open, filepath.Join(dir, "link")))
	if _, err := openStore(filepath.Join(dir, "link")); err == nil {
		t.Error("a link is followed")
	}
	s := must(openStore(filepath.Join(dir, "good")))(t)
	defer s.Close()
	victim := filepath.Join(dir, "victim")
	check(t, os.WriteFile(victim, []byte("{}"), 0o600))
	for _, name := range []string{fileOf(7, lockName), fileOf(7, recordName), "." + fileOf(7, recordName)} {
		check(t, os.Symlink(victim, filepath.Join(dir, "good", name)))
	}
	if _, err := s.lock(7); err == nil {
		t.Error("a linked lock is taken")
	}
	if _, err := s.load(7); err == nil {
		t.Error("a linked record is read")
	}
	check(t, s.save(record{Guest: identity{Cookie: 7}}))
	if b := must(os.ReadFile(victim))(t); string(b) != "{}" {
		t.Errorf("what a link points to is %q", b)
	}
	if r := must(s.load(7))(t); r.Guest.Cookie != 7 {
		t.Errorf("%+v", r)
	}
}

func TestStoreLock(t *testing.T) {
	s := must(openStore(filepath.Join(t.TempDir(), "s")))(t)
	defer s.Close()
	one := must(s.lock(7))(t)
	if _, err := s.lock(7); !errors.Is(err, errHeld) {
		t.Errorf("a second lock: %v", err)
	}
	s.remove(7)
	two := must(s.lock(7))(t) // another file
	defer two.Close()
	one.Close()
	if _, err := s.lock(7); !errors.Is(err, errHeld) {
		t.Errorf("a third lock: %v", err)
	}
}

// The directory goes with its last file, and comes back under who has it open.
func TestStoreDirectory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "s")
	s, other := must(openStore(dir))(t), must(openStore(dir))(t)
	other.Close()
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("an empty directory stays: %v", err)
	}
	lock := must(s.lock(7))(t)
	defer lock.Close()
	must(openStore(dir))(t).Close()
	check(t, s.save(record{Guest: identity{Cookie: 7}}))
	if _, err := os.Stat(filepath.Join(dir, fileOf(7, recordName))); err != nil {
		t.Error(err)
	}
	s.remove(7)
	s.Close()
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the directory outlives its last file: %v", err)
	}
}

// A keeper that does not answer does not hold anybody up for ever.
func TestLiveKeeperHangs(t *testing.T) {
	n := newNet(t)
	n.dnsmasq()
	n.start(Options{})
	pid := n.keeperPID()
	check(t, host.Stop(pid))
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	_, err := n.keepers.Release(ctx, n.g, n.index)
	if fault.CodeOf(err) != fault.Timeout {
		t.Errorf("asked a stopped keeper: %v", err)
	}
	check(t, syscall.Kill(pid, syscall.SIGCONT))
	check(t, n.guest.Kill())
	n.gone()
}

// SIGTERM ends a keeper and releases nothing: the next one goes on.
func TestLiveTerminated(t *testing.T) {
	n := newNet(t)
	d := n.dnsmasq()
	n.start(Options{})
	n.signal(syscall.SIGTERM)
	until(t, "it has ended", func() bool { return n.keeperPID() == 0 })
	if !strings.Contains(n.addrs(), "10.9.0.") || strings.Contains(d.Log(), "DHCPRELEASE") {
		t.Errorf("it released: %s", n.addrs())
	}
	check(t, n.keepers.Wake(t.Context(), n.g))
	if kept := must(n.keepers.List(n.g))(t); n.keeperPID() == 0 || len(kept) != 1 {
		t.Errorf("the next one is %d, and keeps %+v", n.keeperPID(), kept)
	}
	check(t, n.guest.Kill())
	n.gone()
}

// What undoes an attach: no keeper, and the server is told all the same.
func TestLiveReleaseWithoutKeeper(t *testing.T) {
	n := newNet(t)
	d := n.dnsmasq()
	l := n.acquire(Options{})
	links := must(openTestLinks(n.g.Namespace))(t)
	defer links.Close()
	link := links.Link(n.ask(Options{}))
	check(t, l.Apply(link, nil, Now()))
	check(t, Release(n.g.Namespace, n.ask(Options{}), l))
	check(t, l.Withdraw(link))
	check(t, l.Withdraw(link)) // what is gone is gone
	until(t, "the server logs the release", func() bool { return strings.Contains(d.Log(), "DHCPRELEASE(srv0) "+l.Address.Addr().String()) })
	if n.addrs() != "" || len(n.files()) != 0 {
		t.Errorf("left: %s %q", n.addrs(), n.files())
	}
	if got := n.acquire(Options{}); got.Address != l.Address {
		t.Errorf("the same guest got %v, then %v", l.Address, got.Address)
	}
}

// A real server, and somebody who sits on the address that it gives first.
func TestDeclineLive(t *testing.T) {
	n := newNet(t)
	d := n.dnsmasq()
	first := n.acquire(Options{})
	taken := first.Address.Addr().String()
	holder := must(n.host.Guest())(t)
	check(t, n.server.Run("ip", "link", "add", "link", "srv0", "name", "eth1", "netns", strconv.Itoa(holder.PID), "type", "macvlan", "mode", "bridge").Err())
	check(t, holder.Run("sh", "-ec", "ip address add "+taken+"/24 dev eth1; ip link set eth1 up").Err())
	until(t, "it can send", func() bool { return must(holder.Links())(t)["eth1"].State == "UP" })
	a := n.ask(Options{})
	a.ACD = true
	l, err := Acquire(t.Context(), n.g.Namespace, a, 0)
	if err != nil || l.Address == first.Address {
		t.Fatalf("%v, %v; want another address than %s\n%s", l.Address, err, taken, d.Log())
	}
	if log := d.Log(); !strings.Contains(log, "DHCPDECLINE(srv0) "+taken) {
		t.Errorf("the server was not told:\n%s", log)
	}
}
