package main

import (
	"go/ast"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// loaded reads the repository once for all tests.
var loaded = sync.OnceValues(func() (*code, error) { return load(filepath.Join("..", "..")) })

func house(t *testing.T) *code {
	t.Helper()
	c, err := loaded()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestPicture: the picture in README is the code's.
func TestPicture(t *testing.T) {
	picture, err := house(t).picture()
	if err != nil {
		t.Fatal(err)
	}
	readme, err := os.ReadFile(filepath.Join("..", "..", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	drawn, err := draw(string(readme), picture)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(readme), drawn); diff != "" {
		t.Errorf("the picture in README.md is not the code's: run make map\n%s", diff)
	}
}

// TestArrows: no package imports one that it must not, and the layers and rules name
// no package that is not there.
func TestArrows(t *testing.T) {
	there := map[string]bool{}
	for _, p := range house(t).all {
		there[short(p.PkgPath)] = true
		if _, err := layer(p.PkgPath); err != nil && product(p.PkgPath) {
			t.Error(err)
		}
		for path := range p.Imports {
			if why := wrongArrow(p.PkgPath, path); why != "" {
				t.Errorf("%s imports %s: %s", short(p.PkgPath), short(path), why)
			}
		}
	}
	named := slices.Concat(layers...)
	for _, rule := range imports {
		named = append(named, rule.allowed...)
	}
	for _, name := range named {
		if !there[name] {
			t.Errorf("e2e/house/layers.go names package %s, which is not there", name)
		}
	}
}

// TestWrongArrows: what TestArrows looks for is found.
func TestWrongArrows(t *testing.T) {
	for _, c := range []struct {
		from, path string
		wrong      bool
	}{
		{module + "attach", module + "bridge", false},
		{module + "bridge", module + "attach", true},
		{module + "attach", module + "dockerutil", true},
		{module + "internal/fault", module + "internal/shell", true},
		{module + "internal/unheard", module + "internal/shell", true},
		{module + "attach", module + "internal/unheard", true},
		{module + "attach", module + "e2e/host", true},
		{module + "e2e/host", module + "internal/nsfs", false},
		{module + "attach", "github.com/vishvananda/netlink", true},
		{module + "internal/rtnl", "github.com/vishvananda/netlink/nl", false},
		{module + "e2e/host", module + "internal/rtnl", true},
		{module + "attach", "slices", false},
	} {
		if why := wrongArrow(c.from, c.path); (why != "") != c.wrong {
			t.Errorf("%s imports %s: %q", c.from, c.path, why)
		}
	}
}

// TestLists: a package whose comment lists its files lists all of them, and no others.
func TestLists(t *testing.T) {
	indented := regexp.MustCompile(`(?m)^\t.*$`)
	name := regexp.MustCompile(`[a-z0-9_]+\.go\b`)
	for _, p := range house(t).all {
		var there, listed []string
		holder := "" // of the list; it need not be in there
		for _, f := range p.Syntax {
			file := filepath.Base(house(t).file(f.FileStart))
			there = append(there, file)
			comments := []*ast.CommentGroup{f.Doc}
			if file == "doc.go" { // which has comments for those who work on the package, too
				comments = f.Comments
			}
			for _, c := range comments {
				for _, l := range indented.FindAllString(c.Text(), -1) {
					for _, n := range name.FindAllString(l, -1) {
						holder = file
						if !strings.HasSuffix(n, "_test.go") {
							listed = append(listed, n)
						}
					}
				}
			}
		}
		if holder == "" {
			continue
		}
		if !slices.Contains(listed, holder) {
			listed = append(listed, holder)
		}
		slices.Sort(there)
		slices.Sort(listed)
		if diff := cmp.Diff(slices.Compact(listed), there); diff != "" {
			t.Errorf("the files that the comment of %s lists (-), and those that are there (+):\n%s", short(p.PkgPath), diff)
		}
	}
}
