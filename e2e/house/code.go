package main

import (
	"fmt"
	"go/ast"
	"go/doc"
	"go/token"
	"go/types"
	"path/filepath"
	"strings"

	"golang.org/x/tools/go/packages"
)

const module = "github.com/gopipework/gopipework/"

// code is what the repository has, without its tests.
type code struct {
	fset *token.FileSet
	all  []*packages.Package
	root string
}

// load reads and type-checks the packages of the repository.
func load(root string) (*code, error) {
	root, err := filepath.Abs(root)
	if err != nil {
		return nil, err
	}
	c := &code{fset: token.NewFileSet(), root: root}
	const mode = packages.NeedName | packages.NeedFiles | packages.NeedImports | packages.NeedSyntax | packages.NeedTypes | packages.NeedTypesInfo
	if c.all, err = packages.Load(&packages.Config{Mode: mode, Dir: root, Fset: c.fset}, "./..."); err != nil {
		return nil, fmt.Errorf("read the packages of %s: %w", root, err)
	}
	for _, p := range c.all {
		for _, err := range p.Errors {
			return nil, fmt.Errorf("read package %s: %w", p.PkgPath, err)
		}
	}
	return c, nil
}

// short is a package's path within the repository.
func short(path string) string { return strings.TrimPrefix(path, module) }

// product reports whether a package is part of the program, and not of its tests.
func product(path string) bool {
	path = short(path)
	return path != "e2e" && !strings.HasPrefix(path, "e2e/")
}

// file returns the path within the repository of what stands at a position.
func (c *code) file(at token.Pos) string {
	name, err := filepath.Rel(c.root, c.fset.Position(at).Filename)
	if err != nil {
		return c.fset.Position(at).Filename
	}
	return name
}

// synopsis is the first sentence of a package's doc comment, without its subject.
func synopsis(p *packages.Package) string {
	for _, f := range p.Syntax {
		if f.Doc == nil {
			continue
		}
		text := sentence(f.Doc)
		for _, subject := range []string{"Package " + p.Name + " ", "Command " + filepath.Base(p.PkgPath) + " ", "is "} {
			text = strings.TrimPrefix(text, subject)
		}
		return text
	}
	return ""
}

// sentence is the first one of a comment, as far as its first colon or semicolon.
func sentence(g *ast.CommentGroup) string {
	text := new(doc.Package).Synopsis(g.Text())
	for _, stop := range []string{": ", "; "} {
		text, _, _ = strings.Cut(text, stop)
	}
	return strings.TrimSuffix(text, ".")
}

// function is one that the repository declares.
type function struct {
	*types.Func
	decl    *ast.FuncDecl
	purpose string // what its comment says about it or, if it has none, that of its receiver
}

// name is Receiver.Method, or the function's own.
func (f function) name() string { return receiver(f.Func) + f.Name() }

// receiver is the name of a method's type with a dot, or "".
func receiver(f *types.Func) string {
	recv := f.Signature().Recv()
	if recv == nil {
		return ""
	}
	t := recv.Type()
	if p, ok := t.(*types.Pointer); ok {
		t = p.Elem()
	}
	if n, ok := t.(*types.Named); ok {
		return n.Obj().Name() + "."
	}
	return ""
}

// functions are all that the program declares.
func (c *code) functions() (all []function) {
	for _, p := range c.all {
		if !product(p.PkgPath) {
			continue
		}
		comments := map[string]*ast.CommentGroup{} // of types
		for _, f := range p.Syntax {
			for _, d := range f.Decls {
				if g, ok := d.(*ast.GenDecl); ok && len(g.Specs) == 1 {
					if t, ok := g.Specs[0].(*ast.TypeSpec); ok {
						comments[t.Name.Name] = g.Doc
					}
				}
			}
		}
		for _, f := range p.Syntax {
			for _, d := range f.Decls {
				d, ok := d.(*ast.FuncDecl)
				if !ok {
					continue
				}
				f, ok := p.TypesInfo.Defs[d.Name].(*types.Func)
				if !ok {
					continue
				}
				comment := d.Doc
				if comment == nil {
					comment = comments[strings.TrimSuffix(receiver(f), ".")]
				}
				_, purpose, _ := strings.Cut(sentence(comment), " ")
				all = append(all, function{f, d, purpose})
			}
		}
	}
	return all
}
