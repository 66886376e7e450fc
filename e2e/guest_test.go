//go:build linux

package e2e

import (
	"strconv"
	"strings"
	"testing"

	"github.com/gopipework/gopipework/e2e/host"
)

// A container on the host's own network would have the host set up.
func TestHostNetwork(t *testing.T) {
	e := withDocker(t)
	e.container("onhost", "--network", "host")
	check := e.unchanged()
	e.fails("conflict", "brtest", "onhost", "192.168.1.2/24")
	check("after a guest on the host's network")

	// The same by its process, and by this host's namespace itself.
	pid, err := e.daemon.PID("onhost")
	e.check(err)
	e.fails("conflict", "brtest", "pid:"+strconv.Itoa(pid), "192.168.1.2/24")
	e.fails("conflict", "brtest", "/proc/self/ns/net", "192.168.1.2/24")
	check("after a guest in the host's namespace")
}

func TestGuestStates(t *testing.T) {
	e := withDocker(t)
	e.docker("create", "--name", "created", "box", "sleep", "1000")
	e.container("stopped")
	e.docker("kill", "stopped")
	e.container("paused")
	e.docker("pause", "paused")
	check := e.unchanged()
	for name, says := range map[string]string{"created": "never started", "stopped": "exited"} {
		f := e.fails("not_found|gone", "brtest", name, "192.168.1.2/24")
		e.says("the error", f.Error.Message, says)
		e.says("the hint", f.Error.Hint, "docker start "+name)
	}
	f := e.fails("not_found", "brtest", "nosuch", "192.168.1.2/24")
	e.says("the error", f.Error.Object+f.Error.Message, "nosuch")
	e.fails("not_found", "brtest", "docker:nosuch", "192.168.1.2/24")
	e.fails("not_found", "brtest", "netns:nosuch", "192.168.1.2/24")
	e.fails("not_found", "brtest", "/run/netns/nosuch", "192.168.1.2/24")
	e.fails("not_found|gone", "brtest", "pid:4194304", "192.168.1.2/24")
	check("after guests that are not there")

	paused := e.guestOf("paused")
	before := e.unchanged(paused)
	e.quiet("brtest", "paused", "192.168.1.2/24")
	e.docker("unpause", "paused")
	e.says("the container's view", e.docker("exec", "paused", "ip", "address"), "192.168.1.2/24")
	e.quiet("detach", "paused")
	before("after detach")
}

func TestHostInterfaceMissing(t *testing.T) {
	m := newMachine(t)
	g := m.guest()
	check := m.unchanged(g)
	f := m.fails("not_found", "lan0", g.Word, "192.168.1.2/24")
	m.says("the error", f.Error.Object+f.Error.Message, "lan0")
	check("after a host interface that is not there")
}

// Names, full and short IDs, and a prefix that fits two.
func TestContainerNames(t *testing.T) {
	e := withDocker(t)
	id := e.container("web")
	g := e.guestOf("web")
	check := e.unchanged(g)
	for _, word := range []string{"web", "docker:web", id, id[:12], id[:4], "docker:" + id[:12]} {
		e.quiet("brtest", word, "192.168.1.2/24")
		a := e.list(word)
		if len(a) != 1 || a[0].Guest.Runtime != "docker" || a[0].Guest.Name != "web" || !strings.HasPrefix(id, a[0].Guest.ID) || len(a[0].Guest.ID) < 12 {
			t.Errorf("%s: %+v", word, a)
		}
		e.quiet("detach", word)
	}
	check("after detach")

	// Sixteen first digits: of seventeen containers two share one. What is so short is a name.
	first := map[byte]bool{id[0]: true}
	var prefix string
	for prefix == "" {
		next := e.docker("create", "box", "sleep", "1000")
		if first[next[0]] {
			prefix = next[:1]
		}
		first[next[0]] = true
	}
	for _, word := range []string{prefix, "docker:" + id[:3]} {
		f := e.fails("not_found", "brtest", word, "192.168.1.2/24")
		e.says("the error", f.Error.Message, "no such container")
	}
	check("after a prefix that is too short")
}

// Two containers that share a namespace are one guest.
func TestSharedNamespace(t *testing.T) {
	e := withDocker(t)
	e.container("one")
	e.container("two", "--network", "container:one")
	g := e.guestOf("one")
	check := e.unchanged(g)
	e.attach("brtest", "one", "192.168.1.2/24")
	if a := e.attach("brtest", "two", "192.168.1.2/24"); *a.Changed {
		t.Errorf("the same guest by its other name: changed, %q", a.Steps)
	}
	e.fails("conflict", "brtest", "two", "192.168.1.3/24")
	if l := e.list("two"); len(l) != 1 {
		t.Errorf("list two: %+v", l)
	}
	e.quiet("detach", "two")
	check("after detach by the other name")
}

// A restarted container has a new namespace; the same line plugs it in again.
func TestContainerRestart(t *testing.T) {
	e := withDocker(t)
	e.container("one")
	e.container("two")
	e.quiet("brtest", "one", "192.168.1.2/24")
	e.quiet("brtest", "two", "192.168.1.3/24")
	e.docker("restart", "-t", "0", "one")
	if a := e.attach("brtest", "one", "192.168.1.2/24"); !*a.Changed {
		t.Error("a restarted container has to be plugged in again")
	}
	e.reaches(e.guestOf("two"), "192.168.1.2")
	// The kernel ends the old namespace, and with it a port of the bridge, in its own time.
	if !host.Poll(host.Patience, func() bool {
		ports := 0
		for _, l := range e.links(e) {
			if l.Master == "brtest" {
				ports++
			}
		}
		return ports == 2
	}) {
		t.Error("the bridge does not have a port for each of two guests")
	}
	e.quiet("detach", "one")
	e.quiet("detach", "two")
	e.rules(0, 0)
	if _, ok := e.links(e)["brtest"]; ok {
		t.Error("the bridge is left")
	}
}
