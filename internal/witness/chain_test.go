package witness

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/gopipework/gopipework/e2e/host"
	"github.com/gopipework/gopipework/e2e/program"
	"github.com/gopipework/gopipework/internal/nsfs"
)

// space is a network namespace of a test's own.
type space struct {
	t  testing.TB
	ns *os.File
	in *nsfs.Thread
}

func newSpace(t testing.TB) space {
	t.Helper()
	ns := host.NewNamespace(t)
	in, err := nsfs.Enter(ns)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(in.End)
	s := space{t, ns, in}
	s.sh("ip link set lo up")
	return s
}

// sh runs shell commands in the namespace and returns what they print. The namespaces of
// others are /proc/self/fd/4 and so on.
func (s space) sh(script string, others ...space) string {
	s.t.Helper()
	cmd := program.Command("nsenter", "--net=/proc/self/fd/3", "sh", "-ec", script)
	cmd.ExtraFiles = []*os.File{s.ns}
	for _, o := range others {
		cmd.ExtraFiles = append(cmd.ExtraFiles, o.ns)
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		s.t.Fatalf("%s: %v\n%s", script, err, out)
	}
	return string(out)
}

// point is a link of the namespace.
func (s space) point(name string) (p Point, mac net.HardwareAddr) {
	s.t.Helper()
	err := s.in.Run(func() error {
		l, err := net.InterfaceByName(name)
		if err == nil {
			p, mac = Point{l.Index, s.in.Run}, l.HardwareAddr
		}
		return err
	})
	if err != nil {
		s.t.Fatalf("%s: %v", name, err)
	}
	return p, mac
}

// neighbours is the table of neighbours, also those that nobody answered for; not
// multicast addresses, which need nobody.
func (s space) neighbours() string {
	var all []string
	for l := range strings.Lines(s.sh("ip neighbour show nud all")) {
		if f := strings.Fields(l); f[len(f)-1] != "NOARP" {
			all = append(all, f[0])
		}
	}
	return strings.Join(all, " ")
}

// chain is a guest, a switch with two ports, and another guest.
type chain struct{ a, sw, b space }

const (
	chainA, chainB = "10.9.0.2", "10.9.0.3"
	chainA6        = "fd09::2"
	chainB6        = "fd09::3"
)

func newChain(t testing.TB) chain {
	t.Helper()
	host.NeedRoot(t)
	c := chain{newSpace(t), newSpace(t), newSpace(t)}
	c.sw.sh(`ip link add br0 type bridge mcast_snooping 0
		ip link add pa type veth peer name eth1 netns /proc/self/fd/4
		ip link add pb type veth peer name eth1 netns /proc/self/fd/5
		for i in pa pb; do ip link set $i master br0 up; done
		ip link set br0 up`, c.a, c.b)
	for addr, s := range map[string]space{"2": c.a, "3": c.b} {
		s.sh(fmt.Sprintf("ip link set eth1 up; ip addr add 10.9.0.%s/24 dev eth1; ip addr add fd09::%s/64 dev eth1 nodad", addr, addr))
	}
	// The bridge has a port forward whenever its carrier is told, which it may be late.
	up := func() bool { return strings.Count(c.sw.sh("ip -br link show master br0"), " UP ") == 2 }
	if !host.Poll(plenty, up) {
		t.Fatal(c.sw.sh("ip link"))
	}
	return c
}

// points are those of the way from a to b.
func (c chain) points() (all []Point) {
	for _, l := range []struct {
		s    space
		name string
	}{{c.a, "eth1"}, {c.sw, "pa"}, {c.sw, "pb"}, {c.b, "eth1"}} {
		p, _ := l.s.point(l.name)
		all = append(all, p)
	}
	return all
}

func (c chain) host(s space, addr string) Host {
	return Host{Addr: netip.MustParseAddr(addr), Run: s.in.Run}
}

func (c chain) mark() Mark {
	var all []netip.Addr
	for _, a := range []string{chainA, chainB, chainA6, chainB6} {
		all = append(all, netip.MustParseAddr(a))
	}
	return NewMark(all...)
}

func (c chain) station(s space, addr string) Station {
	p, mac := s.point("eth1")
	return Station{p, mac, netip.MustParseAddr(addr)}
}

// ping sends one, with little patience unless it has to be answered.
func (c chain) ping(m Mark, addr string, patience time.Duration) Echoed {
	c.a.t.Helper()
	from := chainA
	if strings.Contains(addr, ":") {
		from = chainA6
	}
	e, err := Ping{Mark: m, From: c.host(c.a, from), To: netip.MustParseAddr(addr), Patience: patience}.Send(context.Background())
	if err != nil {
		c.a.t.Fatal(err)
	}
	return e
}

// How long a busy machine may take, and how long a test waits for what does not come.
const (
	plenty = 20 * time.Second
	little = 250 * time.Millisecond
)

// steps are sightings as a test writes them: "echo request 0>1<".
func steps(seen []Sighting) string {
	var b strings.Builder
	last := Kind("")
	for _, s := range seen {
		if s.Kind != last {
			fmt.Fprintf(&b, "; %s ", s.Kind)
			last = s.Kind
		}
		fmt.Fprintf(&b, "%d%s", s.Point, map[bool]string{true: ">", false: "<"}[s.Out])
	}
	return strings.TrimPrefix(b.String(), "; ")
}
