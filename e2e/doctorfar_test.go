//go:build linux

package e2e

import (
	"net"
	"slices"
	"strings"
	"testing"

	"github.com/gopipework/gopipework/e2e/host"
)

// farFaults are those of whom packets are for.
var farFaults = []fault{
	{name: "address-duplicate", what: "of IPv4", do: "ip netns add x; gopipework brtest netns:x 10.0.0.9/24; ip -n x address add 10.0.0.2/24 dev eth1", mend: "ip -n x address del 10.0.0.2/24 dev eth1"},
	{name: "bridge-no-address", set: behindHost, doctor: "netns:web", do: "ip address del 10.0.0.1/24 dev brtest"},
	{name: "gateway-silent", set: behindRouter, doctor: "netns:web", do: "ip -n lan address del 10.0.0.1/24 dev eth1", mend: "ip -n lan address add 10.0.0.1/24 dev eth1"},
	{name: "uplink-missing", set: behindRouter, doctor: "netns:web --to 10.0.0.1", do: "ip link set nic0 nomaster", mend: "ip link set nic0 master brtest"},
	{name: "far-missing", set: behindRouter, doctor: "netns:web --to 10.0.0.1", do: "gopipework detach netns:lan", mend: "gopipework brlan netns:lan 10.0.0.1/24"},
}

// behindHost attaches web to a bridge whose own address is its gateway.
func behindHost(m *machine) {
	m.named("web")
	m.ok("brtest", "netns:web", "10.0.0.2/24@10.0.0.1")
	m.sh("ip address add 10.0.0.1/24 dev brtest")
}

// behindRouter attaches web to a bridge whose uplink leads to another bridge, where its
// gateway is.
func behindRouter(m *machine) {
	m.named("web")
	m.named("lan")
	m.sh("ip link add nic0 type veth peer name wire; ip link set nic0 up; ip link set wire up")
	m.ok("brlan", "netns:lan", "10.0.0.1/24")
	m.ok("brtest", "netns:web", "10.0.0.2/24@10.0.0.1")
	m.sh("ip link set wire master brlan; ip link set nic0 master brtest")
}

// TestDoctorFix: --fix runs the same line again, which mends what is ours, and then looks
// again; what is printed is the line that a person would type.
func TestDoctorFix(t *testing.T) {
	m := newMachine(t)
	twoOnBridge(m)
	m.sh("iptables -F DOCKER-USER; iptables -A DOCKER-USER -j RETURN; ip link set web0 nomaster; ip link set web0 master brtest; ip -n web link set eth1 down")
	r := m.gopipework("doctor", "netns:web", "eth1", "--to", "netns:db:eth1")
	m.says("what is printed", r.Stdout, "mend: gopipework brtest -l web0 netns:web 10.0.0.2/24\n", "  or: gopipework doctor netns:web eth1 --to netns:db:eth1 --fix\n")
	if r = m.gopipework("doctor", "netns:web", "eth1", "--to", "netns:db:eth1", "--fix"); r.Code != 0 {
		t.Errorf("--fix leaves it broken: %v", r)
	}
	m.says("each step", r.Stderr, "+ gopipework brtest -l web0 netns:web 10.0.0.2/24\n", "ip link set dev eth1 up\n")
	m.well("after it", "netns:web --to netns:db")
}

// TestDoctorNoWay: what no packet goes to or comes from is refused, and nothing is walked.
func TestDoctorNoWay(t *testing.T) {
	m := newMachine(t)
	twoOnBridge(m)
	for words, want := range map[string]string{
		"netns:web --to 10.0.0.2":     "netns:web has it itself",
		"netns:web --to 10.0.0.255":   "broadcast address",
		"netns:web --to 10.0.0.0":     "network address",
		"netns:web lo":                "does not leave the guest",
		"netns:web --bundle /no/such": "no such file",
	} {
		r := m.gopipework(append([]string{"doctor"}, strings.Fields(words)...)...)
		if r.Code < 2 || !strings.Contains(r.Stderr, want) || r.Stdout != "" {
			t.Errorf("want %q: %v", want, r)
		}
	}
}

