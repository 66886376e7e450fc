package attach

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	testhost "github.com/gopipework/gopipework/e2e/host"
	"github.com/gopipework/gopipework/internal/build"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/guests"
	"github.com/gopipework/gopipework/internal/kind"
)

// accessHost is a host whose card has 10.0.0.254, with three that can be found
// and a network at the end of the wire, where 10.0.0.9 is.
func accessHost(t *testing.T) (h *testHost, three []guests.Guest) {
	t.Helper()
	needRoot(t)
	h, three = neighbours(t, "macvlan", 2)
	in(t, h.host, "sh", "-ec", `ip address add 10.0.0.254/24 dev nic0
echo 1 >/proc/sys/net/ipv4/conf/all/rp_filter; echo 1 >/proc/sys/net/ipv4/conf/default/rp_filter`)
	in(t, h.network, "ip", "address", "add", "10.0.0.9/24", "dev", "wire")
	for _, g := range three {
		inhabit(t, g.Namespace)
	}
	return h, three
}

func (h *testHost) attach(t *testing.T, g guests.Guest, line string) Result {
	t.Helper()
	r, err := runAttach(context.Background(), parsed(t, line), g, h.host, Options{})
	if err != nil {
		t.Fatalf("%s: %v", line, err)
	}
	return r
}

// own is the host's own macvlan, as ip shows it; "" if there is none.
func (h *testHost) own(t *testing.T) string {
	t.Helper()
	return in(t, h.host, "sh", "-c", "ip -o link show type macvlan | grep gph; true")
}

// TestHostAccess: the host and its three hear each other, as they do the
// network, over one macvlan that goes with the last guest.
func TestHostAccess(t *testing.T) {
	h, three := accessHost(t)
	before := inventory(t, h.host)
	for n, g := range three {
		line := fmt.Sprintf("nic0 web 10.0.0.%d/24,10.7.0.%d/24 --host-access", n+1, n+1)
		attachKind(t, "macvlan", parsed(t, line), g, h.host, "macvlan")
	}
	for n, g := range three {
		own := fmt.Sprint("10.0.0.", n+1)
		for what, ok := range map[string]bool{
			"the host hears the guest": hears(h.host, own), "the guest hears the host": hears(g.Namespace, "10.0.0.254"),
			"the guest hears the network": hears(g.Namespace, "10.0.0.9"), "the network hears the guest": hears(h.network, own),
			"the guest hears the other": hears(g.Namespace, fmt.Sprint("10.0.0.", 2-n)),
		} {
			if !ok {
				t.Errorf("not so, of %s: %s", own, what)
			}
		}
	}
	all, err := List(t.Context(), &three[0], Options{HostNS: h.host})
	if err != nil || len(all.Attachments) != 1 || !slices.Equal(all.Attachments[0].More, []string{"host access"}) {
		t.Errorf("of the first guest is listed %+v, %v", all.Attachments, err)
	}
	// The network hears of the host's address from the card alone.
	in(t, h.network, "sh", "-c", "ip neigh flush all; busybox arping -c 2 -I wire 10.0.0.254 >/dev/null; true")
	if !hears(h.network, "10.0.0.254") {
		t.Error("the network no longer hears the host")
	}
	var said string
	testhost.Poll(30*time.Second, func() bool { // arping waits a second for an answer, whatever it is told
		said = in(t, h.network, "sh", "-c", "busybox arping -c 1 -w 2 -I wire 10.0.0.254; true")
		return strings.Contains(said, "eply from")
	})
	if strings.Count(said, "eply from") != 1 || !strings.Contains(strings.ToLower(said), "02:00:00:00:00:09") {
		t.Errorf("who has the host's address, by ARP:\n%s", said)
	}
	if _, err := runAttach(context.Background(), parsed(t, "nic0 web 10.0.0.1/24,10.7.0.1/24"), three[0], h.host, Options{}); fault.CodeOf(err) != fault.Conflict {
		t.Errorf("without --host-access: %v; want a conflict", err)
	}
	detachKind(t, three[0], h.host)
	if !answers(three[0].Namespace, "10.0.0.254", false) || !hears(h.host, "10.0.0.2") {
		t.Error("after the detach of one: that still hears the host, or the other does not")
	}
	detachKind(t, three[1], h.host)
	sameSoon(t, "host after the last detach", before, func() string { return inventory(t, h.host) })
}

