package attach

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"testing"

	"github.com/gopipework/gopipework/internal/build"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/plan"
	"github.com/gopipework/gopipework/internal/rtnl"
	"golang.org/x/sys/unix"
)

var uplinkStage = stage{name: "a VXLAN", line: "brtest web 192.168.1.2/24,2001:db8::2/64 --nodad --uplink vxlan:100,local=10.9.0.1,peer=10.9.0.2",
	host: "ip link set lo up; ip address add 10.9.0.1/32 dev lo"}

// pinned shows the stations and neighbours of a host's bridges that somebody has entered.
func pinned(t *testing.T, hostNS *os.File) string {
	t.Helper()
	return in(t, hostNS, "sh", "-c", "bridge fdb show | grep static; bridge fdb show | grep dst; ip neighbour show nud permanent; true")
}

// TestUplinkUndone: an attach with an uplink that fails before any of its steps leaves the host
// as it was.
func TestUplinkUndone(t *testing.T) {
	needRoot(t)
	hostNS, guestNS := uplinkStage.ready(t)
	host := viewOf(t, hostNS)
	for n, last := 0, false; !last; n++ {
		err := attempt(t, parsed(t, uplinkStage.line), docker(guestNS, 0), hostNS, asItIs, func(p *build.Plan) {
			last = n == len(p.Steps)
			p.Steps = append(p.Steps[:n:n], failStep{})
		}, untold)
		if !errors.Is(err, errPlanned) || fault.CodeOf(err) == fault.Residue {
			t.Fatalf("step %d: %v", n, err)
		}
		host.same(t, fmt.Sprintf("host after failure at step %d", n))
	}
}

// lackingVXLAN is a kernel that makes no VXLAN, for a reason.
type lackingVXLAN struct {
	plan.Kernel
	errno unix.Errno
}

func (k lackingVXLAN) AddVXLAN(rtnl.NewVXLAN) error { return k.errno }

// TestUplinkLacking: a kernel without VXLANs is named, and so is a bridge that is full, and
// nothing is left.
func TestUplinkLacking(t *testing.T) {
	needRoot(t)
	hostNS, guestNS := uplinkStage.ready(t)
	host := viewOf(t, hostNS)
	for errno, want := range map[unix.Errno]fault.Code{unix.EOPNOTSUPP: fault.Unsupported, unix.EXFULL: fault.Limit} {
		err := attempt(t, parsed(t, uplinkStage.line), docker(guestNS, 0), hostNS, func(_ plan.Side, k plan.Kernel) plan.Kernel {
			return lackingVXLAN{k, errno}
		}, unedited, untold)
		if fault.CodeOf(err) != want || want == fault.Unsupported && !strings.Contains(fault.HintOf(err), "CONFIG_VXLAN") {
			t.Errorf("%v: %v (%s)", errno, err, fault.HintOf(err))
		}
		host.same(t, "host after "+errno.Error())
	}
}

// TestUplinkTaken: a UDP port that a program has is named.
func TestUplinkTaken(t *testing.T) {
	needRoot(t)
	hostNS, guestNS := uplinkStage.ready(t)
	k, err := rtnl.Open(hostNS)
	if err != nil {
		t.Fatal(err)
	}
	defer k.Close()
	var taker net.PacketConn
	if err := k.Run(func() (err error) { taker, err = net.ListenPacket("udp4", "0.0.0.0:4789"); return err }); err != nil {
		t.Fatal(err)
	}
	defer taker.Close()
	host := viewOf(t, hostNS)
	_, err = runAttach(context.Background(), parsed(t, uplinkStage.line), docker(guestNS, 0), hostNS, Options{})
	if fault.CodeOf(err) != fault.Conflict || !strings.Contains(err.Error(), "another program has UDP port 4789") {
		t.Errorf("%v (%s)", err, fault.HintOf(err))
	}
	host.same(t, "host after that")
}

