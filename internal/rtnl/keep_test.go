package rtnl

import (
	"encoding/json"
	"errors"
	"io/fs"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// rich is a card that somebody has set up in every way, between links that
// have to stay as they are.
const rich = `
ip link add oth address 02:00:00:00:00:0f type veth peer name othwire; ip link set othwire up; ip link set oth up
ip address add 10.88.0.1/24 dev oth; ip address add 2001:db8:88::1/64 dev oth nodad
ip route add 10.89.0.0/24 dev oth

ip link add nic address 02:00:00:00:00:07 mtu 1400 txqueuelen 77 type veth peer name wire
ip link set wire up; ip link set nic group 5 promisc on alias 'a "card"; $(id)' addrgenmode random; ip link set nic up
ip link property add dev nic altname enp0 altname enx1

# A host where a new link has no IPv6, as in a container of Docker.
echo 1 >/proc/sys/net/ipv6/conf/default/disable_ipv6; echo 0 >/proc/sys/net/ipv6/conf/nic/accept_ra
echo 2 >/proc/sys/net/ipv4/conf/nic/rp_filter; echo 1 >/proc/sys/net/ipv4/conf/nic/forwarding

ip address add 10.0.0.1/24 brd + dev nic
ip address add 10.0.0.2/24 dev nic label nic:one
ip address add 10.9.0.1 peer 10.9.0.2/32 scope link dev nic
ip address add 192.168.7.1/24 dev nic noprefixroute
ip address add 192.168.8.1/24 dev nic metric 50
ip address add 10.3.0.1/24 dev nic valid_lft 3600 preferred_lft 1800
ip address add 2001:db8::1/64 dev nic nodad
ip address add 2001:db8:1::1/64 dev nic noprefixroute
ip address add 2001:db8:2::1/64 dev nic metric 77
ip address add 2001:db8:3::1 peer 2001:db8:3::2/128 dev nic
ip address add 2001:db8:4::1/64 dev nic valid_lft 3600 preferred_lft 0
ip address add fe80::1/64 dev nic

ip route add default via 10.0.0.254 metric 100
ip route append 10.89.0.0/24 dev nic
ip route add 10.90.0.0/24 dev oth src 10.0.0.1
ip route add 10.91.0.0/24 dev oth src 10.0.0.1 table 100; ip route add 10.92.0.0/24 dev oth src 10.0.0.2
ip route add 172.17.0.0/16 dev nic proto 99
ip route add 172.16.0.0/12 via 10.0.0.253 src 10.0.0.2 table 100 mtu lock 1300 advmss 1200 rtt 40ms rto_min 50ms congctl cubic
ip route add 9.9.0.0/16 via 172.17.0.1
ip route add 172.19.0.0/16 via inet6 fe80::9 dev nic
ip route add 172.18.0.0/16 via inet6 2001:db8::7 dev nic
ip route add 172.20.0.0/16 nexthop via 10.0.0.3 weight 2 nexthop via 10.88.0.4 nexthop via 1.2.3.4 dev nic onlink
ip route add 172.21.0.0/16 via 1.1.1.1 dev nic onlink tos 0x10 realms 3/4
ip route add local 10.77.0.0/16 dev nic
ip route add 172.22.0.0/16 via 10.0.0.3 metric 7; ip route append 172.22.0.0/16 via 10.0.0.2 dev nic metric 7 mtu 1301
ip route append 172.22.0.0/16 via 10.0.0.4 metric 7

ip neighbour add 10.0.0.3 lladdr 02:00:00:00:00:03 nud permanent dev nic; ip neighbour add proxy 10.0.0.77 dev nic
ip neighbour add 2001:db8::9 lladdr 02:00:00:00:00:09 nud permanent router dev nic; ip neighbour add proxy 2001:db8::77 dev nic
bridge fdb add 02:00:00:00:00:99 dev nic

ip -6 route add default via fe80::9 dev nic metric 5 pref high
ip -6 route add 2001:db8:aa::/48 via 2001:db8::9 table 100 mtu 1300 hoplimit 9
ip -6 route add 2001:db8:ab::/48 nexthop via 2001:db8::3 dev nic weight 3 nexthop via 2001:db8::4 dev nic
ip -6 route add 2001:db8:ac::/48 nexthop via 2001:db8:88::4 dev oth nexthop via 2001:db8::3 dev nic weight 2
ip -6 route add 2001:db8:ad::/48 dev nic expires 3000
ip -6 route add 2001:db8:ae::/48 via 2001:db8:ff::1 dev nic onlink
ip -6 route add 2001:db8:af::/48 from 2001:db8:88::/64 via 2001:db8::9
ip -6 route add local 2001:db8:b0::/64 dev nic
`

// fromChecked is a route that cannot be there before duplicate address
// detection has said yes to its source.
const fromChecked = `ip -6 route add 2001:db8:a0::/48 via 2001:db8::9 src 2001:db8:2::1 dev nic`

// TestKeep: a card goes to a guest that changes all it can, and is what it was
// when it is returned; by Restore, from a file, and by the commands.
func TestKeep(t *testing.T) {
	needRoot(t)
	t.Parallel()
	for _, test := range []struct {
		name    string
		spoil   string // by the guest, on top of the rest
		restore func(t *testing.T, home space, now *Link, k Kept)
	}{
		{"Restore", "ip link set eth1 arp off", func(t *testing.T, home space, now *Link, k Kept) {
			file, err := json.MarshalIndent(k, "", "  ")
			ok(t, "write", err)
			var read Kept
			ok(t, "read", json.Unmarshal(file, &read))
			if diff := cmp.Diff(k, read); diff != "" {
				t.Errorf("through JSON (-want +got):\n%s", diff)
			}
			ok(t, "restore", restore(home, now.Index, read))
			ok(t, "restore again", restore(home, now.Index, read))
		}},
		{"Commands", "", func(t *testing.T, home space, now *Link, k Kept) {
			commands := k.Commands(now)
			routes := len(commands) - len(k.Routes)
			home.sh(strings.Join(commands[:routes], "\n"))
			home.settle() // as Restore does
			home.sh(strings.Join(commands[routes:], "\n"))
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			home, guest := newSpace(t), newSpace(t)
			home.sh(rich)
			home.settle()
			home.sh(fromChecked)
			before := home.snapshot()
			index := home.link("nic").Index
			kept, err := home.Keep(index)
			ok(t, "keep", err)

			ok(t, "lend", home.MoveLink(index, Move{NS: guest.ns, Name: "eth1"}))
			if home.snapshot() == before {
				t.Fatal("the snapshot does not see that it is gone")
			}
			guest.sh(`
ip link property del dev eth1 altname enp0; ip link property add dev eth1 altname mine
ip link set eth1 address 02:00:00:00:00:66 mtu 1300 alias stolen group 9 txqueuelen 3 promisc off; ` + test.spoil + `
ip link set eth1 name else0 up
ip address add 10.66.0.1/24 dev else0`)
			ok(t, "return", guest.MoveLink(guest.link("else0").Index, Move{NS: home.ns}))
			test.restore(t, home, home.link("else0"), kept)
			home.settle()
			if diff := cmp.Diff(before, home.snapshot()); diff != "" {
				t.Errorf("after it was returned (-want +got):\n%s", diff)
			}
		})
	}
}

// settle waits for duplicate address detection, and until the kernel has told of each
// link whether it has a carrier (linkwatch): before that it may get an address yet.
func (s space) settle() {
	s.t.Helper()
	eventually(s.t, "carriers and duplicate address detection", func() bool {
		links, err := s.Links()
		ok(s.t, "links", err)
		for _, l := range links {
			// Asked for one link, kernels from 6.8 on tell at once.
			l, err := s.LinkByIndex(l.Index)
			ok(s.t, "link", err)
			if running := l.Flags&unix.IFF_RUNNING != 0; running != l.Carrier || l.Carrier && !l.OperUp && l.Kind == "veth" {
				return false
			}
		}
		addrs, err := s.Addrs()
		ok(s.t, "addresses", err)
		for _, a := range addrs {
			if a.Tentative() {
				return false
			}
		}
		return true
	})
}

// running are clocks, and what a link gets when it is first set up. The random
// address is another one each time, and so are the routes that it brings.
var running = regexp.MustCompile(`(?m)( ?qdisc \S+| ?\d+sec| numtxqueues.*|\n.*scope link stable-privacy.*\n.*valid_lft.*|^local fe80::[0-9a-f]{2,}\S+ .*\n|.*stable_secret.*)`)

func (s space) snapshot() string {
	s.t.Helper()
	return running.ReplaceAllString(s.sh(`
ip -d address show; ip neighbour show nud permanent | sort; ip neighbour show proxy | sort; bridge fdb show | sed '/33:33\|01:00:5e/d'; ip -4 -d route show table all; ip -6 -d -oneline route show table all | sort
grep . /proc/sys/net/ipv?/conf/*/* 2>/dev/null || true`), "")
}

func TestKeepCommands(t *testing.T) {
	needRoot(t)
	t.Parallel()
	s := newSpace(t)
	s.sh(rich)
	s.settle()
	k, err := s.Keep(s.link("nic").Index)
	ok(t, "keep", err)
	got := strings.Join(k.Commands(&Link{Name: "dev5"}), "\n")
	for _, want := range []string{
		"ip link set dev dev5 down\nip link set dev dev5 name nic\n",
		"ip link set dev nic mtu 1400 txqueuelen 77 group 5 address 02:00:00:00:00:07 promisc on allmulticast off arp on multicast on dynamic off\n",
		`ip link set dev nic alias 'a "card"; $(id)'` + "\n",
		"ip link property add dev nic altname enp0\n",
		"sysctl -w net/ipv6/conf/nic/disable_ipv6=0\nip link set dev nic up\n",
		"ip address add 10.0.0.2/24 label nic:one dev nic\n",
		"ip address add 10.9.0.1 peer 10.9.0.2/32 scope link dev nic\n",
		"ip address add 2001:db8:2::1/64 metric 77 dev nic\n",
		"ip route append 172.19.0.0/16 via inet6 fe80::9 dev nic scope global\n",
		"ip route append 172.20.0.0/16 scope global nexthop via 10.0.0.3 dev nic weight 2 nexthop via 10.88.0.4 dev oth weight 1 nexthop via 1.2.3.4 dev nic weight 1 onlink\n",
		"ip neighbour add 10.0.0.3 lladdr 02:00:00:00:00:03 nud permanent dev nic\n",
		"ip neighbour add 2001:db8::9 lladdr 02:00:00:00:00:09 nud permanent router dev nic\n",
		"ip neighbour add proxy 10.0.0.77 dev nic\n",
		"bridge fdb replace 02:00:00:00:00:99 dev nic\n",
		"ip -6 route append 2001:db8:ac::/48 metric 1024 nexthop via 2001:db8::3 dev nic weight 2\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q", want)
		}
	}
	for _, not := range []string{"stable", "proto kernel", "ff00::", "10.89.0.0/24 dev oth"} {
		if strings.Contains(got, not) {
			t.Errorf("%q is none of it", not)
		}
	}
	if t.Failed() {
		t.Logf("commands:\n%s", got)
	}
}

