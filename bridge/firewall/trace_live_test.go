//go:build linux

package firewall

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/gopipework/gopipework/e2e/program"
	"github.com/gopipework/gopipework/internal/fault"
)

// mac is that of a guest's interface.
func (h *fwHost) mac(g fwGuest) net.HardwareAddr {
	h.Helper()
	h.enter(g.ns)
	defer h.enter(h.ns)
	link, err := netlink.LinkByName("eth1")
	h.check(err)
	return link.Attrs().HardwareAddr
}

// trace begins a trace in the thread's namespace.
func (h *fwHost) trace(probes ...Probe) *Trace {
	h.Helper()
	h.needNFT()
	tr, err := OpenTrace(probes...)
	if fault.CodeOf(err) == fault.Unsupported {
		h.unsupported("nf_tables trace", err.Error())
	}
	h.check(err)
	h.Cleanup(tr.Close)
	return tr
}

func (h *fwHost) address(g fwGuest, family Family) netip.Addr {
	ip := g.v4
	if family == IPv6 {
		ip = g.v6
	}
	a, ok := netip.AddrFromSlice(ip)
	if !ok {
		h.Fatalf("%v is no address", ip)
	}
	return a.Unmap()
}

// send sends one datagram from the guest to the other, which it knows.
func (h *fwHost) send(family Family, from, to fwGuest) {
	h.Helper()
	h.enter(from.ns)
	defer h.enter(h.ns)
	c, err := net.Dial("udp", netip.AddrPortFrom(h.address(to, family), 9).String())
	h.check(err)
	defer c.Close()
	c.Write([]byte("probe")) // EPERM if the guest's own rules drop it
}

// events are the lines of a frame. Handles are left out.
func lines(f Traced) string {
	var out []string
	for _, e := range f.Events {
		if e.Handle != 0 {
			e.Handle = 1
		}
		out = append(out, e.String())
	}
	return strings.Join(out, "\n")
}

// asOlderTool makes what iptables 1.8.11 makes of a line the same as 1.8.9 does.
var asOlderTool = strings.NewReplacer(", ip protocol udp th", ", meta l4proto udp th",
	`ip daddr 10.99.0.2 iifname != "docker0"`, `iifname != "docker0" ip daddr 10.99.0.2`)

