//go:build linux

package firewall

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/xt"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/gopipework/gopipework/e2e/host"
	"github.com/gopipework/gopipework/e2e/program"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/hosttool"
)

// fwHost plays the host: a network namespace that the test's thread is in, and
// that ends with the test, because the thread is never unlocked.
type fwHost struct {
	testing.TB
	ns netns.NsHandle
}

func newFWHost(t testing.TB) *fwHost {
	t.Helper()
	host.NeedRoot(t)
	runtime.LockOSThread()
	h := &fwHost{TB: t}
	h.ns = h.namespace()
	h.enter(h.ns)
	h.up("lo")
	// A test that needs these switches otherwise sets them itself.
	h.sysctl("bridge-nf-call-iptables", "1")
	h.sysctl("bridge-nf-call-ip6tables", "1")
	t.Setenv("XTABLES_LOCKFILE", filepath.Join(t.TempDir(), "lock"))
	return h
}

func (h *fwHost) check(err error) {
	h.Helper()
	if err != nil {
		h.Fatal(err)
	}
}

// namespace makes a network namespace and leaves the thread in it.
func (h *fwHost) namespace() netns.NsHandle {
	h.Helper()
	ns, err := netns.New()
	h.check(err)
	h.Cleanup(func() { ns.Close() })
	return ns
}

func (h *fwHost) enter(ns netns.NsHandle) {
	h.Helper()
	h.check(netns.Set(ns))
}

func (h *fwHost) up(link string) {
	h.Helper()
	l, err := netlink.LinkByName(link)
	h.check(err)
	h.check(netlink.LinkSetUp(l))
}

func (h *fwHost) sysctl(name, value string) {
	h.Helper()
	file := "/proc/sys/net/bridge/" + name
	if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) {
		h.unsupported("br_netfilter", "this kernel has no "+file)
	}
	h.check(os.WriteFile(file, []byte(value), 0))
}

// unsupported ends the test for want of a feature of the kernel.
func (h *fwHost) unsupported(feature, why string) {
	h.Helper()
	host.Lacking(h, feature, why)
}

// tool runs an iptables program in the host.
func (h *fwHost) tool(stdin, name string, args ...string) string {
	h.Helper()
	cmd := program.Command(name, args...)
	cmd.Stdin = strings.NewReader(stdin)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		h.Fatalf("%s %s: %v: %s", name, strings.Join(args, " "), err, stderr.String())
	}
	return string(out)
}

// iptables names the program of a family and backend.
func (h *fwHost) iptables(family Family, backend Backend) string {
	h.Helper()
	path, err := findTool(family, backend)
	if err != nil {
		h.unsupported("iptables", err.Error())
	}
	if backend == NFT {
		h.needNFT()
	} else {
		probe := program.Command(path, "-S", "FORWARD")
		out, err := probe.CombinedOutput()
		if _, statErr := os.Stat("/proc/thread-self/net/ip_tables_names"); err != nil && errors.Is(statErr, fs.ErrNotExist) {
			h.unsupported("iptables-legacy", string(out))
		}
	}
	return path
}

// needNFT skips on a kernel without nf_tables.
func (h *fwHost) needNFT() {
	h.Helper()
	conn, err := dialNFT()
	h.check(err)
	defer conn.close()
	_, present, err := conn.generation()
	h.check(err)
	if !present {
		h.unsupported("nf_tables", "this kernel has no nf_tables")
	}
}

var fwCounters = regexp.MustCompile(`(?m)^#.*\n|\[\d+:\d+\]`)

// saved returns all rules of a family and backend, without counters.
func (h *fwHost) saved(family Family, backend Backend) string {
	h.Helper()
	return fwCounters.ReplaceAllString(h.tool("", h.iptables(family, backend)+"-save"), "")
}

// load puts what iptables -S would show in place of the table "filter".
func (h *fwHost) load(family Family, backend Backend, text string) {
	h.Helper()
	if family == IPv6 {
		text = strings.NewReplacer("172.17.0.2/32", "fd00::2/128").Replace(text)
	}
	restore := "*filter\n"
	for line := range strings.Lines(strings.TrimPrefix(text, "\n")) {
		switch words := strings.Fields(line); words[0] {
		case "-P":
			restore += fmt.Sprintf(":%s %s [0:0]\n", words[1], words[2])
		case "-N":
			restore += fmt.Sprintf(":%s - [0:0]\n", words[1])
		default:
			restore += line
		}
	}
	h.tool(restore+"COMMIT\n", h.iptables(family, backend)+"-restore")
}

// fwGuest is a namespace with one interface, on a port of a bridge.
type fwGuest struct {
	ns     netns.NsHandle
	v4, v6 net.IP
}

