package main

import (
	"go/ast"
	"go/types"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gopipework/gopipework/e2e/program"
	"golang.org/x/tools/go/packages"
)

// importable are the packages that other modules import.
var importable = []string{"attach", "dockerutil"}

// TestImporterCanName: an importer can name every type that it meets in what attach
// and dockerutil export. One of an internal package has a name there.
func TestImporterCanName(t *testing.T) {
	names := map[string]bool{} // of types that an alias leads to
	met := map[string]string{} // types of internal packages, and by what they are met
	for _, path := range importable {
		p := find(t, path)
		for _, name := range p.Types.Scope().Names() {
			o := p.Types.Scope().Lookup(name)
			if !o.Exported() {
				continue
			}
			if tn, ok := o.(*types.TypeName); ok && tn.IsAlias() {
				if n, ok := types.Unalias(tn.Type()).(*types.Named); ok {
					names[typeName(n)] = true
				}
			}
			meets(o.Type(), path+"."+name, met, map[types.Type]bool{})
		}
	}
	if len(names) == 0 || len(met) == 0 {
		t.Fatal("nothing was looked at")
	}
	for name, by := range met {
		if !names[name] {
			t.Errorf("%s has to do with %s, which no importer can name: it needs an alias", by, name)
		}
	}
}

func typeName(n *types.Named) string {
	return n.Obj().Pkg().Path() + "." + n.Obj().Name()
}

// meets notes the types of internal packages that somebody meets who has one of a type:
// in exported fields, and in what methods take and return.
func meets(t types.Type, by string, met map[string]string, seen map[types.Type]bool) {
	t = types.Unalias(t)
	if seen[t] {
		return
	}
	seen[t] = true
	again := func(t types.Type, part string) { meets(t, by+part, met, seen) }
	switch t := t.(type) {
	case *types.Named:
		if t.Obj().Pkg() == nil || !strings.HasPrefix(t.Obj().Pkg().Path(), module) {
			return
		}
		if strings.Contains(t.Obj().Pkg().Path(), "/internal/") {
			met[typeName(t)] = by
		}
		for s := range types.NewMethodSet(types.NewPointer(t)).Methods() {
			if s.Obj().Exported() {
				again(s.Obj().Type(), "."+s.Obj().Name())
			}
		}
		again(t.Underlying(), "")
	case *types.Struct:
		for f := range t.Fields() {
			if f.Exported() {
				again(f.Type(), "."+f.Name())
			}
		}
	case *types.Signature:
		again(t.Params(), "")
		again(t.Results(), "")
	case *types.Tuple:
		for v := range t.Variables() {
			again(v.Type(), "")
		}
	case *types.Map:
		again(t.Key(), "")
		again(t.Elem(), "")
	case interface{ Elem() types.Type }: // pointer, slice, array, channel
		again(t.Elem(), "")
	}
}

// TestQuiet: below the command nothing prints, exits, or starts the program that it is
// part of, and nothing happens only because a package is imported.
func TestQuiet(t *testing.T) {
	looked := 0
	for _, p := range house(t).all {
		if !product(p.PkgPath) || short(p.PkgPath) == "cmd/gopipework" {
			continue
		}
		for _, f := range p.Syntax {
			ast.Inspect(f, func(n ast.Node) bool {
				where := house(t).fset.Position(f.Pos())
				if n != nil {
					where = house(t).fset.Position(n.Pos())
				}
				switch n := n.(type) {
				case *ast.FuncDecl:
					if n.Recv == nil && n.Name.Name == "init" {
						t.Errorf("%s: an init function", where)
					}
				case *ast.Ident:
					looked++
					o := p.TypesInfo.Uses[n]
					switch {
					case o == nil:
					case o.Pkg() == nil:
						if _, is := o.(*types.Builtin); is && strings.HasPrefix(o.Name(), "print") {
							t.Errorf("%s: %s", where, o.Name())
						}
					case o.Pkg().Path() == "log", o.Pkg().Path() == "flag",
						o.Pkg().Path() == "fmt" && strings.HasPrefix(o.Name(), "Print"),
						o.Pkg().Path() == "os" && (o.Name() == "Exit" || o.Name() == "Stdout" || o.Name() == "Stderr" || o.Name() == "Args"):
						t.Errorf("%s: %s.%s belongs to the command", where, o.Pkg().Name(), o.Name())
					}
				case *ast.BasicLit:
					if strings.Contains(n.Value, "/proc/self/exe") {
						t.Errorf("%s: an importer's program is not ours to start", where)
					}
				}
				return true
			})
		}
	}
	if looked == 0 {
		t.Error("nothing was looked at")
	}
}

// TestExportedIsUsed: what attach and dockerutil export, the command uses, or an
// example. What only tests use is not exported.
func TestExportedIsUsed(t *testing.T) {
	var users strings.Builder
	for _, pattern := range []string{"cmd/gopipework/*.go", "e2e/importer/*.go", "attach/example_test.go"} {
		files, err := filepath.Glob(filepath.Join("..", "..", pattern))
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %v, %v", pattern, files, err)
		}
		for _, f := range files {
			b, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			users.Write(b)
		}
	}
	for _, path := range importable {
		p := find(t, path)
		for _, name := range p.Types.Scope().Names() {
			if f, ok := p.Types.Scope().Lookup(name).(*types.Func); ok && f.Exported() && !strings.Contains(users.String(), p.Name+"."+name) {
				t.Errorf("nobody but its package uses %s.%s", path, name)
			}
		}
	}
}

// TestDocFits: what an importer reads first fits two screens.
func TestDocFits(t *testing.T) {
	const most = 100
	for _, path := range importable {
		cmd := program.Command("go", "doc", "./"+path)
		cmd.Dir = filepath.Join("..", "..")
		out, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		if n := strings.Count(string(out), "\n"); n > most {
			t.Errorf("go doc ./%s prints %d lines, more than %d", path, n, most)
		}
	}
}

func find(t *testing.T, path string) *packages.Package {
	t.Helper()
	for _, p := range house(t).all {
		if short(p.PkgPath) == path {
			return p
		}
	}
	t.Fatalf("there is no package %s", path)
	return nil
}
