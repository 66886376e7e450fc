//go:build linux && amd64

package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/gopipework/gopipework/e2e/host"
	"golang.org/x/sys/unix"
)

// swept is a line that is dealt blows at its system calls. G and H are guests,
// which are as before each time; the host is what made has made it.
type swept struct {
	name   string
	made   func(m *machine, g, h *host.Guest) // nil: nothing
	jail   string                             // script for the root that guest G has; "": the host's
	before []string                           // lines before each run
	line   string
	need   string // what has to be there
	always string // it is killed and interrupted at these calls, however few the blows
}

// The host of a sweep has a card that is down, a bridge of somebody else's that
// is down, and the firewall of a Docker host.
const sweepHost = `ip link add nic0 type veth peer name wire; ip link set wire addrgenmode none up; ip link set nic0 addrgenmode none
ip address add 10.3.0.254/24 dev nic0
ip link add brold address 02:00:00:00:00:09 type bridge; ip link add p0 type veth peer name p1; ip link set p0 master brold`

var sweeps = []swept{
	{name: "bridge", line: "brnew G 10.0.0.2/24,fd00::2/64@10.0.0.1 --nodad"},
	{name: "bridge with DAD", line: "brnew G fd00::2/64@fd00::1"},
	{name: "bridge of others", line: "brold G 10.0.0.2/24"},
	{name: "routes", line: "brnew G 10.0.0.2/24@10.0.0.1 --source-routing --route 10.5.0.0/16,via=10.0.0.3"},
	{name: "shaped bridge", line: "brnew G 10.0.0.2/24 --rate-in 10mbit --rate-out 1mbit"},
	{name: "macvlan", line: "nic0 G 10.3.0.2/24@10.3.0.1"},
	{name: "macvlan with host access", line: "nic0 G 10.3.0.2/24 --host-access"},
	{name: "shaped macvlan", line: "nic0 G 10.3.0.2/24 --rate-in 10mbit --rate-out 1mbit"},
	{name: "card", line: "phys:nic0 G 10.3.0.2/24 --force-phys", made: cardInUse},
	{name: "link", line: "link G 10.4.0.1/24 H 10.4.0.2/24"},
	{name: "name servers", line: "brnew G 10.0.0.2/24 --dns 10.0.0.53", jail: "echo nameserver 10.0.0.1 > resolv.conf"},
	{name: "dhcp", line: "brdhcp G dhcp --source-routing", made: dhcpFor("brdhcp"), always: "fork"},
	{name: "dhcp with host access", line: "nic0 G dhcp --host-access", made: dhcpFor("nic0")},
	{name: "udhcpc", line: "brdhcp G udhcpc", made: dhcpFor("brdhcp"), need: "clients", always: "fork"},
	{name: "Open vSwitch", line: "ovsnew G 10.0.0.2/24@10.0.0.1", need: "ovs", made: func(m *machine, _, _ *host.Guest) {
		_, err := m.StartOVS()
		m.check(err)
	}},

	{name: "set addresses", before: []string{"brnew G 10.0.0.2/24,10.0.0.7/24"}, line: "set G eth1 --addr 10.0.0.3/24,fd00::3/64 --nodad"},
	{name: "set to the second address", before: []string{"brnew G 10.0.0.2/24,10.0.0.7/24"}, line: "set G eth1 --addr 10.0.0.7/24"},
	{name: "set shaping and MTU", before: []string{"brnew G 10.0.0.2/24"}, line: "set G eth1 --rate-in 10mbit --rate-out 1mbit --mtu 1400"},
	{name: "set shaping of a macvlan", before: []string{"nic0 G 10.3.0.2/24"}, line: "set G eth1 --rate-in 10mbit --mtu 1400"},
	{name: "set shaping of a macvlan off", before: []string{"nic0 G 10.3.0.2/24 --rate-in 10mbit"}, line: "set G eth1 --rate-in none"},

	{name: "detach from a bridge", before: []string{"brnew G 10.0.0.2/24,fd00::2/64@10.0.0.1 --nodad --source-routing"}, line: "detach G eth1"},
	{name: "detach of two", before: []string{"brnew G 10.0.0.2/24", "nic0 -i eth2 G 10.3.0.2/24 --host-access"}, line: "detach --all G"},
	{name: "detach from a macvlan", before: []string{"nic0 G 10.3.0.2/24 --host-access --rate-in 10mbit"}, line: "detach G"},
	{name: "detach of a card", before: []string{"phys:nic0 G 10.3.0.2/24 --force-phys"}, line: "detach G", made: cardInUse},
	{name: "detach of a link", before: []string{"link G 10.4.0.1/24 H 10.4.0.2/24"}, line: "detach G eth1"},
	{name: "detach of name servers", before: []string{"brnew G 10.0.0.2/24 --dns 10.0.0.53"}, line: "detach G eth1", jail: "echo nameserver 10.0.0.1 > resolv.conf"},
	{name: "detach of a lease", before: []string{"nic0 G dhcp --host-access --source-routing"}, line: "detach G eth1", made: dhcpFor("nic0")},
	{name: "detach from Open vSwitch", before: []string{"ovsnew G 10.0.0.2/24"}, line: "detach G eth1", need: "ovs", made: func(m *machine, _, _ *host.Guest) {
		_, err := m.StartOVS()
		m.check(err)
	}},

	// What gc finds is what is left when a guest's interfaces are gone.
	{name: "gc", before: []string{"brnew G 10.0.0.2/24", "nic0 -i eth2 G 10.3.0.2/24 --host-access", "!ip link del eth1", "!ip link del eth2"}, line: "gc"},
}

