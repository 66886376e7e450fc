//go:build linux

package e2e

import (
	"os"
	"path/filepath"
	"testing"
)

// exampleTests are the files of examples/, and the test that runs each.
var exampleTests = map[string]func(*testing.T){
	"gopipework.service":    TestUnit,
	"topology.yaml":         TestExampleTopology,
	"compose-provider.yaml": TestComposeProvider,
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
