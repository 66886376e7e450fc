package attach

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/guests"
)

// TestStations: a MAC address that somebody has on the same bridge or card is
// refused, and an address warned of, by the name of the guest that has it.
func TestStations(t *testing.T) {
	needRoot(t)
	const (
		hostMAC  = "02:00:00:00:00:0b"
		guestMAC = "02:00:00:00:00:0c"
		bridgeUp = "ip link add brx address " + hostMAC + " type bridge; ip link set brx up; ip address add 10.0.0.1/24 dev brx"
		cardUp   = "ip link add nic0 address " + hostMAC + " type veth peer name wire; ip link set wire up; ip link set nic0 up; ip address add 10.0.0.1/24 dev nic0"
		strange  = "; ip link add mv0 link nic0 address 02:00:00:00:00:0e type macvlan mode bridge; ip address add 10.0.0.4/24 dev mv0"
		cabled   = "; ip link add p0 address 02:00:00:00:00:0d type veth peer name q0 address 02:00:00:00:00:0e; ip link set p0 master brx up; ip address add 10.0.0.4/24 dev q0; ip link set q0 up"
	)
	for _, c := range []struct {
		name, host, hostif, needs string
		macs, addrs               map[string]string // and who has them
	}{
		{"bridge", bridgeUp + cabled, "brx", "",
			map[string]string{hostMAC: "the host, on brx,", guestMAC: "db, behind v", "02:00:00:00:00:0d": "the port p0", "02:00:00:00:00:0e": "the guest behind p0"},
			map[string]string{"10.0.0.1": "the host, on brx,", "10.0.0.3": "db, behind v", "10.0.0.4": "the guest behind p0"}},
		{"macvlan", cardUp + strange, "nic0", "macvlan",
			map[string]string{hostMAC: "the host, on nic0,", guestMAC: "eth1 of db", "02:00:00:00:00:0e": "mv0 of the host"},
			map[string]string{"10.0.0.1": "the host, on nic0,", "10.0.0.3": "eth1 of db", "10.0.0.4": "mv0 of the host"}},
		{"Open vSwitch", "", "ovsbr0", "ovs",
			map[string]string{guestMAC: "db, behind v"},
			map[string]string{"10.0.0.3": "db, behind v"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			hostNS := newHostFor(t, c.needs)
			in(t, hostNS, "sh", "-ec", quiet+c.host)
			guests := map[string]guests.Guest{}
			for i, name := range []string{"db", "web"} {
				g := docker(newNamespace(t), 0)
				inhabit(t, g.Namespace)
				g.Name, g.ID = name, strings.Repeat(fmt.Sprint(i+1), 12)
				guests[name] = g
			}
			attached := func(name, line string) Result {
				t.Helper()
				r, err := runAttach(context.Background(), parsed(t, c.hostif+" "+line), guests[name], hostNS, Options{})
				if err != nil {
					t.Fatalf("%s: %v", line, err)
				}
				return r
			}
			if r := attached("db", "db 10.0.0.3/24 "+guestMAC); len(r.Warnings) > 0 {
				t.Errorf("warned of %q with nobody there", r.Warnings)
			}
			before := inventory(t, guests["web"].Namespace)
			for mac, who := range c.macs {
				_, err := runAttach(context.Background(), parsed(t, c.hostif+" web 10.0.0.2/24 "+mac), guests["web"], hostNS, Options{})
				if fault.CodeOf(err) != fault.Conflict || !strings.Contains(err.Error(), who) || !strings.Contains(err.Error(), mac) {
					t.Errorf("the MAC address %s: %v; want a conflict with %q", mac, err, who)
				}
			}
			sameSoon(t, "guest after refusals", before, func() string { return inventory(t, guests["web"].Namespace) })
			for address, who := range c.addrs {
				r := attached("web", "web "+address+"/24")
				if all := strings.Join(r.Warnings, "\n"); len(r.Warnings) != 1 || !strings.Contains(all, who) || !strings.Contains(all, address) {
					t.Errorf("the address %s: warned of %q; want %q named", address, r.Warnings, who)
				}
				detachKind(t, guests["web"], hostNS)
			}
			if r := attached("web", "web 10.0.0.2/24"); len(r.Warnings) > 0 {
				t.Errorf("warned of %q for an address of its own", r.Warnings)
			}
			if c.needs == "ovs" {
				detachKind(t, guests["web"], hostNS)
				if r := attached("web", "web 10.0.0.3/24 @10"); len(r.Warnings) > 0 {
					t.Errorf("warned of %q for an address that somebody has on another VLAN", r.Warnings)
				}
			}
			for _, g := range guests {
				detachKind(t, g, hostNS)
			}
		})
	}
}

