//go:build linux

package e2e

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gopipework/gopipework/e2e/host"
)

// withOVS runs Open vSwitch on a host while a test does.
func withOVS(t *testing.T, m *machine) *host.OVS {
	t.Helper()
	need(t, "ovs")
	o, err := m.StartOVS()
	m.check(err)
	t.Cleanup(func() {
		m.check(o.SignalSwitch(syscall.SIGTERM))
		m.check(o.SignalDatabase(syscall.SIGTERM))
		m.check(os.RemoveAll(o.RunDir))
	})
	return o
}

// Three containers on an Open vSwitch bridge: those with one tag talk, also by
// TCP, which needs checksums that no card will compute; one with another tag
// hears nothing. When one dies, gc deletes its port.
func TestOVS(t *testing.T) {
	e := withDocker(t)
	o := withOVS(t, e.machine)
	check := e.unchanged()
	tags := map[string]string{"one": "@10", "two": "@10", "three": "@20"}
	for n, name := range []string{"one", "two", "three"} {
		e.container(name, "--network", "none")
		line := []string{"ovsbr0", name, fmt.Sprintf("10.0.0.%d/24", n+1), tags[name]}
		if r := e.ok(line...); r.Stdout != "" {
			t.Errorf("a plain success prints nothing:\n%v", r)
		}
		if a := e.attach(line...); *a.Changed || a.Attachment.Host.Kind != "ovs" || fmt.Sprint(a.Attachment.Host.VLAN) != tags[name][1:] {
			t.Errorf("the same line again: %+v", a)
		}
	}
	e.reaches(e.guestOf("one"), "10.0.0.2")
	e.reaches(e.guestOf("two"), "10.0.0.1")
	e.cut(e.guestOf("three"), "10.0.0.1")
	e.check(e.guestOf("two").Run("iperf3", "--server", "--one-off", "--daemon").Err())
	e.listens(e.guestOf("two"), 5201) // it leaves its parent before it listens
	if r := e.guestOf("one").Run("iperf3", "--client", "10.0.0.2", "--bytes", "10M", "--connect-timeout", "20000"); r.Code != 0 {
		t.Errorf("10 MB by TCP do not get through:\n%v", r)
	}
	e.docker("kill", "two")
	port := ""
	for _, a := range e.list() {
		if a.Guest.Name == "two" {
			port = a.Host.Port
		}
	}
	gone := func() bool {
		e.ok("gc")
		r, err := o.Vsctl("list-ports", "ovsbr0")
		e.check(err)
		return port != "" && !strings.Contains(r, port) || port == "" && len(strings.Fields(r)) == 2
	}
	if !host.Poll(30*time.Second, gone) {
		t.Error("gc leaves the port of a dead guest")
	}
	for _, name := range []string{"one", "three"} {
		e.quiet("detach", name)
		e.docker("rm", "-f", name)
	}
	e.docker("rm", "-f", "two")
	if r, err := o.Vsctl("list-br"); err != nil || r != "" {
		t.Errorf("bridges are left: %q, %v", r, err)
	}
	check("after detach and gc")
}
