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
	"github.com/gopipework/gopipework/internal/guestnet"
	"github.com/gopipework/gopipework/internal/guests"
	"github.com/gopipework/gopipework/internal/plan"
)

// noWire makes a card that is down, whose other end is down too: when it comes
// up it has no carrier.
const noWire = quiet + "ip link add nic0 address 02:00:00:00:00:09 type veth peer name wire\n"

// TestNoCarrier: a card that gets no carrier when it is set up is named, in a
// warning where an attachment can stand without, and otherwise in the error of
// whatever has waited for it.
func TestNoCarrier(t *testing.T) {
	needRoot(t)
	const want = "nic0 has no carrier"
	for _, line := range []string{"nic0 web 10.9.0.5/24", "phys:nic0 web 10.9.0.5/24"} {
		t.Run(line, func(t *testing.T) {
			t.Parallel()
			hostNS, g := newNamespace(t), docker(newNamespace(t), 0)
			in(t, hostNS, "sh", "-ec", noWire)
			for _, when := range []string{"first", "again"} {
				r, err := runAttach(context.Background(), parsed(t, line), g, hostNS, Options{})
				if err != nil || !strings.Contains(strings.Join(r.Warnings, "\n"), want) {
					t.Errorf("%s: %v, warnings %q; want %q", when, err, r.Warnings, want)
				}
			}
			if _, err := runDetach(context.Background(), Selection{}, g, hostNS, Options{}); err != nil {
				t.Error(err)
			}
		})
	}
	for _, line := range []string{
		"nic0 web 2001:db8::5/64", "phys:nic0 web 2001:db8::5/64", "nic0 web 10.9.0.5/24 --acd",
		"phys:nic0 web 10.9.0.5/24 --acd", "nic0 web slaac", "phys:nic0 web dhcp", "nic0 web dhcp6",
	} {
		t.Run(line, func(t *testing.T) {
			t.Parallel()
			hostNS, g := newNamespace(t), docker(newNamespace(t), 0)
			in(t, hostNS, "sh", "-ec", noWire)
			before := inventory(t, hostNS)
			err := inTheWait(parsed(t, line), g, hostNS)
			if fault.CodeOf(err) != fault.Timeout || !strings.Contains(err.Error(), want) {
				t.Errorf("%v; want a timeout that says %q", err, want)
			}
			sameSoon(t, "host", before, func() string { return inventory(t, hostNS) })
		})
	}
}

// inTheWait attaches with a --timeout that ends while the last step waits for what does
// not come. On a busy machine one may end before that, which proves nothing: then the
// next one is longer.
func inTheWait(s Spec, g guests.Guest, hostNS *os.File) (err error) {
	for timeout := 4 * time.Second; timeout < time.Minute; timeout *= 2 {
		var began time.Time
		_, err = runAttach(context.Background(), s, g, hostNS, Options{Timeout: timeout, Step: func(string) { began = time.Now() }})
		if !began.IsZero() && time.Since(began) > time.Second {
			break
		}
	}
	return err
}

// TestNobodyAnswers: what gets no answer from the network names the card that has no
// carrier, also if that was up before and nothing waits for it; and the answer
// that did not come, if the card has one.
func TestNobodyAnswers(t *testing.T) {
	needRoot(t)
	for _, c := range []struct {
		line    string
		wire    string
		timeout bool // --timeout ends it, not the line
		code    fault.Code
		want    []string
	}{
		{"nic0 web 10.9.0.5/24 --verify", "down", false, fault.Failed, []string{"nic0 has no carrier: an ARP packet did not arrive"}},
		{"nic0 web dhcp", "down", true, fault.Timeout, []string{"--timeout", "nic0 has no carrier"}},
		{"nic0 web dhcp:timeout=1s", "down", false, fault.Timeout, []string{"get a lease for eth1: nic0 has no carrier"}},
		{"nic0 web dhcp6:timeout=1s", "down", false, fault.Timeout, []string{"nic0 has no carrier"}},
		{"nic0 web dhcp", "up", true, fault.Timeout, []string{"--timeout", "no DHCP server answered"}},
		{"nic0 web dhcp:timeout=1s", "up", false, fault.Timeout, []string{"get a lease for eth1: no DHCP server answered", "dhcp:timeout=1m with --timeout 2m"}},
		{"nic0 web dhcp6:timeout=5s", "up", false, fault.Timeout, []string{"no DHCP server answered", "dhcp6:timeout=1m with --timeout 2m"}},
		{"nic0 web slaac", "up", true, fault.Timeout, []string{"--timeout", "is there a router on this network", "a longer --timeout"}},
	} {
		t.Run(c.line+" "+c.wire, func(t *testing.T) {
			t.Parallel()
			hostNS, g := newNamespace(t), docker(newNamespace(t), 0)
			in(t, hostNS, "sh", "-ec", noWire+"ip link set nic0 up\nip link set wire "+c.wire)
			in(t, g.Namespace, "sh", "-ec", quiet) // its link-local address is there before time is up
			before := inventory(t, hostNS)
			var err error
			if c.timeout {
				err = inTheWait(parsed(t, c.line), g, hostNS)
			} else {
				_, err = runAttach(context.Background(), parsed(t, c.line), g, hostNS, Options{})
			}
			if code := fault.CodeOf(err); code != c.code {
				t.Fatalf("%v: %s; want %s", err, code, c.code)
			}
			if strings.Count(err.Error(), plan.ErrNoCarrier.Error()) > 1 {
				t.Errorf("%v says it twice", err)
			}
			var e *fault.Error
			errors.As(err, &e)
			for _, want := range c.want {
				if !strings.Contains(err.Error()+"\n"+e.Hint, want) {
					t.Errorf("%v (hint: %s) does not say %q", err, e.Hint, want)
				}
			}
			if strings.Contains(err.Error(), context.DeadlineExceeded.Error()) {
				t.Errorf("%v: that is Go's word for it", err)
			}
			sameSoon(t, "host", before, func() string { return inventory(t, hostNS) })
		})
	}
}