// TestUplinkNarrow: a card that is too narrow for IPv6 has a VXLAN, and one that is too narrow for
// any is named.
func TestUplinkNarrow(t *testing.T) {
	needRoot(t)
	hostNS, guestNS := uplinkStage.ready(t)
	in(t, hostNS, "sh", "-c", "ip link add name nic type veth peer name wire; ip address add 10.8.0.1/24 dev nic; ip link set nic up mtu 600")
	line, g := "brtest web 192.168.1.2/24 --uplink vxlan:100,local=10.8.0.1", docker(guestNS, 0)
	r, err := runAttach(context.Background(), parsed(t, line), g, hostNS, Options{})
	if err != nil || r.Attachments[0].Interface.MTU != 550 {
		t.Fatalf("%+v, %v", r.Attachments, err)
	}
	if _, err := runDetach(context.Background(), Selection{}, g, hostNS, Options{}); err != nil {
		t.Fatal(err)
	}
	in(t, hostNS, "ip", "link", "set", "nic", "mtu", "100")
	if _, err = runAttach(context.Background(), parsed(t, line), g, hostNS, Options{}); fault.CodeOf(err) != fault.Conflict || !strings.Contains(err.Error(), "nic, which has 10.8.0.1, has an MTU of 100") {
		t.Error(err)
	}
}

// TestUplinkKilled: whatever a killed attach with an uplink has left, gc deletes once the guest
// has gone, and detach deletes after the same line.
func TestUplinkKilled(t *testing.T) {
	needRoot(t)
	hostNS, guestNS := uplinkStage.ready(t)
	host := viewOf(t, hostNS)
	inhabit(t, guestNS)
	g := docker(guestNS, 0)
	for n, done := 1, false; !done; n++ {
		kill := func() {
			_ = attempt(t, parsed(t, uplinkStage.line), g, hostNS, asItIs, func(p *build.Plan) {
				done = n == len(p.Steps)
				p.Steps = append(p.Steps[:n:n], failStep{})
				for i := range p.Steps[:n] {
					p.Steps[i] = noUndo{p.Steps[i]}
				}
			}, untold)
		}
		kill()
		if !done {
			if _, err := GC(context.Background(), Options{HostNS: hostNS}); err != nil {
				t.Fatal(err)
			}
			host.same(t, fmt.Sprintf("host after a kill at step %d, and gc", n))
			kill()
		}
		if _, err := runAttach(context.Background(), parsed(t, uplinkStage.line), g, hostNS, Options{}); err != nil {
			t.Fatal(err)
		}
		if got := pinned(t, hostNS); strings.Count(got, "PERMANENT proto 103") != 2 || strings.Count(got, " static") != 1 || strings.Count(got, "dst 10.9.0.2") != 1 {
			t.Errorf("after a kill at step %d and the same line:\n%s", n, got)
		}
		if r, err := runAttach(context.Background(), parsed(t, uplinkStage.line), g, hostNS, Options{}); err != nil || r.Changed {
			t.Errorf("twice: %+v, %v", r.Steps, err)
		}
		if _, err := runDetach(context.Background(), Selection{}, g, hostNS, Options{}); err != nil {
			t.Fatal(err)
		}
		host.same(t, fmt.Sprintf("host after detach %d", n))
	}
}

// TestUplinkMoved: a guest with its MAC address runs on another host before it is detached here.
// The kernel has moved its station to the VXLAN by then, and what was entered for it goes all the
// same.
func TestUplinkMoved(t *testing.T) {
	needRoot(t)
	hostNS, guestNS := uplinkStage.ready(t)
	g := docker(guestNS, 0)
	attach := func(line string) {
		t.Helper()
		if _, err := runAttach(context.Background(), parsed(t, line), g, hostNS, Options{}); err != nil {
			t.Fatal(err)
		}
	}
	attach("brtest -i stays web 192.168.1.3/24 --uplink vxlan:100,local=10.9.0.1,peer=10.9.0.2")
	before := pinned(t, hostNS)
	attach("brtest web 192.168.1.2/24 02:00:00:00:00:0a")
	in(t, guestNS, "ip", "link", "set", "eth1", "down") // or its next frame moves the station back
	in(t, hostNS, "bridge", "fdb", "replace", "02:00:00:00:00:0a", "dev", "vx100", "master", "static")
	if got := pinned(t, hostNS); !strings.Contains(got, "192.168.1.2 ") || !strings.Contains(got, "02:00:00:00:00:0a dev vx100 master") {
		t.Fatalf("nothing is left to delete:\n%s", got)
	}
	if _, err := runDetach(context.Background(), Selection{IfName: "eth1"}, g, hostNS, Options{}); err != nil {
		t.Fatal(err)
	}
	if got := pinned(t, hostNS); got != before {
		t.Errorf("after the detach:\n%s\nbefore the attach:\n%s", got, before)
	}
}