// cardInUse gives the card what the host would miss if it did not come back:
// another address, a sysctl, and routes.
func cardInUse(m *machine, _, _ *host.Guest) {
	m.check(m.Run("sh", "-ec", `ip link set nic0 up; ip address add 10.3.1.254/24 dev nic0
sysctl -qw net.ipv4.conf.nic0.forwarding=0 net.ipv4.conf.nic0.arp_filter=1
ip route add 10.6.0.0/16 via 10.3.0.1; ip route add 10.7.0.0/16 via 10.3.1.1 metric 5 table 77`).Err())
}

// dhcpFor has a server on a bridge or a card, in guest H. It has an address for
// every run of a sweep: one that is killed releases none, and udhcpc asks under
// another MAC each time.
func dhcpFor(hostIF string) func(m *machine, _, h *host.Guest) {
	return func(m *machine, _, h *host.Guest) {
		m.quiet(hostIF, h.Word, "10.9.0.1/16")
		d, err := h.StartDnsmasq("eth1", "10.9.0.10,10.9.3.250,255.255.0.0,2m")
		m.check(err)
		m.t.Cleanup(func() { _ = d.Stop() })
	}
}

// errnos are what a kernel, a file system or a full machine may say.
var errnos = []syscall.Errno{
	unix.ENOMEM, unix.EPERM, unix.EBUSY, unix.ENOSPC, unix.EINTR, unix.EIO, unix.ENODEV, unix.EROFS, unix.EMFILE,
	unix.EEXIST, unix.ENOBUFS, unix.EOPNOTSUPP, unix.EACCES, unix.ENOENT, unix.EINVAL,
}

// unheard are what may keep an answer of the kernel's from being received.
var unheard = []syscall.Errno{unix.ENOBUFS, unix.EINTR, unix.ENOMEM}

// Killed, refused or interrupted at any system call that changes something, the
// same line, detach and gc leave nothing. GOPIPEWORK_BLOWS is how often a line is
// killed, a third of which it is dealt of each other blow; 0 is one or more at
// every call, and 1, which is quick, one kill and one other blow.
func TestSweep(t *testing.T) {
	blows := setting(t, "GOPIPEWORK_BLOWS", 1)
	need(t, "root")
	var mu sync.Mutex
	total := map[string]int{}
	t.Cleanup(func() { t.Logf("blows: %v", total) })
	for n, s := range sweeps {
		t.Run(s.name, func(t *testing.T) {
			if s.need != "" {
				need(t, s.need)
			}
			w := newSweep(t, s)
			calls := w.calls()
			for k, kind := range []string{"kill", "errno", "signal", "answer"} {
				dealt := w.inAnyCase(kind, calls)
				if blows != 1 || k == 0 || k == 1+n%3 {
					dealt = append(dealt, w.blows(kind, calls, blows, n)...)
				}
				for _, b := range dealt {
					w.strike(kind, b, calls)
					mu.Lock()
					total[kind]++
					mu.Unlock()
					if t.Failed() {
						return // the rest would say the same
					}
				}
			}
			w.settle()
			t.Logf("%d calls that change something: %s", len(calls), tally(calls))
		})
	}
}