// TestTraceLive has rules of all sorts stop a frame, and asks the trace which.
func TestTraceLive(t *testing.T) {
	docker := "-P FORWARD ACCEPT\n-N DOCKER-USER\n-N DOCKER-ISOLATION-STAGE-1\n-N DOCKER-ISOLATION-STAGE-2\n" +
		"-A FORWARD -j DOCKER-USER\n-A FORWARD -j DOCKER-ISOLATION-STAGE-1\n-A DOCKER-USER -j RETURN\n" +
		"-A DOCKER-ISOLATION-STAGE-1 -i brtest -j DOCKER-ISOLATION-STAGE-2\n-A DOCKER-ISOLATION-STAGE-2 -o brtest -j DROP\n"
	loaded := func(family Family, text string) func(*fwHost) {
		return func(h *fwHost) { h.load(family, NFT, text) }
	}
	iptables := func(family Family, args string) func(*fwHost) {
		return func(h *fwHost) { h.tool("", h.iptables(family, NFT), strings.Fields(args)...) }
	}
	chain := func(family, hook, rules string) func(*fwHost) {
		return func(h *fwHost) { h.nft(nftChainText(family, hook, rules)) }
	}
	const host, from, to = 0, 1, 2 // where the rules are, and the trace
	for _, tt := range []struct {
		name   string
		where  int
		load   func(*fwHost)
		family Family
		want   string // Stop.String, "" for none
		hook   string
		seen   string // an event before
	}{
		{"a policy", host, loaded(IPv4, "-P FORWARD DROP\n-N DOCKER-USER\n-A FORWARD -j DOCKER-USER\n"), IPv4,
			"ip filter FORWARD, policy drop", "forward", "ip filter FORWARD rule 1 jump DOCKER-USER"},
		{"a policy of IPv6", host, loaded(IPv6, "-P FORWARD DROP\n"), IPv6, "ip6 filter FORWARD, policy drop", "forward", ""},
		{"chains that jump", host, loaded(IPv4, docker), IPv4,
			`ip filter DOCKER-ISOLATION-STAGE-2, oifname "brtest" drop (called from FORWARD)`, "forward",
			"ip filter DOCKER-ISOLATION-STAGE-1 rule 1 jump DOCKER-ISOLATION-STAGE-2"},
		{"Docker's raw", host, iptables(IPv4, "-t raw -A PREROUTING -d 10.99.0.2/32 ! -i docker0 -j DROP"), IPv4,
			`ip raw PREROUTING, iifname != "docker0" ip daddr 10.99.0.2 drop`, "prerouting", ""},
		{"a reject", host, iptables(IPv4, "-A FORWARD -p udp -m udp --dport 9 -j REJECT"), IPv4,
			"ip filter FORWARD, meta l4proto udp th dport 9 REJECT", "forward", ""},
		{"inet", host, chain("inet", "forward", `ip saddr 10.99.0.0/24 udp dport 9 drop`), IPv4,
			"inet fw c, meta nfproto ipv4 ip saddr 10.99.0.0/24 meta l4proto udp th dport 9 drop", "forward", ""},
		{"inet, IPv6", host, chain("inet", "forward", `udp dport { 9, 10 } drop`), IPv6,
			"inet fw c, meta l4proto udp th dport {...} drop", "forward", ""},
		{"a set", host, chain("inet", "forward", `iifname { "lan", "brtest" } drop`), IPv4, "inet fw c, iifname {...} drop", "forward", ""},
		{"the bridge's", host, chain("bridge", "forward", `iifname "brtest0" drop`), IPv4,
			`bridge fw c, iifname "brtest0" drop`, "forward", ""},
		{"the bridge's policy", host, chain("bridge", "forward", `policy drop; ether type arp accept`), IPv4,
			`bridge fw c, policy drop`, "forward", ""},
		{"the bridge's output", host, chain("bridge", "postrouting", `oifname "brtest1" ip protocol udp drop`), IPv4,
			`bridge fw c, oifname "brtest1" meta protocol ip ip protocol udp drop`, "postrouting", ""},
		{"the bridge's, by type", host, chain("bridge", "forward", `ether type 0x0800 drop`), IPv4,
			`bridge fw c, ether type ip drop`, "forward", ""},
		{"nothing", host, func(*fwHost) {}, IPv4, "", "", ""},
		{"nothing that drops", host, loaded(IPv4, "-P FORWARD ACCEPT\n-A FORWARD -i other -j DROP\n"), IPv4, "", "", "ip filter FORWARD policy accept"},
		{"legacy, which has no trace", host, func(h *fwHost) {
			h.tool("", h.iptables(IPv4, Legacy), "-P", "FORWARD", "DROP")
		}, IPv4, "", "", ""},

		{"a guest's input", to, chain("inet", "input", `udp dport 9 drop`), IPv4, "inet fw c, meta l4proto udp th dport 9 drop", "input", ""},
		{"a guest's input, iptables", to, iptables(IPv6, "-P INPUT DROP"), IPv6, "ip6 filter INPUT, policy drop", "input", ""},
		{"a guest's raw", to, iptables(IPv4, "-t raw -A PREROUTING -s 10.99.0.1 -j DROP"), IPv4, "ip raw PREROUTING, ip saddr 10.99.0.1 drop", "prerouting", ""},
		{"a guest's output", from, chain("ip", "output", `udp dport 9 drop`), IPv4, "ip fw c, meta l4proto udp th dport 9 drop", "output", ""},
		{"a guest's output, IPv6", from, iptables(IPv6, "-A OUTPUT -p udp -j DROP"), IPv6, "ip6 filter OUTPUT, meta l4proto udp drop", "output", ""},
		{"a guest's nothing", to, func(*fwHost) {}, IPv4, "", "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := newFWHost(t)
			g := h.bridge("brtest", 3)
			h.wantReach(tt.family, g[0], g[1], true, "before there are rules") // and they know each other
			probe := Probe{Source: h.address(g[0], tt.family), Target: h.address(g[1], tt.family), Protocol: unix.IPPROTO_UDP}
			if tt.where == host {
				probe.SourceMAC, probe.TargetMAC = h.mac(g[0]), h.mac(g[1])
			} else {
				h.enter(g[tt.where-1].ns)
			}
			tt.load(h)
			tr := h.trace(Probe{Source: h.address(g[2], tt.family)}, probe)
			h.enter(h.ns)
			for range 2 {
				h.send(tt.family, g[0], g[1])
			}
			h.send(tt.family, g[1], g[0]) // is none of the probe's

			frames, err := tr.Events(t.Context(), 0)
			h.check(err)
			if len(frames) != 2 || tr.Missed() {
				t.Fatalf("%d frames, want 2; missed some: %v", len(frames), tr.Missed())
			}
			for _, f := range frames {
				t.Logf("probe %d:\n%s", f.Probe, lines(f))
				if f.Probe != 1 {
					t.Errorf("probe %d", f.Probe)
				}
				s, stopped, err := tr.Stop(f)
				h.check(err)
				got := ""
				if stopped {
					got = asOlderTool.Replace(s.String())
				}
				if diff := cmp.Diff(tt.want, got); diff != "" || s.Hook != tt.hook {
					t.Errorf("hook %q, want %q; stop (-want +got):\n%s", s.Hook, tt.hook, diff)
				}
				if !strings.Contains(lines(f), tt.seen) {
					t.Errorf("no event %q in\n%s", tt.seen, lines(f))
				}
			}
			if again, err := tr.Events(t.Context(), 10*time.Millisecond); again != nil || err != nil {
				t.Errorf("again: %v, %v", again, err)
			}
		})
	}
}