// bridge makes a bridge of the name, with guests on ports name0, name1, ...
func (h *fwHost) bridge(name string, guests int) []fwGuest {
	h.Helper()
	br := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: name}}
	h.check(netlink.LinkAdd(br))
	h.check(netlink.LinkSetUp(br))
	var out []fwGuest
	for i := range guests {
		g := fwGuest{
			ns: h.namespace(),
			v4: net.IPv4(10, 99, 0, byte(i+1)),
			v6: net.ParseIP(fmt.Sprintf("fd99::%d", i+1)),
		}
		h.enter(h.ns)
		port := fmt.Sprintf("%s%d", name, i)
		h.check(netlink.LinkAdd(&netlink.Veth{
			LinkAttrs: netlink.LinkAttrs{Name: port, MasterIndex: br.Index},
			PeerName:  "eth1", PeerNamespace: netlink.NsFd(g.ns),
		}))
		h.enter(g.ns)
		link, err := netlink.LinkByName("eth1")
		h.check(err)
		h.check(netlink.AddrAdd(link, &netlink.Addr{IPNet: &net.IPNet{IP: g.v4, Mask: net.CIDRMask(24, 32)}}))
		h.check(netlink.AddrAdd(link, &netlink.Addr{
			IPNet: &net.IPNet{IP: g.v6, Mask: net.CIDRMask(64, 128)}, Flags: unix.IFA_F_NODAD,
		}))
		h.check(netlink.LinkSetUp(link))
		h.enter(h.ns)
		h.up(port)
		out = append(out, g)
	}
	// Before that, what does not arrive proves nothing.
	forwards := func() bool {
		return strings.Count(h.tool("", "bridge", "link"), " master "+name+" state forwarding") >= len(out)
	}
	if !host.Poll(30*time.Second, forwards) {
		h.Fatalf("the ports do not forward: %s", h.tool("", "bridge", "link"))
	}
	return out
}

// reaches sends a few datagrams from one guest to another, and tells whether
// one came back.
func (h *fwHost) reaches(family Family, from, to fwGuest) bool {
	h.Helper()
	ip := to.v4
	if family == IPv6 {
		ip = to.v6
	}
	h.enter(to.ns)
	server, err := net.ListenUDP("udp", &net.UDPAddr{IP: ip})
	h.check(err)
	defer server.Close()
	h.enter(from.ns)
	client, err := net.DialUDP("udp", nil, server.LocalAddr().(*net.UDPAddr))
	h.check(err)
	defer client.Close()
	h.enter(h.ns)
	buf := make([]byte, 16)
	for range 3 {
		client.Write([]byte("ping")) // an error shows as no reply
		server.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
		_, peer, err := server.ReadFromUDP(buf)
		if err != nil {
			continue
		}
		server.WriteToUDP([]byte("pong"), peer)
		client.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
		if _, err := client.Read(buf); err == nil {
			return true
		}
	}
	return false
}

func (h *fwHost) wantReach(family Family, from, to fwGuest, want bool, when string) {
	h.Helper()
	got := h.reaches(family, from, to)
	// A solicitation that was lost, before the port forwarded, is sent again a
	// second later.
	for deadline := time.Now().Add(30 * time.Second); want && !got && time.Now().Before(deadline); {
		got = h.reaches(family, from, to)
	}
	if got != want {
		h.Errorf("%s %s: reply = %v, want %v", family, when, got, want)
	}
}

func (h *fwHost) observe(bridge string) Firewall {
	h.Helper()
	fw, err := Observe(context.Background(), Query{Bridge: bridge})
	h.check(err)
	return fw
}

func (h *fwHost) insert(rules []Rule) {
	h.Helper()
	for _, r := range rules {
		err := r.Insert(context.Background())
		if fault.CodeOf(err) == fault.Unsupported {
			h.unsupported("xt_physdev", err.Error())
		}
		h.check(err)
	}
}

func (h *fwHost) delete(rules []Rule) {
	h.Helper()
	for _, r := range rules {
		h.check(r.Delete(context.Background()))
	}
}

