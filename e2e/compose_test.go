//go:build linux

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/gopipework/gopipework/e2e/host"
	yaml "go.yaml.in/yaml/v3"
)

// composition is what is read of a Compose file.
type composition struct {
	path     string
	Name     string
	Services map[string]struct {
		Image    string
		Command  string
		Labels   map[string]string
		Provider *struct {
			Type    string
			Options map[string][]string
		}
	}
}

// composeFile reads a Compose file of the examples.
func composeFile(t *testing.T, name string) composition {
	t.Helper()
	path := exampleFile(t, name)
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	c := composition{path: path}
	if err := yaml.Unmarshal(text, &c); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return c
}

// composing is an engine that plays with Compose, on a host with a /var/lib of its own.
func composing(t *testing.T) *engine {
	e := withDocker(t)
	e.sh("mount -t tmpfs state /var/lib")
	t.Cleanup(func() { e.sh("umount /var/lib") })
	e.docker("tag", host.Image, "busybox")
	t.Cleanup(func() { e.docker("rmi", "busybox") })
	return e
}

// compose does to the engine what "docker compose" does: by the real one if
// GOPIPEWORK_COMPOSE has its path, else by the calls that it makes.
func (e *engine) compose(c composition, verb string) {
	e.t.Helper()
	if path := os.Getenv("GOPIPEWORK_COMPOSE"); path != "" {
		args := []string{"--progress", "plain", "-f", c.path, verb}
		if verb == "up" {
			args = append(args, "-d")
		} else {
			args = append(args, "-t", "0")
		}
		r := e.Run("env", append([]string{"-C", "/", path}, args...)...)
		e.t.Log(r)
		e.check(r.Err())
		return
	}
	var names []string
	for name := range c.Services {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		s := c.Services[name]
		container := c.Name + "-" + name + "-1"
		switch {
		case s.Provider != nil:
			e.provide(c, verb, name)
		case verb == "up" && e.docker("ps", "-aqf", "name=^"+container+"$") == "":
			args := []string{"create", "--name", container, "--label", "com.docker.compose.project=" + c.Name,
				"--label", "com.docker.compose.service=" + name, "--label", "com.docker.compose.container-number=1",
				"--label", "com.docker.compose.oneoff=False"}
			for key, value := range s.Labels {
				args = append(args, "--label", key+"="+value)
			}
			e.docker(append(append(args, s.Image), strings.Fields(s.Command)...)...)
		case verb == "down":
			e.docker("rm", "-f", container)
		}
	}
	if verb == "up" {
		for _, name := range names {
			if c.Services[name].Provider == nil {
				e.docker("start", c.Name+"-"+name+"-1")
			}
		}
	}
}

// provide runs the provider of a service as Compose does (pkg/compose/plugins.go): first for
// its options, then with those of the file that are among them.
func (e *engine) provide(c composition, verb, service string) []string {
	e.t.Helper()
	p := c.Services[service].Provider
	r := e.Run(p.Type, "compose", "metadata")
	e.check(r.Err())
	var known map[string]json.RawMessage
	if err := json.Unmarshal([]byte(r.Stdout), &known); err != nil {
		e.t.Fatal(err, r)
	}
	var its struct {
		Parameters []struct {
			Name     string
			Required bool
		}
	}
	if err := json.Unmarshal(known[verb], &its); err != nil {
		e.t.Fatal(err, r)
	}
	if _, is := known["stop"]; is {
		e.t.Error("Compose would run it when containers stop")
	}
	args := []string{"compose", "--project-name=" + c.Name, verb}
	for _, o := range its.Parameters {
		values := p.Options[o.Name]
		if o.Required && values == nil {
			e.t.Fatalf("required parameter %q is missing", o.Name)
		}
		for _, value := range values {
			args = append(args, fmt.Sprintf("--%s=%s", o.Name, value))
		}
	}
	r = e.Run(p.Type, append(args, service)...)
	var said []string
	for d := json.NewDecoder(strings.NewReader(r.Stdout)); d.More(); {
		var m struct{ Type, Message string }
		if err := d.Decode(&m); err != nil {
			e.t.Fatal(err, r)
		}
		if m.Type != "info" {
			e.t.Fatalf("Compose ends here: %s: %s", m.Type, m.Message)
		}
		said = append(said, m.Message)
	}
	e.check(r.Err())
	return said
}

// intents is where the lines of services are recorded.
const intents = "/var/lib/gopipework/compose/"