// TestTraceToHost follows frames through a bridge to the host itself, and to another bridge.
func TestTraceToHost(t *testing.T) {
	for _, tt := range []struct {
		name   string
		load   string
		device bool
		want   []string // for a frame to the host, and one to the other bridge
	}{
		{"input", nftChainText("ip", "input", "udp dport 9 drop"), false, []string{"ip fw c, meta l4proto udp th dport 9 drop", ""}},
		{"forward", nftChainText("ip", "forward", `iifname "bra" oifname "brb" drop`), false, []string{"", `ip fw c, iifname "bra" oifname "brb" drop`}},
		{"translated", "table ip nat { chain c { type nat hook prerouting priority dstnat; ip daddr 10.99.9.1 udp dport 9 dnat to 10.98.0.1; } }\n" +
			nftChainText("ip", "forward", `policy drop;`), false, []string{"", `ip fw c, policy drop`}},
		{"a device's ingress", "table netdev fw { chain c { type filter hook ingress device bra0 priority 0; udp dport 9 drop; } }", true,
			[]string{`netdev fw c, meta l4proto udp th dport 9 drop`, `netdev fw c, meta l4proto udp th dport 9 drop`}},
		{"past a device", nftChainText("bridge", "input", "policy drop;"), true, []string{"bridge fw c, policy drop", "bridge fw c, policy drop"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := newFWHost(t)
			g := h.bridge("bra", 1)
			h.bridge("brb", 0)
			for _, args := range []string{"addr add 10.99.0.254/24 dev bra", "addr add 10.98.0.254/24 dev brb", "neigh add 10.98.0.1 lladdr 02:00:00:00:00:01 dev brb"} {
				h.tool("", "ip", strings.Fields(args)...)
			}
			h.check(os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0))
			h.enter(g[0].ns)
			h.tool("", "ip", "route", "add", "default", "via", "10.99.0.254")
			h.enter(h.ns)
			hostSide := fwGuest{v4: net.IPv4(10, 99, 0, 254)}
			beyond := fwGuest{v4: net.IPv4(10, 98, 0, 1)}
			if tt.name == "translated" {
				beyond.v4 = net.IPv4(10, 99, 9, 1)
			}
			h.send(IPv4, g[0], hostSide) // it finds its neighbour
			time.Sleep(50 * time.Millisecond)
			h.nft(tt.load)
			probe := Probe{SourceMAC: h.mac(g[0]), Protocol: unix.IPPROTO_UDP, Source: h.address(g[0], IPv4)}
			if tt.device {
				probe.Device = "bra0"
			}
			tr := h.trace(probe)
			h.send(IPv4, g[0], hostSide)
			h.send(IPv4, g[0], beyond)
			frames, err := tr.Events(t.Context(), 0)
			h.check(err)
			if len(frames) != 2 {
				t.Fatalf("%d frames, want 2", len(frames))
			}
			for i, f := range frames {
				t.Log(lines(f))
				s, stopped, err := tr.Stop(f)
				h.check(err)
				if got := s.String(); stopped != (tt.want[i] != "") || stopped && got != tt.want[i] {
					t.Errorf("frame %d: stop %v %q, want %q", i, stopped, got, tt.want[i])
				}
			}
		})
	}
}

// TestTraceGone: the table of a trace goes with it.
func TestTraceGone(t *testing.T) {
	h := newFWHost(t)
	before := h.ruleset()
	tr := h.trace(Probe{SourceMAC: net.HardwareAddr{2, 0, 0, 0, 0, 1}}, Probe{Target: netip.MustParseAddr("fd99::1")})
	if there := h.ruleset(); strings.Count(there, "table ") != 2 || !strings.Contains(there, "nftrace set 1") {
		t.Errorf("the tables are not there:\n%s", there)
	}
	tr.Close()
	if after := h.ruleset(); after != before {
		t.Errorf("after Close:\n%s", after)
	}
	tr.Close() // again is no error
}

func (h *fwHost) ruleset() string { h.Helper(); return h.tool("", "nft", "list", "ruleset") }

// traceChild is set for a process that has a trace, and does nothing until it is killed.
const traceChild = "GOPIPEWORK_TEST_TRACE"

func holdTrace() {
	if _, err := OpenTrace(Probe{SourceMAC: net.HardwareAddr{2, 0, 0, 0, 0, 1}}); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println("ready")
	select {}
}

