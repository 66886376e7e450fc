//go:build linux

package e2e

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gopipework/gopipework/e2e/host"
)

// The program is one static file.
func TestStatic(t *testing.T) {
	r := host.Finish(command("ldd", bin+"/gopipework"), []string{"ldd"})
	if r.Code == 0 || !strings.Contains(r.Stdout+r.Stderr, "not a dynamic executable") {
		t.Errorf("gopipework is not static:\n%v", r)
	}
}

// The engine has to be what people run: FORWARD drops, and bridged frames go
// through it. The tests that follow mean nothing otherwise.
func TestStockEngine(t *testing.T) {
	e := withDocker(t)
	e.says("the firewall", e.do("iptables-save"), ":FORWARD DROP", "-A FORWARD -j DOCKER-USER")
	e.says("bridge-nf-call-iptables", e.do("cat /proc/sys/net/bridge/bridge-nf-call-iptables"), "1")

	e.do("ip link add br0 type bridge")
	e.do("ip link set br0 up")
	a, b := e.guest(), e.guest()
	byHand(e.machine, a, "br0", "p1", "10.1.0.1/24")
	byHand(e.machine, b, "br0", "p2", "10.1.0.2/24")
	e.cut(a, "10.1.0.2")
	e.do("ip link delete br0")
	e.check(a.Kill())
	e.check(b.Kill())
}

// byHand plugs a guest into a bridge as a person would, without a rule.
func byHand(m *machine, g *host.Guest, bridge, port, address string) {
	m.t.Helper()
	m.check(m.Batch(
		"link add "+port+" type veth peer name eth1 netns "+strings.TrimPrefix(g.Word, "pid:"),
		"link set "+port+" master "+bridge+" up"))
	m.check(g.Run("ip", "address", "add", address, "dev", "eth1").Err())
	m.check(g.Run("ip", "link", "set", "eth1", "up").Err())
}

// A host takes everything with it.
func TestHostLeavesNothing(t *testing.T) {
	need(t, "root")
	h, err := host.Start()
	if err != nil {
		t.Fatal(err)
	}
	g, err := h.Guest()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.Named("somebody"); err != nil {
		t.Fatal(err)
	}
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	gone := host.Poll(30*time.Second, func() bool { return syscall.Kill(g.PID, 0) == syscall.ESRCH })
	if !gone {
		t.Error("the guest is still there")
	}
	if out := host.Finish(command("ip", "netns", "list"), nil).Stdout; strings.Contains(out, "somebody") {
		t.Errorf("named namespaces are left: %s", out)
	}
}

// listens waits until a program in the guest listens on a TCP port: a container runs
// before its program does, and a program runs before it listens.
func (m *machine) listens(g *host.Guest, port int) {
	m.t.Helper()
	listens := func() bool {
		return g.Run("ss", "-Hltn", "sport", "=", fmt.Sprintf(":%d", port)).Stdout != ""
	}
	if !host.Poll(30*time.Second, listens) {
		m.t.Fatalf("nobody listens on port %d of %s", port, g.Word)
	}
}