// watches runs gopipework watch until the test ends.
func (m *machine) watches() *background {
	m.t.Helper()
	b := m.begin(m.Command(context.Background(), "gopipework", "watch"))
	m.t.Cleanup(func() {
		if m.t.Failed() {
			m.t.Logf("watch: %s", b.stderr.String())
		}
	})
	return b
}

// ends ends it, as its unit does.
func (b *background) ends(t *testing.T) {
	t.Helper()
	if err := b.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	b.end(t)
}

// becomes waits until exactly these attachments are there: each GUEST IFNAME ADDRESS ORIGIN.
func (m *machine) becomes(want ...string) {
	m.t.Helper()
	var have []string
	slices.Sort(want)
	if !host.Poll(host.Patience, func() bool {
		have = nil
		for _, a := range m.list() {
			if a.State == "complete" {
				have = append(have, fmt.Sprintf("%s %s %s %s", a.Guest.Name, a.Interface.Name, strings.Join(a.Interface.Addresses, ","), a.Origin))
			}
		}
		slices.Sort(have)
		return slices.Equal(have, want)
	}) {
		m.t.Fatalf("attached are %q, want %q", have, want)
	}
}

// networks are the attachments of the two examples.
func networks(origin string) (all []string) {
	for _, a := range []string{"web-1 eth1 192.168.1.2/24", "db-1 eth1 192.168.1.3/24", "db-1 eth2 10.9.0.3/24", "backup-1 eth2 10.9.0.4/24"} {
		all = append(all, "shop-"+a+" "+origin)
	}
	return all
}

// plays takes an example twice up and down. The first time it calls then, and restarts a
// container. The attachments have that origin. Nothing is left after down.
func (e *engine) plays(c composition, origin string, then func()) {
	e.t.Helper()
	before, err := host.Settle(e.State)
	e.check(err)
	for round := range 2 {
		e.compose(c, "up")
		e.becomes(networks(origin)...)
		e.reaches(e.guestOf("shop-web-1"), "192.168.1.3")
		e.reaches(e.guestOf("shop-backup-1"), "10.9.0.3")
		if round == 0 {
			then()
			e.docker("restart", "-t", "0", "shop-db-1")
			e.becomes(networks(origin)...)
		}
		e.compose(c, "down")
		e.becomes()
		host.Poll(host.Patience, func() bool { // watch cleans up in its own time
			there := e.links(e)
			return there["brtest"].Name == "" && there["brback"].Name == ""
		})
		e.same("the host after down", before, e.State)
	}
}

// TestComposeProvider: three services of a Compose file are on two networks after up, however
// often it is run, and nothing is left after down.
func TestComposeProvider(t *testing.T) {
	e := composing(t)
	w := e.watches()
	c := composeFile(t, "compose-provider.yaml")
	e.plays(c, "compose:shop/lan", func() {
		inode := e.sh("stat -c %i " + intents + "shop.lan.yaml")
		e.compose(c, "up")
		e.says("the lines recorded again", e.sh("stat -c %i "+intents+"shop.lan.yaml"), inode)
	})
	e.keepsNothing()
	w.ends(t)
}

// TestComposeLabels: the same by labels, which the policy of the examples allows.
func TestComposeLabels(t *testing.T) {
	e := composing(t)
	policy, err := os.ReadFile(exampleFile(t, "policy.yaml"))
	e.check(err)
	w := e.watchesLabels(string(policy))
	e.plays(composeFile(t, "compose-labels.yaml"), "label", func() {})
	w.refuses()
	w.watch.ends(t)
}

// said are the messages that Compose gets, each TYPE MESSAGE.
func said(t *testing.T, r host.Result) (all []string) {
	t.Helper()
	for line := range strings.Lines(r.Stdout) {
		var m struct{ Type, Message string }
		if err := json.Unmarshal([]byte(line), &m); err != nil {
			t.Fatal(err, r)
		}
		all = append(all, m.Type+" "+m.Message)
	}
	return all
}