// TestFirewallLiveBridge opens a bridge of ours where FORWARD drops, sees
// packets pass there and nowhere else, and closes it again.
func TestFirewallLiveBridge(t *testing.T) {
	for _, tt := range []struct {
		family  Family
		backend Backend
		text    string
		chain   string
	}{
		{IPv4, NFT, "-P FORWARD DROP\n", "FORWARD"},
		{IPv4, NFT, docker20, "DOCKER-USER"},
		{IPv4, NFT, docker28, "DOCKER-USER"},
		{IPv4, NFT, uninstalled, "FORWARD"},
		{IPv4, NFT, ufw, "FORWARD"},
		{IPv6, NFT, "-P FORWARD DROP\n", "FORWARD"},
		{IPv6, NFT, uninstalled + "-A FORWARD -j DOCKER-USER\n", "DOCKER-USER"},
		{IPv4, Legacy, "-P FORWARD DROP\n", "FORWARD"},
		{IPv4, Legacy, docker20, "DOCKER-USER"},
		{IPv6, Legacy, "-P FORWARD DROP\n", "FORWARD"},
	} {
		t.Run(fmt.Sprintf("%s %s %s", tt.family, tt.backend, tt.chain), func(t *testing.T) {
			h := newFWHost(t)
			ours, other := h.bridge("brtest", 2), h.bridge("brother", 2)
			h.wantReach(tt.family, ours[0], ours[1], true, "before there are rules")
			h.load(tt.family, tt.backend, tt.text)
			before := h.saved(tt.family, tt.backend)
			if tt.text != ufw { // which lets a ping in
				h.wantReach(tt.family, ours[0], ours[1], false, "when FORWARD drops")
			}

			needed := h.observe("brtest").Needed("brtest", "")
			want := []Rule{{Family: tt.family, Backend: tt.backend, Chain: tt.chain, Bridge: "brtest"}}
			if diff := cmp.Diff(want, needed, ignoreTool); diff != "" {
				t.Fatalf("needed (-want +got):\n%s", diff)
			}
			h.insert(needed)
			h.wantReach(tt.family, ours[0], ours[1], true, "when accepted")
			h.wantReach(tt.family, other[0], other[1], false, "on the other bridge")

			after := h.observe("brtest")
			if again := after.Needed("brtest", ""); again != nil {
				t.Errorf("needed again: %v", again)
			}
			if diff := cmp.Diff(needed, after.OursFor("brtest", "")); diff != "" {
				t.Errorf("ours (-want +got):\n%s", diff)
			}
			if got := h.observe("brother").Needed("brother", ""); len(got) != 1 {
				t.Errorf("needed for the other bridge: %v", got)
			}
			h.delete(needed)
			if diff := cmp.Diff(before, h.saved(tt.family, tt.backend)); diff != "" {
				t.Errorf("rules after delete (-before +after):\n%s", diff)
			}
			h.wantReach(tt.family, ours[0], ours[1], false, "after delete")
			h.delete(needed) // absent is fine
		})
	}
}

// TestFirewallLivePort lets one port of somebody else's bridge through.
func TestFirewallLivePort(t *testing.T) {
	for _, tt := range []struct {
		family  Family
		backend Backend
	}{{IPv4, NFT}, {IPv6, NFT}, {IPv4, Legacy}, {IPv6, Legacy}} {
		t.Run(fmt.Sprintf("%s %s", tt.family, tt.backend), func(t *testing.T) {
			h := newFWHost(t)
			g := h.bridge("lan", 3)
			h.load(tt.family, tt.backend, docker28)
			before := h.saved(tt.family, tt.backend)

			needed := h.observe("lan").Needed("lan", "lan0")
			if len(needed) != 2 {
				t.Fatalf("needed %v, want a rule for each direction", needed)
			}
			h.insert(needed)
			h.wantReach(tt.family, g[0], g[1], true, "from our port")
			h.wantReach(tt.family, g[2], g[0], true, "to our port")
			h.wantReach(tt.family, g[1], g[2], false, "between theirs")

			// What we write is what a person would.
			saved := h.saved(tt.family, tt.backend)
			for _, r := range needed {
				_, rule, _ := strings.Cut(r.DeleteCommand(), " -D ")
				if !strings.Contains(saved, "-A "+rule+"\n") {
					t.Errorf("no rule %q in\n%s", rule, saved)
				}
			}
			after := h.observe("lan")
			if again := after.Needed("lan", "lan0"); again != nil {
				t.Errorf("needed again: %v", again)
			}
			slices.Reverse(needed) // the one put in last stands first
			if diff := cmp.Diff(needed, after.OursFor("lan", "lan0")); diff != "" {
				t.Errorf("ours (-want +got):\n%s", diff)
			}
			if got := after.OursFor("lan", "lan1"); got != nil {
				t.Errorf("ours for another port: %v", got)
			}
			h.delete(after.OursFor("lan", ""))
			if diff := cmp.Diff(before, h.saved(tt.family, tt.backend)); diff != "" {
				t.Errorf("rules after delete (-before +after):\n%s", diff)
			}
		})
	}
}

// TestFirewallLiveBothBackends: either backend can drop, so both must accept.
func TestFirewallLiveBothBackends(t *testing.T) {
	h := newFWHost(t)
	g := h.bridge("brtest", 2)
	h.load(IPv4, NFT, docker20)
	h.load(IPv4, Legacy, "-P FORWARD DROP\n")
	needed := h.observe("brtest").Needed("brtest", "")
	if len(needed) != 2 || needed[0].Backend != NFT || needed[1].Backend != Legacy {
		t.Fatalf("needed %v, want one for each backend", needed)
	}
	h.insert(needed[:1])
	h.wantReach(IPv4, g[0], g[1], false, "accepted by one of two")
	h.insert(needed[1:])
	h.wantReach(IPv4, g[0], g[1], true, "accepted by both")
}