// TestDoctorOtherSubnet: without a route to a guest in another subnet doctor says that it is in
// another.
func TestDoctorOtherSubnet(t *testing.T) {
	m := newMachine(t)
	twoOnBridge(m)
	m.ok("set", "netns:db", "eth1", "--addr", "10.1.0.3/24")
	d, code, text := m.doctor("netns:web --to netns:db")
	if code != 1 || !slices.Equal(d.found(), []string{"no-route"}) {
		t.Errorf("doctor exits with %d and finds %v:\n%s", code, d.found(), text)
	}
	m.says("doctor", text, "10.1.0.3 is in no subnet of eth1 of web (10.0.0.2/24), which has no route to it: give both addresses of one subnet, or add a route")
}

// TestDoctorFamilies: a far end of which only one family can be spoken to, one that has
// none of the guest's, and a gateway that is the same for both.
func TestDoctorFamilies(t *testing.T) {
	m := newMachine(t)
	twoOnBridge(m)
	m.named("six")
	m.ok("brlan", "netns:six", "2001:db8:5::2/64", "--nodad")
	if d, code, text := m.doctor("netns:web --to netns:six"); code != 1 || len(d.found()) == 0 || d.found()[0] != "address-missing" {
		t.Errorf("to another family, doctor exits with %d:\n%s", code, text)
	}
	m.sh("ip -n db address add 2001:db8::3/64 dev eth1 nodad")
	m.well("to a far end with one family more", "netns:web --to netns:db")
	m.named("router")
	m.ok("brtest", "-i", "eth1", "netns:router", "10.0.0.1/24,2001:db8::1/64", "--nodad")
	m.ok("detach", "netns:six")
	m.ok("brtest", "netns:six", "10.0.0.6/24,2001:db8::6/64@10.0.0.1,2001:db8::1", "--nodad")
	d, _, text := m.doctor("netns:six")
	gateways := 0
	for _, h := range d.Hops {
		if strings.HasPrefix(h.Name, "gateway ") {
			gateways++
			if answers := strings.Count(strings.Join(h.Facts, " "), "answers from"); answers != 2 {
				t.Errorf("%d answers of the gateway:\n%s", answers, text)
			}
		}
	}
	if gateways != 1 {
		t.Errorf("%d gateways:\n%s", gateways, text)
	}
}

// TestDoctorTwice: without --to, another interface of the guest itself is no far end, on a bridge
// and on a card.
func TestDoctorTwice(t *testing.T) {
	m := newMachine(t)
	m.sh("ip link add nic0 type veth peer name wire; ip link set nic0 up; ip link set wire up")
	for _, on := range []string{"brtest", "nic0"} {
		one, two := m.guest(), m.guest()
		m.ok(on, one.Word, "10.0.0.1/24")
		m.ok(on, "-i", "eth2", one.Word, "10.0.0.2/24")
		m.ok(on, two.Word, "10.0.0.3/24")
		m.well("on "+on+", beside another interface of the guest,", one.Word)
	}
}

// TestDoctorOnePort: a far guest whose firewall accepts connections to one port alone is
// reached, and doctor says what it drops; with that port closed it is not.
func TestDoctorOnePort(t *testing.T) {
	m := newMachine(t)
	web, db := m.guest(), m.guest()
	m.ok("brtest", web.Word, "10.0.0.2/24")
	m.ok("brtest", db.Word, "10.0.0.3/24")
	m.check(db.Run("sh", "-ec", "iptables -P INPUT DROP; iptables -A INPUT -p tcp --dport 80 -j ACCEPT").Err())
	defer m.listen(db, "10.0.0.3:80").Close()
	for _, want := range []int{0, 1} {
		if d, code, text := m.doctor(web.Word + " --to " + db.Word); code != want || !slices.Equal(d.found(), []string{"far-firewall"}) {
			t.Errorf("doctor exits with %d, want %d, and finds %v:\n%s", code, want, d.found(), text)
		}
		m.check(db.Run("iptables", "-R", "INPUT", "1", "-p", "tcp", "--dport", "80", "-j", "REJECT", "--reject-with", "tcp-reset").Err())
	}
}

// listen listens in a guest for connections, which nobody takes.
func (m *machine) listen(g *host.Guest, addr string) (l net.Listener) {
	m.t.Helper()
	m.check(g.Inside(func() (err error) { l, err = net.Listen("tcp", addr); return err }))
	return l
}
