//go:build linux

package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestWell: on hosts of odd shape on which packets flow, doctor finds nothing.
func TestWell(t *testing.T) {
	for _, c := range slices.Concat(wells, guestWells, cardWells) {
		if !c.kernels {
			t.Run(c.name, c.try)
		}
	}
}

// TestWellKernels: the same of what only the other kernel has.
func TestWellKernels(t *testing.T) {
	need(t, "root", "kernels")
	for _, c := range slices.Concat(wells, guestWells, cardWells) {
		if c.kernels {
			t.Run(c.name, c.try)
		}
	}
}

// well is a host on which packets flow.
type well struct {
	name    string
	set     string // commands on the host, which has the guests web and db
	doctor  string // words of doctor, a line for each run
	kernels bool   // this kernel lacks it: see kernels.sh
}

var wells = []well{
	{"both families", `
		gopipework brtest netns:web 10.0.0.2/24,2001:db8::2/64 --nodad
		gopipework brtest netns:db 10.0.0.3/24,2001:db8::3/64 --nodad`,
		"netns:web\nnetns:web --to netns:db\nnetns:web --to 2001:db8::3\nnetns:web --passive", false},
	{"two interfaces on one bridge", `
			gopipework brtest netns:web 10.0.0.2/24; gopipework brtest -i eth2 netns:web 10.1.0.2/24; gopipework brtest -i tap0 netns:web 0/0
			gopipework brtest netns:db 10.0.0.3/24; gopipework brtest -i eth2 netns:db 10.1.0.3/24`,
		"netns:web eth1\nnetns:web eth2\nnetns:web --to netns:db\nnetns:web eth2 --to netns:db:eth2\nnetns:web eth1 --to 10.0.0.3", false},
	{"IPv6 alone", `
		gopipework brtest netns:web 2001:db8::2/64 --nodad
		gopipework brtest netns:db 2001:db8::3/64 --nodad`,
		"netns:web\nnetns:web --to netns:db", false},
	{"every kind of link", `
		ip link add nic0 type veth peer name wire; ip link set nic0 up; ip link set wire up
		gopipework nic0 -i m0 netns:web 10.1.0.2/24; gopipework nic0 -i m0 netns:db 10.1.0.3/24
		gopipework link netns:web:w0 10.2.0.1/30 netns:db:w0 10.2.0.2/30
		gopipework host:tap0 -i h0 netns:web 10.3.0.2/30 --host-addr 10.3.0.1/30
		gopipework brtest netns:web 10.0.0.2/24`,
		"netns:web\nnetns:db\nnetns:web --to 10.3.0.1\nnetns:web w0\nnetns:web m0 --to netns:db", false},
	{"/32 and /31", `
		gopipework brtest netns:web 10.0.0.2/32@10.0.0.1; gopipework brlan -i lan0 netns:web 10.1.0.0/31
		ip address add 10.0.0.1/24 dev brtest
		gopipework brlan netns:db 10.1.0.1/31`,
		"netns:web eth1\nnetns:web lan0\nnetns:web lan0 --to netns:db", false},
	{"a pair that is not ours, by which the host has an address", `
		ip link add ve-web type veth peer name host0 netns web; ip address add 10.4.0.1/24 dev ve-web; ip link set ve-web up
		ip -n web address add 10.4.0.2/24 dev host0; ip -n web link set host0 up`,
		"netns:web\nnetns:web --to 10.4.0.1", false},
	{"a pair that is not ours, by which the host has a route", `
		ip link add cali0 type veth peer name eth0 netns web; ip link set cali0 up; ip route add 10.4.0.2 dev cali0; sysctl -qw net.ipv4.conf.cali0.proxy_arp=1
		ip -n web address add 10.4.0.2/32 dev eth0; ip -n web link set eth0 up
		ip -n web route add 169.254.1.1 dev eth0 scope link; ip -n web route add default via 169.254.1.1 dev eth0`,
		"netns:web", false},
	{"isolated from each other", `
		gopipework brtest netns:web 10.0.0.2/24@10.0.0.1 -l web0; gopipework brtest netns:db 10.0.0.3/24 -l db0; ip address add 10.0.0.1/24 dev brtest
		bridge link set dev web0 isolated on; bridge link set dev db0 isolated on`,
		"netns:web\nnetns:web --to 10.0.0.1\nnetns:db", false},
	{"the host is the gateway", `
		gopipework brtest netns:web 10.0.0.2/24@10.0.0.1; ip address add 10.0.0.1/24 dev brtest`,
		"netns:web\nnetns:web --to 10.0.0.1", false},
	{"routed by the host", `
		sysctl -qw net.ipv4.ip_forward=1
		gopipework brtest netns:web 10.0.0.2/24@10.0.0.1; ip address add 10.0.0.1/24 dev brtest
		gopipework brlan netns:db 10.1.0.2/24@10.1.0.1; ip address add 10.1.0.1/24 dev brlan
		iptables -I DOCKER-USER -s 10.0.0.0/24 -d 10.1.0.0/24 -j ACCEPT; iptables -I DOCKER-USER -s 10.1.0.0/24 -d 10.0.0.0/24 -j ACCEPT`,
		"netns:web\nnetns:web --to netns:db", false},
	{"routed by another guest between two VLANs", `
		ip netns add r; ip netns exec r sysctl -qw net.ipv4.ip_forward=1
		gopipework brtest netns:r 10.0.0.1/24 @10; gopipework brtest -i eth2 netns:r 10.1.0.1/24 @20
		gopipework brtest netns:web 10.0.0.2/24@10.0.0.1 @10; gopipework brtest netns:db 10.1.0.2/24@10.1.0.1 @20`,
		"netns:web --to netns:db\nnetns:db --to 10.0.0.2", true},
	{"nested bridges", `
		gopipework brtest netns:web 10.0.0.2/24; gopipework brlan netns:db 10.0.0.3/24
		ip link add p0 type veth peer name p1; ip link set p0 master brtest up; ip link set p1 master brlan up`,
		"netns:web\nnetns:web --to netns:db\nnetns:web --to 10.0.0.3", false},
	{"a VRF", `
		ip link add red type vrf table 10 && ip link set red up
		gopipework brtest netns:web 10.0.0.2/24@10.0.0.1; ip link set brtest master red; ip address add 10.0.0.1/24 dev brtest`,
		"netns:web", true},
	{"a strict firewall in each guest", `
		gopipework brtest netns:web 10.0.0.2/24; gopipework brtest netns:db 10.0.0.3/24
		for g in web db; do ip netns exec $g nft 'add table inet f; add chain inet f in { type filter hook input priority 0; policy drop; }; add rule inet f in ct state established,related accept; add rule inet f in icmp type echo-request accept; add rule inet f in tcp dport 22 accept'; done`,
		"netns:web\nnetns:web --to netns:db", false},
	{"two ways out", `
		gopipework brtest netns:web 10.0.0.2/24@10.0.0.1; ip address add 10.0.0.1/24 dev brtest
		gopipework brlan -i lan0 netns:web 10.1.0.2/24@10.1.0.1 --source-routing; ip address add 10.1.0.1/24 dev brlan`,
		"netns:web", false},
	{"five hundred links", `
		for i in $(seq 250); do echo "link add a$i type veth peer name b$i"; echo "link set a$i up"; done | ip -batch -
		gopipework brtest netns:web 10.0.0.2/24; gopipework brtest netns:db 10.0.0.3/24
		for i in $(seq 250); do echo "link set a$i master brtest"; done | ip -batch -`,
		"netns:web\nnetns:web --to netns:db", false},
}

