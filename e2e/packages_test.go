//go:build linux

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/gopipework/gopipework/e2e/host"
)

// released builds what release.sh builds of the words, and returns the files whose names
// match the pattern.
func (m *machine) released(pattern string, words ...string) (files []string) {
	m.t.Helper()
	dir := m.t.TempDir()
	cmd := command("../packaging/release.sh", append([]string{dir}, words...)...)
	cmd.Env = append(os.Environ(), "ARCHES="+runtime.GOARCH)
	if out, err := cmd.CombinedOutput(); err != nil {
		m.t.Fatalf("release.sh: %v\n%s", err, out)
	}
	files, err := filepath.Glob(filepath.Join(dir, pattern))
	m.check(err)
	if len(files) == 0 {
		m.t.Fatalf("release.sh %v has built no %s", words, pattern)
	}
	return files
}

// TestPackage: the package for Debian is installed, upgraded and removed while a guest has an
// interface with an address and one with a lease. Both survive; no file of the package does.
func TestPackage(t *testing.T) {
	m := newMachine(t)
	deb := m.released("*.deb", "deb", "tar")[0]
	for _, example := range []string{"examples/oci-hook.json", "examples/daemon.json", "docs/hook.md"} {
		got := m.sh("tar -xzOf " + filepath.Dir(deb) + "/gopipework-*.tar.gz --wildcards '*/" + example + "'")
		if !strings.Contains(got, `"/usr/local/bin/gopipework"`) || strings.Contains(got, `"/usr/bin/gopipework"`) {
			t.Errorf("the tarball has %s:\n%s", example, got)
		}
	}
	// What dpkg writes is on this host alone.
	for _, dir := range []string{"/usr", "/etc", "/var"} {
		over := m.Dir + "/over" + dir
		m.do("mkdir -p " + over + "/upper " + over + "/work")
		m.do(fmt.Sprintf("mount -t overlay over -o lowerdir=%[1]s,upperdir=%[2]s/upper,workdir=%[2]s/work %[1]s", dir, over))
	}
	files := func() []string {
		return strings.Fields(m.sh("find /usr /etc /var/lib -xdev -not -path '/var/lib/dpkg/*'"))
	}
	before := files()
	dpkg := func(args string) string {
		t.Helper()
		return m.sh("PATH=/usr/sbin:/usr/bin:/sbin:/bin dpkg --no-triggers " + args + " 2>&1")
	}
	dpkg("-i " + deb)
	m.Path = m.Dir + "/installed"
	m.check(os.Mkdir(m.Path, 0o755))
	m.check(os.WriteFile(m.Path+"/gopipework", []byte("#!/bin/sh\nexec /usr/bin/gopipework \"$@\"\n"), 0o755))
	if got := m.ok("version").Stdout; strings.Contains(got, "devel") {
		t.Errorf("the version is %s", got)
	}
	for _, page := range []string{"man8/gopipework.8", "man8/pipework.8", "man5/gopipework-topology.5", "man5/gopipework-policy.5"} {
		m.do("gzip -t /usr/share/man/" + page + ".gz")
	}
	m.says("the link", m.do("readlink /usr/bin/pipework"), "gopipework")
	m.says("the hook", m.do("cat /usr/share/doc/gopipework/examples/oci-hook.json"), `"/usr/bin/gopipework"`)
	m.says("the unit", m.do("cat /usr/lib/systemd/system/gopipework.service"), "ExecStart=/usr/bin/gopipework watch")

	router := m.router("brlan")
	m.dnsmasq(router)
	web := m.named("web")
	m.ok("brlan", "netns:web", "10.9.0.2/24", "-i", "lan0")
	m.ok("brlan", "netns:web", "dhcp", "-i", "lan1")
	keeper := m.keeper()
	alive := func(after string) {
		t.Helper()
		m.reaches(router, "10.9.0.2")
		m.reaches(router, m.leased(web, "lan1"))
		if got := m.keepers(); !slices.Equal(got, []int{keeper}) {
			t.Errorf("after %s the lease is maintained by %v, before by %d", after, got, keeper)
		}
	}
	dpkg("-i " + deb)
	alive("the upgrade")
	if got := m.ok("list").Stdout; strings.Count(got, "complete") != 3 {
		t.Errorf("after the upgrade:\n%s", got)
	}
	m.says("the removal", dpkg("-r gopipework"), "these attachments stay", "netns:web lan0", "netns:web lan1")
	alive("the removal")
	m.Path = bin
	m.ok("detach", "--all", "netns:web")
	if !host.Poll(host.Patience, func() bool { return len(m.keepers()) == 0 }) {
		t.Errorf("processes that maintain leases: %v", m.keepers())
	}
	dpkg("-P gopipework")
	after := files()
	for _, path := range after {
		if !slices.Contains(before, path) {
			t.Errorf("%s is left", path)
		}
	}
	if len(after) < len(before) {
		t.Errorf("%d files were there before, %d are now", len(before), len(after))
	}
}

