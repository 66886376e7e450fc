package attach

import (
	"context"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/rtnl"
	"github.com/gopipework/gopipework/internal/spec"
)

// never is longer than any test: a wait that sleeps so long between two looks
// comes to its end only if the kernel's events wake it.
const never = time.Hour

// patience bounds a test that would wait for ever.
const patience = 30 * time.Second

type answer struct {
	Interface
	err error
}

// waitIn begins to wait in the namespace, woken by events alone.
func waitIn(t *testing.T, ns *os.File, r Ready) (answered chan answer, stop context.CancelCauseFunc) {
	t.Helper()
	k, err := rtnl.Open(ns)
	if err != nil {
		t.Fatal(err)
	}
	ctx, end := context.WithTimeout(context.Background(), patience)
	ctx, stop = context.WithCancelCause(ctx)
	answered = make(chan answer, 1)
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer k.Close()
		i, err := awaitReady(ctx, r, k, nil, never)
		answered <- answer{i, err}
	}()
	t.Cleanup(func() { stop(nil); end(); <-done })
	return answered, stop
}

// lacks looks until eth1 lacks just this. What has been answered by then was
// answered too early.
func lacks(t *testing.T, ns *os.File, r Ready, missing string, answered chan answer) {
	t.Helper()
	k, err := rtnl.Open(ns)
	if err != nil {
		t.Fatal(err)
	}
	defer k.Close()
	got := ""
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(time.Millisecond) {
		s, err := sightOf(r, k)
		if err != nil {
			t.Fatal(err)
		}
		if got = s.missing(r); strings.HasPrefix(got, missing) && got != "" {
			break
		}
	}
	if !strings.HasPrefix(got, missing) || got == "" {
		t.Fatalf("eth1 %q, should be %q", got, missing)
	}
	select {
	case a := <-answered:
		t.Fatalf("answered while eth1 %s: %+v", missing, a)
	default:
	}
}

// TestAwait: each thing comes late, and the last one ends the wait.
func TestAwait(t *testing.T) {
	needRoot(t)
	ns, far := newNamespace(t), newNamespace(t)
	r := Ready{IfName: "eth1", Addr: true, Route: true}
	answered, _ := waitIn(t, ns, r)
	lacks(t, ns, r, "is not there", answered)
	if out, err := runWith([]*os.File{ns, far}, "nsenter", "--net=/proc/self/fd/3",
		"ip", "link", "add", "eth1", "type", "veth", "peer", "name", "far1", "netns", "/proc/self/fd/4"); err != nil {
		t.Fatal(err, out)
	}
	lacks(t, ns, r, "is down", answered)
	in(t, ns, "ip", "link", "set", "eth1", "up")
	lacks(t, ns, r, "has no carrier", answered)
	in(t, far, "ip", "link", "set", "far1", "up")
	lacks(t, ns, r, "has no address", answered)
	carriers(t, far, "far1") // what is sent by it before is lost, and with it the objection
	in(t, far, "ip", "address", "add", "2001:db8::9/64", "dev", "far1", "nodad")
	in(t, ns, "ip", "address", "add", "2001:db8::9/64", "dev", "eth1")
	lacks(t, ns, r, "has the address 2001:db8::9, which somebody else", answered)
	in(t, ns, "ip", "address", "add", "2001:db8::2/64", "dev", "eth1")
	lacks(t, ns, r, "has no route", answered) // after duplicate address detection
	in(t, ns, "ip", "-6", "route", "add", "default", "via", "2001:db8::1", "dev", "eth1")
	a := <-answered
	if a.err != nil {
		t.Fatal(a.err)
	}
	if got := spec.Join(a.Addresses); got != "2001:db8::2/64" {
		t.Errorf("addresses %s, want the one that is nobody else's", got)
	}
	if got := spec.Join(a.Gateway); got != "2001:db8::1" {
		t.Errorf("gateway %s", got)
	}
}