// TestFirewallLiveOff: without bridge-nf-call nothing drops, and nothing is
// needed.
func TestFirewallLiveOff(t *testing.T) {
	h := newFWHost(t)
	g := h.bridge("brtest", 2)
	h.load(IPv4, NFT, docker20)
	h.sysctl("bridge-nf-call-iptables", "0")
	h.wantReach(IPv4, g[0], g[1], true, "not filtered")
	fw := h.observe("brtest")
	if needed := fw.Needed("brtest", ""); needed != nil {
		t.Errorf("needed: %v", needed)
	}
	if p := fw.Paths[0]; p.Filtered || !p.Drops {
		t.Errorf("path %+v, want one that drops and is not asked", p)
	}
}

// TestFirewallLiveLayouts: the kernel's rules say the same as the text that
// they were made of.
func TestFirewallLiveLayouts(t *testing.T) {
	for _, tt := range firewallLayouts {
		t.Run(tt.name, func(t *testing.T) {
			h := newFWHost(t)
			for _, backend := range []Backend{NFT, Legacy} {
				h.load(IPv4, backend, tt.text)
				fw := h.observe(tt.bridge)
				i := slices.IndexFunc(fw.Paths, func(p Path) bool { return p.Family == IPv4 && p.Backend == backend })
				if i < 0 {
					t.Fatalf("no path of IPv4 and %s in %+v", backend, fw.Paths)
				}
				want := Path{Family: IPv4, Backend: backend, Filtered: true, Drops: tt.drops, Chain: tt.chain}
				if diff := cmp.Diff(want, fw.Paths[i], ignoreTool); diff != "" || fw.DockerOwned != tt.docker {
					t.Errorf("docker = %v, want %v; path (-want +got):\n%s", fw.DockerOwned, tt.docker, diff)
				}
			}
		})
	}
}

// TestFirewallLiveEmpty: a namespace without rules, and a bridge that is not
// there yet.
func TestFirewallLiveEmpty(t *testing.T) {
	h := newFWHost(t)
	want := Firewall{Paths: []Path{
		{Family: IPv4, Backend: NFT, Filtered: true, Chain: "FORWARD"},
		{Family: IPv6, Backend: NFT, Filtered: true, Chain: "FORWARD"},
	}}
	if diff := cmp.Diff(want, h.observe("brtest"), ignoreTool); diff != "" {
		t.Errorf("firewall (-want +got):\n%s", diff)
	}
}

// fwName is an interface name as nft compares it.
func fwName(name string) []byte { return append([]byte(name), make([]byte, 16-len(name))...) }

// fwMeta compares what a key loads.
func fwMeta(key expr.MetaKey, op expr.CmpOp, data []byte) []expr.Any {
	return []expr.Any{&expr.Meta{Key: key, Register: 1}, &expr.Cmp{Op: op, Register: 1, Data: data}}
}

// TestFirewallLiveElsewhere: chains that no iptables shows.
func TestFirewallLiveElsewhere(t *testing.T) {
	dropAll := []expr.Any{&expr.Counter{}, &expr.Verdict{Kind: expr.VerdictDrop}}
	accept := &expr.Verdict{Kind: expr.VerdictAccept}
	for _, tt := range []struct {
		name   string
		family nftables.TableFamily
		policy nftables.ChainPolicy
		rules  [][]expr.Any
		four   bool // IPv4 dropped
		six    bool
	}{
		{"inet policy", nftables.TableFamilyINet, nftables.ChainPolicyDrop, nil, true, true},
		{"ip policy", nftables.TableFamilyIPv4, nftables.ChainPolicyDrop, nil, true, false},
		{"ip6 reject", nftables.TableFamilyIPv6, nftables.ChainPolicyAccept, [][]expr.Any{{&expr.Reject{Type: unix.NFT_REJECT_ICMP_UNREACH}}}, false, true},
		{"inet, one family", nftables.TableFamilyINet, nftables.ChainPolicyAccept,
			[][]expr.Any{append(fwMeta(expr.MetaKeyNFPROTO, expr.CmpOpEq, []byte{unix.NFPROTO_IPV6}), dropAll...)}, false, true},
		{"another interface", nftables.TableFamilyINet, nftables.ChainPolicyAccept,
			[][]expr.Any{append(fwMeta(expr.MetaKeyIIFNAME, expr.CmpOpEq, fwName("eth0")), dropAll...)}, false, false},
		{"all but an interface", nftables.TableFamilyINet, nftables.ChainPolicyAccept,
			[][]expr.Any{append(fwMeta(expr.MetaKeyIIFNAME, expr.CmpOpNeq, fwName("eth0")), dropAll...)}, true, true},
		{"names that begin", nftables.TableFamilyINet, nftables.ChainPolicyAccept,
			[][]expr.Any{append(fwMeta(expr.MetaKeyOIFNAME, expr.CmpOpEq, []byte("brt")), dropAll...)}, true, true},
		{"accepted", nftables.TableFamilyINet, nftables.ChainPolicyDrop,
			[][]expr.Any{append(fwMeta(expr.MetaKeyIIFNAME, expr.CmpOpEq, fwName("brtest")), accept)}, false, false},
		{"accepted by index", nftables.TableFamilyINet, nftables.ChainPolicyDrop,
			[][]expr.Any{append(fwMeta(expr.MetaKeyIIF, expr.CmpOpEq, nil), accept)}, false, false},
		{"bridge policy", nftables.TableFamilyBridge, nftables.ChainPolicyDrop, nil, true, true},
		{"bridge, one family", nftables.TableFamilyBridge, nftables.ChainPolicyAccept,
			[][]expr.Any{append(fwMeta(expr.MetaKeyPROTOCOL, expr.CmpOpEq, []byte{0x08, 0x00}), dropAll...)}, true, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := newFWHost(t)
			h.needNFT()
			g := h.bridge("brtest", 2)
			conn, err := nftables.New()
			h.check(err)
			table := conn.AddTable(&nftables.Table{Family: tt.family, Name: "fw"})
			chain := conn.AddChain(&nftables.Chain{
				Name: "fwd", Table: table, Type: nftables.ChainTypeFilter, Policy: &tt.policy,
				Hooknum: nftables.ChainHookForward, Priority: nftables.ChainPriorityFilter,
			})
			for _, exprs := range tt.rules {
				for _, e := range exprs {
					if c, ok := e.(*expr.Cmp); ok && c.Data == nil {
						c.Data = binaryutil.NativeEndian.PutUint32(uint32(bridgeIndex("brtest")))
					}
				}
				conn.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: exprs})
			}
			h.check(conn.Flush())

			fw := h.observe("brtest")
			chainName := "nft " + nftFamilies[uint8(tt.family)] + " fw fwd"
			for _, p := range fw.Paths {
				dropped := p.Family == IPv4 && tt.four || p.Family == IPv6 && tt.six
				if got := len(p.Blocks) == 1 && p.Blocks[0].Sure && p.Blocks[0].Chain == chainName; got != dropped {
					t.Errorf("%s blocks %+v, want %s in it: %v", p.Family, p.Blocks, chainName, dropped)
				}
				h.wantReach(p.Family, g[0], g[1], !dropped, "through "+chainName)
			}
			if warned := fw.Warnings("brtest") != nil; warned != (tt.four || tt.six) {
				t.Errorf("warnings %q", fw.Warnings("brtest"))
			}
			if needed := fw.Needed("brtest", ""); needed != nil {
				t.Errorf("needed: %v", needed)
			}
		})
	}
}