// TestLateCarrier: one that comes while we wait is no reason to warn, and a
// parent that somebody has set down since is set up by the same line.
func TestLateCarrier(t *testing.T) {
	needRoot(t)
	was := guestnet.CarrierPatience
	guestnet.CarrierPatience = bound
	t.Cleanup(func() { guestnet.CarrierPatience = was })
	for _, line := range []string{"nic0 web 10.9.0.5/24", "phys:nic0 web 10.9.0.5/24"} {
		t.Run(line, func(t *testing.T) {
			hostNS, g := newNamespace(t), docker(newNamespace(t), 0)
			in(t, hostNS, "sh", "-ec", noWire)
			attachLate := func() {
				t.Helper()
				r, err := runAttach(context.Background(), parsed(t, line), g, hostNS, Options{Step: func(step string) {
					if strings.HasPrefix(step, "# wait until nic0") {
						later(t, 50*time.Millisecond, func() { _, _ = tryIn(hostNS, "ip", "link", "set", "wire", "up") })
					}
				}})
				if err != nil || len(r.Warnings) > 0 {
					t.Fatalf("%v, warnings %q", err, r.Warnings)
				}
				waits := slices.Contains(r.Steps, "# wait until nic0 has a carrier")
				if !waits {
					t.Errorf("nobody looked: %q", r.Steps)
				}
			}
			attachLate()
			down := map[bool][]string{true: {"ip", "link", "set", "nic0", "down"}, false: {"ip", "link", "set", "eth1", "down"}}
			on := map[bool]*os.File{true: hostNS, false: g.Namespace}
			macvlan := strings.HasPrefix(line, "nic0")
			in(t, on[macvlan], down[macvlan]...)
			attachLate()
			detachKind(t, g, hostNS)
		})
	}
}

// TestWaitIsDisturbed: a port of a bridge with the spanning tree protocol has to
// wait half a minute. What makes the wait vain ends it at once.
func TestWaitIsDisturbed(t *testing.T) {
	needRoot(t)
	for _, c := range []struct{ name, where, command, want string }{
		{"bridge deleted", "host", "ip link del brx", ""},
		{"bridge renamed", "host", "ip link set brx down; ip link set brx name bry; ip link set bry up", "renamed"},
		{"port renamed", "host", "ip link set dev tap0 name tap1", "renamed"},
		{"port taken off", "host", "ip link set tap0 nomaster", "removed it from"},
		{"port deleted", "host", "ip link del tap0", ""},
		{"guest's end down", "guest", "ip link set eth1 down", "set it down"},
		{"guest's end renamed", "guest", "ip link set eth1 name eth2", "renamed"},
	} {
		t.Run(c.name, func(t *testing.T) {
			hostNS, g := newNamespace(t), docker(newNamespace(t), 0)
			in(t, hostNS, "sh", "-ec", quiet+"ip link add brx address 02:00:00:00:00:09 type bridge stp_state 1 forward_delay 1500; ip link set brx addrgenmode none up")
			on := map[string]*os.File{"host": hostNS, "guest": g.Namespace}[c.where]
			began := time.Now()
			_, err := runAttach(context.Background(), parsed(t, "brx -l tap0 web 10.0.0.2/24"), g, hostNS, Options{Step: func(step string) {
				if strings.HasPrefix(step, "# wait until brx forwards") {
					later(t, 20*time.Millisecond, func() {
						if out, err := tryIn(on, "sh", "-ec", c.command); err != nil {
							t.Error(err, out)
						}
					})
				}
			}})
			if took := time.Since(began); err == nil || took > 25*time.Second || fault.CodeOf(err) == fault.Timeout {
				t.Errorf("after %v: %v", took, err)
			}
			if err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v does not say %q", err, c.want)
			}
			if left := in(t, hostNS, "ip", "-o", "link", "show", "type", "veth"); left != "" {
				t.Errorf("left on the host: %s", left)
			}
		})
	}
}
