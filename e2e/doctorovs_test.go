//go:build linux

package e2e

import (
	"slices"
	"strings"
	"syscall"
	"testing"
)

// ovsFaults are those of Open vSwitch bridges.
var ovsFaults = []fault{
	{name: "ovs-port-dead", set: twoOnOVS, do: "ovs-vsctl set interface web0 type=patch"},
	{name: "ovs-port-dead", what: "that may not send", set: twoOnOVS, do: "ovs-ofctl mod-port ovs-lab db0 no-forward"},
	{name: "ovs-port-dead", what: "that is not flooded", set: twoOnOVS, do: "ovs-ofctl mod-port ovs-lab db0 no-flood; ip -n web neigh flush dev eth1; ovs-appctl fdb/flush ovs-lab >/dev/null"},
	{name: "ovs-port-dead", what: "that may not receive", set: twoOnOVS, do: "ovs-ofctl mod-port ovs-lab db0 no-receive"},
	{name: "ovs-tag", what: "of a trunk", set: twoOnOVS, do: "ovs-vsctl set port db0 trunks=5,6"},
	{name: "ovs-port-gone", set: twoOnOVS, do: "ovs-vsctl del-port web0"},
	{name: "ovs-tag", set: twoOnOVS, do: "ovs-vsctl set port db0 tag=10"},
	{name: "ovs-secure", set: twoOnOVS, do: "ovs-vsctl set-fail-mode ovs-lab secure; ovs-ofctl del-flows ovs-lab"},
	{name: "ovs-flow", set: twoOnOVS, do: "ovs-ofctl add-flow ovs-lab priority=100,icmp,actions=drop; ovs-ofctl add-flow ovs-lab priority=100,udp,actions=drop"},
	{name: "ovs-flow", what: "for everything", set: twoOnOVS, do: "ovs-ofctl add-flow ovs-lab priority=100,in_port=db0,actions=drop"},
	{name: "checksum-offload", set: twoOnOVS, do: "gopipework exec netns:web -- ethtool -K eth1 tx on"},
}

// twoOnOVS attaches web and db to an Open vSwitch bridge.
func twoOnOVS(m *machine) {
	_, err := m.StartOVS()
	m.check(err)
	for name, address := range map[string]string{"web": "10.0.0.2/24", "db": "10.0.0.3/24"} {
		m.named(name)
		m.ok("ovs-lab", "netns:"+name, address, "-l", name+"0")
	}
}

// TestWellOVS: doctor finds nothing on Open vSwitch bridges on which packets flow, and does
// not speak to guests of other VLANs.
func TestWellOVS(t *testing.T) {
	need(t, "ovs")
	m := newMachine(t)
	twoOnOVS(m)
	m.named("other")
	m.ok("ovs-lab", "netns:other", "10.0.0.4/24", "@10")
	m.well("on a plain bridge", "netns:web")
	m.well("between two guests", "netns:web --to netns:db")
	m.well("alone in a VLAN", "netns:other")
	m.ok("set", "netns:web", "eth1", "--vlan", "10")
	m.well("in a VLAN", "netns:web --to netns:other")
}

// TestOVSRouted: a guest is the router between two VLANs of Open vSwitch. What is lost behind
// it is not seen, and no port is blamed.
func TestOVSRouted(t *testing.T) {
	need(t, "ovs")
	m := newMachine(t)
	_, err := m.StartOVS()
	m.check(err)
	router := m.named("router")
	router.Run("sysctl", "-qw", "net.ipv4.ip_forward=1")
	m.ok("ovs-lab", "netns:router", "10.0.0.1/24", "@10")
	m.ok("ovs-lab", "-i", "eth2", "netns:router", "10.1.0.1/24", "@20")
	m.named("web")
	m.ok("ovs-lab", "netns:web", "10.0.0.2/24@10.0.0.1", "@10")
	m.named("db")
	m.ok("ovs-lab", "netns:db", "10.1.0.2/24@10.1.0.1", "@20")
	m.well("by the router", "netns:web --to netns:db")
	router.Run("sysctl", "-qw", "net.ipv4.ip_forward=0")
	d, code, text := m.doctor("netns:web --to netns:db")
	if code != 6 || !slices.Equal(d.found(), []string{"unseen"}) || !strings.Contains(text, "the gateway 10.0.0.1 (router eth1), and doctor does not see beyond it") {
		t.Errorf("doctor exits with %d and finds %v:\n%s", code, d.found(), text)
	}
}

// TestOVSSilent: doctor says that ovs-vswitchd is silent, and nothing of its ports.
func TestOVSSilent(t *testing.T) {
	need(t, "ovs")
	m := newMachine(t)
	o, err := m.StartOVS()
	m.check(err)
	for name, address := range map[string]string{"web": "10.0.0.2/24", "db": "10.0.0.3/24"} {
		m.named(name)
		m.ok("ovs-lab", "netns:"+name, address)
	}
	m.check(o.SignalSwitch(syscall.SIGSTOP))
	d, code, text := m.doctor("netns:web --to netns:db")
	m.check(o.SignalSwitch(syscall.SIGCONT))
	if code != 1 || !slices.Equal(d.found(), []string{"ovs-silent"}) {
		t.Errorf("doctor exits with %d and finds %v:\n%s", code, d.found(), text)
	}
	m.well("after it goes on", "netns:web --to netns:db")
}
