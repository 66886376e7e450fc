//go:build linux

package e2e

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestApplyFiles: several files and directories make one difference, each with its own
// name; what two of them both want is refused with both places.
func TestApplyFiles(t *testing.T) {
	m := newMachine(t)
	a, b := m.named("a"), m.named("b")
	check := m.unchanged(a, b)
	dir := filepath.Join(m.Dir, "d")
	m.check(os.Mkdir(dir, 0o755))
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		m.check(os.WriteFile(path, []byte(text), 0o644))
		return path
	}
	one := m.topology("one", "br1 a 10.0.0.1/24")
	write("two.yaml", "name: second\nattachments:\n  - br1 b 10.0.0.2/24\n")
	write("a.yaml", "attachments:\n  - br1 -i eth2 b 10.0.0.3/24\n")
	write(".two.yaml.swp.yaml", "{")
	write("policy.yaml", "allow: []\n")
	write("notes.txt", "{")

	all := []string{"-f", one, "-f", dir}
	if r := m.gopipework(append([]string{"diff"}, all...)...); r.Code != 2 || strings.Count(r.Stdout, "\n") != 3 {
		t.Errorf("before: %v", r)
	}
	m.ok(append([]string{"apply"}, all...)...)
	origins := func() string {
		t.Helper()
		var s []string
		for _, a := range m.list() {
			s = append(s, a.Guest.Name+" "+a.Interface.Name+" "+a.Origin)
		}
		slices.Sort(s)
		return strings.Join(s, ", ")
	}
	const want = "a eth1 file:one, b eth1 file:second, b eth2 file:a"
	if got := origins(); got != want {
		t.Errorf("there is %s, want %s", got, want)
	}
	m.reaches(a, "10.0.0.2")
	m.ok(append([]string{"diff"}, all...)...)

	// An entry moves from one file to another.
	m.topology("one", "br1 a 10.0.0.1/24", "br1 -i eth2 b 10.0.0.3/24")
	write("a.yaml", "attachments:\n")
	m.says("a move", m.ok(append([]string{"apply"}, all...)...).Stdout, "~ br1 -i eth2 b 10.0.0.3/24 (asked for by file:a -> file:one, detached and attached again)")
	m.ok(append([]string{"diff"}, all...)...)
	if got := origins(); got != strings.Replace(want, "file:a", "file:one", 1) {
		t.Errorf("after the move there is %s", got)
	}

	// Clashes.
	for _, c := range []struct{ text, want string }{
		{"name: one\n", "d/a.yaml:1:7: read name one: the file at " + one + ":1:1 has the same name"},
		{"attachments:\n  - br2 a 10.1.0.1/24\n", "d/a.yaml:2:5: read interface name eth1: the entry at " + one + ":2:5 gives a one of that name already"},
		{"attachments:\n  - br1 -i eth9 a 10.0.0.2/24\n", "two.yaml:3:5: read address 10.0.0.2: the entry at " + dir + "/a.yaml:2:5 has it already on br1"},
		{"attachments:\n  - br1 -i eth9 a 10.0.0.2\n", "d/a.yaml:2:19: "},
	} {
		write("a.yaml", c.text)
		for _, command := range []string{"apply", "diff", "destroy"} {
			if f := m.fails("invalid", append([]string{command}, all...)...); !strings.Contains(f.Error.Message, c.want) {
				t.Errorf("%s of %q: %+v, want %s", command, c.text, f, c.want)
			}
		}
	}
	write("a.yaml", "")
	empty := filepath.Join(m.Dir, "empty")
	m.check(os.Mkdir(empty, 0o755))
	if f := m.fails("invalid", "apply", "-f", one, "-f", empty); !strings.Contains(f.Error.Message, "has no file that ends in .yaml") {
		t.Errorf("an empty directory: %+v", f)
	}

	// A pipe of a shell.
	pipe := m.Run("bash", "-c", "gopipework diff -f <(cat "+one+")")
	m.says("a pipe", pipe.Stdout, "! br1 a 10.0.0.1/24 (attach a: eth1 exists already, and belongs to file:one)")
	m.says("a pipe", pipe.Stderr, "stdin:2:5: ")
	r := m.ok(append([]string{"destroy"}, all...)...)
	m.says("the empty file", r.Stderr, "nothing is attached for file:a\n")
	if n := len(m.list()); n != 0 {
		t.Errorf("%d are left", n)
	}
	check("after destroy")
}