// TestFirewallLiveForeign leaves alone what only looks like ours.
func TestFirewallLiveForeign(t *testing.T) {
	h := newFWHost(t)
	h.load(IPv4, NFT, docker20+
		`-A DOCKER-USER -i brtest -o brtest -p tcp -m physdev --physdev-is-bridged -m comment --comment "gopipework brtest" -j ACCEPT`+"\n"+
		`-A DOCKER-USER -i brtest -o brtest -m physdev --physdev-in "x+" --physdev-is-bridged -m comment --comment "gopipework brtest x" -j ACCEPT`+"\n"+
		`-A DOCKER-USER -i brtest -o brtest -m physdev ! --physdev-is-bridged -m comment --comment "gopipework brtest" -j ACCEPT`+"\n"+
		`-A DOCKER-USER -i brtest -o brtest -m physdev --physdev-is-bridged -m comment --comment "gopipework other" -j ACCEPT`+"\n"+
		`-A DOCKER-USER -i brtest -o brtest -m physdev --physdev-is-bridged -m comment --comment "gopipework brtest" -j DROP`+"\n")
	fw := h.observe("brtest")
	for _, p := range fw.Paths {
		if p.Ours != nil {
			t.Errorf("taken for ours: %v", p.Ours)
		}
	}
	before := h.saved(IPv4, NFT)
	h.delete(fw.Needed("brtest", ""))
	if diff := cmp.Diff(before, h.saved(IPv4, NFT)); diff != "" {
		t.Errorf("rules after delete (-before +after):\n%s", diff)
	}
}

