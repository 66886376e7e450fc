package main

import (
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestLibraries compares the README's table of libraries with go.mod.
func TestLibraries(t *testing.T) {
	required := directRequirements(t)
	listed := firstColumn(t, "### Libraries")
	for _, module := range slices.Sorted(maps.Keys(required)) {
		if !listed[module] {
			t.Errorf("go.mod requires %s, and README.md does not say why", module)
		}
	}
	for _, module := range slices.Sorted(maps.Keys(listed)) {
		if !required[module] {
			t.Errorf("README.md lists %s, and go.mod does not require it directly", module)
		}
	}
	if len(required) == 0 {
		t.Error("found no requirement in go.mod")
	}
}

// directRequirements returns the modules that go.mod requires for our own code.
func directRequirements(t *testing.T) map[string]bool {
	t.Helper()
	modules := map[string]bool{}
	inside := false
	for line := range strings.Lines(readFile(t, "go.mod")) {
		line = strings.TrimSpace(line)
		switch {
		case line == "require (":
			inside = true
			continue
		case line == ")":
			inside = false
			continue
		case strings.HasPrefix(line, "require "):
			line = strings.TrimPrefix(line, "require ")
		case !inside:
			continue
		}
		if module, rest, ok := strings.Cut(line, " "); ok && !strings.HasSuffix(rest, "// indirect") {
			modules[module] = true
		}
	}
	return modules
}

// firstColumn returns what stands between backquotes in the first column of the table
// below a heading of the README.
func firstColumn(t *testing.T, heading string) map[string]bool {
	t.Helper()
	_, section, found := strings.Cut(readFile(t, "README.md"), heading+"\n")
	if !found {
		t.Fatalf("README.md has no section %q", heading)
	}
	section, _, _ = strings.Cut(section, "\n#")
	words := map[string]bool{}
	for _, m := range regexp.MustCompile("(?m)^\\| `([^`]+)` \\|").FindAllStringSubmatch(section, -1) {
		words[m[1]] = true
	}
	return words
}

// readFile reads a file of the repository's top folder.
func readFile(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
