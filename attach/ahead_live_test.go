package attach

import (
	"context"
	"errors"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gopipework/gopipework/e2e/host"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/ours"
	"github.com/gopipework/gopipework/internal/rtnl"
)

// TestReadAhead: whatever changes on the host after it was read ahead, or for an attach
// before, an attach does the same as one that reads it afterwards.
func TestReadAhead(t *testing.T) {
	needRoot(t)
	const line = "brtest -i eth1 web 10.0.0.2/24 02:00:00:00:00:02"
	hostFirst := func(words ...string) func(t *testing.T, hostNS, other *os.File) {
		return func(t *testing.T, hostNS, _ *os.File) { in(t, hostNS, words...) }
	}
	for _, c := range []struct {
		name   string
		change func(t *testing.T, hostNS, other *os.File)
		shows  bool // in the plan
	}{
		{"nothing", func(*testing.T, *os.File, *os.File) {}, false},
		{"the bridge is gone", hostFirst("ip", "link", "del", "dev", "brtest"), true},
		{"MTU", hostFirst("ip", "link", "set", "dev", "brtest", "mtu", "1400"), true},
		{"STP", hostFirst("ip", "link", "set", "dev", "brtest", "type", "bridge", "stp_state", "1"), true},
		{"down", hostFirst("ip", "link", "set", "dev", "brtest", "down"), true},
		{"a port", hostFirst("sh", "-ec", "ip link add name one type veth peer name two; ip link set dev one address 02:00:00:00:00:02 master brtest"), true},
		{"address of the host", hostFirst("ip", "address", "add", "10.0.0.2/24", "dev", "brtest"), true},
		{"address of another guest", func(t *testing.T, _, other *os.File) {
			in(t, other, "ip", "address", "add", "10.0.0.2/24", "dev", "eth1")
		}, true},
		{"MAC address of another guest", func(t *testing.T, _, other *os.File) {
			in(t, other, "ip", "link", "set", "dev", "eth1", "address", "02:00:00:00:00:02")
		}, true},
		{"begins to drop", hostFirst("sh", "-ec", "echo 1 >/proc/sys/net/bridge/bridge-nf-call-iptables; iptables -P FORWARD DROP"), true},
		{"firewall", hostFirst("nft", "table bridge f { chain c { type filter hook forward priority 0; policy drop; }; }"), true},
	} {
		t.Run(c.name, func(t *testing.T) {
			hostNS, guestNS, otherNS := newNamespace(t), newNamespace(t), newNamespace(t)
			g, other := docker(guestNS, 0), docker(otherNS, 0)
			other.Name, other.ID = "db", "abcdef012345"
			opt := Options{HostNS: hostNS}
			if _, err := Attach(t.Context(), parsed(t, "brtest -i eth1 db 10.0.0.3/24"), &other, opt); err != nil {
				t.Fatal(err)
			}
			s := parsed(t, line)
			plan := func(a *Ahead) string {
				opt := opt
				opt.DryRun, opt.Ahead = true, a
				r, err := Attach(t.Context(), s, &g, opt)
				told := append(r.Steps, r.Warnings...)
				if err != nil {
					told = append(told, err.Error())
				}
				return random.ReplaceAllString(strings.Join(told, "\n"), "MAC")
			}
			before := plan(nil)
			ahead := ReadAhead(t.Context(), s, opt)
			defer ahead.Close()
			<-ahead.done
			remembered := Remember(opt)
			defer remembered.Close()
			for range 2 {
				if have := plan(remembered); have != before {
					t.Errorf("with what is remembered:\n%s\n\nwithout:\n%s", have, before)
				}
			}
			c.change(t, hostNS, otherNS)
			want := plan(nil)
			for _, a := range []*Ahead{ahead, remembered, remembered} {
				if have := plan(a); have != want {
					t.Errorf("with what was read ahead:\n%s\n\nwithout:\n%s", have, want)
				}
			}
			if (want != before) != c.shows {
				t.Errorf("the plan shows that something has changed: %v\n%s", want != before, want)
			}
		})
	}
}

// random is a MAC address that nobody has asked for.
var random = regexp.MustCompile(`\b(fe|.[26ae])(:[0-9a-f]{2}){5}\b`)

// TestReadAheadWaits: what a run has changed that had the host's lock is seen by the next,
// however early that began to read.
func TestReadAheadWaits(t *testing.T) {
	needRoot(t)
	hostNS, guestNS, otherNS := newNamespace(t), newNamespace(t), newNamespace(t)
	g, other := docker(guestNS, 0), docker(otherNS, 0)
	other.Name, other.ID = "db", "abcdef012345"
	s := parsed(t, "brtest -i eth1 web 10.0.0.2/24")
	opt := Options{HostNS: hostNS}
	ahead := ReadAhead(t.Context(), s, opt)
	defer ahead.Close()
	<-ahead.done
	if _, err := Attach(t.Context(), parsed(t, "brtest -i eth1 db 10.0.0.2/24"), &other, opt); err != nil {
		t.Fatal(err)
	}
	opt.Ahead = ahead
	r, err := Attach(t.Context(), s, &g, opt)
	if err != nil {
		t.Fatal(err)
	}
	if all := strings.Join(r.Warnings, "\n"); !strings.Contains(all, "has the address 10.0.0.2 too") {
		t.Errorf("the other guest is not seen: %q", all)
	}
}