// TestComposeRecords: what Compose asks for is recorded once, or refused without a trace, and
// watch follows it.
func TestComposeRecords(t *testing.T) {
	m := keeping(t)
	m.sh("chmod 755 /var/lib")
	up := func(service string, lines ...string) host.Result {
		args := []string{"compose", "--project-name=shop", "up"}
		for _, l := range lines {
			args = append(args, "--line="+l)
		}
		return m.Run("gopipework", append(args, service)...)
	}
	refused := func(code int, message string, r host.Result) {
		t.Helper()
		all := said(t, r)
		if r.Code != code || len(all) != 1 || !strings.HasPrefix(all[0], "error ") || !strings.Contains(all[0], message) {
			t.Errorf("want %q and exit code %d: %v", message, code, r)
		}
	}
	const blue, file = "brtest netns:blue 192.168.1.2/24", intents + "shop.lan.yaml"
	refused(2, "is no IP address\nhint: 192.168.1.2/24", up("lan", blue, "brtest web 192.168.1.999/24"))
	refused(1, "gives compose:shop/web one of that name already", up("lan", "brtest web 192.168.1.3/24", "brtest web 192.168.1.4/24"))
	refused(2, "it says how a command is run", up("lan", blue+" --keep"))
	refused(2, "a line is what follows gopipework", up("lan", "gopipework "+blue))
	refused(2, "no number of a container", up("lan", "brtest web/x 192.168.1.2/24"))
	refused(2, "not a name", up("lan", "brtest netns:../x 192.168.1.2/24"))
	refused(2, "the service asks for nothing", up("lan"))
	refused(2, "no name of a service", up("a/b", blue))
	refused(2, "longer than 62 bytes together", up(strings.Repeat("s", 59), blue))
	refused(2, "has no such flag", m.Run("gopipework", "compose", "--project-name=shop", "up", "--lien=x", "lan"))
	refused(2, "up, down or metadata", m.Run("gopipework", "compose", "--project-name=shop", "start", "lan"))
	refused(2, "no name of a project", m.Run("gopipework", "compose", "--project-name=../..", "up", "--line="+blue, "lan"))
	refused(4, "sudo docker compose", m.Run("setpriv", "--reuid=65534", "--clear-groups", "gopipework", "compose", "--project-name=shop", "up", "--line="+blue, "lan"))
	m.keepsNothing()

	r := up("lan", blue)
	if got := said(t, r); r.Code != 0 || len(got) != 1 || got[0] != "info 1 line is recorded, but gopipework watch does not run: systemctl enable --now gopipework, or gopipework watch" {
		t.Error(r)
	}
	m.says("the file", m.sh("stat -c %a:%u /var/lib/gopipework/compose "+file+"; cat "+file), "700:0\n600:0\n", "attachments:\n  - "+blue+"\n")
	if n := len(m.list()); n != 0 {
		t.Errorf("%d are attached before any container runs", n)
	}
	refused(1, "service lan of this project asks for eth1 of netns:blue\nhint: name another interface with -i; if there is no such service any more: gopipework compose --project-name shop down lan",
		up("net", "brtest netns:blue 192.168.1.9/24"))

	w := m.watches()
	m.becomes("blue eth1 192.168.1.2/24 compose:shop/lan")
	if r := up("net", "brtest -i eth2 netns:blue 192.168.2.2/24", "brtest netns:green 192.168.2.3/24 --mtu 1400"); r.Code != 0 {
		t.Error(r)
	}
	m.becomes("blue eth1 192.168.1.2/24 compose:shop/lan", "blue eth2 192.168.2.2/24 compose:shop/net")
	if r := up("lan", "brtest netns:blue 192.168.1.7/24"); r.Code != 0 { // another address
		t.Error(r)
	}
	m.becomes("blue eth1 192.168.1.7/24 compose:shop/lan", "blue eth2 192.168.2.2/24 compose:shop/net")
	down := func(words ...string) {
		t.Helper()
		if r := m.ok(append([]string{"compose", "--project-name=shop", "down"}, words...)...); r.Stdout != "" {
			t.Error(r)
		}
	}
	// One that cannot be read is left as it is, and holds up no other.
	m.sh("cp " + intents + "shop.net.yaml /var/lib/net; echo attachments: 7 > " + intents + "shop.net.yaml; touch " + intents + "README.yaml")
	down("lan")
	down("lan")
	m.becomes("blue eth2 192.168.2.2/24 compose:shop/net")
	m.sh("mv /var/lib/net " + intents + "shop.net.yaml; rm " + intents + "README.yaml")
	if r := up("net", "brtest -i eth3 netns:blue 192.168.2.3/24"); r.Code != 0 { // instead of eth2
		t.Error(r)
	}
	m.becomes("blue eth3 192.168.2.3/24 compose:shop/net")

	// What is dropped while nobody watches is detached by the next that does. What others
	// asked for stays.
	m.ok("brother", "netns:blue", "-i", "eth5", "192.168.5.2/24")
	w.ends(t)
	m.says("watch", w.stderr.String(), "the service no longer asks for it")
	if got := said(t, m.ok("compose", "--project-name=shop", "down")); len(got) != 1 || !strings.Contains(got[0], "stays until it does") {
		t.Errorf("it said %q", got)
	}
	m.keepsNothing()
	m.becomes("blue eth3 192.168.2.3/24 compose:shop/net", "blue eth5 192.168.5.2/24 line")
	w = m.watches()
	m.becomes("blue eth5 192.168.5.2/24 line")
	w.ends(t)
	m.ok("detach", "--all", "blue")
	m.sh("ip netns del blue")
	m.ok("gc")
}

