//go:build linux

package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gopipework/gopipework/e2e/host"
	"github.com/gopipework/gopipework/e2e/program"
)

// exampleTests are the files of examples/, and the test that runs each.
var exampleTests = map[string]func(*testing.T){
	"gopipework.service":    TestUnit,
	"gopipework.openrc":     TestOpenRC,
	"topology.yaml":         TestExampleTopology,
	"policy.yaml":           TestExamplePolicy,
	"uplink.yaml":           TestExampleUplink,
	"cni-pods.conflist":     TestPods,
	"compose-labels.yaml":   TestComposeLabels,
	"cni.conflist":          TestExampleCNI,
	"compose-provider.yaml": TestComposeProvider,
	"daemon.json":           TestHookDocker,
	"oci-hook.json":         TestHookPodman,
	"swarm.yaml":            TestSwarm,
	"swarm-policy.yaml":     TestSwarm,
	"swarm-bridges.yaml":    TestSwarm,
	"compose-watch.yaml":    TestManifests,
	"daemonset.yaml":        TestManifests,
	"gopipework.nomad.hcl":  TestManifests,
}

// TestExamples: there is no example that no test runs.
func TestExamples(t *testing.T) {
	files, err := os.ReadDir("../examples")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if exampleTests[f.Name()] == nil {
			t.Errorf("no test runs examples/%s", f.Name())
		}
		delete(exampleTests, f.Name())
	}
	for name := range exampleTests {
		t.Errorf("there is no examples/%s", name)
	}
}

// exampleFile is the path of an example, from wherever.
func exampleFile(t *testing.T, name string) string {
	t.Helper()
	path, err := filepath.Abs("../examples/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// TestExampleTopology: the topology file does what it says.
func TestExampleTopology(t *testing.T) {
	m := newMachine(t)
	web, db := m.named("web"), m.named("db")
	file := exampleFile(t, "topology.yaml")
	m.ok("apply", "-f", file)
	m.ok("diff", "-f", file)
	m.reaches(web, "192.168.1.3")
	m.reaches(db, "10.8.0.1")
	m.says("the bridge", m.sh("ip link show brtest"), "mtu 1400")
	m.ok("destroy", "-f", file)
	if left := m.list(); len(left) != 0 {
		t.Errorf("left: %+v", left)
	}
}

// TestExamplePolicy: the policy allows all that the Compose file with labels asks for, and no
// address elsewhere, no gateway, and no other guest.
func TestExamplePolicy(t *testing.T) {
	m := newMachine(t)
	text, err := os.ReadFile(exampleFile(t, "policy.yaml"))
	m.check(err)
	policy := filepath.Join(t.TempDir(), "policy.yaml") // in a directory of root's
	m.check(os.WriteFile(policy, text, 0o600))
	m.ok("policy", "check", "--policy", policy)
	m.ok("policy", "check", "--policy", policy, "pod:shop/web-1", "brtest 192.168.1.2/24")
	lines := 0
	for name, s := range composeFile(t, "compose-labels.yaml").Services {
		for _, line := range s.Labels {
			m.ok("policy", "check", "--policy", policy, "compose:shop/"+name, line)
			lines++
		}
	}
	if lines != 4 {
		t.Errorf("the example has %d labels", lines)
	}
	for _, refused := range [][2]string{
		{"compose:shop/web", "brtest 192.168.2.2/24"}, {"compose:shop/web", "brtest 192.168.1.2/24@192.168.1.1"},
		{"compose:other/web", "brtest 192.168.1.2/24"}, {"pod:other/web-1", "brtest 192.168.1.2/24"}, {"web", "brtest 192.168.1.2/24"}, {"compose:shop/web", "eth0 192.168.1.2/24"},
	} {
		if r := m.gopipework("policy", "check", "--policy", policy, refused[0], refused[1]); r.Code != 1 || !strings.Contains(r.Stderr, "refused: ") {
			t.Errorf("%q: %v", refused, r)
		}
	}
}

// TestManifests: the examples for orchestrators that no test runs are read without an error
// as those read them.
func TestManifests(t *testing.T) {
	t.Parallel()
	read, err := host.BuildManifests(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for name, by := range map[string]string{"compose-watch.yaml": "compose", "daemonset.yaml": "kubernetes", "gopipework.nomad.hcl": "nomad"} {
		cmd := program.Command(read, by, exampleFile(t, name))
		cmd.Env = append(os.Environ(), "GOPIPEWORK_IMAGE=gopipework:devel")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%v: %s", err, out)
		}
	}
}