// TestReadAheadEnds: nothing of a reading stays, whether or not it was used, and an attach
// is not kept by one that cannot go on.
func TestReadAheadEnds(t *testing.T) {
	needRoot(t)
	hostNS := newNamespace(t)
	in(t, hostNS, "ip", "link", "add", "brtest", "type", "bridge")
	s := parsed(t, "brtest -i eth1 web 10.0.0.2/24")
	files := func() int {
		all, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(all)
	}
	before := files()
	for range 20 {
		ReadAhead(t.Context(), s, Options{HostNS: hostNS}).Close()
	}
	if !host.Poll(time.Minute, func() bool { return files() <= before }) {
		t.Errorf("%d files are open, %d were", files(), before)
	}

	stuck := &Ahead{hostNS: hostNS, cancel: func() {}, done: make(chan struct{})}
	g := docker(newNamespace(t), 0)
	_, err := Attach(t.Context(), s, &g, Options{HostNS: hostNS, Ahead: stuck, Timeout: 100 * time.Millisecond})
	if fault.CodeOf(err) != fault.Timeout {
		t.Errorf("%v, want a timeout", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Attach(ctx, s, &g, Options{HostNS: hostNS, Ahead: stuck}); err == nil {
		t.Error("a cancelled attach has gone on")
	}
}

// TestReadAheadElsewhere: what was read in another namespace is not used, and what could
// not be read is no error.
func TestReadAheadElsewhere(t *testing.T) {
	needRoot(t)
	hostNS, another := newNamespace(t), newNamespace(t)
	in(t, hostNS, "sh", "-ec", "echo 1 >/proc/sys/net/bridge/bridge-nf-call-iptables; iptables -P FORWARD DROP")
	s := parsed(t, "br1 web 10.0.0.2/24")
	none, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer none.Close()
	for _, ns := range []*os.File{another, none} {
		ahead, g := ReadAhead(t.Context(), s, Options{HostNS: ns}), docker(newNamespace(t), 0)
		<-ahead.done
		r, err := Attach(t.Context(), s, &g, Options{HostNS: hostNS, Ahead: ahead, DryRun: true})
		if err != nil || !strings.Contains(strings.Join(r.Steps, "\n"), "iptables") {
			t.Errorf("read in %s: %q, %v; want a rule", ns.Name(), r.Steps, err)
		}
		ahead.Close()
	}
}

// TestReadAheadUnannounced: the kernel does not tell that a setting of a link that is down
// has changed, so what was read ahead of it does not count.
func TestReadAheadUnannounced(t *testing.T) {
	needRoot(t)
	for _, c := range []struct{ name, change string }{
		{"STP", "ip link set dev brtest type bridge stp_state 1"},
		{"firewall", "iptables -P FORWARD DROP; ip link set dev brtest type bridge nf_call_iptables 1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			hostNS := newNamespace(t)
			in(t, hostNS, "sh", "-ec", "echo 0 >/proc/sys/net/bridge/bridge-nf-call-iptables; ip link add brtest type bridge")
			g, s := docker(newNamespace(t), 0), parsed(t, "brtest -i eth1 web 10.0.0.2/24")
			plan := func(a *Ahead) string {
				r, err := Attach(t.Context(), s, &g, Options{HostNS: hostNS, DryRun: true, Ahead: a})
				if err != nil {
					t.Fatal(err)
				}
				return random.ReplaceAllString(strings.Join(append(r.Steps, r.Warnings...), "\n"), "MAC")
			}
			before := plan(nil)
			ahead := ReadAhead(t.Context(), s, Options{HostNS: hostNS})
			defer ahead.Close()
			<-ahead.done
			in(t, hostNS, "sh", "-ec", c.change)
			have, want := plan(ahead), plan(nil)
			if have != want {
				t.Errorf("with what was read ahead:\n%s\n\nwithout:\n%s", have, want)
			}
			if want == before {
				t.Errorf("the plan does not show the change:\n%s", want)
			}
		})
	}
}

// TestReadAheadIsKept: what one look sorts out of an answer, the next still gets.
func TestReadAheadIsKept(t *testing.T) {
	needRoot(t)
	hostNS := newNamespace(t)
	in(t, hostNS, "ip", "link", "set", "dev", "lo", "up")
	m, err := ours.Remember(hostNS)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	for range 2 {
		all, err := m.Own().Addrs()
		if err != nil || len(all) == 0 || slices.ContainsFunc(all, func(a rtnl.Addr) bool { return !a.Prefix.IsValid() }) {
			t.Fatalf("addresses %v, %v", all, err)
		}
		_ = slices.DeleteFunc(all, func(rtnl.Addr) bool { return true })
	}
}

// TestMemoryOfRenamed: a link that is asked for by its new name, before it is heard that it
// was renamed, is not remembered by its old one.
func TestMemoryOfRenamed(t *testing.T) {
	needRoot(t)
	hostNS := newNamespace(t)
	in(t, hostNS, "ip", "link", "add", "old", "up", "type", "bridge")
	m, err := ours.Remember(hostNS)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	k := m.Own()
	if _, err := k.LinkByName("old"); err != nil {
		t.Fatal(err)
	}
	in(t, hostNS, "sh", "-ec", "ip link set old down; ip link set old name new; ip link set new up")
	if _, err := k.LinkByName("new"); err != nil {
		t.Fatal(err)
	}
	if l, err := m.Own().LinkByName("old"); !errors.Is(err, rtnl.ErrNotFound) {
		t.Errorf("the old name: %+v, %v", l, err)
	}
}