// TestHostAccessVLAN: the same on a VLAN of the card, whose sub-interface goes
// too.
func TestHostAccessVLAN(t *testing.T) {
	h, three := accessHost(t)
	before := inventory(t, h.host)
	attachKind(t, "macvlan on a VLAN", parsed(t, "nic0 web 10.0.9.1/24 @10 --host-access"), three[0], h.host, "8021q")
	in(t, three[0].Namespace, "ip", "route", "add", "10.0.0.254", "dev", "eth1")
	if !hears(h.host, "10.0.9.1") || !hears(three[0].Namespace, "10.0.0.254") {
		t.Error("the host and the guest do not hear each other")
	}
	attachKind(t, "macvlan on a VLAN", parsed(t, "nic0 web 10.0.9.2/24 @10 --host-access"), three[1], h.host, "8021q")
	detachKind(t, three[0], h.host)
	detachKind(t, three[1], h.host)
	sameSoon(t, "host", before, func() string { return inventory(t, h.host) })
}

// TestHostAccessKilled: a run that is killed after any step is mended by the
// same line, by detach, and by gc.
func TestHostAccessKilled(t *testing.T) {
	h, three := accessHost(t)
	g, before := three[0], inventory(t, h.host)
	const line = "nic0 web 10.0.0.1/24 --host-access"
	mend := map[string]func(){
		"the same line": func() {
			h.attach(t, g, line)
			if r := h.attach(t, g, line); r.Changed {
				t.Errorf("a third time: %v", r.Steps)
			}
			if !hears(h.host, "10.0.0.1") {
				t.Error("the host does not hear the guest")
			}
			detachKind(t, g, h.host)
		},
		"gc": func() {
			if _, err := runGC(context.Background(), h.host, Options{}); err != nil {
				t.Fatal(err)
			}
		},
		"detach": func() {
			if _, err := runDetach(context.Background(), Selection{All: true}, g, h.host, Options{}); err != nil {
				t.Fatal(err)
			}
		},
	}
	for how, f := range mend {
		for n, last := 1, false; !last; n++ {
			links := 0
			err := attempt(t, parsed(t, line), g, h.host, asItIs, func(p *build.Plan) {
				for _, s := range p.Steps[:min(n, len(p.Steps))] {
					if _, ok := s.(kind.AddChild); ok {
						links++
					}
				}
				last = n >= len(p.Steps)-1
				p.Steps = p.Steps[:n]
			}, untold)
			if err != nil {
				t.Fatal(err)
			}
			if how == "detach" && links == 0 {
				how = "gc" // there is nothing in the guest by which detach could tell
				mend[how]()
				how = "detach"
			}
			f()
			sameSoon(t, fmt.Sprintf("host after %d steps and %s", n, how), before, func() string { return inventory(t, h.host) })
			if t.Failed() {
				t.FailNow()
			}
		}
	}
}

// TestHostAccessDead: gc takes what dead three have left, and nothing of those
// that live.
func TestHostAccessDead(t *testing.T) {
	h, three := accessHost(t)
	before := inventory(t, h.host)
	h.attach(t, three[0], "nic0 web 10.0.0.1/24 --host-access")
	h.attach(t, three[1], "nic0 web 10.0.0.2/24 --host-access")
	for n, left := range []string{"10.0.0.1 10.0.0.2", "10.0.0.2", ""} {
		if n > 0 {
			in(t, three[n-1].Namespace, "ip", "link", "del", "eth1") // as with its namespace
		}
		if _, err := runGC(context.Background(), h.host, Options{}); err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(strings.Fields(in(t, h.host, "sh", "-c", "ip route show proto 103 | cut -d' ' -f1")), " "); got != left {
			t.Errorf("after %d deaths there are routes to %q, want %q", n, got, left)
		}
	}
	sameSoon(t, "host", before, func() string { return inventory(t, h.host) })
}

// TestHostAccessTogether: two three at once, and away at once, share one
// macvlan.
func TestHostAccessTogether(t *testing.T) {
	h, three := accessHost(t)
	before := inventory(t, h.host)
	both := func(do func(n int, g guests.Guest, hostNS *os.File) error) {
		t.Helper()
		done := make(chan error)
		for n, g := range three {
			own := again(t, h.host)
			go func() { done <- do(n, g, own) }()
		}
		for range three {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	}
	both(func(n int, g guests.Guest, hostNS *os.File) error {
		_, err := runAttach(context.Background(), parsed(t, fmt.Sprintf("nic0 web 10.0.0.%d/24 --acd --host-access", n+1)), g, hostNS, Options{})
		return err
	})
	if strings.Count(h.own(t), "\n") != 1 || !hears(h.host, "10.0.0.1") || !hears(h.host, "10.0.0.2") {
		t.Errorf("the host does not hear both, by one macvlan:\n%s", h.own(t))
	}
	both(func(_ int, g guests.Guest, hostNS *os.File) error {
		_, err := runDetach(context.Background(), Selection{}, g, hostNS, Options{})
		return err
	})
	sameSoon(t, "host", before, func() string { return inventory(t, h.host) })
}
