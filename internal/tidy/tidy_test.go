//go:build amd64

package tidy

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gopipework/gopipework/e2e/host"
	"github.com/gopipework/gopipework/e2e/program"
	"github.com/gopipework/gopipework/internal/nsfs"
	"github.com/gopipework/gopipework/internal/rtnl"
	"github.com/gopipework/gopipework/internal/witness"
)

// proberWord makes this program one that probes.
const proberWord = "prober"

func TestMain(m *testing.M) {
	var err error
	switch {
	case len(os.Args) > 1 && os.Args[1] == Word:
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
		defer stop()
		err = Serve(ctx, os.Args[2:], os.Stdout)
	case len(os.Args) > 1 && os.Args[1] == proberWord:
		err = probe(os.NewFile(3, "a"), os.NewFile(4, "b"))
	default:
		os.Exit(m.Run())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

const own, far, own6, far6 = "10.9.0.2", "10.9.0.3", "fd09::2", "fd09::3"

// pair is two guests with one wire between them.
func pair(t testing.TB) (a, b *os.File) {
	t.Helper()
	host.NeedRoot(t)
	a, b = host.NewNamespace(t), host.NewNamespace(t)
	sh(t, "ip link set lo up; ip link add eth1 type veth peer name eth1 netns /proc/self/fd/4", a, b)
	sh(t, "ip link set eth1 up; ip addr add 10.9.0.2/24 dev eth1; ip addr add fd09::2/64 dev eth1 nodad", a)
	sh(t, "ip link set eth1 up; ip addr add 10.9.0.3/24 dev eth1; ip addr add fd09::3/64 dev eth1 nodad", b)
	// Link-local addresses are in use once they are known to be unique, and by then
	// each end has greeted the groups that it is in.
	for _, ns := range []*os.File{a, b} {
		if !host.Poll(time.Minute, func() bool {
			return !strings.Contains(sh(t, "ip addr show dev eth1", ns), "tentative")
		}) {
			t.Fatal(sh(t, "ip addr", ns))
		}
	}
	return a, b
}

func sh(t testing.TB, script string, ns ...*os.File) string {
	t.Helper()
	cmd := program.Command("nsenter", "--net=/proc/self/fd/3", "sh", "-ec", script)
	cmd.ExtraFiles = ns
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", script, err, out)
	}
	return string(out)
}

// neighbours are the entries of both ends, multicast addresses too.
func neighbours(t testing.TB, a, b *os.File) string {
	t.Helper()
	var all []string
	for _, ns := range []*os.File{a, b} {
		for l := range strings.Lines(sh(t, "ip neighbour show nud all | sort", ns)) {
			if addr := strings.Fields(l)[0]; !strings.HasPrefix(addr, "ff02::2") && !strings.HasPrefix(addr, "ff02::16") { // the kernel greets routers by itself
				all = append(all, addr)
			}
		}
		all = append(all, "|")
	}
	return strings.Join(all, " ")
}

func index(ns *os.File) (i int, err error) {
	in, err := nsfs.Enter(ns)
	if err != nil {
		return 0, err
	}
	defer in.End()
	err = in.Run(func() error {
		l, err := net.InterfaceByName("eth1")
		if err == nil {
			i = l.Index
		}
		return err
	})
	return i, err
}

func links(a, b *os.File) (all []Link, err error) {
	for _, ns := range []*os.File{a, b} {
		i, err := index(ns)
		if err != nil {
			return nil, err
		}
		all = append(all, Link{Namespace: ns, Index: i})
	}
	return all, nil
}

// probe sends echoes of both families from a to b, with a process that tidies up.
func probe(a, b *os.File) error {
	all, err := links(a, b)
	if err != nil {
		return err
	}
	k, err := rtnl.Open(a)
	if err != nil {
		return err
	}
	defer k.Close()
	p, err := Start(context.Background(), "/proc/self/exe", all)
	if err != nil {
		return err
	}
	for _, pair := range [][2]string{{own, far}, {own6, far6}} {
		from, to := netip.MustParseAddr(pair[0]), netip.MustParseAddr(pair[1])
		e, err := witness.Ping{Mark: witness.NewMark(from, to), From: witness.Host{Addr: from, Run: k.Run}, To: to, Patience: 20 * time.Second}.Send(context.Background())
		if err != nil || !e.Answered {
			return errors.Join(err, fmt.Errorf("%+v", e))
		}
	}
	return p.End()
}

// tidiers returns the processes that are there to tidy up.
func tidiers() (all []string) {
	found, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, f := range found {
		if line, err := os.ReadFile(f); err == nil && strings.Contains(string(line), "\x00"+Word+"\x00") {
			all = append(all, f)
		}
	}
	return all
}

// TestTidy: after a run the neighbours are those that were there before, and no process
// is left.
func TestTidy(t *testing.T) {
	a, b := pair(t)
	sh(t, "ip neighbour add 10.9.0.77 lladdr 02:00:00:00:00:77 dev eth1 nud stale", a)
	before := neighbours(t, a, b)
	if err := probe(a, b); err != nil {
		t.Fatal(err)
	}
	if after := neighbours(t, a, b); after != before {
		t.Errorf("neighbours are %q, and were %q", after, before)
	}
	if left := tidiers(); len(left) > 0 {
		t.Error(left)
	}
}

// TestNeeded: no process is needed where both ends know each other.
func TestNeeded(t *testing.T) {
	a, b := pair(t)
	all, err := links(a, b)
	if err != nil {
		t.Fatal(err)
	}
	check := func(want bool) {
		t.Helper()
		if got, err := Needed(all); err != nil || got != want {
			t.Errorf("needed: %v, %v; want %v", got, err, want)
		}
	}
	check(true) // it is not known what they could enter
	all[0].Addrs, all[1].Addrs = []netip.Addr{netip.MustParseAddr(far)}, []netip.Addr{netip.MustParseAddr(own)}
	check(true)
	sh(t, "ip neighbour add 10.9.0.3 lladdr 02:00:00:00:00:77 dev eth1 nud stale", a)
	check(true)
	sh(t, "ip neighbour add 10.9.0.2 lladdr 02:00:00:00:00:77 dev eth1 nud stale", b)
	check(false)
}

// TestOthersStay: an entry for an address that is not among those of the probe stays.
func TestOthersStay(t *testing.T) {
	for _, program := range []string{"/proc/self/exe", ""} {
		t.Run("by "+program, func(t *testing.T) { othersStay(t, program) })
	}
}

func othersStay(t *testing.T, program string) {
	a, b := pair(t)
	all, err := links(a, b)
	if err != nil {
		t.Fatal(err)
	}
	all[0].Addrs = []netip.Addr{netip.MustParseAddr(far)}
	p, err := Start(context.Background(), program, all)
	if err != nil {
		t.Fatal(err)
	}
	for _, addr := range []string{far, "10.9.0.9"} {
		sh(t, "ip neighbour add "+addr+" lladdr 02:00:00:00:00:77 dev eth1 nud stale", a)
	}
	if err := p.End(); err != nil {
		t.Error(err)
	}
	if got := sh(t, "ip neighbour show", a); !strings.Contains(got, "10.9.0.9 ") || strings.Contains(got, far) {
		t.Errorf("left: %s", got)
	}
}

// TestLearned: what the kernel has learned from the error of a router, while probes were
// sent, is deleted, and what it knew before stays.
func TestLearned(t *testing.T) {
	a, router := pair(t)
	sh(t, `sysctl -qw net.ipv6.conf.all.forwarding=1
		ip link add out type veth peer name in; ip link set in up; ip link set out mtu 1391 up
		ip addr add fd08::1/64 dev out nodad; ip neighbour add fd08::2 lladdr 02:00:00:00:00:77 dev out
		ip neighbour add fd08::3 lladdr 02:00:00:00:00:77 dev out`, router)
	sh(t, "ip route add default via fd09::3", a)
	send := func(to string) {
		t.Helper()
		if !host.Poll(time.Minute, func() bool {
			sh(t, "ping -c 1 -W 1 -M do -s 1440 "+to+" || true", a)
			return strings.Contains(sh(t, "ip route get "+to, a), "mtu 1391")
		}) {
			t.Fatal(sh(t, "ip -6 route show cache", a))
		}
	}
	send("fd08::2")
	all, err := links(a, router)
	if err != nil {
		t.Fatal(err)
	}
	p, err := Start(context.Background(), "/proc/self/exe", all[:1])
	if err != nil {
		t.Fatal(err)
	}
	send("fd08::3")
	if err := p.End(); err != nil {
		t.Error(err)
	}
	if got := sh(t, "ip -6 route show cache", a); !strings.Contains(got, "fd08::2 ") || strings.Contains(got, "fd08::3 ") {
		t.Errorf("learned: %s", got)
	}
}

// TestKilled: wherever a prober is killed, the neighbours soon are those that were there
// before, and no process is left.
func TestKilled(t *testing.T) {
	a, b := pair(t)
	before := neighbours(t, a, b)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	run := func(blow host.Blow) host.Stepped {
		t.Helper()
		cmd := program.Command("nsenter", "--net=/proc/self/fd/3", self, proberWord)
		cmd.ExtraFiles = []*os.File{a, b}
		blow.Any = true
		s, err := host.Step(cmd, blow)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	check := func(when string) {
		t.Helper()
		clean := func() bool { return len(tidiers()) == 0 && neighbours(t, a, b) == before }
		if !host.Poll(time.Minute, clean) {
			t.Fatalf("%s: neighbours are %q, and were %q; processes %v", when, neighbours(t, a, b), before, tidiers())
		}
	}
	whole := run(host.Blow{})
	if whole.Code != 0 {
		t.Fatal(whole.Stderr)
	}
	check("not killed")
	const blows = 100
	killed := 0
	for i := range blows {
		at := 1 + i*len(whole.Calls)/blows
		if s := run(host.Blow{At: at, After: i%2 == 0, Signal: syscall.SIGKILL}); s.Code == 128+int(syscall.SIGKILL) {
			killed++
		}
		check(fmt.Sprintf("killed at system call %d of %d", at, len(whole.Calls)))
	}
	if killed < blows/2 { // the last calls are not made in every run
		t.Errorf("%d of %d were killed", killed, blows)
	}
}
