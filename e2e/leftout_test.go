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

// What ran on no kernel fails make test, unless the list says why it may.
func TestLeftOut(t *testing.T) {
	for _, tt := range []struct {
		name, skipped, ran, list string
		fails                    bool
		says                     string
	}{
		{name: "nothing was skipped"},
		{name: "it ran nowhere", skipped: "attach\tTestKinds/vlan\tno 8021q\n", fails: true, says: "attach TestKinds/vlan: no 8021q"},
		{name: "it ran there", skipped: "attach\tTestKinds/vlan\tno 8021q\n", ran: "attach\tTestKinds/vlan\n"},
		{name: "another ran there", skipped: "attach\tTestKinds/vlan\tno 8021q\n", ran: "attach\tTestKinds\nbridge\tTestKinds/vlan\n", fails: true, says: "attach TestKinds/vlan"},
		{name: "the list allows it", skipped: "attach\tTestX\tno Y\n", list: "# why\n\nattach  TestX  Y is dear\n", says: "attach TestX: Y is dear"},
		{name: "the list allows another", skipped: "attach\tTestX/one\tno Y\n", list: "attach  TestX  Y is dear\nbridge TestX/one Y\n", fails: true, says: "attach TestX/one: no Y"},
		{name: "one of two", skipped: "attach\tTestX\tno Y\nbridge\tTestZ\tno Z\n", list: "attach  TestX  Y is dear\n", fails: true, says: "bridge TestZ: no Z"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			skipped, list := filepath.Join(t.TempDir(), "skipped"), filepath.Join(t.TempDir(), "list")
			for path, text := range map[string]string{skipped: tt.skipped, skipped + ".ran": tt.ran, list: tt.list} {
				if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			out, err := program.Command("bash", "leftout.sh", skipped, list).CombinedOutput()
			if (err != nil) != tt.fails || !strings.Contains(string(out), tt.says) {
				t.Errorf("%v, fails should be %v, says\n%s", err, tt.fails, out)
			}
		})
	}
}

// A test is skipped through the one door that tells leftout.sh of it.
func TestLeftOutIsTold(t *testing.T) {
	skip := regexp.MustCompile(`\.(Skip|Skipf|SkipNow)\(`)
	tests := map[string]bool{}
	err := filepath.WalkDir("..", func(path string, d os.DirEntry, err error) error {
		if d != nil && d.IsDir() && d.Name() == ".git" {
			return filepath.SkipDir // a program of Git's may be at work there
		}
		if err != nil || !strings.HasSuffix(path, ".go") {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, m := range regexp.MustCompile(`(?m)^func (Test\w+)\(`).FindAllStringSubmatch(string(text), -1) {
			tests[filepath.Base(filepath.Dir(path))+" "+m[1]] = true
		}
		if path == filepath.FromSlash("../e2e/host/need.go") || path == filepath.FromSlash("../attach/bench_test.go") {
			return nil // the door, and a benchmark, which make test does not run
		}
		if skip.Match(text) {
			t.Errorf("%s skips a test by itself: call host.Lacking", path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	list, err := os.ReadFile("leftout.txt")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(list)) {
		if f := strings.Fields(line); len(f) > 0 && f[0] != "#" {
			name, _, _ := strings.Cut(f[1], "/")
			if !tests[f[0]+" "+name] || len(f) < 3 {
				t.Errorf("leftout.txt: %q names no test, or no reason", line)
			}
		}
	}
}
