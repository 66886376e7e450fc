//go:build linux

package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/gopipework/gopipework/e2e/host"
)

// labelWatch is a watch that follows labels, with a policy of its own.
type labelWatch struct {
	*engine
	policy, log string
	watch       *background
}

// watchesLabels runs it until the test ends.
func (e *engine) watchesLabels(policy string) *labelWatch {
	e.t.Helper()
	dir := e.t.(*testing.T).TempDir()
	w := &labelWatch{engine: e, policy: filepath.Join(dir, "policy.yaml"), log: filepath.Join(dir, "log")}
	w.allows(policy)
	w.watch = e.begin(e.Command(context.Background(), "sh", "-ec", "exec gopipework watch --labels --policy "+w.policy+" 2>"+w.log))
	e.t.Cleanup(func() {
		if e.t.Failed() {
			text, _ := os.ReadFile(w.log)
			e.t.Logf("watch: %s", text)
		}
	})
	return w
}

// allows writes the policy, as an editor does.
func (w *labelWatch) allows(policy string) {
	w.t.Helper()
	w.check(os.WriteFile(w.policy+"~", []byte(policy), 0o644))
	w.check(os.Rename(w.policy+"~", w.policy))
}

// told returns the lines of the log of one kind: each GUEST INTERFACE REASON.
func (w *labelWatch) told(kind string) (all []string) {
	w.t.Helper()
	text, err := os.ReadFile(w.log)
	w.check(err)
	for line := range bytes.Lines(text) {
		if len(line) > 4096 {
			w.t.Errorf("a line of the log has %d bytes", len(line))
		}
		var l struct{ Msg, Guest, Interface, Reason string }
		if json.Unmarshal(line, &l) == nil && l.Msg == kind {
			all = append(all, fmt.Sprintf("%s %s %s", l.Guest, l.Interface, l.Reason))
		}
	}
	return all
}

// refuses waits until these and no other refusals have been told, in any order, each by the
// beginning of GUEST INTERFACE REASON.
func (w *labelWatch) refuses(want ...string) {
	w.t.Helper()
	var have []string
	if !host.Poll(host.Patience, func() bool { have = w.told("refused"); return len(have) >= len(want) }) || len(have) != len(want) {
		w.t.Fatalf("refused are %q, want %q", have, want)
	}
	for _, begin := range want {
		if !slices.ContainsFunc(have, func(one string) bool { return strings.HasPrefix(one, begin) }) {
			w.t.Errorf("refused are %q, want %q", have, begin)
		}
	}
}

// labels runs a container whose labels are too much for a command line.
func (e *engine) labels(name string, labels map[string]string) {
	e.t.Helper()
	c := http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", e.daemon.Socket)
	}}}
	defer c.CloseIdleConnections()
	body, err := json.Marshal(map[string]any{"Image": host.Image, "Cmd": []string{"sleep", "86400"}, "Labels": labels, "HostConfig": map[string]any{"NetworkMode": "none"}})
	e.check(err)
	r, err := c.Post("http://docker/containers/create?name="+name, "application/json", bytes.NewReader(body))
	e.check(err)
	r.Body.Close()
	if r.StatusCode != http.StatusCreated {
		e.t.Fatal(r.Status)
	}
	e.docker("start", name)
}

const labelPolicy = `allow:
  - guests: ["web-*", "compose:shop/*"]
    to: [brtest]
    addresses: [192.168.1.0/24]
    options: [mtu]
`

