package watch

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gopipework/gopipework/attach"
	"github.com/gopipework/gopipework/internal/report"
)

// TestFiles: a directory has the topology files that stand in it, whatever it is called,
// and one that is not there has none.
func TestFiles(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "labs[1]*")
	wanted := func(want ...attach.Origin) {
		t.Helper()
		all, err := Files{Path: dir}.Wanted(t.Context())
		if err != nil || len(all) != len(want) {
			t.Fatalf("got %v, %v, want %q", all, err, want)
		}
		for n, l := range all {
			if l.Origin != want[n] {
				t.Errorf("got %q, want %q", l.Origin, want[n])
			}
		}
	}
	wanted()
	if err := os.MkdirAll(filepath.Join(dir, "folder.yaml"), 0o755); err != nil {
		t.Fatal(err)
	}
	wanted()
	for name, text := range map[string]string{"b.yaml": "attachments: []\n", "a.yaml": "name: first\n", ".b.yaml": "{", "policy.yaml": "{", "b.yaml~": "{"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	wanted("file:first", "file:b")
	if err := os.WriteFile(filepath.Join(dir, "b.yaml"), []byte("\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if all, err := (Files{Path: dir}).Wanted(t.Context()); err == nil || len(all) != 1 {
		t.Errorf("an empty file asks for %v, and %v", all, err)
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := (Files{Path: dir}).Wanted(t.Context()); err == nil {
		t.Error("a file in the place of the directory is no error")
	}
}

// TestStates: it is told of each file of a directory whether it can be read, with a reason that
// names it once; of a source that is none, only of itself.
func TestStates(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"a.yaml": "attachments: []\n", "b.yaml": "attachments:\n  - {guest: web, to: }\n", "c.yaml": "{"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	reading := func(s Source) []report.Event {
		lists, err := s.Wanted(t.Context())
		return states(s.String(), lists, err)
	}
	look := func(all []report.Event, want ...string) {
		t.Helper()
		var got []string
		for _, e := range all {
			got = append(got, e.Name+" "+e.State)
			if (e.State == report.Down) != (e.Reason != "") || strings.Count(e.Reason, e.Name) > 1 {
				t.Errorf("%s is %s: %q", e.Name, e.State, e.Reason)
			}
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	a, b, c := filepath.Join(dir, "a.yaml"), filepath.Join(dir, "b.yaml"), filepath.Join(dir, "c.yaml")
	look(reading(Files{Path: dir}), dir+" up", a+" up", b+" down", c+" down")
	look(reading(File{Path: a}), a+" up")
	look(reading(File{Path: b}), b+" down")
	look(reading(File{Path: filepath.Join(dir, "none")}), filepath.Join(dir, "none")+" down")
	look(states("docker", nil, errors.Join(fs.ErrPermission, fs.ErrInvalid)), "docker down")
}
