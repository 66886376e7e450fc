package policy

import (
	"os"
	"strings"
	"testing"
)

// TestManual: the man page and docs name every option that an entry may grant.
func TestManual(t *testing.T) {
	for path, written := range map[string]func(string) string{
		"../../cmd/gopipework/gopipework-policy.5": func(option string) string { return `\fB` + strings.ReplaceAll(option, "-", `\-`) + `\fR` },
		"../../docs/lifecycle.md":                  func(option string) string { return "`" + option + "`" },
	} {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, option := range grantable {
			if !strings.Contains(string(text), written(option)) {
				t.Errorf("%s does not name %s", path, option)
			}
		}
	}
}
