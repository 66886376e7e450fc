package main

import (
	"errors"
	"fmt"
	"go/ast"
	"go/types"
	"strings"
)

// line is the command whose way is drawn.
const line = "gopipework brtest web 192.168.1.2/24"

// stops are functions on that way, each two blanks deeper than the one that leads
// to it. In what package and file a stop is, and what it does, is read from the code.
const stops = `
main
  run
    dispatch
      attachCommand
        attachWords
        Parse
          Parse
        Find
        Attach
          Open
          observe
          planAttach
            linuxBridge.Join
          Plan.Apply
            AddVeth.Do
              Conn.AddVeth
`

// reach is how many calls may lie between two stops.
const reach = 4

// graph is which functions a function uses, by a call or as a value. The use of an
// interface's method is one of all methods that implement it.
type graph map[types.Object][]types.Object

func (c *code) graph() graph {
	g := graph{}
	uses := func(p *types.Info, from types.Object, n ast.Node) {
		ast.Inspect(n, func(n ast.Node) bool {
			if id, ok := n.(*ast.Ident); ok {
				switch used := p.Uses[id].(type) {
				case *types.Func:
					g[from] = append(g[from], used.Origin())
				case *types.Var: // of a package: what it begins with
					if used.Pkg() != nil && used.Parent() == used.Pkg().Scope() {
						g[from] = append(g[from], used)
					}
				}
			}
			return true
		})
	}
	var methods []*types.Func
	for _, p := range c.all {
		for _, f := range p.Syntax {
			for _, d := range f.Decls {
				switch d := d.(type) {
				case *ast.FuncDecl:
					from, ok := p.TypesInfo.Defs[d.Name].(*types.Func)
					if ok && d.Body != nil {
						uses(p.TypesInfo, from, d.Body)
					}
					if ok && d.Recv != nil {
						methods = append(methods, from)
					}
				case *ast.GenDecl:
					for _, s := range d.Specs {
						if s, ok := s.(*ast.ValueSpec); ok {
							for _, name := range s.Names {
								if v, ok := p.TypesInfo.Defs[name].(*types.Var); ok {
									for _, value := range s.Values {
										uses(p.TypesInfo, v, value)
									}
								}
							}
						}
					}
				}
			}
		}
	}
	called := map[*types.Func]bool{}
	for _, to := range g {
		for _, f := range to {
			if f, ok := f.(*types.Func); ok {
				called[f] = true
			}
		}
	}
	for f := range called {
		recv := f.Signature().Recv()
		if recv == nil || !types.IsInterface(recv.Type()) {
			continue
		}
		i := recv.Type().Underlying().(*types.Interface)
		for _, m := range methods {
			if m.Name() == f.Name() && types.Implements(m.Signature().Recv().Type(), i) {
				g[f] = append(g[f], m)
			}
		}
	}
	return g
}

// find returns the function of that name that is nearest to one, and the way there.
func (g graph) find(from *types.Func, name string) *types.Func {
	seen := map[types.Object]bool{from: true}
	near := []types.Object{from}
	for range reach {
		var next []types.Object
		for _, o := range near {
			for _, to := range g[o] {
				if seen[to] {
					continue
				}
				seen[to] = true
				next = append(next, to)
				if f, ok := to.(*types.Func); ok && f.Pkg() != nil && strings.HasPrefix(f.Pkg().Path()+"/", module) && is(f, name) {
					return f
				}
			}
		}
		near = next
	}
	return nil
}

// is reports whether a function has a name, as name or Receiver.name. Whether it
// is exported does not matter.
func is(f *types.Func, name string) bool {
	full := f.Name()
	if strings.Contains(name, ".") {
		full = receiver(f) + full
	}
	return strings.EqualFold(full, name)
}

// stop is a function on the way, which another leads to.
type stop struct {
	function
	depth int
	from  *types.Func // nil: it is the first
}

// stops finds them in the code.
func (c *code) stops() (all []stop, err error) {
	declared := map[types.Object]function{}
	var start *types.Func
	for _, f := range c.functions() {
		declared[f.Func] = f
		if f.Pkg().Name() == "main" && f.Name() == "main" {
			start = f.Func
		}
	}
	g := c.graph()
	leads := []*types.Func{nil}
	for l := range strings.Lines(strings.TrimSpace(stops)) {
		name := strings.TrimSpace(l)
		depth := (len(l) - len(strings.TrimLeft(l, " "))) / 2
		from, at := leads[depth], start
		if from != nil {
			if at = g.find(from, name); at == nil {
				return nil, fmt.Errorf("the way of %q: %s does not lead to %s within %d calls any more: give the way anew in e2e/house/way.go",
					line, from.Name(), name, reach)
			}
		}
		f, ok := declared[at]
		if !ok {
			return nil, fmt.Errorf("the way of %q: %s is a method of an interface: name the type", line, name)
		}
		leads = append(leads[:depth+1], at)
		all = append(all, stop{f, depth, from})
	}
	return all, nil
}

// way draws the way of the line: a file, a function and its purpose for each stop.
func (c *code) way() (string, error) {
	all, err := c.stops()
	if err != nil {
		return "", err
	}
	var b strings.Builder
	for _, s := range all {
		const file, function = 26, 24
		row(&b, fmt.Sprintf("%-*s %-*s", file, c.file(s.decl.Pos()), function, strings.Repeat(" ", s.depth)+s.name()), file+function+2, s.purpose)
	}
	return b.String(), nil
}

// climbs counts the calls on the way that go to a package of a layer above, by an
// interface or a function that was handed down.
func (c *code) climbs() (n int, err error) {
	all, err := c.stops()
	for _, s := range all {
		if s.from == nil {
			continue
		}
		above, err := layer(s.from.Pkg().Path())
		below, err2 := layer(s.Pkg().Path())
		if err != nil || err2 != nil {
			return 0, errors.Join(err, err2)
		}
		if below < above {
			n++
		}
	}
	return n, err
}
