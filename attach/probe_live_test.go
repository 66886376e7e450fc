package attach

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/guests"
)

// acdStages are networks that two guests can both be on.
var acdStages = []struct{ name, line, needs string }{
	{"bridge", "brtest web 10.0.0.1/24 --acd", ""},
	{"macvlan", "nic0 web 10.0.0.1/24 --acd", "macvlan"},
	{"Open vSwitch", "ovsbr0 web 10.0.0.1/24 --acd", "ovs"},
}

// testHost is a host, and the network at the other end of its card.
type testHost struct{ host, network *os.File }

// neighbours makes a host with a card, and guests on it.
func neighbours(t *testing.T, needs string, count int) (hostNS *testHost, guests []guests.Guest) {
	t.Helper()
	hostNS = &testHost{newHostFor(t, needs), newNamespace(t)}
	in(t, hostNS.host, "sh", "-ec", quiet+"ip link add nic0 address 02:00:00:00:00:09 type veth peer name wire; ip link set nic0 up")
	moveLink(t, hostNS.host, "wire", hostNS.network)
	in(t, hostNS.network, "sh", "-ec", quiet+"ip link set wire up")
	carriers(t, hostNS.host, "nic0")
	for n := 1; n <= count; n++ {
		g := docker(newNamespace(t), 0)
		g.Name, g.ID = fmt.Sprint("g", n), fmt.Sprint("00000000000", n)
		guests = append(guests, g)
	}
	return hostNS, guests
}

// again opens a namespace once more, as another process would: locks are those
// of what was opened (flock(2)).
func again(t *testing.T, ns *os.File) *os.File {
	t.Helper()
	f, err := os.Open(fmt.Sprintf("/proc/self/fd/%d", ns.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// TestACD: an address that a guest has is refused to another, whose host and
// namespace are as before; one that nobody has is taken.
func TestACD(t *testing.T) {
	needRoot(t)
	for _, st := range acdStages {
		t.Run(st.name, func(t *testing.T) {
			h, guests := neighbours(t, st.needs, 2)
			s := parsed(t, st.line)
			s.Addrs = append(s.Addrs, parsed(t, "br web 10.0.1.1/24").Addrs...)
			first, err := runAttach(context.Background(), s, guests[0], h.host, Options{})
			if err != nil {
				t.Fatal(err)
			}
			hostBefore, guestBefore := inventory(t, h.host), inventory(t, guests[1].Namespace)
			for _, addr := range s.Addrs {
				again := parsed(t, st.line)
				again.Addrs = append(parsed(t, "br web 10.0.0.7/24").Addrs, addr)
				_, err = runAttach(context.Background(), again, guests[1], h.host, Options{})
				if fault.CodeOf(err) != fault.Conflict || !strings.Contains(err.Error(), addr.Addr().String()) ||
					!strings.Contains(err.Error(), first.Attachments[0].Interface.MAC) {
					t.Fatalf("%s is another's: %v; want a conflict with the MAC address %s", addr, err, first.Attachments[0].Interface.MAC)
				}
				sameSoon(t, "host after the conflict", hostBefore, func() string { return inventory(t, h.host) })
				sameSoon(t, "guest after the conflict", guestBefore, func() string { return inventory(t, guests[1].Namespace) })
			}
			free := parsed(t, strings.Replace(st.line, "0.1/24", "0.2/24", 1))
			if _, err := runAttach(context.Background(), free, guests[1], h.host, Options{}); err != nil {
				t.Fatalf("nobody has 10.0.0.2: %v", err)
			}
			if !hears(guests[0].Namespace, "10.0.0.2") {
				t.Error("10.0.0.2 does not answer")
			}
		})
	}
}

// TestACDTogether: of two guests that ask for an address at the same time, at
// most one gets it (RFC 5227, section 2.1.1: both may have to let go).
func TestACDTogether(t *testing.T) {
	needRoot(t)
	h, guests := neighbours(t, "", 2)
	in(t, h.host, "sh", "-ec", "ip link add brtest type bridge; ip link set brtest up")
	results := make(chan error)
	for _, g := range guests {
		hostNS := again(t, h.host)
		go func() {
			_, err := runAttach(context.Background(), parsed(t, "brtest web 10.0.0.1/24 --acd"), g, hostNS, Options{})
			results <- err
		}()
	}
	one, two := <-results, <-results
	if one == nil && two == nil {
		t.Fatal("both have the address")
	}
	for _, err := range []error{one, two} {
		if err != nil && fault.CodeOf(err) != fault.Conflict {
			t.Errorf("%v; want a conflict", err)
		}
	}
}

// TestACDEnds: the question ends when the guest does, and by --timeout where
// the link never comes to life.
func TestACDEnds(t *testing.T) {
	needRoot(t)
	h, guests := neighbours(t, "", 1)
	before := inventory(t, h.host)
	died := errors.New("died")
	g, asked := guests[0], false
	g = mortalGuest(g, func() error {
		if asked {
			return died
		}
		return nil
	})
	_, err := runAttach(context.Background(), parsed(t, "brtest web 10.0.0.1/24 --acd"), g, h.host,
		Options{Step: func(s string) { asked = asked || strings.Contains(s, "by ARP") }})
	if !errors.Is(err, died) {
		t.Errorf("the guest died: %v", err)
	}
	sameSoon(t, "host", before, func() string { return inventory(t, h.host) })

	in(t, h.network, "ip", "link", "set", "wire", "down")
	before = inventory(t, h.host)
	_, err = runAttach(context.Background(), parsed(t, "nic0 web 10.0.0.1/24 --acd"), guests[0], h.host, Options{Timeout: 1e9})
	if fault.CodeOf(err) != fault.Timeout {
		t.Errorf("no carrier: %v; want a timeout", err)
	}
	sameSoon(t, "host", before, func() string { return inventory(t, h.host) })
}

// TestACDCard: a card that is lent asks when it is up, and announces itself.
func TestACDCard(t *testing.T) {
	needRoot(t)
	notesHere(t)
	h, guests := neighbours(t, "", 1)
	in(t, h.network, "ip", "address", "add", "10.0.0.9/24", "dev", "wire")
	mac := strings.TrimSpace(in(t, h.network, "sh", "-c", "ip -o link show wire | sed 's/.*ether //;s/ .*//'"))
	_, err := runAttach(context.Background(), parsed(t, "phys:nic0 web 10.0.0.9/24 --acd"), guests[0], h.host, Options{})
	if fault.CodeOf(err) != fault.Conflict || !strings.Contains(err.Error(), mac) {
		t.Fatalf("10.0.0.9 is that of %s: %v", mac, err)
	}
	in(t, h.host, "ip", "link", "show", "nic0")
	in(t, h.network, "sh", "-c", "echo 1 >/proc/sys/net/ipv4/conf/wire/arp_accept")
	if _, err := runAttach(context.Background(), parsed(t, "phys:nic0 web 10.0.0.2/24 --acd"), guests[0], h.host, Options{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the network has heard who has 10.0.0.2 now", func() bool {
		return strings.Contains(in(t, h.network, "ip", "neigh", "show", "10.0.0.2"), "02:00:00:00:00:09")
	})
	detachKind(t, guests[0], h.host)
}
