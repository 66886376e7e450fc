package main

import (
	"go/ast"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestCommentsNameTheirFunction: the comment on a function or method begins with its
// name. After a renaming it would have the old one.
func TestCommentsNameTheirFunction(t *testing.T) {
	looked := 0
	for _, f := range house(t).functions() {
		if f.decl.Doc == nil {
			continue
		}
		looked++
		if !namesItself(f.decl.Doc.Text(), f.Name()) {
			t.Errorf("%s: the comment on %s begins with %q", house(t).file(f.decl.Pos()), f.name(), strings.Fields(f.decl.Doc.Text())[0])
		}
	}
	if looked == 0 {
		t.Fatal("nothing was looked at")
	}
	for _, wrong := range []string{"run starts it.", "The run starts it."} {
		if namesItself(wrong, "Start") {
			t.Errorf("%q passes for a comment on Start", wrong)
		}
	}
}

// namesItself reports whether a comment begins with a name, after an article or not.
func namesItself(comment, name string) bool {
	words := strings.Fields(comment)
	if len(words) > 1 && slices.Contains([]string{"A", "An", "The"}, words[0]) {
		words = words[1:]
	}
	return len(words) > 0 && strings.TrimSuffix(strings.TrimRight(words[0], ",:"), "'s") == name
}

// TestCommentsNameWhatIsThere: a name in a comment that looks like one of Go's, such as
// lockFile, is one that the code has.
func TestCommentsNameWhatIsThere(t *testing.T) {
	mixed := regexp.MustCompile(`\b[a-z]+[A-Z]\w*`)
	others := []string{"vSwitch", "gRPC", "ethN"} // names of the world outside
	has := map[string]bool{}
	for _, p := range house(t).all {
		for _, f := range p.Syntax {
			ast.Inspect(f, func(n ast.Node) bool {
				if id, ok := n.(*ast.Ident); ok {
					has[id.Name] = true
				}
				return true
			})
		}
	}
	looked := 0
	for _, p := range house(t).all {
		if !product(p.PkgPath) {
			continue
		}
		for _, f := range p.Syntax {
			for _, c := range f.Comments {
				for _, name := range mixed.FindAllString(c.Text(), -1) {
					looked++
					if !has[name] && !slices.Contains(others, name) {
						t.Errorf("%s: a comment names %s, which is not there", house(t).file(f.FileStart), name)
					}
				}
			}
		}
	}
	if looked == 0 {
		t.Fatal("nothing was looked at")
	}
}
