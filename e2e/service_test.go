//go:build linux

package e2e

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/gopipework/gopipework/e2e/host"
)

// asService are the flags of the container that the examples run gopipework watch in: it has
// neither the host's processes nor all privileges.
const asService = "--read-only --network host --cap-drop ALL --cap-add NET_ADMIN --cap-add SYS_ADMIN --cap-add NET_RAW --cap-add NET_BIND_SERVICE" +
	" -v /run:/run:rslave -v /proc/sys/net:/host/proc/sys/net --entrypoint /gopipework"

// usualEngine starts an engine where engines usually are.
func usualEngine(t *testing.T) *engine {
	t.Helper()
	return startedEngine(t, func(h *host.Host) (*host.Engine, error) { return startUsual(h) })
}

// startUsual starts an engine whose directory and socket are where they usually are, on a
// host whose mounts are shared, as systemd has them.
func startUsual(h *host.Host, args ...string) (*host.Engine, error) {
	for _, line := range []string{"mount --make-rshared /", "mount -t tmpfs state /var/lib"} {
		if _, err := h.Must("sh", "-c", line); err != nil {
			return nil, err
		}
	}
	return h.StartEngine(append([]string{"--exec-root=/run/docker", "--host=unix:///run/docker.sock"}, args...)...)
}

// TestService: watch runs in a container that sees no process of a guest. It attaches by
// labels, also after a restart, and lines are carried out in it.
func TestService(t *testing.T) {
	e := usualEngine(t)
	image := e.ownImage()
	policy := e.Dir + "/policy.yaml"
	e.check(os.WriteFile(policy, []byte("allow: [{guests: labelled, to: brtest, addresses: 192.168.1.0/24}]\n"), 0o644))
	e.docker(append(strings.Fields("run -d --name service -v "+policy+":/etc/gopipework/policy.yaml:ro "+asService), image, "watch", "--labels")...)
	e.container("web", "--network", "none")
	web := e.guestOf("web")
	check := e.unchanged(web)
	e.container("db")
	e.container("beside", "--network", "container:db")
	e.container("labelled", "--network", "none", "--label", "gopipework.eth1=brtest 192.168.1.5/24")
	e.decoy(e.guestOf("service").PID, web.PID)
	in := func(line string) string {
		t.Helper()
		r := e.Host.Run("docker", append([]string{"exec", "service", "/gopipework"}, strings.Fields(line)...)...)
		e.check(r.Err())
		return r.Stdout + r.Stderr
	}
	for _, line := range []string{"brtest web 192.168.1.2/24", "brtest -i six0 web fd00::2/64", "brtest db 192.168.1.3/24", "brtest web 192.168.1.2/24"} {
		if said := in(line); said != "" {
			t.Errorf("%s: %s", line, said)
		}
	}
	writable := strings.TrimPrefix(asService, "--read-only ")
	r := e.Host.Run("docker", append(strings.Fields("run --rm "+writable), image, "brtest", "-i", "kept0", "web", "192.168.6.2/24", "--keep")...)
	e.says("a line that is kept in the container alone", r.Stderr, "warning: the line goes with this container", "-v /var/lib/gopipework:/var/lib/gopipework")
	e.sh("install -d -m 700 /var/lib/gopipework")
	kept := e.Host.Run("docker", append(strings.Fields("run --rm -v /var/lib/gopipework:/var/lib/gopipework "+writable), image, "brtest", "-i", "kept0", "web", "192.168.6.2/24", "--keep")...)
	if kept.Code != 0 || kept.Stderr != "" {
		t.Errorf("a line that is kept on the host: %v", kept)
	}
	in("detach web kept0")
	e.sh("rm -r /var/lib/gopipework")
	e.says("a guest in the network of another", in("--dry-run brtest -i lan0 beside 192.168.1.4/24"), "nsenter --net=/run/docker/netns/")
	e.says("a program of the host", e.Host.Run("docker", "exec", "service", "/gopipework", "exec", "web", "--", "ip", "address").Stderr, "this container has no programs: run it on the host")
	e.rules(1, -1)
	complete := func(n int) {
		t.Helper()
		if !host.Poll(host.Patience, func() bool {
			return strings.Count(in("list --json"), `"complete"`) == n && len(e.list()) == n
		}) {
			t.Errorf("%d attachments are wanted:\n%s\non the host: %+v\nwatch: %v", n, in("list"), e.list(), e.Host.Run("docker", "logs", "service"))
		}
	}
	complete(4)
	e.reaches(web, "192.168.1.3")
	e.docker("restart", "-t", "0", "labelled")
	complete(4)
	e.reaches(web, "192.168.1.5")
	e.spares(in)
	in("detach --all web")
	complete(2)
	in("detach db")
	e.docker("rm", "-f", "labelled", "beside", "db")
	complete(0)
	check("at the end")

	e.sh("mkdir -m 700 " + e.Dir + "/shut && chown 1 " + e.Dir + "/shut")
	e.docker(append(strings.Fields("run -d --name deaf --tmpfs /run --cap-drop ALL --cap-add NET_ADMIN --cap-add SYS_ADMIN -e DOCKER_HOST=unix:///shut/docker.sock -v "+e.Dir+"/shut:/shut --entrypoint /gopipework"), image, "watch")...)
	said := func() string { return e.Host.Run("docker", "logs", "deaf").Stderr }
	if !host.Poll(host.Patience, func() bool { return strings.Contains(said(), "the directory /shut is closed to root") }) {
		t.Errorf("a watch that must not open the engine's socket says %s", said())
	}
}