// TestAwaitEach: the last thing that was missing ends the wait, whichever it is.
func TestAwaitEach(t *testing.T) {
	needRoot(t)
	for _, tt := range []struct {
		name, before, missing, last string
		Ready
	}{
		{"link", "true", "is not there",
			"ip link add eth1 up type veth peer name p1; ip link set p1 up", Ready{}},
		{"up", "ip link set p1 up", "is down", "ip link set eth1 up", Ready{}},
		{"carrier", "ip link set eth1 up", "has no carrier", "ip link set p1 up", Ready{}},
		{"IPv4 address", "ip link set eth1 up; ip link set p1 up", "has no address", "ip address add 10.0.0.2/24 dev eth1", Ready{Addr: true}},
		{"IPv6 address", "ip link set eth1 up; ip link set p1 up; ip address add 2001:db8::2/64 dev eth1",
			"has the address 2001:db8::2, which is not yet known", "true", Ready{Addr: true}},
		{"IPv4 route", "ip link set eth1 up; ip link set p1 up; ip address add 10.0.0.2/24 dev eth1", "has no route",
			"ip route add default nexthop via 10.0.0.1 dev eth1 nexthop dev lo", Ready{Route: true}},
		{"default route on link", "ip link set eth1 up; ip link set p1 up", "has no route",
			"ip -6 route add default dev eth1", Ready{Route: true}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ns, r := newNamespace(t), tt.Ready
			r.IfName = "eth1"
			if tt.before != "true" {
				in(t, ns, "ip", "link", "add", "eth1", "type", "veth", "peer", "name", "p1")
			}
			answered, _ := waitIn(t, ns, r)
			in(t, ns, "sh", "-ec", tt.before)
			if tt.last != "true" { // duplicate address detection ends by itself
				lacks(t, ns, r, tt.missing, answered)
			}
			in(t, ns, "sh", "-ec", tt.last)
			a := <-answered
			if a.err != nil {
				t.Fatal(a.err)
			}
			if r.Addr && len(a.Addresses) == 0 {
				t.Errorf("ready without an address: %+v", a)
			}
		})
	}
}

// TestAwaitAgain: the link is deleted and made again under a wait.
func TestAwaitAgain(t *testing.T) {
	needRoot(t)
	ns := newNamespace(t)
	r := Ready{IfName: "eth1", Addr: true}
	answered, _ := waitIn(t, ns, r)
	for _, mac := range []string{"02:00:00:00:00:01", "02:00:00:00:00:02"} {
		lacks(t, ns, r, "is not there", answered)
		in(t, ns, "sh", "-ec", "ip link add eth1 address "+mac+" type veth peer name p1; ip link set eth1 up; ip link set p1 up")
		lacks(t, ns, r, "has no address", answered)
		if mac[len(mac)-1] == '1' {
			in(t, ns, "ip", "link", "del", "eth1")
		}
	}
	in(t, ns, "ip", "address", "add", "10.0.0.2/24", "dev", "eth1")
	if a := <-answered; a.err != nil || a.MAC != "02:00:00:00:00:02" {
		t.Errorf("%+v, want the second link", a)
	}
}

var errStop = errors.New("stop")

// TestAwaitEnds: in time, by the caller, and with the guest.
func TestAwaitEnds(t *testing.T) {
	needRoot(t)
	ns := newNamespace(t)
	answered, stop := waitIn(t, ns, Ready{IfName: "eth1"})
	stop(errStop)
	if a := <-answered; !errors.Is(a.err, errStop) {
		t.Errorf("%v, want the cause of the context's end", a.err)
	}
	g := docker(ns, 0)
	_, err := runAwait(context.Background(), Ready{IfName: "lo", Route: true}, &g, time.Millisecond)
	if fault.CodeOf(err) != fault.Timeout || !strings.Contains(err.Error(), "lo has no route") {
		t.Errorf("%v, want a timeout that says what is missing", err)
	}
	dead := fault.New(fault.Gone, "reach", "guest", "it has ended")
	answers := []error{nil, nil, dead}
	g = mortalGuest(g, func() error {
		err := answers[0]
		answers = slices.Delete(answers, 0, 1)
		return err
	})
	if _, err := runAwait(context.Background(), Ready{IfName: "eth1"}, &g, patience); !errors.Is(err, dead) {
		t.Errorf("%v, want that the guest is gone", err)
	}
}