// TestRestoreExpired: what came with a lease is not restored once that has run out.
func TestRestoreExpired(t *testing.T) {
	needRoot(t)
	t.Parallel()
	s := newSpace(t)
	s.sh(`ip link add nic type veth peer name wire; ip link set wire up; ip link set nic up
ip address add 10.0.0.1/24 dev nic valid_lft 100 preferred_lft 50
ip address add 10.0.0.2/24 dev nic valid_lft 5000 preferred_lft 50
ip -6 route add 2001:db8:ad::/48 dev nic expires 100; ip -6 route add 2001:db8:ae::/48 dev nic expires 5000`)
	nic := s.link("nic").Index
	k, err := s.Keep(nic)
	ok(t, "keep", err)
	k.Taken = k.Taken.Add(-1000 * time.Second)
	s.sh("ip address flush dev nic; ip link set nic down")
	ok(t, "restore", restore(s, nic, k))
	got := s.sh("ip address show dev nic; ip -6 route show")
	if strings.Contains(got, "10.0.0.1") || !strings.Contains(got, "10.0.0.2/24 scope global deprecated") ||
		strings.Contains(got, "2001:db8:ad::") || !regexp.MustCompile(`2001:db8:ae::.*expires [34]\d\d\dsec`).MatchString(got) {
		t.Errorf("a thousand seconds later:\n%s", got)
	}
}