// decoy starts a process that has the number of another one in the PID namespace of pid.
func (e *engine) decoy(pid, number int) {
	e.t.Helper()
	_, err := e.Must("nsenter", "--target", strconv.Itoa(pid), "--pid", "--", "sh", "-c",
		fmt.Sprintf("echo %d >/proc/sys/kernel/ns_last_pid; sleep 1d >/dev/null 2>&1 &", number-1))
	e.check(err)
	e.sh(fmt.Sprintf("grep -q '^NSpid:.*[^0-9]%d$' /proc/[0-9]*/status", number))
}

// spares has gc run where it does not see the processes of guests that the host has attached:
// one has a port and a macvlan, and db a lent card and a name server.
func (e *engine) spares(gc func(line string) string) {
	e.t.Helper()
	g, db := e.guest(), e.guestOf("db")
	for _, line := range []string{"link add nic0 type veth peer name wire0", "link add nic1 type veth peer name wire1", "link set nic0 up", "link set wire1 up"} {
		e.do("ip " + line)
	}
	for _, line := range []string{"brtest " + g.Word + " 192.168.1.7/24", "nic0 --host-access -i lan0 " + g.Word + " 10.9.0.7/24", "phys:nic1 -i lan1 db 10.9.1.7/24", "brtest -i dns0 db 10.8.0.7/24 --dns 10.8.0.1"} {
		e.ok(strings.Fields(line)...)
	}
	check := e.unchanged(g, db)
	files := e.do("ls -R /run/gopipework")
	e.says("the files", files, "loan", "dns")
	if said := gc("gc"); said != "" {
		e.t.Errorf("gc says: %s", said)
	}
	check("after gc in the service")
	if now := e.do("ls -R /run/gopipework"); now != files {
		e.t.Errorf("before gc in the service:\n%s\nafter it:\n%s", files, now)
	}
	if out := gc("list"); strings.Contains(out, "orphan") {
		e.t.Errorf("list says:\n%s", out)
	}
	for _, line := range []string{"--all " + g.Word, "db lan1", "db dns0"} {
		e.ok(append([]string{"detach"}, strings.Fields(line)...)...)
	}
	e.do("ip link del nic0")
	e.do("ip link del nic1")
	e.check(g.Kill())
}
