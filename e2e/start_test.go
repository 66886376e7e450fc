//go:build linux

package e2e

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/gopipework/gopipework/e2e/host"
	"github.com/gopipework/gopipework/e2e/program"
)

// TestStart: what runs before main costs every run. This holds what that is more
// than in a program with the Docker client alone, in things that can be counted;
// the bench has the time. A table, a map or an expression that not every run needs
// is made when it is used (sync.OnceValue). Of the bytes 26000 are two expressions of the
// YAML library's, whose time is too short to be measured. Five of the packages are CNI's.
func TestStart(t *testing.T) {
	dir := t.TempDir()
	client, err := host.BuildPackage(dir, "client", "./e2e/bench/start/client")
	if err != nil {
		t.Fatal(err)
	}
	least := initialisers(t, client)
	all := initialisers(t, bin+"/gopipework", "version")
	packages, bytes, own := 0, 0, 0
	for pkg, n := range all {
		bytes += n
		if pkg == "main" || strings.HasPrefix(pkg, "github.com/gopipework/") {
			own += n // however many packages they are in
		} else if _, shared := least[pkg]; !shared {
			packages++
		}
	}
	for _, n := range least {
		bytes -= n
	}
	for _, most := range []struct {
		what       string
		have, most int
	}{
		{"packages of others with initialisers", packages, 27},
		{"bytes that they allocate", bytes, 86000},
		{"bytes that our own packages allocate", own, 18000},
	} {
		if most.have > most.most {
			t.Errorf("%s, above the Docker client's: %d, at most %d", most.what, most.have, most.most)
		}
	}
	if t.Failed() {
		t.Log(all)
	}
}

var initialised = regexp.MustCompile(`(?m)^init (\S+) @.* (\d+) bytes, \d+ allocs$`)

// initialisers runs a program and returns the packages that had work to do before
// main, with the bytes that each allocated.
func initialisers(t *testing.T, path string, args ...string) map[string]int {
	t.Helper()
	cmd := program.Command(path, args...)
	cmd.Env = append(program.Env(), "GODEBUG=inittrace=1")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatal(fmt.Errorf("%s: %w: %s", path, err, out))
	}
	all := map[string]int{}
	for _, m := range initialised.FindAllStringSubmatch(string(out), -1) {
		all[m[1]], _ = strconv.Atoi(m[2])
	}
	if len(all) < 20 {
		t.Fatalf("%s: the Go runtime lists %d packages: %s", path, len(all), out)
	}
	return all
}