func (c well) try(t *testing.T) {
	m := newMachine(t)
	m.named("web")
	m.named("db")
	m.sh(c.set)
	for words := range strings.SplitSeq(c.doctor, "\n") {
		began := time.Now()
		m.well(fmt.Sprintf("with %q", words), words)
		t.Logf("%s: %v", words, time.Since(began).Round(time.Millisecond))
	}
}

// TestWellDocker: the same of containers, on Docker's own network and on one of ours.
func TestWellDocker(t *testing.T) {
	e := withDocker(t)
	for _, name := range []string{"web", "db"} {
		e.container(name)
		e.well("on Docker's network", name)
	}
	e.well("between two containers of Docker's network", "web --to db")
	e.ok("brdoc", "web", "10.77.0.2/24")
	e.ok("brdoc", "db", "10.77.0.3/24")
	e.well("on both", "web")
	e.well("by our interface", "web eth1 --to db:eth1")
	for _, name := range []string{"web", "db"} {
		e.ok("detach", name)
	}
}

// TestDoctorPublished: a container with published ports that has another default route now
// answers by that, which doctor doubts; with --source-routing it does not.
func TestDoctorPublished(t *testing.T) {
	e := withDocker(t)
	e.container("web", "-p", "18080:80")
	e.well("with Docker's network alone", "web")
	e.ok("brdoc", "web", "10.77.0.2/24@10.77.0.1")
	e.sh("ip address add 10.77.0.1/24 dev brdoc")
	if d, code, text := e.doctor("web"); code != 0 || !slices.Equal(d.found(), []string{"other-route"}) {
		t.Errorf("doctor exits with %d and finds %v:\n%s", code, d.found(), text)
	}
	e.ok("detach", "web")
	e.ok("brdoc", "web", "10.77.0.2/24@10.77.0.1", "--source-routing")
	e.well("with --source-routing", "web")
	e.sh("ip address del 10.77.0.1/24 dev brdoc")
	e.ok("detach", "web")
}