// TestFirewallLiveErrors: each refusal is of its kind.
func TestFirewallLiveErrors(t *testing.T) {
	rule := Rule{Family: IPv4, Backend: NFT, Chain: "FORWARD", Bridge: "brtest"}
	wantCode := func(t *testing.T, err error, want fault.Code) {
		t.Helper()
		if got := fault.CodeOf(err); got != want {
			t.Errorf("code %q, want %q: %v", got, want, err)
		}
	}
	t.Run("no such chain", func(t *testing.T) {
		newFWHost(t)
		r := rule
		r.Chain = "DOCKER-USER"
		wantCode(t, r.Insert(context.Background()), fault.Failed)
		wantCode(t, r.Delete(context.Background()), "")
	})
	t.Run("name", func(t *testing.T) {
		newFWHost(t)
		r := rule
		r.Bridge = "br+"
		wantCode(t, r.Insert(context.Background()), fault.Unsupported)
	})
	t.Run("lock", func(t *testing.T) {
		h := newFWHost(t)
		r := rule
		r.Backend = Legacy
		h.iptables(IPv4, Legacy)
		lock, err := os.Create(os.Getenv("XTABLES_LOCKFILE"))
		h.check(err)
		defer lock.Close()
		h.check(unix.Flock(int(lock.Fd()), unix.LOCK_EX))
		ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
		defer cancel()
		start := time.Now()
		wantCode(t, r.Insert(ctx), fault.Timeout)
		if took := time.Since(start); took > 30*time.Second {
			t.Errorf("took %v", took)
		}
	})
	t.Run("cancelled", func(t *testing.T) {
		newFWHost(t)
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		wantCode(t, rule.Insert(ctx), fault.Interrupted)
		_, err := Observe(ctx, Query{Bridge: "brtest"})
		wantCode(t, err, fault.Interrupted)
	})
	t.Run("permission", func(t *testing.T) {
		h := newFWHost(t)
		// The thread gives up its capabilities; a child that it starts as
		// root would have them again, so that only reading is asked.
		hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var none [2]unix.CapUserData
		h.check(unix.Capset(&hdr, &none[0]))
		_, err := Observe(context.Background(), Query{Bridge: "brtest"})
		wantCode(t, err, fault.Permission)
	})
}

// churn has another thread change nf_tables, with a pause between two commits, until the
// test ends.
func (h *fwHost) churn(pause time.Duration) {
	h.Helper()
	conn, err := nftables.New(nftables.WithNetNSFd(int(h.ns)))
	h.check(err)
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			case <-time.After(pause):
			}
			table := conn.AddTable(&nftables.Table{Family: nftables.TableFamilyIPv4, Name: fmt.Sprint("churn", i%2)})
			if i%2 == 1 {
				conn.DelTable(table)
			}
			conn.Flush()
		}
	}()
	h.Cleanup(func() { close(stop); <-stopped })
}

// TestFirewallLiveChurn reads while another thread writes without pause.
func TestFirewallLiveChurn(t *testing.T) {
	h := newFWHost(t)
	h.load(IPv4, NFT, docker28)
	h.churn(time.Millisecond)
	for range 100 {
		if p := h.observe("brtest").Paths[0]; !p.Drops || p.Chain != "DOCKER-USER" {
			t.Fatalf("path %+v", p)
		}
	}
}

// The rest needs no root.

func TestFirewallToolFault(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want fault.Code
		text string // in the message
	}{
		{&missingToolError{"iptables-nft"}, fault.Unsupported, "no program iptables-nft"},
		{&hosttool.Error{Exit: 4, Text: "iptables v1.8.9 (nf_tables): Could not fetch rule set generation id: Permission denied (you must be root)"}, fault.Permission, "root"},
		{&hosttool.Error{Exit: 1, Text: "Warning: Extension physdev revision 0 not supported, missing kernel module? iptables: No chain/target/match by that name."}, fault.Unsupported, "xt_physdev"},
		{&hosttool.Error{Exit: 1, Text: "iptables: Bad rule (does a matching rule exist in that chain?)."}, fault.Failed, "Bad rule"},
		{&hosttool.Error{Exit: 3}, fault.Failed, "exit status 3"},
		{fmt.Errorf("wait: %w", context.DeadlineExceeded), fault.Timeout, "lock"},
		{context.Canceled, fault.Interrupted, "canceled"},
	} {
		err := toolFault("add firewall rule", "x", tt.err)
		if got := fault.CodeOf(err); got != tt.want || !strings.Contains(err.Error(), tt.text) {
			t.Errorf("toolFault(%v) = %q, %v; want %q and %q", tt.err, got, err, tt.want, tt.text)
		}
	}
}

func TestFirewallBackendOf(t *testing.T) {
	for _, tt := range []struct {
		program     string
		nft, legacy bool
	}{
		{"xtables-nft-multi", true, false},
		{"xtables-legacy-multi", false, true},
		{"xtables-multi", false, true},
		{"iptables", true, true},
	} {
		if nft, legacy := servesBackend(tt.program, NFT), servesBackend(tt.program, Legacy); nft != tt.nft || legacy != tt.legacy {
			t.Errorf("%s: nft %v, legacy %v; want %v, %v", tt.program, nft, legacy, tt.nft, tt.legacy)
		}
	}
}

