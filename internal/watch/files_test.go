package watch

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/gopipework/gopipework/attach"
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
