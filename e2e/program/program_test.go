package program

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Nothing unlisted can be run: not by name, not by path, and not by a script that
// would go on without it. The machine certainly has what is tried here.
func TestUnlisted(t *testing.T) {
	const unlisted = "expiry" // of passwd, which every Debian has
	for _, name := range []string{unlisted, "/usr/bin/" + unlisted, "no-such-program"} {
		func() {
			defer func() {
				if said, _ := recover().(string); !strings.Contains(said, name) || !strings.Contains(said, hint) {
					t.Errorf("%s: %q does not say how to list it", name, said)
				}
			}()
			Command(name)
		}()
	}
	for _, shell := range []string{"sh", "bash"} {
		out, err := Command(shell, "-c", unlisted+" || true; echo goes on").CombinedOutput()
		if err == nil || strings.Contains(string(out), "goes on") || !strings.Contains(string(out), unlisted+": no such program: "+hint) {
			t.Errorf("%s runs an unlisted program: %v: %s", shell, err, out)
		}
	}
}

// Tests, and what belongs to them, run programs through this package: see its
// comment. And what they leave out, they leave out in one place.
func TestOneDoor(t *testing.T) {
	root := "../.."
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if d != nil && d.IsDir() && d.Name() == ".git" {
			return fs.SkipDir // a program of Git's may be at work there
		}
		if err != nil || d.IsDir() {
			return err
		}
		ours := strings.HasSuffix(path, "_test.go") || strings.HasPrefix(path, root+"/e2e/") && strings.HasSuffix(path, ".go")
		if !ours || filepath.Dir(path) == root+"/e2e/program" || filepath.Dir(path) == root+"/e2e/importer" { // that is another module's
			return nil
		}
		set := token.NewFileSet()
		file, err := parser.ParseFile(set, path, nil, 0)
		if err != nil {
			return err
		}
		ast.Inspect(file, func(n ast.Node) bool {
			sel, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			x, _ := sel.X.(*ast.Ident)
			switch {
			case x == nil:
			case x.Name == "exec" && (sel.Sel.Name == "Command" || sel.Sel.Name == "CommandContext" || sel.Sel.Name == "LookPath"),
				sel.Sel.Name == "StartProcess", sel.Sel.Name == "ForkExec":
				t.Errorf("%s: %s.%s goes around the table of programs: call the function of e2e/program", set.Position(n.Pos()), x.Name, sel.Sel.Name)
			case strings.HasPrefix(sel.Sel.Name, "Skip") && x.Name == "t" && filepath.Base(path) != "need.go":
				t.Errorf("%s: %s.%s leaves a test out that nobody hears of: call host.Lacking", set.Position(n.Pos()), x.Name, sel.Sel.Name)
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// The table's lines can be read by install.sh as well, and each program is listed
// once for everyone who installs it.
func TestTable(t *testing.T) {
	seen := map[string]bool{}
	for l := range strings.Lines(table) {
		f := strings.Fields(l)
		if len(f) == 0 || strings.HasPrefix(l, "#") {
			continue
		}
		switch f[0] {
		case "given", "base", "engines", "kernels", "race", "incus":
		default:
			t.Errorf("unknown word %q: %s", f[0], l)
		}
		if len(f) < 3 {
			t.Errorf("no program: %s", l)
			continue
		}
		for _, name := range f[2:] {
			if key := f[0] + " " + name; seen[key] {
				t.Errorf("%s is listed twice", key)
			} else {
				seen[key] = true
			}
		}
	}
	if _, err := exec.LookPath("sh"); err != nil {
		t.Error(err)
	}
}