func TestFirewallDecode(t *testing.T) {
	physdev := func(name, mask string, invert, asked byte) *expr.Match {
		info := make(xt.Unknown, 72)
		copy(info, name)
		copy(info[16:], mask)
		info[64], info[65] = invert, asked
		return &expr.Match{Name: "physdev", Info: &info}
	}
	all := strings.Repeat("\xff", 16)
	comment := xt.Comment("hello")
	for _, tt := range []struct {
		name string
		rule nftables.Rule
		want chainRule
	}{
		{"comment beside the rule", nftables.Rule{UserData: []byte("\x01\x01x\x00\x06hello\x00")}, chainRule{comment: "hello"}},
		{"comment cut off", nftables.Rule{UserData: []byte("\x00\x09hello\x00")}, chainRule{}},
		{"comment as a match", nftables.Rule{Exprs: []expr.Any{&expr.Match{Name: "comment", Info: &comment}}}, chainRule{comment: "hello"}},
		{"port", nftables.Rule{Exprs: []expr.Any{physdev("v1", "\xff\xff\xff", 0, 5)}},
			chainRule{conditions: []condition{{key: physIn, name: "v1"}, {key: isBridged}}}},
		{"ports", nftables.Rule{Exprs: []expr.Any{physdev("v1", "\xff\xff", 1, 1)}},
			chainRule{conditions: []condition{{key: physIn, name: "v1", prefix: true, not: true}}}},
		{"longest name", nftables.Rule{Exprs: []expr.Any{physdev("v23456789012345", all, 0, 1)}},
			chainRule{conditions: []condition{{key: physIn, name: "v23456789012345"}}}},
		{"an unknown load", nftables.Rule{Exprs: []expr.Any{&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: 1}, nil, &expr.Cmp{Register: 1, Data: fwName("b")}}},
			chainRule{conditions: []condition{{}, {}}}},
		{"no equality", nftables.Rule{Exprs: fwMeta(expr.MetaKeyMARK, expr.CmpOpGt, []byte{0, 0, 0, 255})},
			chainRule{conditions: []condition{{test: &check{load{field: mark, n: 4}, []interval{{[]byte{0, 0, 1, 0}, []byte{255, 255, 255, 255}}}}}}}},
		{"a set", nftables.Rule{Exprs: []expr.Any{&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: 1}, &expr.Lookup{SourceRegister: 1}, &expr.Verdict{Kind: expr.VerdictDrop}}},
			chainRule{conditions: []condition{{}}, verdict: drops}},
		{"a limit", nftables.Rule{Exprs: []expr.Any{&expr.Limit{}, &expr.Counter{}, &expr.Verdict{Kind: expr.VerdictAccept}}},
			chainRule{conditions: []condition{{}}, verdict: accepts}},
		{"targets", nftables.Rule{Exprs: []expr.Any{&expr.Target{Name: "REJECT"}}}, chainRule{verdict: drops}},
		{"targets that go on", nftables.Rule{Exprs: []expr.Any{&expr.Target{Name: "LOG"}}}, chainRule{}},
		{"queue", nftables.Rule{Exprs: []expr.Any{&expr.Queue{}}}, chainRule{verdict: undecided}},
		{"goto", nftables.Rule{Exprs: []expr.Any{&expr.Verdict{Kind: expr.VerdictGoto, Chain: "c"}}}, chainRule{verdict: goesTo, target: "c"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := decodeRule(tt.rule.UserData, tt.rule.Exprs)
			if diff := cmp.Diff(tt.want, got, cmp.AllowUnexported(chainRule{}, written{}, condition{}, check{}, load{}, interval{}), cmpopts.IgnoreFields(chainRule{}, "text")); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// BenchmarkFirewallObserve reads Docker's rules of both families, as each
// attach does.
func BenchmarkFirewallObserve(b *testing.B) {
	for _, bench := range []struct {
		name, text string
	}{{"empty", "-P FORWARD ACCEPT\n"}, {"docker20", docker20}, {"docker28", docker28}, {"ports", docker28 + strings.Repeat(
		"-A DOCKER -d 172.17.0.2/32 ! -i docker0 -o docker0 -p tcp -m tcp --dport 80 -j ACCEPT\n", 1000)}} {
		b.Run(bench.name, func(b *testing.B) {
			h := newFWHost(b)
			h.load(IPv4, NFT, bench.text)
			h.load(IPv6, NFT, bench.text)
			for b.Loop() {
				h.observe("brtest")
			}
		})
	}
}

// BenchmarkFirewallWrite adds one rule and deletes it: two processes.
func BenchmarkFirewallWrite(b *testing.B) {
	for _, backend := range []Backend{NFT, Legacy} {
		b.Run(string(backend), func(b *testing.B) {
			h := newFWHost(b)
			h.load(IPv4, backend, docker28)
			rules := []Rule{{Family: IPv4, Backend: backend, Chain: "DOCKER-USER", Bridge: "brtest"}}
			for b.Loop() {
				h.insert(rules)
				h.delete(rules)
			}
		})
	}
}

// ignoreTool leaves out the name of this host's program, which says nothing of
// what stands in the kernel.
var ignoreTool = cmp.Options{cmpopts.IgnoreFields(Rule{}, "Tool"), cmpopts.IgnoreFields(Path{}, "Tool", "By", "Asked")}

// decodeRule reduces a rule that is taken apart already.
func decodeRule(userData []byte, exprs []expr.Any) chainRule {
	d := decoder{}
	d.comment = ruleComment(userData)
	for _, e := range exprs {
		d.add("", e)
	}
	return d.done()
}

// TestFirewallUntouched: a namespace in which nobody has ever written a rule is known by
// its generation, and one that has rules, or had some, is not taken for it.
func TestFirewallUntouched(t *testing.T) {
	h := newFWHost(t)
	h.needNFT()
	bin := h.iptables(IPv4, NFT)
	look := func() (untouched bool, chains int) {
		present, still, err := readNFT(t.Context(), func(r *nftReader) error {
			err := r.open()
			untouched, chains = r.untouched, len(r.chains)
			return err
		})
		h.check(err)
		if !present || !still {
			t.Errorf("present %v, still %v", present, still)
		}
		return untouched, chains
	}
	if untouched, chains := look(); !untouched || chains != 0 {
		t.Errorf("new: untouched %v, %d chains", untouched, chains)
	}
	h.tool("", bin, "-A", "FORWARD", "-j", "DROP")
	if untouched, chains := look(); untouched || chains == 0 {
		t.Errorf("with a rule: untouched %v, %d chains", untouched, chains)
	}
	h.tool("", bin, "-F", "FORWARD")
	if untouched, _ := look(); untouched {
		t.Error("the rule is gone: untouched")
	}
}

// TestReading: what was prepared is not read again unless somebody has written since, and
// then what is there now counts. Elements of sets are always read again.
func TestReading(t *testing.T) {
	h := newFWHost(t)
	h.load(IPv4, NFT, docker28)
	q := Query{Bridge: "brtest"}
	prepared := func() *Reading {
		t.Helper()
		g := &Reading{}
		t.Cleanup(g.Close)
		h.check(g.Prepare(t.Context(), q))
		return g
	}
	observe := func(g *Reading) (requests uint32, fw Firewall) {
		t.Helper()
		var before uint32
		if g.conn != nil {
			before = g.conn.seq
		}
		fw, err := g.Observe(t.Context(), q)
		h.check(err)
		return g.conn.seq - before, fw
	}
	unprepared := &Reading{}
	t.Cleanup(unprepared.Close)
	all, want := observe(unprepared)
	one, have := observe(prepared())
	if one != 1 || all < 5 {
		t.Errorf("%d requests, and %d where they were prepared; want 1, for the generation", all, one)
	}
	if !reflect.DeepEqual(have, want) {
		t.Errorf("prepared: %+v, want %+v", have, want)
	}
	for _, rule := range []string{"-I", "-D"} {
		g := prepared()
		h.tool("", h.iptables(IPv4, NFT), rule, "FORWARD", "-i", "brtest", "-o", "brtest", "-j", "ACCEPT")
		n, have := observe(g)
		if n == 1 || !reflect.DeepEqual(have, h.observe("brtest")) {
			t.Errorf("%s: %d requests; %+v", rule, n, have)
		}
		if drops := have.Paths[0].Drops; drops != (rule == "-D") {
			t.Errorf("%s: drops %v", rule, drops)
		}
	}
	h.tool("table ip seen { set s { type ipv4_addr; flags dynamic,timeout; timeout 1h; elements = { 10.99.0.9 }; }\n"+
		"chain f { type filter hook forward priority 0; ip saddr @s drop; }; }", "nft", "-f", "-")
	h.sysctl("bridge-nf-call-iptables", "1")
	if n, _ := observe(prepared()); n < 2 {
		t.Errorf("%d requests, though there is a set", n)
	}
	h.tool("table netdev one { chain i { type filter hook ingress device lo priority 0; }; }", "nft", "-f", "-")
	if prepared().rules.lasts() {
		t.Error("chains of single devices last, which change without a new generation")
	}
}

// TestReadingOfOwned: a table that goes with the program that has made it goes without a
// new generation, so it is read again.
func TestReadingOfOwned(t *testing.T) {
	h := newFWHost(t)
	h.needNFT()
	h.sysctl("bridge-nf-call-iptables", "1")
	owner := program.Command("nft", "-i")
	stdin, err := owner.StdinPipe()
	h.check(err)
	h.check(owner.Start())
	defer func() {
		stdin.Close()
		owner.Wait()
	}()
	_, err = stdin.Write([]byte("add table ip own { flags owner; chain c { type filter hook forward priority 0; policy drop; }; }\n"))
	h.check(err)
	drops := func(fw Firewall) bool { return len(fw.Paths[0].Blocks) > 0 }
	if !host.Poll(10*time.Second, func() bool { return drops(h.observe("brtest")) }) {
		h.unsupported("tables with an owner", "nft made none")
	}
	var g Reading
	defer g.Close()
	q := Query{Bridge: "brtest"}
	h.check(g.Prepare(t.Context(), q))
	h.check(stdin.Close())
	h.check(owner.Wait())
	if !host.Poll(30*time.Second, func() bool { return !drops(h.observe("brtest")) }) {
		t.Fatal("the table outlives its owner")
	}
	fw, err := g.Observe(t.Context(), q)
	h.check(err)
	if drops(fw) {
		t.Errorf("a table that is gone is remembered: %+v", fw.Paths[0])
	}
}
