package main

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestLinks: each link in the README and in docs leads to a file, and to a heading of it.
func TestLinks(t *testing.T) {
	docs, err := filepath.Glob("../../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	link := regexp.MustCompile(`(?:\]\(|src="|srcset=")([^)"\s]+)`)
	for _, page := range append(docs, "../../README.md", "../../CHANGELOG.md") {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range link.FindAllStringSubmatch(string(text), -1) {
			if strings.HasPrefix(m[1], "https://") {
				continue
			}
			path, anchor, _ := strings.Cut(m[1], "#")
			to := page
			if path != "" {
				to = filepath.Join(filepath.Dir(page), path)
			}
			there, err := os.ReadFile(to)
			switch {
			case err != nil:
				t.Errorf("%s links to %s: %v", page, m[1], err)
			case anchor != "" && !slices.Contains(anchors(string(there)), anchor):
				t.Errorf("%s links to %s, and there is no such heading", page, m[1])
			}
		}
	}
}

// TestComparison: each cell of docs/comparison.md has its source: a test that there is, a page
// of ours, or a file of the other program at the version that the page names.
func TestComparison(t *testing.T) {
	text, err := os.ReadFile("../../docs/comparison.md")
	if err != nil {
		t.Fatal(err)
	}
	sources := map[string]bool{}
	fixed := regexp.MustCompile(`^https://github\.com/[^/]+/[^/]+/(blob|tree)/([0-9a-f]{40}|(docker-)?v[0-9.]+)/`)
	for _, m := range regexp.MustCompile(`(?m)^\[([\w-]+)\]: (.*)$`).FindAllStringSubmatch(string(text), -1) {
		sources[m[1]] = false
		if !fixed.MatchString(m[2]) {
			t.Errorf("%s is not a file of a fixed version", m[2])
		}
	}
	tests := testNames(t)
	link, test := regexp.MustCompile(`\]\[([\w-]+)\]`), regexp.MustCompile("`(Test\\w+)`")
	rows := 0
	for line := range strings.Lines(string(text)) {
		for _, m := range link.FindAllStringSubmatch(line, -1) {
			if _, is := sources[m[1]]; !is {
				t.Errorf("there is no link [%s]", m[1])
			}
			sources[m[1]] = true
		}
		for _, m := range test.FindAllStringSubmatch(line, -1) {
			if !tests[m[1]] {
				t.Errorf("there is no %s", m[1])
			}
		}
		const tools = 6
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		if !strings.HasPrefix(line, "| ") || len(cells) != 1+tools || strings.Contains(line, "| gopipework |") {
			continue
		}
		rows++
		for _, cell := range cells[1:] {
			if !link.MatchString(cell) && !test.MatchString(cell) && !strings.Contains(cell, ".md") {
				t.Errorf("no source for %q of %q", cell, cells[0])
			}
		}
	}
	if rows < 30 {
		t.Errorf("%d rows are read", rows)
	}
	for name, used := range sources {
		if !used {
			t.Errorf("nothing links to [%s]", name)
		}
	}
}

// testNames are the names of all tests of the repository.
func testNames(t *testing.T) map[string]bool {
	t.Helper()
	names := map[string]bool{}
	declared := regexp.MustCompile(`(?m)^func (Test\w+)\(`)
	for _, pattern := range []string{"../../*/*_test.go", "../../*/*/*_test.go"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range declared.FindAllStringSubmatch(string(text), -1) {
				names[m[1]] = true
			}
		}
	}
	return names
}

// anchors are those of the headings of a text, as hosts of Markdown make them.
func anchors(text string) (all []string) {
	fenced := false
	drop := regexp.MustCompile(`[^\w\- ]`)
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "```") {
			fenced = !fenced
		}
		title, is := strings.CutPrefix(strings.TrimLeft(line, "#"), " ")
		if fenced || !is || !strings.HasPrefix(line, "#") {
			continue
		}
		all = append(all, strings.ReplaceAll(drop.ReplaceAllString(strings.ToLower(strings.TrimSpace(title)), ""), " ", "-"))
	}
	return all
}
