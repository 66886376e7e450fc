package attach

import (
	"context"
	"strings"
	"testing"

	testhost "github.com/gopipework/gopipework/e2e/host"
	"github.com/gopipework/gopipework/internal/fault"
)

// TestParents: what the kernel would refuse in two words, or take and send
// nowhere, is refused or warned of in words that say why.
func TestParents(t *testing.T) {
	needRoot(t)
	const card = "ip link add nic0 mtu 1400 type veth peer name wire; ip link set nic0 up; ip link set wire up"
	for _, c := range []struct {
		name, host, line, needs string
		code                    fault.Code // "": it is done
		says                    string     // the error and its hint, or the warnings
		set                     bool       // what is asked of the MTU is asked of what is there
	}{
		{"macvlan, MTU", card, "nic0 web 10.0.0.2/24 --mtu 1500", "macvlan", fault.Conflict, "more than nic0's 1400", true},
		{"macvlan, less", card, "nic0 web 10.0.0.2/24 --mtu 1300", "macvlan", "", "", true},
		{"vlan, MTU", card, "vlan:nic0 web 10.0.0.2/24 @10 --mtu 1500", "8021q", fault.Conflict, "more than nic0's 1400", true},
		{"ipvlan, MTU", card, "ipvlan:nic0 web 10.0.0.2/24 --mtu 1500", "ipvlan", "", "more than nic0's 1400", true},
		{"macvlan on a VLAN, MTU", card + "; ip link add link nic0 name nic0.10 mtu 1300 type vlan id 10", "nic0 web 10.0.0.2/24 @10 --mtu 1400", "8021q",
			fault.Conflict, "more than nic0.10's 1300", true},
		{"bridge, MTU above", "ip link add brx mtu 1400 type bridge; ip link set brx up", "brx web 10.0.0.2/24 --mtu 9000", "", "", "more than brx's 1400", false},
		{"bridge, MTU below", "ip link add brx mtu 1400 type bridge; ip link set brx up", "brx web 10.0.0.2/24 --mtu 1300", "", "", "lowest port", false},
		{"macvlan on tun", "ip tuntap add tun0 mode tun; ip link set tun0 up", "tun0 web 10.0.0.2/24", "macvlan", fault.Conflict, "not an Ethernet device", false},
		{"ipvlan on tun", "ip tuntap add tun0 mode tun; ip link set tun0 up", "ipvlan:tun0 web 10.0.0.2/24", "ipvlan", fault.Conflict, "not an Ethernet device", false},
		{"vlan on tun", "ip tuntap add tun0 mode tun; ip link set tun0 up", "vlan:tun0 web 10.0.0.2/24 @10", "8021q", fault.Unsupported, "tun0 cannot be the parent of one", false},
		{"macvlan on a VLAN of tun", "ip tuntap add tun0 mode tun; ip link set tun0 up", "tun0 web 10.0.0.2/24 @10", "8021q", fault.Conflict, "not an Ethernet device", false},
		{"macvlan on a VRF", "ip link add red type vrf table 10; ip link set red up", "red web 10.0.0.2/24", "vrf", fault.Conflict, "red is a vrf", false},
		{"macvlan beside passthru", card + "; ip link add link nic0 name mv0 type macvlan mode passthru", "nic0 web 10.0.0.2/24", "macvlan", fault.Conflict, "mv0 (on the host) uses it in mode passthru", false},
		{"passthru beside macvlan", card + "; ip link add link nic0 name mv0 type macvlan mode bridge", "nic0 --mode passthru web 10.0.0.2/24", "macvlan", fault.Conflict, "mv0 (on the host) is on it", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			hostNS, g := newNamespace(t), docker(newNamespace(t), 0)
			inhabit(t, g.Namespace)
			if out, err := tryIn(hostNS, "sh", "-ec", quiet+c.host); err != nil {
				testhost.Lacking(t, c.needs, out)
			}
			holds := func(r Result, err error) {
				t.Helper()
				if fault.CodeOf(err) == fault.Unsupported && c.code != fault.Unsupported {
					testhost.Lacking(t, c.needs, err.Error())
				}
				said := strings.Join(r.Warnings, "\n")
				if err != nil {
					said = errorText(err)
				}
				if err == nil && c.code != "" || err != nil && fault.CodeOf(err) != c.code || !strings.Contains(said, c.says) || c.says == "" && said != "" {
					if fault.CodeOf(err) == fault.Unsupported {
						testhost.Lacking(t, c.needs, err.Error())
					}
					t.Errorf("%v, %q; want %q and %q", err, said, c.code, c.says)
				}
			}
			before := inventory(t, g.Namespace)
			holds(runAttach(context.Background(), parsed(t, c.line), g, hostNS, Options{}))
			if c.code != "" {
				sameSoon(t, "guest", before, func() string { return inventory(t, g.Namespace) })
			}
			if !c.set {
				return
			}
			line, mtu, _ := strings.Cut(c.line, " --mtu ")
			detachIfThere := func() {
				if _, err := runDetach(context.Background(), Selection{}, g, hostNS, Options{}); err != nil {
					t.Fatal(err)
				}
			}
			detachIfThere()
			if _, err := runAttach(context.Background(), parsed(t, line), g, hostNS, Options{}); err != nil {
				if fault.CodeOf(err) == fault.Unsupported {
					testhost.Lacking(t, c.needs, err.Error())
				}
				t.Fatal(err)
			}
			s, err := ParseSet("web", SetWords{IfName: "eth1", MTU: mtu})
			if err != nil {
				t.Fatal(err)
			}
			holds(runSet(context.Background(), s, g, hostNS, Options{}))
			detachIfThere()
		})
	}
}