// TestStationsLate: a MAC address that nobody of ours has, and that the kernel
// alone knows to be taken, is explained.
func TestStationsLate(t *testing.T) {
	needRoot(t)
	hostNS, other, g := newNamespace(t), newNamespace(t), docker(newNamespace(t), 0)
	const mac = "02:00:00:00:00:0c"
	in(t, hostNS, "sh", "-ec", quiet+"ip link add nic0 type veth peer name wire; ip link set wire up; ip link set nic0 up; ip link add mv0 link nic0 address "+mac+" type macvlan mode bridge")
	out, err := runWith([]*os.File{hostNS, other}, "nsenter", "--net=/proc/self/fd/3", "ip", "link", "set", "mv0", "netns", "/proc/self/fd/4")
	if err != nil {
		t.Fatal(out)
	}
	in(t, other, "ip", "link", "set", "mv0", "up")
	before := inventory(t, hostNS)
	_, err = runAttach(context.Background(), parsed(t, "nic0 web 10.0.0.2/24 "+mac), g, hostNS, Options{})
	if fault.CodeOf(err) != fault.Conflict || !strings.Contains(err.Error(), "MAC address") {
		t.Errorf("%v; want a conflict about the MAC address", err)
	}
	sameSoon(t, "host", before, func() string { return inventory(t, hostNS) })
}

// TestLinkSubnets: an end that does not reach the other is warned of.
func TestLinkSubnets(t *testing.T) {
	needRoot(t)
	for _, c := range []struct {
		a, b string
		want []string // who does not reach whom
	}{
		{"10.0.0.1/30", "10.0.0.2/30", nil},
		{"10.0.0.1/30", "10.9.0.2/30", []string{"web cannot reach db", "db cannot reach web"}},
		{"10.0.0.1/24", "10.0.0.130/25", []string{"db cannot reach web"}},
		{"10.0.0.1/32@10.9.0.2", "10.9.0.2/32@10.0.0.1", nil},
		{"10.0.0.1/24,2001:db8::1/64", "10.9.0.2/24,2001:db8::2/64", nil},
		{"10.0.0.1/24", "2001:db8::2/64", []string{"web cannot reach db", "db cannot reach web"}},
		{"10.0.0.1/24", "0/0", nil},
	} {
		st := newLinkStage(t)
		var err error
		st.spec, err = ParseLink(LinkWords{NoDAD: true, Ends: [2]EndWords{{Guest: "web", Address: c.a}, {Guest: "db", Address: c.b}}})
		if err != nil {
			t.Fatal(err)
		}
		r, err := runLink(context.Background(), st.spec, st.guests, st.hostNS, Options{})
		if err != nil {
			t.Fatal(err)
		}
		all := strings.Join(r.Warnings, "\n")
		for _, w := range c.want {
			if !strings.Contains(all, w) {
				t.Errorf("%s and %s: warned of %q, want %q", c.a, c.b, r.Warnings, w)
			}
		}
		if len(r.Warnings) != len(c.want) {
			t.Errorf("%s and %s: warned of %q, want %d", c.a, c.b, r.Warnings, len(c.want))
		}
	}
}
