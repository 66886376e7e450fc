package main

import (
	"fmt"
	"go/ast"
	"go/token"
	"go/types"
	"slices"
	"strings"
	"text/tabwriter"

	"golang.org/x/tools/go/packages"
)

// measures tells how big things are in the program, without its tests.
func (c *code) measures() string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	row := func(what string, value any, where string) { fmt.Fprintf(w, "%s\t%v\t%s\n", what, value, where) }

	count, lines := 0, 0
	var files, cycles, biggest, longest most
	for _, p := range c.all {
		if !product(p.PkgPath) {
			continue
		}
		count++
		files.see(len(p.Syntax), short(p.PkgPath))
		in, largest := c.cycles(p)
		cycles.see(in, short(p.PkgPath))
		biggest.see(largest, short(p.PkgPath))
		for _, f := range p.Syntax {
			n := c.fset.Position(f.FileEnd).Line
			lines += n
			longest.see(n, c.file(f.FileStart))
		}
	}
	row("packages", count, "")
	row("lines", lines, "")
	row("files in the biggest package", files.n, files.where)
	row("files in cycles of one package, at most", cycles.n, cycles.where)
	row("files in the biggest cycle", biggest.n, biggest.where)
	row("longest file", longest.n, longest.where)

	var function most
	long := 0
	for _, f := range c.functions() {
		n := c.fset.Position(f.decl.End()).Line - c.fset.Position(f.decl.Pos()).Line + 1
		function.see(n, c.file(f.decl.Pos())+" "+f.name())
		if n > 60 {
			long++
		}
	}
	row("longest function", function.n, function.where)
	row("functions of more than 60 lines", long, "")

	for _, p := range c.all {
		if short(p.PkgPath) == "attach" {
			names, members := exported(p.Types)
			row("exported names of attach", names, fmt.Sprintf("and %d fields and methods", members))
		}
	}
	switch n, err := c.climbs(); {
	case err != nil:
		row("climbs on the way of a line", "?", err.Error())
	default:
		row("climbs on the way of a line", n, line)
	}
	w.Flush()
	return b.String()
}

// most is the greatest number seen, and where.
type most struct {
	n     int
	where string
}

func (m *most) see(n int, where string) {
	if n > m.n {
		*m = most{n, where}
	}
}

// exported counts the names that an importer sees, and the fields and methods of those
// that are types.
func exported(p *types.Package) (names, members int) {
	for _, name := range p.Scope().Names() {
		o := p.Scope().Lookup(name)
		if !o.Exported() {
			continue
		}
		names++
		t, ok := o.(*types.TypeName)
		if !ok {
			continue
		}
		if s, ok := t.Type().Underlying().(*types.Struct); ok {
			for f := range s.Fields() {
				if f.Exported() {
					members++
				}
			}
		}
		for s := range types.NewMethodSet(types.NewPointer(t.Type())).Methods() {
			if s.Obj().Exported() {
				members++
			}
		}
	}
	return names, members
}

// cycles counts the files of a package that use each other in a circle, in all and in
// the biggest of the circles.
func (c *code) cycles(p *packages.Package) (in, biggest int) {
	uses := map[*token.File]map[*token.File]bool{}
	for _, f := range p.Syntax {
		here := c.fset.File(f.FileStart)
		uses[here] = map[*token.File]bool{}
		ast.Inspect(f, func(n ast.Node) bool {
			if id, ok := n.(*ast.Ident); ok {
				if o := p.TypesInfo.Uses[id]; o != nil && o.Pkg() == p.Types && o.Pos().IsValid() {
					uses[here][c.fset.File(o.Pos())] = true
				}
			}
			return true
		})
	}
	reaches := map[*token.File]map[*token.File]bool{}
	for from := range uses {
		seen := map[*token.File]bool{}
		for next := []*token.File{from}; len(next) > 0; {
			f := next[0]
			next = next[1:]
			for to := range uses[f] {
				if !seen[to] {
					seen[to] = true
					next = append(next, to)
				}
			}
		}
		reaches[from] = seen
	}
	var sizes []int
	for f := range reaches {
		size := 0
		for g := range reaches {
			if f == g || reaches[f][g] && reaches[g][f] {
				size++
			}
		}
		if size > 1 {
			sizes = append(sizes, size)
		}
	}
	if len(sizes) == 0 {
		return 0, 0
	}
	return len(sizes), slices.Max(sizes)
}