// TestDetachUnderOthers: a bridge that we made, and that somebody has put a link
// on, stays when our last port goes; the kernel would delete that link with it.
func TestDetachUnderOthers(t *testing.T) {
	needRoot(t)
	for name, c := range map[string]struct{ add, needs string }{
		"a route":            {"ip route add 10.99.0.0/16 dev brtest", ""},
		"macvlan":            {"ip link add link brtest name on0 type macvlan", "macvlan"},
		"vlan":               {"ip link add link brtest name on0 type vlan id 9", "8021q"},
		"vxlan":              {"ip link add on0 type vxlan id 9 dstport 4789 dev brtest", "vxlan"},
		"vxlan in the guest": {"ip link add on0 type vxlan id 9 dstport 4789 dev brtest; ip link set on0 netns web", "vxlan"},
	} {
		t.Run(name, func(t *testing.T) {
			hostNS, g := newNamespace(t), docker(newNamespace(t), 0)
			inhabit(t, g.Namespace)
			if _, err := runAttach(context.Background(), parsed(t, "brtest web 10.0.0.2/24"), g, hostNS, Options{}); err != nil {
				t.Fatal(err)
			}
			add, away := strings.CutSuffix(c.add, "; ip link set on0 netns web")
			if out, err := tryIn(hostNS, "sh", "-ec", add); err != nil {
				testhost.Lacking(t, c.needs, out)
			}
			where := hostNS
			if away {
				moveLink(t, hostNS, "on0", g.Namespace)
				where = g.Namespace
			}
			if _, err := runDetach(context.Background(), Selection{All: true}, g, hostNS, Options{}); err != nil {
				t.Fatal(err)
			}
			if _, err := runGC(context.Background(), hostNS, Options{}); err != nil {
				t.Fatal(err)
			}
			if c.needs == "" {
				in(t, where, "ip", "route", "del", "10.99.0.0/16", "dev", "brtest")
			} else {
				in(t, where, "ip", "link", "del", "dev", "on0")
			}
			if _, err := runGC(context.Background(), hostNS, Options{}); err != nil {
				t.Fatal(err)
			}
			if out, err := tryIn(hostNS, "ip", "link", "show", "dev", "brtest"); err == nil {
				t.Errorf("the bridge stays when nothing is on it any more: %s", out)
			}
		})
	}
}