// TestComposeKilled: at whatever call on the files a run is killed, there are the old lines or
// the new ones, and the same command again does the rest.
func TestComposeKilled(t *testing.T) {
	m := keeping(t)
	const file = intents + "shop.lan.yaml"
	command := func(words ...string) []string { return append([]string{"compose", "--project-name=shop"}, words...) }
	up := command("up", "--line=brtest web 192.168.1.2/24", "lan")
	other := command("up", "--line=brtest web 192.168.1.3/24", "lan")
	down := command("down", "lan")
	text := func() string { return m.sh("[ ! -e " + file + " ] || tail -n 1 " + file) }
	first, second := "  - brtest compose:shop/web 192.168.1.2/24\n", "  - brtest compose:shop/web 192.168.1.3/24\n"
	for _, test := range []struct {
		name        string
		before      []string
		run         []string
		old, wanted string
	}{
		{"the first up", down, up, "", first},
		{"up with other lines", up, other, first, second},
		{"down", up, down, first, ""},
	} {
		step := func(b host.Blow) host.Stepped {
			s, err := host.Step(m.Command(context.Background(), "gopipework", test.run...), b)
			m.check(err)
			return s
		}
		prepare := func() {
			m.ok(test.before...)
			if is := text(); is != test.old {
				t.Fatalf("%s begins with %q", test.name, is)
			}
		}
		prepare()
		struck := 0
		for at, call := range step(host.Blow{}).Calls {
			word, path, _ := strings.Cut(call, " ")
			if word == "exec" || word == "fork" || path != "" && !strings.HasPrefix(path, "/var/lib/gopipework") {
				continue
			}
			for _, b := range []host.Blow{{At: at + 1, Signal: syscall.SIGKILL}, {At: at + 1, After: true, Signal: syscall.SIGKILL}} {
				struck++
				prepare()
				s := step(b)
				if is := text(); is != test.old && is != test.wanted {
					t.Errorf("%s, %s (%+v): the file says %q", test.name, call, b, is)
				}
				if s.Code == 0 && !b.After {
					t.Errorf("%s, %s: it survives", test.name, call)
				}
				m.ok(test.run...)
				if is := text(); is != test.wanted {
					t.Errorf("%s, %s (%+v), again: the file says %q", test.name, call, b, is)
				}
			}
		}
		if struck < 10 {
			t.Errorf("%s: struck %d times", test.name, struck)
		}
		t.Logf("%s: %d blows", test.name, struck)
	}
	m.ok(down...)
	m.keepsNothing()
	m.sh("ip netns del blue")
}

// TestComposeAwait: a line that waits for a service attaches its container, and no other, when
// that starts; among several containers, it has to say which.
func TestComposeAwait(t *testing.T) {
	e := withDocker(t)
	run := func(project, service, number string) {
		e.container(project+"_"+service+"_"+number, "--network", "none", "--label", "com.docker.compose.project="+project,
			"--label", "com.docker.compose.service="+service, "--label", "com.docker.compose.container-number="+number)
	}
	line := []string{"--json", "brtest", "compose:shop/web", "192.168.1.2/24", "--await", "60s"}
	b := e.awaits(line...)
	run("other", "web", "1")
	run("shop", "db", "1")
	run("shop", "web", "1")
	if got := b.done(t).Attachment.Guest; got.Name != "shop_web_1" || got.Runtime != "docker" {
		t.Errorf("attached: %+v", got)
	}
	run("shop", "web", "2")
	if f := e.fails("conflict", "list", "compose:shop/web"); f.Error.Hint != "write compose:shop/web/1 or compose:shop/web/2" {
		t.Errorf("hint %q", f.Error.Hint)
	}
	e.ok("detach", "compose:shop/web/1")
	if left := e.list(); len(left) != 0 {
		t.Errorf("left: %+v", left)
	}
}
