//go:build linux

package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/gopipework/gopipework/e2e/host"
)

const hookPolicy = `allow:
  - guests: ["web*", "pod:shop/web"]
    to: [brtest]
    addresses: [192.168.1.0/24, dhcp]
`

// hookExample writes an example of how an engine runs the hook, for the program as it was
// built and a policy of the test's, into a directory of its own.
func hookExample(t *testing.T, name, last string) (dir, policy string) {
	t.Helper()
	dir = t.TempDir()
	policy = filepath.Join(dir, "policy.yaml")
	text, err := os.ReadFile(exampleFile(t, name))
	if err == nil {
		err = os.WriteFile(policy, []byte(hookPolicy), 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	here := strings.NewReplacer("/usr/bin", bin, `"`+last+`"]`, `"`+last+`", "--policy", "`+policy+`"]`).Replace(string(text))
	if strings.Count(here, policy) != 1 || strings.Count(here, bin) != 1 {
		t.Fatalf("the example has changed:\n%s", here)
	}
	if err = os.Mkdir(dir+"/example", 0o755); err == nil {
		err = os.WriteFile(dir+"/example/"+name, []byte(here), 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	return dir + "/example", policy
}

// started checks that a container has started, and that its first process has seen its
// interface.
func started(t *testing.T, r host.Result, address string) {
	t.Helper()
	if r.Code != 0 || !strings.Contains(r.Stdout, "eth1    inet "+address) {
		t.Errorf("want eth1 with %s: %v", address, r)
	}
}

// unstarted checks that a container has not started, and why.
func unstarted(t *testing.T, r host.Result, why string) {
	t.Helper()
	if r.Code == 0 || r.Stdout != "" || !strings.Contains(r.Stderr, "gopipework: "+why) {
		t.Errorf("want %q: %v", why, r)
	}
}

// TestHook: a hook attaches what a container asks for, all of it or nothing; and holds up none
// that asks for nothing.
func TestHook(t *testing.T) {
	m := newMachine(t)
	before, err := host.Settle(m.State)
	m.check(err)
	policy := filepath.Join(t.TempDir(), "policy.yaml")
	m.check(os.WriteFile(policy, []byte(hookPolicy), 0o644))
	state := func(pid int, status string, annotations ...string) string {
		asks := map[string]string{"io.example": "none of ours"}
		for i := 0; i < len(annotations); i += 2 {
			asks["org.gopipework."+annotations[i]] = annotations[i+1]
		}
		text, err := json.Marshal(map[string]any{"ociVersion": "1.0.2", "id": "web", "status": status, "pid": pid, "bundle": m.Dir + "/state/io.containerd.runtime.v2.task/default/web", "annotations": asks})
		m.check(err)
		return string(text)
	}
	hook := func(pid int, status string, annotations ...string) host.Result {
		return m.RunInput(state(pid, status, annotations...), "gopipework", "hook", "--policy", policy)
	}
	quiet := func(r host.Result) {
		t.Helper()
		if r.Code != 0 || r.Stdout+r.Stderr != "" {
			t.Error(r)
		}
	}
	web, db := m.guest(), m.guest()
	const good, other = "brtest 192.168.1.2/24", "brtest 192.168.1.3/24"
	unstarted(t, hook(web.PID, "created", "eth1", good, "eth2", "brtest 192.168.9.2/24"), "attach eth2 to containerd:web: refused: "+policy+":2:5 does not allow it: the address 192.168.9.2/24")
	unstarted(t, hook(web.PID, "created", "eth1", good, "eth2", "brtest 192.168.1.3/24 --mtu"), "attach eth2 to containerd:web: refused: read flag")
	unstarted(t, hook(web.PID, "created", "lo", good), "attach an interface to containerd:web: refused: read annotation")
	misnamed := strings.Replace(state(web.PID, "created", "eth1", good), "io.example", "gopipework.eth2", 1)
	unstarted(t, m.RunInput(misnamed, "gopipework", "hook", "--policy", policy), `attach eth2 to containerd:web: refused: "gopipework.eth2" is the name of a label`)
	unstarted(t, hook(web.PID, "created", "eth1", good, "lo0", other, "lo1", "brtest 192.168.1.4/24 @10"), "attach lo1 to containerd:web: refused")
	m.check(web.Run("ip", "link", "add", "eth2", "type", "bridge").Err())
	unstarted(t, hook(web.PID, "created", "eth1", good, "eth2", other), "attach brtest to web: it has an interface eth2 already: a bridge")
	onHost := `{"id":"web","status":"created","pid":'$$',"annotations":{"org.gopipework.eth1":"` + good + `"}}`
	if r := m.Run("sh", "-c", "echo '"+onHost+"' | gopipework hook --policy "+policy); r.Code != 1 || !strings.Contains(r.Stderr, "it shares the host's network namespace") || !strings.Contains(r.Stderr, `its annotation "org.gopipework.eth1" asks for an interface: remove that`) {
		t.Error(r)
	}
	m.same("the host after refusals", before, m.State)

	quiet(hook(web.PID, "created"))
	quiet(hook(0, "stopped", "eth1", good))
	quiet(hook(web.PID, "created", "eth1", good))
	quiet(hook(web.PID, "created", "eth1", good))
	m.becomes("web eth1 192.168.1.2/24 annotation")
	unstarted(t, hook(web.PID, "created", "eth1", other), "attach brtest to web: eth1 exists already (it belongs to annotation), with address 192.168.1.2/24")
	joined := web.Command(context.Background(), "sleep", "1d") // as with --network container:web
	m.check(joined.Start())
	network := func(pid int) string { path, _ := os.Readlink(fmt.Sprintf("/proc/%d/ns/net", pid)); return path }
	if !host.Poll(host.Patience, func() bool { return network(joined.Process.Pid) == network(web.PID) }) {
		t.Error("the second process does not join the first one's network")
	}
	m.says("the hint for a container in another one's network", hook(joined.Process.Pid, "created", "eth1", other).Stderr, "gopipework detach pid:"+strconv.Itoa(web.PID)+" eth1")
	m.check(joined.Process.Kill())
	_ = joined.Wait()
	text := `{"id":"web2","status":"created","pid":` + strconv.Itoa(db.PID) + `,"annotations":{"org.gopipework.eth1":"` + good + `"}}`
	unstarted(t, m.RunInput(text, "gopipework", "hook", "--policy", policy), "attach brtest to web2: web, behind "+m.list()[0].Host.Port+", has the address 192.168.1.2 already")
	text = strings.Replace(text, ".2/24", ".4/24", 1)
	if r := m.RunInput(text, "gopipework", "hook", "--policy", policy, "--dry-run"); r.Code != 0 || !strings.Contains(r.Stdout, "ip link add") {
		t.Error(r)
	}
	unstarted(t, m.RunInput(text, "gopipework", "hook"), "attach eth1 to "+db.Word+": refused: there is no /etc/gopipework/policy.yaml")
	unstarted(t, m.RunInput("{}", "gopipework", "hook"), "read the state of a container: it has no id")
	m.ok("detach", "--all", web.Word)

	// One that is killed, here as it waits for a lease, leaves what the next one repairs.
	killed := m.Command(context.Background(), "gopipework", "hook", "--policy", policy)
	killed.Stdin = strings.NewReader(state(web.PID, "created", "eth1", "brtest dhcp:default-route=no"))
	m.check(killed.Start())
	half := func() bool { all := m.list(); return len(all) == 1 && all[0].State == "half" }
	if !host.Poll(host.Patience, half) {
		t.Error("nothing is half made")
	}
	m.check(killed.Process.Kill())
	_ = killed.Wait()
	quiet(hook(web.PID, "created", "eth1", good))
	m.becomes("web eth1 192.168.1.2/24 annotation")
	m.ok("detach", "--all", web.Word)
	m.check(errors.Join(web.Kill(), db.Kill()))
	m.same("the host", before, m.State)
}

// TestRuntime: the runtime has its arguments as they are, and a container that it creates has
// the hook.
func TestRuntime(t *testing.T) {
	m := newMachine(t)
	const config = `{ "ociVersion": "1.0.2", "new": {"a": 1.50} }`
	m.check(os.WriteFile(m.Dir+"/config.json", []byte(config), 0o600))
	m.check(os.WriteFile(m.Dir+"/runc", []byte("#!/bin/sh\nprintf '[%s]' \"$@\"\nexit 7\n"), 0o755))
	args := []string{"--root", "/r", "start", "", "--bundle", m.Dir, "-h", "--json", "--", "--policy"}
	says := func(own ...string) {
		t.Helper()
		r := m.gopipework(slices.Concat([]string{"runtime", "--runc", m.Dir + "/runc"}, own, args)...)
		if want := "[" + strings.Join(args, "][") + "]"; r.Code != 7 || r.Stdout != want || r.Stderr != "" {
			t.Errorf("want %q: %v", want, r)
		}
	}
	says()
	m.says("a bundle that is only started", m.sh("cat "+m.Dir+"/config.json"), config)
	args[2] = "create"
	says("--timeout", "3s", "--policy=/p.yaml", "--")
	m.says("the bundle", m.sh("cat "+m.Dir+"/config.json"), `{"hooks":{"createRuntime":[{"path":"`+bin+`/gopipework","args":["gopipework","hook","--timeout","3s","--policy","/p.yaml"],"env":["PATH=`,
		`"timeout":8}]}, "ociVersion": "1.0.2", "new": {"a": 1.50} }`)
	m.sh("rm " + m.Dir + "/config.json")
	unstarted(t, m.gopipework(slices.Concat([]string{"runtime", "--runc", m.Dir + "/runc"}, args)...), "add the hook to "+m.Dir+"/config.json: ")
}

// TestHookPodman: podman runs the hook of the example before a container's first process.
func TestHookPodman(t *testing.T) {
	need(t, "podman")
	m := newMachine(t)
	podman, err := m.StartPodman()
	m.check(err)
	t.Cleanup(func() { m.check(podman.Close()) })
	before, err := host.Settle(m.State)
	m.check(err)
	hooks, policy := hookExample(t, "oci-hook.json", "hook")
	const read = "/usr/share/containers" // with what is there already
	over := m.Dir + "/over"
	m.sh("mkdir -p " + over + "/work " + over + "/upper/oci && cp -r " + hooks + " " + over + "/upper/oci/hooks.d")
	m.sh(fmt.Sprintf("mount -t overlay over -o lowerdir=%[2]s,upperdir=%[1]s/upper,workdir=%[1]s/work %[2]s", over, read))
	t.Cleanup(func() { m.sh("umount " + read) })
	run := func(name, line string, more ...string) host.Result {
		args := append([]string{"run", "--rm", "--name", name, "--network", "none", "--cgroup-parent", "/" + filepath.Base(m.Dir) + "/podman"}, more...)
		if line != "" {
			args = append(args, "--annotation", "org.gopipework.eth1="+line)
		}
		return m.Run("podman", append(args, "--rootfs", m.Dir+"/podman/rootfs", "/bin/busybox", "ip", "-o", "address")...)
	}
	started(t, run("web", "brtest 192.168.1.2/24"), "192.168.1.2/24")
	unstarted(t, run("web", "brtest 192.168.9.2/24"), "attach eth1 to podman:web: refused: "+policy+":2:5 does not allow it")
	unstarted(t, run("db", "brtest 192.168.1.2/24"), "attach eth1 to podman:db: refused: "+policy+` has no entry for "db"`)
	forged := []string{"--annotation", "io.container.manager=cri-o"} // an image can have these
	for _, prefix := range []string{"io.kubernetes.cri.sandbox-", "io.kubernetes.pod."} {
		forged = append(forged, "--annotation", prefix+"namespace=shop", "--annotation", prefix+"name=web")
	}
	unstarted(t, run("db", "brtest 192.168.1.2/24", forged...), "attach eth1 to podman:db: refused: "+policy+` has no entry for "db"`)
	unstarted(t, run("web", "", "--annotation", "gopipework.eth1=brtest 192.168.1.2/24"), `attach eth1 to podman:web: refused: "gopipework.eth1" is the name of a label`)
	m.check(run("db", "").Err())
	m.ok("gc")
	m.same("the host", before, m.State)
}

// TestHookContainerd: containerd runs the hook from the specification that containers are made
// of, those of pods too, and from the runtime that adds it.
func TestHookContainerd(t *testing.T) {
	need(t, "containerd")
	m := newMachine(t)
	dir, policy := hookExample(t, "oci-hook.json", "hook")
	var base map[string]any
	m.check(json.Unmarshal([]byte(m.do("ctr oci spec")), &base))
	base["hooks"] = map[string]any{"createRuntime": []any{map[string]any{"path": bin + "/gopipework", "args": []string{"gopipework", "hook", "--policy", policy}}}}
	write := func(name string) string {
		t.Helper()
		text, err := json.Marshal(base)
		m.check(err)
		m.check(os.WriteFile(dir+"/"+name, text, 0o644))
		return dir + "/" + name
	}
	c, err := m.StartContainerd(`base_runtime_spec = "`+write("base.json")+`"`, `pod_annotations = ["org.gopipework.*"]`)
	m.check(err)
	t.Cleanup(func() { m.check(c.Close()) })
	before, err := host.Settle(m.State)
	m.check(err)

	group := "/" + filepath.Base(m.Dir) + "/ctr"
	look := []string{"/bin/busybox", "ip", "-o", "address"}
	base["process"].(map[string]any)["args"], base["root"] = look, map[string]any{"path": c.Rootfs()}
	base["linux"].(map[string]any)["cgroupsPath"] = group
	of := func(name, line string) host.Result {
		t.Helper()
		base["annotations"] = map[string]string{"org.gopipework.eth1": line}
		return m.Run("ctr", "-a", c.Socket, "run", "--rm", "--config", write("spec.json"), name)
	}
	started(t, of("web", "brtest 192.168.1.2/24"), "192.168.1.2/24")
	unstarted(t, of("db", "brtest 192.168.1.2/24"), "attach eth1 to containerd:db: refused: "+policy+` has no entry for "db"`)

	wrapper := m.Dir + "/gopipework-runc"
	m.check(os.WriteFile(wrapper, []byte("#!/bin/sh\nexec "+bin+"/gopipework runtime --policy "+policy+` "$@"`+"\n"), 0o755))
	by := func(name, line string) host.Result {
		return m.Run("ctr", slices.Concat([]string{"-a", c.Socket, "run", "--rm", "--runc-binary", wrapper, "--cgroup", group,
			"--annotation", "org.gopipework.eth1=" + line, "--rootfs", c.Rootfs(), name}, look)...)
	}
	started(t, by("web", "brtest 192.168.1.3/24"), "192.168.1.3/24")
	unstarted(t, by("web", "brtest 192.168.9.2/24"), "attach eth1 to containerd:web: refused: "+policy+":2:5 does not allow it")

	m.hookPods(c, policy)
	m.ok("gc")
	m.same("the host", before, m.State)
}

// hookPods: the containers of a pod share what its annotations ask for, and no other name than
// that of its namespace and its own counts.
func (m *machine) hookPods(c *host.Containerd, policy string) {
	m.t.Helper()
	m.check(c.ImportPause())
	pod := func(namespace string) (start func(name string) error, id string) {
		m.t.Helper()
		p := host.Pod{Name: "web", Namespace: namespace, Annotations: map[string]string{"org.gopipework.eth1": "brtest 192.168.1.2/24"}}
		id, err := c.RunPod(p)
		m.check(err)
		return func(name string) error { return c.StartInPod(p, id, name) }, id
	}
	start, id := pod("shop")
	m.check(start("one"))
	m.becomes("web eth1 192.168.1.2/24 annotation")
	m.check(start("two"))
	m.becomes("web eth1 192.168.1.2/24 annotation")
	m.check(c.RemovePod(id))
	start, id = pod("other")
	m.says("the error of a pod in another namespace", fmt.Sprint(start("one")), "gopipework: attach eth1 to cri:web: refused: "+policy+" has no entry for ", `pod:"other/web"`)
	m.check(c.RemovePod(id))
}

// hookRuntime has the engine know the runtime of the example.
func (e *engine) hookRuntime(t *testing.T) (policy string) {
	t.Helper()
	dir, policy := hookExample(t, "daemon.json", "runtime")
	e.sh("mount --bind " + dir + " /etc/docker")
	t.Cleanup(func() { e.sh("umount /etc/docker") })
	e.check(e.daemon.Signal(syscall.SIGHUP)) // it reads its file again
	if !host.Poll(host.Patience, func() bool {
		return strings.Contains(e.docker("info", "-f", "{{json .Runtimes}}"), policy)
	}) {
		t.Fatal("the engine does not know the runtime")
	}
	return policy
}

// TestHookDocker: a container of Docker that is run by the runtime of the example has what its
// labels ask for before its first process. A watch that follows labels leaves that as it is.
func TestHookDocker(t *testing.T) {
	e := withDocker(t)
	policy := e.hookRuntime(t)
	const label = "gopipework.eth1=brtest 192.168.1."
	run := func(name string, args ...string) host.Result {
		args = append([]string{"run", "--rm", "--runtime", "gopipework", "--name", name}, args...)
		return e.Run("docker", append(args, host.Image, "ip", "-o", "address")...)
	}
	started(t, run("web", "--label", label+"2/24"), "192.168.1.2/24") // whatever else there is
	started(t, run("web", "--network", "none", "--label", label+"2/24"), "192.168.1.2/24")
	unstarted(t, run("db", "--label", label+"2/24"), "attach eth1 to docker:db: refused: "+policy+` has no entry for "db"`)
	unstarted(t, run("web", "--network", "host", "--label", label+"2/24"), `find guest "docker:web": it shares the host's network namespace`)
	e.check(run("db").Err())
	e.check(run("db", "--network", "host").Err())

	e.container("web1", "--runtime", "gopipework", "--network", "none", "--label", label+"2/24")
	port := e.list()[0].Host.Port
	id := e.docker("inspect", "-f", "{{.ID}}", "web1")
	const tasks = "/exec/containerd/daemon/io.containerd.runtime.v2.task/moby/"
	state := fmt.Sprintf(`{"id":%q,"pid":%d,"bundle":%q}`, id, e.guestOf("web1").PID, e.Dir+tasks+id)
	e.check(e.daemon.Signal(syscall.SIGSTOP)) // as it does not answer while it starts what ran before it
	again := e.RunInput(state, "gopipework", "hook", "--policy", policy)
	e.check(e.daemon.Signal(syscall.SIGCONT))
	e.check(again.Err())
	w := e.watchesLabels(hookPolicy)
	e.container("web2", "--network", "none", "--label", label+"3/24")
	e.becomes("web1 eth1 192.168.1.2/24 label", "web2 eth1 192.168.1.3/24 label")
	if again := e.list(); !slices.ContainsFunc(again, func(a attachment) bool { return a.Host.Port == port }) {
		t.Errorf("%s is gone: %+v", port, again)
	}
	if got := w.told("attached"); len(got) != 1 || !strings.HasPrefix(got[0], "docker:web2 eth1") {
		t.Errorf("watch attached %q", got)
	}
	e.docker("restart", "-t", "0", "web1") // either of the two may be the first
	e.becomes("web1 eth1 192.168.1.2/24 label", "web2 eth1 192.168.1.3/24 label")
	e.reaches(e.guestOf("web2"), "192.168.1.2")
	w.refuses()
	if got := w.told("failed"); len(got) != 0 {
		t.Errorf("watch failed: %q", got)
	}
	e.docker("rm", "-f", "web1", "web2")
	e.becomes()
	w.watch.ends(t)
}