// TestTraceTooOld: a kernel that does not know a flag of a table refuses it, as one before
// 5.12 does that of an owner, and makes nothing of what comes with it.
func TestTraceTooOld(t *testing.T) {
	h := newFWHost(t)
	h.needNFT()
	before := h.ruleset()
	conn, err := dialNFT()
	h.check(err)
	defer conn.close()
	tr := &Trace{table: traceName()}
	messages := tr.marking([]Probe{{SourceMAC: make([]byte, 6)}})
	flags := messages[0].attrs[1]
	flags.Data = bigEndian32(1 << 20)
	err = traceFault(conn.batch(messages))
	if fault.CodeOf(err) != fault.Unsupported || h.ruleset() != before {
		t.Errorf("%v; then there is\n%s", err, h.ruleset())
	}
}

// TestTraceKilled: the table goes with the process that has made it, however that ends.
func TestTraceKilled(t *testing.T) {
	h := newFWHost(t)
	before := h.ruleset()
	h.trace(Probe{SourceMAC: net.HardwareAddr{2, 0, 0, 0, 0, 1}}).Close() // or it is skipped
	child := program.Command(os.Args[0])
	child.Env = append(os.Environ(), traceChild+"=1")
	out, err := child.StdoutPipe()
	h.check(err)
	h.check(child.Start())
	defer child.Process.Kill()
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "ready\n" {
		t.Fatalf("the child says %q, %v", line, err)
	}
	if !strings.Contains(h.ruleset(), "gopipework-trace-") {
		t.Fatal("the child has made no table")
	}
	h.check(child.Process.Kill())
	child.Wait()
	if after := h.ruleset(); after != before {
		t.Errorf("after SIGKILL:\n%s", after)
	}
}

// TestTraceOfOthers: what somebody else traces is left out, and what is more than can be
// heard is noticed.
func TestTraceOfOthers(t *testing.T) {
	h := newFWHost(t)
	g := h.bridge("brtest", 3)
	h.wantReach(IPv4, g[0], g[1], true, "before there are rules")
	h.wantReach(IPv4, g[2], g[1], true, "before there are rules")
	h.nft("table bridge others { chain c { type filter hook prerouting priority -400; meta nftrace set 1; } }\n" +
		nftChainText("inet", "forward", "policy drop;"))
	tr := h.trace(Probe{SourceMAC: h.mac(g[0]), Protocol: unix.IPPROTO_UDP, Source: h.address(g[0], IPv4)})
	h.send(IPv4, g[2], g[1])
	h.send(IPv4, g[0], g[1])
	h.send(IPv4, g[2], g[1])
	frames, err := tr.Events(t.Context(), 0)
	h.check(err)
	if len(frames) != 1 || tr.Missed() || strings.Count(lines(frames[0]), "policy drop") != 1 {
		t.Errorf("missed some: %v; %d frames: %+v", tr.Missed(), len(frames), frames)
	}
	h.check(unix.SetsockoptInt(tr.events, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 0)) // the least there is
	for range 50 {
		h.send(IPv4, g[0], g[1])
	}
	frames, err = tr.Events(t.Context(), 0)
	h.check(err)
	if !tr.Missed() || len(frames) >= 50 {
		t.Errorf("missed some: %v, with %d frames", tr.Missed(), len(frames))
	}
}

// TestTraceRefuses: probes that make no sense, and a context that has ended.
func TestTraceRefuses(t *testing.T) {
	four, six := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("fd00::1")
	for _, p := range []Probe{{}, {Protocol: 1}, {SourceMAC: make([]byte, 6), Protocol: 1}, {Source: four, Target: six}, {Source: four, Protocol: 17, Echo: 1}} {
		if _, err := OpenTrace(p); fault.CodeOf(err) != fault.Usage {
			t.Errorf("%+v: %v", p, err)
		}
	}
	for _, e := range []error{unix.EINVAL, unix.EOPNOTSUPP, unix.ENOENT, unix.EPROTONOSUPPORT, unix.EAFNOSUPPORT} {
		if got := traceFault(e); fault.CodeOf(got) != fault.Unsupported {
			t.Errorf("%v: %v", e, got)
		}
	}
	h := newFWHost(t)
	tr := h.trace(Probe{Source: four})
	if _, err := OpenTrace(Probe{Source: four, Device: "absent"}); fault.CodeOf(err) != fault.Gone {
		t.Errorf("a device that is absent: %v", err)
	}
	if there := h.ruleset(); strings.Count(there, "table ") != 1 {
		t.Errorf("what was refused is there:\n%s", there)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := tr.Events(ctx, time.Minute); fault.CodeOf(err) != fault.Interrupted {
		t.Errorf("a context that has ended: %v", err)
	}
}
