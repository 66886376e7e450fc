//go:build linux

package table

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What tests write comes back as a table, and what they do not is named.
func TestTable(t *testing.T) {
	path := filepath.Join(t.TempDir(), "table")
	t.Setenv(Variable, path)
	for _, r := range Rows {
		switch {
		case r.NoDevice:
			Instead(t, r.Kind, "the request")
		case r.Kind == "dummy":
			Proven(t, r.Kind, Attach, Attach, Twice, List, Detach, Undone)
		default:
			Proven(t, r.Kind, Cells...)
		}
	}
	Instead(t, "IPoIB", "the refusal")
	printed := func() (string, error) {
		t.Helper()
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		table, err := Read(string(text))
		if err != nil {
			t.Fatal(err)
		}
		var b strings.Builder
		err = table.Print(&b)
		return b.String(), err
	}
	if _, err := printed(); err == nil || !strings.HasSuffix(err.Error(), "nothing has proven dummy: traffic both ways") {
		t.Errorf("an empty cell: %v", err)
	}
	ProvenAs(t, "dummy", Traffic, "goes nowhere")
	text, err := printed()
	if err != nil {
		t.Error(err)
	}
	for _, want := range []string{"goes nowhere (", "instead: the request; the refusal ("} {
		if !strings.Contains(text, want) {
			t.Errorf("the table does not say %q:\n%s", want, text)
		}
	}
	if _, err := Read("half a li"); err == nil {
		t.Error("half a line is taken for a cell")
	}
}
