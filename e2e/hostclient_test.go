//go:build linux

package e2e

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gopipework/gopipework/e2e/host"
)

// The host's own DHCP clients, as pipework runs them, for a container.
func TestHostClients(t *testing.T) {
	e := withDocker(t)
	need(t, "clients")
	router := e.guest()
	t.Cleanup(func() { e.check(router.Kill()) })
	e.quiet("br1", router.Word, "10.77.0.1/24")
	t.Cleanup(func() { e.quiet("detach", router.Word) })
	server, err := router.StartDnsmasq("eth1", "10.77.0.10,10.77.0.99,255.255.255.0,2m", "--dhcp-option=121,10.99.0.0/16,10.77.0.1,0.0.0.0/0,10.77.0.1")
	e.check(err)
	t.Cleanup(func() { e.check(server.Stop()) })
	e.container("web", "--network", "none")
	check := e.unchanged(e.guestOf("web"))

	for _, word := range []string{"udhcpc", "udhcpc-f", "dhclient", "dhclient-f", "dhcpcd"} {
		client, stays := strings.CutSuffix(word, "-f")
		stays = stays || word == "dhcpcd"
		pidFile := "/run/" + client + ".web.pid"
		r := e.ok("br1", "web", word)
		if warned := strings.Contains(r.Stderr, "then nobody renews"); warned == stays {
			t.Errorf("%s: warned %v:\n%v", word, warned, r)
		}
		e.says(word, e.docker("exec", "web", "ip", "address", "show", "eth1"), "inet 10.77.0.")
		e.says(word, e.docker("exec", "web", "ip", "route"), "default via 10.77.0.1", "10.99.0.0/16 via 10.77.0.1")
		if _, err := e.Must("cat", pidFile); (err == nil) != stays {
			t.Errorf("%s: pid file: %v", word, err)
		}
		if r := e.ok("import"); stays && !strings.Contains(r.Stdout, "eth1 of docker:web has addresses from the network") {
			t.Errorf("%s: what import says:\n%v", word, r)
		}
		e.quiet("br1", "web", word)
		if r := e.gopipework("br1", "web", "10.77.0.200/24"); r.Code != 1 {
			t.Errorf("%s: another address:\n%v", word, r)
		}
		released := strings.Count(server.Log(), "DHCPRELEASE")
		e.quiet("detach", "web")
		if stays && !host.Poll(30*time.Second, func() bool { return strings.Count(server.Log(), "DHCPRELEASE") > released }) {
			t.Errorf("%s: the server heard no release:\n%s", word, server.Log())
		}
		if _, err := e.Must("cat", pidFile); err == nil {
			t.Errorf("%s: %s is still there", word, pidFile)
		}
		check(word + ", and detach")
	}
	e.says("the server", server.Log(), "client provides name: web")
}

// Without a server nothing is left, and a client ends with its guest.
func TestHostClientEnds(t *testing.T) {
	need(t, "clients")
	m := newMachine(t)
	guest := m.guest()
	check := m.unchanged(guest)
	if r := m.gopipework("br1", guest.Word, "udhcpc-f:-t 1 -T 1"); r.Code != 1 || !strings.Contains(r.Stderr, "without a lease") {
		t.Errorf("no server:\n%v", r)
	}
	const hint = "is there a DHCP server on this network? a longer --timeout"
	r := m.gopipework("--timeout", "2s", "br1", guest.Word, "dhclient-f")
	if !strings.Contains(r.Stderr, hint) { // no time to start the client in
		r = m.gopipework("--timeout", "20s", "br1", guest.Word, "dhclient-f")
	}
	if r.Code != 1 || !strings.Contains(r.Stderr, hint) {
		t.Errorf("no server:\n%v", r)
	}
	check("without a server")

	router := m.guest()
	m.quiet("br1", router.Word, "10.77.0.1/24")
	server, err := router.StartDnsmasq("eth1", "10.77.0.10,10.77.0.99,255.255.255.0,2m")
	m.check(err)
	t.Cleanup(func() { m.check(server.Stop()) })
	for i, word := range []string{"udhcpc-f", "dhclient-f", "dhcpcd"} {
		name := []string{"eth1", "eth2", "eth3"}[i]
		m.quiet("br1", "-i", name, guest.Word, word)
	}
	if got := pidFiles(m); len(got) != 3 {
		t.Errorf("pid files: %q", got)
	}
	m.check(guest.Kill())
	if !host.Poll(30*time.Second, func() bool { return len(pidFiles(m)) == 0 }) {
		t.Errorf("pid files of a dead guest: %q", pidFiles(m))
	}
}

// pidFiles are those of clients on the machine.
func pidFiles(m *machine) (found []string) {
	for _, name := range strings.Fields(m.Run("ls", "/run").Stdout) {
		if strings.HasPrefix(name, "udhcpc.") || strings.HasPrefix(name, "dhclient.") || strings.HasPrefix(name, "dhcpcd.") {
			found = append(found, filepath.Join("/run", name))
		}
	}
	return found
}
