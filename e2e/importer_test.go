//go:build linux

package e2e

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/gopipework/gopipework/e2e/program"
)

// TestImporter: another module that imports attach and dockerutil does what the
// command does, with a container and between two namespaces, as e2e/importer has it.
func TestImporter(t *testing.T) {
	e := withDocker(t)
	importer, test := buildImporter(t)
	e.container("web", "--network", "none")
	check := e.unchanged(e.guestOf("web"))
	r := e.Run(importer, "web", "192.168.1.2/24")
	if want := "web eth1 [192.168.1.2/24] brtest\n"; r.Code != 0 || r.Stdout != want || r.Stderr != "" {
		t.Errorf("it prints not only %q:\n%v", want, r)
	}
	check("after attach and detach")
	if r := e.Run(test, "-test.v"); r.Code != 0 || !strings.Contains(r.Stdout, "--- PASS: TestLink") {
		t.Errorf("a test of two namespaces and a link:\n%v", r)
	}
	for _, tt := range []struct{ guest, address, says string }{
		{"nosuch", "192.168.1.2/24", "not_found: find guest"},
		{"web", "192.168.1.2", "192.168.1.2/24)"}, // the hint
		{"web", "dhcp", "set Options.Keeper"},
		{"web", "udhcpc", "set Options.Keeper"},
	} {
		if r := e.Run(importer, tt.guest, tt.address); r.Code != 1 || r.Stdout != "" || !strings.Contains(r.Stderr, tt.says) {
			t.Errorf("it does not say %q:\n%v", tt.says, r)
		}
	}
	check("after errors")
}

// TestImporterLease: the lease of what another module attaches is kept by the program
// that it names.
func TestImporterLease(t *testing.T) {
	m := newMachine(t)
	importer, _ := buildImporter(t)
	web := m.guest()
	check := m.unchanged(web)
	router := m.router("brtest")
	m.dnsmasq(router)
	m.Setenv("KEEPER", filepath.Join(bin, "gopipework"))
	r := m.Run(importer, web.Word, "dhcp")
	if r.Code != 0 || r.Stderr != "" || !strings.Contains(r.Stdout, "eth1 [10.9.0.") {
		t.Errorf("it prints no leased address:\n%v", r)
	}
	m.notKept()
	m.ok("detach", router.Word)
	check("after attach and detach with a lease")
}

// buildImporter builds the program of another module, and its tests.
func buildImporter(t *testing.T) (importer, tests string) {
	t.Helper()
	dir := t.TempDir()
	build := func(name string, args ...string) string {
		t.Helper()
		path := filepath.Join(dir, name)
		cmd := program.Command("go", append(args, "-o", path, ".")...)
		cmd.Dir = "importer"
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOPROXY=off", "GOFLAGS=-mod=readonly") // the versions are the same, and so are there
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("build the %s: %v\n%s", name, err, out)
		}
		return path
	}
	return build("importer", "build"), build("test", "test", "-c")
}

// TestDocsGo: each example in Go in docs/api.md is a part of the program in
// e2e/importer, which is run.
func TestDocsGo(t *testing.T) {
	page, err := os.ReadFile("../docs/api.md")
	if err != nil {
		t.Fatal(err)
	}
	var source string
	for _, file := range []string{"importer/main.go", "importer/link_test.go"} {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		source += string(b)
	}
	blocks := regexp.MustCompile("(?s)\n```go\n(.*?)```\n").FindAllStringSubmatch(string(page), -1)
	if len(blocks) == 0 {
		t.Error("there is none")
	}
	for _, b := range blocks {
		if !strings.Contains(source, b[1]) {
			t.Errorf("this is not in e2e/importer:\n%s", b[1])
		}
	}
}