// sweep is one of them, ready to run.
type sweep struct {
	*machine
	swept
	g, h     *host.Guest
	asBefore func(when string)
	since    []string // blows since that was looked at
}

func newSweep(t *testing.T, s swept) *sweep {
	m := newMachine(t)
	w := &sweep{machine: m, swept: s, h: m.guest()}
	m.check(m.Run("sh", "-ec", sweepHost).Err())
	if w.g = m.guest(); s.jail != "" {
		w.g = jailed(m, s.jail)
	}
	if s.made != nil {
		s.made(m, w.g, w.h)
	}
	w.run() // what is made by the way, once, is there now
	w.clean("at first")
	if t.Failed() {
		t.FailNow()
	}
	w.asBefore = m.unchanged(w.g, w.h)
	return w
}

// words are those of a line, with the guests in it.
func (w *sweep) words(line string) []string {
	f := strings.Fields(line)
	for i := range f {
		switch f[i] {
		case "G":
			f[i] = w.g.Word
		case "H":
			f[i] = w.h.Word
		}
	}
	return f
}

// prepare runs the lines before; one that begins with ! is run in guest G.
func (w *sweep) prepare() {
	w.t.Helper()
	for _, l := range w.before {
		if inside, ok := strings.CutPrefix(l, "!"); ok {
			f := strings.Fields(inside)
			w.check(w.g.Run(f[0], f[1:]...).Err())
			continue
		}
		w.ok(w.words(l)...)
	}
}

func (w *sweep) run() {
	w.t.Helper()
	w.prepare()
	w.ok(w.words(w.line)...)
}

// clean detaches what there is of guest G; of H only what joins it to G.
func (w *sweep) clean(when string) {
	w.t.Helper()
	for _, args := range [][]string{{"detach", "--all", w.g.Word}, {"gc"}} {
		if r := w.gopipework(args...); r.Code != 0 {
			w.t.Errorf("%s: %v", when, r)
		}
	}
	// A keeper that is about to end may be writing one.
	half := func() bool {
		return slices.ContainsFunc(w.OwnFiles(), func(name string) bool { return strings.HasPrefix(name, ".") })
	}
	if !host.Poll(host.Patience, func() bool { return !half() }) {
		w.t.Errorf("%s: files are left: %q", when, w.OwnFiles())
	}
}

func (w *sweep) step(b host.Blow) host.Stepped {
	w.t.Helper()
	s, err := host.Step(w.Command(context.Background(), "gopipework", w.words(w.line)...), b)
	w.check(err)
	if strings.Contains(s.Stderr, "panic:") || strings.Contains(s.Stderr, "goroutine ") {
		w.t.Errorf("it panics: %v", s.Result)
	}
	return s
}

// calls are those of a run that nothing happens to.
func (w *sweep) calls() []string {
	w.t.Helper()
	w.prepare()
	s := w.step(host.Blow{})
	if s.Code != 0 || len(s.Calls) == 0 {
		w.t.Fatalf("%d calls: %v", len(s.Calls), s.Result)
	}
	w.clean("stepped through")
	w.asBefore("stepped through")
	return s.Calls
}

// blows are those of a kind: at so many calls, evenly and from another one for
// each line, or at every call.
func (w *sweep) blows(kind string, made []string, many, n int) (all []host.Blow) {
	calls := len(made)
	add := func(at int, after bool, turn int) {
		b := host.Blow{At: at, After: after}
		switch kind {
		case "kill":
			b.Signal = unix.SIGKILL
		case "signal":
			b.Signal = []unix.Signal{unix.SIGINT, unix.SIGTERM}[turn%2]
		case "errno":
			b.Errno, b.After = errnos[turn%len(errnos)], false
		case "answer": // to the next request
			for i := 0; i < calls && !strings.HasPrefix(made[at-1], "netlink"); i++ {
				at = at%calls + 1
			}
			b = host.Blow{At: at, Errno: unheard[turn%len(unheard)], Answer: true}
		}
		all = append(all, b)
	}
	if many > 0 && kind != "kill" {
		many = max(1, many/3)
	}
	if many > 0 {
		for i := range many {
			at := 1 + (i*calls+n*5%calls)/many%calls
			add(at, (i+n)%2 == 0, n*many+i)
		}
		return all
	}
	for at := 1; at <= calls; at++ {
		if kind == "answer" && !strings.HasPrefix(made[at-1], "netlink") {
			continue
		}
		add(at, false, at+n)
		if kind == "kill" || kind == "signal" {
			add(at, true, at+n+1)
		}
	}
	return all
}

