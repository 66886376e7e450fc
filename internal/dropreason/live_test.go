//go:build linux

package dropreason

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gopipework/gopipework/e2e/host"
	"github.com/gopipework/gopipework/e2e/program"
	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/rawsocket"
)

func TestMain(m *testing.M) {
	if os.Getenv(holdVariable) != "" {
		hold()
	}
	host.Main()
	os.Exit(m.Run())
}

// network moves the test into a namespace of its own with two veth pairs, a0 to a1 and
// b0 to b1, and the ends 1 in a bridge.
func network(t *testing.T) {
	t.Helper()
	host.NeedRoot(t)
	runtime.LockOSThread() // it ends with the test, and so does the namespace
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Fatal(err)
	}
	run(t, "ip link add br0 up type bridge")
	for _, pair := range []string{"a", "b"} {
		run(t, fmt.Sprintf("ip link add %[1]s0 up type veth peer name %[1]s1", pair))
		run(t, fmt.Sprintf("ip link set %s1 up master br0", pair))
	}
	forwards := func() bool { return strings.Count(run(t, "bridge link"), "state forwarding") == 2 }
	if !host.Poll(30*time.Second, forwards) {
		t.Fatalf("the ports do not forward: %s", run(t, "bridge link"))
	}
}

func run(t *testing.T, line string) string {
	t.Helper()
	words := strings.Fields(line)
	out, err := program.Command(words[0], words[1:]...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v: %s", line, err, out)
	}
	return string(out)
}

// send sends UDP over IPv4 from the interface to a MAC address.
func send(t *testing.T, link string, to net.HardwareAddr, source, target net.IP, count int) {
	t.Helper()
	ifi, err := net.InterfaceByName(link)
	if err != nil {
		t.Fatal(err)
	}
	s, err := rawsocket.Packet{Name: "test", Index: ifi.Index, Headers: true}.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	ip := slices.Concat([]byte{0x45, 0, 0, 32, 0, 1, 0, 0, 64, unix.IPPROTO_UDP, 0, 0}, source.To4(), target.To4())
	binary.BigEndian.PutUint16(ip[10:], rawsocket.Checksum(ip))
	frame := slices.Concat([]byte(to), []byte(ifi.HardwareAddr), []byte{8, 0}, ip, []byte{0, 9, 0, 9, 0, 12, 0, 0}, make([]byte, 4))
	for range count {
		if _, err := s.Write(frame); err != nil {
			t.Fatal(err)
		}
	}
}

func open(t *testing.T) *Window {
	t.Helper()
	w, err := Open()
	if fault.CodeOf(err) == fault.Unsupported {
		host.Lacking(t, "kfree_skb", err.Error())
	}
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// TestLive has the kernel drop packets in several ways, and hears of each.
func TestLive(t *testing.T) {
	const probes = 5
	b := net.HardwareAddr{2, 0, 0, 0, 0, 0xb}
	from, to := net.IPv4(10, 9, 0, 1), net.IPv4(10, 9, 0, 2)
	for _, tt := range []struct {
		name   string
		set    func(*testing.T)
		reason string
		where  string // the function's name, or its beginning
	}{
		{"nftables", func(t *testing.T) {
			run(t, "nft add table bridge fw")
			run(t, "nft add chain bridge fw c { type filter hook forward priority 0; policy drop; }")
		}, "NETFILTER_DROP", "n"}, // nft_do_chain, or nf_hook_slow
		{"a port that blocks", func(t *testing.T) { run(t, "bridge link set dev a1 state 0") }, "BRIDGE_INGRESS_STP_STATE", "br_handle_frame"},
		{"rp_filter", func(t *testing.T) {
			run(t, "ip link set a1 nomaster")
			run(t, "ip link set a1 address "+b.String())
			run(t, "ip addr add 10.9.0.2/24 dev a1")
			run(t, "ip route add 10.9.0.1/32 dev b0")
			if err := os.WriteFile("/proc/sys/net/ipv4/conf/a1/rp_filter", []byte("1"), 0); err != nil {
				t.Fatal(err)
			}
		}, "IP_RPFILTER", "ip_rcv"},
		{"nothing: it arrives where it is another's", func(*testing.T) {}, "OTHERHOST", "ip_rcv"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			network(t)
			tt.set(t)
			w := open(t)
			if !w.event.knows(tt.reason) {
				w.release()
				host.Lacking(t, tt.reason, "this kernel has no reason "+tt.reason)
			}
			send(t, "a0", b, from, to, probes)
			drops, err := w.Close()
			if err != nil {
				t.Fatal(err)
			}
			t.Log(drops)
			of := func(d Drop) bool { return d.Own && d.Reason == tt.reason && d.Protocol == unix.ETH_P_IP }
			i := slices.IndexFunc(drops, of)
			if i < 0 || drops[i].Count != probes || !strings.HasPrefix(drops[i].Location, tt.where) {
				t.Errorf("want %d x %s in %s, of %v", probes, tt.reason, tt.where, drops)
			}
		})
	}
}

// TestFull: what there was no room for is an error, and what there was room for is told.
func TestFull(t *testing.T) {
	network(t)
	run(t, "bridge link set dev a1 state 0")
	w := open(t)
	send(t, "a0", net.HardwareAddr{2, 0, 0, 0, 0, 0xb}, net.IPv4(10, 9, 0, 1), net.IPv4(10, 9, 0, 2), 20_000)
	drops, err := w.Close()
	if fault.CodeOf(err) != fault.Limit || len(drops) == 0 || drops[0].Count < 500 {
		t.Errorf("%v, %v", drops, err)
	}
}

const holdVariable = "GOPIPEWORK_TEST_DROPS"

// hold has a window open until it is killed.
func hold() {
	if _, err := Open(); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println("ready")
	select {}
}

// TestKilled: a window is nowhere in the file system, so nothing is left after SIGKILL.
func TestKilled(t *testing.T) {
	host.NeedRoot(t)
	if w, err := open(t).Close(); err != nil {
		t.Fatal(w, err)
	}
	mounts := func() []byte {
		b, err := os.ReadFile("/proc/self/mountinfo")
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	before := mounts()
	child := program.Command(os.Args[0])
	child.Env = append(os.Environ(), holdVariable+"=1")
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	defer child.Process.Kill()
	line := make([]byte, 6)
	if _, err := out.Read(line); err != nil || string(line) != "ready\n" {
		t.Fatalf("the child says %q, %v", line, err)
	}
	if during := mounts(); !bytes.Equal(before, during) {
		t.Errorf("mounts while a window is open:\n%s", during)
	}
	child.Process.Kill()
	child.Wait()
	if after := mounts(); !bytes.Equal(before, after) {
		t.Errorf("mounts after SIGKILL:\n%s", after)
	}
}
