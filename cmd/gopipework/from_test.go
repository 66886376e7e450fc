package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gopipework/gopipework/internal/convert"
	"github.com/gopipework/gopipework/internal/topology"
)

// fromFormats are the formats of the files in testdata/from, by their endings.
var fromFormats = map[string]string{".clab.yml": "containerlab", ".compose.yml": "compose", ".conflist": "cni", ".yml": "cni"}

func formatOf(path string) string {
	for _, ending := range []string{".clab.yml", ".compose.yml", ".conflist", ".yml"} {
		if strings.HasSuffix(path, ending) {
			return fromFormats[ending]
		}
	}
	return ""
}

// TestFrom: files of other programs become the topology files beside them, with a warning
// for what has no counterpart; and these are read as what was written.
func TestFrom(t *testing.T) {
	paths, err := filepath.Glob("testdata/from/*")
	if err != nil || len(paths) == 0 {
		t.Fatal(paths, err)
	}
	for _, path := range paths {
		if strings.HasSuffix(path, ".want") {
			continue
		}
		var out, stderr bytes.Buffer
		if code := run([]string{"apply", "--from", formatOf(path), path}, &out, &stderr); code != 0 {
			t.Errorf("%s: exit code %d, %s", path, code, stderr.String())
		}
		f, err := topology.Parse("lab.yaml", out.Bytes(), grammar())
		if err != nil {
			t.Errorf("%s: what comes out is no file of ours: %v\n%s", path, err, out.String())
		}
		if n := strings.Count(out.String(), "\n  - "); n != len(f.Entries) {
			t.Errorf("%s: %d entries written, %d read", path, n, len(f.Entries))
		}
		got := out.String() + "\n" + strings.ReplaceAll(stderr.String(), "gopipework: ", "")
		want, err := os.ReadFile(path + ".want")
		if err != nil || string(want) != got {
			if os.Getenv("GOPIPEWORK_GOLDEN") != "" {
				if err := os.WriteFile(path+".want", []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				continue
			}
			t.Errorf("%s: got\n%s\nwant\n%s", path, got, want)
		}
	}
}

// TestFromRefuses: what is no file of the format is refused with its place, and an unknown
// format with those that there are.
func TestFromRefuses(t *testing.T) {
	for _, test := range []struct{ format, text, want string }{
		{"containerlab", "a: [", "in.yml:1:"},
		{"containerlab", "a: b\n", `in.yml:1:1: read a lab: it has no key "topology"`},
		{"containerlab", "- a\n", `it has no key "topology"`},
		{"cni", `{"name": "x"}`, `it has neither "type" nor "plugins"`},
		{"compose", "name: x\n", `it has no key "services"`},
		{"compose", "", "it is empty"},
		{"compose", "a: \x01", "control character"},
		{"cni", "kind: NetworkAttachmentDefinition\nspec:\n  config: '{'\n", "in.yml:3:11: read config: it is no JSON"},
		{"clab", "", "the formats are containerlab, cni, compose"},
		{"compos", "", "--from compose; "},
	} {
		path := filepath.Join(t.TempDir(), "in.yml")
		if err := os.WriteFile(path, []byte(test.text), 0o644); err != nil {
			t.Fatal(err)
		}
		var out, stderr bytes.Buffer
		if code := run([]string{"apply", "--from", test.format, path}, &out, &stderr); code == 0 || out.Len() > 0 || !strings.Contains(stderr.String(), test.want) {
			t.Errorf("%s of %q: exit code %d, %q, %s; want %s", test.format, test.text, code, out.String(), stderr.String(), test.want)
		}
	}
	for _, line := range [][]string{{"apply", "--from", "cni"}, {"apply", "--from", "cni", "a", "b"}, {"apply", "--from", "cni", "--prune", "a"}, {"apply", "--from", "cni", "--json", "a"}} {
		var out, stderr bytes.Buffer
		if code := run(line, &out, &stderr); code != 2 {
			t.Errorf("%q: exit code %d, %s", line, code, stderr.String())
		}
	}
	// Little that stands for much is bounded.
	bomb := "services:\n  a: &a\n    labels: &l\n"
	for i := range 200 {
		bomb += "      gopipework.e" + strings.Repeat("x", i%9) + string(rune('a'+i%26)) + ": dummy 0/0\n"
	}
	for i := range 10_000 {
		bomb += fmt.Sprintf("  s%d: *a\n", i)
	}
	if _, _, err := convert.Draft("compose", "bomb", []byte(bomb), grammar()); err == nil || !strings.Contains(err.Error(), "it asks for more than 10000 attachments") {
		t.Error(err)
	}
}

// FuzzFrom: whatever the file, what comes out is read by us, and nothing panics.
func FuzzFrom(f *testing.F) {
	paths, _ := filepath.Glob("testdata/from/*")
	for _, path := range paths {
		if text, err := os.ReadFile(path); err == nil && formatOf(path) != "" {
			f.Add(formatOf(path), text)
		}
	}
	f.Fuzz(func(t *testing.T, format string, text []byte) {
		d, _, err := convert.Draft(format, "in.yml", text, grammar())
		if err != nil {
			return
		}
		if _, err := topology.Parse("lab.yaml", d.Text(), grammar()); err != nil {
			t.Errorf("%s: %v\nof %q\ngave\n%s", format, err, text, d.Text())
		}
	})
}