// inAnyCase are those at the calls at which the line is always dealt them.
func (w *sweep) inAnyCase(kind string, made []string) (all []host.Blow) {
	s, ok := map[string]unix.Signal{"kill": unix.SIGKILL, "signal": unix.SIGTERM}[kind]
	for i, call := range made {
		if ok && w.always != "" && strings.HasPrefix(call, w.always) {
			all = append(all, host.Blow{At: i + 1, After: true, Signal: s})
		}
	}
	return all
}

// strike deals a blow, and then runs the same line again.
func (w *sweep) strike(kind string, b host.Blow, calls []string) {
	w.t.Helper()
	w.prepare()
	struck := func(string) {}
	if kind != "kill" && !strings.HasPrefix(w.line, "detach") && w.line != "gc" {
		struck = w.sameShape()
	}
	s := w.step(b)
	what := "nothing"
	if b.At <= len(s.Calls) {
		what = s.Calls[b.At-1]
	}
	when := fmt.Sprintf("%s %v %v at call %d of %d (%s, after it: %v), exit %d: %s", kind, b.Signal, b.Errno, b.At, len(calls), what, b.After, s.Code, s.Stderr)
	switch {
	case s.Code == 0, kind == "kill" && s.Code == 137:
	case kind == "signal" && s.Code == 128+int(b.Signal):
		struck("undone: " + when)
	case kind != "kill" && s.Code == 5:
		if !strings.Contains(s.Stderr, "hint:") {
			w.t.Errorf("it does not say what to do: %s", when)
		}
	case kind == "answer" && s.Code == 0:
	case kind == "errno" && s.Code < 128, kind == "answer" && s.Code < 5:
		struck("undone: " + when)
	default:
		w.t.Errorf("%s", when)
	}
	if again := w.gopipework(w.words(w.line)...); again.Code != 0 {
		w.t.Errorf("the same line again: %v\nafter %s", again, when)
	}
	w.clean(when)
	// What has not been cleaned up stays, so that there is no need to look each time.
	if w.since = append(w.since, when); len(w.since) == 4 {
		w.settle()
	}
	if w.jail != "" {
		path := filepath.Join("/proc", strings.TrimPrefix(w.g.Word, "pid:"), "root", "etc", "resolv.conf")
		if text, err := os.ReadFile(path); err != nil || string(text) != "nameserver 10.0.0.1\n" {
			w.t.Errorf("resolv.conf is %q, %v: %s", text, err, when)
		}
	}
	if w.t.Failed() {
		w.t.Logf("calls: %q", s.Calls)
	}
}

// sameShape notes how all looks, and returns what checks that it looks so again,
// but for what is another each time it is made.
func (w *sweep) sameShape() func(when string) {
	w.t.Helper()
	shape := func(look func() (host.State, error)) func() (host.State, error) {
		return func() (host.State, error) {
			s, err := look()
			return s.Shape(), err
		}
	}
	looks := []func() (host.State, error){w.State, w.g.State, w.h.State}
	var before []host.State
	for _, look := range looks {
		before = append(before, w.state(look).Shape())
	}
	return func(when string) {
		w.t.Helper()
		for i, look := range looks {
			w.same([]string{"the host ", "guest G ", "guest H "}[i]+when, before[i], shape(look))
		}
	}
}

// settle looks whether all is as before the last blows.
func (w *sweep) settle() {
	w.t.Helper()
	if len(w.since) > 0 {
		w.asBefore("detached and cleaned up after " + strings.Join(w.since, "\nor "))
	}
	w.since = nil
}

// tally counts calls by their first word.
func tally(calls []string) string {
	count := map[string]int{}
	for _, c := range calls {
		word, _, _ := strings.Cut(c, " ")
		count[word]++
	}
	return fmt.Sprint(count)
}
