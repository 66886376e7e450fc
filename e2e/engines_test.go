//go:build linux

package e2e

import (
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/gopipework/gopipework/e2e/host"
)

// An attachment lives with whatever its engine does to the firewall later: it
// makes its first IPv6 network, which has newer ones drop forwarded IPv6, starts
// again, and deletes its networks.
//
// The engine is the installed one. GOPIPEWORK_ENGINE names a directory with
// another dockerd and what it runs, which is tried with both backends for its
// firewall: see make engines.
func TestEngines(t *testing.T) {
	tried := map[string][]string{"installed": nil}
	path := bin
	if dir := os.Getenv("GOPIPEWORK_ENGINE"); dir != "" {
		path = bin + ":" + dir
		tried = map[string][]string{
			"iptables": {"--seccomp-profile=unconfined", "--firewall-backend=iptables"},
			"nftables": {"--seccomp-profile=unconfined", "--firewall-backend=nftables"},
		}
	}
	for name, args := range tried {
		t.Run(name, func(t *testing.T) {
			need(t, "root", "docker", "ipv6")
			t.Parallel()
			h := host.New(t)
			h.Path = path
			if name == "nftables" {
				// It does not turn forwarding on by itself. With iptables the engine
				// does, and only then has FORWARD drop.
				if _, err := h.Must("sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1"); err != nil {
					t.Fatal(err)
				}
			}
			daemon, err := h.StartEngine(args...)
			if err != nil {
				t.Fatal(err)
			}
			e := &engine{&machine{h, t}, daemon}
			t.Log(e.docker("version", "--format", "API {{.Server.APIVersion}}, version {{.Server.Version}}"))
			client := e.outside()
			for _, c := range []string{"one", "two"} {
				e.container(c)
			}
			e.container("web", "-p", "8080:80", host.Image, "httpd", "-f", "-p", "80", "-h", "/www")
			e.listens(e.guestOf("web"), 80)

			e.liveWith(client)
			// By now the engine has done what it does once and for all.
			check := e.unchanged(e.guestOf("one"), e.guestOf("two"), e.guestOf("web"))
			e.liveWith(client)
			check("after detach")
		})
	}
}

// outside is a guest that reaches the host as its clients on the network do.
func (e *engine) outside() *host.Guest {
	e.t.Helper()
	client := e.guest()
	e.check(e.Batch("link add ext0 type veth peer name eth0 netns "+strings.TrimPrefix(client.Word, "pid:"),
		"address add 10.99.0.1/24 dev ext0", "link set ext0 up"))
	e.check(client.Run("sh", "-ec", "ip address add 10.99.0.2/24 dev eth0; ip link set eth0 up; ip route add default via 10.99.0.1").Err())
	return client
}

// liveWith attaches one, two and web, and has the engine do its things meanwhile.
func (e *engine) liveWith(client *host.Guest) {
	e.t.Helper()
	one := e.guestOf("one")
	flows := func(when string) {
		e.t.Helper()
		for _, to := range []string{"192.168.1.3", "fd00:1::3"} {
			if r := ping(one, to); r.Code != 0 {
				e.t.Errorf("%s: one does not reach %s:\n%v", when, to, r)
			}
		}
		r := client.RunInput("GET / HTTP/1.0\r\n\r\n", "busybox", "nc", "-w", "20", "10.99.0.1", "8080")
		if !strings.HasSuffix(r.Stdout, "\r\n\r\n"+host.Page) {
			e.t.Errorf("%s: the published port does not answer: %v", when, r)
		}
		for _, a := range e.list() {
			if a.State != "complete" {
				e.t.Errorf("%s: %+v", when, a)
			}
		}
	}
	lines := [][]string{
		{"brtest", "one", "192.168.1.2/24,fd00:1::2/64"},
		{"brtest", "two", "192.168.1.3/24,fd00:1::3/64"},
		{"brtest", "web", "192.168.1.4/24"},
	}
	for _, line := range lines {
		e.quiet(line...)
	}
	flows("after the attach")
	e.docker("network", "create", "--ipv6", "--subnet", "fd00:77::/64", "six")
	flows("after docker network create --ipv6")
	e.check(e.daemon.Stop(syscall.SIGTERM))
	e.check(e.daemon.Start())
	flows("after a restart of the engine")
	for _, line := range lines {
		if r := e.attach(line...); *r.Changed {
			e.t.Errorf("the same line changed something: %q", r.Steps)
		}
	}
	e.docker("network", "rm", "six")
	flows("after docker network rm")
	for _, c := range []string{"one", "two", "web"} {
		e.quiet("detach", c)
	}
	e.rules(0, 0)
}

// Docker gives a further network's interface the first ethN that it has not used
// itself, and fails while ours has that name. -v says so, to those whom it concerns; with another name it works.
func TestNetworkConnect(t *testing.T) {
	e := newEngine(t)
	e.container("web")
	e.container("alone", "--network", "none")
	const hint = "docker network connect"
	line := []string{"brtest", "web", "192.168.1.2/24"}
	e.says("-v", e.ok(append([]string{"-v"}, line...)...).Stderr, hint, "-i lan0")
	e.quiet(line...)
	e.quiet("detach", "web")
	for _, line := range [][]string{{"brtest", "alone", "192.168.1.3/24"}, {"brtest", "-i", "lan0", "web", "192.168.1.2/24"}} {
		if r := e.ok(append([]string{"-v"}, line...)...); strings.Contains(r.Stderr, hint) {
			t.Errorf("it does not concern this guest:\n%v", r)
		}
	}
	e.docker("network", "create", "more")
	e.docker("network", "connect", "more", "web")
	if _, ok := e.links(e.guestOf("web"))["eth1"]; !ok {
		t.Error("Docker's interface is not eth1")
	}
	e.connectAlone()
}

// connectAlone is what docs/comparison.md says about docker network connect.
func (e *engine) connectAlone() {
	e.t.Helper()
	for _, c := range []struct{ guest, says string }{{"web", "already exists in network more"}, {"alone", "private (none) mode"}} {
		if out, err := e.daemon.Docker("network", "connect", "more", c.guest); err == nil || !strings.Contains(err.Error()+out, c.says) {
			e.t.Errorf("docker network connect more %s: %v, %s; want %q", c.guest, err, out, c.says)
		}
	}
	e.docker("restart", "-t", "0", "web")
	if _, ok := e.links(e.guestOf("web"))["eth1"]; !ok {
		e.t.Error("after a restart of the container, Docker's eth1 is not there")
	}
	e.says("docker network inspect", e.docker("network", "inspect", "more"), `"Name": "web"`)
	e.docker("network", "disconnect", "more", "web")
	if _, ok := e.links(e.guestOf("web"))["eth1"]; ok {
		e.t.Error("after docker network disconnect, eth1 is there")
	}
}
