//go:build linux

package e2e

import (
	"strings"
	"testing"
	"time"

	"github.com/gopipework/gopipework/e2e/host"
)

// The host and containers on a macvlan of its card reach each other, which they
// do not without --host-access; the card is as before when the last has gone, or
// has died.
func TestHostAccess(t *testing.T) {
	e := newEngine(t)
	network := e.guest()
	e.check(e.Batch("link add nic0 type veth peer name wire netns "+strings.TrimPrefix(network.Word, "pid:"),
		"address add 10.3.0.254/24 dev nic0", "link set nic0 up"))
	e.check(network.Run("sh", "-ec", "ip address add 10.3.0.9/24 dev wire; ip link set wire up").Err())
	e.container("web", "--network", "none")
	e.container("db", "--network", "none")
	web, db := e.guestOf("web"), e.guestOf("db")
	check := e.unchanged(web, db)

	e.quiet("nic0", "web", "10.3.0.1/24")
	if !e.deaf("10.3.0.1") {
		t.Error("the host hears a macvlan on its card without --host-access")
	}
	e.cut(web, "10.3.0.254")
	e.quiet("detach", "web")
	check("after a macvlan alone")

	for range 2 {
		e.quiet("nic0", "--host-access", "web", "10.3.0.1/24")
		e.quiet("nic0", "--host-access", "db", "10.3.0.2/24")
	}
	for addr, g := range map[string]*host.Guest{"10.3.0.1": web, "10.3.0.2": db} {
		if !e.hears(addr) {
			t.Errorf("the host does not hear %s", addr)
		}
		e.reaches(g, "10.3.0.254")
		e.reaches(g, "10.3.0.9")
		e.reaches(network, addr)
	}
	e.fails("conflict", "nic0", "web", "10.3.0.1/24")
	e.fails("usage", "brtest", "--host-access", "-i", "eth2", "web", "10.4.0.1/24")
	e.quiet("detach", "web")
	if !e.hears("10.3.0.2") || !e.deaf("10.3.0.1") {
		t.Error("after the detach of web the host does not hear db, or goes on to hear web")
	}
	e.quiet("detach", "db")
	check("after the last detach")

	alone := e.unchanged()
	e.quiet("nic0", "--host-access", "db", "10.3.0.2/24")
	e.docker("rm", "-f", "db")
	host.Poll(30*time.Second, func() bool { // the kernel takes its time with a dead namespace
		e.ok("gc")
		return e.Run("sh", "-c", "ip -o link | grep gph").Code != 0
	})
	alone("after the death of db, and gc")
}

// hears says whether an address answers the host.
func (m *machine) hears(addr string) bool {
	return m.Run("busybox", "ping", "-c", "1", "-W", "10", addr).Code == 0
}

// deaf says that no answer of an address reaches the host, or none in good time.
func (m *machine) deaf(addr string) bool {
	return m.Run("busybox", "ping", "-c", "1", "-W", "2", addr).Code != 0
}