// TestRestoreDamaged: a file that is not as we wrote it is refused.
func TestRestoreDamaged(t *testing.T) {
	needRoot(t)
	t.Parallel()
	s := newSpace(t)
	s.sh(rich)
	s.settle()
	nic := s.link("nic").Index
	k, err := s.Keep(nic)
	ok(t, "keep", err)
	for _, parts := range [][]KeptPart{k.Addrs, k.Routes} {
		for _, p := range parts {
			for n := range p.Message {
				a, errA := readAddr(p.Message[:n])
				r, errR := readRoute(p.Message[:n])
				if errA == nil {
					a.grow(time.Hour)
					a.command("nic")
				}
				if errR == nil {
					r.grow(time.Hour)
					r.reindex(nic, 7)
					r.command(func(int) (string, error) { return "nic", nil })
				}
			}
		}
	}
	k.Sysctls["ipv6/../all/accept_ra"] = "0"
	k.Addrs[0].Message = k.Addrs[0].Message[:7]
	k.Routes[0].Message = []byte("damaged message")
	err = restore(s, nic, k)
	answers(t, "restore", err, unix.EINVAL)
	answers(t, "a sysctl elsewhere", err, fs.ErrInvalid)
	if msg := err.Error(); !strings.Contains(msg, k.Addrs[0].Command+": address message of 7 bytes") || !strings.Contains(msg, k.Routes[0].Command) {
		t.Errorf("the message does not say what: %v", err)
	}
	if s.sh("ip route show 172.19.0.0/16") == "" {
		t.Error("it did not go on with the others")
	}
}

// restore is Restore with all that went wrong in one error.
func restore(s space, index int, k Kept) error {
	missing, err := s.Restore(index, k)
	for _, p := range missing {
		err = errors.Join(err, p.Err)
	}
	return err
}