// ownImage loads the image of gopipework, which is built once, and returns its ID.
func (e *engine) ownImage() string {
	e.t.Helper()
	builtImage.Do(func() {
		built, err := os.ReadFile(e.released("*-image.tar", "image")[0])
		e.check(err)
		e.check(os.WriteFile(bin+"/image.tar", built, 0o644))
	})
	e.do("docker load -q -i " + bin + "/image.tar")
	return e.docker("images", "-q", "gopipework")
}

var builtImage sync.Once

// TestImage: a container of the image carries out a line on the host, and what maintains a
// lease outlives it.
func TestImage(t *testing.T) {
	e := startedEngine(t, func(h *host.Host) (*host.Engine, error) { return h.StartEngineAlone() })
	image := e.ownImage()
	layers := e.sh("cd " + bin + "; for b in $(tar -tf image.tar | grep sha256/.); do tar -xOf image.tar $b | tar -tvz 2>/dev/null || true; done")
	e.says("the layer", layers, "-rwxr-xr-x 0/0 ", " gopipework\n", "drwxr-xr-x 0/0 ", " var/\n", " var/run -> /run")
	for _, name := range []string{"web", "db"} {
		e.container(name, "--network", "none")
	}
	e.dnsmasq(e.router("brlan"))
	// Not --privileged: whoever runs the tests may have fewer capabilities than that gives.
	const least = "--cap-drop=ALL --cap-add=SYS_ADMIN --cap-add=SYS_CHROOT --cap-add=SYS_PTRACE --cap-add=NET_ADMIN --cap-add=NET_RAW --cap-add=NET_BIND_SERVICE --cap-add=DAC_OVERRIDE --security-opt=apparmor=unconfined"
	for how, network := range map[string]string{"in the host's network": "host", "in a network of its own": "none"} {
		t.Run(how, func(t *testing.T) {
			e := &engine{&machine{e.Host, t}, e.daemon}
			run := func(line string) string {
				t.Helper()
				return e.docker(append(strings.Fields("run --rm --pid=host --net="+network+" -e DOCKER_HOST=unix://"+e.daemon.Socket+" "+least+" "+image), strings.Fields(line)...)...)
			}
			if got := run("brtest web 10.1.0.2/24") + run("brtest db 10.1.0.3/24") + run("brlan -i lan0 web dhcp"); got != "" {
				t.Errorf("it says %s", got)
			}
			e.docker("exec", "db", "ping", "-c", "1", "-w", "5", "10.1.0.2")
			if got := run("list web --json"); strings.Count(got, `"complete"`) != 2 || !strings.Contains(got, `"lease":{"source":"dhcp"`) || strings.Contains(got, "trouble") {
				t.Errorf("the list is %s", got)
			}
			run("detach --all web")
			run("detach --all db")
		})
	}
	r := e.Host.Run("docker", "run", "--rm", image, "list")
	e.says("without the host's processes", r.Stderr, "--pid=host")
	if r.Code != 2 {
		t.Errorf("the exit code is %d without the host's processes", r.Code)
	}
}