// TestUplinkDied: the next attach deletes what was entered for a guest that has died, and that of
// the guest itself what was entered for the MAC address that it had.
func TestUplinkDied(t *testing.T) {
	needRoot(t)
	hostNS, guestNS := uplinkStage.ready(t)
	g := docker(guestNS, 0)
	for _, line := range []string{
		"brtest -i stays web 192.168.1.3/24 --uplink vxlan:100,local=10.9.0.1",
		"brtest -i dies web 192.168.1.2/24",
		"brtest -i next web 192.168.1.4/24",
	} {
		if _, err := runAttach(context.Background(), parsed(t, line), g, hostNS, Options{}); err != nil {
			t.Fatal(err)
		}
		if strings.Contains(line, "dies") {
			in(t, guestNS, "ip", "link", "del", "dies")
		}
	}
	if got := pinned(t, hostNS); strings.Contains(got, "192.168.1.2 ") || strings.Count(got, "PERMANENT proto 103") != 2 {
		t.Errorf("%s", got)
	}

	in(t, guestNS, "ip", "link", "set", "next", "address", "02:00:00:00:00:0b")
	change := typedSet(t, "--addr 192.168.1.5/24")
	change.IfName = "next"
	if _, err := runSet(context.Background(), change, g, hostNS, Options{}); err != nil {
		t.Fatal(err)
	}
	in(t, hostNS, "ip", "link", "set", "vx100", "down")
	if r, err := List(context.Background(), nil, Options{HostNS: hostNS}); err != nil || len(r.Attachments) != 2 || !strings.Contains(strings.Join(r.Attachments[0].Cut, ""), "vx100, by which brtest reaches other hosts, is down") {
		t.Errorf("%+v, %v; want that its VXLAN is down", r.Attachments, err)
	}
	if got := pinned(t, hostNS); strings.Contains(got, "192.168.1.4 ") || strings.Count(got, "PERMANENT proto 103") != 2 || strings.Count(got, " static") != 2 {
		t.Errorf("after another MAC address: %s", got)
	}
}

// TestUplinkForeign: what somebody else has entered for good on the bridge is not overwritten.
func TestUplinkForeign(t *testing.T) {
	needRoot(t)
	hostNS, guestNS := uplinkStage.ready(t)
	in(t, hostNS, "ip", "link", "add", "name", "brtest", "type", "bridge")
	for _, foreign := range []string{
		"ip neighbour replace 192.168.1.2 lladdr 02:00:00:00:00:99 dev brtest nud permanent",
		"ip neighbour del 192.168.1.2 dev brtest; ip link add name d0 type veth peer name d1; ip link set d0 master brtest; bridge fdb replace 02:00:00:00:00:0a dev d0 master static",
	} {
		in(t, hostNS, "sh", "-c", foreign)
		host := viewOf(t, hostNS)
		_, err := runAttach(context.Background(), parsed(t, "brtest web 192.168.1.2/24 02:00:00:00:00:0a --uplink vxlan:100,local=10.9.0.1"), docker(guestNS, 0), hostNS, Options{})
		if fault.CodeOf(err) != fault.Conflict || !strings.Contains(err.Error(), "somebody has") {
			t.Errorf("%s: %v", foreign, err)
		}
		host.same(t, "host after "+foreign)
	}
}