// TestLabels: what labels ask for is attached as far as the policy allows it, over restarts
// and under a new container; the rest is refused once, whatever is in it.
func TestLabels(t *testing.T) {
	e := withDocker(t)
	w := e.watchesLabels(labelPolicy)
	run := func(name string, args ...string) {
		t.Helper()
		e.container(name, append([]string{"--network", "none"}, args...)...)
	}
	run("web-1", "--label", "gopipework.eth1=brtest 192.168.1.2/24 --mtu 1400")
	run("web-2", "--label", "gopipework.eth1=brtest 10.9.9.9/24", "--label", "gopipework.lan0=brtest 192.168.1.3/24")
	run("db", "--label", "gopipework.eth1=brtest 192.168.1.4/24")
	run("plain")
	huge := strings.Repeat("brtest 192.168.1.9/24\x1b[2J\n", 1<<20/26)
	many := map[string]string{"gopipework.eth1": huge}
	e.labels("web-3", many)
	for i := range 1000 {
		many[fmt.Sprintf("gopipework.eth%d", i)] = "brtest 192.168.1.9/24"
	}
	e.labels("web-4", many)
	const one, three = "web-1 eth1 192.168.1.2/24 label", "web-2 lan0 192.168.1.3/24 label"
	e.becomes(one, three)
	e.reaches(e.guestOf("web-1"), "192.168.1.3")
	refused := []string{
		"docker:web-2 eth1 " + w.policy + ":2:5 does not allow it: the address 10.9.9.9/24 is in none of 192.168.1.0/24",
		"docker:db eth1 " + w.policy + " has no entry for \"db\"",
		"docker:web-3 eth1 read line: it has 1048",
		"docker:web-4  it has 1000 labels that begin with gopipework.",
	}
	w.refuses(refused...)
	if out := e.shows("refused: ", "is in none of 192.168.1.0/24"); strings.Count(out, "refused: ") != len(refused) {
		t.Errorf("what is refused is not listed:\n%s", out)
	}

	// After a restart all is as before, and nothing is refused again.
	e.docker("restart", "-t", "0", "web-1", "web-2", "web-3", "web-4", "db")
	e.becomes(one, three)

	// A new container under an old name has its own labels, and one that is gone has none.
	e.docker("rm", "-f", "web-1")
	run("web-1", "--label", "gopipework.lan1=brtest 192.168.1.5/24")
	e.becomes("web-1 lan1 192.168.1.5/24 label", three)
	e.docker("rm", "-f", "web-1")
	e.becomes(three)
	run("web-1", "--label", "gopipework.lan1=brtest 192.168.1.5/24")
	e.becomes("web-1 lan1 192.168.1.5/24 label", three)
	e.docker("kill", "web-1")
	e.shows("web-1", "it has exited")
	id := e.docker("rm", e.docker("inspect", "-f", "{{.Id}}", "web-1"))
	if !host.Poll(host.Patience, func() bool { return !strings.Contains(e.ok("list").Stdout, "web-1") }) {
		t.Errorf("what a container asked for that is gone is listed:\n%s", e.ok("list").Stdout)
	}
	for _, told := range w.told("pending") {
		if strings.Contains(told, id) && strings.Contains(told, "no such container") {
			t.Errorf("pending is %s", told)
		}
	}

	// An older container keeps its address.
	run("web-5", "--label", "gopipework.eth1=brtest 192.168.1.3/24")
	refused = append(refused, "docker:web-5 eth1 docker:web-2 has 192.168.1.3 on brtest already")
	w.refuses(refused...)
	e.docker("kill", "web-2")
	e.becomes("web-5 eth1 192.168.1.3/24 label")
	refused = append(refused, "docker:web-2 lan0 docker:web-5 has 192.168.1.3 on brtest already")
	w.refuses(refused...)
	e.docker("rm", "web-2")

	// A container of Compose; and an image that says that it is one.
	compose := []string{"--label", "com.docker.compose.project=shop", "--label", "com.docker.compose.service=front", "--label", "com.docker.compose.container-number=1"}
	run("shop-front-1", append(compose, "--label", "gopipework.eth1=brtest 192.168.1.6/24")...)
	e.becomes("web-5 eth1 192.168.1.3/24 label", "shop-front-1 eth1 192.168.1.6/24 label")
	var changes []string
	for i := 1; i < len(compose); i += 2 {
		changes = append(changes, "-c", "LABEL "+compose[i])
	}
	id = e.docker("create", host.Image, "sleep", "1")
	e.docker(slices.Concat([]string{"commit"}, changes, []string{"-c", "LABEL gopipework.eth1=\"brtest 192.168.1.7/24\"", id, "forged"})...)
	e.docker("rm", id)
	run("forged", "forged", "sleep", "86400")
	refused = append(refused, "docker:forged eth1 "+w.policy+" has no entry for \"forged\"")
	w.refuses(refused...)
	e.docker("rm", "-f", "forged")
	e.docker("rmi", "forged")

	// A policy that makes no sense changes nothing, what one no longer allows is detached.
	w.allows("allow: [web]\n")
	if !host.Poll(host.Patience, func() bool { return strings.Contains(strings.Join(w.told("source"), "\n"), ":1:9: read an entry") }) {
		t.Errorf("the policy that makes no sense: %q", w.told("source"))
	}
	e.becomes("web-5 eth1 192.168.1.3/24 label", "shop-front-1 eth1 192.168.1.6/24 label")
	w.allows(strings.Replace(labelPolicy, "web-*", "none-*", 1))
	e.becomes("shop-front-1 eth1 192.168.1.6/24 label")
	w.allows("")
	e.becomes()
	w.watch.ends(t)
}
