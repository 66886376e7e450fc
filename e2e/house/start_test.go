package main

import (
	"go/ast"
	"go/token"
	"testing"
)

// TestNothingCompiledAtStart: no package of the program compiles a regular expression when
// it is initialized. Each takes some ten microseconds of every run, of whatever command.
func TestNothingCompiledAtStart(t *testing.T) {
	c := house(t)
	for _, p := range c.all {
		if !product(p.PkgPath) {
			continue
		}
		for _, f := range p.Syntax {
			for _, d := range f.Decls {
				if g, ok := d.(*ast.GenDecl); ok && g.Tok == token.VAR {
					for _, at := range compiled(g) {
						t.Errorf("%s: this is compiled at the start of every run: use lazyregexp", c.file(at))
					}
				}
			}
		}
	}
}

// compiled returns where a declaration compiles regular expressions, but for what is in a
// function that is called later.
func compiled(g *ast.GenDecl) (at []token.Pos) {
	ast.Inspect(g, func(n ast.Node) bool {
		if _, later := n.(*ast.FuncLit); later {
			return false
		}
		if s, ok := n.(*ast.SelectorExpr); ok {
			if x, ok := s.X.(*ast.Ident); ok && x.Name == "regexp" && (s.Sel.Name == "MustCompile" || s.Sel.Name == "Compile") {
				at = append(at, s.Pos())
			}
		}
		return true
	})
	return at
}
